#include "text/grammar_states.h"

#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"

enum {
    MAX_STACKS = 1 << 17,
    MAX_ROWS_BYTES = 24 << 20,
    MAX_PLACES_BYTES = 24 << 20,
    VISIT_SLOTS = 1 << 15, /* above twice what one set may look at */
    MAX_VISITED = 1 << 14
};

r2_status r2i_grammar_states_init(r2i_grammar_states *s, const r2i_automaton *automaton,
                                  r2i_heap *heap, r2_error *err) {
    *s = (r2i_grammar_states){ .automaton = automaton, .heap = heap };
    r2i_buffer_init(&s->states, heap, (size_t)R2I_STATES_MAX * sizeof(r2i_grammar_state));
    r2i_buffer_init(&s->stacks, heap, (size_t)MAX_STACKS * sizeof(r2i_grammar_stack));
    r2i_buffer_init(&s->rows, heap, MAX_ROWS_BYTES);
    r2i_buffer_init(&s->places, heap, MAX_PLACES_BYTES);
    s->found = r2i_heap_take(heap, R2I_STATE_MAX_PLACES * sizeof *s->found);
    s->pending = r2i_heap_take(heap, MAX_VISITED * sizeof *s->pending);
    s->visited = r2i_heap_take(heap, VISIT_SLOTS * sizeof *s->visited);
    s->visit_of = r2i_heap_take(heap, VISIT_SLOTS * sizeof *s->visit_of);
    if (s->found == NULL || s->pending == NULL || s->visited == NULL || s->visit_of == NULL) {
        r2i_grammar_states_destroy(s);
        return r2i_fail(err, R2_E_NOMEM, "grammar: no memory");
    }
    memset(s->visit_of, 0, VISIT_SLOTS * sizeof *s->visit_of);
    r2i_grammar_states_begin(s);
    return R2_OK;
}

void r2i_grammar_states_destroy(r2i_grammar_states *s) {
    if (s->heap == NULL) return;
    r2i_buffer_destroy(&s->states);
    r2i_buffer_destroy(&s->stacks);
    r2i_buffer_destroy(&s->rows);
    r2i_buffer_destroy(&s->places);
    r2i_heap_give(s->heap, s->found, R2I_STATE_MAX_PLACES * sizeof *s->found);
    r2i_heap_give(s->heap, s->pending, MAX_VISITED * sizeof *s->pending);
    r2i_heap_give(s->heap, s->visited, VISIT_SLOTS * sizeof *s->visited);
    r2i_heap_give(s->heap, s->visit_of, VISIT_SLOTS * sizeof *s->visit_of);
    r2i_heap_give(s->heap, s->state_table.slots, s->state_table.n_slots * sizeof(int32_t));
    r2i_heap_give(s->heap, s->stack_table.slots, s->stack_table.n_slots * sizeof(int32_t));
    *s = (r2i_grammar_states){ 0 };
}

size_t r2i_grammar_states_memory(const r2i_grammar_states *s) {
    const size_t n_scratch = R2I_STATE_MAX_PLACES * sizeof *s->found +
                             MAX_VISITED * sizeof *s->pending +
                             VISIT_SLOTS * (sizeof *s->visited + sizeof *s->visit_of);
    return n_scratch + s->states.cap_bytes + s->stacks.cap_bytes + s->rows.cap_bytes +
           s->places.cap_bytes +
           (s->state_table.n_slots + s->stack_table.n_slots) * sizeof(int32_t);
}

static int32_t fail(r2i_grammar_states *s, r2_status status) {
    if (s->status == R2_OK) s->status = status;
    return R2I_STATE_NONE;
}

static const r2i_grammar_stack *stack_at(const r2i_grammar_states *s, int32_t stack) {
    return (const r2i_grammar_stack *)(const void *)s->stacks.bytes + stack;
}

static const r2i_grammar_place *places_of(const r2i_grammar_states *s,
                                          const r2i_grammar_state *state) {
    if (state->n == 0) return NULL;
    return (const r2i_grammar_place *)(const void *)s->places.bytes + state->first;
}

/* ---- tables of what is known ---- */

typedef uint64_t (*hash_of)(const r2i_grammar_states *s, int32_t number);

