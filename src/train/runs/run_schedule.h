/* run_schedule.h - the learning rate over a run. */
#ifndef R2I_RUN_SCHEDULE_H
#define R2I_RUN_SCHEDULE_H
#include "r2lm/train.h"

/* R2_E_ARGUMENT: no steps, no rate, or more warm-up than steps. */
R2_CHECKED r2_status r2i_run_schedule_check(const r2_train_options *options, r2_error *err);
/* Of step 1 to options->n_steps: warm-up, then as options->schedule says. */
double r2i_run_rate(const r2_train_options *options, int64_t step);
#endif
