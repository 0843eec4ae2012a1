/* grpo_tally.h - the numbers of a step of r2_grpo: counted over answers and what was learnt of them, summed over
 * the ranks, told, and judged: is there anything to learn? */
#ifndef R2I_GRPO_TALLY_H
#define R2I_GRPO_TALLY_H
#include "train/reinforce/grpo_update.h"

/* So many sums; which is which only grpo_tally.c knows. */
enum { R2I_GRPO_SUMS = 16 };

typedef struct {
    double sums[R2I_GRPO_SUMS];                      /* of the step */
    int32_t n_tasks;                                 /* the verifier included */
    r2_grpo_task_result tasks[R2_MAX_RUN_TASKS + 1]; /* names and levels are the run's to set */
    int32_t n_idle, n_cut, n_unjudged; /* steps in a row that taught nothing, and why */
} r2i_grpo_tally;

/* Of a step: all but names, levels and the steps in a row back to 0. */
void r2i_grpo_tally_begin(r2i_grpo_tally *tally);
void r2i_grpo_tally_answers(r2i_grpo_tally *tally, const r2i_grpo_batch *batch);
void r2i_grpo_tally_learnt(r2i_grpo_tally *tally, const r2i_grpo_sums *learnt);
/* From those of this rank to those of all. */
R2_CHECKED r2_status r2i_grpo_tally_sum(r2i_grpo_tally *tally, r2_ranks *ranks, r2_error *err);
/* Sets all of the report but times of the update, gradient and what the loop of the run knows.  samples
 * [batch->n_answers] and the tally are borrowed by the report. */
void r2i_grpo_tally_report(const r2i_grpo_tally *tally, const r2i_grpo_batch *batch,
                           r2_grpo_sample *samples, r2_grpo_report *report);
/* Whether the run should go on.  R2_E_STATE in *ending: nothing was learnt for options->patience steps, or the model
 * is beyond its kl_limit; the text says what may help. */
void r2i_grpo_tally_judge(r2i_grpo_tally *tally, const r2_grpo_report *report,
                          const r2_grpo_options *options, r2_error *ending);
#endif
