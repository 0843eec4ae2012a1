/* reinforce_options.h - from the flags of `r2lm train grpo` and `train dpo` to the options of a run. */
#ifndef R2I_REINFORCE_OPTIONS_H
#define R2I_REINFORCE_OPTIONS_H
#include "cli/reinforce_report.h"
#include "cli/train_options.h"

/* r2_grpo or r2_dpo; run->user is an r2i_reinforce_progress.  On trial run->report and any run->user are asked
 * instead, and nothing but that ends the run. */
R2_CHECKED r2_status r2i_judged_run(r2i_program *program, r2i_train_kind kind,
                                    const r2_train_options *run, bool is_trial, r2_error *err);
#endif
