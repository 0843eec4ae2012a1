/* test_router.c - choices of experts against a plain formula: everything sorted, in double; weights of experts
 * that are given. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "model/router.h"

enum { N_TRIALS = 200 };

typedef struct {
    double value;
    int32_t index;
} ranked;

static int compare_ranked(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static void sort_ranked(ranked *list, const double *value, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        list[i] = (ranked){ value[i], i };
    qsort(list, (size_t)n, sizeof *list, compare_ranked);
}

static void plain_scores(const r2i_config *c, const float *z, double *s) {
    double sum = 0;
    for (int32_t e = 0; e < c->n_experts; e++) {
        s[e] = c->score == R2I_SCORE_SIGMOID ? 1 / (1 + exp(-(double)z[e])) : exp((double)z[e]);
        sum += s[e];
    }
    for (int32_t e = 0; c->score == R2I_SCORE_SOFTMAX && e < c->n_experts; e++)
        s[e] /= sum;
}

/* The papers' words: rank groups, strike out the others, take the best, weigh by s. */
static void plain_choice(const r2i_config *c, const float *z, const float *bias, int32_t *chosen,
                         double *weights) {
    static double s[R2I_MAX_EXPERTS], a[R2I_MAX_EXPERTS], group[R2I_MAX_EXPERTS];
    static ranked list[R2I_MAX_EXPERTS];
    const int32_t n = c->n_experts / c->n_groups;
    double sum = 0;
    plain_scores(c, z, s);
    for (int32_t e = 0; e < c->n_experts; e++)
        a[e] = s[e] + (bias != NULL ? (double)bias[e] : 0);
    for (int32_t g = 0; g < c->n_groups; g++) {
        sort_ranked(list, a + g * n, n);
        group[g] = list[0].value;
        if (c->group == R2I_GROUP_TWO_BEST && n > 1) group[g] += list[1].value;
    }
    sort_ranked(list, group, c->n_groups);
    for (int32_t i = c->n_active_groups; i < c->n_groups; i++) {
        for (int32_t e = 0; e < n; e++)
            a[list[i].index * n + e] = -INFINITY;
    }
    sort_ranked(list, a, c->n_experts);
    for (int32_t k = 0; k < c->n_active; k++) {
        chosen[k] = list[k].index;
        weights[k] = s[chosen[k]];
        sum += weights[k];
    }
    for (int32_t k = 0; k < c->n_active; k++)
        weights[k] *= (double)c->routed_scale / (c->is_renormalized ? sum : 1);
}

static const r2i_config cases[] = {
    { .n_experts = 8,
      .n_active = 3,
      .n_groups = 1,
      .n_active_groups = 1,
      .routed_scale = 1,
      .is_renormalized = true }, /* qwen3_moe */
    { .n_experts = 64, .n_active = 6, .n_groups = 1, .n_active_groups = 1, .routed_scale = 1 },
    { .n_experts = 160, .n_active = 6, .n_groups = 8, .n_active_groups = 3, .routed_scale = 16 },
    { .n_experts = 256,
      .n_active = 8,
      .n_groups = 8,
      .n_active_groups = 4,
      .routed_scale = 2.5f,
      .score = R2I_SCORE_SIGMOID,
      .group = R2I_GROUP_TWO_BEST,
      .has_score_bias = true,
      .is_renormalized = true },
    { .n_experts = 7,
      .n_active = 7,
      .n_groups = 1,
      .n_active_groups = 1,
      .routed_scale = 1.7f,
      .score = R2I_SCORE_SIGMOID,
      .group = R2I_GROUP_TWO_BEST,
      .has_score_bias = true },
    { .n_experts = 12,
      .n_active = 6,
      .n_groups = 4,
      .n_active_groups = 2,
      .routed_scale = 2.5f,
      .score = R2I_SCORE_SIGMOID,
      .group = R2I_GROUP_TWO_BEST,
      .has_score_bias = true,
      .is_renormalized = true },
    { .n_experts = 1, .n_active = 1, .n_groups = 1, .n_active_groups = 1, .routed_scale = 1 },
};

static r2i_kernels portable(void) {
    r2i_kernels kernels;
    const r2i_cpu cpu = { 0 };
    r2i_kernels_init(&kernels, &cpu, R2I_LEVEL_PORTABLE);
    return kernels;
}

