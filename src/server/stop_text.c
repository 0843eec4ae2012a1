#include "server/stop_text.h"

#include <string.h>

#include "base/failure.h"

enum { MAX_HELD_BYTES = 1 << 20 };

void r2i_stop_text_init(r2i_stop_text *s, r2i_heap *heap, const char *const *stops,
                        int32_t n_stops) {
    *s = (r2i_stop_text){ .stops = stops, .n_stops = n_stops };
    r2i_buffer_init(&s->held, heap, MAX_HELD_BYTES);
}

void r2i_stop_text_destroy(r2i_stop_text *s) {
    r2i_buffer_destroy(&s->held);
}

/* Where the first stop text begins in what is held; its length otherwise. */
static size_t find_stop(const r2i_stop_text *s, bool *is_found) {
    size_t first = s->held.n_bytes;
    for (int32_t i = 0; i < s->n_stops; i++) {
        const char *at = strstr(s->held.bytes, s->stops[i]);
        if (at == NULL || (size_t)(at - s->held.bytes) >= first) continue;
        first = (size_t)(at - s->held.bytes);
        *is_found = true;
    }
    return first;
}

/* Bytes at the end that some stop text begins with. */
static size_t count_doubtful(const r2i_stop_text *s) {
    size_t longest = 0;
    for (int32_t i = 0; i < s->n_stops; i++) {
        size_t n = strlen(s->stops[i]) - 1;
        if (n > s->held.n_bytes) n = s->held.n_bytes;
        while (n > longest && memcmp(s->held.bytes + s->held.n_bytes - n, s->stops[i], n) != 0)
            n--;
        if (n > longest) longest = n;
    }
    return longest;
}

r2_status r2i_stop_text_feed(r2i_stop_text *s, const char *text, bool is_last, r2i_buffer *out,
                             r2_error *err) {
    if (s->is_over) return R2_OK;
    if (s->n_stops == 0) return r2i_buffer_append_text(out, text, err);
    R2I_TRY(r2i_buffer_append_text(&s->held, text, err));
    if (s->held.n_bytes == 0) return R2_OK;
    size_t n_sure = find_stop(s, &s->is_over);
    if (!s->is_over && !is_last) n_sure -= count_doubtful(s);
    R2I_TRY(r2i_buffer_append(out, s->held.bytes, n_sure, err));
    const size_t n_left = s->is_over ? 0 : s->held.n_bytes - n_sure;
    memmove(s->held.bytes, s->held.bytes + n_sure, n_left);
    s->held.n_bytes = n_left;
    s->held.bytes[n_left] = '\0';
    return R2_OK;
}
