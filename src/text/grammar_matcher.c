#include "text/grammar_matcher.h"

#include <string.h>

#include "base/failure.h"

/* A mask is a list of tokens when few fit, else a bit for each. */
typedef struct {
    size_t first;     /* word */
    int32_t n_tokens; /* -1: bits */
} kept_mask;

enum { MAX_MASKS = 1 << 17 };

/* ---- the grammar ---- */

static r2_status fill(r2i_grammar *g, const r2i_grammar_draft *draft, r2_error *err) {
    R2I_TRY(r2i_automaton_build(&g->automaton, draft, g->heap, err));
    R2I_TRY(r2i_grammar_states_init(&g->states, &g->automaton, g->heap, err));
    g->scratch = r2i_heap_take(g->heap, g->n_words * sizeof *g->scratch);
    return g->scratch != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "grammar: no memory");
}

r2_status r2i_grammar_create(r2i_grammar **out, const r2i_grammar_draft *draft,
                             const r2i_token_forest *forest, r2i_heap *heap, r2_error *err) {
    *out = NULL;
    r2i_grammar *g = r2i_heap_take(heap, sizeof *g);
    if (g == NULL) return r2i_fail(err, R2_E_NOMEM, "grammar: no memory");
    *g = (r2i_grammar){ .heap = heap,
                        .forest = forest,
                        .n_words = forest != NULL ? (size_t)forest->n_tokens / 32 + 1 : 1 };
    pthread_mutex_init(&g->lock, NULL);
    r2i_buffer_init(&g->masks, heap, R2I_GRAMMAR_MASK_BYTES);
    r2i_buffer_init(&g->mask_list, heap, MAX_MASKS * sizeof(kept_mask));
    const r2_status status = fill(g, draft, err);
    if (status != R2_OK) {
        r2i_grammar_destroy(g);
        return status;
    }
    *out = g;
    return R2_OK;
}

void r2i_grammar_destroy(r2i_grammar *g) {
    if (g == NULL) return;
    R2I_ASSERT(g->matchers == NULL);
    r2i_grammar_states_destroy(&g->states);
    r2i_automaton_destroy(&g->automaton);
    r2i_buffer_destroy(&g->masks);
    r2i_buffer_destroy(&g->mask_list);
    r2i_heap_give(g->heap, g->scratch, g->n_words * sizeof *g->scratch);
    pthread_mutex_destroy(&g->lock);
    r2i_heap_give(g->heap, g, sizeof *g);
}

size_t r2i_grammar_memory(r2i_grammar *g) {
    pthread_mutex_lock(&g->lock);
    const size_t n = sizeof *g + g->n_words * sizeof *g->scratch + g->masks.cap_bytes +
                     g->mask_list.cap_bytes + r2i_automaton_memory(&g->automaton) +
                     r2i_grammar_states_memory(&g->states);
    pthread_mutex_unlock(&g->lock);
    return n;
}

/* ---- forgetting ---- */

static void forget_masks(r2i_grammar *g) {
    r2i_grammar_state *states = (r2i_grammar_state *)(void *)g->states.states.bytes;
    r2i_buffer_clear(&g->masks);
    r2i_buffer_clear(&g->mask_list);
    for (int32_t i = 0; i < g->states.n_states; i++) {
        for (int t = 0; t < R2I_TOKEN_TREES; t++)
            states[i].masks.mask[t] = -1;
    }
}

/* Keeps the states that matchers are in. */
static void forget_states(r2i_grammar *g) {
    r2i_grammar_states fresh;
    if (r2i_grammar_states_init(&fresh, &g->automaton, g->heap, NULL) != R2_OK) return;
    for (r2i_grammar_matcher *m = g->matchers; m != NULL; m = m->next) {
        if (m->state < 0) continue;
        r2i_grammar_states_begin(&fresh);
        m->state = r2i_grammar_states_move(&fresh, &g->states, m->state);
    }
    r2i_grammar_states_destroy(&g->states);
    g->states = fresh;
    forget_masks(g);
}

static bool is_nearly_full(const r2i_buffer *buffer) {
    return buffer->n_bytes > buffer->max_bytes / 2;
}

