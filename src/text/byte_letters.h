/* byte_letters.h - the printable letters in which byte-level vocabularies write bytes.
 *
 * GPT-2 gives every byte a printable character: itself where Latin-1 is printable, U+0100 and up
 * for the 68 others, in order. */
#ifndef R2I_BYTE_LETTERS_H
#define R2I_BYTE_LETTERS_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char letter[256][2];  /* UTF-8 of each byte's letter */
    uint8_t n_bytes[256]; /* 1 or 2 */
    int16_t byte_of[324]; /* code point to byte, -1: not a letter */
} r2i_byte_letters;

void r2i_byte_letters_init(r2i_byte_letters *letters);
/* Bytes that vocabulary text stands for; a character that is no letter stays as it is.  Writes at
 * most cap_bytes, returns the full count. */
size_t r2i_byte_letters_decode(const r2i_byte_letters *letters, const char *text, size_t n_bytes,
                               char *out, size_t cap_bytes);
#endif
