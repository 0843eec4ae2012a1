/* test_lora_train.c - adapters in training against the PEFT library (train_lora.json, made by
 * tools/make_lora_train_golden.py): gradients of every A and B, ten steps of AdamW; what a quantized base
 * makes of them; equal bits for any number of threads; and training's forward pass against an engine that
 * has loaded the saved adapter, bit for bit. */
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
#include "files/safetensors.h"
#include "train/lora/lora_parameters.h"
#include "train_rig.h"

enum { PATH_BYTES = 1024, TEXT_BYTES = 512 };
/* Two F32 programs whose sums differ in order. */
static const double tolerance = 1e-4, floor_of_gradients = 1e-6, loss_tolerance = 1e-5;

static json_t *read_json(const char *name) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%.700s/%.200s", golden_folder(), name);
    json_t *file = json_load_file(path, 0, NULL);
    if (file == NULL) fail_msg("no %s", path);
    return file;
}

/* ---- a model with a golden adapter ---- */

/* The rules that the adapter's configuration speaks of; `targets` gets its names. */
static r2i_lora_rules read_rules(const char *adapter, char targets[TEXT_BYTES]) {
    char name[PATH_BYTES];
    snprintf(name, sizeof name, "%.200s/adapter_config.json", adapter);
    json_t *config = read_json(name);
    const json_t *list = json_object_get(config, "target_modules");
    targets[0] = '\0';
    for (size_t i = 0; i < json_array_size(list); i++) {
        const size_t used = strlen(targets);
        snprintf(targets + used, TEXT_BYTES - used, "%s,",
                 json_string_value(json_array_get(list, i)));
    }
    const r2i_lora_rules rules = { .rank = (int32_t)golden_number(config, "r"),
                                   .alpha = (float)golden_number(config, "lora_alpha"),
                                   .has_root_scale =
                                       json_is_true(json_object_get(config, "use_rslora")),
                                   .seed = 1,
                                   .targets = targets };
    json_decref(config);
    return rules;
}

/* Values of A and B from the adapter's file; every one must be there. */
static void read_values(train_rig *t, const char *adapter) {
    char path[PATH_BYTES];
    r2_error err;
    r2i_safetensors *file;
    r2i_stored_tensor tensor;
    snprintf(path, sizeof path, "%.700s/%.200s/adapter_model.safetensors", golden_folder(),
             adapter);
    must(r2i_safetensors_open(&file, path, &t->model->arena, &err), &err);
    assert_int_equal((int)r2i_safetensors_n_tensors(file), t->parameters.n);
    for (int32_t i = 0; i < t->parameters.n; i++) {
        const r2i_parameter *p = &t->parameters.list[i];
        must(r2i_safetensors_get(file, p->name, &tensor, &err), &err);
        assert_true(tensor.ne[0] == p->n_cols && tensor.ne[1] == p->n_rows);
        t->model->kernels.dequantize[tensor.type](t->parameters.values + p->first, tensor.bytes,
                                                  (int32_t)r2i_parameter_size(p));
    }
    r2i_safetensors_close(file);
    r2i_parameters_refresh(&t->parameters);
}

static void open_rig(train_rig *t, const char *base, const char *adapter,
                     const train_rig_options *how) {
    char path[PATH_BYTES], targets[TEXT_BYTES];
    train_rig_options options = *how;
    const r2i_lora_rules rules = read_rules(adapter, targets);
    options.lora = &rules;
    snprintf(path, sizeof path, "%.700s/%.200s", golden_folder(), base);
    train_set_up(t, path, &options);
    read_values(t, adapter);
}

/* ---- gradients ---- */

/* How far apart, in units of what is allowed. */
static double excess(double found, double expected, double scale) {
    const double e = fabs(found - expected) / (tolerance * fabs(scale) + floor_of_gradients);
    return isnan(e) ? INFINITY : e;
}

static double compare_gradients(const train_rig *t, const char *name, const json_t *expected) {
    const json_t *norms = json_object_get(expected, "grad_l2");
    const char *key;
    json_t *norm;
    double worst = 0;
    assert_int_equal((int)json_object_size(norms), t->parameters.n);
    json_object_foreach((json_t *)(uintptr_t)norms, key, norm) {
        const r2i_parameter *p = train_find(t, key);
        const json_t *first4 = json_object_get(json_object_get(expected, "grad_first4"), key);
        const double l2 = json_number_value(norm);
        double e = excess(train_norm(t->parameters.gradients, p), l2, l2);
        for (size_t i = 0; i < json_array_size(first4); i++)
            e = golden_worse(e, excess((double)t->parameters.gradients[p->first + i],
                                       json_number_value(json_array_get(first4, i)), l2));
        if (e > 1) printf("%s: %s off by %.3g\n", name, key, e);
        worst = golden_worse(worst, e);
    }
    return worst;
}

