/* number_value.h - numbers as people and LaTeX write them. */
#ifndef R2I_NUMBER_VALUE_H
#define R2I_NUMBER_VALUE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A fraction where 64 bits hold it, otherwise the nearest double. */
typedef struct {
    bool is_fraction;
    int64_t numerator, denominator; /* lowest terms, denominator > 0 */
    double value;
    bool is_percent; /* a % stood behind it; the value is as written: 50 */
} r2i_number;

/* Reads the number that begins at `text`, at most n bytes: sign, digits with thousands separators (commas,
 * spaces, underscores, apostrophes, between groups of three), a decimal point, an exponent, a fraction
 * (3/4, 1 3/4, \frac{3}{4}), a currency sign before.  Returns the bytes read; 0: none begins here. */
size_t r2i_number_read(r2i_number *out, const char *text, size_t n);
/* The number that a text is: spaces, $...$, \(...\), \text{...}, a unit behind it and a name before "="
 * are passed over.  False: it is none, or more than one. */
bool r2i_number_of(r2i_number *out, const char *text, size_t n);
/* The last number in a text that is no part of a word. */
bool r2i_number_last(r2i_number *out, const char *text, size_t n);
/* Equal values; of doubles, to 12 digits.  50 % is 50 and 0.5 alike. */
bool r2i_number_equal(const r2i_number *a, const r2i_number *b);
#endif
