/* utf8_valid.h - is this text UTF-8 as RFC 3629 has it: no overlong form, no surrogate. */
#ifndef R2I_UTF8_VALID_H
#define R2I_UTF8_VALID_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the sequence that a lead byte begins (0: none does) and the range of the second of them,
 * which excludes overlong forms, surrogates and code points above 10FFFF (Unicode table 3-7). */
static inline int32_t r2i_utf8_lead(uint8_t lead, uint8_t *low, uint8_t *high) {
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

bool r2i_utf8_is_valid(const char *text, size_t n_bytes);
/* In place, as a line to be shown or kept: control characters become blanks, bytes that are no UTF-8 (a character
 * that was cut among them) "?". */
void r2i_utf8_make_line(char *text);
#endif
