#include "text/byte_letters.h"

#include <stdbool.h>

#include "text/utf8_scan.h"

static bool is_printable(int32_t byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

void r2i_byte_letters_init(r2i_byte_letters *letters) {
    for (size_t i = 0; i < 324; i++)
        letters->byte_of[i] = -1;
    int32_t next = 256;
    for (int32_t byte = 0; byte < 256; byte++) {
        const int32_t code_point = is_printable(byte) ? byte : next++;
        char text[4];
        letters->n_bytes[byte] = (uint8_t)r2i_utf8_put(text, code_point);
        letters->letter[byte][0] = text[0];
        letters->letter[byte][1] = letters->n_bytes[byte] == 2 ? text[1] : 0;
        letters->byte_of[code_point] = (int16_t)byte;
    }
}

size_t r2i_byte_letters_decode(const r2i_byte_letters *letters, const char *text, size_t n_bytes,
                               char *out, size_t cap_bytes) {
    size_t n_out = 0;
    for (size_t i = 0; i < n_bytes;) {
        const r2i_utf8_step step = r2i_utf8_next(text + i, n_bytes - i);
        const size_t n = (size_t)step.n_bytes;
        if (step.kind == R2I_UTF8_CHAR && step.code_point < 324 &&
            letters->byte_of[step.code_point] >= 0) {
            if (n_out < cap_bytes) out[n_out] = (char)letters->byte_of[step.code_point];
            n_out++;
        } else {
            for (size_t k = 0; k < n; k++, n_out++) {
                if (n_out < cap_bytes) out[n_out] = text[i + k];
            }
        }
        i += n;
    }
    return n_out;
}
