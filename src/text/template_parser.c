/* Parses expressions: one function per level of precedence, as in Jinja's own parser. */
#include "text/template_parser.h"

#include <stdio.h>
#include <string.h>

bool r2i_tparser_fail(r2i_tparser *p, const char *expected) {
    static const char *const names[] = { "end of template",          "text",
                                         "begin of print statement", "end of print statement",
                                         "begin of statement block", "end of statement block" };
    const r2i_ttoken *t = p->at;
    char found[64];
    if (t->kind == R2I_TT_NAME) {
        const size_t n = t->value.as.string->n_bytes;
        (void)snprintf(found, sizeof found, "%.*s", (int)(n < 50 ? n : 50),
                       t->value.as.string->bytes);
    } else if (t->kind < R2I_TT_NAME) {
        (void)snprintf(found, sizeof found, "%s", names[t->kind]);
    } else {
        (void)snprintf(found, sizeof found, "%s", t->kind == R2I_TT_OPERATOR ? t->operator : "a literal");
    }
    p->run->line = t->line;
    return r2i_trun_fail(p->run, R2_E_FORMAT, "expected %s, found '%s'", expected, found);
}

bool r2i_tparser_is_op(const r2i_tparser *p, const char *op) {
    return p->at->kind == R2I_TT_OPERATOR && strcmp(p->at->operator, op) == 0;
}

static bool token_is_name(const r2i_ttoken *t, const char *name) {
    return t->kind == R2I_TT_NAME && r2i_tstring_is(t->value.as.string, name);
}

bool r2i_tparser_is_name(const r2i_tparser *p, const char *name) {
    return token_is_name(p->at, name);
}

bool r2i_tparser_skip_op(r2i_tparser *p, const char *op) {
    const bool is = r2i_tparser_is_op(p, op);
    p->at += is;
    return is;
}

bool r2i_tparser_skip_name(r2i_tparser *p, const char *name) {
    const bool is = r2i_tparser_is_name(p, name);
    p->at += is;
    return is;
}

bool r2i_tparser_expect_op(r2i_tparser *p, const char *op) {
    return r2i_tparser_skip_op(p, op) || r2i_tparser_fail(p, op);
}

bool r2i_tparser_take_name(r2i_tparser *p, const r2i_tstring **name) {
    if (p->at->kind != R2I_TT_NAME) return r2i_tparser_fail(p, "a name");
    *name = (p->at++)->value.as.string;
    return true;
}

r2i_tnode *r2i_tparser_node(r2i_tparser *p, r2i_tnode_kind kind) {
    r2i_tnode *node = r2i_trun_take(p->run, 1, sizeof *node);
    if (node == NULL) return NULL;
    node->kind = kind;
    node->line = p->at->line;
    return node;
}

bool r2i_tparser_push(r2i_tparser *p, r2i_tnode *list, r2i_tnode *item) {
    if (list->n_items == list->cap_items) {
        const size_t cap = list->cap_items == 0 ? 4 : 2 * list->cap_items;
        r2i_tnode **items = r2i_trun_take(p->run, cap, sizeof *items);
        if (items == NULL) return false;
        if (list->n_items != 0) memcpy(items, list->items, list->n_items * sizeof *items);
        list->items = items;
        list->cap_items = cap;
    }
    list->items[list->n_items++] = item;
    return true;
}

bool r2i_tparser_enter(r2i_tparser *p) {
    if (++p->n_nested <= R2I_TEMPLATE_MAX_NESTING) return true;
    p->run->line = p->at->line;
    return r2i_trun_fail(p->run, R2_E_LIMIT, "nested deeper than %d levels",
                         R2I_TEMPLATE_MAX_NESTING);
}

