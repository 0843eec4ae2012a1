/* grammar_mask.c - holds what a sequence draws to a grammar, thoughts excepted. */
#include <string.h>

#include "engine/engine_state.h"
#include "model/model_grammar.h"

/* Where the grammar began in a sequence, again: at its first call, or behind what is left of it. */
static void begin(r2_grammar_matcher *m, int32_t n_tokens) {
    if (m->first < 0 || n_tokens < m->first) m->first = n_tokens;
    m->n_seen = m->first;
    m->is_lost = r2i_grammar_matcher_reset(&m->place, NULL) != R2_OK;
}

bool r2_grammar_mask(void *matcher, const r2_sequence *s, uint32_t *allowed, int32_t n_vocab) {
    r2_grammar_matcher *m = matcher;
    const int32_t open = s->engine->model->think_open;
    if (m->first < 0)
        m->first = m->n_seen = s->n_tokens;
    else if (s->n_tokens < m->n_seen)
        begin(m, s->n_tokens);
    for (; m->n_seen < s->n_tokens && !m->is_lost; m->n_seen++) {
        if (s->is_thought[m->n_seen]) continue;
        m->is_lost =
            r2i_grammar_matcher_accept_token(&m->place, s->tokens[m->n_seen], NULL) != R2_OK;
    }
    if (s->is_thinking) return false;
    /* A token that nobody asked us about does not fit: never go on without a grammar. */
    if (m->is_lost || r2i_grammar_matcher_mask(&m->place, allowed, n_vocab, NULL) != R2_OK)
        memset(allowed, 0, ((size_t)n_vocab / 32 + 1) * sizeof *allowed);
    else if (s->n_tokens == m->first && open >= 0)
        allowed[open / 32] |= 1u << open % 32;
    return true;
}
