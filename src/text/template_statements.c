/* Parses statements: everything between {% and %}. */
#include <string.h>

#include "text/template_parser.h"

typedef bool (*parse_statement)(r2i_tparser *p, r2i_tnode **out);

static bool parse_statement_at(r2i_tparser *p, r2i_tnode **out);

static bool expect_block_end(r2i_tparser *p) {
    if (p->at->kind != R2I_TT_BLOCK_END) return r2i_tparser_fail(p, "end of statement block");
    p->at++;
    return true;
}

static bool is_one_of(const r2i_tparser *p, const char *const *names) {
    for (; *names != NULL; names++) {
        if (r2i_tparser_is_name(p, *names)) return true;
    }
    return false;
}

static bool parse_print(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *item;
    *out = r2i_tparser_node(p, R2I_TN_OUTPUT);
    p->at++;
    if (*out == NULL || !r2i_tparser_tuple(p, true, NULL, false, &item)) return false;
    if (p->at->kind != R2I_TT_VARIABLE_END) return r2i_tparser_fail(p, "end of print statement");
    p->at++;
    return r2i_tparser_push(p, *out, item);
}

/* Statements up to one of `ends`, whose name is then the current token; NULL: up to the end. */
static bool parse_body(r2i_tparser *p, const char *const *ends, r2i_tnode **out) {
    r2i_tnode *body = *out = r2i_tparser_node(p, R2I_TN_BODY), *item = NULL;
    if (body == NULL || !r2i_tparser_enter(p)) return false;
    for (;;) {
        if (p->at->kind == R2I_TT_END) {
            if (ends != NULL) return r2i_tparser_fail(p, ends[0]);
            break;
        }
        if (p->at->kind == R2I_TT_DATA) {
            item = r2i_tparser_node(p, R2I_TN_TEXT);
            if (item == NULL) return false;
            item->value = (p->at++)->value;
        } else if (p->at->kind == R2I_TT_VARIABLE_BEGIN) {
            if (!parse_print(p, &item)) return false;
        } else if (p->at->kind == R2I_TT_BLOCK_BEGIN) {
            p->at++;
            if (ends != NULL && is_one_of(p, ends)) break;
            if (!parse_statement_at(p, &item) || !expect_block_end(p)) return false;
        } else {
            return r2i_tparser_fail(p, "text or a tag");
        }
        if (!r2i_tparser_push(p, body, item)) return false;
    }
    p->n_nested--;
    return true;
}

/* "%}" of the opening tag and the statements behind it. */
static bool parse_block(r2i_tparser *p, const char *const *ends, r2i_tnode **out) {
    (void)r2i_tparser_skip_op(p, ":");
    return expect_block_end(p) && parse_body(p, ends, out);
}

/* The same with a single end, which is stepped over. */
static bool parse_block_to(r2i_tparser *p, const char *end, r2i_tnode **out) {
    const char *const ends[] = { end, NULL };
    if (!parse_block(p, ends, out)) return false;
    p->at++;
    return true;
}

static bool parse_one_target(r2i_tparser *p, bool with_namespace, r2i_tnode **out) {
    static const char *const reserved[] = {
        "true", "True", "false", "False", "none", "None", NULL
    };
    if (r2i_tparser_skip_op(p, "(")) {
        r2i_tnode *tuple = *out = r2i_tparser_node(p, R2I_TN_TUPLE), *item;
        if (tuple == NULL || !r2i_tparser_enter(p)) return false;
        do {
            if (r2i_tparser_is_op(p, ")")) break;
            if (!parse_one_target(p, with_namespace, &item) || !r2i_tparser_push(p, tuple, item))
                return false;
        } while (r2i_tparser_skip_op(p, ","));
        p->n_nested--;
        return r2i_tparser_expect_op(p, ")");
    }
    if (is_one_of(p, reserved)) return r2i_tparser_fail(p, "a name to assign to");
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_NAME);
    if (node == NULL || !r2i_tparser_take_name(p, &node->name)) return false;
    const r2i_tstring *attribute;
    if (!with_namespace || !r2i_tparser_skip_op(p, ".")) return true;
    if (!r2i_tparser_take_name(p, &attribute)) return false;
    node->kind = R2I_TN_NS_NAME;
    node->value = r2i_tvalue_string(attribute);
    return true;
}

