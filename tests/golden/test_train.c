/* test_train.c - loss and gradients against the `train` part of the golden cases (transformers,
 * autograd): the loss, the norm of every parameter's gradient and its first values, within 1e-4.
 *
 * Each case runs with the ref kernels, with the machine's own in F32, with one thread and with two,
 * which must give equal bits, and once recomputing. */
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

#include <cmocka.h>

#include "base/hash.h"
#include "model/model.h"

#include "train/backward.h"

enum { PATH_BYTES = 1024, CAP_ROWS = 128, CAP_DOCUMENTS = 8 };
static const double tolerance = 1e-4, floor_of_gradients = 1e-6;

static const char *golden_folder(void) {
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    return folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR;
}

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

typedef struct {
    r2_model *model;
    r2i_pool *pool;
    r2i_parameters parameters;
    r2i_backward *backward;
} rig;

static void set_up(rig *t, const char *path, const char *cpu, int32_t n_threads,
                   bool is_recomputing) {
    r2_error err;
    const r2_model_options options = { .cpu = cpu,
                                       .arithmetic = R2_ARITHMETIC_F32,
                                       .is_unpacked = true };
    const r2i_backward_limits limits = { .cap_rows = CAP_ROWS,
                                         .cap_documents = CAP_DOCUMENTS,
                                         .cap_logits = 24,
                                         .is_f32 = true,
                                         .is_recomputing = is_recomputing };
    must(r2_model_open(&t->model, path, &options, &err), &err);
    r2_model *m = t->model;
    must(r2i_pool_create(&t->pool, n_threads, &m->heap, &err), &err);
    must(r2i_parameters_create(&t->parameters, &m->config, &m->weights, &m->kernels, true,
                               &m->arena, &err),
         &err);
    must(r2i_backward_create(&t->backward, &t->parameters, &m->kernels, t->pool, &limits, &m->arena,
                             &err),
         &err);
}

static void tear_down(rig *t) {
    r2i_pool_destroy(t->pool);
    r2_model_close(t->model);
}

/* The batch of a case: each row of input_ids is a document. */
typedef struct {
    int32_t tokens[CAP_ROWS], targets[CAP_ROWS], lengths[CAP_DOCUMENTS];
    float weights[CAP_ROWS];
    r2i_train_batch batch;
} documents;

static void read_documents(documents *d, const json_t *train) {
    const json_t *rows = json_object_get(train, "input_ids"),
                 *labels = json_object_get(train, "labels");
    const float weight = 1.0f / (float)json_integer_value(json_object_get(train, "targets"));
    int32_t n = 0;
    memset(d, 0, sizeof *d);
    for (size_t r = 0; r < json_array_size(rows); r++) {
        const json_t *ids = json_array_get(rows, r), *row_labels = json_array_get(labels, r);
        const size_t n_ids = json_array_size(ids);
        d->lengths[r] = (int32_t)n_ids;
        for (size_t i = 0; i < n_ids; i++, n++) {
            const json_int_t label =
                i + 1 < n_ids ? json_integer_value(json_array_get(row_labels, i + 1)) : -100;
            assert_true(n < CAP_ROWS);
            d->tokens[n] = (int32_t)json_integer_value(json_array_get(ids, i));
            d->targets[n] = label >= 0 ? (int32_t)label : 0;
            d->weights[n] = label >= 0 ? weight : 0;
        }
    }
    d->batch = (r2i_train_batch){ .tokens = d->tokens,
                                  .n_rows = n,
                                  .lengths = d->lengths,
                                  .n_documents = (int32_t)json_array_size(rows),
                                  .targets = d->targets,
                                  .weights = d->weights };
}

/* How far apart, in units of what is allowed. */
static double excess(double found, double expected) {
    const double e = fabs(found - expected) / (tolerance * fabs(expected) + floor_of_gradients);
    return isnan(e) ? INFINITY : e;
}

