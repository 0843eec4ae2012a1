#include "files/utf8_valid.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the sequence at p, or 0 when there is none.  The second byte carries the limits that
 * exclude overlong forms, surrogates and code points above 10FFFF. */
static size_t sequence_bytes(const uint8_t *p, size_t n) {
    const uint8_t c = p[0];
    uint8_t low = 0x80, high = 0xbf;
    size_t length;
    if (c >= 0xc2 && c <= 0xdf) {
        length = 2;
    } else if (c >= 0xe0 && c <= 0xef) {
        length = 3;
        if (c == 0xe0) low = 0xa0;
        if (c == 0xed) high = 0x9f;
    } else if (c >= 0xf0 && c <= 0xf4) {
        length = 4;
        if (c == 0xf0) low = 0x90;
        if (c == 0xf4) high = 0x8f;
    } else {
        return 0;
    }
    if (n < length || p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return length;
}

bool r2i_utf8_is_valid(const char *text, size_t n_bytes) {
    const uint8_t *p = (const uint8_t *)text, *end = p + n_bytes;
    while (p < end) {
        uint64_t word;
        /* Vocabularies are mostly ASCII: eight bytes at a step. */
        if (end - p >= 8 && (memcpy(&word, p, 8), (word & 0x8080808080808080u) == 0)) {
            p += 8;
        } else if (*p < 0x80) {
            p++;
        } else {
            const size_t n = sequence_bytes(p, (size_t)(end - p));
            if (n == 0) return false;
            p += n;
        }
    }
    return true;
}
