/* test_cache_rows.c - engines whose caches hold other rows than BF16.
 *
 * Each kind must be as exact as BF16 rows are: the same bits whatever surrounds a sequence.  How much
 * the stored rows themselves change is measured against F32 rows. */
#define _GNU_SOURCE /* mkstemp */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_runs.h"
#include "r2lm/text.h"

enum { N_PROMPT = 300, N_NEW = 24, N_LONG = 1200, CAP = 1280 };

static const r2_sequence_options warm = {
    .sampling = { .temperature = 0.9f, .top_p = 0.95f, .seed = 7 },
    .max_new_tokens = N_NEW,
    .ignores_end = true
};

/* Grouped queries, experts, latent rows. */
static const char *const models[] = { "llama", "qwen3_moe", "deepseek_v3" };
static const r2_cache_rows kinds[] = { R2_CACHE_F16, R2_CACHE_Q8 };

static r2_model *open_form(const char *name, r2_arithmetic arithmetic, r2_latent_form form) {
    char path[1024];
    r2_error err;
    r2_model *model;
    const r2_model_options options = { .arithmetic = arithmetic, .latent_form = form };
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, sizeof path, "%s/%s",
             folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    must(r2_model_open(&model, path, &options, &err), &err);
    return model;
}

static r2_model *open_as(const char *name, r2_arithmetic arithmetic) {
    return open_form(name, arithmetic, R2_LATENT_EXACT);
}

static r2_engine *make_cached_engine(r2_model *model, r2_cache_rows rows, int32_t n_threads,
                                     int32_t n_batch_tokens) {
    r2_error err;
    r2_engine *engine;
    const r2_engine_options options = { .n_threads = n_threads,
                                        .n_context = CAP,
                                        .n_batch_tokens = n_batch_tokens,
                                        .n_sequences = 4,
                                        .cache_rows = rows };
    must(r2_engine_create(&engine, model, &options, &err), &err);
    return engine;
}

typedef struct {
    int32_t n;
    r2_generated items[CAP];
} output;

/* Runs the engine and ends the sequence. */
static void finish(r2_engine *engine, r2_sequence *s, output *out) {
    run_engine(engine);
    out->n = r2_sequence_read(s, out->items, CAP);
    r2_sequence_destroy(s);
}

static void assert_same(const output *a, const output *b) {
    assert_int_equal(a->n, N_NEW);
    assert_int_equal(b->n, N_NEW);
    for (int32_t i = 0; i < a->n; i++) {
        assert_int_equal(a->items[i].token, b->items[i].token);
        assert_memory_equal(&a->items[i].logprob, &b->items[i].logprob, sizeof(float));
    }
}

static void generate(r2_model *model, r2_cache_rows rows, int32_t n_threads, int32_t n_batch_tokens,
                     output *out) {
    r2_engine *engine = make_cached_engine(model, rows, n_threads, n_batch_tokens);
    finish(engine, start_sequence(engine, &warm, N_PROMPT, 1), out);
    r2_engine_destroy(engine);
}

static bool is_same(const output *a, const output *b) {
    for (int32_t i = 0; i < N_NEW; i++) {
        if (a->items[i].logprob != b->items[i].logprob) return false;
    }
    return true;
}

static void check_exact(r2_model *model, r2_cache_rows rows, const output *plain) {
    output base, other;
    generate(model, rows, 1, 256, &base);
    assert_false(is_same(&base, plain)); /* the rows are others indeed */
    generate(model, rows, 2, 17, &other);
    assert_same(&base, &other);
    generate(model, rows, 3, 1, &other);
    assert_same(&base, &other);
    /* In company, and then again with its prefix cached. */
    r2_engine *engine = make_cached_engine(model, rows, 2, 64);
    r2_sequence *beside[2] = { start_sequence(engine, &warm, 70, 5),
                               start_sequence(engine, &warm, 131, 6) };
    finish(engine, start_sequence(engine, &warm, N_PROMPT, 1), &other);
    assert_same(&base, &other);
    r2_sequence *again = start_sequence(engine, &warm, N_PROMPT, 1);
    run_engine(engine);
    r2_sequence_status status;
    r2_sequence_get_status(again, &status);
    assert_int_equal(status.n_cached, N_PROMPT - 1);
    finish(engine, again, &other);
    assert_same(&base, &other);
    for (int i = 0; i < 2; i++)
        r2_sequence_destroy(beside[i]);
    r2_engine_destroy(engine);
}

static void test_exact(void **state) {
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        r2_model *model = open_as(models[m], R2_ARITHMETIC_FAST);
        output plain;
        generate(model, R2_CACHE_BF16, 1, 256, &plain);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            check_exact(model, kinds[k], &plain);
        r2_model_close(model);
    }
}

/* A file goes on where it was saved with rows of its own kind, and is refused with another: BF16 and
 * F16 pages have the same size. */
