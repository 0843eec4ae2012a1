/* Runs statements.  Expressions are evaluated by template_eval.c. */
#include <string.h>

#include "text/template_eval.h"

bool r2i_template_capture(r2i_trun *run, const r2i_tnode *body, r2i_tflow *flow, r2i_tvalue *out) {
    r2i_tbuilder text, *const outer = run->out;
    r2i_tbuilder_init(&text, run);
    run->out = &text;
    const bool ok = r2i_template_exec(run, body, flow);
    run->out = outer;
    return ok && r2i_tbuilder_finish(&text, out);
}

static bool assign(r2i_trun *run, const r2i_tnode *target, r2i_tvalue value);

static bool unpack(r2i_trun *run, const r2i_tnode *target, const r2i_tvalue *value) {
    const r2i_tvalue *items;
    size_t n;
    if (!r2i_tvalue_iterate(run, value, &items, &n)) return false;
    if (n != target->n_items) {
        return r2i_trun_fail(run, R2_E_FORMAT, "%s values to unpack (expected %zu, got %zu)",
                             n < target->n_items ? "not enough" : "too many", target->n_items, n);
    }
    for (size_t i = 0; i < n; i++) {
        if (!assign(run, target->items[i], items[i])) return false;
    }
    return true;
}

static bool assign(r2i_trun *run, const r2i_tnode *target, r2i_tvalue value) {
    if (target->kind == R2I_TN_TUPLE) return unpack(run, target, &value);
    if (target->kind == R2I_TN_NAME) return r2i_tframe_set(run, target->name, value);
    r2i_tvalue space;
    if (!r2i_tframe_find(run, target->name, &space)) return false;
    if (space.kind != R2I_TV_NAMESPACE) {
        return r2i_trun_fail(run, R2_E_FORMAT, "cannot assign attribute on non-namespace object");
    }
    return r2i_tdict_set(run, space.as.dict, target->value, value);
}

static bool exec_output(r2i_trun *run, const r2i_tnode *node) {
    for (size_t i = 0; i < node->n_items; i++) {
        r2i_tvalue v;
        if (!r2i_template_eval(run, node->items[i], &v)) return false;
        if (!r2i_tbuilder_add_value(run->out, &v)) return false;
    }
    return true;
}

static bool exec_if(r2i_trun *run, const r2i_tnode *node, r2i_tflow *flow) {
    for (size_t i = 0; i < node->n_items; i += 2) {
        r2i_tvalue v;
        if (!r2i_template_eval(run, node->items[i], &v)) return false;
        if (r2i_tvalue_truth(&v)) return r2i_template_exec(run, node->items[i + 1], flow);
    }
    return node->a == NULL || r2i_template_exec(run, node->a, flow);
}

/* The items that pass "for ... if c", each tried in a scope with the loop's target. */
static bool filter_items(r2i_trun *run, const r2i_tnode *node, const r2i_tvalue **items,
                         size_t *n) {
    r2i_tvalue kept, v;
    if (!r2i_tsequence_create(run, R2I_TS_LIST, 0, &kept)) return false;
    for (size_t i = 0; i < *n; i++) {
        if (!assign(run, node->a, (*items)[i]) || !r2i_template_eval(run, node->c, &v))
            return false;
        if (r2i_tvalue_truth(&v) && !r2i_tsequence_push(run, kept.as.sequence, (*items)[i]))
            return false;
    }
    *items = kept.as.sequence->items;
    *n = kept.as.sequence->n_items;
    return true;
}

static bool run_loop(r2i_trun *run, const r2i_tnode *node, const r2i_tvalue *items, size_t n) {
    static const r2i_tstring loop_name = { .bytes = "loop", .n_bytes = 4 };
    r2i_tloop *loop = r2i_trun_take(run, 1, sizeof *loop);
    if (loop == NULL) return false;
    *loop = (r2i_tloop){ .items = items, .n_items = n };
    const r2i_tvalue value = { .kind = R2I_TV_LOOP, .as.loop = loop };
    for (size_t i = 0; i < n; i++) {
        r2i_tflow flow = R2I_FLOW_ON;
        loop->index = i;
        run->frame->n_variables = 0; /* every turn begins with a fresh scope */
        run->line = node->line;
        if (!r2i_trun_work(run, 1) || !r2i_tframe_set(run, &loop_name, value)) return false;
        if (!assign(run, node->a, items[i]) || !r2i_template_exec(run, node->items[0], &flow))
            return false;
        if (flow == R2I_FLOW_BREAK) break;
    }
    return true;
}

static bool exec_for(r2i_trun *run, const r2i_tnode *node, r2i_tflow *flow) {
    r2i_tvalue over;
    const r2i_tvalue *items;
    size_t n;
    r2i_tframe frame = { .parent = run->frame };
    if (!r2i_template_eval(run, node->b, &over)) return false;
    if (!r2i_tvalue_iterate(run, &over, &items, &n)) return false;
    r2i_tframe *own =
        r2i_trun_take(run, 1, sizeof *own); /* macros defined inside may outlive the loop */
    if (own == NULL) return false;
    *own = frame;
    run->frame = own;
    bool ok = node->c == NULL || filter_items(run, node, &items, &n);
    if (ok && n != 0) ok = run_loop(run, node, items, n);
    own->n_variables = 0;
    if (ok && n == 0 && node->items[1] != NULL) ok = r2i_template_exec(run, node->items[1], flow);
    run->frame = own->parent;
    return ok;
}

