/* ranks.h - training in several processes, on one machine or many.
 *
 * `mpirun -n N program` starts the processes; each joins here and gives what it gets to
 * r2_trainer_options.  MPI itself is a plugin, libr2lm_mpi.so, so that the library needs none.  What
 * travels between ranks is neither encrypted nor signed: the network must be trusted.
 *
 * All calls come from the thread that joined.  NULL is one process alone. */
#ifndef R2LM_RANKS_H
#define R2LM_RANKS_H

#include <stdint.h>

#include "r2lm/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct r2_ranks r2_ranks;

/* Waits until all processes have come.  `plugin` is the path of libr2lm_mpi.so, which is loaded and
 * runs in this process.  R2_E_NOT_FOUND: it cannot be loaded; R2_E_MISMATCH: it is another version's;
 * R2_E_IO: MPI did not start; R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_ranks_open(r2_ranks **out, const char *plugin, r2_error *err);
/* Leaves.  All ranks do so, and wait for each other.  NULL is allowed. */
R2_API void r2_ranks_close(r2_ranks *ranks);
/* Ends this process and all others at once with the exit code: where one cannot go on and the others
 * would wait for it.  NULL: does nothing. */
R2_API void r2_ranks_abort(r2_ranks *ranks, int code);

R2_API int32_t r2_ranks_index(const r2_ranks *ranks); /* 0 to count - 1 */
R2_API int32_t r2_ranks_count(const r2_ranks *ranks);

/* Every rank says how something ended; all return the same: R2_OK, or status and text of the first
 * rank that failed.  R2_E_IO: a rank did not answer, or the network failed; then nothing but
 * r2_ranks_abort makes sense any more. */
R2_API R2_CHECKED r2_status r2_ranks_agree(r2_ranks *ranks, r2_status own, r2_error *err);
/* Has the connection failed? */
R2_API int r2_ranks_is_lost(const r2_ranks *ranks);

#ifdef __cplusplus
}
#endif
#endif