/* A new node around `inner`, which so lies one level deeper in the tree. */
static r2i_tnode *wrap(r2i_tparser *p, r2i_tnode_kind kind, r2i_tnode *inner, int *n_wrapped) {
    if (++*n_wrapped > R2I_TEMPLATE_MAX_NESTING) {
        (void)r2i_trun_fail(p->run, R2_E_LIMIT, "more than %d parts in one expression",
                            R2I_TEMPLATE_MAX_NESTING);
        return NULL;
    }
    r2i_tnode *node = r2i_tparser_node(p, kind);
    if (node != NULL) node->a = inner;
    return node;
}

static bool parse_unary(r2i_tparser *p, bool with_filters, r2i_tnode **out);
static bool parse_or(r2i_tparser *p, r2i_tnode **out);

static bool parse_list(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *list = *out = r2i_tparser_node(p, R2I_TN_LIST);
    if (list == NULL) return false;
    p->at++;
    while (!r2i_tparser_is_op(p, "]")) {
        r2i_tnode *item;
        if (list->n_items != 0 && !r2i_tparser_expect_op(p, ",")) return false;
        if (r2i_tparser_is_op(p, "]")) break;
        if (!r2i_tparser_expression(p, &item) || !r2i_tparser_push(p, list, item)) return false;
    }
    return r2i_tparser_expect_op(p, "]");
}

static bool parse_dict(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *dict = *out = r2i_tparser_node(p, R2I_TN_DICT);
    if (dict == NULL) return false;
    p->at++;
    while (!r2i_tparser_is_op(p, "}")) {
        r2i_tnode *key, *value;
        if (dict->n_items != 0 && !r2i_tparser_expect_op(p, ",")) return false;
        if (r2i_tparser_is_op(p, "}")) break;
        if (!r2i_tparser_expression(p, &key) || !r2i_tparser_expect_op(p, ":")) return false;
        if (!r2i_tparser_expression(p, &value)) return false;
        if (!r2i_tparser_push(p, dict, key) || !r2i_tparser_push(p, dict, value)) return false;
    }
    return r2i_tparser_expect_op(p, "}");
}

static bool parse_name(r2i_tparser *p, r2i_tnode **out) {
    static const struct {
        const char *name;
        r2i_tvalue value;
    } constants[] = {
        { "true", { .kind = R2I_TV_BOOL, .as.boolean = true } },
        { "True", { .kind = R2I_TV_BOOL, .as.boolean = true } },
        { "false", { .kind = R2I_TV_BOOL } },
        { "False", { .kind = R2I_TV_BOOL } },
        { "none", { .kind = R2I_TV_NONE } },
        { "None", { .kind = R2I_TV_NONE } },
    };
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_NAME);
    if (node == NULL) return false;
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++) {
        if (!r2i_tparser_skip_name(p, constants[i].name)) continue;
        node->kind = R2I_TN_CONST;
        node->value = constants[i].value;
        return true;
    }
    node->name = (p->at++)->value.as.string;
    if (p->macro != NULL) {
        if (r2i_tstring_is(node->name, "caller")) p->macro->op |= R2I_MACRO_CALLER;
        if (r2i_tstring_is(node->name, "varargs")) p->macro->op |= R2I_MACRO_VARARGS;
        if (r2i_tstring_is(node->name, "kwargs")) p->macro->op |= R2I_MACRO_KWARGS;
    }
    return true;
}

/* Adjacent strings are one string, as in Python. */
static bool parse_literal(r2i_tparser *p, r2i_tnode **out) {
    r2i_tnode *node = *out = r2i_tparser_node(p, R2I_TN_CONST);
    if (node == NULL) return false;
    node->value = (p->at++)->value;
    if (p->at[-1].kind != R2I_TT_STRING || p->at->kind != R2I_TT_STRING) return true;
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, p->run);
    if (!r2i_tbuilder_add_string(&b, node->value.as.string)) return false;
    for (; p->at->kind == R2I_TT_STRING; p->at++) {
        if (!r2i_tbuilder_add_string(&b, p->at->value.as.string)) return false;
    }
    return r2i_tbuilder_finish(&b, &node->value);
}

