/* test_soft_targets.c - learning from a teacher, as PyTorch has it (soft_targets.json, made by
 * tools/make_soft_golden.py), and the gradient of a row of logits against differences.
 *
 *   the teacher's likeliest tokens, their log-probabilities and the rest's
 *   losses and every parameter's gradient, several divergences, temperatures and shares
 *   one thread and two: equal bits */
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

#include "base/random.h"
#include "r2lm/distill.h"
#include "train/distill/soft_targets.h"
#include "train_rig.h"

enum { PATH_BYTES = 1024, MAX_K = 8 };
/* Two F32 programs whose sums differ in order. */
static const double loss_tolerance = 1e-5, gradient_tolerance = 1e-4, log_tolerance = 2e-5;

static const char *case_path(const json_t *file, const char *role, char path[PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%.900s/%.60s", golden_folder(),
             json_string_value(json_object_get(file, role)));
    return path;
}

/* ---- the whole model ---- */

typedef struct {
    int32_t tokens[TRAIN_CAP_ROWS * MAX_K];
    float log_probs[TRAIN_CAP_ROWS * (MAX_K + 1)];
    r2_soft_targets soft;
} soft_rows;

/* The file has a row for each target; a document's last row has none. */
static void read_soft(soft_rows *out, const train_documents *d, const json_t *way, int32_t k) {
    const json_t *tokens = json_object_get(way, "tokens"),
                 *log_probs = json_object_get(way, "log_probs");
    size_t next = 0;
    memset(out, 0, sizeof *out);
    for (int32_t row = 0; row < d->batch.n_rows; row++) {
        if (d->weights[row] == 0) continue;
        const json_t *row_tokens = json_array_get(tokens, next),
                     *row_logs = json_array_get(log_probs, next);
        next++;
        for (int32_t i = 0; i < k; i++)
            out->tokens[row * k + i] =
                (int32_t)json_integer_value(json_array_get(row_tokens, (size_t)i));
        for (int32_t i = 0; i <= k; i++)
            out->log_probs[row * (k + 1) + i] =
                (float)json_number_value(json_array_get(row_logs, (size_t)i));
    }
    assert_true(next == json_array_size(tokens));
    out->soft = (r2_soft_targets){ .tokens = out->tokens,
                                   .log_probs = out->log_probs,
                                   .k = k,
                                   .temperature = (float)golden_number(way, "temperature"),
                                   .beta = (float)golden_number(way, "beta"),
                                   .share = (float)golden_number(way, "share") };
}

static void check_way(const json_t *file, const json_t *way, const train_rig_options *how) {
    char path[PATH_BYTES];
    train_rig t;
    train_documents d;
    static soft_rows rows;
    const char *key;
    json_t *norm;
    double worst = 0;
    train_set_up(&t, case_path(file, "student", path), how);
    train_read_documents(&d, json_object_get(file, "input_ids"), NULL);
    read_soft(&rows, &d, way, (int32_t)golden_number(file, "k"));
    d.batch.soft = &rows.soft;
    const r2i_train_loss alone = r2i_backward_evaluate(t.backward, &d.batch);
    const r2i_train_loss loss = r2i_backward_run(t.backward, &d.batch);
    assert_true(alone.loss == loss.loss && alone.soft_loss == loss.soft_loss);
    const double hard_off = golden_error(loss.loss, golden_number(way, "loss")),
                 soft_off = golden_error(loss.soft_loss, golden_number(way, "soft_loss"));
    json_object_foreach(json_object_get(way, "grad_l2"), key, norm) {
        const r2i_parameter *p = train_find(&t, key);
        worst = golden_worse(
            worst, golden_error(train_norm(t.parameters.gradients, p), json_number_value(norm)));
    }
    printf("T %.1f beta %.1f share %.1f %-4s: losses within %.2g and %.2g, gradients %.2g\n",
           (double)rows.soft.temperature, (double)rows.soft.beta, (double)rows.soft.share,
           how->cpu != NULL ? how->cpu : "own", hard_off, soft_off, worst);
    assert_true(hard_off <= loss_tolerance && soft_off <= loss_tolerance);
    assert_true(worst <= gradient_tolerance);
    train_tear_down(&t);
}

static void test_losses_and_gradients(void **state) {
    static const train_rig_options ways[] = { { .cpu = "ref", .n_threads = 2 },
                                              { .n_threads = 2 } };
    json_t *file = golden_file("soft_targets.json");
    size_t i;
    json_t *way;
    (void)state;
    json_array_foreach(json_object_get(file, "ways"), i, way) {
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
            check_way(file, way, &ways[w]);
    }
    json_decref(file);
}

