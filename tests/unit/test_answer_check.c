/* test_answer_check.c - when an answer counts as the one in the data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/distill/answer_check.h"

static void expect(r2_answer_check check, const char *answer, const char *expected, bool is_right) {
    if (r2i_answer_is_right(check, answer, expected) != is_right)
        fail_msg("\"%s\" against \"%s\": expected %d", answer, expected, is_right);
}

static void test_numbers(void **state) {
    (void)state;
    expect(R2_CHECK_NUMBER, "So it is 42.", "40 + 2 = 42\n#### 42", true);
    expect(R2_CHECK_NUMBER, "$1,234.50!", "1234.5", true);
    expect(R2_CHECK_NUMBER, "x = -7", "-7", true);
    expect(R2_CHECK_NUMBER, "5-7", "7", true); /* a difference's sign is none */
    expect(R2_CHECK_NUMBER, "7", "-7", false);
    expect(R2_CHECK_NUMBER, "first 3, then 4", "3", false);
    expect(R2_CHECK_NUMBER, "no number", "3", false);
    expect(R2_CHECK_NUMBER, "3", "no number", false);
    expect(R2_CHECK_NUMBER, "", "", false);
    expect(R2_CHECK_NUMBER, "\\boxed{18}", "18.0", true);
}

static void test_texts(void **state) {
    (void)state;
    expect(R2_CHECK_TEXT, "because\n  Paris \n\n", "Paris", true);
    expect(R2_CHECK_TEXT, "Paris", "because\nParis", true);
    expect(R2_CHECK_TEXT, "Paris.", "Paris", false);
    expect(R2_CHECK_TEXT, "", "", false);
    expect(R2_CHECK_TEXT, " \n", "x", false);
    expect(R2_CHECK_NONE, "anything", "else", true);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_numbers),
                                        cmocka_unit_test(test_texts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
