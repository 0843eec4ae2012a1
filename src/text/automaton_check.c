/* automaton_check.c - what must be known of a network of nodes before it is used: that its rules do
 * not begin with themselves, from where a text can end, and which bytes are alike. */
#include <string.h>

#include "base/failure.h"
#include "text/grammar_automaton.h"

enum { MAX_ROUNDS = 400 };

/* Scratch, one entry per node or rule. */
typedef struct {
    r2i_automaton *a;
    uint8_t *is_empty; /* [n_nodes] the rule's end can be reached without a byte */
    int32_t *seen;     /* [n_nodes] last rule whose beginning was seen to reach this node */
    int32_t *stack;    /* [n_nodes + 1] */
    uint8_t *is_done;  /* [n_rules] */
} checking;

/* Repeats `change` over all nodes in both directions until it changes nothing. */
static r2_status settle(checking *c, bool (*change)(checking *, int32_t), r2_error *err) {
    for (int round = 0; round < MAX_ROUNDS; round++) {
        bool is_changed = false;
        for (int32_t i = 0; i < c->a->n_nodes; i++)
            is_changed |= change(c, round % 2 == 0 ? i : c->a->n_nodes - 1 - i);
        if (!is_changed) return R2_OK;
    }
    return r2i_fail(err, R2_E_LIMIT, "grammar: rules depend on each other in too many ways");
}

/* ---- costs ---- */

static int32_t cost_of(const r2i_automaton *a, int32_t node) {
    return node < 0 ? R2I_GRAMMAR_NO_END : a->nodes[node].cost;
}

static bool change_cost(checking *c, int32_t i) {
    const r2i_automaton *a = c->a;
    r2i_grammar_node *node = &a->nodes[i];
    int32_t cost = cost_of(a, node->next);
    if (node->kind == R2I_NODE_END) cost = 0;
    if (node->kind == R2I_NODE_SPLIT) {
        const int32_t other = cost_of(a, node->other);
        if (other < cost) cost = other;
    }
    if (node->kind == R2I_NODE_CALL) {
        const int32_t inside = cost_of(a, a->starts[node->other]) + !node->is_tail;
        if (inside > cost) cost = inside;
    }
    if (cost > R2I_GRAMMAR_MAX_DEPTH) cost = R2I_GRAMMAR_NO_END;
    if (cost >= node->cost) return false;
    node->cost = (uint16_t)cost;
    return true;
}

static int32_t bytes_of(const r2i_automaton *a, int32_t node) {
    return node < 0 ? R2I_GRAMMAR_FAR : a->nodes[node].n_bytes;
}

static bool change_bytes(checking *c, int32_t i) {
    const r2i_automaton *a = c->a;
    r2i_grammar_node *node = &a->nodes[i];
    int32_t n = bytes_of(a, node->next);
    if (node->kind == R2I_NODE_END) n = 0;
    if (node->kind == R2I_NODE_BYTES) n++;
    if (node->kind == R2I_NODE_SPLIT && bytes_of(a, node->other) < n) n = bytes_of(a, node->other);
    if (node->kind == R2I_NODE_CALL) n += bytes_of(a, a->starts[node->other]);
    if (n >= node->n_bytes) return false;
    node->n_bytes = (uint16_t)n;
    return true;
}

/* ---- left recursion ---- */

static bool is_empty(const checking *c, int32_t node) {
    return node >= 0 && c->is_empty[node] != 0;
}

static bool change_empty(checking *c, int32_t i) {
    const r2i_grammar_node *node = &c->a->nodes[i];
    bool now = node->kind == R2I_NODE_END;
    if (node->kind == R2I_NODE_SPLIT) now = is_empty(c, node->next) || is_empty(c, node->other);
    if (node->kind == R2I_NODE_CALL)
        now = is_empty(c, c->a->starts[node->other]) && is_empty(c, node->next);
    if (now == (c->is_empty[i] != 0)) return false;
    c->is_empty[i] = now;
    return true;
}

static void push_node(checking *c, int32_t rule, int32_t node, int32_t *n) {
    if (node < 0 || c->seen[node] == rule + 1) return;
    c->seen[node] = rule + 1;
    c->stack[(*n)++] = node;
}

/* How many CALLs of rules that are not done a rule can begin with. */
static int32_t count_beginnings(checking *c, int32_t rule) {
    const r2i_automaton *a = c->a;
    int32_t n = 0, n_calls = 0;
    push_node(c, rule, a->starts[rule], &n);
    while (n > 0) {
        const r2i_grammar_node *node = &a->nodes[c->stack[--n]];
        if (node->kind == R2I_NODE_SPLIT) {
            push_node(c, rule, node->next, &n);
            push_node(c, rule, node->other, &n);
        }
        if (node->kind != R2I_NODE_CALL) continue;
        n_calls += !c->is_done[node->other];
        if (is_empty(c, a->starts[node->other])) push_node(c, rule, node->next, &n);
    }
    return n_calls;
}

