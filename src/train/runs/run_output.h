/* run_output.h - what a run writes at its end: the model, or the adapter that it has trained. */
#ifndef R2I_RUN_OUTPUT_H
#define R2I_RUN_OUTPUT_H
#include "base/memory.h"
#include "r2lm/train.h"

/* What will be written at the end is found impossible at the beginning. */
R2_CHECKED r2_status r2i_run_output_check(const r2_train_options *options, r2_trainer *trainer,
                                          r2_error *err);
/* Writes options->out, if it is not NULL; of an adapter, out.gguf too.  All ranks call it: they hold the same
 * values, and the first one writes. */
R2_CHECKED r2_status r2i_run_output_write(const r2_train_options *options, r2_trainer *trainer,
                                          r2_error *err);
#endif
