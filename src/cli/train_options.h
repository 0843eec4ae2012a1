/* train_options.h - from the flags of `r2lm train` to the options of a run. */
#ifndef R2I_TRAIN_OPTIONS_H
#define R2I_TRAIN_OPTIONS_H
#include "cli/option_table.h"
#include "r2lm/distill.h"

typedef enum { R2I_TRAIN_PRETRAIN, R2I_TRAIN_SFT, R2I_TRAIN_DISTILL } r2i_train_kind;

/* All that flags say; model, data, output and report are the caller's.  `n_train_tokens`: of the data. */
void r2i_train_options_read(r2_train_options *out, r2i_train_kind kind, const r2i_options *flags,
                            int64_t n_train_tokens);
/* How a run learns from the model at `teacher`. */
void r2i_distill_options_read(r2_distill_options *out, const r2i_options *flags,
                              const char *teacher);
#endif