/* Makes room before work that cannot stop halfway. */
static void begin(r2i_grammar *g) {
    const r2i_grammar_states *s = &g->states;
    if (is_nearly_full(&s->states) || is_nearly_full(&s->stacks) || is_nearly_full(&s->places) ||
        is_nearly_full(&s->rows))
        forget_states(g);
    if (g->masks.n_bytes + R2I_TOKEN_TREES * g->n_words * sizeof(uint32_t) > g->masks.max_bytes ||
        is_nearly_full(&g->mask_list))
        forget_masks(g);
    r2i_grammar_states_begin(&g->states);
}

static r2_status fail_limit(const r2i_grammar *g, r2_error *err) {
    return r2i_fail(err, g->states.status, "grammar: %s",
                    g->states.status == R2_E_LIMIT
                        ? "too ambiguous: too many ways to read the text so far"
                        : "no memory");
}

/* ---- masks ---- */

/* Sets the bits of the tokens of a tree that fit behind `state`; returns how many. */
static int32_t walk_tree(r2i_grammar *g, int32_t state, int32_t tree, uint32_t *bits) {
    const r2i_token_node *nodes = g->forest->nodes;
    const int32_t end = g->forest->begins[tree + 1];
    int32_t at[R2I_TOKEN_TREE_BYTES + 1], n_tokens = 0;
    at[0] = state;
    for (int32_t i = g->forest->begins[tree]; i < end;) {
        const r2i_token_node *node = &nodes[i];
        const int32_t from = at[node->depth - 1];
        int32_t next = r2i_grammar_states_look(&g->states, from, node->byte);
        if (next == R2I_STATE_UNKNOWN) {
            next = r2i_grammar_states_step(&g->states, from, node->byte);
            if (g->states.status != R2_OK) return -1;
        }
        if (next < 0) {
            i = node->skip;
            continue;
        }
        at[node->depth] = next;
        if (node->token >= 0) {
            bits[node->token / 32] |= 1u << node->token % 32;
            n_tokens++;
        }
        i++;
    }
    return n_tokens;
}

static r2_status keep_list(r2i_grammar *g) {
    for (size_t w = 0; w < g->n_words; w++) {
        for (uint32_t word = g->scratch[w]; word != 0; word &= word - 1) {
            const uint32_t token = (uint32_t)(w * 32) + (uint32_t)__builtin_ctz(word);
            R2I_TRY(r2i_buffer_append(&g->masks, &token, sizeof token, NULL));
        }
    }
    return R2_OK;
}

/* Number of the new mask, or -1 with states.status. */
static int32_t make_mask(r2i_grammar *g, int32_t state, int32_t tree) {
    memset(g->scratch, 0, g->n_words * sizeof *g->scratch);
    const int32_t n_tokens = walk_tree(g, state, tree, g->scratch);
    if (n_tokens < 0) return -1;
    const bool is_list = (size_t)n_tokens < g->n_words;
    const kept_mask kept = { g->masks.n_bytes / sizeof(uint32_t), is_list ? n_tokens : -1 };
    r2_status status =
        is_list ? keep_list(g)
                : r2i_buffer_append(&g->masks, g->scratch, g->n_words * sizeof *g->scratch, NULL);
    if (status == R2_OK) status = r2i_buffer_append(&g->mask_list, &kept, sizeof kept, NULL);
    if (status != R2_OK) {
        g->states.status = status;
        return -1;
    }
    g->n_masks_made++;
    return (int32_t)(g->mask_list.n_bytes / sizeof kept) - 1;
}

static r2i_state_masks *masks_of(r2i_grammar *g, int32_t state) {
    return &((r2i_grammar_state *)(void *)g->states.states.bytes)[state].masks;
}

/* The mask of a state for one tree, made if need be; -1 with states.status. */
static int32_t find_mask(r2i_grammar *g, int32_t state, int32_t tree) {
    int32_t canonical = masks_of(g, state)->canonical[tree];
    if (canonical < 0) {
        canonical = r2i_grammar_states_canonical(&g->states, state, r2i_token_tree_bytes(tree));
        if (canonical < 0) return -1;
        masks_of(g, state)->canonical[tree] = canonical;
    }
    int32_t mask = masks_of(g, canonical)->mask[tree];
    if (mask >= 0) {
        g->n_mask_hits++;
        return mask;
    }
    mask = make_mask(g, canonical, tree);
    if (mask >= 0) masks_of(g, canonical)->mask[tree] = mask;
    return mask;
}