/* Runs `body` in a scope of its own. */
static bool exec_scope(r2i_trun *run, const r2i_tnode *node, r2i_tflow *flow) {
    r2i_tframe *frame = r2i_trun_take(run, 1, sizeof *frame);
    if (frame == NULL) return false;
    frame->parent = run->frame;
    bool ok = true;
    for (size_t i = 0; ok && i + 1 < node->n_items;
         i += 2) { /* of "with": values see the outer scope */
        r2i_tvalue value;
        ok = r2i_template_eval(run, node->items[i + 1], &value);
        run->frame = frame;
        ok = ok && assign(run, node->items[i], value);
        run->frame = frame->parent;
    }
    run->frame = frame;
    ok = ok && r2i_template_exec(run, node->a, flow);
    run->frame = frame->parent;
    return ok;
}

/* Filters of a block: `value` stands for the missing innermost operand. */
static bool apply_filters(r2i_trun *run, const r2i_tnode *filter, r2i_tvalue *value) {
    if (filter == NULL) return true;
    r2i_targs args = { 0 };
    r2i_tvalue out;
    if (!r2i_trun_enter(run)) return false;
    const bool ok = apply_filters(run, filter->a, value) && r2i_targs_eval(run, filter, &args) &&
                    r2i_template_filter(run, filter->name, value, &args, &out);
    r2i_trun_leave(run);
    if (ok) *value = out;
    return ok;
}

/* A captured body in its own scope, filtered. */
static bool capture_filtered(r2i_trun *run, const r2i_tnode *body, const r2i_tnode *filter,
                             r2i_tflow *flow, r2i_tvalue *out) {
    r2i_tframe *frame = r2i_trun_take(run, 1, sizeof *frame);
    if (frame == NULL) return false;
    frame->parent = run->frame;
    run->frame = frame;
    const bool ok = r2i_template_capture(run, body, flow, out);
    run->frame = frame->parent;
    return ok && apply_filters(run, filter, out);
}

static bool make_macro(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out) {
    r2i_tmacro *macro = r2i_trun_take(run, 1, sizeof *macro);
    if (macro == NULL) return false;
    *macro = (r2i_tmacro){ node, run->frame };
    *out = (r2i_tvalue){ .kind = R2I_TV_MACRO, .as.macro = macro };
    return true;
}

static bool exec_call_block(r2i_trun *run, const r2i_tnode *node) {
    static const r2i_tstring caller_name = { .bytes = "caller", .n_bytes = 6 };
    r2i_tvalue callee, caller, text;
    r2i_targs args = { 0 };
    if (!r2i_template_eval(run, node->a->a, &callee) || !r2i_targs_eval(run, node->a, &args))
        return false;
    if (!make_macro(run, node->b, &caller) ||
        !r2i_targs_push_named(run, &args, &caller_name, caller))
        return false;
    return r2i_template_call(run, &callee, &args, &text) && r2i_tbuilder_add_value(run->out, &text);
}

static bool exec_node(r2i_trun *run, const r2i_tnode *node, r2i_tflow *flow) {
    r2i_tvalue v;
    switch (node->kind) {
    case R2I_TN_BODY:
        for (size_t i = 0; i < node->n_items && *flow == R2I_FLOW_ON; i++) {
            if (!r2i_template_exec(run, node->items[i], flow)) return false;
        }
        return true;
    case R2I_TN_TEXT:
        return r2i_tbuilder_add_string(run->out, node->value.as.string);
    case R2I_TN_OUTPUT:
        return exec_output(run, node);
    case R2I_TN_IF:
        return exec_if(run, node, flow);
    case R2I_TN_FOR:
        return exec_for(run, node, flow);
    case R2I_TN_SET:
        return r2i_template_eval(run, node->b, &v) && assign(run, node->a, v);
    case R2I_TN_SET_BLOCK:
        return capture_filtered(run, node->b, node->c, flow, &v) && assign(run, node->a, v);
    case R2I_TN_MACRO:
        return make_macro(run, node, &v) && r2i_tframe_set(run, node->name, v);
    case R2I_TN_CALL_BLOCK:
        return exec_call_block(run, node);
    case R2I_TN_FILTER_BLOCK:
        return capture_filtered(run, node->b, node->a, flow, &v) &&
               r2i_tbuilder_add_value(run->out, &v);
    case R2I_TN_SCOPE:
    case R2I_TN_WITH:
        return exec_scope(run, node, flow);
    case R2I_TN_BREAK:
        *flow = R2I_FLOW_BREAK;
        return true;
    case R2I_TN_CONTINUE:
        *flow = R2I_FLOW_CONTINUE;
        return true;
    default:
        return r2i_trun_fail(run, R2_E_FORMAT, "not a statement");
    }
}

bool r2i_template_exec(r2i_trun *run, const r2i_tnode *node, r2i_tflow *flow) {
    run->line = node->line;
    if (!r2i_trun_enter(run)) return false;
    const bool ok = exec_node(run, node, flow);
    r2i_trun_leave(run);
    return ok;
}
