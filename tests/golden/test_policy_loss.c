/* test_policy_loss.c - losses of judged answers and of pairs, as PyTorch has them (policy_loss.json, made by
 * tools/make_rl_golden.py).
 *
 *   log-probabilities, losses and every parameter's gradient: GRPO with clipping and a divergence, GSPO, DPO
 *   one thread and two: equal bits
 *   where nothing has changed since the answers were drawn, a ratio is 1 and the gradient A times the likelihood's */
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

#include "train/reinforce/policy_loss.h"
#include "train_rig.h"

enum { PATH_BYTES = 1024 };
/* Two F32 programs whose sums differ in order.  Losses are sums of terms around 0.02 of both signs: their error is
 * absolute. */
static const double loss_tolerance = 1e-6, gradient_tolerance = 1e-4, log_tolerance = 2e-5;

typedef struct {
    train_documents documents;
    float advantages[TRAIN_CAP_ROWS], old[TRAIN_CAP_ROWS], reference[TRAIN_CAP_ROWS],
        expected[TRAIN_CAP_ROWS], logprobs[TRAIN_CAP_ROWS], factors[TRAIN_CAP_ROWS];
    r2_policy_targets policy;
} policy_rows;

static float entry(const json_t *file, const char *key, size_t document, size_t i) {
    return (float)json_number_value(
        json_array_get(json_array_get(json_object_get(file, key), document), i));
}

/* The file has an entry for each target behind the prompt. */
static void read_rows(policy_rows *p, const json_t *file, const json_t *way) {
    const int32_t n_prompt = (int32_t)golden_number(file, "prompt");
    train_documents *d = &p->documents;
    memset(p, 0, sizeof *p);
    train_read_documents(d, json_object_get(file, "input_ids"), NULL);
    size_t row = 0;
    for (size_t doc = 0; doc < (size_t)d->batch.n_documents; doc++) {
        for (int32_t i = 0; i < d->lengths[doc]; i++, row++) {
            const bool is_learnt = i >= n_prompt && i + 1 < d->lengths[doc];
            d->weights[row] = is_learnt ? (float)golden_number(file, "weight") : 0;
            p->advantages[row] =
                (float)json_number_value(json_array_get(json_object_get(file, "advantages"), doc));
            if (!is_learnt) continue;
            p->old[row] = entry(file, "old", doc, (size_t)(i - n_prompt));
            p->reference[row] = entry(file, "reference", doc, (size_t)(i - n_prompt));
            p->expected[row] = entry(file, "logprobs", doc, (size_t)(i - n_prompt));
        }
    }
    p->policy = (r2_policy_targets){ .form = (r2_policy_form)golden_number(way, "form"),
                                     .advantages = p->advantages,
                                     .old_logprobs = p->old,
                                     .reference = p->reference,
                                     .clip_low = (float)golden_number(way, "clip_low"),
                                     .clip_high = (float)golden_number(way, "clip_high"),
                                     .kl = (float)golden_number(way, "kl"),
                                     .beta = (float)golden_number(way, "beta"),
                                     .logprobs = p->logprobs,
                                     .factors = p->factors };
    d->batch.policy = &p->policy;
}

static void set_up(train_rig *t, const json_t *file, const train_rig_options *how) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%.900s/%.60s", golden_folder(),
             json_string_value(json_object_get(file, "model")));
    train_set_up(t, path, how);
}

static void check_way(const json_t *file, const json_t *way, const train_rig_options *how) {
    static policy_rows p;
    train_rig t;
    const char *key;
    json_t *norm;
    double worst = 0, log_off = 0;
    int32_t n_clipped = 0;
    set_up(&t, file, how);
    read_rows(&p, file, way);
    const r2i_train_loss alone = r2i_backward_evaluate(t.backward, &p.documents.batch);
    const r2i_train_loss loss = r2i_backward_run(t.backward, &p.documents.batch);
    assert_true(alone.loss == loss.loss);
    for (int32_t row = 0; row < p.documents.batch.n_rows; row++) {
        if (p.documents.weights[row] == 0) continue;
        log_off = golden_worse(log_off, fabs((double)p.logprobs[row] - (double)p.expected[row]));
        n_clipped += p.factors[row] == 0;
    }
    json_object_foreach(json_object_get(way, "grad_l2"), key, norm) {
        const r2i_parameter *parameter = train_find(&t, key);
        worst = golden_worse(worst, golden_error(train_norm(t.parameters.gradients, parameter),
                                                 json_number_value(norm)));
    }
    const double off = fabs(loss.loss - golden_number(way, "loss"));
    printf("form %d, kl %.2f, %-4s: loss within %.2g, gradients %.2g, log p %.2g, %d clipped\n",
           (int)p.policy.form, (double)p.policy.kl, how->cpu != NULL ? how->cpu : "own", off, worst,
           log_off, n_clipped);
    assert_true(off <= loss_tolerance && worst <= gradient_tolerance && log_off <= log_tolerance);
    if (p.policy.form == R2_POLICY_TOKEN && p.policy.kl == 0)
        assert_true(n_clipped > 2 && n_clipped < 30);
    train_tear_down(&t);
}

