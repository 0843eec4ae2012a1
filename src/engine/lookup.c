/* lookup.c - prompt lookup: what followed the last time these tokens stood here follows again.
 *
 * Answers repeat their prompt and themselves: edited code, quoted text, tables.  Saxena 2023 calls it
 * prompt lookup decoding; it is the match search of Lempel and Ziv (1977). */
#include <string.h>

#include "base/checked.h"
#include "base/hash.h"
#include "engine/drafter.h"

enum {
    MIN_MATCH = 2,
    MAX_MATCH = 32,  /* longer ones are as good as this */
    MAX_PLACES = 128 /* of one pair, newest first: bounds the search on pairs such as two spaces */
};

uint32_t r2i_lookup_slots(int32_t n_context) {
    uint32_t n = 64;
    while (n < (uint32_t)n_context)
        n *= 2;
    return n;
}

static int32_t *slot_of(const r2i_lookup *l, const int32_t *tokens, int32_t place) {
    const uint64_t pair = (uint64_t)(uint32_t)tokens[place - 1] << 32 | (uint32_t)tokens[place];
    return &l->last[r2i_hash_mix(pair) & (l->n_slots - 1)];
}

void r2i_lookup_rewind(r2i_lookup *l, const int32_t *tokens, int32_t n_tokens) {
    while (l->n_places > n_tokens) {
        const int32_t place = --l->n_places;
        if (place > 0) *slot_of(l, tokens, place) = l->before[place];
    }
}

/* Only places with a token behind them are of use, so the last token is not entered yet. */
static void enter(r2i_lookup *l, const int32_t *tokens, int32_t n_tokens) {
    for (; l->n_places < n_tokens - 1; l->n_places++) {
        if (l->n_places == 0) continue;
        int32_t *slot = slot_of(l, tokens, l->n_places);
        l->before[l->n_places] = *slot;
        *slot = l->n_places + 1;
    }
}

/* Tokens before and at `place` that equal those at the end. */
static int32_t match_length(const int32_t *tokens, int32_t n_tokens, int32_t place) {
    const int32_t most = r2i_min_i32(MAX_MATCH, place + 1);
    int32_t n = 0;
    while (n < most && tokens[place - n] == tokens[n_tokens - 1 - n])
        n++;
    return n;
}

static int32_t grade_of(int32_t n_match) {
    static const int32_t longest[R2I_LOOKUP_GRADES - 1] = { 2, 3, 4, 6, 10, 16 };
    int32_t grade = 0;
    while (grade < R2I_LOOKUP_GRADES - 1 && n_match > longest[grade])
        grade++;
    return grade;
}

int32_t r2i_lookup_propose(r2i_lookup *l, const int32_t *tokens, int32_t n_tokens, int32_t cap,
                           int32_t *out, int32_t *grade) {
    int32_t best = MIN_MATCH - 1, source = 0;
    if (n_tokens < MIN_MATCH + 1) return 0;
    enter(l, tokens, n_tokens);
    int32_t next = *slot_of(l, tokens, n_tokens - 1);
    for (int32_t i = 0; i < MAX_PLACES && next > 0 && best < MAX_MATCH; i++) {
        const int32_t place = next - 1, n = match_length(tokens, n_tokens, place);
        if (n > best) {
            best = n;
            source = place + 1;
        }
        next = l->before[place];
    }
    if (best < MIN_MATCH) return 0;
    for (int32_t i = 0; i < cap; i++) {
        const int32_t at = source + i;
        out[i] = at < n_tokens ? tokens[at] : out[at - n_tokens];
    }
    *grade = grade_of(best);
    return cap;
}