/* A name, name.attribute, or names separated by commas. */
static bool parse_target(r2i_tparser *p, bool with_namespace, r2i_tnode **out) {
    if (!parse_one_target(p, with_namespace, out)) return false;
    if (!r2i_tparser_is_op(p, ",")) return true;
    r2i_tnode *tuple = r2i_tparser_node(p, R2I_TN_TUPLE), *item;
    if (tuple == NULL || !r2i_tparser_push(p, tuple, *out)) return false;
    while (r2i_tparser_skip_op(p, ",")) {
        if (r2i_tparser_is_name(p, "in") || r2i_tparser_is_op(p, "=") ||
            p->at->kind == R2I_TT_BLOCK_END)
            break;
        if (!parse_one_target(p, with_namespace, &item) || !r2i_tparser_push(p, tuple, item))
            return false;
    }
    *out = tuple;
    return true;
}

static bool parse_set(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_SET);
    if (node == NULL || !parse_target(p, true, &node->a)) return false;
    if (r2i_tparser_skip_op(p, "=")) return r2i_tparser_tuple(p, true, NULL, false, &node->b);
    node->kind = R2I_TN_SET_BLOCK;
    return r2i_tparser_filters(p, NULL, false, &node->c) && parse_block_to(p, "endset", &node->b);
}

static bool parse_if(r2i_tparser *p, r2i_tnode **out) {
    static const char *const ends[] = { "endif", "elif", "else", NULL };
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_IF);
    if (node == NULL) return false;
    do {
        r2i_tnode *condition, *body;
        if (!r2i_tparser_tuple(p, false, NULL, false, &condition) || !parse_block(p, ends, &body))
            return false;
        if (!r2i_tparser_push(p, node, condition) || !r2i_tparser_push(p, node, body)) return false;
    } while (r2i_tparser_skip_name(p, "elif"));
    if (r2i_tparser_skip_name(p, "endif")) return true;
    p->at++; /* else */
    return parse_block_to(p, "endif", &node->a);
}

static bool parse_for(r2i_tparser *p, r2i_tnode **out) {
    static const char *const ends[] = { "endfor", "else", NULL };
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_FOR), *body, *otherwise = NULL;
    if (node == NULL || !parse_target(p, false, &node->a)) return false;
    if (!r2i_tparser_skip_name(p, "in")) return r2i_tparser_fail(p, "in");
    if (!r2i_tparser_tuple(p, false, "recursive", false, &node->b)) return false;
    if (r2i_tparser_skip_name(p, "if") && !r2i_tparser_expression(p, &node->c)) return false;
    if (r2i_tparser_is_name(p, "recursive"))
        return r2i_tparser_fail(p, "no recursive loop (not supported)");
    p->n_loops++;
    if (!parse_block(p, ends, &body)) return false;
    p->n_loops--;
    if (r2i_tparser_skip_name(p, "else")) {
        if (!parse_block_to(p, "endfor", &otherwise)) return false;
    } else {
        p->at++;
    }
    return r2i_tparser_push(p, node, body) && r2i_tparser_push(p, node, otherwise);
}

static bool parse_parameters(r2i_tparser *p, r2i_tnode *macro) {
    bool has_default = false;
    if (!r2i_tparser_expect_op(p, "(")) return false;
    while (!r2i_tparser_is_op(p, ")")) {
        if (macro->n_items != 0 && !r2i_tparser_expect_op(p, ",")) return false;
        r2i_tnode *parameter = r2i_tparser_node(p, R2I_TN_KEYWORD);
        if (parameter == NULL || !r2i_tparser_take_name(p, &parameter->name)) return false;
        if (r2i_tparser_skip_op(p, "=")) {
            has_default = true;
            if (!r2i_tparser_expression(p, &parameter->a)) return false;
        } else if (has_default) {
            return r2i_tparser_fail(p, "a default for each parameter after one that has it");
        }
        if (!r2i_tparser_push(p, macro, parameter)) return false;
    }
    p->at++;
    return true;
}

/* A body that is a function of its own: loops around it cannot be left from inside. */
static bool parse_function_body(r2i_tparser *p, r2i_tnode *macro, const char *end) {
    const int32_t n_loops = p->n_loops;
    r2i_tnode *outer = p->macro;
    p->n_loops = 0;
    p->macro = macro;
    if (!parse_block_to(p, end, &macro->a)) return false;
    p->n_loops = n_loops;
    p->macro = outer;
    if (outer != NULL)
        outer->op |= macro->op; /* an inner mention is one of the outer macro as well */
    return true;
}

