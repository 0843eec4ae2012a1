/* grpo_options.h - what a run of r2_grpo was asked for: filled in, checked, told to its checkpoints. */
#ifndef R2I_GRPO_OPTIONS_H
#define R2I_GRPO_OPTIONS_H
#include <jansson.h>

#include "r2lm/reinforce.h"

/* Zeros that stand for something else become it. */
void r2i_grpo_options_fill(r2_grpo_options *options);
/* Of filled ones: R2_E_ARGUMENT (also no such task), R2_E_UNSUPPORTED. */
R2_CHECKED r2_status r2i_grpo_options_check(const r2_grpo_options *options, r2_error *err);
/* What decides the numbers of a run besides what all runs have.  The caller's; NULL: no memory. */
json_t *r2i_grpo_options_describe(const r2_grpo_options *options, bool is_replaying);
#endif
