/* test_sampler.c - draws against the definitions: frequencies, filters, penalties, masks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "sampler/sampler.h"

enum { N_VOCAB = 100, N_DRAWS = 40000 };

typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    r2i_sampler *sampler;
} bench;

static void softmax(float *p, const float *x, int32_t n) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)x[i]);
    for (int32_t i = 0; i < n; i++)
        p[i] = (float)(exp((double)x[i]) / sum);
}

static void open_bench(bench *b) {
    r2i_heap_init(&b->heap);
    r2i_arena_init(&b->arena, &b->heap, 4096, 0);
    assert_int_equal(r2i_sampler_create(&b->sampler, N_VOCAB, softmax, &b->arena, NULL), R2_OK);
}

/* Logits 0, -0.1, -0.2, ... in a shuffled order of tokens: token of rank r is (r * 37) % 100. */
static int32_t token_of_rank(int32_t r) {
    return r * 37 % N_VOCAB;
}

static void fill_logits(float logits[N_VOCAB]) {
    for (int32_t r = 0; r < N_VOCAB; r++)
        logits[token_of_rank(r)] = -0.1f * (float)r;
}

/* Counts by rank over many positions. */
static void count_draws(bench *b, const r2i_sampling *sampling, int32_t counts[N_VOCAB]) {
    float logits[N_VOCAB];
    fill_logits(logits);
    memset(counts, 0, N_VOCAB * sizeof *counts);
    for (uint64_t i = 0; i < N_DRAWS; i++) {
        const r2i_draw draw = { .logits = logits, .position = i };
        const int32_t token = r2i_sampler_draw(b->sampler, sampling, &draw);
        assert_in_range(token, 0, N_VOCAB - 1);
        for (int32_t r = 0; r < N_VOCAB; r++)
            counts[r] += token_of_rank(r) == token;
    }
}

/* Observed shares of the first n ranks against softmax renormalised over them; nothing behind. */
static void check_shares(const int32_t counts[N_VOCAB], int32_t n, double temperature) {
    double sum = 0;
    for (int32_t r = 0; r < n; r++)
        sum += exp(-0.1 * r / temperature);
    for (int32_t r = 0; r < N_VOCAB; r++) {
        const double expected = r < n ? exp(-0.1 * r / temperature) / sum : 0;
        const double deviation = 5 * sqrt(expected * (1 - expected) / N_DRAWS);
        assert_true(fabs((double)counts[r] / N_DRAWS - expected) <= deviation);
    }
}

static void test_frequencies(void **state) {
    bench b;
    int32_t counts[N_VOCAB];
    (void)state;
    open_bench(&b);
    count_draws(&b, &(r2i_sampling){ .temperature = 1, .seed = 1 }, counts);
    check_shares(counts, N_VOCAB, 1);
    count_draws(&b, &(r2i_sampling){ .temperature = 0.5f, .seed = 2 }, counts);
    check_shares(counts, N_VOCAB, 0.5);
    count_draws(&b, &(r2i_sampling){ .temperature = 1, .top_k = 7, .seed = 3 }, counts);
    check_shares(counts, 7, 1);
    count_draws(&b, &(r2i_sampling){ .temperature = 1, .min_p = 0.5f, .seed = 4 }, counts);
    check_shares(counts, 7, 1); /* exp(-0.6) = 0.549 stays, exp(-0.7) = 0.497 goes */
    /* The first n ranks cover (1 - exp(-0.1 n)) / (1 - exp(-10)): 12 reach 0.69880, 13 reach 0.7275. */
    count_draws(&b, &(r2i_sampling){ .temperature = 1, .top_p = 0.7f, .seed = 5 }, counts);
    check_shares(counts, 13, 1);
    /* Of the 20 of top-k, which cover 1 - exp(-2) = 0.8647: half of that is reached by rank 6. */
    count_draws(&b, &(r2i_sampling){ .temperature = 1, .top_k = 20, .top_p = 0.5f, .seed = 6 },
                counts);
    check_shares(counts, 6, 1);
    r2i_arena_destroy(&b.arena);
}

static int32_t draw_one(bench *b, const r2i_sampling *sampling, const r2i_draw *draw) {
    return r2i_sampler_draw(b->sampler, sampling, draw);
}