static double compare_gradients(const rig *t, const char *name, const json_t *train) {
    const json_t *norms = json_object_get(train, "grad_l2"),
                 *firsts = json_object_get(train, "grad_first4");
    const char *key;
    json_t *expected;
    double worst = 0;
    json_object_foreach((json_t *)(uintptr_t)norms, key, expected) {
        const r2i_parameter *p = r2i_parameters_find(&t->parameters, key);
        if (p == NULL) fail_msg("%s: no parameter %s", name, key);
        const float *g = t->parameters.gradients + p->first;
        const json_t *first4 = json_object_get(firsts, key);
        const double norm_expected = json_number_value(expected);
        double sum = 0;
        for (size_t i = 0; i < r2i_parameter_size(p); i++)
            sum += (double)g[i] * (double)g[i];
        double e = excess(sqrt(sum), norm_expected);
        /* A single value is known as well as the largest ones of its tensor. */
        for (size_t i = 0; i < json_array_size(first4); i++) {
            const double one = fabs((double)g[i] - json_number_value(json_array_get(first4, i))) /
                               (tolerance * norm_expected + floor_of_gradients);
            e = one > e || isnan(one) ? one : e;
        }
        if (e > 1 || isnan(e))
            printf("%s: %s: norm %.9g, expected %.9g; off by %.3g\n", name, key, sqrt(sum),
                   norm_expected, e);
        worst = e > worst || isnan(e) ? e : worst;
    }
    return worst;
}

/* Runs a case and returns how far off it is; *bits: all gradients' bits. */
static double run_case(const char *path, const char *name, const json_t *train, const char *cpu,
                       int32_t n_threads, bool is_recomputing, uint64_t *bits) {
    rig t = { 0 };
    documents d;
    set_up(&t, path, cpu, n_threads, is_recomputing);
    read_documents(&d, train);
    const double expected = json_number_value(json_object_get(train, "loss"));
    const double alone = r2i_backward_evaluate(t.backward, &d.batch).loss;
    const double loss = r2i_backward_run(t.backward, &d.batch).loss;
    const double gradients = compare_gradients(&t, name, train);
    assert_true(alone == loss);
    *bits = r2i_hash_bytes(R2I_HASH_SEED, t.parameters.gradients,
                           t.parameters.n_values * sizeof(float));
    printf("%-18s %-8s %d thread%s%s: loss %.8f, expected %.8f; gradients off by %.3g of 1e-4\n",
           name, cpu != NULL ? cpu : "own", n_threads, n_threads > 1 ? "s" : "",
           is_recomputing ? ", recomputing" : "", loss, expected, gradients);
    tear_down(&t);
    return fmax(gradients, excess(loss, expected));
}

static bool check_case(const char *folder, const char *name) {
    char path[PATH_BYTES], file[PATH_BYTES];
    snprintf(path, sizeof path, "%.500s/%.300s", folder, name);
    snprintf(file, sizeof file, "%.900s/expected.json", path);
    json_t *expected = json_load_file(file, 0, NULL);
    const json_t *train = json_object_get(expected, "train");
    r2_model *probe = NULL;
    r2_error err;
    const bool is_known = train != NULL && r2_model_open(&probe, path, NULL, &err) == R2_OK;
    r2_model_close(probe);
    if (is_known) {
        uint64_t bits[4];
        assert_true(run_case(path, name, train, "ref", 2, false, &bits[0]) <= 1);
        assert_true(run_case(path, name, train, NULL, 1, false, &bits[1]) <= 1);
        assert_true(run_case(path, name, train, NULL, 2, false, &bits[2]) <= 1);
        assert_true(run_case(path, name, train, NULL, 2, true, &bits[3]) <= 1);
        assert_true(bits[1] == bits[2] && bits[1] == bits[3]);
    }
    json_decref(expected);
    return is_known;
}

static void test_all_cases(void **state) {
    (void)state;
    const char *folder = golden_folder();
    DIR *listing = opendir(folder);
    size_t n_cases = 0;
    if (listing == NULL) fail_msg("cannot list %s", folder);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        if (entry->d_name[0] != '.') n_cases += check_case(folder, entry->d_name) ? 1 : 0;
    }
    closedir(listing);
    assert_true(n_cases > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all_cases) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