static void test_files(void **state) {
    (void)state;
    r2_error err;
    char path[] = "/tmp/r2lm_rows_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    r2_model *model = open_as("llama", R2_ARITHMETIC_FAST);
    r2_engine *engines[3];
    for (int i = 0; i < 3; i++)
        engines[i] = make_cached_engine(model, (r2_cache_rows)i, 1, 256);
    for (int i = 0; i < 3; i++) {
        output straight, restored;
        r2_sequence *s = start_sequence(engines[i], &warm, N_PROMPT, 1), *loaded;
        run_engine(engines[i]);
        must(r2_sequence_rewind(s, N_PROMPT, &err), &err);
        must(r2_sequence_save(s, path, &err), &err);
        r2_sequence_destroy(s);
        for (int j = 0; j < 3; j++) {
            if (j == i) continue;
            assert_int_equal(r2_sequence_load(&loaded, engines[j], path, &warm, &err),
                             R2_E_MISMATCH);
            assert_null(loaded);
        }
        must(r2_sequence_load(&loaded, engines[i], path, &warm, &err), &err);
        finish(engines[i], loaded, &restored);
        generate(model, (r2_cache_rows)i, 1, 256, &straight);
        assert_same(&straight, &restored);
    }
    for (int i = 0; i < 3; i++)
        r2_engine_destroy(engines[i]);
    r2_model_close(model);
    unlink(path);
}

/* Bytes per token from the shapes in config.json. */
static void test_bytes(void **state) {
    (void)state;
    static const char *const names[] = { "BF16", "F16", "Q8" };
    r2_error err;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        r2_model *model = open_as(models[m], R2_ARITHMETIC_FAST);
        r2_model_info info;
        r2_model_get_info(model, &info);
        for (int i = 0; i < 3; i++) {
            r2_engine *engine = make_cached_engine(model, (r2_cache_rows)i, 1, 256);
            r2_engine_stats stats;
            r2_engine_get_stats(engine, &stats);
            assert_string_equal(stats.cache_rows, names[i]);
            assert_int_equal(stats.cache_bytes_per_token * stats.page_tokens, stats.page_bytes);
            const bool has_mtp = strcmp(models[m], "deepseek_v3") == 0;
            if (i == 0 && !has_mtp)
                assert_int_equal(stats.cache_bytes_per_token, info.cache_bytes_per_token);
            r2_engine_destroy(engine);
        }
        r2_model_close(model);
    }
    r2_model *model = open_as("llama", R2_ARITHMETIC_F32);
    r2_engine *engine = make_cached_engine(model, R2_CACHE_BF16, 1, 256), *none;
    r2_engine_stats stats;
    r2_engine_get_stats(engine, &stats);
    assert_string_equal(stats.cache_rows, "F32");
    r2_engine_destroy(engine);
    const r2_engine_options unknown = { .cache_rows = (r2_cache_rows)3 };
    assert_int_equal(r2_engine_create(&none, model, &unknown, &err), R2_E_RANGE);
    r2_model_close(model);
}

/* Log-probabilities of the prompt's tokens. */
static void score(r2_model *model, r2_cache_rows rows, float *logprobs, int32_t n) {
    const r2_sequence_options options = { .max_new_tokens = 1, .wants_prompt_logprobs = true };
    r2_engine *engine = make_cached_engine(model, rows, 1, 256);
    r2_sequence *s = start_sequence(engine, &options, n, 1);
    run_engine(engine);
    assert_int_equal(r2_sequence_prompt_logprobs(s, logprobs, n), n - 1);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
}

static double mean_difference(const float *a, const float *b, int32_t n) {
    double sum = 0.0;
    for (int32_t i = 0; i < n - 1; i++)
        sum += fabs((double)a[i] - (double)b[i]);
    return sum / (n - 1);
}

/* Arithmetic in F32, so that nothing but the rows is rounded.  F16 keeps 11 bits and Q8 about 7 of the
 * greatest of 32 channels; the bounds are twice what toy models with random weights show. */
static void test_effect(void **state) {
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        static float exact[N_PROMPT], f16[N_PROMPT], q8[N_PROMPT];
        r2_model *model = open_as(models[m], R2_ARITHMETIC_F32);
        score(model, R2_CACHE_BF16, exact, N_PROMPT);
        score(model, R2_CACHE_F16, f16, N_PROMPT);
        score(model, R2_CACHE_Q8, q8, N_PROMPT);
        const double with_f16 = mean_difference(exact, f16, N_PROMPT),
                     with_q8 = mean_difference(exact, q8, N_PROMPT);
        printf("%-12s mean difference of log-probabilities: F16 %.2g, Q8 %.2g\n", models[m],
               with_f16, with_q8);
        assert_true(with_f16 > 0.0 && with_f16 < 4e-3);
        assert_true(with_q8 > 4 * with_f16 && with_q8 < 0.18);
        r2_model_close(model);
    }
}

/* A long prompt expands keys and values out of the rows in one form and not in the other. */
static void test_latent_forms(void **state) {
    (void)state;
    static float logprobs[2][N_LONG];
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (int form = 0; form < 2; form++) {
            r2_model *model = open_form("deepseek_v3", R2_ARITHMETIC_F32, (r2_latent_form)form);
            score(model, kinds[k], logprobs[form], N_LONG);
            r2_model_close(model);
        }
        const double difference = mean_difference(logprobs[0], logprobs[1], N_LONG);
        printf("%-12s mean difference between the forms %.2g\n",
               kinds[k] == R2_CACHE_Q8 ? "Q8" : "F16", difference);
        assert_true(difference > 0.0);
        /* Q8 rows are attended in BF16, in which the forms round other numbers. */
        assert_true(difference < (kinds[k] == R2_CACHE_Q8 ? 0.04 : 1e-4));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),        cmocka_unit_test(test_files),
        cmocka_unit_test(test_bytes),        cmocka_unit_test(test_effect),
        cmocka_unit_test(test_latent_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
