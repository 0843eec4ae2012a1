/* grammar_matcher.h - holds a text to a grammar, byte by byte or token by token.
 *
 * A grammar remembers the states its texts visited and the masks of those states, so the second visit
 * costs a copy.  What it remembers is limited; when it is full, all but the states of its living
 * matchers is forgotten.  Grammars may be shared by threads (a lock guards them), a matcher belongs to
 * one thread at a time. */
#ifndef R2I_GRAMMAR_MATCHER_H
#define R2I_GRAMMAR_MATCHER_H
#include <pthread.h>

#include "text/grammar_states.h"

enum { R2I_GRAMMAR_MASK_BYTES = 48 << 20 /* masks remembered by one grammar */ };

typedef struct r2i_grammar_matcher r2i_grammar_matcher;

typedef struct {
    r2i_heap *heap;
    r2i_automaton automaton;
    r2i_grammar_states states;
    const r2i_token_forest *forest; /* borrowed; NULL: bytes only */
    r2i_buffer masks;               /* words of all masks */
    r2i_buffer mask_list;           /* where each begins */
    uint32_t *scratch;              /* [n_words] */
    size_t n_words;
    r2i_grammar_matcher *matchers; /* living ones */
    int64_t n_masks_made, n_mask_hits;
    pthread_mutex_t lock;
} r2i_grammar;

struct r2i_grammar_matcher {
    r2i_grammar *grammar;
    r2i_grammar_matcher *next, **link;
    int32_t state; /* R2I_STATE_NONE: lost to a limit */
    bool is_ended; /* an end token was taken */
};

/* Of a draft that was read completely. */
R2_CHECKED r2_status r2i_grammar_create(r2i_grammar **out, const r2i_grammar_draft *draft,
                                        const r2i_token_forest *forest, r2i_heap *heap,
                                        r2_error *err);
/* No matcher of it may be left.  NULL is allowed. */
void r2i_grammar_destroy(r2i_grammar *grammar);

/* Bytes it takes now, what it remembers included. */
size_t r2i_grammar_memory(r2i_grammar *grammar);

/* A matcher in the caller's memory, at the beginning.  R2_E_LIMIT, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_grammar_matcher_init(r2i_grammar_matcher *m, r2i_grammar *grammar,
                                              r2_error *err);
/* Another one at the same place. */
void r2i_grammar_matcher_copy(r2i_grammar_matcher *m, const r2i_grammar_matcher *from);
void r2i_grammar_matcher_drop(r2i_grammar_matcher *m);
/* Back to the beginning. */
R2_CHECKED r2_status r2i_grammar_matcher_reset(r2i_grammar_matcher *m, r2_error *err);
/* R2_E_MISMATCH: the grammar does not allow these bytes here; R2_E_LIMIT, R2_E_NOMEM.  The place is
 * the old one then. */
R2_CHECKED r2_status r2i_grammar_matcher_accept(r2i_grammar_matcher *m, const char *bytes,
                                                size_t n_bytes, r2_error *err);
/* Likewise for a token of the vocabulary; one that ends generation only where the text may end. */
R2_CHECKED r2_status r2i_grammar_matcher_accept_token(r2i_grammar_matcher *m, int32_t token,
                                                      r2_error *err);
bool r2i_grammar_matcher_can_end(const r2i_grammar_matcher *m);
/* Clears the bits of all tokens that must not come next; allowed[n_words] as r2_mask_callback has it,
 * for n_vocab tokens (those behind the vocabulary are forbidden).  On failure all are cleared. */
R2_CHECKED r2_status r2i_grammar_matcher_mask(r2i_grammar_matcher *m, uint32_t *allowed,
                                              int32_t n_vocab, r2_error *err);
#endif
