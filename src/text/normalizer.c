#include "text/normalizer.h"

#include <utf8proc.h>

#include "base/failure.h"
#include "text/nfc_tables.h"
#include "text/utf8_scan.h"

enum { RUN_CHARS = 256, RUN_DECOMPOSED = 4 * RUN_CHARS + 8 };

/* Blocks that hold most of the world's text come first; the table answers for the rest. */
static bool is_safe(int32_t c) {
    if (c < 0x300 || (c >= 0x4e00 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7a3)) return true;
    if ((c >= 0x309b && c <= 0x30ff) || (c >= 0x3040 && c <= 0x3098) || (c >= 0x400 && c <= 0x482))
        return true;
    size_t low = 0, high = r2i_n_nfc_ranges;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (r2i_nfc_ranges[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low == r2i_n_nfc_ranges || c < r2i_nfc_ranges[low].first;
}

/* Place of the first unsafe character at or after `at`, n when there is none; *before: place of the
 * character in front of it. */
static size_t find_unsafe(const char *text, size_t n, size_t at, size_t *before) {
    size_t previous = at;
    while (at < n) {
        if ((uint8_t)text[at] < 0x80) {
            at += r2i_ascii_prefix(text + at, n - at);
            previous = at - 1;
            continue;
        }
        const r2i_utf8_step step = r2i_utf8_next(text + at, n - at);
        if (!is_safe(step.code_point)) break;
        previous = at;
        at += (size_t)step.n_bytes;
    }
    *before = previous;
    return at;
}

bool r2i_nfc_is_certain(const char *text, size_t n_bytes) {
    size_t before;
    return find_unsafe(text, n_bytes, 0, &before) == n_bytes;
}

static r2_status append_run(r2i_buffer *out, const char *text, size_t n_bytes, r2_error *err) {
    utf8proc_int32_t chars[RUN_DECOMPOSED];
    utf8proc_ssize_t n =
        utf8proc_decompose((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)n_bytes, chars,
                           RUN_DECOMPOSED, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n >= 0 && n <= RUN_DECOMPOSED) {
        n = utf8proc_normalize_utf32(chars, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    }
    if (n < 0 || n > RUN_DECOMPOSED)
        return r2i_fail(err, R2_E_FORMAT, "tokenizer: text is not valid UTF-8");
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        char put[4];
        const r2_status status =
            r2i_buffer_append(out, put, (size_t)r2i_utf8_put(put, chars[i]), err);
        if (status != R2_OK) return status;
    }
    return R2_OK;
}

/* End of the run that starts at `at`: the next safe character behind an unsafe one, or the limit. */
static size_t run_end(const char *text, size_t n, size_t at) {
    bool is_first = true;
    for (int32_t i = 0; at < n && i < RUN_CHARS; i++) {
        const r2i_utf8_step step = r2i_utf8_next(text + at, n - at);
        if (!is_first && is_safe(step.code_point)) break;
        is_first = false;
        at += (size_t)step.n_bytes;
    }
    return at;
}

r2_status r2i_nfc_append(r2i_buffer *out, const char *text, size_t n_bytes, r2_error *err) {
    for (size_t done = 0; done < n_bytes;) {
        size_t before;
        const size_t unsafe = find_unsafe(text, n_bytes, done, &before);
        const size_t begin = unsafe == n_bytes ? n_bytes : before;
        if (begin > done) {
            const r2_status status = r2i_buffer_append(out, text + done, begin - done, err);
            if (status != R2_OK) return status;
        }
        if (unsafe == n_bytes) break;
        done = run_end(text, n_bytes, begin);
        const r2_status status = append_run(out, text + begin, done - begin, err);
        if (status != R2_OK) return status;
    }
    return R2_OK;
}