/* A rule is harmless once all it can begin with is; what is left begins with itself in the end. */
static r2_status check_recursion(checking *c, const r2i_grammar_draft *draft, r2_error *err) {
    const r2i_automaton *a = c->a;
    for (int round = 0; round < MAX_ROUNDS; round++) {
        bool is_changed = false;
        memset(c->seen, 0, (size_t)a->n_nodes * sizeof *c->seen);
        for (int32_t i = 0; i < a->n_rules; i++) {
            const int32_t rule = round % 2 == 0 ? i : a->n_rules - 1 - i;
            if (c->is_done[rule] || count_beginnings(c, rule) > 0) continue;
            c->is_done[rule] = 1;
            is_changed = true;
        }
        if (is_changed) continue;
        for (int32_t i = 0; i < draft->n_rules; i++) {
            if (c->is_done[i]) continue;
            return r2i_fail(err, R2_E_FORMAT,
                            "grammar: rule %.100s: expected a text before the rule calls itself "
                            "(left recursion)",
                            draft->rules[i].name);
        }
        return R2_OK;
    }
    return r2i_fail(err, R2_E_LIMIT, "grammar: rules begin with each other in too many ways");
}

/* ---- bytes ---- */

static void find_classes(r2i_automaton *a) {
    bool begins[257] = { [0] = true };
    for (int32_t i = 0; i < a->n_nodes; i++) {
        if (a->nodes[i].kind != R2I_NODE_BYTES) continue;
        begins[a->nodes[i].first] = true;
        begins[a->nodes[i].last + 1] = true;
    }
    for (int byte = 0; byte < 256; byte++) {
        if (begins[byte]) a->representative[a->n_classes++] = (uint8_t)byte;
        a->class_of[byte] = (uint8_t)(a->n_classes - 1);
    }
}

/* Where a time may be empty, the place in a chain is no measure of bytes. */
static void unmark_empty_chains(checking *c) {
    const r2i_automaton *a = c->a;
    for (int32_t k = 0; k < a->n_chains; k++) {
        const r2i_grammar_chain *chain = &a->chains[k];
        if (chain->n == 0 || !is_empty(c, a->starts[a->nodes[chain->begin + 1].other])) continue;
        for (int32_t i = 0; i <= 2 * chain->n; i++)
            a->nodes[chain->begin + i].is_chain = false;
    }
}

static r2_status check_all(checking *c, const r2i_grammar_draft *draft, r2_error *err) {
    const r2i_automaton *a = c->a;
    for (int32_t i = 0; i < a->n_nodes; i++) {
        a->nodes[i].cost = R2I_GRAMMAR_NO_END;
        a->nodes[i].n_bytes = R2I_GRAMMAR_FAR;
    }
    R2I_TRY(settle(c, change_empty, err));
    R2I_TRY(check_recursion(c, draft, err));
    R2I_TRY(settle(c, change_cost, err));
    R2I_TRY(settle(c, change_bytes, err));
    if (a->nodes[a->starts[a->root]].cost == R2I_GRAMMAR_NO_END)
        return r2i_fail(err, R2_E_FORMAT, "grammar: no text of bounded depth fits it");
    unmark_empty_chains(c);
    return R2_OK;
}

r2_status r2i_automaton_finish(r2i_automaton *a, const r2i_grammar_draft *draft, r2_error *err) {
    const size_t n_nodes = (size_t)a->n_nodes, n_rules = (size_t)a->n_rules;
    r2i_arena arena;
    r2i_arena_init(&arena, a->heap, 64 << 10, 0);
    checking c = { .a = a,
                   .is_empty = R2I_ARENA_ARRAY(&arena, uint8_t, n_nodes),
                   .seen = R2I_ARENA_ARRAY(&arena, int32_t, n_nodes),
                   .stack = R2I_ARENA_ARRAY(&arena, int32_t, n_nodes + 1),
                   .is_done = R2I_ARENA_ARRAY(&arena, uint8_t, n_rules) };
    r2_status status;
    if (c.is_empty == NULL || c.seen == NULL || c.stack == NULL || c.is_done == NULL)
        status = r2i_fail(err, R2_E_NOMEM, "grammar: no memory");
    else
        status = check_all(&c, draft, err);
    r2i_arena_destroy(&arena);
    find_classes(a);
    return status;
}
