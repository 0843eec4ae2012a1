/* reinforce_report.h - what runs of grpo and dpo tell: a line on standard error for each step, its numbers in
 * RUN/metrics.jsonl, and every answer with its question in RUN/samples.jsonl. */
#ifndef R2I_REINFORCE_REPORT_H
#define R2I_REINFORCE_REPORT_H
#include "cli/train_report.h"
#include "r2lm/reinforce.h"

typedef struct {
    r2i_train_progress *progress; /* which options.run.user is not */
    FILE *samples;
    bool has_learnt; /* some step changed the model */
} r2i_reinforce_progress;

/* As r2_grpo_options.report and r2_dpo_options.report, with an r2i_reinforce_progress as `user`. */
bool r2i_reinforce_grpo_step(void *user, const r2_grpo_report *report);
bool r2i_reinforce_dpo_step(void *user, const r2_dpo_report *report);
/* As r2_train_options.checkpointed and .passed_over. */
bool r2i_reinforce_saved(void *user, int64_t step, const char *folder, const r2_error *err);
void r2i_reinforce_passed_over(void *user, const r2_error *why);
void r2i_reinforce_close(r2i_reinforce_progress *progress);
#endif
