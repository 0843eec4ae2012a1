/* expert_replay.h - the experts that a step's answers were drawn with, for those that are learnt after the weights
 * have changed (routing replay: arXiv:2507.18071, 5.3).
 *
 * Before the first optimizer step a forward pass over the answers of all later parts tells the routers' choices: with
 * the weights of the rollout it computes what the rollout did, to the bit.  Each part then takes its own again,
 * batch by batch in the same order. */
#ifndef R2I_EXPERT_REPLAY_H
#define R2I_EXPERT_REPLAY_H
#include "base/memory.h"
#include "r2lm/train.h"

typedef struct {
    r2i_heap *heap;
    uint16_t *experts; /* [cap_rows, n_routes] */
    size_t *first_row; /* [n_parts] */
    size_t cap_rows, n_rows, next_row, n_bytes;
    int32_t n_routes, n_parts;
    r2_expert_routes routes; /* of the batch asked for last */
} r2i_expert_replay;

/* For parts [0, n_parts) of at most cap_rows rows in all: memory is taken now, and exists as far as it is written to.
 * R2_E_NOMEM. */
R2_CHECKED r2_status r2i_expert_replay_open(r2i_expert_replay *replay, r2i_heap *heap,
                                            int32_t n_parts, size_t cap_rows, int32_t n_routes,
                                            r2_error *err);
/* Of zeros too. */
void r2i_expert_replay_close(r2i_expert_replay *replay);
/* Forgets all that is kept. */
void r2i_expert_replay_clear(r2i_expert_replay *replay);
/* The batches that are asked for next are this part's: their choices are kept, or given again. */
void r2i_expert_replay_begin(r2i_expert_replay *replay, int32_t part, bool is_given);
/* Choices of the next batch; valid until the next call.  R2_E_STATE: none were kept for so many rows, or there
 * is no room for more. */
R2_CHECKED r2_status r2i_expert_replay_next(r2i_expert_replay *replay, int32_t n_rows,
                                            const r2_expert_routes **routes, r2_error *err);
#endif
