/* test_forward.c - whole models against the golden logits of transformers, with the ref kernels.
 *
 * For every folder of the golden directory that holds one of our families: the logits of the last
 * four positions of each prompt within 2e-4 (the files' own statement of how far two correct F32
 * programs differ), and the greedy continuation token by token.  Checkpoints are opened as Hugging
 * Face folders and, where there is one, as the GGUF twin. */
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "golden_cases.h"
#include "r2lm/text.h"

/* GGUF files of the same weights; the second as it was written before kv_b was split. */
static const char *const twins[] = { "model.gguf", "whole_kv_b.gguf" };

enum { PATH_BYTES = 1024, N_GREEDY = 16, LAST = 4 };
static const double tolerance = 2e-4;
static const char *const families[] = { "llama",     "qwen2",       "qwen3",
                                        "qwen3_moe", "deepseek_v2", "deepseek_v3" };

static json_t *read_json(const char *case_path, const char *name) {
    char path[PATH_BYTES + 64]; /* and a file name of ours */
    snprintf(path, sizeof path, "%s/%s", case_path, name);
    return json_load_file(path, 0, NULL);
}

static void run_until_idle(r2_engine *engine) {
    r2_error err;
    int32_t n_active = 1;
    while (n_active > 0)
        must(r2_engine_step(engine, &n_active, &err), &err);
}

static int32_t read_ids(const json_t *list, r2_token *out, int32_t cap) {
    const int32_t n = (int32_t)json_array_size(list);
    assert_true(n > 0 && n <= cap);
    for (int32_t i = 0; i < n; i++)
        out[i] = (r2_token)json_integer_value(json_array_get(list, (size_t)i));
    return n;
}

static double logit_error(const float *logits, const json_t *expected) {
    double worst = 0;
    for (size_t i = 0; i < json_array_size(expected); i++) {
        const double e = fabs((double)logits[i] - json_number_value(json_array_get(expected, i)));
        worst = e > worst || isnan(e) ? e : worst;
    }
    return worst;
}

/* The prompt but its last tokens first, then one by one: chunks and single tokens at once. */
static double check_logits(r2_engine *engine, const r2_token *ids, int32_t n, const json_t *last4) {
    r2_error err;
    r2_sequence *s;
    double worst = 0;
    const r2_sequence_options manual = { .is_manual = true };
    must(r2_sequence_create(&s, engine, &manual, &err), &err);
    for (int32_t i = n - LAST; i < n; i++) {
        const int32_t begin = i == n - LAST ? 0 : i;
        must(r2_sequence_append(s, ids + begin, i + 1 - begin, &err), &err);
        run_until_idle(engine);
        assert_non_null(r2_sequence_logits(s));
        const double e =
            logit_error(r2_sequence_logits(s), json_array_get(last4, (size_t)(i - (n - LAST))));
        worst = e > worst || isnan(e) ? e : worst;
    }
    r2_sequence_destroy(s);
    return worst;
}

static int32_t count_equal(r2_engine *engine, const r2_token *ids, int32_t n,
                           const json_t *greedy) {
    r2_error err;
    r2_sequence *s;
    r2_generated out[N_GREEDY];
    int32_t n_equal = 0;
    const r2_sequence_options options = { .max_new_tokens = N_GREEDY, .ignores_end = true };
    must(r2_sequence_create(&s, engine, &options, &err), &err);
    must(r2_sequence_append(s, ids, n, &err), &err);
    run_until_idle(engine);
    assert_int_equal(r2_sequence_read(s, out, N_GREEDY), N_GREEDY);
    while (n_equal < N_GREEDY &&
           out[n_equal].token == json_integer_value(json_array_get(greedy, (size_t)n_equal)))
        n_equal++;
    r2_sequence_destroy(s);
    return n_equal;
}

static int check_model(const char *path, const char *name, const json_t *expected) {
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    int n_bad = 0;
    const r2_model_options options = { .cpu = "ref" };
    const r2_engine_options engine_options = { .n_threads = 2,
                                               .n_batch_tokens = 24,
                                               .n_sequences = 2 };
    must(r2_model_open(&model, path, &options, &err), &err);
    must(r2_engine_create(&engine, model, &engine_options, &err), &err);
    const json_t *prompts = json_object_get(expected, "prompts");
    for (size_t p = 0; p < json_array_size(prompts); p++) {
        const json_t *prompt = json_array_get(prompts, p);
        r2_token ids[4096];
        const int32_t n = read_ids(json_object_get(prompt, "input_ids"), ids, 4096);
        const double e = check_logits(engine, ids, n, json_object_get(prompt, "logits_last4"));
        const int32_t n_equal = count_equal(engine, ids, n, json_object_get(prompt, "greedy_16"));
        const bool is_good = e <= tolerance && n_equal == N_GREEDY;
        printf("%-32s prompt %zu: %3d tokens, logits within %.2g, greedy %d of %d%s\n", name, p, n,
               e, n_equal, N_GREEDY, is_good ? "" : "  WRONG");
        n_bad += !is_good;
    }
    r2_engine_destroy(engine);
    r2_model_close(model);
    return n_bad;
}

static bool is_our_family(const json_t *config) {
    const char *type = json_string_value(json_object_get(config, "model_type"));
    for (size_t i = 0; type != NULL && i < sizeof families / sizeof *families; i++) {
        if (strcmp(type, families[i]) == 0) return true;
    }
    return false;
}

/* Returns how many models were checked. */
static int check_case(const char *folder, const char *name, int *n_bad) {
    char path[PATH_BYTES], gguf[PATH_BYTES], shown[PATH_BYTES];
    snprintf(path, sizeof path, "%.500s/%.300s", folder, name);
    json_t *config = read_json(path, "config.json"), *expected = read_json(path, "expected.json");
    int n_models = 0;
    if (config != NULL && expected != NULL && is_our_family(config)) {
        *n_bad += check_model(path, name, expected);
        n_models++;
        for (size_t i = 0; i < sizeof twins / sizeof *twins; i++) {
            snprintf(gguf, sizeof gguf, "%.900s/%s", path, twins[i]);
            snprintf(shown, sizeof shown, "%.300s/%s", name, twins[i]);
            if (access(gguf, R_OK) != 0) continue;
            *n_bad += check_model(gguf, shown, expected);
            n_models++;
        }
    }
    json_decref(config);
    json_decref(expected);
    return n_models;
}

static void test_all_cases(void **state) {
    (void)state;
    const char *folder = golden_folder();
    DIR *listing = opendir(folder);
    int n_models = 0, n_bad = 0;
    if (listing == NULL) fail_msg("cannot list %s", folder);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        if (entry->d_name[0] != '.') n_models += check_case(folder, entry->d_name, &n_bad);
    }
    closedir(listing);
    assert_true(n_models > 0);
    assert_int_equal(n_bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_cases) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
