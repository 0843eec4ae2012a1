/* run_plan.h - what a run's options come to. */
#ifndef R2I_RUN_PLAN_H
#define R2I_RUN_PLAN_H
#include "r2lm/train.h"

/* The trainer's options of a run, batch_tokens and document_tokens set. */
r2_trainer_options r2i_run_trainer_options(const r2_train_options *options);
#endif