static bool parse_primary(r2i_tparser *p, r2i_tnode **out) {
    if (p->at->kind == R2I_TT_NAME) return parse_name(p, out);
    if (p->at->kind >= R2I_TT_STRING && p->at->kind <= R2I_TT_FLOAT) return parse_literal(p, out);
    if (!r2i_tparser_enter(p)) return false;
    bool ok;
    if (r2i_tparser_skip_op(p, "(")) {
        ok = r2i_tparser_tuple(p, true, NULL, true, out) && r2i_tparser_expect_op(p, ")");
    } else if (r2i_tparser_is_op(p, "[")) {
        ok = parse_list(p, out);
    } else if (r2i_tparser_is_op(p, "{")) {
        ok = parse_dict(p, out);
    } else {
        ok = r2i_tparser_fail(p, "an expression");
    }
    p->n_nested--;
    return ok;
}

static bool parse_argument(r2i_tparser *p, r2i_tnode *call) {
    const r2i_tnode *last = call->n_items != 0 ? call->items[call->n_items - 1] : NULL;
    const bool after_named =
        last != NULL && (last->kind == R2I_TN_KEYWORD || last->kind == R2I_TN_SPREAD);
    r2i_tnode *node = NULL;
    if (r2i_tparser_is_op(p, "*") || r2i_tparser_is_op(p, "**")) {
        node = r2i_tparser_node(p, R2I_TN_SPREAD);
        if (node == NULL) return false;
        node->op = (p->at++)->operator[1] == '*';
        if (!r2i_tparser_expression(p, &node->a)) return false;
    } else if (p->at->kind == R2I_TT_NAME && p->at[1].kind == R2I_TT_OPERATOR &&
               strcmp(p->at[1].operator, "=") == 0) {
        node = r2i_tparser_node(p, R2I_TN_KEYWORD);
        if (node == NULL) return false;
        node->name = p->at->value.as.string;
        p->at += 2;
        if (!r2i_tparser_expression(p, &node->a)) return false;
    } else if (after_named) {
        return r2i_tparser_fail(p, "a named argument");
    } else if (!r2i_tparser_expression(p, &node)) {
        return false;
    }
    return r2i_tparser_push(p, call, node);
}

static bool parse_arguments(r2i_tparser *p, r2i_tnode *call) {
    if (!r2i_tparser_enter(p) || !r2i_tparser_expect_op(p, "(")) return false;
    while (!r2i_tparser_is_op(p, ")")) {
        if (call->n_items != 0 && !r2i_tparser_expect_op(p, ",")) return false;
        if (call->n_items != 0 && r2i_tparser_is_op(p, ")")) break;
        if (!parse_argument(p, call)) return false;
    }
    p->n_nested--;
    return r2i_tparser_expect_op(p, ")");
}

/* The inside of a[...]: an expression, or up to three around ':'. */
static bool parse_subscript(r2i_tparser *p, r2i_tnode *node) {
    if (!r2i_tparser_enter(p)) return false;
    r2i_tnode *parts[3] = { NULL };
    size_t n = 0;
    bool is_slice = false;
    while (!r2i_tparser_is_op(p, "]")) {
        if (r2i_tparser_skip_op(p, ":")) {
            is_slice = true;
            if (++n > 2) return r2i_tparser_fail(p, "]");
        } else if (parts[n] != NULL || !r2i_tparser_expression(p, &parts[n])) {
            return r2i_tparser_fail(p, "]");
        }
    }
    p->at++;
    p->n_nested--;
    node->kind = is_slice ? R2I_TN_SLICE : R2I_TN_ITEM;
    node->b = parts[0];
    if (!is_slice) return parts[0] != NULL || r2i_tparser_fail(p, "an index before ]");
    for (size_t i = 0; i < 3; i++) {
        if (!r2i_tparser_push(p, node, parts[i])) return false;
    }
    return true;
}

static bool parse_dot(r2i_tparser *p, r2i_tnode *node) {
    if (p->at->kind == R2I_TT_INT) {
        node->kind = R2I_TN_ITEM;
        node->b = r2i_tparser_node(p, R2I_TN_CONST);
        if (node->b == NULL) return false;
        node->b->value = (p->at++)->value;
        return true;
    }
    return r2i_tparser_take_name(p, &node->name);
}

