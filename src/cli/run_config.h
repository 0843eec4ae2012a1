/* run_config.h - RUN/config.ini: all flags of a run as they were resolved, so that
 * `r2lm train KIND -c RUN/config.ini -o NEW` repeats it and --resume goes on with it. */
#ifndef R2I_RUN_CONFIG_H
#define R2I_RUN_CONFIG_H
#include "base/buffer.h"
#include "cli/train_options.h"
#include "r2lm/status.h"

#define R2I_RUN_CONFIG_NAME "config.ini"

/* Adds the file's text.  `run`: the options that `flags` came to; names of files become absolute. */
R2_CHECKED r2_status r2i_run_config_write(r2i_buffer *out, r2i_train_kind kind,
                                          const r2i_options *flags, const r2_train_options *run,
                                          r2_error *err);
#endif
