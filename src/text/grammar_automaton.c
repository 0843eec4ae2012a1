#include "text/grammar_automaton.h"

#include <string.h>

#include "base/failure.h"
#include "text/utf8_scan.h"

enum { MAX_INLINE_TIMES = 3, END_NODE = 0 };

typedef struct {
    r2i_automaton *a;
    r2_status status;
} builder;

void r2i_automaton_destroy(r2i_automaton *a) {
    if (a->heap == NULL) return;
    r2i_heap_give(a->heap, a->nodes, (size_t)a->cap_nodes * sizeof *a->nodes);
    r2i_heap_give(a->heap, a->starts, (size_t)a->cap_rules * sizeof *a->starts);
    r2i_heap_give(a->heap, a->chains, (size_t)a->cap_chains * sizeof *a->chains);
    *a = (r2i_automaton){ 0 };
}

size_t r2i_automaton_memory(const r2i_automaton *a) {
    return (size_t)a->cap_nodes * sizeof *a->nodes + (size_t)a->cap_rules * sizeof *a->starts +
           (size_t)a->cap_chains * sizeof *a->chains;
}

/* ---- growing ---- */

static int32_t fail(builder *b, r2_status status) {
    if (b->status == R2_OK) b->status = status;
    return END_NODE;
}

/* Room for n_more items behind n; the new array, or NULL. */
static void *grow(builder *b, void *items, int32_t n, int32_t n_more, int32_t *cap,
                  size_t item_bytes, int32_t limit) {
    if (n_more > limit - n) {
        (void)fail(b, R2_E_LIMIT);
        return NULL;
    }
    if (n + n_more <= *cap) return items;
    int32_t wanted = *cap < 64 ? 64 : 2 * *cap;
    if (wanted < n + n_more) wanted = n + n_more;
    void *more =
        r2i_heap_resize(b->a->heap, items, (size_t)*cap * item_bytes, (size_t)wanted * item_bytes);
    if (more == NULL)
        (void)fail(b, R2_E_NOMEM);
    else
        *cap = wanted;
    return more;
}

/* First of n new nodes, END nodes so far. */
static int32_t add_nodes(builder *b, int32_t n) {
    r2i_automaton *a = b->a;
    r2i_grammar_node *nodes =
        grow(b, a->nodes, a->n_nodes, n, &a->cap_nodes, sizeof *nodes, R2I_GRAMMAR_MAX_NODES);
    if (nodes == NULL) return -1;
    a->nodes = nodes;
    memset(nodes + a->n_nodes, 0, (size_t)n * sizeof *nodes);
    a->n_nodes += n;
    return a->n_nodes - n;
}

static int32_t add_node(builder *b, r2i_grammar_node node) {
    const int32_t at = add_nodes(b, 1);
    if (at < 0) return END_NODE;
    b->a->nodes[at] = node;
    return at;
}

static int32_t add_bytes(builder *b, uint8_t first, uint8_t last, int32_t next) {
    return add_node(
        b, (r2i_grammar_node){
               .kind = R2I_NODE_BYTES, .first = first, .last = last, .next = next, .other = -1 });
}

static int32_t add_split(builder *b, int32_t next, int32_t other) {
    return add_node(b, (r2i_grammar_node){ .kind = R2I_NODE_SPLIT, .next = next, .other = other });
}

static int32_t add_call(builder *b, int32_t rule, int32_t next) {
    return add_node(
        b, (r2i_grammar_node){
               .kind = R2I_NODE_CALL, .is_tail = next == END_NODE, .next = next, .other = rule });
}

/* ---- characters as bytes ---- */

/* Adds "first..last, then next" as one more way beside `ways` (-1: none yet). */
typedef struct {
    builder *b;
    int32_t next, ways;
    int32_t rest[3]; /* behind a lead byte: 1 or 2 continuation bytes of any value; -1: not made */
} class_builder;

/* The node for n_left continuation bytes of any value. */
static int32_t any_rest(class_builder *c, int n_left) {
    if (n_left == 0) return c->next;
    if (c->rest[n_left - 1] < 0)
        c->rest[n_left - 1] = add_bytes(c->b, 0x80, 0xbf, any_rest(c, n_left - 1));
    return c->rest[n_left - 1];
}