static bool parse_postfix(r2i_tparser *p, r2i_tnode **node, int *n_wrapped) {
    while (r2i_tparser_is_op(p, ".") || r2i_tparser_is_op(p, "[") || r2i_tparser_is_op(p, "(")) {
        const bool is_call = r2i_tparser_is_op(p, "(");
        r2i_tnode *outer = wrap(p, is_call ? R2I_TN_CALL : R2I_TN_ATTRIBUTE, *node, n_wrapped);
        if (outer == NULL) return false;
        *node = outer;
        if (is_call) {
            if (!parse_arguments(p, outer)) return false;
        } else if (r2i_tparser_skip_op(p, ".")) {
            if (!parse_dot(p, outer)) return false;
        } else {
            p->at++;
            if (!parse_subscript(p, outer)) return false;
        }
    }
    return true;
}

static bool parse_one_filter(r2i_tparser *p, r2i_tnode **node, int *n_wrapped) {
    r2i_tnode *outer = wrap(p, R2I_TN_FILTER, *node, n_wrapped);
    if (outer == NULL || !r2i_tparser_take_name(p, &outer->name)) return false;
    *node = outer;
    return !r2i_tparser_is_op(p, "(") || parse_arguments(p, outer);
}

bool r2i_tparser_filters(r2i_tparser *p, r2i_tnode *node, bool at_start, r2i_tnode **out) {
    int n_wrapped = 0;
    *out = node;
    while (at_start || r2i_tparser_skip_op(p, "|")) {
        if (!parse_one_filter(p, out, &n_wrapped)) return false;
        at_start = false;
    }
    return true;
}

/* "is [not] name", with arguments in parentheses or one bare operand. */
static bool parse_test(r2i_tparser *p, r2i_tnode **node, int *n_wrapped) {
    p->at++;
    const bool is_negated = r2i_tparser_skip_name(p, "not");
    r2i_tnode *test = wrap(p, R2I_TN_TEST, *node, n_wrapped), *operand;
    if (test == NULL || !r2i_tparser_take_name(p, &test->name)) return false;
    *node = test;
    const bool is_word = p->at->kind == R2I_TT_NAME && !r2i_tparser_is_name(p, "else") &&
                         !r2i_tparser_is_name(p, "or") && !r2i_tparser_is_name(p, "and");
    if (r2i_tparser_is_op(p, "(")) {
        if (!parse_arguments(p, test)) return false;
    } else if (is_word || (p->at->kind >= R2I_TT_STRING && p->at->kind <= R2I_TT_FLOAT) ||
               r2i_tparser_is_op(p, "[") || r2i_tparser_is_op(p, "{")) {
        if (r2i_tparser_is_name(p, "is")) return r2i_tparser_fail(p, "one test only");
        if (!parse_primary(p, &operand) || !parse_postfix(p, &operand, n_wrapped)) return false;
        if (!r2i_tparser_push(p, test, operand)) return false;
    }
    if (!is_negated) return true;
    *node = wrap(p, R2I_TN_NOT, test, n_wrapped);
    return *node != NULL;
}

static bool parse_filters_and_tests(r2i_tparser *p, r2i_tnode **node, int *n_wrapped) {
    for (;;) {
        if (r2i_tparser_skip_op(p, "|")) {
            if (!parse_one_filter(p, node, n_wrapped)) return false;
        } else if (r2i_tparser_is_name(p, "is")) {
            if (!parse_test(p, node, n_wrapped)) return false;
        } else if (r2i_tparser_is_op(p, "(")) {
            *node = wrap(p, R2I_TN_CALL, *node, n_wrapped);
            if (*node == NULL || !parse_arguments(p, *node)) return false;
        } else {
            return true;
        }
    }
}

