#include "train/distill/answer_check.h"

#include <stdlib.h>
#include <string.h>

enum { NUMBER_BYTES = 64 };

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The last number of a text without its commas ("1,234.50" becomes 1234.50); false: there is none. */
static bool last_number(const char *text, double *out) {
    char digits[NUMBER_BYTES];
    const char *end = text + strlen(text);
    while (end > text && !is_digit(end[-1]))
        end--;
    const char *begin = end;
    while (begin > text && (is_digit(begin[-1]) || ((begin[-1] == ',' || begin[-1] == '.') &&
                                                    begin - 1 > text && is_digit(begin[-2]))))
        begin--;
    const bool is_sign = begin > text && begin[-1] == '-' &&
                         (begin - 1 == text || (!is_digit(begin[-2]) && begin[-2] != ')'));
    size_t n = 0;
    if (is_sign) digits[n++] = '-';
    for (; begin < end && n + 1 < sizeof digits; begin++) {
        if (*begin != ',') digits[n++] = *begin;
    }
    digits[n] = '\0';
    char *rest;
    *out = strtod(digits, &rest);
    return n > (is_sign ? 1 : 0) && *rest == '\0';
}

static const char *last_line(const char *text, size_t *n) {
    const char *end = text + strlen(text);
    while (end > text && strchr(" \t\r\n", end[-1]) != NULL)
        end--;
    const char *begin = end;
    while (begin > text && begin[-1] != '\n')
        begin--;
    begin += strspn(begin, " \t\r");
    *n = (size_t)(end - begin);
    return begin;
}

bool r2i_answer_is_right(r2_answer_check check, const char *answer, const char *expected) {
    if (check == R2_CHECK_NUMBER) {
        double a, b;
        return last_number(answer, &a) && last_number(expected, &b) && a == b;
    }
    if (check == R2_CHECK_TEXT) {
        size_t n_a, n_b;
        const char *a = last_line(answer, &n_a), *b = last_line(expected, &n_b);
        return n_a == n_b && n_a > 0 && memcmp(a, b, n_a) == 0;
    }
    return true;
}
