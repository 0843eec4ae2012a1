/* data_batches.h - `r2lm data batches`: what a run reads, batch by batch, for programs that are not this one. */
#ifndef R2I_DATA_BATCHES_H
#define R2I_DATA_BATCHES_H
#include "cli/program.h"

/* Prints a line of JSON for each batch: tokens, targets (-1: not learnt) and lengths of the runs in it,
 * which do not attend to each other. */
R2_CHECKED r2_status r2i_data_batches_print(r2i_program *program, r2_error *err);
#endif
