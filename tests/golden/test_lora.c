/* test_lora.c - adapters against logits that numpy computed from merged weights W + scale B A
 * (tools/make_lora_golden.py).
 * - as an engine adds them, and as r2_convert merges them into the weights.
 *
 * Every folder lora_* of the golden directory: the last four logit rows of each prompt, at full and
 * at half scale, as a PEFT folder and as GGUF, on the model as a folder and as GGUF.  F32 within
 * 2e-4, as the models themselves (test_forward.c); the fast arithmetic within what BF16 products
 * differ on these models.  The plain model is nowhere near. */
#define _GNU_SOURCE /* mkdtemp, nftw */
#include <dirent.h>
#include <ftw.h>
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
#include "r2lm/convert.h"

enum { PATH_BYTES = 1024, CAP_TOKENS = 256, LAST = 4 };
static const double exact_tolerance = 2e-4;
/* BF16 keeps 8 bits; logits of these models reach 20 and pass through up to four layers.  The plain
 * models differ as much. */
static const double fast_tolerance = 0.25;

static double worst_of(double a, double b) {
    return b > a || isnan(b) ? b : a;
}

static double logit_error(const float *logits, const json_t *expected) {
    double worst = 0;
    for (size_t i = 0; i < json_array_size(expected); i++)
        worst = worst_of(worst,
                         fabs((double)logits[i] - json_number_value(json_array_get(expected, i))));
    return worst;
}

/* Rows of logits, and how far they are from what is expected. */
typedef struct {
    double tolerance, worst;
    int n_rows, n_near; /* within the tolerance */
} tally;

/* The last rows of a prompt, by chunks and single tokens, with an adapter or without. */
static void check_prompt(r2_engine *engine, const r2_adapter *adapter, float scale,
                         const json_t *prompt, const char *key, tally *t) {
    r2_error err;
    r2_sequence *s;
    r2_token ids[CAP_TOKENS];
    const json_t *list = json_object_get(prompt, "input_ids"), *rows = json_object_get(prompt, key);
    const int32_t n = (int32_t)json_array_size(list);
    assert_true(n > LAST && n <= CAP_TOKENS && json_array_size(rows) == LAST);
    for (int32_t i = 0; i < n; i++)
        ids[i] = (r2_token)json_integer_value(json_array_get(list, (size_t)i));
    const r2_sequence_options options = { .is_manual = true,
                                          .adapter = adapter,
                                          .adapter_scale = scale };
    must(r2_sequence_create(&s, engine, &options, &err), &err);
    for (int32_t i = n - LAST; i < n; i++) {
        const int32_t begin = i == n - LAST ? 0 : i;
        must(r2_sequence_append(s, ids + begin, i + 1 - begin, &err), &err);
        for (int32_t n_active = 1; n_active > 0;)
            must(r2_engine_step(engine, &n_active, &err), &err);
        assert_non_null(r2_sequence_logits(s));
        const json_t *row = json_array_get(rows, (size_t)(i - (n - LAST)));
        const double e = logit_error(r2_sequence_logits(s), row);
        t->worst = worst_of(t->worst, e);
        t->n_rows++;
        t->n_near += e <= t->tolerance;
    }
    r2_sequence_destroy(s);
}

typedef struct {
    const char *model, *adapter;
    const json_t *prompts;
    r2_model_options options;
    double tolerance;
} lora_case;

static int check_case(const lora_case *c) {
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    r2_adapter *adapter;
    tally full = { .tolerance = c->tolerance }, half = full, plain = full;
    r2_model_info info;
    const r2_engine_options engine_options = { .n_threads = 2, .n_batch_tokens = 24 };
    must(r2_model_open(&model, c->model, &c->options, &err), &err);
    must(r2_engine_create(&engine, model, &engine_options, &err), &err);
    must(r2_adapter_open(&adapter, model, c->adapter, &err), &err);
    for (size_t p = 0; p < json_array_size(c->prompts); p++) {
        const json_t *prompt = json_array_get(c->prompts, p);
        check_prompt(engine, adapter, 0, prompt, "logits_last4", &full);
        check_prompt(engine, adapter, 0.5f, prompt, "logits_last4_half", &half);
        check_prompt(engine, NULL, 0, prompt, "logits_last4", &plain);
    }
    r2_model_get_info(model, &info);
    /* In the fast arithmetic rounding may choose another expert: a few rows are elsewhere then. */
    const int n_far = info.n_experts > 0 && c->tolerance > exact_tolerance ? full.n_rows / 2 : 0;
    const bool is_good = full.n_near >= full.n_rows - n_far && half.n_near >= half.n_rows - n_far &&
                         plain.n_near == 0;
    printf("%-60.60s %d of %d near, within %.2g, half %.2g; without it %.2g%s\n",
           c->adapter + strlen(golden_folder()) + 1, full.n_near, full.n_rows, full.worst,
           half.worst, plain.worst, is_good ? "" : "  WRONG");
    r2_adapter_close(adapter);
    r2_engine_destroy(engine);
    r2_model_close(model);
    return is_good ? 0 : 1;
}

