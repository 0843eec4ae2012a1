/* run_registry.h - which training runs there were: a table in SQLite.
 *
 * Several programs may use it at once.  It knows of runs what they enter; a process that is gone without
 * having said so shows as crashed.  Built without SQLite every call fails with R2_E_UNSUPPORTED. */
#ifndef R2I_RUN_REGISTRY_H
#define R2I_RUN_REGISTRY_H
#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "r2lm/status.h"

typedef struct r2i_registry r2i_registry;

/* Texts are borrowed when a run is entered, and from the registry, for the call, when it is listed. */
typedef struct {
    int64_t id;
    const char *kind, *folder, *model, *data, *config, *version;
    const char *state; /* "running", "finished", "stopped", "failed"; listed too: "crashed" */
    int64_t started_s, updated_s; /* since 1970 */
    int64_t step, n_steps, n_tokens;
    double loss, validation_loss, validation_bpb; /* NAN: not known */
    double seconds, cost;
    const char *currency;
    const char *message; /* why it failed; "" otherwise */
} r2i_run_entry;

/* Makes file and folders that are not there, for the owner alone, unless only_read
 * (R2_E_NOT_FOUND).  R2_E_FORMAT: no database or a damaged one; R2_E_IO; R2_E_UNSUPPORTED. */
R2_CHECKED r2_status r2i_registry_open(r2i_registry **out, const char *path, bool only_read,
                                       r2i_heap *heap, r2_error *err);
/* NULL is allowed. */
void r2i_registry_close(r2i_registry *registry);
/* Enters a run of this process; sets `id`. */
R2_CHECKED r2_status r2i_registry_add(r2i_registry *registry, r2i_run_entry *entry, r2_error *err);
/* Writes state and numbers. */
R2_CHECKED r2_status r2i_registry_update(r2i_registry *registry, const r2i_run_entry *entry,
                                         r2_error *err);
/* Calls back for each run, newest first, as long as true comes back. */
R2_CHECKED r2_status r2i_registry_list(r2i_registry *registry,
                                       bool (*each)(void *user, const r2i_run_entry *entry),
                                       void *user, r2_error *err);
/* Forgets a run; its files stay.  R2_E_NOT_FOUND. */
R2_CHECKED r2_status r2i_registry_remove(r2i_registry *registry, int64_t id, r2_error *err);
#endif
