/* test_train.c - loss and gradients against the `train` part of the golden cases (transformers,
 * autograd): the loss, the norm of every parameter's gradient and its first values, within 1e-4.
 *
 * Each case runs with the ref kernels, with the machine's own in F32, with one thread and with two,
 * which must give equal bits, and once recomputing. */
#include <dirent.h>
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

#include "train_rig.h"

enum { PATH_BYTES = 1024 };
static const double tolerance = 1e-4, floor_of_gradients = 1e-6;

/* How far apart, in units of what is allowed. */
static double excess(double found, double expected) {
    const double e = fabs(found - expected) / (tolerance * fabs(expected) + floor_of_gradients);
    return isnan(e) ? INFINITY : e;
}

static double compare_gradients(const train_rig *t, const char *name, const json_t *train) {
    const json_t *norms = json_object_get(train, "grad_l2"),
                 *firsts = json_object_get(train, "grad_first4");
    const char *key;
    json_t *expected;
    double worst = 0;
    json_object_foreach((json_t *)(uintptr_t)norms, key, expected) {
        const r2i_parameter *p = train_find(t, key);
        const float *g = t->parameters.gradients + p->first;
        const json_t *first4 = json_object_get(firsts, key);
        const double norm_expected = json_number_value(expected);
        const double norm_found = train_norm(t->parameters.gradients, p);
        double e = excess(norm_found, norm_expected);
        /* A single value is known as well as the largest ones of its tensor. */
        for (size_t i = 0; i < json_array_size(first4); i++) {
            const double one = fabs((double)g[i] - json_number_value(json_array_get(first4, i))) /
                               (tolerance * norm_expected + floor_of_gradients);
            e = one > e || isnan(one) ? one : e;
        }
        if (e > 1 || isnan(e))
            printf("%s: %s: norm %.9g, expected %.9g; off by %.3g\n", name, key, norm_found,
                   norm_expected, e);
        worst = e > worst || isnan(e) ? e : worst;
    }
    return worst;
}

/* Runs a case and returns how far off it is; *bits: all gradients' bits. */
static double run_case(const char *path, const char *name, const json_t *train,
                       const train_rig_options *how, uint64_t *bits) {
    train_rig t;
    train_documents d;
    train_set_up(&t, path, how);
    train_read_documents(&d, json_object_get(train, "input_ids"), json_object_get(train, "labels"));
    const double expected = json_number_value(json_object_get(train, "loss"));
    const double alone = r2i_backward_evaluate(t.backward, &d.batch).loss;
    const double loss = r2i_backward_run(t.backward, &d.batch).loss;
    const double gradients = compare_gradients(&t, name, train);
    assert_true(alone == loss);
    *bits = r2i_hash_bytes(R2I_HASH_SEED, t.parameters.gradients,
                           t.parameters.n_values * sizeof(float));
    printf("%-18s %-4s %d thread%s%s: loss %.8f, expected %.8f; gradients off by %.3g of 1e-4\n",
           name, how->cpu != NULL ? how->cpu : "own", how->n_threads, how->n_threads > 1 ? "s" : "",
           how->is_recomputing ? ", recomputing" : "", loss, expected, gradients);
    train_tear_down(&t);
    return fmax(gradients, excess(loss, expected));
}

/* In BF16, whose numbers have 8 bits: the loss, and the norm of all gradients together.  A single
 * tensor's may be off by more where a choice of experts falls otherwise. */
static void check_rounded(const char *path, const char *name, const json_t *train) {
    static const train_rig_options how = { .n_threads = 2, .is_bf16 = true };
    train_rig t;
    train_documents d;
    const char *key;
    json_t *norm;
    double found = 0, expected = 0, worst = 0;
    train_set_up(&t, path, &how);
    train_read_documents(&d, json_object_get(train, "input_ids"), json_object_get(train, "labels"));
    const double loss = r2i_backward_run(t.backward, &d.batch).loss;
    const double loss_error = fabs(loss / json_number_value(json_object_get(train, "loss")) - 1);
    json_object_foreach(json_object_get(train, "grad_l2"), key, norm) {
        const r2i_parameter *p = train_find(&t, key);
        const double one = json_number_value(norm), mine = train_norm(t.parameters.gradients, p);
        found += mine * mine;
        expected += one * one;
        if (one > 1e-3) worst = fmax(worst, fabs(mine / one - 1));
    }
    const double error = fabs(sqrt(found / expected) - 1);
    printf("%-18s BF16: loss off by %.2g, all gradients by %.2g, one tensor's by %.2g\n", name,
           loss_error, error, worst);
    assert_true(loss_error <= 5e-3 && error <= 2e-2);
    train_tear_down(&t);
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
        static const train_rig_options ways[] = { { .cpu = "ref", .n_threads = 2 },
                                                  { .n_threads = 1 },
                                                  { .n_threads = 2 },
                                                  { .n_threads = 2, .is_recomputing = true } };
        uint64_t bits[4];
        for (int i = 0; i < 4; i++)
            assert_true(run_case(path, name, train, &ways[i], &bits[i]) <= 1);
        check_rounded(path, name, train);
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
