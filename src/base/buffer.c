#include "base/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

void r2i_buffer_init(r2i_buffer *buffer, r2i_heap *heap, size_t max_bytes) {
    *buffer = (r2i_buffer){ .heap = heap, .max_bytes = max_bytes };
}

/* Makes room for n_more bytes and the terminating zero. */
static r2_status make_room(r2i_buffer *buffer, size_t n_more, r2_error *err) {
    if (n_more > buffer->max_bytes - buffer->n_bytes) {
        return r2i_fail(err, R2_E_LIMIT, "text grows beyond its limit of %zu bytes",
                        buffer->max_bytes);
    }
    size_t needed;
    if (!r2i_add_size(buffer->n_bytes + n_more, 1, &needed))
        return r2i_fail(err, R2_E_NOMEM, "buffer too large");
    if (needed <= buffer->cap_bytes) return R2_OK;
    const size_t doubled = buffer->cap_bytes > SIZE_MAX / 2 ? SIZE_MAX : 2 * buffer->cap_bytes;
    const size_t cap = r2i_max_size(r2i_max_size(needed, doubled), 64);
    char *bytes = r2i_heap_resize(buffer->heap, buffer->bytes, buffer->cap_bytes, cap);
    if (bytes == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a buffer of %zu bytes", cap);
    buffer->bytes = bytes;
    buffer->cap_bytes = cap;
    return R2_OK;
}

r2_status r2i_buffer_append(r2i_buffer *buffer, const void *bytes, size_t n_bytes, r2_error *err) {
    const r2_status status = make_room(buffer, n_bytes, err);
    if (status != R2_OK) return status;
    if (n_bytes != 0) memcpy(buffer->bytes + buffer->n_bytes, bytes, n_bytes);
    buffer->n_bytes += n_bytes;
    buffer->bytes[buffer->n_bytes] = '\0';
    return R2_OK;
}

r2_status r2i_buffer_append_text(r2i_buffer *buffer, const char *text, r2_error *err) {
    return r2i_buffer_append(buffer, text, strlen(text), err);
}

r2_status r2i_buffer_append_format(r2i_buffer *buffer, r2_error *err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) return r2i_fail(err, R2_E_ARGUMENT, "text cannot be formatted");
    const r2_status status = make_room(buffer, (size_t)n, err);
    if (status != R2_OK) return status;
    va_start(args, format);
    (void)vsnprintf(buffer->bytes + buffer->n_bytes, (size_t)n + 1, format, args);
    va_end(args);
    buffer->n_bytes += (size_t)n;
    return R2_OK;
}

int r2i_buffer_append_chunk(const char *bytes, size_t n_bytes, void *buffer) {
    return r2i_buffer_append(buffer, bytes, n_bytes, NULL) == R2_OK ? 0 : -1;
}

void r2i_buffer_clear(r2i_buffer *buffer) {
    buffer->n_bytes = 0;
    if (buffer->bytes != NULL) buffer->bytes[0] = '\0';
}

void r2i_buffer_destroy(r2i_buffer *buffer) {
    r2i_heap_give(buffer->heap, buffer->bytes, buffer->cap_bytes);
    *buffer = (r2i_buffer){ .heap = buffer->heap, .max_bytes = buffer->max_bytes };
}
