/* train_options.h - from the flags of `r2lm train` to the options of a run. */
#ifndef R2I_TRAIN_OPTIONS_H
#define R2I_TRAIN_OPTIONS_H
#include "cli/program.h"
#include "r2lm/distill.h"

typedef enum {
    R2I_TRAIN_PRETRAIN,
    R2I_TRAIN_SFT,
    R2I_TRAIN_DISTILL,
    R2I_TRAIN_GRPO,
    R2I_TRAIN_DPO,
    R2I_TRAIN_KINDS
} r2i_train_kind;

/* "pretrain", ... */
const char *r2i_train_kind_name(r2i_train_kind kind);
/* R2I_TRAIN_KINDS: there is none of this name. */
r2i_train_kind r2i_train_kind_find(const char *name);
/* From answers or pairs, not from prepared data. */
static inline bool r2i_train_is_judged(r2i_train_kind kind) {
    return kind == R2I_TRAIN_GRPO || kind == R2I_TRAIN_DPO;
}
/* Flags that are left open get the values that suit the kind of run: first those that a plan needs. */
void r2i_train_resolve_shape(r2i_options *flags, r2i_train_kind kind);
/* Then, of the plan, the learning rate and the number of steps (with --minutes 0 stays: it has to be
 * measured) and with it the warm-up.  R2_E_ARGUMENT: two flags say how long. */
R2_CHECKED r2_status r2i_train_resolve_length(r2i_options *flags, r2i_train_kind kind,
                                              const r2_train_plan_result *plan, r2_error *err);
void r2i_train_set_steps(r2i_options *flags, int64_t n_steps);
/* A line for each flag that the run, or so many processes, have no use for. */
void r2i_train_note_ignored(const r2i_program *program, r2i_train_kind kind, int32_t n_processes);
/* All that resolved flags say; model, data, output and report are the caller's. */
void r2i_train_options_read(r2_train_options *out, const r2i_options *flags);
/* How a run learns from the model at `teacher`. */
void r2i_distill_options_read(r2_distill_options *out, const r2i_options *flags,
                              const char *teacher);
#endif
