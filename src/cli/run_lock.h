/* run_lock.h - one process at a time writes a run: two would mix metrics and take each other's
 * checkpoints away. */
#ifndef R2I_RUN_LOCK_H
#define R2I_RUN_LOCK_H
#include "r2lm/status.h"

/* Holds the folder of a run until *lock is closed or the process ends, however it ends.  R2_E_ARGUMENT:
 * another process has it.  File systems that know no locks hold nothing: *lock is -1. */
R2_CHECKED r2_status r2i_run_lock(int *lock, const char *folder, r2_error *err);
#endif
