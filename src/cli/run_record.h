/* run_record.h - a training run in the list of runs (store/run_registry.h), at
 * $XDG_STATE_HOME/r2lm/runs.db (~/.local/state/...).  What goes wrong with the list is said once and never
 * stops a run. */
#ifndef R2I_RUN_RECORD_H
#define R2I_RUN_RECORD_H
#include "cli/program.h"
#include "cli/train_options.h"
#include "store/run_registry.h"

typedef struct {
    r2i_program *program;
    r2i_registry *registry; /* NULL: not entered */
    bool is_wanted;         /* but not entered before its first step */
    r2i_run_entry entry;
    int64_t written_ns;
} r2i_run_record;

/* Opens the list.  R2_E_STATE: HOME is not set; otherwise as r2i_registry_open. */
R2_CHECKED r2_status r2i_runs_open(r2i_registry **out, r2i_program *program, bool only_read,
                                   r2_error *err);
/* What stands in the list from the run's first step on: who is refused before leaves no trace, and an earlier
 * run of that folder stands as it ended.  Texts are copied. */
void r2i_run_record_begin(r2i_run_record *record, r2i_program *program, r2i_train_kind kind,
                          const r2_train_options *options, const r2i_buffer *config);
/* Writes its numbers, at most every few seconds but where it was validated. */
void r2i_run_record_step(r2i_run_record *record, const r2_train_report *report, double cost);
/* How it ended; `was_stopped`: by a signal. */
void r2i_run_record_end(r2i_run_record *record, r2_status status, bool was_stopped,
                        const char *message);
#endif