static void test_greedy_ties_and_numbers(void **state) {
    bench b;
    float logits[N_VOCAB];
    const r2i_sampling greedy = { 0 }, warm = { .temperature = 1 };
    (void)state;
    open_bench(&b);
    for (int32_t i = 0; i < N_VOCAB; i++)
        logits[i] = 1;
    const r2i_draw draw = { .logits = logits };
    assert_int_equal(draw_one(&b, &greedy, &draw), 0);
    logits[99] = logits[50] = 2;
    assert_int_equal(draw_one(&b, &greedy, &draw), 50);
    logits[3] = NAN;
    assert_int_equal(draw_one(&b, &greedy, &draw), 50);
    logits[4] = INFINITY;
    assert_int_equal(draw_one(&b, &greedy, &draw), -1);
    for (int32_t i = 0; i < N_VOCAB; i++)
        logits[i] = -INFINITY;
    assert_int_equal(draw_one(&b, &greedy, &draw), -1);
    assert_int_equal(draw_one(&b, &warm, &draw), -1);
    for (int32_t i = 0; i < N_VOCAB; i++)
        logits[i] = NAN;
    assert_int_equal(draw_one(&b, &warm, &draw), -1);
    r2i_arena_destroy(&b.arena);
}

static void test_penalties_biases_masks(void **state) {
    bench b;
    float logits[N_VOCAB] = { 0 };
    uint32_t allowed[4] = { 0 };
    (void)state;
    open_bench(&b);
    logits[10] = 3, logits[20] = 2.5f, logits[30] = 2.2f;
    const int32_t seen[] = { 10, 10, 20 };
    r2i_draw draw = {
        .logits = logits, .recent = seen, .n_recent = 3, .generated = seen, .n_generated = 3
    };
    assert_int_equal(draw_one(&b, &(r2i_sampling){ 0 }, &draw), 10);
    /* 3 / 1.5 = 2, 2.5 / 1.5 = 1.67: the unseen 30 wins.  Repeated twice, penalised once. */
    assert_int_equal(draw_one(&b, &(r2i_sampling){ .repetition_penalty = 1.5f }, &draw), 30);
    /* Frequency: 3 - 2 * 0.3 = 2.4, 2.5 - 0.3 = 2.2: 10 stays; 0.45 gives 2.1, 2.05: 30. */
    assert_int_equal(draw_one(&b, &(r2i_sampling){ .frequency_penalty = 0.3f }, &draw), 10);
    assert_int_equal(draw_one(&b, &(r2i_sampling){ .frequency_penalty = 0.45f }, &draw), 30);
    /* Presence counts once however often: 3 - 0.6 = 2.4 against 2.5 - 0.6 and 2.2. */
    assert_int_equal(draw_one(&b, &(r2i_sampling){ .presence_penalty = 0.6f }, &draw), 10);
    assert_int_equal(draw_one(&b, &(r2i_sampling){ .presence_penalty = 0.9f }, &draw), 30);
    const r2i_token_bias biases[] = { { 70, 5 }, { 10, -INFINITY } };
    assert_int_equal(draw_one(&b, &(r2i_sampling){ .biases = biases, .n_biases = 2 }, &draw), 70);
    allowed[30 / 32] |= 1u << 30 % 32;
    draw.allowed = allowed;
    assert_int_equal(draw_one(&b, &(r2i_sampling){ .temperature = 5 }, &draw), 30);
    memset(allowed, 0, sizeof allowed);
    assert_int_equal(draw_one(&b, &(r2i_sampling){ .temperature = 5 }, &draw), -1);
    assert_true(logits[10] == 3); /* the caller's row is never written */
    r2i_arena_destroy(&b.arena);
}

/* ---- every filter against its definition, step by step over all tokens in order ---- */

enum { N_WIDE = 500 };

static const float *ordered_logits;

static int by_logit(const void *a, const void *b) {
    const int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (ordered_logits[i] != ordered_logits[j])
        return ordered_logits[i] > ordered_logits[j] ? -1 : 1;
    return (i > j) - (i < j);
}

