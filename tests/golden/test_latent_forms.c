/* test_latent_forms.c - R2_LATENT_FAST against R2_LATENT_EXACT: the same model, the same long prompt,
 * absorbed against expanded keys and values.  The exact form is held to outside numbers by
 * test_forward.c; here the prompt is long enough for the other one to be used. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden_cases.h"
#include "r2lm/engine.h"

enum { N_TOKENS = 1500, PATH_BYTES = 1024 };

/* Log-probabilities of a fixed pseudo-random text; a second sequence writes beside it meanwhile. */
static void run_prompt(const char *name, const r2_model_options *options, int32_t n_batch,
                       float *out) {
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    if (folder == NULL || folder[0] == '\0') folder = R2LM_DEFAULT_GOLDEN_DIR;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%.500s/%s", folder, name);
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    must(r2_model_open(&model, path, options, &err), &err);
    const r2_engine_options engine_options = {
        .n_threads = 2, .n_context = 2048, .n_batch_tokens = n_batch, .n_sequences = 2
    };
    must(r2_engine_create(&engine, model, &engine_options, &err), &err);
    r2_token tokens[N_TOKENS];
    uint32_t state = 12345;
    for (int i = 0; i < N_TOKENS; i++) {
        state = state * 1664525u + 1013904223u;
        tokens[i] = (r2_token)(state >> 16) % 120;
    }
    r2_sequence *beside, *s;
    const r2_sequence_options writes = { .ignores_end = true, .max_new_tokens = 400 },
                              reads = { .wants_prompt_logprobs = true, .is_manual = true };
    must(r2_sequence_create(&beside, engine, &writes, &err), &err);
    must(r2_sequence_append(beside, tokens, 5, &err), &err);
    must(r2_sequence_create(&s, engine, &reads, &err), &err);
    must(r2_sequence_append(s, tokens, N_TOKENS, &err), &err);
    for (int32_t n_active = 1; n_active > 0;)
        must(r2_engine_step(engine, &n_active, &err), &err);
    assert_int_equal(r2_sequence_prompt_logprobs(s, out, N_TOKENS), N_TOKENS - 1);
    r2_sequence_destroy(s);
    r2_sequence_destroy(beside);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

typedef struct {
    double mean, largest;
} difference;

static difference compare(const float *a, const float *b) {
    difference d = { 0, 0 };
    for (int i = 0; i < N_TOKENS - 1; i++) {
        const double e = fabs((double)a[i] - (double)b[i]);
        assert_true(e == e);
        d.mean += e / (N_TOKENS - 1);
        d.largest = e > d.largest ? e : d.largest;
    }
    return d;
}

static void check_model(const char *name) {
    static float exact[N_TOKENS], fast[N_TOKENS], again[N_TOKENS], low_exact[N_TOKENS],
        low_fast[N_TOKENS];
    r2_model_options options = { .arithmetic = R2_ARITHMETIC_F32 };
    run_prompt(name, &options, 300, exact);
    options.latent_form = R2_LATENT_FAST;
    run_prompt(name, &options, 300, fast);
    options.arithmetic = R2_ARITHMETIC_FAST;
    run_prompt(name, &options, 300, low_fast);
    options.latent_form = R2_LATENT_EXACT;
    run_prompt(name, &options, 300, low_exact);
    run_prompt(name, &options, 97, again);
    assert_memory_equal(low_exact, again,
                        (size_t)(N_TOKENS - 1) * sizeof *again); /* whatever the steps */
    const difference f32 = compare(exact, fast), of_exact = compare(exact, low_exact),
                     of_fast = compare(exact, low_fast);
    printf("%-24s F32: forms within %.2g; BF16: off by %.4f exact, %.4f fast on average\n", name,
           f32.largest, of_exact.mean, of_fast.mean);
    assert_true(f32.largest > 0 && f32.largest <= 2e-4); /* above 0: the other form was used */
    assert_true(of_fast.mean <= 1.2 * of_exact.mean);
}

static void test_forms(void **state) {
    (void)state;
    check_model("deepseek_v2");
    check_model("deepseek_v2/model.gguf");
    check_model("deepseek_v3");
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_forms) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