static bool parse_unary(r2i_tparser *p, bool with_filters, r2i_tnode **out) {
    int n_wrapped = 0;
    if (r2i_tparser_is_op(p, "-") || r2i_tparser_is_op(p, "+")) {
        r2i_tnode *sign = r2i_tparser_node(p, R2I_TN_SIGN);
        if (sign == NULL || !r2i_tparser_enter(p)) return false;
        sign->op = (p->at++)->operator[0];
        if (!parse_unary(p, false, &sign->a)) return false;
        p->n_nested--;
        *out = sign;
    } else if (!parse_primary(p, out)) {
        return false;
    }
    if (!parse_postfix(p, out, &n_wrapped)) return false;
    return !with_filters || parse_filters_and_tests(p, out, &n_wrapped);
}

static int find_operator(const r2i_tparser *p, const char *const *ops) {
    static const struct {
        const char *text;
        int op;
    } doubles[] = { { "//", R2I_OP_FLOOR }, { "**", R2I_OP_POWER }, { "==", R2I_OP_EQ },
                    { "!=", R2I_OP_NE },    { ">=", R2I_OP_GE },    { "<=", R2I_OP_LE } };
    for (; *ops != NULL; ops++) {
        if (!r2i_tparser_is_op(p, *ops)) continue;
        for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
            if (strcmp(doubles[i].text, *ops) == 0) return doubles[i].op;
        }
        return **ops;
    }
    return 0;
}

typedef bool (*parse_level)(r2i_tparser *p, r2i_tnode **out);

/* operand (op operand)*: one node for the whole chain, so that long sums do not nest. */
static bool parse_chain(r2i_tparser *p, parse_level next, const char *const *ops, r2i_tnode **out) {
    if (!next(p, out)) return false;
    r2i_tnode *chain = NULL;
    for (int op; (op = find_operator(p, ops)) != 0;) {
        r2i_tnode *operand = r2i_tparser_node(p, R2I_TN_OPERAND);
        if (operand == NULL) return false;
        operand->op = op;
        p->at++;
        if (chain == NULL) {
            chain = r2i_tparser_node(p, R2I_TN_CHAIN);
            if (chain == NULL || !r2i_tparser_push(p, chain, *out)) return false;
            *out = chain;
        }
        if (!next(p, &operand->a) || !r2i_tparser_push(p, chain, operand)) return false;
    }
    return true;
}

static bool parse_filtered(r2i_tparser *p, r2i_tnode **out) {
    return parse_unary(p, true, out);
}
static bool parse_power(r2i_tparser *p, r2i_tnode **out) {
    static const char *const ops[] = { "**", NULL };
    return parse_chain(p, parse_filtered, ops, out);
}
static bool parse_product(r2i_tparser *p, r2i_tnode **out) {
    static const char *const ops[] = { "*", "/", "//", "%", NULL };
    return parse_chain(p, parse_power, ops, out);
}

/* Operands separated by a word or '~' become one node of `kind`. */
static bool parse_series(r2i_tparser *p, parse_level next, r2i_tnode_kind kind, const char *word,
                         r2i_tnode **out) {
    if (!next(p, out)) return false;
    r2i_tnode *series = NULL;
    while (kind == R2I_TN_CONCAT ? r2i_tparser_skip_op(p, word) : r2i_tparser_skip_name(p, word)) {
        r2i_tnode *item;
        if (series == NULL) {
            series = r2i_tparser_node(p, kind);
            if (series == NULL || !r2i_tparser_push(p, series, *out)) return false;
            *out = series;
        }
        if (!next(p, &item) || !r2i_tparser_push(p, series, item)) return false;
    }
    return true;
}

static bool parse_concat(r2i_tparser *p, r2i_tnode **out) {
    return parse_series(p, parse_product, R2I_TN_CONCAT, "~", out);
}
static bool parse_sum(r2i_tparser *p, r2i_tnode **out) {
    static const char *const ops[] = { "+", "-", NULL };
    return parse_chain(p, parse_concat, ops, out);
}

