/* buffer.h - bytes that grow up to a stated maximum. */
#ifndef R2I_BUFFER_H
#define R2I_BUFFER_H
#include <stddef.h>
#include "base/memory.h"

typedef struct {
    r2i_heap *heap;
    char *bytes; /* n_bytes of content, then a 0 byte once anything was added */
    size_t n_bytes, cap_bytes, max_bytes;
} r2i_buffer;

/* Empty, takes no memory yet.  Never grows beyond max_bytes of content. */
void r2i_buffer_init(r2i_buffer *buffer, r2i_heap *heap, size_t max_bytes);
/* Appends; R2_E_LIMIT beyond the maximum, R2_E_NOMEM; the content is unchanged then. */
R2_CHECKED r2_status r2i_buffer_append(r2i_buffer *buffer, const void *bytes, size_t n_bytes,
                                       r2_error *err);
R2_CHECKED r2_status r2i_buffer_append_text(r2i_buffer *buffer, const char *text, r2_error *err);
R2_CHECKED r2_status r2i_buffer_append_format(r2i_buffer *buffer, r2_error *err, const char *format,
                                              ...) __attribute__((format(printf, 3, 4)));
/* The same as a callback of libraries that write piece by piece (json_dump_callback): 0, or -1 on
 * failure. */
int r2i_buffer_append_chunk(const char *bytes, size_t n_bytes, void *buffer);
/* Keeps the memory, drops the content. */
void r2i_buffer_clear(r2i_buffer *buffer);
void r2i_buffer_destroy(r2i_buffer *buffer);
#endif
