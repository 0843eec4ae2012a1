/* syscall_filter.h - the system calls that a program nobody trusts may make.
 *
 * An allow-list: what is on it computes, reads and writes files, starts processes and threads, waits.
 * Everything else is answered by ENOSYS, as by an old kernel, so that programs take their other way; sockets
 * by EACCES; shared memory that is no file by EPERM, since no look counts it; calls of another architecture
 * end the program.
 */
#ifndef R2I_SYSCALL_FILTER_H
#define R2I_SYSCALL_FILTER_H
#include <stdbool.h>

#include "r2lm/status.h"

/* A filter as struct sock_filter instructions in a file of its own, in memory, at its beginning; close
 * it.  `is_outside`: the program lives among the machine's own files and processes (Landlock alone), so it
 * must not leave its process group, untie itself from its caller, or change what those allow.
 * R2_E_SANDBOX: built without libseccomp; R2_E_NOMEM, R2_E_IO. */
R2_CHECKED r2_status r2i_syscall_filter_open(int *fd, bool is_outside, r2_error *err);
#endif
