/* Row operations of every level against ref: rmsnorm, silu_mul, rope, log_sum_exp, softmax. */
#include <math.h>
#include <string.h>

#include "kernel_check.h"

enum { MAX_N = 200, N_LONG = 3 };
static const int32_t long_sizes[N_LONG] = {896, 4864, 32771};

/* Runs `check` for n = 0..200 and some long rows, on every table and on ref itself. */
typedef void (*row_check)(const r2i_kernels *kernels, check_random *random, int32_t n);

static void run_sizes(const char *name, row_check check) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = -1; i < n_tables; i++) {
        const r2i_kernels *kernels = i < 0 ? check_ref() : &tables[i].kernels;
        for (int32_t k = 0; k <= MAX_N + N_LONG; k++) {
            const int32_t n = k <= MAX_N ? k : long_sizes[k - MAX_N - 1];
            check_random random = {(uint64_t)k};
            check_case("%s: %s, n and seed %d", i < 0 ? "ref" : tables[i].name, name, (int)n);
            check(kernels, &random, n);
            check_release();
        }
    }
}

static float *take_row(check_random *random, int32_t n, float size) {
    float *x = check_take(4 * (size_t)n, check_below(random, 2) == 0);
    check_fill(random, x, (size_t)n, size);
    return x;
}

static float *copy_row(const float *x, int32_t n) {
    float *copy = check_take(4 * (size_t)n, true);
    if (n > 0) memcpy(copy, x, 4 * (size_t)n);
    return copy;
}

/* Each output against a double of the same place. */
static void check_row(const float *y, const double *expected, int32_t n, double tolerance, const char *what) {
    for (int32_t i = 0; i < n; i++) {
        CHECK(check_near(y[i], expected[i], fabs(expected[i]), tolerance), "%s %d: expected %.9g, found %.9g", what,
              (int)i, expected[i], (double)y[i]);
    }
}

static double expected[40000];

static void check_rmsnorm(const r2i_kernels *kernels, check_random *random, int32_t n) {
    const float size = check_below(random, 3) == 0 ? 1e-3F : 3.0F;
    float *x = take_row(random, n, size), *w = take_row(random, n, 1.0F), *y = take_row(random, n, 1.0F);
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    for (int32_t i = 0; i < n; i++) {
        expected[i] = (double)w[i] * (double)x[i] / sqrt(sum / (double)n + (double)1e-6F);
    }
    kernels->rmsnorm(y, x, w, n, 1e-6F);
    check_row(y, expected, n, 2e-6, "rmsnorm"); /* a sum of n squares and six roundings */
    kernels->rmsnorm(x, x, w, n, 1e-6F);
    check_equal(x, y, (size_t)n, "rmsnorm in place");
}

static void check_silu_mul(const r2i_kernels *kernels, check_random *random, int32_t n) {
    const float size = check_below(random, 3) == 0 ? 60.0F : 3.0F;
    float *gate = take_row(random, n, size), *up = take_row(random, n, 1.0F), *y = take_row(random, n, 1.0F);
    for (int32_t i = 0; i < n; i++) {
        expected[i] = (double)gate[i] / (1.0 + exp(-(double)gate[i])) * (double)up[i];
    }
    float *in_gate = copy_row(gate, n), *in_up = copy_row(up, n);
    kernels->silu_mul(y, gate, up, n);
    for (int32_t i = 0; i < n; i++) { /* beyond -87 the exponential leaves the normal range */
        const double tiny = gate[i] < -80.0F ? 1e-30 : 0.0;
        CHECK(check_near(y[i], expected[i], fabs(expected[i]) + tiny, 2e-6) || fabs(expected[i] - (double)y[i]) <= tiny,
              "silu %d of %.9g: expected %.9g, found %.9g", (int)i, (double)gate[i], expected[i], (double)y[i]);
    }
    kernels->silu_mul(in_gate, in_gate, up, n);
    check_equal(in_gate, y, (size_t)n, "silu_mul in place of gate");
    kernels->silu_mul(in_up, gate, in_up, n);
    check_equal(in_up, y, (size_t)n, "silu_mul in place of up");
}

static void check_rope(const r2i_kernels *kernels, check_random *random, int32_t n) {
    const int32_t d = n & ~1, half = d / 2;
    for (int is_interleaved = 0; is_interleaved < 2; is_interleaved++) {
        float *x = take_row(random, d, 2.0F), *c = take_row(random, half, 1.0F), *s = take_row(random, half, 1.0F);
        const float *before = copy_row(x, d);
        kernels->rope(x, c, s, d, is_interleaved == 1);
        for (int32_t i = 0; i < half; i++) {
            const int32_t a = is_interleaved ? 2 * i : i, b = is_interleaved ? 2 * i + 1 : i + half;
            const double u = (double)before[a], v = (double)before[b], size = fabs(u) + fabs(v);
            CHECK(check_near(x[a], u * (double)c[i] - v * (double)s[i], 4.0 * size, 1e-6), "rope %d", (int)a);
            CHECK(check_near(x[b], v * (double)c[i] + u * (double)s[i], 4.0 * size, 1e-6), "rope %d", (int)b);
        }
    }
}

/* Logits as they occur: some far below the maximum, some -INFINITY. */
static float *take_logits(check_random *random, int32_t n) {
    float *x = take_row(random, n, check_below(random, 3) == 0 ? 50.0F : 4.0F);
    for (int32_t i = 0; i < n; i++) {
        if (n > 1 && check_below(random, 5) == 0 && i != n / 2) x[i] = -INFINITY;
    }
    return x;
}

