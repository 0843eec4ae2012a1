/* io_shim.h - stands between the library and the system's calls that change files.
 *
 * Calls beneath one folder are counted; at the one that is named the process is killed, the call fails
 * or is cut short, or all are written down.  A write has two points: before it, and with half of its
 * bytes written.  The test program's own definitions of write, fsync, ... take the place of libc's. */
#ifndef R2LM_TESTS_IO_SHIM_H
#define R2LM_TESTS_IO_SHIM_H
#include <stddef.h>

typedef enum {
    IO_COUNT,     /* only count */
    IO_KILL,      /* the process dies at point `at`, as of kill -9 */
    IO_FAIL,      /* call `at` fails */
    IO_FAIL_FROM, /* it and all later writes fail: a full disk */
    IO_SHORT,     /* every write is cut to half, and interrupted now and then */
    IO_RECORD     /* keep a trace */
} io_mode;

typedef enum { IO_WRITE, IO_SYNC, IO_RENAME, IO_UNLINK, IO_MKDIR, IO_RMDIR } io_kind;

typedef struct {
    io_kind kind;
    char path[160], to[160]; /* beneath the folder; to: of a rename */
    size_t offset, n_bytes;  /* of a write */
    unsigned char *bytes;
} io_event;

/* From now on for calls beneath `folder`, an absolute path without links. */
void io_shim_arm(const char *folder, io_mode mode, long at, int problem);
/* Ends it; returns the points counted. */
long io_shim_disarm(void);
const io_event *io_shim_trace(size_t *n);
void io_shim_forget(void);
#endif
