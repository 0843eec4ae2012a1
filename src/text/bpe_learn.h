/* bpe_learn.h - byte pair encoding: which neighbours become one token, from counted pieces.
 *
 * Again and again the pair that is most frequent over all pieces becomes a token; of equally frequent
 * ones that of the lowest numbers, left before right, so that the same counts give the same
 * vocabulary, whatever the order of the pieces.  Only pieces that hold the pair are looked at.
 * (Sennrich, Haddow, Birch 2016, arXiv 1508.07909; order and ties as in Hugging Face's trainer.) */
#ifndef R2I_BPE_LEARN_H
#define R2I_BPE_LEARN_H
#include "text/text_index.h"

typedef struct {
    int32_t left, right; /* token numbers */
} r2i_bpe_merge;

typedef struct {
    int32_t n_tokens;        /* to be learned, the 256 bytes included */
    int64_t min_count;       /* rarer pairs stay apart; at least 1 */
    int32_t cap_token_bytes; /* no token gets longer */
    bool (*progress)(void *user, int64_t n_done, int64_t n_all); /* false cancels; or NULL */
    void *user;
} r2i_bpe_options;

typedef struct {
    r2i_text_index tokens; /* bytes of each token by number; the first 256 are single bytes */
    r2i_bpe_merge *merges; /* [n_merges] in order of rank */
    size_t n_merges, cap_merges;
    int64_t n_symbols; /* tokens that the counted pieces come to */
} r2i_bpe;

/* The 256 bytes, in the order of their letters' code points. */
R2_CHECKED r2_status r2i_bpe_init(r2i_bpe *bpe, r2i_heap *heap, r2_error *err);
void r2i_bpe_destroy(r2i_bpe *bpe);
/* counts: [pieces->n_texts].  Stops early when no pair is left that is frequent enough.
 * R2_E_NOMEM, R2_E_CANCELED. */
R2_CHECKED r2_status r2i_bpe_learn(r2i_bpe *bpe, const r2i_text_index *pieces,
                                   const int64_t *counts, const r2i_bpe_options *options,
                                   r2_error *err);
#endif