/* ---- merged: the model alone says what it said with the adapter ---- */

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static void check_alone(const char *path, const json_t *prompts, const char *key, tally *t) {
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    const r2_model_options options = { .cpu = "ref" };
    const r2_engine_options engine_options = { .n_threads = 2, .n_batch_tokens = 24 };
    must(r2_model_open(&model, path, &options, &err), &err);
    must(r2_engine_create(&engine, model, &engine_options, &err), &err);
    for (size_t p = 0; p < json_array_size(prompts); p++)
        check_prompt(engine, NULL, 0, json_array_get(prompts, p), key, t);
    r2_engine_destroy(engine);
    r2_model_close(model);
}

static int n_merged;

/* At full and at half scale; the other container comes out, of models that it can hold. */
static int check_merged(const char *model, const char *adapter, const json_t *prompts) {
    static const char *const keys[2] = { "logits_last4", "logits_last4_half" };
    char folder[] = "/tmp/r2lm-lora-XXXXXX", path[PATH_BYTES];
    tally t = { .tolerance = exact_tolerance };
    r2_error err;
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 2; i++) {
        const r2_convert_options options = { .type = R2_CONVERT_F32,
                                             .n_threads = 2,
                                             .adapter = { adapter, i == 0 ? 0 : 0.5f } };
        snprintf(path, sizeof path, "%s/%d", folder, i);
        const r2_status status = r2_convert(model, path, &options, &err);
        if (status == R2_E_UNSUPPORTED && strstr(err.text, "files of architecture") != NULL) break;
        must(status, &err);
        n_merged++;
        check_alone(path, prompts, keys[i], &t);
    }
    assert_int_equal(nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    printf("%-60.60s merged: %d of %d near, within %.2g%s\n", adapter + strlen(golden_folder()) + 1,
           t.n_near, t.n_rows, t.worst, t.n_near < t.n_rows ? "  WRONG" : "");
    return t.n_near == t.n_rows ? 0 : 1;
}

/* Both containers of model and adapter that there are. */
static int check_containers(const char *folder, const char *base, const char *adapter,
                            const json_t *prompts) {
    static const char *const twins[2] = { "", "/model.gguf" }, *const own[2] = { "",
                                                                                 "/adapter.gguf" };
    static const char *const levels[] = { "ref", "portable", NULL };
    int n_bad = 0;
    for (int i = 0; i < 4; i++) {
        char model_path[PATH_BYTES], adapter_path[PATH_BYTES];
        snprintf(model_path, sizeof model_path, "%.500s/%.100s%s", folder, base, twins[i / 2]);
        snprintf(adapter_path, sizeof adapter_path, "%.500s/%.200s%s", folder, adapter, own[i % 2]);
        if (access(model_path, R_OK) != 0 || access(adapter_path, R_OK) != 0) continue;
        n_bad += check_merged(model_path, adapter_path, prompts);
        for (int level = 0; level < 3; level++) {
            const lora_case c = { model_path,
                                  adapter_path,
                                  prompts,
                                  { .cpu = levels[level] },
                                  level == 0 ? exact_tolerance : fast_tolerance };
            n_bad += check_case(&c);
        }
    }
    return n_bad;
}

static void test_all_adapters(void **state) {
    (void)state;
    const char *folder = golden_folder();
    int n_cases = 0, n_bad = 0;
    DIR *listing = opendir(folder);
    if (listing == NULL) fail_msg("cannot list %s", folder);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        char path[PATH_BYTES];
        if (strncmp(entry->d_name, "lora_", 5) != 0) continue;
        snprintf(path, sizeof path, "%.500s/%.200s/expected.json", folder, entry->d_name);
        json_t *expected = json_load_file(path, 0, NULL);
        assert_non_null(expected);
        n_bad += check_containers(folder, json_string_value(json_object_get(expected, "base")),
                                  entry->d_name, json_object_get(expected, "prompts"));
        n_cases++;
        json_decref(expected);
    }
    closedir(listing);
    assert_true(n_cases == 0 || n_merged > 0);
    if (n_cases == 0) skip(); /* a golden folder of one's own may have none */
    assert_int_equal(n_bad, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_adapters) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
