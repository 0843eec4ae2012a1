/* test_own_architecture.c - models of a depth are what transformers takes them for: numbers of
 * parameters, logits.  The weights follow from the seed, so no file of them is needed. */
#define _XOPEN_SOURCE 700 /* nftw, mkdtemp */
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

#include <cmocka.h>

#include "golden_cases.h"
#include "r2lm/convert.h"
#include "r2lm/train.h"

enum { PATH_BYTES = 1024, LAST = 4, CAP_IDS = 256 };
/* F32 in another order; logits of an untrained model spread by 0.2. */
static const double tolerance = 2e-5;

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int make_folder(void **state) {
    char *folder = strdup("/tmp/r2lm_own_XXXXXX");
    if (folder == NULL || mkdtemp(folder) == NULL) return -1;
    *state = folder;
    return 0;
}

static int remove_folder(void **state) {
    const int status = nftw(*state, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return status;
}

static void make_model(void **state, const json_t *of_case, char path[PATH_BYTES]) {
    r2_error err;
    const r2_model_init_options options = {
        .seed = (uint64_t)json_integer_value(json_object_get(of_case, "seed")),
        .depth = (int32_t)json_integer_value(json_object_get(of_case, "depth"))
    };
    snprintf(path, PATH_BYTES, "%.900s/depth%d", (const char *)*state, options.depth);
    must(r2_model_init(NULL, path, &options, &err), &err);
}

/* The prediction module is in the file; transformers leaves it out, and so does what is active. */
static void sizes_are_those_that_transformers_counts(void **state) {
    json_t *file = golden_file("own_architecture.json");
    const json_t *cases = json_object_get(file, "cases");
    char path[PATH_BYTES];
    r2_error err;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *of_case = json_array_get(cases, i);
        r2_plan_result plan;
        make_model(state, of_case, path);
        must(r2_plan(&plan, path, NULL, &err), &err);
        assert_int_equal(plan.n_parameters,
                         json_integer_value(json_object_get(of_case, "parameters")));
    }
    json_decref(file);
}

static void compare_row(const float *logits, int32_t n_vocab, const json_t *first, double log_sum,
                        double *worst) {
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++)
        sum += exp((double)logits[i]);
    *worst = golden_worse(*worst, fabs(log(sum) - log_sum));
    for (size_t i = 0; i < json_array_size(first); i++) {
        const double expected = json_number_value(json_array_get(first, i));
        *worst = golden_worse(*worst, fabs((double)logits[i] - expected));
    }
}

static double compare_prompt(r2_engine *engine, int32_t n_vocab, const json_t *prompt) {
    const json_t *ids = json_object_get(prompt, "input_ids"),
                 *rows = json_object_get(prompt, "logits_last4"),
                 *sums = json_object_get(prompt, "log_sum_exp_last4");
    const int32_t n = (int32_t)json_array_size(ids);
    const r2_sequence_options manual = { .is_manual = true };
    r2_token tokens[CAP_IDS];
    r2_sequence *s;
    r2_error err;
    double worst = 0;
    assert_true(n > LAST && n <= CAP_IDS);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (r2_token)json_integer_value(json_array_get(ids, (size_t)i));
    must(r2_sequence_create(&s, engine, &manual, &err), &err);
    for (int32_t i = n - LAST, begin = 0; i < n; begin = ++i) {
        int32_t n_active = 1;
        must(r2_sequence_append(s, tokens + begin, i + 1 - begin, &err), &err);
        while (n_active > 0)
            must(r2_engine_step(engine, &n_active, &err), &err);
        const size_t row = (size_t)(i - (n - LAST));
        compare_row(r2_sequence_logits(s), n_vocab, json_array_get(rows, row),
                    json_number_value(json_array_get(sums, row)), &worst);
    }
    r2_sequence_destroy(s);
    return worst;
}

static void logits_are_those_of_transformers(void **state) {
    json_t *file = golden_file("own_architecture.json");
    const json_t *of_case = json_array_get(json_object_get(file, "cases"), 0),
                 *prompts = json_object_get(of_case, "prompts");
    const r2_model_options options = { .cpu = "ref" };
    const r2_engine_options engine_options = { .n_threads = 2, .n_sequences = 1 };
    char path[PATH_BYTES];
    r2_model *model;
    r2_model_info info;
    r2_engine *engine;
    r2_error err;
    make_model(state, of_case, path);
    must(r2_model_open(&model, path, &options, &err), &err);
    must(r2_engine_create(&engine, model, &engine_options, &err), &err);
    r2_model_get_info(model, &info);
    assert_true(json_array_size(prompts) > 0);
    for (size_t i = 0; i < json_array_size(prompts); i++) {
        const double worst = compare_prompt(engine, info.n_vocab, json_array_get(prompts, i));
        printf("prompt %zu: logits within %.2g\n", i, worst);
        assert_true(worst <= tolerance);
    }
    r2_engine_destroy(engine);
    r2_model_close(model);
    json_decref(file);
}

static void depths_that_are_none_are_refused(void **state) {
    static const int32_t wrong[] = { -1, 1, 33 };
    char path[PATH_BYTES];
    r2_error err;
    snprintf(path, sizeof path, "%.900s/none", (const char *)*state);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const r2_model_init_options options = { .depth = wrong[i] };
        assert_int_equal(r2_model_init(NULL, path, &options, &err), R2_E_ARGUMENT);
        assert_non_null(strstr(err.text, "2 to 32"));
    }
    assert_int_equal(r2_model_init(NULL, path, NULL, &err), R2_E_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sizes_are_those_that_transformers_counts, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(logits_are_those_of_transformers, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(depths_that_are_none_are_refused, make_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
