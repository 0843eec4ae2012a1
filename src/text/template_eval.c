/* Evaluates expressions; the scopes of names.  Statements are run by template_exec.c. */
#include "text/template_eval.h"

#include <string.h>

bool r2i_tframe_set(r2i_trun *run, const r2i_tstring *name, r2i_tvalue value) {
    r2i_tframe *frame = run->frame;
    if (!r2i_trun_work(run, frame->n_variables / 16)) return false;
    for (size_t i = 0; i < frame->n_variables; i++) {
        if (!r2i_tstring_equal(frame->variables[i].name, name)) continue;
        frame->variables[i].value = value;
        return true;
    }
    if (frame->n_variables == frame->cap_variables) {
        const size_t cap = frame->cap_variables == 0 ? 4 : 2 * frame->cap_variables;
        void *variables = r2i_trun_take(run, cap, sizeof *frame->variables);
        if (variables == NULL) return false;
        if (frame->n_variables != 0) {
            memcpy(variables, frame->variables, frame->n_variables * sizeof *frame->variables);
        }
        frame->variables = variables;
        frame->cap_variables = cap;
    }
    frame->variables[frame->n_variables].name = name;
    frame->variables[frame->n_variables++].value = value;
    return true;
}

bool r2i_tframe_find(r2i_trun *run, const r2i_tstring *name, r2i_tvalue *out) {
    for (const r2i_tframe *frame = run->frame; frame != NULL; frame = frame->parent) {
        if (!r2i_trun_work(run, frame->n_variables / 16)) return false;
        for (size_t i = 0; i < frame->n_variables; i++) {
            if (!r2i_tstring_equal(frame->variables[i].name, name)) continue;
            *out = frame->variables[i].value;
            return true;
        }
    }
    const r2i_tvalue key = r2i_tvalue_string(name);
    r2i_tvalue *found;
    if (!r2i_tdict_find(run, run->context, &key, &found)) return false;
    const r2i_tfunction *function = r2i_template_find_function(name);
    if (found != NULL) {
        *out = *found;
    } else if (function != NULL) {
        *out = (r2i_tvalue){ .kind = R2I_TV_FUNCTION, .as.function = function };
    } else {
        *out = r2i_tvalue_undefined(name);
    }
    return true;
}

static bool eval_sequence(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    const r2i_tflavor flavor = node->kind == R2I_TN_TUPLE ? R2I_TS_TUPLE : R2I_TS_LIST;
    if (!r2i_tsequence_create(run, flavor, node->n_items, out)) return false;
    for (size_t i = 0; i < node->n_items; i++) {
        r2i_tvalue item;
        if (!r2i_template_eval(run, node->items[i], &item)) return false;
        if (!r2i_tsequence_push(run, out->as.sequence, item)) return false;
    }
    return true;
}

static bool eval_dict(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    if (!r2i_tdict_create(run, R2I_TV_DICT, out)) return false;
    for (size_t i = 0; i < node->n_items; i += 2) {
        r2i_tvalue key, value;
        if (!r2i_template_eval(run, node->items[i], &key)) return false;
        if (!r2i_template_eval(run, node->items[i + 1], &value)) return false;
        if (!r2i_tdict_set(run, out->as.dict, key, value)) return false;
    }
    return true;
}

static bool eval_slice(r2i_trun *run, const r2i_tnode *node, const r2i_tvalue *object,
                       r2i_tvalue *out) {
    r2i_tvalue parts[3];
    for (size_t i = 0; i < 3; i++) {
        parts[i] = r2i_tvalue_none();
        if (node->items[i] != NULL && !r2i_template_eval(run, node->items[i], &parts[i]))
            return false;
    }
    return r2i_template_slice(run, object, parts, out);
}

/* a.name, a[b], a[x:y:z] */
static bool eval_access(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tvalue object, key;
    if (!r2i_template_eval(run, node->a, &object)) return false;
    run->line = node->line;
    if (node->kind == R2I_TN_ATTRIBUTE)
        return r2i_template_attribute(run, &object, node->name, out);
    if (node->kind == R2I_TN_SLICE) return eval_slice(run, node, &object, out);
    return r2i_template_eval(run, node->b, &key) && r2i_template_item(run, &object, &key, out);
}

static bool eval_call(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tvalue callee;
    r2i_targs args = { 0 };
    if (!r2i_template_eval(run, node->a, &callee) || !r2i_targs_eval(run, node, &args))
        return false;
    run->line = node->line;
    return r2i_template_call(run, &callee, &args, out);
}

static bool eval_filter(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tvalue self;
    r2i_targs args = { 0 };
    if (!r2i_template_eval(run, node->a, &self) || !r2i_targs_eval(run, node, &args)) return false;
    run->line = node->line;
    return r2i_template_filter(run, node->name, &self, &args, out);
}

static bool eval_test(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tvalue self;
    r2i_targs args = { 0 };
    bool is = false;
    if (!r2i_template_eval(run, node->a, &self) || !r2i_targs_eval(run, node, &args)) return false;
    run->line = node->line;
    if (!r2i_template_test(run, node->name, &self, &args, &is)) return false;
    *out = r2i_tvalue_bool(is);
    return true;
}