static double check_gradients(const char *name, const json_t *expected,
                              const train_rig_options *how, uint64_t *bits) {
    train_rig t;
    train_documents d;
    char file[PATH_BYTES];
    const char *base = json_string_value(json_object_get(expected, "base"));
    snprintf(file, sizeof file, "%.200s/expected.json", base);
    json_t *base_file = read_json(file);
    const json_t *train = json_object_get(base_file, "train");
    open_rig(&t, base, name, how);
    train_read_documents(&d, json_object_get(train, "input_ids"), json_object_get(train, "labels"));
    const double loss = r2i_backward_run(t.backward, &d.batch).loss;
    const double worst = compare_gradients(&t, name, expected);
    const double off = fabs(loss / golden_number(expected, "loss") - 1);
    printf("%-16s %-4s %d threads%s: loss off by %.2g, gradients by %.3g of 1e-4\n", name,
           how->cpu != NULL ? how->cpu : "own", how->n_threads,
           how->is_recomputing ? ", recomputing" : "", off, worst);
    assert_true(off <= loss_tolerance);
    *bits = r2i_hash_bytes(R2I_HASH_SEED, t.parameters.gradients,
                           t.parameters.n_values * sizeof(float));
    train_tear_down(&t);
    json_decref(base_file);
    return worst;
}

static void test_gradients(void **state) {
    static const train_rig_options ways[] = { { .cpu = "ref", .n_threads = 2 },
                                              { .n_threads = 1 },
                                              { .n_threads = 2 },
                                              { .n_threads = 2, .is_recomputing = true } };
    json_t *file = read_json("train_lora.json");
    const char *name;
    json_t *expected;
    (void)state;
    json_object_foreach(json_object_get(file, "cases"), name, expected) {
        uint64_t bits[4];
        for (int i = 0; i < 4; i++)
            assert_true(check_gradients(name, expected, &ways[i], &bits[i]) <= 1);
        assert_true(bits[1] == bits[2] && bits[1] == bits[3]);
    }
    json_decref(file);
}

/* ---- steps ---- */

static void check_steps(const char *name, const json_t *expected, const json_t *options) {
    static const train_rig_options how = { .n_threads = 2 };
    const r2i_adamw_options o = {
        golden_number(options, "lr"),           golden_number(options, "beta1"),
        golden_number(options, "beta2"),        golden_number(options, "eps"),
        golden_number(options, "weight_decay"), golden_number(options, "clip")
    };
    const json_t *steps = json_object_get(expected, "steps"),
                 *after = json_object_get(expected, "after");
    train_rig t;
    train_documents d;
    r2_error err;
    r2i_adamw adamw;
    double worst_loss = 0, worst_norm = 0;
    open_rig(&t, json_string_value(json_object_get(expected, "base")), name, &how);
    must(r2i_adamw_create(&adamw, &t.parameters, NULL, false, &t.model->arena, &err), &err);
    assert_true(json_array_size(steps) >= 10);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        train_read_documents(&d, json_object_get(step, "input_ids"), NULL);
        const double loss = r2i_backward_run(t.backward, &d.batch).loss;
        const double norm = train_step_adamw(&t, &adamw, &o);
        worst_loss = golden_worse(worst_loss, fabs(loss / golden_number(step, "loss") - 1));
        worst_norm = golden_worse(worst_norm, fabs(norm / golden_number(step, "grad_norm") - 1));
    }
    train_read_documents(&d, json_object_get(after, "input_ids"), NULL);
    const double last =
        fabs(r2i_backward_evaluate(t.backward, &d.batch).loss / golden_number(after, "loss") - 1);
    printf("%-16s ten steps: losses within %.2g, gradient norms %.2g, then %.2g\n", name,
           worst_loss, worst_norm, last);
    assert_true(worst_loss <= loss_tolerance && worst_norm <= tolerance && last <= loss_tolerance);
    train_tear_down(&t);
}

static void test_steps(void **state) {
    json_t *file = read_json("train_lora.json");
    const char *name;
    json_t *expected;
    (void)state;
    json_object_foreach(json_object_get(file, "cases"), name, expected) {
        check_steps(name, expected, json_object_get(file, "options"));
    }
    json_decref(file);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gradients),
                                        cmocka_unit_test(test_steps) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