/* Twice the slots once half are taken. */
static bool make_room(r2i_grammar_states *s, r2i_number_table *t, int32_t n, hash_of hash) {
    if ((size_t)n * 2 < t->n_slots) return true;
    const size_t n_slots = t->n_slots == 0 ? 256 : t->n_slots * 2;
    int32_t *slots = r2i_heap_take(s->heap, n_slots * sizeof *slots);
    if (slots == NULL) {
        (void)fail(s, R2_E_NOMEM);
        return false;
    }
    memset(slots, 0, n_slots * sizeof *slots);
    for (int32_t i = 0; i < n; i++) {
        size_t at = hash(s, i) & (n_slots - 1);
        while (slots[at] != 0)
            at = (at + 1) & (n_slots - 1);
        slots[at] = i + 1;
    }
    r2i_heap_give(s->heap, t->slots, t->n_slots * sizeof *slots);
    *t = (r2i_number_table){ slots, n_slots };
    return true;
}

static uint64_t hash_stack_fields(int32_t node, int32_t below) {
    return r2i_hash_mix((uint64_t)(uint32_t)node << 32 | (uint32_t)below);
}

static uint64_t hash_stack(const r2i_grammar_states *s, int32_t stack) {
    return hash_stack_fields(stack_at(s, stack)->node, stack_at(s, stack)->below);
}

/* Stack `below` with `node` on it; -1 is the empty stack, as a result below -1: failed. */
static int32_t push_stack(r2i_grammar_states *s, int32_t node, int32_t below) {
    if (!make_room(s, &s->stack_table, s->n_stacks, hash_stack)) return -2;
    const size_t last = s->stack_table.n_slots - 1;
    size_t at = hash_stack_fields(node, below) & last;
    for (; s->stack_table.slots[at] != 0; at = (at + 1) & last) {
        const r2i_grammar_stack *known = stack_at(s, s->stack_table.slots[at] - 1);
        if (known->node == node && known->below == below) return s->stack_table.slots[at] - 1;
    }
    const bool has_below = below >= 0;
    const r2i_grammar_stack stack = { node, below, has_below ? stack_at(s, below)->depth + 1 : 1 };
    const r2_status status = r2i_buffer_append(&s->stacks, &stack, sizeof stack, NULL);
    if (status != R2_OK) {
        (void)fail(s, status);
        return -2;
    }
    s->stack_table.slots[at] = s->n_stacks + 1;
    return s->n_stacks++;
}

static int32_t depth_of(const r2i_grammar_states *s, int32_t stack) {
    return stack < 0 ? 0 : stack_at(s, stack)->depth;
}

/* ---- sets of places ---- */

static void begin_set(r2i_grammar_states *s) {
    s->n_found = s->n_visited = 0;
    s->found_end = false;
    if (++s->visit != 0) return;
    memset(s->visit_of, 0, VISIT_SLOTS * sizeof *s->visit_of);
    s->visit = 1;
}

/* False if this set has been there already. */
static bool visit(r2i_grammar_states *s, int32_t node, int32_t stack) {
    const uint64_t key = (uint64_t)(uint32_t)node << 32 | (uint32_t)stack;
    size_t at = r2i_hash_mix(key) & (VISIT_SLOTS - 1);
    for (; s->visit_of[at] == s->visit; at = (at + 1) & (VISIT_SLOTS - 1)) {
        if (s->visited[at] == key) return false;
    }
    if (s->n_visited == MAX_VISITED || s->work <= 0) {
        (void)fail(s, R2_E_LIMIT);
        return false;
    }
    s->n_visited++;
    s->work--;
    s->visit_of[at] = s->visit;
    s->visited[at] = key;
    return true;
}

/* One more place whose ways on are to be followed. */
static void push_place(r2i_grammar_states *s, int32_t *n, int32_t node, int32_t stack) {
    if (node < 0 || stack < -1 || s->status != R2_OK) return;
    const int32_t cost = s->automaton->nodes[node].cost;
    if (cost == R2I_GRAMMAR_NO_END || depth_of(s, stack) + cost > R2I_GRAMMAR_MAX_DEPTH) return;
    if (visit(s, node, stack)) s->pending[(*n)++] = (r2i_grammar_place){ node, stack };
}

