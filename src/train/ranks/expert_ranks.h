/* expert_ranks.h - the exchange of experts' rows (model/expert_exchange.h) between ranks.
 *
 * Of n ranks and E experts in a layer rank r has experts [E r / n, E (r + 1) / n).  All ranks make the
 * same calls in the same order: who has no rows gives none. */
#ifndef R2I_EXPERT_RANKS_H
#define R2I_EXPERT_RANKS_H
#include "base/arena.h"
#include "model/expert_exchange.h"
#include "train/ranks/rank_messages.h"

typedef struct {
    r2i_expert_exchange calls; /* for the blocks; its user is this */
    r2_ranks *ranks;
    int32_t n_experts;
    int32_t *own;          /* [n_experts] own rows of each */
    int32_t *first_own;    /* [n_experts + 1] */
    int32_t *counts;       /* [n_ranks, n_experts] */
    int32_t *first_here;   /* [n_experts + 1] */
    uint8_t *staging;      /* rows that came or will leave, by rank, then by expert */
    r2i_message *messages; /* [2 n_ranks] */
} r2i_expert_ranks;

/* The first expert of a rank; of rank n: n_experts. */
static inline int32_t r2i_first_expert(int32_t n_experts, int32_t rank, int32_t n_ranks) {
    return (int32_t)((int64_t)n_experts * rank / n_ranks);
}
static inline int32_t r2i_expert_owner(int32_t n_experts, int32_t e, int32_t n_ranks) {
    int32_t rank = (int32_t)((int64_t)e * n_ranks / n_experts);
    while (r2i_first_expert(n_experts, rank + 1, n_ranks) <= e)
        rank++;
    return rank;
}

/* For batches of at most cap_rows rows per rank that choose n_active experts each, of at most row_bytes.
 * `out` must stay where it is.  R2_E_NOMEM; R2_E_UNSUPPORTED: too many bytes for one message. */
R2_CHECKED r2_status r2i_expert_ranks_create(r2i_expert_ranks *out, r2_ranks *ranks,
                                             int32_t n_experts, int32_t n_active, int32_t cap_rows,
                                             size_t row_bytes, r2i_arena *arena, r2_error *err);
#endif