static void test_losses_and_gradients(void **state) {
    static const train_rig_options ways[] = { { .cpu = "ref", .n_threads = 2 },
                                              { .n_threads = 2 } };
    json_t *file = golden_file("policy_loss.json"), *way;
    size_t i;
    (void)state;
    json_array_foreach(json_object_get(file, "ways"), i, way) {
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
            check_way(file, way, &ways[w]);
    }
    json_decref(file);
}

/* Gradients and loss with so many threads; the caller frees. */
static float *gradients_of(const json_t *file, const json_t *way, int32_t n_threads, double *loss,
                           size_t *n, bool is_fresh) {
    static policy_rows p;
    const train_rig_options how = { .n_threads = n_threads, .is_bf16 = true };
    train_rig t;
    set_up(&t, file, &how);
    read_rows(&p, file, way);
    if (is_fresh) { /* drawn by the model as it is */
        const r2_policy_targets reads = { .form = R2_POLICY_READ,
                                          .logprobs = p.old,
                                          .factors = p.factors };
        p.documents.batch.policy = &reads;
        (void)r2i_backward_evaluate(t.backward, &p.documents.batch);
        p.documents.batch.policy = &p.policy;
    }
    *loss = r2i_backward_run(t.backward, &p.documents.batch).loss;
    for (int32_t row = 0; is_fresh && row < p.documents.batch.n_rows; row++) {
        if (p.documents.weights[row] != 0) assert_true(p.factors[row] == p.advantages[row]);
    }
    *n = t.parameters.n_values;
    float *out = malloc(*n * sizeof *out);
    assert_non_null(out);
    memcpy(out, t.parameters.gradients, *n * sizeof *out);
    train_tear_down(&t);
    return out;
}

static void test_same_bits(void **state) {
    json_t *file = golden_file("policy_loss.json"), *way;
    size_t i;
    (void)state;
    json_array_foreach(json_object_get(file, "ways"), i, way) {
        double losses[2];
        size_t n;
        float *one = gradients_of(file, way, 1, &losses[0], &n, false),
              *two = gradients_of(file, way, 2, &losses[1], &n, false);
        assert_true(losses[0] == losses[1]);
        assert_memory_equal(one, two, n * sizeof *one);
        free(one);
        free(two);
    }
    json_decref(file);
}

static void test_as_drawn(void **state) {
    json_t *file = golden_file("policy_loss.json");
    double loss;
    size_t n;
    (void)state;
    free(gradients_of(file, json_array_get(json_object_get(file, "ways"), 0), 2, &loss, &n, true));
    /* Means of advantages that are 0 in all: 0.75 - 0.25 - 1 + 0.5. */
    assert_true(fabs(loss) < 1e-6);
    json_decref(file);
}

static void test_refusals(void **state) {
    float rows[4];
    r2_error err;
    r2_policy_targets p = { .form = R2_POLICY_TOKEN, .logprobs = rows, .factors = rows };
    (void)state;
    assert_int_equal(r2i_policy_check(&p, 2, &err), R2_E_ARGUMENT);
    p.advantages = p.old_logprobs = rows;
    assert_int_equal(r2i_policy_check(&p, 2, &err), R2_OK);
    p.clip_low = -1;
    assert_int_equal(r2i_policy_check(&p, 2, &err), R2_E_ARGUMENT);
    p = (r2_policy_targets){
        .form = R2_POLICY_PAIR, .reference = rows, .logprobs = rows, .factors = rows, .beta = 0.1f
    };
    assert_int_equal(r2i_policy_check(&p, 2, &err), R2_OK);
    assert_int_equal(r2i_policy_check(&p, 3, &err), R2_E_ARGUMENT);
    p.beta = 0;
    assert_int_equal(r2i_policy_check(&p, 2, &err), R2_E_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_losses_and_gradients),
                                        cmocka_unit_test(test_same_bits),
                                        cmocka_unit_test(test_as_drawn),
                                        cmocka_unit_test(test_refusals) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