static void found_place(r2i_grammar_states *s, r2i_grammar_place place) {
    if (s->n_found == R2I_STATE_MAX_PLACES)
        (void)fail(s, R2_E_LIMIT);
    else
        s->found[s->n_found++] = place;
}

/* Enters all places that read a byte and are reached from this one without reading. */
static void add_place(r2i_grammar_states *s, int32_t node, int32_t stack) {
    int32_t n = 0;
    push_place(s, &n, node, stack);
    while (n > 0 && s->status == R2_OK) {
        const r2i_grammar_place place = s->pending[--n];
        const r2i_grammar_node *at = &s->automaton->nodes[place.node];
        switch ((r2i_node_kind)at->kind) {
        case R2I_NODE_BYTES:
            found_place(s, place);
            break;
        case R2I_NODE_SPLIT:
            push_place(s, &n, at->other, place.stack);
            push_place(s, &n, at->next, place.stack);
            break;
        case R2I_NODE_CALL: {
            const int32_t stack_inside =
                at->is_tail ? place.stack : push_stack(s, at->next, place.stack);
            push_place(s, &n, s->automaton->starts[at->other], stack_inside);
            break;
        }
        case R2I_NODE_END:
            if (place.stack < 0) {
                s->found_end = true;
            } else {
                const r2i_grammar_stack *top = stack_at(s, place.stack);
                push_place(s, &n, top->node, top->below);
            }
            break;
        }
    }
}

static int compare(const void *a, const void *b) {
    const r2i_grammar_place *x = a, *y = b;
    if (x->node != y->node) return x->node < y->node ? -1 : 1;
    return x->stack < y->stack ? -1 : x->stack > y->stack;
}

static uint64_t hash_places(const r2i_grammar_place *places, int32_t n, bool can_end) {
    const uint64_t hash =
        n == 0 ? R2I_HASH_SEED : r2i_hash_bytes(R2I_HASH_SEED, places, (size_t)n * sizeof *places);
    return r2i_hash_mix(hash + (can_end ? 1 : 0));
}

static uint64_t hash_state(const r2i_grammar_states *s, int32_t number) {
    const r2i_grammar_state *state = r2i_grammar_state_get(s, number);
    return hash_places(places_of(s, state), state->n, state->can_end);
}

static bool is_found(const r2i_grammar_states *s, int32_t number) {
    const r2i_grammar_state *state = r2i_grammar_state_get(s, number);
    return state->n == s->n_found && state->can_end == s->found_end &&
           (state->n == 0 ||
            memcmp(places_of(s, state), s->found, (size_t)state->n * sizeof *s->found) == 0);
}

static r2_status append_row(r2i_grammar_states *s) {
    int32_t row[256];
    for (int32_t i = 0; i < s->automaton->n_classes; i++)
        row[i] = R2I_STATE_UNKNOWN;
    return r2i_buffer_append(&s->rows, row, (size_t)s->automaton->n_classes * sizeof *row, NULL);
}

static int32_t add_state(r2i_grammar_states *s) {
    r2i_grammar_state state = { .first = (int32_t)(s->places.n_bytes / sizeof *s->found),
                                .n = s->n_found,
                                .row = (int32_t)(s->rows.n_bytes / sizeof(int32_t)),
                                .can_end = s->found_end };
    for (int t = 0; t < R2I_TOKEN_TREES; t++)
        state.masks.canonical[t] = state.masks.mask[t] = -1;
    r2_status status =
        r2i_buffer_append(&s->places, s->found, (size_t)s->n_found * sizeof *s->found, NULL);
    if (status == R2_OK) status = append_row(s);
    if (status == R2_OK) status = r2i_buffer_append(&s->states, &state, sizeof state, NULL);
    return status == R2_OK ? s->n_states++ : fail(s, status);
}

