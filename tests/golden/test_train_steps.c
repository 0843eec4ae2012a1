/* test_train_steps.c - ten steps of AdamW and of Muon, and the prediction module's gradients, as PyTorch has them
 * (train_steps.json, made by tools/make_train_golden.py). */
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

#include "train_rig.h"

enum { PATH_BYTES = 1024 };
/* Two F32 programs whose sums differ in order; what is found is a tenth of this or less. */
static const double loss_tolerance = 1e-5, norm_tolerance = 1e-4, gradient_tolerance = 1e-4;

static double check_weights(const train_rig *t, const json_t *expected) {
    const char *key;
    json_t *norm;
    double worst = 0;
    json_object_foreach((json_t *)(uintptr_t)expected, key, norm) {
        const r2i_parameter *p = train_find(t, key);
        worst = golden_worse(
            worst, golden_error(train_norm(t->parameters.values, p), json_number_value(norm)));
    }
    return worst;
}

/* One of the two optimizers. */
typedef struct {
    bool is_muon;
    r2i_adamw adamw;
    r2i_muon muon;
    r2i_muon_options options;
} stepper;

static void make_stepper(stepper *s, train_rig *t, const json_t *o) {
    r2_error err;
    s->is_muon = json_object_get(o, "momentum") != NULL;
    s->options = (r2i_muon_options){
        .rest = { golden_number(o, "lr"), golden_number(o, "beta1"), golden_number(o, "beta2"),
                  golden_number(o, "eps"), golden_number(o, "weight_decay"),
                  golden_number(o, "clip") },
        .momentum = s->is_muon ? golden_number(o, "momentum") : 0,
    };
    if (s->is_muon)
        must(r2i_muon_create(&s->muon, &t->parameters, NULL, &t->model->kernels, R2I_TYPE_F32,
                             t->pool, &t->model->arena, &err),
             &err);
    else
        must(r2i_adamw_create(&s->adamw, &t->parameters, NULL, false, &t->model->arena, &err),
             &err);
}

static double take_step(stepper *s, train_rig *t) {
    return s->is_muon ? train_step_muon(t, &s->muon, &s->options)
                      : train_step_adamw(t, &s->adamw, &s->options.rest);
}

static void check_case(const char *name, const json_t *expected, const json_t *options,
                       const train_rig_options *how) {
    char path[PATH_BYTES];
    train_rig t;
    train_documents d;
    stepper optimizer = { .is_muon = false };
    const json_t *steps = json_object_get(expected, "steps"),
                 *after = json_object_get(expected, "after");
    double worst_loss = 0, worst_norm = 0;
    snprintf(path, sizeof path, "%.900s/%.100s", golden_folder(), name);
    train_set_up(&t, path, how);
    make_stepper(&optimizer, &t, options);
    assert_true(json_array_size(steps) >= 10);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        train_read_documents(&d, json_object_get(step, "input_ids"), NULL);
        const double loss = r2i_backward_run(t.backward, &d.batch).loss;
        const double norm = take_step(&optimizer, &t);
        worst_loss = golden_worse(worst_loss, golden_error(loss, golden_number(step, "loss")));
        worst_norm = golden_worse(worst_norm, golden_error(norm, golden_number(step, "grad_norm")));
    }
    train_read_documents(&d, json_object_get(after, "input_ids"), NULL);
    const double last = golden_error(r2i_backward_evaluate(t.backward, &d.batch).loss,
                                     golden_number(after, "loss"));
    const double weights = check_weights(&t, json_object_get(expected, "weight_l2"));
    printf("%-5s %-12s %-4s ten steps: losses within %.2g, gradient norms %.2g, then %.2g, "
           "weights %.2g\n",
           optimizer.is_muon ? "muon" : "adamw", name, how->cpu != NULL ? how->cpu : "own",
           worst_loss, worst_norm, last, weights);
    assert_true(worst_loss <= loss_tolerance && last <= loss_tolerance);
    assert_true(worst_norm <= norm_tolerance && weights <= norm_tolerance);
    if (optimizer.is_muon) r2i_muon_destroy(&optimizer.muon);
    train_tear_down(&t);
}

static void check_cases(const json_t *group) {
    static const train_rig_options ref = { .cpu = "ref", .n_threads = 2 }, own = { .n_threads = 2 };
    const char *name;
    json_t *expected;
    json_object_foreach(json_object_get(group, "cases"), name, expected) {
        check_case(name, expected, json_object_get(group, "options"), &ref);
        check_case(name, expected, json_object_get(group, "options"), &own);
    }
}

