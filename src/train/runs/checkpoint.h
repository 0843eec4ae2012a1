/* checkpoint.h - a run's checkpoints: what to write, which to keep, and back.
 *
 * Files are state_folder.h's, arrays trainer_state.h's; the manifest's "state" holds
 *
 *     step, optimizer_steps, tokens, targets, seconds, best_step, best_loss   so far
 *     data     the place of the stream (data_stream.h)
 *     run      what a run must have in common with the one that it goes on with (run_identity.h) */
#ifndef R2I_CHECKPOINT_H
#define R2I_CHECKPOINT_H
#include "train/data/data_stream.h"
#include "train/runs/trainer_state.h"

typedef struct {
    int64_t step, n_tokens, n_targets;
    double seconds;
    int64_t best_step; /* checkpoint of the lowest validation loss; 0: none was measured */
    double best_loss;
    r2i_data_place place;
} r2i_run_totals;

typedef struct {
    const char *folder;
    r2i_adamw *adamw;
    const json_t *identity;
    json_t *kept; /* r2i_run_identity.kept */
    int32_t keep_last;
    r2_ranks *ranks; /* each writes its part, the first one the manifest; NULL: alone */
    r2i_heap *heap;
} r2i_checkpoint;

/* Writes the checkpoint of a step, reads it again, and removes those that are not kept.  On failure all
 * that were there are there still.  R2_E_RANGE: a weight is no finite number; R2_E_FULL, R2_E_IO,
 * R2_E_NOMEM, R2_E_CHECKSUM (what was read is not what was written). */
R2_CHECKED r2_status r2i_checkpoint_write(const r2i_checkpoint *checkpoint,
                                          const r2i_run_totals *totals, r2_error *err);
/* Removes all checkpoints of steps from `first` on. */
R2_CHECKED r2_status r2i_checkpoint_clear(const r2i_checkpoint *checkpoint, int64_t first,
                                          r2_error *err);
/* Goes back to the newest one; `skipped` says why not to a newer one, R2_OK: there is none.
 * R2_E_NOT_FOUND; R2_E_MISMATCH: of another run (what differs is said); R2_E_FORMAT. */
R2_CHECKED r2_status r2i_checkpoint_resume(const r2i_checkpoint *checkpoint, r2i_run_totals *totals,
                                           r2_error *skipped, r2_error *err);
#endif
