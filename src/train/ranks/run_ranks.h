/* run_ranks.h - what the ranks of one run (r2_train) tell each other besides gradients.  With ranks NULL
 * every call is what one process does: nothing. */
#ifndef R2I_RUN_RANKS_H
#define R2I_RUN_RANKS_H
#include "train/ranks/rank_messages.h"
#include "train/runs/run_identity.h"

enum { R2I_MOST_SUMS = 8 };

/* Batch i of a step, or of a validation, is computed by one rank. */
static inline bool r2i_run_is_mine(const r2_ranks *ranks, int64_t i) {
    return i % r2i_ranks_count(ranks) == r2i_ranks_index(ranks);
}

/* Do all ranks run the same program, with the same options on the same numbers and data, with the same
 * teacher?  Every step must have work for each.  R2_E_MISMATCH names rank and difference, R2_E_ARGUMENT, R2_E_IO. */
R2_CHECKED r2_status r2i_run_check_plan(const r2i_run_identity *identity, r2_error *err);
/* Each of n <= R2I_MOST_SUMS numbers becomes its sum over the ranks, in their order.  R2_E_IO. */
R2_CHECKED r2_status r2i_run_sum(r2_ranks *ranks, double *numbers, int32_t n, r2_error *err);
#endif