static int take_comparison(r2i_tparser *p) {
    static const char *const ops[] = { "==", "!=", ">=", "<=", "<", ">", NULL };
    const int op = find_operator(p, ops);
    if (op != 0) {
        p->at++;
        return op;
    }
    if (r2i_tparser_skip_name(p, "in")) return R2I_OP_IN;
    if (r2i_tparser_is_name(p, "not") && token_is_name(p->at + 1, "in")) {
        p->at += 2;
        return R2I_OP_NOT_IN;
    }
    return 0;
}

static bool parse_comparison(r2i_tparser *p, r2i_tnode **out) {
    if (!parse_sum(p, out)) return false;
    r2i_tnode *chain = NULL;
    for (int op; (op = take_comparison(p)) != 0;) {
        r2i_tnode *operand = r2i_tparser_node(p, R2I_TN_OPERAND);
        if (chain == NULL) {
            chain = r2i_tparser_node(p, R2I_TN_COMPARE);
            if (chain == NULL || !r2i_tparser_push(p, chain, *out)) return false;
            *out = chain;
        }
        if (operand == NULL) return false;
        operand->op = op;
        if (!parse_sum(p, &operand->a) || !r2i_tparser_push(p, chain, operand)) return false;
    }
    return true;
}

static bool parse_not(r2i_tparser *p, r2i_tnode **out) {
    bool is_negated = false, is_not = false;
    while (r2i_tparser_skip_name(p, "not")) {
        is_not = true;
        is_negated = !is_negated;
    }
    if (!parse_comparison(p, out)) return false;
    for (int i = 0; is_not && i < (is_negated ? 1 : 2); i++) { /* "not not x" is a bool as well */
        r2i_tnode *node = r2i_tparser_node(p, R2I_TN_NOT);
        if (node == NULL) return false;
        node->a = *out;
        *out = node;
    }
    return true;
}

static bool parse_and(r2i_tparser *p, r2i_tnode **out) {
    return parse_series(p, parse_not, R2I_TN_AND, "and", out);
}
static bool parse_or(r2i_tparser *p, r2i_tnode **out) {
    return parse_series(p, parse_and, R2I_TN_OR, "or", out);
}

bool r2i_tparser_expression(r2i_tparser *p, r2i_tnode **out) {
    if (!r2i_tparser_enter(p) || !parse_or(p, out)) return false;
    int n_wrapped = 0;
    while (r2i_tparser_skip_name(p, "if")) {
        r2i_tnode *choice = wrap(p, R2I_TN_CONDITION, *out, &n_wrapped);
        if (choice == NULL || !parse_or(p, &choice->b)) return false;
        if (r2i_tparser_skip_name(p, "else") && !r2i_tparser_expression(p, &choice->c))
            return false;
        *out = choice;
    }
    p->n_nested--;
    return true;
}

static bool at_tuple_end(const r2i_tparser *p, const char *extra_end) {
    return p->at->kind == R2I_TT_VARIABLE_END || p->at->kind == R2I_TT_BLOCK_END ||
           r2i_tparser_is_op(p, ")") || (extra_end != NULL && r2i_tparser_is_name(p, extra_end));
}

bool r2i_tparser_tuple(r2i_tparser *p, bool with_condition, const char *extra_end,
                       bool in_parentheses, r2i_tnode **out) {
    r2i_tnode *tuple = r2i_tparser_node(p, R2I_TN_TUPLE), *item;
    bool is_tuple = false;
    if (tuple == NULL) return false;
    while (!at_tuple_end(p, extra_end)) {
        if (!(with_condition ? r2i_tparser_expression(p, &item) : parse_or(p, &item))) return false;
        if (!r2i_tparser_push(p, tuple, item)) return false;
        if (!r2i_tparser_skip_op(p, ",")) break;
        is_tuple = true;
    }
    if (!is_tuple && tuple->n_items == 0 && !in_parentheses)
        return r2i_tparser_fail(p, "an expression");
    *out = is_tuple || tuple->n_items == 0 ? tuple : tuple->items[0];
    return true;
}
