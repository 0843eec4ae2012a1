#include "train/distill/answer_check.h"

#include <string.h>

#include "task/number_value.h"

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
        r2i_number a, b;
        return r2i_number_last(&a, answer, strlen(answer)) &&
               r2i_number_last(&b, expected, strlen(expected)) && r2i_number_equal(&a, &b);
    }
    if (check == R2_CHECK_TEXT) {
        size_t n_a, n_b;
        const char *a = last_line(answer, &n_a), *b = last_line(expected, &n_b);
        return n_a == n_b && n_a > 0 && memcmp(a, b, n_a) == 0;
    }
    return true;
}