static void test_same_bits(void **state) {
    json_t *file = golden_file("soft_targets.json");
    float *gradients[2] = { NULL };
    size_t n = 0;
    double losses[2] = { 0 };
    (void)state;
    for (int32_t i = 0; i < 2; i++) {
        char path[PATH_BYTES];
        train_rig t;
        train_documents d;
        static soft_rows rows;
        const train_rig_options how = { .n_threads = i + 1, .is_bf16 = true };
        train_set_up(&t, case_path(file, "student", path), &how);
        train_read_documents(&d, json_object_get(file, "input_ids"), NULL);
        read_soft(&rows, &d, json_array_get(json_object_get(file, "ways"), 3),
                  (int32_t)golden_number(file, "k"));
        d.batch.soft = &rows.soft;
        losses[i] = r2i_backward_run(t.backward, &d.batch).soft_loss;
        n = t.parameters.n_values;
        gradients[i] = malloc(n * sizeof(float));
        memcpy(gradients[i], t.parameters.gradients, n * sizeof(float));
        train_tear_down(&t);
    }
    assert_true(losses[0] == losses[1] && losses[0] > 0);
    assert_memory_equal(gradients[0], gradients[1], n * sizeof(float));
    free(gradients[0]);
    free(gradients[1]);
    json_decref(file);
}

/* ---- the teacher ---- */

static void check_scores(const json_t *file, const json_t *way) {
    char path[PATH_BYTES];
    r2_error err;
    r2_trainer *trainer;
    r2_teacher *teacher;
    train_documents d;
    static soft_rows expected;
    const r2_soft_targets *found;
    const int32_t k = (int32_t)golden_number(file, "k");
    double worst = 0;
    train_read_documents(&d, json_object_get(file, "input_ids"), NULL);
    read_soft(&expected, &d, way, k);
    const r2_trainer_options trainer_options = { .n_threads = 2,
                                                 .batch_tokens = d.batch.n_rows,
                                                 .batch_documents = d.batch.n_documents,
                                                 .arithmetic = R2_ARITHMETIC_F32 };
    const r2_teacher_options options = { .n_tokens = k,
                                         .temperature = (float)golden_number(way, "temperature"),
                                         .arithmetic = R2_ARITHMETIC_F32 };
    must(r2_trainer_open(&trainer, case_path(file, "student", path), &trainer_options, &err), &err);
    must(r2_teacher_open(&teacher, case_path(file, "teacher", path), trainer, &options, &err),
         &err);
    for (int32_t i = 0; i < d.batch.n_rows; i++)
        d.targets[i] = d.weights[i] != 0 ? d.targets[i] : -1;
    const r2_training_batch batch = { .tokens = d.tokens,
                                      .targets = d.targets,
                                      .n_tokens = d.batch.n_rows,
                                      .lengths = d.lengths,
                                      .n_documents = d.batch.n_documents };
    must(r2_teacher_score(teacher, &batch, &found, &err), &err);
    assert_int_equal(found->k, k);
    for (int32_t row = 0; row < d.batch.n_rows; row++) {
        if (d.targets[row] < 0) continue;
        assert_memory_equal(found->tokens + row * k, expected.tokens + row * k,
                            (size_t)k * sizeof(int32_t));
        for (int32_t i = 0; i <= k; i++)
            worst = golden_worse(worst, fabs((double)found->log_probs[row * (k + 1) + i] -
                                             (double)expected.log_probs[row * (k + 1) + i]));
    }
    printf("teacher: log-probabilities within %.2g\n", worst);
    assert_true(worst <= log_tolerance);
    /* More tokens than either model knows. */
    const r2_teacher_options greedy = { .n_tokens = 150, .share = 1 };
    r2_teacher *none;
    assert_int_equal(
        r2_teacher_open(&none, case_path(file, "teacher", path), trainer, &greedy, &err),
        R2_E_ARGUMENT);
    assert_null(none);
    /* A batch with soft targets needs a trainer that is opened for them. */
    r2_training_batch softened = batch;
    r2_training_loss loss;
    softened.soft = found;
    assert_int_equal(r2_trainer_evaluate(trainer, &softened, &loss, &err), R2_E_ARGUMENT);
    r2_teacher_close(teacher);
    r2_trainer_close(trainer);
}

static void test_teacher(void **state) {
    json_t *file = golden_file("soft_targets.json");
    size_t i;
    json_t *way;
    (void)state;
    json_array_foreach(json_object_get(file, "ways"), i, way) check_scores(file, way);
    json_decref(file);
}

/* ---- a row ---- */

enum { N_VOCAB = 37 };

static void start_kernels(r2i_kernels *kernels) {
    r2i_cpu cpu;
    r2i_cpu_detect(&cpu);
    r2i_kernels_init(kernels, &cpu, R2I_LEVEL_AMX);
}

