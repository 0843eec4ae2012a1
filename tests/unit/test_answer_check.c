/* test_answer_check.c - when an answer counts as the one in the data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/distill/answer_check.h"

static void expect_of(const char *task, r2_answer_check check, const char *answer,
                      const char *expected, bool is_right) {
    bool found;
    assert_int_equal(r2i_answer_check(&found, check, task, expected, answer, NULL, NULL), R2_OK);
    if (found != is_right)
        fail_msg("\"%s\" against \"%s\": expected %d", answer, expected, is_right);
}

static void expect(r2_answer_check check, const char *answer, const char *expected, bool is_right) {
    expect_of(NULL, check, answer, expected, is_right);
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

static void test_tasks(void **state) {
    bool is_right;
    (void)state;
    expect_of("sum", R2_CHECK_TASK, "<answer>42</answer>", "42", true);
    expect_of("sum", R2_CHECK_TASK, "It is 7 or <answer>42.0</answer>", "42", true);
    expect_of("sum", R2_CHECK_TASK, "42 or <answer>41</answer>", "42", false);
    expect_of("sum", R2_CHECK_TASK, "", "42", false);
    expect_of("sort", R2_CHECK_TASK, "<answer>[1,2, 3]</answer>", "[1, 2, 3]", true);
    expect_of("sort", R2_CHECK_TASK, "<answer>[1, 3, 2]</answer>", "[1, 2, 3]", false);
    assert_int_equal(r2i_answer_check(&is_right, R2_CHECK_TASK, "summ", "1", "1", NULL, NULL),
                     R2_E_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_numbers),
                                        cmocka_unit_test(test_texts),
                                        cmocka_unit_test(test_tasks) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