static bool eval_sign(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tvalue v;
    int64_t i;
    if (!r2i_template_eval(run, node->a, &v) || !r2i_tvalue_require(run, &v)) return false;
    if (r2i_tvalue_as_int(&v, &i)) {
        if (node->op == '-' && __builtin_sub_overflow((int64_t)0, i, &i)) {
            return r2i_trun_fail(run, R2_E_RANGE, "integer too large");
        }
        *out = r2i_tvalue_int(i);
        return true;
    }
    if (v.kind != R2I_TV_FLOAT) {
        return r2i_trun_fail(run, R2_E_FORMAT, "bad operand type for unary %c: '%s'",
                             (char)node->op, r2i_tvalue_type_name(&v));
    }
    *out = r2i_tvalue_float(node->op == '-' ? -v.as.real : v.as.real);
    return true;
}

/* From left to right: Jinja's ** groups to the left as well, unlike Python's. */
static bool eval_chain(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    if (!r2i_template_eval(run, node->items[0], out)) return false;
    for (size_t i = 1; i < node->n_items; i++) {
        r2i_tvalue right, result;
        if (!r2i_template_eval(run, node->items[i]->a, &right)) return false;
        run->line = node->items[i]->line;
        if (!r2i_trun_work(run, 1)) return false;
        if (!r2i_template_operate(run, node->items[i]->op, out, &right, &result)) return false;
        *out = result;
    }
    return true;
}

static bool compare(r2i_trun *run, int op, const r2i_tvalue *a, const r2i_tvalue *b, bool *holds) {
    int order;
    switch (op) {
    case R2I_OP_EQ:
        return r2i_tvalue_equal(run, a, b, holds);
    case R2I_OP_NE:
        if (!r2i_tvalue_equal(run, a, b, holds)) return false;
        *holds = !*holds;
        return true;
    case R2I_OP_IN:
        return r2i_tvalue_contains(run, b, a, holds);
    case R2I_OP_NOT_IN:
        if (!r2i_tvalue_contains(run, b, a, holds)) return false;
        *holds = !*holds;
        return true;
    default:
        break;
    }
    if (!r2i_tvalue_order(run, a, b, &order)) return false;
    *holds = op == '<'         ? order < 0
             : op == '>'       ? order == 1
             : op == R2I_OP_LE ? order <= 0
                               : order == 0 || order == 1;
    return true;
}

/* a < b < c holds when every pair does; each operand is evaluated once. */
static bool eval_compare(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tvalue left, right;
    bool holds = true;
    if (!r2i_template_eval(run, node->items[0], &left)) return false;
    for (size_t i = 1; i < node->n_items && holds; i++) {
        if (!r2i_template_eval(run, node->items[i]->a, &right)) return false;
        run->line = node->items[i]->line;
        if (!compare(run, node->items[i]->op, &left, &right, &holds)) return false;
        left = right;
    }
    *out = r2i_tvalue_bool(holds);
    return true;
}

/* "and" and "or" give the operand that decided. */
static bool eval_logic(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    for (size_t i = 0; i < node->n_items; i++) {
        if (!r2i_template_eval(run, node->items[i], out)) return false;
        if (r2i_tvalue_truth(out) == (node->kind == R2I_TN_OR)) return true;
    }
    return true;
}

static bool eval_concat(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    for (size_t i = 0; i < node->n_items; i++) {
        r2i_tvalue v;
        if (!r2i_template_eval(run, node->items[i], &v) || !r2i_tbuilder_add_value(&b, &v))
            return false;
    }
    return r2i_tbuilder_finish(&b, out);
}

static bool eval_condition(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tvalue v;
    if (!r2i_template_eval(run, node->b, &v)) return false;
    const r2i_tnode *chosen = r2i_tvalue_truth(&v) ? node->a : node->c;
    if (chosen != NULL) return r2i_template_eval(run, chosen, out);
    *out = r2i_tvalue_undefined(NULL);
    return true;
}

static bool eval_not(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tvalue v;
    if (!r2i_template_eval(run, node->a, &v)) return false;
    *out = r2i_tvalue_bool(!r2i_tvalue_truth(&v));
    return true;
}

static bool eval_node(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    switch (node->kind) {
    case R2I_TN_CONST:
        *out = node->value;
        return true;
    case R2I_TN_NAME:
        return r2i_tframe_find(run, node->name, out);
    case R2I_TN_LIST:
    case R2I_TN_TUPLE:
        return eval_sequence(run, node, out);
    case R2I_TN_DICT:
        return eval_dict(run, node, out);
    case R2I_TN_ATTRIBUTE:
    case R2I_TN_ITEM:
    case R2I_TN_SLICE:
        return eval_access(run, node, out);
    case R2I_TN_CALL:
        return eval_call(run, node, out);
    case R2I_TN_FILTER:
        return eval_filter(run, node, out);
    case R2I_TN_TEST:
        return eval_test(run, node, out);
    case R2I_TN_NOT:
        return eval_not(run, node, out);
    case R2I_TN_SIGN:
        return eval_sign(run, node, out);
    case R2I_TN_CHAIN:
        return eval_chain(run, node, out);
    case R2I_TN_COMPARE:
        return eval_compare(run, node, out);
    case R2I_TN_AND:
    case R2I_TN_OR:
        return eval_logic(run, node, out);
    case R2I_TN_CONCAT:
        return eval_concat(run, node, out);
    case R2I_TN_CONDITION:
        return eval_condition(run, node, out);
    default:
        return r2i_trun_fail(run, R2_E_FORMAT, "not an expression");
    }
}

bool r2i_template_eval(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    run->line = node->line;
    *out = r2i_tvalue_undefined(NULL);
    if (!r2i_trun_enter(run)) return false;
    const bool ok = eval_node(run, node, out);
    r2i_trun_leave(run);
    return ok;
}