static void test_adamw_steps(void **state) {
    json_t *file = golden_file("train_steps.json");
    (void)state;
    check_cases(file);
    json_decref(file);
}

static void test_muon_steps(void **state) {
    json_t *file = golden_file("train_steps.json");
    (void)state;
    check_cases(json_object_get(file, "muon"));
    json_decref(file);
}

/* Three steps on made-up gradients: values of one thread and of several, of small matrices and large. */
static void test_muon_same_bits(void **state) {
    float *values[2] = { NULL };
    size_t n = 0;
    (void)state;
    for (int32_t n_threads = 1; n_threads <= 2; n_threads++) {
        char path[PATH_BYTES];
        train_rig t;
        r2i_muon muon;
        r2_error err;
        const train_rig_options how = { .n_threads = n_threads };
        const r2i_muon_options o = { { 1e-2, 0.9, 0.95, 1e-8, 0.1, 1 }, 0.95 };
        snprintf(path, sizeof path, "%.900s/deepseek_v3", golden_folder());
        train_set_up(&t, path, &how);
        must(r2i_muon_create(&muon, &t.parameters, NULL, &t.model->kernels, R2I_TYPE_BF16, t.pool,
                             &t.model->arena, &err),
             &err);
        n = t.parameters.n_values;
        for (uint32_t step = 0; step < 3; step++) {
            for (size_t i = 0; i < n; i++)
                t.parameters.gradients[i] = sinf((float)(i * 7 + step)) * 0.01f;
            (void)train_step_muon(&t, &muon, &o);
        }
        values[n_threads - 1] = malloc(n * sizeof(float));
        memcpy(values[n_threads - 1], t.parameters.values, n * sizeof(float));
        r2i_muon_destroy(&muon);
        train_tear_down(&t);
    }
    assert_memory_equal(values[0], values[1], n * sizeof(float));
    free(values[0]);
    free(values[1]);
}

static void check_module(const json_t *mtp, const train_rig_options *how) {
    char path[PATH_BYTES];
    train_rig t;
    train_documents d;
    const char *key;
    json_t *norm;
    double worst = 0;
    const json_t *ids = json_object_get(mtp, "input_ids");
    snprintf(path, sizeof path, "%.900s/%.100s", golden_folder(),
             json_string_value(json_object_get(mtp, "case")));
    train_set_up(&t, path, how);
    train_read_documents(&d, ids, NULL);
    d.batch.mtp_weight = (float)golden_number(mtp, "mtp_weight");
    const r2i_train_loss loss = r2i_backward_run(t.backward, &d.batch);
    /* Its mean is over one target less per document. */
    const double counted = (double)d.n_targets / (d.n_targets - (int32_t)json_array_size(ids));
    assert_true(golden_error(loss.loss, golden_number(mtp, "loss")) <= loss_tolerance);
    assert_true(golden_error(loss.mtp_loss * counted, golden_number(mtp, "mtp_loss")) <=
                loss_tolerance);
    memset(t.parameters.gradients, 0, t.parameters.n_values * sizeof(float));
    d.batch.mtp_weight *= (float)counted;
    (void)r2i_backward_run(t.backward, &d.batch);
    json_object_foreach(json_object_get(mtp, "grad_l2"), key, norm) {
        const r2i_parameter *p = train_find(&t, key);
        const double e =
            golden_error(train_norm(t.parameters.gradients, p), json_number_value(norm));
        if (e > gradient_tolerance) printf("%s: off by %.3g\n", key, e);
        worst = golden_worse(worst, e);
    }
    printf("module: gradients within %.2g\n", worst);
    assert_true(worst <= gradient_tolerance);
    train_tear_down(&t);
}

static void test_prediction_module(void **state) {
    static const train_rig_options ways[] = { { .cpu = "ref", .n_threads = 2 },
                                              { .n_threads = 2 },
                                              { .n_threads = 1, .is_recomputing = true } };
    json_t *file = golden_file("train_steps.json");
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        check_module(json_object_get(file, "mtp"), &ways[i]);
    json_decref(file);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_adamw_steps),
                                        cmocka_unit_test(test_muon_steps),
                                        cmocka_unit_test(test_muon_same_bits),
                                        cmocka_unit_test(test_prediction_module) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
