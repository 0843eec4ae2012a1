/* reinforce_options.h - from the flags of `r2lm train grpo` and `train dpo` to the options of a run. */
#ifndef R2I_REINFORCE_OPTIONS_H
#define R2I_REINFORCE_OPTIONS_H
#include "cli/program.h"
#include "r2lm/reinforce.h"

/* All but `run`; names are kept in the program's arena.  R2_E_ARGUMENT: no tasks, or too many. */
R2_CHECKED r2_status r2i_grpo_options_read(r2_grpo_options *out, r2i_program *program,
                                           r2_error *err);
#endif
