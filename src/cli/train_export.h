/* train_export.h - `r2lm train export RUN -o OUT`: a checkpoint of a run as a model, or an adapter. */
#ifndef R2I_TRAIN_EXPORT_H
#define R2I_TRAIN_EXPORT_H
#include "cli/program.h"

/* RUN/config.ini has been read (options.c), so that the model is known.  As r2_trainer_open,
 * r2_trainer_restore, r2_trainer_save; R2_E_ARGUMENT. */
R2_CHECKED r2_status r2i_train_export(r2i_program *program, r2_error *err);
#endif
