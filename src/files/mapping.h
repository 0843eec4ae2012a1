/* mapping.h - a regular file as read-only bytes in memory.
 *
 * Pages come from the page cache when they are read and can be given back at any time: a weight
 * that was repacked needs its file pages no longer.  Nothing is ever written through a mapping. */
#ifndef R2I_MAPPING_H
#define R2I_MAPPING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "r2lm/status.h"

typedef struct {
    const uint8_t *bytes; /* page aligned; NULL when the file is empty */
    size_t n_bytes;
    int fd; /* stays open for r2i_mapping_is_intact; 0 or less when closed */
} r2i_mapping;

/* Opens a path that the user named (symbolic links are followed).  R2_E_NOT_FOUND, R2_E_IO, or
 * R2_E_FORMAT when it is no regular file.  On failure *out is closed and empty. */
R2_CHECKED r2_status r2i_mapping_open(r2i_mapping *out, const char *path, r2_error *err);
/* The same for an open file; takes fd, also on failure.  `label` names the file in messages. */
R2_CHECKED r2_status r2i_mapping_open_fd(r2i_mapping *out, int fd, const char *label,
                                         r2_error *err);
/* Safe to call twice and on a zeroed mapping; pointers into it die. */
void r2i_mapping_close(r2i_mapping *mapping);

/* False when the file has become shorter than it was: reading its lost pages would raise SIGBUS. */
bool r2i_mapping_is_intact(const r2i_mapping *mapping);

/* Hints; they never fail and never change what is read.  The range is clipped to the mapping. */
void r2i_mapping_sequential(const r2i_mapping *mapping);
/* Drops the whole pages inside the range from this process's resident memory.  They come back from
 * the page cache when they are touched again. */
void r2i_mapping_forget(const r2i_mapping *mapping, const void *start, size_t n_bytes);
#endif