static double exponentials(const float *x, int32_t n, double *max) {
    double sum = 0.0;
    *max = -INFINITY;
    for (int32_t i = 0; i < n; i++) *max = (double)x[i] > *max ? (double)x[i] : *max;
    for (int32_t i = 0; i < n; i++) sum += expected[i] = exp((double)x[i] - *max);
    return sum;
}

static void check_log_sum_exp(const r2i_kernels *kernels, check_random *random, int32_t n) {
    double max;
    const float *x = take_logits(random, n);
    const double sum = exponentials(x, n, &max), lse = n == 0 ? -INFINITY : max + log(sum);
    const float found = kernels->log_sum_exp(x, n);
    CHECK(check_near(found, lse, 1.0 + fabs(lse), 1e-6), "log_sum_exp: expected %.9g, found %.9g", lse, (double)found);
}

static void check_softmax(const r2i_kernels *kernels, check_random *random, int32_t n) {
    double max;
    float *x = take_logits(random, n), *p = take_row(random, n, 1.0F);
    const double sum = exponentials(x, n, &max);
    kernels->softmax(p, x, n);
    for (int32_t i = 0; i < n; i++) {
        const double e = expected[i] / sum; /* results below 1e-30 may be flushed to 0 */
        CHECK(fabs((double)p[i] - e) <= 4e-6 * e + 1e-30, "softmax %d of %.9g: expected %.9g, found %.9g", (int)i,
              (double)x[i], e, (double)p[i]);
    }
    kernels->softmax(x, x, n);
    check_equal(x, p, (size_t)n, "softmax in place");
}

static void test_rmsnorm(void **state) {
    (void)state;
    run_sizes("rmsnorm", check_rmsnorm);
}
static void test_silu_mul(void **state) {
    (void)state;
    run_sizes("silu_mul", check_silu_mul);
}
static void test_rope(void **state) {
    (void)state;
    run_sizes("rope", check_rope);
}
static void test_log_sum_exp(void **state) {
    (void)state;
    run_sizes("log_sum_exp", check_log_sum_exp);
}
static void test_softmax(void **state) {
    (void)state;
    run_sizes("softmax", check_softmax);
}

/* A NaN at place `at` of n: sums turn NaN, elementwise operations only there. */
static void check_nan_at(const r2i_kernels *kernels, int32_t n, int32_t at) {
    check_random random = {(uint64_t)(n * 100 + at)};
    float *x = take_row(&random, n, 1.0F), *w = take_row(&random, n, 1.0F), *y = take_row(&random, n, 1.0F);
    x[at] = NAN;
    kernels->rmsnorm(y, x, w, n, 1e-6F);
    for (int32_t i = 0; i < n; i++) CHECK(isnan(y[i]), "rmsnorm %d", (int)i);
    kernels->silu_mul(y, x, w, n);
    for (int32_t i = 0; i < n; i++) CHECK((isnan(y[i]) != 0) == (i == at), "silu_mul of gate %d", (int)i);
    kernels->silu_mul(y, w, x, n);
    for (int32_t i = 0; i < n; i++) CHECK((isnan(y[i]) != 0) == (i == at), "silu_mul of up %d", (int)i);
    CHECK(isnan(kernels->log_sum_exp(x, n)), "log_sum_exp");
    kernels->softmax(y, x, n);
    for (int32_t i = 0; i < n; i++) CHECK(isnan(y[i]), "softmax %d", (int)i);
    check_release();
}

static void test_nan(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = -1; i < n_tables; i++) {
        for (int32_t n = 1; n <= 70; n++) {
            for (int32_t at = 0; at < n; at += 1 + n / 9) {
                check_case("%s: NaN at %d of %d", i < 0 ? "ref" : tables[i].name, (int)at, (int)n);
                check_nan_at(i < 0 ? check_ref() : &tables[i].kernels, n, at);
            }
        }
    }
}

/* Ends of the range: nothing becomes NaN that has a limit. */
static void test_extremes(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = -1; i < n_tables; i++) {
        const r2i_kernels *kernels = i < 0 ? check_ref() : &tables[i].kernels;
        check_case("%s: extremes", i < 0 ? "ref" : tables[i].name);
        float gate[20], up[20], y[20], low[20];
        for (int k = 0; k < 20; k++) gate[k] = k % 2 == 0 ? 3e38F : -3e38F, up[k] = 0.5F, low[k] = -INFINITY;
        kernels->silu_mul(y, gate, up, 20);
        for (int k = 0; k < 20; k++) CHECK(y[k] == (k % 2 == 0 ? 1.5e38F : 0.0F), "silu_mul %d: %g", k, (double)y[k]);
        CHECK(kernels->log_sum_exp(low, 20) == -INFINITY, "log_sum_exp of nothing");
        CHECK(kernels->log_sum_exp(gate, 20) == 3e38F, "log_sum_exp of huge numbers");
        kernels->softmax(y, gate, 20);
        for (int k = 0; k < 20; k++) CHECK(fabsf(y[k] - (k % 2 == 0 ? 0.1F : 0.0F)) < 1e-7F, "softmax %d", k);
        memset(y, 0, sizeof y);
        kernels->rmsnorm(low, y, up, 20, 1e-6F);
        for (int k = 0; k < 20; k++) CHECK(low[k] == 0.0F, "rmsnorm of zeros");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm), cmocka_unit_test(test_silu_mul),    cmocka_unit_test(test_rope),
        cmocka_unit_test(test_softmax), cmocka_unit_test(test_log_sum_exp), cmocka_unit_test(test_nan),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