static void add_way(class_builder *c, int32_t first, int32_t last) {
    char low[4], high[4];
    const int n = r2i_utf8_put(low, first);
    (void)r2i_utf8_put(high, last);
    int n_any = 0;
    while (n_any < n - 1 && (uint8_t)low[n - 1 - n_any] == 0x80 &&
           (uint8_t)high[n - 1 - n_any] == 0xbf)
        n_any++;
    int32_t node = any_rest(c, n_any);
    for (int i = n - 1 - n_any; i >= 0; i--)
        node = add_bytes(c->b, (uint8_t)low[i], (uint8_t)high[i], node);
    c->ways = c->ways < 0 ? node : add_split(c->b, node, c->ways);
}

/* Cuts a range until each byte of its encoding runs over a range of its own. */
static void add_range(class_builder *c, int32_t first, int32_t last) {
    static const int32_t ENDS[] = { 0x7f, 0x7ff, 0xffff };
    for (int i = 0; i < 3; i++) {
        if (first <= ENDS[i] && last > ENDS[i]) {
            add_range(c, first, ENDS[i]);
            add_range(c, ENDS[i] + 1, last);
            return;
        }
    }
    for (int bits = 6; bits <= 18 && last > 0x7f; bits += 6) {
        const int32_t mask = (1 << bits) - 1;
        if ((first & ~mask) == (last & ~mask)) continue;
        if ((first & mask) != 0) {
            add_range(c, first, first | mask);
            add_range(c, (first | mask) + 1, last);
            return;
        }
        if ((last & mask) != mask) {
            add_range(c, first, (last & ~mask) - 1);
            add_range(c, last & ~mask, last);
            return;
        }
    }
    add_way(c, first, last);
}

static int32_t add_class(builder *b, const r2i_expression *e, int32_t next) {
    class_builder c = { .b = b, .next = next, .ways = -1, .rest = { -1, -1, -1 } };
    for (size_t i = e->n_ranges; i-- > 0 && b->status == R2_OK;)
        add_range(&c, e->ranges[i].first, e->ranges[i].last);
    return c.ways >= 0 ? c.ways : add_split(b, -1, -1); /* no character: no way on */
}

/* ---- expressions ---- */

/* The node that reads `e` and goes on at `next`.  Built from the end. */
static int32_t add_expression(builder *b, const r2i_expression *e, int32_t next);

static int32_t add_text(builder *b, const r2i_expression *e, int32_t next) {
    for (size_t i = e->n_bytes; i-- > 0 && b->status == R2_OK;)
        next = add_bytes(b, (uint8_t)e->bytes[i], (uint8_t)e->bytes[i], next);
    return next;
}

/* Parts are a list in one direction, and nodes are made from the last on. */
static int32_t add_parts(builder *b, const r2i_expression *part, int32_t next) {
    const r2i_expression *parts[128];
    int32_t n = 0;
    for (; part != NULL && n < 128; part = part->next)
        parts[n++] = part;
    if (part != NULL) next = add_parts(b, part, next);
    while (n > 0 && b->status == R2_OK)
        next = add_expression(b, parts[--n], next);
    return next;
}

static int32_t add_choice(builder *b, const r2i_expression *e, int32_t next) {
    int32_t ways = -1;
    for (const r2i_expression *part = e->parts; part != NULL && b->status == R2_OK;
         part = part->next) {
        const int32_t way = add_expression(b, part, next);
        ways = ways < 0 && part->next == NULL ? way : add_split(b, way, ways);
    }
    return ways >= 0 ? ways : add_split(b, -1, -1);
}

static int32_t add_rule(builder *b) {
    r2i_automaton *a = b->a;
    int32_t *starts =
        grow(b, a->starts, a->n_rules, 1, &a->cap_rules, sizeof *starts, R2I_GRAMMAR_MAX_NODES);
    if (starts == NULL) return -1;
    a->starts = starts;
    starts[a->n_rules] = END_NODE;
    return a->n_rules++;
}

