/* test_statistics.c - intervals, pass@k and McNemar's test against published values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "r2lm/eval.h"

static void assert_near(double found, double expected, double within) {
    if (!(fabs(found - expected) <= within))
        fail_msg("expected %.12g, found %.12g", expected, found);
}

/* Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3; four digits. */
static void test_wilson(void **state) {
    static const struct {
        int n_right, n;
        double low, high;
    } published[] = { { 81, 263, 0.2553, 0.3662 },
                      { 15, 148, 0.0624, 0.1605 },
                      { 0, 20, 0.0, 0.1611 },
                      { 1, 29, 0.0061, 0.1718 } };
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const r2_eval_share s = r2_eval_wilson(published[i].n_right, published[i].n),
                            back = r2_eval_wilson(published[i].n - published[i].n_right,
                                                  published[i].n);
        assert_near(s.value, (double)published[i].n_right / published[i].n, 1e-15);
        assert_near(s.low, published[i].low, 5.1e-5);
        assert_near(s.high, published[i].high, 5.1e-5);
        assert_near(back.low, 1 - s.high, 1e-12); /* wrong ones mirror right ones */
    }
    assert_true(r2_eval_wilson(20, 20).high == 1 && r2_eval_wilson(0, 20).low == 0);
    assert_true(r2_eval_wilson(0, 0).low == 0 && r2_eval_wilson(0, 0).high == 1);
}

/* By counting: C(n - c, k) of C(n, k) choices hold no right one. */
static void test_pass_at_k(void **state) {
    (void)state;
    assert_near(r2_eval_pass_at_k(5, 2, 1), 0.4, 1e-15);
    assert_near(r2_eval_pass_at_k(4, 1, 2), 1 - 3.0 / 6, 1e-15);
    assert_near(r2_eval_pass_at_k(10, 3, 5), 1 - 21.0 / 252, 1e-15);
    assert_near(r2_eval_pass_at_k(200, 1, 100), 0.5, 1e-12);
    assert_true(r2_eval_pass_at_k(10, 0, 5) == 0);
    assert_true(r2_eval_pass_at_k(10, 6, 5) == 1 && r2_eval_pass_at_k(10, 10, 10) == 1);
    assert_true(r2_eval_pass_at_k(3, 1, 4) == 0 && r2_eval_pass_at_k(3, 1, 0) == 0);
}

/* 121 against 59: the sum of binomials in whole numbers. */
static void test_mcnemar(void **state) {
    (void)state;
    assert_near(r2_eval_mcnemar(121, 59), 4.434449263755176e-06, 1e-17);
    assert_near(r2_eval_mcnemar(59, 121), 4.434449263755176e-06, 1e-17);
    assert_near(r2_eval_mcnemar(9, 1), 22.0 / 1024, 1e-13);
    assert_true(r2_eval_mcnemar(0, 0) == 1 && r2_eval_mcnemar(7, 7) == 1);
    assert_near(r2_eval_mcnemar(0, 6), 2.0 / 64, 1e-14);
    assert_true(r2_eval_mcnemar(3000, 1000) < 1e-200); /* no overflow */
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_wilson),
                                        cmocka_unit_test(test_pass_at_k),
                                        cmocka_unit_test(test_mcnemar) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