/* The number of the set that was found. */
static int32_t end_set(r2i_grammar_states *s) {
    if (s->status != R2_OK) return R2I_STATE_NONE;
    if (s->n_found == 0 && !s->found_end) return R2I_STATE_NONE;
    if (!make_room(s, &s->state_table, s->n_states, hash_state)) return R2I_STATE_NONE;
    if (s->n_found > 1) qsort(s->found, (size_t)s->n_found, sizeof *s->found, compare);
    const size_t last = s->state_table.n_slots - 1;
    size_t at = hash_places(s->found, s->n_found, s->found_end) & last;
    for (; s->state_table.slots[at] != 0; at = (at + 1) & last) {
        if (is_found(s, s->state_table.slots[at] - 1)) return s->state_table.slots[at] - 1;
    }
    const int32_t number = add_state(s);
    if (number >= 0) s->state_table.slots[at] = number + 1;
    return number;
}

/* ---- steps ---- */

int32_t r2i_grammar_states_start(r2i_grammar_states *s) {
    begin_set(s);
    add_place(s, s->automaton->starts[s->automaton->root], -1);
    return end_set(s);
}

int32_t r2i_grammar_states_step(r2i_grammar_states *s, int32_t state, uint8_t byte) {
    const int32_t known = r2i_grammar_states_look(s, state, byte);
    if (known != R2I_STATE_UNKNOWN) return known;
    const r2i_grammar_state from = *r2i_grammar_state_get(s, state);
    begin_set(s);
    for (int32_t i = 0; i < from.n && s->status == R2_OK; i++) {
        const r2i_grammar_place place = places_of(s, &from)[i];
        const r2i_grammar_node *node = &s->automaton->nodes[place.node];
        s->work--;
        if (node->first <= byte && byte <= node->last) add_place(s, node->next, place.stack);
    }
    const int32_t next = end_set(s);
    if (s->status != R2_OK) return R2I_STATE_NONE; /* and not remembered */
    ((int32_t *)(void *)s->rows.bytes)[from.row + s->automaton->class_of[byte]] = next;
    return next;
}

/* The stack of a place of *from in *s.  With n_bytes >= 0 what those many bytes cannot tell apart is
 * made equal: places in chains become canonical ones, and frames that are not returned to so soon
 * become ENDs (as many: depth has a limit). */
static int32_t move_stack(r2i_grammar_states *s, const r2i_grammar_states *from,
                          r2i_grammar_place place, int32_t n_bytes) {
    int32_t nodes[R2I_GRAMMAR_MAX_DEPTH + 1], n = 0, moved = -1;
    int32_t n_before = s->automaton->nodes[place.node].n_bytes; /* bytes until it is returned to */
    for (int32_t at = place.stack; at >= 0 && n <= R2I_GRAMMAR_MAX_DEPTH;
         at = stack_at(from, at)->below) {
        int32_t node = stack_at(from, at)->node;
        const int32_t n_more = s->automaton->nodes[node].n_bytes;
        if (n_bytes >= 0 && n_before >= n_bytes)
            node = 0; /* the END of all rules */
        else if (n_bytes >= 0 && s->automaton->nodes[node].is_chain)
            node = r2i_automaton_canonical(s->automaton, node, n_bytes);
        n_before += n_before < n_bytes ? n_more : 0;
        nodes[n++] = node;
    }
    while (n > 0 && moved >= -1)
        moved = push_stack(s, nodes[--n], moved);
    return moved;
}

static int32_t move_state(r2i_grammar_states *s, const r2i_grammar_states *from, int32_t state,
                          int32_t n_bytes) {
    const r2i_grammar_state old = *r2i_grammar_state_get(from, state);
    begin_set(s);
    s->found_end = old.can_end;
    for (int32_t i = 0; i < old.n && s->status == R2_OK; i++) {
        const r2i_grammar_place place = places_of(from, &old)[i];
        const int32_t stack = move_stack(s, from, place, n_bytes);
        if (stack < -1) break;
        if (visit(s, place.node, stack)) found_place(s, (r2i_grammar_place){ place.node, stack });
    }
    return end_set(s);
}

int32_t r2i_grammar_states_canonical(r2i_grammar_states *s, int32_t state, int32_t n_bytes) {
    return move_state(s, s, state, n_bytes);
}

int32_t r2i_grammar_states_move(r2i_grammar_states *to, const r2i_grammar_states *from,
                                int32_t state) {
    return move_state(to, from, state, -1);
}
