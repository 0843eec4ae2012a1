#include "train/distill/answer_check.h"

#include <string.h>

#include "base/failure.h"
#include "r2lm/task.h"
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

static bool is_same_number(const char *answer, const char *expected) {
    r2i_number a, b;
    return r2i_number_last(&a, answer, strlen(answer)) &&
           r2i_number_last(&b, expected, strlen(expected)) && r2i_number_equal(&a, &b);
}

static bool is_same_line(const char *answer, const char *expected) {
    size_t n_a, n_b;
    const char *a = last_line(answer, &n_a), *b = last_line(expected, &n_b);
    return n_a == n_b && n_a > 0 && memcmp(a, b, n_a) == 0;
}

r2_status r2i_answer_check(bool *is_right, r2_answer_check check, const char *task,
                           const char *expected, const char *answer, const r2_host *host,
                           r2_error *err) {
    r2_grade grade;
    *is_right = true;
    if (check == R2_CHECK_NUMBER) *is_right = is_same_number(answer, expected);
    if (check == R2_CHECK_TEXT) *is_right = is_same_line(answer, expected);
    if (check != R2_CHECK_TASK) return R2_OK;
    R2I_TRY(r2_task_grade(&grade, task, expected, answer, strlen(answer), host, err));
    *is_right = grade.is_right;
    return R2_OK;
}