/* Experts that are given: of those that it would choose the same bits, of others what the formula says. */
static void check_given(const r2i_config *c, const r2i_kernels *kernels, const float *z,
                        const int32_t *chosen, const float *weights) {
    static double s[R2I_MAX_EXPERTS];
    float again[R2I_MAX_EXPERTS], found[R2I_MAX_EXPERTS];
    int32_t others[R2I_MAX_EXPERTS];
    double sum = 0;
    memcpy(again, z, (size_t)c->n_experts * sizeof *z);
    r2i_router_weigh(c, kernels, again, chosen, found);
    assert_memory_equal(found, weights, (size_t)c->n_active * sizeof *found);
    plain_scores(c, z, s);
    for (int32_t k = 0; k < c->n_active; k++) {
        others[k] = (chosen[k] + 1) % c->n_experts;
        sum += s[others[k]];
    }
    memcpy(again, z, (size_t)c->n_experts * sizeof *z);
    r2i_router_weigh(c, kernels, again, others, found);
    for (int32_t k = 0; k < c->n_active; k++) {
        const double expected =
            s[others[k]] * (double)c->routed_scale / (c->is_renormalized ? sum : 1);
        assert_true(fabs((double)found[k] - expected) < 1e-5 * expected);
    }
}

static void check_case(const r2i_config *c, const r2i_kernels *kernels, uint64_t seed) {
    float z[R2I_MAX_EXPERTS] = { 0 }, before[R2I_MAX_EXPERTS], bias[R2I_MAX_EXPERTS],
          weights[R2I_MAX_EXPERTS];
    int32_t chosen[R2I_MAX_EXPERTS], expected[R2I_MAX_EXPERTS];
    double expected_weights[R2I_MAX_EXPERTS];
    /* Multiples of 1/16 give many exact ties, of which the lower index is to be taken. */
    const bool is_coarse = seed % 2 == 1 && c->score == R2I_SCORE_SIGMOID;
    for (int32_t e = 0; e < c->n_experts; e++) {
        z[e] = 4 * (2 * (float)r2i_random_unit(seed, 0, (uint64_t)e) - 1);
        bias[e] = is_coarse ? 0 : (float)r2i_random_unit(seed, 1, (uint64_t)e) - 0.5f;
        if (is_coarse) z[e] = floorf(z[e] * 16) / 16;
    }
    const float *used_bias = c->has_score_bias ? bias : NULL;
    plain_choice(c, z, used_bias, expected, expected_weights);
    memcpy(before, z, (size_t)c->n_experts * sizeof *z);
    r2i_router_choose(c, kernels, used_bias, z, chosen, weights);
    for (int32_t k = 0; k < c->n_active; k++) {
        if (chosen[k] != expected[k])
            fail_msg("%d experts, seed %d: choice %d: expected %d, found %d", c->n_experts,
                     (int)seed, k, expected[k], chosen[k]);
        assert_true(fabs((double)weights[k] - expected_weights[k]) < 1e-5 * expected_weights[k]);
    }
    check_given(c, kernels, before, chosen, weights);
}

static void test_choices(void **state) {
    (void)state;
    const r2i_kernels kernels = portable();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint64_t seed = 0; seed < N_TRIALS; seed++)
            check_case(&cases[i], &kernels, seed);
    }
}

/* Whatever the numbers: experts that exist, each once; weights that show the damage. */
static void test_no_numbers(void **state) {
    (void)state;
    const r2i_kernels kernels = portable();
    const float bad[] = { NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 0 };
    const r2i_config *c = &cases[3];
    for (int trial = 0; trial < 100; trial++) {
        float z[256], bias[256], weights[8];
        int32_t chosen[8];
        bool is_seen[256] = { false };
        for (uint64_t e = 0; e < 256; e++) {
            z[e] = trial == 0 ? NAN : bad[(int)(r2i_random_unit((uint64_t)trial, 0, e) * 6)];
            bias[e] = bad[(int)(r2i_random_unit((uint64_t)trial, 1, e) * 6)];
        }
        r2i_router_choose(c, &kernels, bias, z, chosen, weights);
        for (int k = 0; k < 8; k++) {
            assert_in_range(chosen[k], 0, 255);
            assert_false(is_seen[chosen[k]]);
            is_seen[chosen[k]] = true;
            if (trial == 0) assert_true(isnan(weights[k]));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
