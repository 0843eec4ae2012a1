/* sandbox.h - programs that nobody trusts: run, watched, and ended.
 *
 * All functions may be called from any thread, several at a time. */
#ifndef R2LM_SANDBOX_H
#define R2LM_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r2lm/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- a program in a sandbox ---- */

/* What keeps a program in, from the outside to the inside. */
typedef enum {
    R2_LAYER_NAMESPACES, /* bubblewrap: own users, files, processes, network, names */
    R2_LAYER_SYSCALLS,   /* seccomp: an allow-list of system calls */
    R2_LAYER_LANDLOCK,   /* files and signals; stands in where namespaces cannot be made */
    R2_N_LAYERS
} r2_sandbox_layer;

typedef struct {
    const char *name; /* of the layer; static */
    bool is_there;
    char text[R2_ERROR_TEXT_BYTES]; /* which version; or what is missing and how to get it */
} r2_layer_state;

/* Tries each layer.  `layers` receives R2_N_LAYERS states.  Returns true if r2_sandbox_run can run a
 * program: namespaces and system calls, or Landlock and system calls. */
R2_API bool r2_sandbox_check(r2_layer_state layers[R2_N_LAYERS]);

typedef struct {
    double wall_seconds;   /* 0: 60 */
    double idle_seconds;   /* without any processor time; 0: as wall_seconds */
    double cpu_seconds;    /* of all its processes; 0: 30 */
    int64_t memory_bytes;  /* of all its processes, and address space of each; 0: 1 GiB */
    int64_t output_bytes;  /* of stdout, and of stderr; more is thrown away; 0: 1 MiB */
    int64_t disk_bytes;    /* in the work folder, with what was there before; /tmp has the same; 0: 64 MiB */
    int32_t max_files;     /* in the same; 0: 10,000 */
    int32_t max_processes; /* with threads; 0: 64 */
} r2_sandbox_limits;

/* A file that lies in the work folder when the program starts. */
typedef struct {
    const char *name; /* without folders */
    const void *bytes;
    size_t n_bytes;
} r2_sandbox_file;

typedef struct {
    const char *const
        *arguments; /* the program, found in /usr/bin and the like, and its arguments; NULL ends */
    const char *const
        *environment; /* up to 64 "NAME=VALUE" besides PATH, HOME, LANG, TMPDIR; NULL ends; may be NULL */
    /* Folder that the program may write to, its working directory (/work inside); NULL: an empty one
     * that is gone afterwards.  Its limits then are watched, not enforced, several times a second. */
    const char *work;
    const r2_sandbox_file *files; /* [n_files] of the empty work folder */
    int32_t n_files;
    const char *const
        *readable;     /* more paths that may be read, by the same names; NULL ends; may be NULL */
    const void *input; /* its standard input; NULL: empty */
    size_t n_input;
    r2_sandbox_limits limits;
    bool uses_landlock; /* the stand-in, also where namespaces can be made: for tests */
    /* Asked several times a second; true ends the program.  May be NULL. */
    bool (*is_canceled)(void *user);
    r2_host host; /* memory; `user` is given to is_canceled too */
} r2_sandbox_options;

typedef enum {
    R2_ENDED_EXIT,   /* by itself */
    R2_ENDED_SIGNAL, /* by a signal of its own, such as SIGSEGV */
    R2_ENDED_WALL,   /* limits, from here on */
    R2_ENDED_CPU,
    R2_ENDED_MEMORY,
    R2_ENDED_PROCESSES,
    R2_ENDED_DISK,
    R2_ENDED_CANCELED
} r2_sandbox_end;

typedef struct {
    char *out, *err; /* [n_out], [n_err] bytes, then a 0 that does not count; any bytes */
    size_t n_out, n_err;
    bool is_out_cut, is_err_cut; /* there was more */
    r2_sandbox_end end;
    int32_t exit_code; /* R2_ENDED_EXIT; otherwise 128 + the signal */
    double wall_seconds;
    double cpu_seconds;   /* as last seen: looked at every 20 ms, so short programs show less */
    int64_t memory_bytes; /* most that was seen */
} r2_sandbox_result;

/* Runs a program to its end or to a limit; afterwards none of its processes lives.  Inside there is no
 * network, nothing of the machine but /usr and the like (to be read), and no way to more rights.
 * R2_OK however the program ended.  R2_E_SANDBOX: a layer is missing, the text says which and how
 * to get it; nothing has run.  R2_E_NOT_FOUND: no such program; R2_E_ARGUMENT: also no such folder or path
 * to read; R2_E_NOMEM, R2_E_IO.
 * If this process is killed meanwhile, or the thread that called ends, the program dies with it; with
 * Landlock alone, what it started itself may go on, each part until its own limits end it, which waiting
 * does not use up, and its folder in /tmp stays. */
R2_API R2_CHECKED r2_status r2_sandbox_run(r2_sandbox_result *result,
                                           const r2_sandbox_options *options, r2_error *err);
/* Gives back what a result holds, to the host it was made with. */
R2_API void r2_sandbox_free(r2_sandbox_result *result, const r2_host *host);
/* "exit", "signal", "wall time", ... */
R2_API const char *r2_sandbox_end_name(r2_sandbox_end end);

#ifdef __cplusplus
}
#endif
#endif
