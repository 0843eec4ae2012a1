/* supervise.h - sees a cage to its end: input and output, limits, the end of all its processes. */
#ifndef R2I_SUPERVISE_H
#define R2I_SUPERVISE_H
#include "sandbox/cage.h"

/* Fills all of `result`, whose texts come from `heap`.  Whatever it returns, nothing lives any more, and
 * the cage's files are closed.  R2_E_SANDBOX: bubblewrap gave up before the program began;
 * R2_E_NOT_FOUND: there was no such program; R2_E_NOMEM, R2_E_IO. */
R2_CHECKED r2_status r2i_supervise(r2_sandbox_result *result, r2i_cage *cage, r2i_heap *heap,
                                   r2_error *err);
#endif
