/* run_saver.h - checkpoints in the life of a run: when one is due, what it says of the run so far, and
 * where a run that is resumed stands. */
#ifndef R2I_RUN_SAVER_H
#define R2I_RUN_SAVER_H
#include "train/runs/checkpoint.h"
#include "train/runs/run_identity.h"

typedef struct {
    const r2_train_options *options;
    r2i_checkpoint checkpoint; /* folder NULL: none are written */
    json_t *identity;
    r2i_run_totals
        totals; /* step: the last one behind which all is known; place: kept up by the run */
    int64_t saved_step; /* of the newest checkpoint; 0: none */
} r2i_run_saver;

/* The trainer's parameters go back to the newest checkpoint when the run is resumed, and `totals` says
 * where that was; otherwise all is at its beginning.  As r2i_checkpoint_resume; R2_E_ARGUMENT: it is
 * behind the last step of this run; R2_E_NOMEM. */
R2_CHECKED r2_status r2i_run_saver_open(r2i_run_saver *out, const r2i_run_identity *identity,
                                        r2i_adamw *adamw, r2i_heap *heap, r2_error *err);
/* Safe on a zeroed one. */
void r2i_run_saver_close(r2i_run_saver *saver);
/* Behind the first step of this process: checkpoints of later steps are those of an earlier run, or
 * damaged. */
R2_CHECKED r2_status r2i_run_saver_forget_later(const r2i_run_saver *saver, int64_t step,
                                                r2_error *err);
/* Behind the report of a step: writes a checkpoint where one is due.  goes_on: the run was not ended.
 * Fails only when options->checkpointed said so. */
R2_CHECKED r2_status r2i_run_saver_step(r2i_run_saver *saver, const r2_train_report *report,
                                        bool goes_on, r2_error *err);
/* Puts the last checkpoint into the message of a run whose numbers got out of hand. */
r2_status r2i_run_saver_name_last(const r2i_run_saver *saver, r2_status status, r2_error *err);
#endif