static bool parse_macro(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_MACRO);
    return node != NULL && r2i_tparser_take_name(p, &node->name) && parse_parameters(p, node) &&
           parse_function_body(p, node, "endmacro");
}

static bool parse_call(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_CALL_BLOCK);
    if (node == NULL) return false;
    node->b = r2i_tparser_node(p, R2I_TN_MACRO);
    if (node->b == NULL) return false;
    if (r2i_tparser_is_op(p, "(") && !parse_parameters(p, node->b)) return false;
    if (!r2i_tparser_expression(p, &node->a)) return false;
    if (node->a->kind != R2I_TN_CALL) return r2i_tparser_fail(p, "a call");
    return parse_function_body(p, node->b, "endcall");
}

static bool parse_filter(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_FILTER_BLOCK);
    return node != NULL && r2i_tparser_filters(p, NULL, true, &node->a) &&
           parse_block_to(p, "endfilter", &node->b);
}

static bool parse_generation(r2i_tparser *p, r2i_tnode **out) {
    *out = r2i_tparser_node(p, R2I_TN_SCOPE);
    return *out != NULL && parse_block_to(p, "endgeneration", &(*out)->a);
}

static bool parse_named_block(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_SCOPE);
    if (node == NULL || !r2i_tparser_take_name(p, &node->name)) return false;
    (void)r2i_tparser_skip_name(p, "scoped");
    if (!parse_block_to(p, "endblock", &node->a)) return false;
    if (p->at->kind == R2I_TT_NAME && r2i_tstring_equal(p->at->value.as.string, node->name))
        p->at++;
    return true;
}

static bool parse_with(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_WITH);
    if (node == NULL) return false;
    while (p->at->kind != R2I_TT_BLOCK_END) {
        r2i_tnode *target, *value;
        if (node->n_items != 0 && !r2i_tparser_expect_op(p, ",")) return false;
        if (!parse_one_target(p, false, &target) || !r2i_tparser_expect_op(p, "=")) return false;
        if (!r2i_tparser_expression(p, &value)) return false;
        if (!r2i_tparser_push(p, node, target) || !r2i_tparser_push(p, node, value)) return false;
    }
    return parse_block_to(p, "endwith", &node->a);
}

static bool parse_print_statement(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_OUTPUT), *item;
    if (node == NULL) return false;
    while (p->at->kind != R2I_TT_BLOCK_END) {
        if (node->n_items != 0 && !r2i_tparser_expect_op(p, ",")) return false;
        if (!r2i_tparser_expression(p, &item) || !r2i_tparser_push(p, node, item)) return false;
    }
    return true;
}

static bool parse_jump(r2i_tparser *p, r2i_tnode_kind kind, r2i_tnode **out) {
    if (p->n_loops == 0) return r2i_tparser_fail(p, "a loop around break or continue");
    *out = r2i_tparser_node(p, kind);
    return *out != NULL;
}
static bool parse_break(r2i_tparser *p, r2i_tnode **out) {
    return parse_jump(p, R2I_TN_BREAK, out);
}
static bool parse_continue(r2i_tparser *p, r2i_tnode **out) {
    return parse_jump(p, R2I_TN_CONTINUE, out);
}

static bool parse_statement_at(r2i_tparser *p, r2i_tnode **out) {
    static const struct {
        const char *name;
        parse_statement parse;
    } statements[] = {
        { "set", parse_set },           { "if", parse_if },
        { "for", parse_for },           { "macro", parse_macro },
        { "call", parse_call },         { "filter", parse_filter },
        { "with", parse_with },         { "generation", parse_generation },
        { "break", parse_break },       { "continue", parse_continue },
        { "block", parse_named_block }, { "print", parse_print_statement },
    };
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (r2i_tparser_skip_name(p, statements[i].name)) return statements[i].parse(p, out);
    }
    return r2i_tparser_fail(p, "a known tag");
}

bool r2i_template_parse(r2i_trun *run, const char *source, size_t n_bytes, r2i_tnode **out) {
    r2i_ttoken *tokens;
    if (!r2i_template_tokenize(run, source, n_bytes, &tokens)) return false;
    r2i_tparser parser = { .run = run, .at = tokens };
    return parse_body(&parser, NULL, out);
}