/* Central differences: F32 logits leave about 1e-7 / step of noise. */
static void check_differences(const r2i_kernels *kernels, const r2i_soft_row *row,
                              const float *logits) {
    float moved[N_VOCAB], g[N_VOCAB], room[N_VOCAB];
    const float step = 1e-2f;
    (void)r2i_soft_loss(row, kernels, logits, N_VOCAB, true, g);
    for (int32_t v = 0; v < N_VOCAB; v++) {
        memcpy(moved, logits, sizeof moved);
        moved[v] = logits[v] + step;
        const double up = r2i_soft_loss(row, kernels, moved, N_VOCAB, false, room);
        moved[v] = logits[v] - step;
        const double down = r2i_soft_loss(row, kernels, moved, N_VOCAB, false, room);
        const double slope = (up - down) / (2 * (double)step) * (double)row->temperature;
        assert_true(fabs(slope - (double)g[v]) < 2e-4);
    }
}

static void test_differences(void **state) {
    static const float betas[] = { 0, 0.25f, 0.5f, 0.9f, 1 }, temperatures[] = { 1, 2.5f };
    r2i_kernels kernels;
    (void)state;
    start_kernels(&kernels);
    for (size_t b = 0; b < sizeof betas / sizeof *betas; b++) {
        for (int32_t k = 1; k < N_VOCAB; k += 7) {
            float student[N_VOCAB], teacher[N_VOCAB], log_probs[N_VOCAB + 1];
            int32_t tokens[N_VOCAB];
            const float t = temperatures[k / 7 % 2];
            for (uint64_t v = 0; v < N_VOCAB; v++) {
                student[v] = (float)(4 * r2i_random_unit(7, 1, v + 100 * b));
                teacher[v] = (float)(5 * r2i_random_unit(7, 2, v + 100 * b));
            }
            r2i_soft_targets_make(&kernels, teacher, N_VOCAB, N_VOCAB, k, t, tokens, log_probs);
            const r2i_soft_row row = { tokens, log_probs, k, t, betas[b] };
            check_differences(&kernels, &row, student);
        }
    }
}

/* Who says what the teacher says has nothing to learn, and far tails stay numbers. */
static void test_extremes(void **state) {
    static const float betas[] = { 0, 0.5f, 1 };
    r2i_kernels kernels;
    (void)state;
    start_kernels(&kernels);
    for (size_t b = 0; b < sizeof betas / sizeof *betas; b++) {
        float logits[N_VOCAB], teacher[N_VOCAB], log_probs[6], g[N_VOCAB];
        int32_t tokens[5];
        r2i_soft_row row = { tokens, log_probs, 5, 1, betas[b] };
        for (int32_t v = 0; v < N_VOCAB; v++)
            logits[v] = teacher[v] = (float)(v * 11 % N_VOCAB) * 0.3f;
        r2i_soft_targets_make(&kernels, teacher, N_VOCAB, N_VOCAB, 5, 1, tokens, log_probs);
        assert_true(fabs(r2i_soft_loss(&row, &kernels, logits, N_VOCAB, true, g)) < 1e-6);
        for (int32_t v = 0; v < N_VOCAB; v++)
            assert_true(fabs((double)g[v]) < 1e-6);
        for (int32_t v = 0; v < N_VOCAB; v++)
            logits[v] =
                v == 3 ? 500.0f : -500.0f; /* sure of one token, that the teacher rules out */
        for (int32_t v = 0; v < N_VOCAB; v++)
            teacher[v] = v == 8 ? 500.0f : -500.0f;
        r2i_soft_targets_make(&kernels, teacher, N_VOCAB, N_VOCAB, 5, 1, tokens, log_probs);
        assert_true(isfinite(r2i_soft_loss(&row, &kernels, logits, N_VOCAB, true, g)));
        for (int32_t v = 0; v < N_VOCAB; v++)
            assert_true(isfinite(g[v]));
    }
}

static void test_refusals(void **state) {
    int32_t tokens[] = { 1, 2, 2, 4, 9, 3 };
    const int32_t targets[] = { 5, -1 };
    const float log_probs[6] = { 0 };
    r2_error err;
    r2_soft_targets soft = { tokens, log_probs, 2, 1, 0, 1 };
    (void)state;
    must(r2i_soft_targets_check(&soft, targets, 2, 10, &err), &err);
    soft.k = 3;
    assert_int_equal(r2i_soft_targets_check(&soft, targets, 1, 10, &err), R2_E_ARGUMENT);
    assert_non_null(strstr(err.text, "different"));
    soft.k = R2_MAX_SOFT_TOKENS + 1;
    assert_int_equal(r2i_soft_targets_check(&soft, targets, 1, 1000, &err), R2_E_ARGUMENT);
    soft.k = 2;
    soft.share = 1.5f;
    assert_int_equal(r2i_soft_targets_check(&soft, targets, 1, 10, &err), R2_E_ARGUMENT);
    soft.share = 1;
    tokens[1] = 10;
    assert_int_equal(r2i_soft_targets_check(&soft, targets, 1, 10, &err), R2_E_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_differences),
                                        cmocka_unit_test(test_extremes),
                                        cmocka_unit_test(test_refusals),
                                        cmocka_unit_test(test_teacher),
                                        cmocka_unit_test(test_losses_and_gradients),
                                        cmocka_unit_test(test_same_bits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