/* n times `part` as a chain; leaving is possible from time n_min on. */
static int32_t add_chain(builder *b, const r2i_expression *part, int32_t n_min, int32_t n_max,
                         int32_t next) {
    r2i_automaton *a = b->a;
    const int32_t n = n_max < 0 ? n_min : n_max, rule = add_rule(b);
    if (rule < 0) return END_NODE;
    const int32_t body = add_expression(b, part, END_NODE);
    if (b->status != R2_OK) return END_NODE;
    a->starts[rule] = body;
    if (n_max < 0) { /* the loop behind the last time */
        const int32_t loop = add_split(b, -1, next), again = add_call(b, rule, loop);
        if (b->status != R2_OK) return END_NODE;
        a->nodes[loop].next = again;
        next = loop;
    }
    const int32_t begin = add_nodes(b, 2 * n + 1);
    r2i_grammar_chain *chains =
        grow(b, a->chains, a->n_chains, 1, &a->cap_chains, sizeof *chains, R2I_GRAMMAR_MAX_NODES);
    if (begin < 0 || chains == NULL) return END_NODE;
    a->chains = chains;
    chains[a->n_chains++] = (r2i_grammar_chain){ begin, n, n_min, n_max };
    for (int32_t i = 0; i <= n; i++) {
        r2i_grammar_node *split = &a->nodes[begin + 2 * i];
        *split = (r2i_grammar_node){ .kind = R2I_NODE_SPLIT,
                                     .is_chain = true,
                                     .next = i < n ? begin + 2 * i + 1 : -1,
                                     .other = i >= n_min ? next : -1 };
        if (i == n) break;
        a->nodes[begin + 2 * i + 1] = (r2i_grammar_node){
            .kind = R2I_NODE_CALL, .is_chain = true, .next = begin + 2 * i + 2, .other = rule
        };
    }
    return begin;
}

static int32_t add_repeat(builder *b, const r2i_expression *e, int32_t next) {
    const int32_t n_min = e->n_min, n_max = e->n_max;
    if (n_min > MAX_INLINE_TIMES || n_max > MAX_INLINE_TIMES)
        return add_chain(b, e->parts, n_min, n_max, next);
    if (n_max < 0) {
        const int32_t loop = add_split(b, -1, next);
        const int32_t body = add_expression(b, e->parts, loop);
        if (b->status == R2_OK) b->a->nodes[loop].next = body;
        next = loop;
    }
    const int32_t behind = next;
    for (int32_t i = n_max < 0 ? n_min : n_max; i > 0 && b->status == R2_OK; i--) {
        next = add_expression(b, e->parts, next);
        if (i > n_min) next = add_split(b, next, behind);
    }
    return next;
}

static int32_t add_expression(builder *b, const r2i_expression *e, int32_t next) {
    if (b->status != R2_OK) return END_NODE;
    switch (e->kind) {
    case R2I_EXPRESSION_TEXT:
        return add_text(b, e, next);
    case R2I_EXPRESSION_CLASS:
        return add_class(b, e, next);
    case R2I_EXPRESSION_SEQUENCE:
        return add_parts(b, e->parts, next);
    case R2I_EXPRESSION_CHOICE:
        return add_choice(b, e, next);
    case R2I_EXPRESSION_REPEAT:
        return add_repeat(b, e, next);
    case R2I_EXPRESSION_RULE:
        return add_call(b, e->rule, next);
    }
    return END_NODE;
}

r2_status r2i_automaton_build(r2i_automaton *out, const r2i_grammar_draft *draft, r2i_heap *heap,
                              r2_error *err) {
    builder b = { .a = out };
    *out = (r2i_automaton){ .heap = heap, .root = draft->root };
    (void)add_nodes(&b, 1); /* END_NODE */
    for (int32_t i = 0; i < draft->n_rules && b.status == R2_OK; i++)
        (void)add_rule(&b);
    for (int32_t i = 0; i < draft->n_rules && b.status == R2_OK; i++) {
        const int32_t start = add_expression(&b, draft->rules[i].body, END_NODE);
        if (b.status == R2_OK) out->starts[i] = start;
    }
    r2_status status = b.status;
    if (status != R2_OK)
        status = r2i_fail(err, status, "grammar: %s",
                          status == R2_E_LIMIT ? "too large, repetitions within repetitions count"
                                               : "no memory");
    else
        status = r2i_automaton_finish(out, draft, err);
    if (status != R2_OK) r2i_automaton_destroy(out);
    return status;
}

/* ---- chains ---- */

static const r2i_grammar_chain *find_chain(const r2i_automaton *a, int32_t node) {
    int32_t low = 0, high = a->n_chains;
    while (high - low > 1) {
        const int32_t middle = low + (high - low) / 2;
        if (a->chains[middle].begin <= node)
            low = middle;
        else
            high = middle;
    }
    return &a->chains[low];
}

int32_t r2i_automaton_canonical(const r2i_automaton *a, int32_t node, int32_t n_bytes) {
    const r2i_grammar_chain *c = find_chain(a, node);
    const int32_t at = (node - c->begin) / 2, parity = (node - c->begin) % 2;
    /* A time takes a byte at least, so within n_bytes no more than that many pass. */
    if (at + n_bytes + 1 < c->n_min) return c->begin + parity;
    if (at > c->n_min && c->n_max >= 0 && at + n_bytes + 1 < c->n)
        return c->begin + 2 * c->n_min + parity;
    return node;
}
