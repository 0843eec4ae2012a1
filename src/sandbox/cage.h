/* cage.h - a program that runs and cannot get out; two ways to build one.
 *
 * Namespaces (bubble.c):
 *     caller -> bwrap -> [ process 1: bwrap, reaps orphans -> the program -> ... ]
 * Landlock (fence.c), where namespaces cannot be made: a process group that nobody can leave
 *     caller -> [ the program -> ... ]
 * Both: system calls filtered, limits of each process set, other files of the caller closed. */
#ifndef R2I_CAGE_H
#define R2I_CAGE_H
#include "base/arena.h"
#include "r2lm/sandbox.h"
#include "sandbox/launch.h"

enum {
    R2I_MAX_SANDBOX_FILES = 64,
    R2I_MAX_SANDBOX_VARIABLES = 64,
    R2I_SHARED_MEMORY_BYTES = 16 << 20 /* of /dev/shm */
};

typedef struct {
    const r2_sandbox_options *options;
    r2_sandbox_limits limits; /* without zeros */
    r2i_arena *arena;         /* for as long as the cage */
    pid_t pid;                /* the child to wait for */
    pid_t inner;        /* namespaces: process 1 by its number outside; 0: a process group, pid */
    int out, err;       /* our ends of its pipes; -1: closed */
    int status;         /* namespaces: what bwrap tells, lines of JSON; -1 */
    const char *folder; /* Landlock: the work folder */
    bool owns_folder;   /* it is removed with the cage */
} r2i_cage;

/* Starts the program.  R2_E_SANDBOX: the machine lacks what this takes; R2_E_NOT_FOUND, R2_E_NOMEM, R2_E_IO. */
R2_CHECKED r2_status r2i_bubble_start(r2i_cage *cage, r2_error *err);
R2_CHECKED r2_status r2i_fence_start(r2i_cage *cage, r2_error *err);
/* The version of Landlock's interface; 0: none. */
int r2i_landlock_version(void);
enum { R2I_LANDLOCK_NEEDED = 6 }; /* signals stay inside, since Linux 6.12 */

/* What the program's 0, 1 and 2 will be: a file in memory and two pipes. */
R2_CHECKED r2_status r2i_cage_open_streams(r2i_cage *cage, r2i_launch *launch, r2_error *err);
/* Closes what the program has of a launch. */
void r2i_launch_close(r2i_launch *launch);
/* A file in memory with these bytes, at its beginning, that nobody can change; -1: no room. */
int r2i_file_of_bytes(const void *bytes, size_t n_bytes);
/* A number above 2 for a file that was opened (or -1, which stays); the old one is closed. */
int r2i_file_above(int fd);
#endif
