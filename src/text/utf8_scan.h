/* utf8_scan.h - one character at a time from bytes that may be anything. */
#ifndef R2I_UTF8_SCAN_H
#define R2I_UTF8_SCAN_H
#include <stddef.h>
#include <stdint.h>

typedef enum {
    R2I_UTF8_CHAR,    /* a whole character */
    R2I_UTF8_PARTIAL, /* the text ends inside a character that more bytes could complete */
    R2I_UTF8_BAD      /* no continuation makes these bytes a character */
} r2i_utf8_kind;

typedef struct {
    r2i_utf8_kind kind;
    int32_t n_bytes;    /* of the character, the partial one, or the bad sequence; at least 1 */
    int32_t code_point; /* CHAR only */
} r2i_utf8_step;

/* First thing in text[0, n), n >= 1.  Bad sequences are maximal subparts (Unicode 3.9, D93b), so
 * that one of them is one U+FFFD.  Surrogates, overlong forms and values above 10FFFF are bad. */
r2i_utf8_step r2i_utf8_next(const char *text, size_t n);
/* Bytes at the start of text[0, n) that are whole characters. */
size_t r2i_utf8_valid_prefix(const char *text, size_t n);
/* Bytes at the start of text[0, n) that are ASCII. */
size_t r2i_ascii_prefix(const char *text, size_t n);
/* Writes 1 to 4 bytes for a valid code point and returns how many. */
int32_t r2i_utf8_put(char out[4], int32_t code_point);
#endif
