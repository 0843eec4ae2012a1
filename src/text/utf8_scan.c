#include "text/utf8_scan.h"

#include <string.h>

#include "base/utf8_valid.h"

r2i_utf8_step r2i_utf8_next(const char *text, size_t n) {
    const uint8_t lead = (uint8_t)text[0];
    uint8_t low, high;
    const int32_t want = r2i_utf8_lead(lead, &low, &high);
    if (want == 1) return (r2i_utf8_step){ R2I_UTF8_CHAR, 1, lead };
    if (want == 0) return (r2i_utf8_step){ R2I_UTF8_BAD, 1, 0 };
    int32_t code_point = lead & (0x7f >> want);
    for (int32_t i = 1; i < want; i++) {
        if ((size_t)i >= n) return (r2i_utf8_step){ R2I_UTF8_PARTIAL, i, 0 };
        const uint8_t byte = (uint8_t)text[i];
        if (byte < low || byte > high) return (r2i_utf8_step){ R2I_UTF8_BAD, i, 0 };
        code_point = code_point << 6 | (byte & 0x3f);
        low = 0x80;
        high = 0xbf;
    }
    return (r2i_utf8_step){ R2I_UTF8_CHAR, want, code_point };
}

size_t r2i_ascii_prefix(const char *text, size_t n) {
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        uint64_t word[4];
        memcpy(word, text + i, sizeof word);
        if (((word[0] | word[1] | word[2] | word[3]) & 0x8080808080808080u) != 0) break;
    }
    while (i < n && (uint8_t)text[i] < 0x80)
        i++;
    return i;
}

size_t r2i_utf8_valid_prefix(const char *text, size_t n) {
    size_t i = r2i_ascii_prefix(text, n);
    while (i < n) {
        const r2i_utf8_step step = r2i_utf8_next(text + i, n - i);
        if (step.kind != R2I_UTF8_CHAR) return i;
        i += (size_t)step.n_bytes;
        if (i < n && (uint8_t)text[i] < 0x80) i += r2i_ascii_prefix(text + i, n - i);
    }
    return n;
}

int32_t r2i_utf8_put(char out[4], int32_t code_point) {
    const uint32_t c = (uint32_t)code_point;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const int32_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (int32_t i = n - 1; i > 0; i--)
        out[i] = (char)(0x80 | ((c >> (6 * (n - 1 - i))) & 0x3f));
    out[0] = (char)((0xf00 >> n & 0xff) | c >> (6 * (n - 1)));
    return n;
}