static int32_t draw_as_defined(const float *logits, const r2i_sampling *p, uint64_t position) {
    int32_t order[N_WIDE], n = N_WIDE, kept = 0;
    double weights[N_WIDE], all = 0, sum = 0;
    for (int32_t i = 0; i < N_WIDE; i++)
        order[i] = i;
    ordered_logits = logits;
    qsort(order, N_WIDE, sizeof *order, by_logit);
    if (p->top_k > 0 && p->top_k < n) n = p->top_k;
    for (int32_t i = 0; i < n; i++) {
        weights[i] =
            exp(((double)logits[order[i]] - (double)logits[order[0]]) / (double)p->temperature);
        all += weights[i];
    }
    for (; kept < n; kept++) {
        if (kept > 0 && p->top_p > 0 && p->top_p < 1 && sum >= (double)p->top_p * all) break;
        if (weights[kept] < (double)p->min_p) break;
        sum += weights[kept];
    }
    double left = r2i_random_unit(p->seed, 0, position) * sum;
    for (int32_t i = 0; i < kept; i++) {
        if (left < weights[i]) return order[i];
        left -= weights[i];
    }
    return order[kept - 1];
}

/* Narrow and wide spreads of logits: few tokens carry everything, or all of them something. */
static void test_filters_as_defined(void **state) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_sampler *sampler;
    float logits[N_WIDE];
    (void)state;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 4096, 0);
    assert_int_equal(r2i_sampler_create(&sampler, N_WIDE, softmax, &arena, NULL), R2_OK);
    for (uint64_t i = 0; i < 10000; i++) {
        static const int32_t ks[] = { 0, 1, 5, 40, 400, 1000 };
        static const float shares[] = { 0, 0.1F, 0.9F, 0.999F, 0.9999999F },
                           least[] = { 0, 1e-12F, 0.003F, 0.3F }, spreads[] = { 0.01F, 3, 30, 200 };
        const float spread = spreads[r2i_random_u64(1, 0, i) % 4];
        for (uint64_t t = 0; t < N_WIDE; t++)
            logits[t] = spread * (float)r2i_random_unit(2, i, t);
        const r2i_sampling sampling = { .temperature = i % 3 == 0 ? 0.6F : 1.3F,
                                        .top_k = ks[r2i_random_u64(1, 1, i) % 6],
                                        .top_p = shares[r2i_random_u64(1, 2, i) % 5],
                                        .min_p = least[r2i_random_u64(1, 3, i) % 4],
                                        .seed = 12 };
        const bool is_filtered =
            sampling.top_k > 0 || sampling.top_p > 0 || sampling.min_p > 0; /* else any order */
        const r2i_draw draw = { .logits = logits, .position = i };
        const int32_t token = r2i_sampler_draw(sampler, &sampling, &draw);
        if (is_filtered) assert_int_equal(token, draw_as_defined(logits, &sampling, i));
    }
    r2i_arena_destroy(&arena);
}

static void test_same_place_same_token(void **state) {
    bench b;
    float logits[N_VOCAB];
    const r2i_sampling sampling = { .temperature = 2, .seed = 11 };
    int32_t n_distinct = 0;
    (void)state;
    open_bench(&b);
    fill_logits(logits);
    const r2i_draw at_five = { .logits = logits, .position = 5 };
    const int32_t token = draw_one(&b, &sampling, &at_five);
    for (uint64_t i = 0; i < 50; i++) {
        const r2i_draw draw = { .logits = logits, .position = i };
        n_distinct += draw_one(&b, &sampling, &draw) != token;
        assert_int_equal(draw_one(&b, &sampling, &at_five), token);
    }
    assert_true(n_distinct > 25);
    r2i_arena_destroy(&b.arena);
}

static void test_top_logits(void **state) {
    float logits[N_VOCAB];
    r2i_candidate best[N_VOCAB];
    (void)state;
    fill_logits(logits);
    assert_int_equal(r2i_top_logits(logits, N_VOCAB, best, 20), 20);
    for (int32_t r = 0; r < 20; r++)
        assert_int_equal(best[r].token, token_of_rank(r));
    assert_int_equal(r2i_top_logits(logits, 3, best, 20), 3);
    assert_int_equal(r2i_top_logits(logits, N_VOCAB, best, 0), 0);
    for (int32_t i = 0; i < N_VOCAB; i++)
        logits[i] = 0;
    assert_int_equal(r2i_top_logits(logits, N_VOCAB, best, 3), 3);
    for (int32_t r = 0; r < 3; r++)
        assert_int_equal(best[r].token, r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_greedy_ties_and_numbers),
        cmocka_unit_test(test_penalties_biases_masks),
        cmocka_unit_test(test_filters_as_defined),
        cmocka_unit_test(test_same_place_same_token),
        cmocka_unit_test(test_top_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