static void add_mask(const r2i_grammar *g, int32_t mask, uint32_t *bits) {
    const kept_mask *kept = (const kept_mask *)(const void *)g->mask_list.bytes + mask;
    if (kept->n_tokens == 0) return; /* there may be no words at all */
    const uint32_t *words = (const uint32_t *)(const void *)g->masks.bytes + kept->first;
    for (int32_t i = 0; i < kept->n_tokens; i++)
        bits[words[i] / 32] |= 1u << words[i] % 32;
    for (size_t w = 0; kept->n_tokens < 0 && w < g->n_words; w++)
        bits[w] |= words[w];
}

static void add_ends(const r2i_grammar *g, uint32_t *bits) {
    size_t n;
    const int32_t *ids = r2i_tokenizer_eog(g->forest->tokenizer, &n);
    for (size_t i = 0; i < n; i++)
        bits[ids[i] / 32] |= 1u << ids[i] % 32;
}

static r2_status find_allowed(r2i_grammar_matcher *m, r2_error *err) {
    r2i_grammar *g = m->grammar;
    int32_t masks[R2I_TOKEN_TREES];
    begin(g);
    if (m->state < 0) return r2i_fail(err, R2_E_LIMIT, "grammar: the place in the text was lost");
    for (int32_t t = 0; t < R2I_TOKEN_TREES && !m->is_ended; t++) {
        masks[t] = find_mask(g, m->state, t);
        if (masks[t] < 0) return fail_limit(g, err);
    }
    memset(g->scratch, 0, g->n_words * sizeof *g->scratch);
    for (int32_t t = 0; t < R2I_TOKEN_TREES && !m->is_ended; t++)
        add_mask(g, masks[t], g->scratch);
    for (int32_t i = 0; i < g->forest->n_twins; i++) {
        const r2i_token_twin twin = g->forest->twins[i];
        if ((g->scratch[twin.token / 32] >> twin.token % 32 & 1) != 0)
            g->scratch[twin.twin / 32] |= 1u << twin.twin % 32;
    }
    if (m->is_ended || r2i_grammar_state_get(&g->states, m->state)->can_end)
        add_ends(g, g->scratch);
    return R2_OK;
}

r2_status r2i_grammar_matcher_mask(r2i_grammar_matcher *m, uint32_t *allowed, int32_t n_vocab,
                                   r2_error *err) {
    r2i_grammar *g = m->grammar;
    const size_t n_words = (size_t)n_vocab / 32 + 1;
    if (g->forest == NULL) return r2i_fail(err, R2_E_STATE, "grammar: it has no vocabulary");
    pthread_mutex_lock(&g->lock);
    const r2_status status = find_allowed(m, err);
    for (size_t w = 0; w < n_words; w++)
        allowed[w] &= status == R2_OK && w < g->n_words ? g->scratch[w] : 0;
    pthread_mutex_unlock(&g->lock);
    return status;
}

/* ---- the matcher ---- */

static void link_in(r2i_grammar_matcher *m) {
    m->next = m->grammar->matchers;
    m->link = &m->grammar->matchers;
    if (m->next != NULL) m->next->link = &m->next;
    m->grammar->matchers = m;
}

static r2_status go_to_start(r2i_grammar_matcher *m, r2_error *err) {
    begin(m->grammar);
    const int32_t state = r2i_grammar_states_start(&m->grammar->states);
    if (state < 0) return fail_limit(m->grammar, err);
    m->state = state;
    m->is_ended = false;
    return R2_OK;
}

r2_status r2i_grammar_matcher_init(r2i_grammar_matcher *m, r2i_grammar *grammar, r2_error *err) {
    *m = (r2i_grammar_matcher){ .grammar = grammar, .state = R2I_STATE_NONE };
    pthread_mutex_lock(&grammar->lock);
    const r2_status status = go_to_start(m, err);
    if (status == R2_OK) link_in(m);
    pthread_mutex_unlock(&grammar->lock);
    return status;
}

void r2i_grammar_matcher_copy(r2i_grammar_matcher *m, const r2i_grammar_matcher *from) {
    pthread_mutex_lock(&from->grammar->lock);
    *m = *from;
    link_in(m);
    pthread_mutex_unlock(&from->grammar->lock);
}

