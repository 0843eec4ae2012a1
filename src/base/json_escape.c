#include "base/json_escape.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/failure.h"
#include "base/utf8_valid.h"

/* Bytes of the character at text[0], 0 if it is none. */
static size_t character(const unsigned char *text, size_t n) {
    uint8_t low, high;
    const size_t all = (size_t)r2i_utf8_lead(text[0], &low, &high);
    if (all == 0 || all > n) return 0;
    if (all > 1 && (text[1] < low || text[1] > high)) return 0;
    for (size_t i = 2; i < all; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
    }
    return all;
}

static bool is_plain(unsigned char c) {
    return c >= ' ' && c != '"' && c != '\\' && c < 0x7f;
}

r2_status r2i_json_escape(r2i_buffer *to, const char *text, size_t n, r2_error *err) {
    const unsigned char *bytes = (const unsigned char *)text;
    R2I_TRY(r2i_buffer_append(to, "\"", 1, err));
    for (size_t i = 0, run; i < n; i += run) {
        for (run = 0; i + run < n && is_plain(bytes[i + run]);)
            run++;
        if (run > 0) {
            R2I_TRY(r2i_buffer_append(to, text + i, run, err));
        } else if (bytes[i] < 0x80) {
            run = 1;
            R2I_TRY(r2i_buffer_append_format(to, err, "\\u%04x", (unsigned)bytes[i]));
        } else {
            run = character(bytes + i, n - i);
            R2I_TRY(
                r2i_buffer_append(to, run > 0 ? text + i : "\xef\xbf\xbd", run > 0 ? run : 3, err));
            run = run > 0 ? run : 1;
        }
    }
    return r2i_buffer_append(to, "\"", 1, err);
}
