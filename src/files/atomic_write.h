/* atomic_write.h - a file that appears whole or not at all.
 *
 * Bytes go to a temporary file in the same folder; commit makes them durable (fsync), renames over
 * the final name and makes the name durable (fsync of the folder).  Whatever fails before the
 * rename removes the temporary file and leaves what was there before.  A failed write or fsync is
 * final: the kernel may have dropped the pages, so nothing is retried on the same file. */
#ifndef R2I_ATOMIC_WRITE_H
#define R2I_ATOMIC_WRITE_H
#include <stdbool.h>
#include <stdint.h>
#include "base/memory.h"

typedef struct r2i_atomic_file r2i_atomic_file;

/* Begins a file that will be called `path` (replaced if it exists; a link is replaced, not
 * followed).  is_private: mode 0600 for what people wrote; otherwise 0666 less the umask.
 * R2_E_IO, R2_E_NOT_FOUND (no such folder), R2_E_ARGUMENT (path is a folder or device),
 * R2_E_NOMEM. */
R2_CHECKED r2_status r2i_atomic_begin(r2i_atomic_file **out, const char *path, bool is_private,
                                      r2i_heap *heap, r2_error *err);
/* Appends (buffered).  R2_E_FULL when the disk or a quota is full, R2_E_IO otherwise; the file can
 * only be abandoned then, and every later call fails too. */
R2_CHECKED r2_status r2i_atomic_write(r2i_atomic_file *file, const void *bytes, size_t n_bytes,
                                      r2_error *err);
R2_CHECKED r2_status r2i_atomic_write_zeros(r2i_atomic_file *file, size_t n_bytes, r2_error *err);
uint64_t r2i_atomic_n_bytes(const r2i_atomic_file *file); /* appended so far */
/* Ends the file, in success and in failure; `file` is gone afterwards.  When only the last fsync of
 * the folder fails, the new file is in place although an error is returned. */
R2_CHECKED r2_status r2i_atomic_commit(r2i_atomic_file *file, r2_error *err);
/* Removes the temporary file.  NULL is allowed. */
void r2i_atomic_abandon(r2i_atomic_file *file);

/* Writes all bytes to a descriptor, through short writes and EINTR; `label` is for messages. */
R2_CHECKED r2_status r2i_write_all(int fd, const char *label, const void *bytes, size_t n_bytes,
                                   r2_error *err);
#endif
