/* traces_choice.h - a teacher's answers as the flags say, for `data traces` and `train distill --traces`. */
#ifndef R2I_TRACES_CHOICE_H
#define R2I_TRACES_CHOICE_H
#include "cli/program.h"

/* `data traces`: writes --output and prints what came of it. */
R2_CHECKED r2_status r2i_traces_print(r2i_program *program, r2_error *err);
/* Answers of the model at `teacher` to the prompts in `inputs`, written to the file RUN/traces.jsonl, whose name
 * *path is then, in the program's arena. */
R2_CHECKED r2_status r2i_traces_choose(const char **path, r2i_program *program, const char *teacher,
                                       const char *const *inputs, int32_t n_inputs, r2_error *err);
#endif
