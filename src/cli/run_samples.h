/* run_samples.h - RUN/samples.jsonl of `train grpo`, to be read: questions, answers, what they were worth. */
#ifndef R2I_RUN_SAMPLES_H
#define R2I_RUN_SAMPLES_H
#include "cli/program.h"

/* Prints those that --step, --task, --right, --wrong and --limit let through; with --json as an object.  A last
 * line that is still being written is left out, lines that are no samples are counted.  R2_E_NOT_FOUND: there is
 * no such file; R2_E_FORMAT: nothing in it is a sample; R2_E_ARGUMENT, R2_E_IO. */
R2_CHECKED r2_status r2i_run_samples_print(r2i_program *program, const char *folder, r2_error *err);
#endif
