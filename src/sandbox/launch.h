/* launch.h - one process of a sandbox, started without copying the caller's memory.
 *
 * The caller may hold gigabytes and many threads: the child borrows its memory until it has become
 * another program (vfork), and does nothing before that but system calls. */
#ifndef R2I_LAUNCH_H
#define R2I_LAUNCH_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "r2lm/status.h"

enum { R2I_LAUNCH_KEPT = 80 };

typedef struct {
    const char *path;          /* of the program */
    char *const *arguments;    /* NULL ends */
    char *const *environment;  /* NULL ends */
    const char *folder;        /* to start in; NULL: where the caller is */
    int standard[3];           /* become 0, 1 and 2 */
    int kept[R2I_LAUNCH_KEPT]; /* stay open by their numbers; all others are closed */
    int n_kept;
    uint32_t user;    /* become this one first, and its group; 0: stay who one is */
    bool has_session; /* in a session and process group of its own */
    /* Killed with the thread that starts it, so that nobody is left whom nobody watches. */
    bool dies_with_caller;
    double cpu_seconds; /* limits of each process */
    int64_t memory_bytes, file_bytes;
    int32_t max_open;
    int32_t max_processes; /* 0: not here */
    int landlock;          /* rule set to take on, with `filter` behind it; -1: neither */
    const void *filter;    /* struct sock_fprog */
} r2i_launch;

/* A user for one program that root starts, unlike any other; 0 where nobody is root. */
uint32_t r2i_launch_new_user(void);
/* Starts it.  R2_E_NOT_FOUND: the path is no program that can be run; R2_E_IO: the text says which step failed. */
R2_CHECKED r2_status r2i_launch_start(pid_t *pid, const r2i_launch *launch, r2_error *err);
#endif
