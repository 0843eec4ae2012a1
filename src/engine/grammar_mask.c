/* grammar_mask.c - holds what a sequence draws to a grammar, thoughts excepted. */
#include <string.h>

#include "engine/engine_state.h"
#include "model/model_grammar.h"

static void allow(uint32_t *allowed, int32_t token) {
    allowed[token / 32] |= 1u << token % 32;
}

/* Nothing of the text behind this place was looked at yet. */
static void begin(r2_grammar_matcher *m, const r2_sequence *s, int32_t first) {
    m->first = m->n_seen = first;
    m->has_answer = false;
    m->n_newlines = 0;
    /* A block without a budget was closed before anybody asked. */
    m->has_thoughts = first > 0 && s->is_thought[first - 1];
}

/* The sequence was rewound: where the grammar began, or what is left in front of it. */
static void begin_again(r2_grammar_matcher *m, const r2_sequence *s) {
    begin(m, s, s->n_tokens < m->first ? s->n_tokens : m->first);
    m->is_lost = r2i_grammar_matcher_reset(&m->place, NULL) != R2_OK;
}

/* May blank lines come here that are no part of the answer? */
static bool is_before_answer(const r2_grammar_matcher *m) {
    return m->skips_newlines && m->has_thoughts && !m->has_answer;
}

/* Newlines of a token that may be skipped, or 0. */
static int32_t count_newlines(const r2_grammar_matcher *m, int32_t token) {
    const r2i_token_forest *f = m->place.grammar->forest;
    for (int32_t i = 0; is_before_answer(m) && i < f->n_newlines; i++) {
        const r2i_token_newline *line = &f->newlines[i];
        if (line->token == token && line->n_lines <= R2I_MAX_NEWLINES - m->n_newlines)
            return line->n_lines;
    }
    return 0;
}

static void follow(r2_grammar_matcher *m, int32_t token, bool is_thought) {
    const int32_t n_newlines = is_thought ? 0 : count_newlines(m, token);
    if (is_thought) {
        m->has_thoughts = true;
    } else if (n_newlines > 0) {
        m->n_newlines += n_newlines;
    } else {
        m->has_answer = true;
        m->is_lost = r2i_grammar_matcher_accept_token(&m->place, token, NULL) != R2_OK;
    }
}

/* Thoughts are free, but the text must not end in them: there would be no answer. */
static bool mask_thoughts(const r2_sequence *s, uint32_t *allowed) {
    size_t n = 0;
    const int32_t *ends = r2i_tokenizer_eog(s->engine->model->tokenizer, &n);
    for (size_t i = 0; i < n; i++)
        allowed[ends[i] / 32] &= ~(1u << ends[i] % 32);
    return n > 0;
}

static void allow_newlines(const r2_grammar_matcher *m, uint32_t *allowed) {
    const r2i_token_forest *f = m->place.grammar->forest;
    for (int32_t i = 0; i < f->n_newlines; i++) {
        if (count_newlines(m, f->newlines[i].token) > 0) allow(allowed, f->newlines[i].token);
    }
}

bool r2_grammar_mask(void *matcher, const r2_sequence *s, uint32_t *allowed, int32_t n_vocab) {
    r2_grammar_matcher *m = matcher;
    const int32_t open = s->engine->model->think_open;
    if (m->first < 0)
        begin(m, s, s->n_tokens);
    else if (s->n_tokens < m->n_seen)
        begin_again(m, s);
    for (; m->n_seen < s->n_tokens && !m->is_lost; m->n_seen++)
        follow(m, s->tokens[m->n_seen], s->is_thought[m->n_seen] != 0);
    if (s->is_thinking) return mask_thoughts(s, allowed);
    /* A token that nobody asked us about does not fit: never go on without a grammar. */
    if (m->is_lost || r2i_grammar_matcher_mask(&m->place, allowed, n_vocab, NULL) != R2_OK) {
        memset(allowed, 0, ((size_t)n_vocab / 32 + 1) * sizeof *allowed);
        return true;
    }
    if (s->n_tokens == m->first && open >= 0) allow(allowed, open);
    if (is_before_answer(m)) allow_newlines(m, allowed);
    return true;
}