void r2i_grammar_matcher_drop(r2i_grammar_matcher *m) {
    pthread_mutex_lock(&m->grammar->lock);
    *m->link = m->next;
    if (m->next != NULL) m->next->link = m->link;
    pthread_mutex_unlock(&m->grammar->lock);
}

r2_status r2i_grammar_matcher_reset(r2i_grammar_matcher *m, r2_error *err) {
    pthread_mutex_lock(&m->grammar->lock);
    const r2_status status = go_to_start(m, err);
    pthread_mutex_unlock(&m->grammar->lock);
    return status;
}

static r2_status accept(r2i_grammar_matcher *m, const char *bytes, size_t n_bytes, r2_error *err) {
    r2i_grammar_states *s = &m->grammar->states;
    begin(m->grammar);
    int32_t state = m->state;
    if (state < 0) return r2i_fail(err, R2_E_LIMIT, "grammar: the place in the text was lost");
    for (size_t i = 0; i < n_bytes && !m->is_ended; i++) {
        s->work = R2I_STATES_MAX_WORK; /* per byte: a text may be long */
        state = r2i_grammar_states_step(s, state, (uint8_t)bytes[i]);
        if (s->status != R2_OK) return fail_limit(m->grammar, err);
        if (state < 0) break;
    }
    if (state < 0 || (m->is_ended && n_bytes > 0))
        return r2i_fail(err, R2_E_MISMATCH, "grammar: the text does not fit it");
    m->state = state;
    return R2_OK;
}

enum { ACCEPT_BYTES = 4096 };

r2_status r2i_grammar_matcher_accept(r2i_grammar_matcher *m, const char *bytes, size_t n_bytes,
                                     r2_error *err) {
    r2_status status = R2_OK;
    r2i_grammar_matcher kept;
    if (n_bytes > ACCEPT_BYTES) r2i_grammar_matcher_copy(&kept, m); /* survives forgetting */
    pthread_mutex_lock(&m->grammar->lock);
    for (size_t i = 0; i < n_bytes && status == R2_OK; i += ACCEPT_BYTES) {
        const size_t n = n_bytes - i < ACCEPT_BYTES ? n_bytes - i : ACCEPT_BYTES;
        status = accept(m, bytes + i, n, err);
    }
    if (n_bytes > ACCEPT_BYTES && status != R2_OK) m->state = kept.state;
    pthread_mutex_unlock(&m->grammar->lock);
    if (n_bytes > ACCEPT_BYTES) r2i_grammar_matcher_drop(&kept);
    return status;
}

r2_status r2i_grammar_matcher_accept_token(r2i_grammar_matcher *m, int32_t token, r2_error *err) {
    char bytes[R2I_TOKEN_TREE_BYTES];
    const r2i_token_forest *f = m->grammar->forest;
    if (f == NULL) return r2i_fail(err, R2_E_STATE, "grammar: it has no vocabulary");
    if (r2i_tokenizer_is_eog(f->tokenizer, token)) {
        if (!r2i_grammar_matcher_can_end(m))
            return r2i_fail(err, R2_E_MISMATCH, "grammar: the text ends too early");
        m->is_ended = true;
        return R2_OK;
    }
    const int32_t n_mark = r2i_token_mark_bytes(f, token, bytes);
    if (n_mark > 0) return r2i_grammar_matcher_accept(m, bytes, (size_t)n_mark, err);
    const r2i_token_type type = r2i_tokenizer_type(f->tokenizer, token);
    const size_t n = r2i_tokenizer_token_bytes(f->tokenizer, token, bytes, sizeof bytes);
    if (n == 0 || n > sizeof bytes || type == R2I_TOKEN_CONTROL || type == R2I_TOKEN_UNKNOWN ||
        type == R2I_TOKEN_UNUSED)
        return r2i_fail(err, R2_E_MISMATCH, "grammar: token %d is no text", (int)token);
    return r2i_grammar_matcher_accept(m, bytes, n, err);
}

bool r2i_grammar_matcher_can_end(const r2i_grammar_matcher *m) {
    pthread_mutex_lock(&m->grammar->lock);
    const bool can_end =
        m->is_ended ||
        (m->state >= 0 && r2i_grammar_state_get(&m->grammar->states, m->state)->can_end);
    pthread_mutex_unlock(&m->grammar->lock);
    return can_end;
}
