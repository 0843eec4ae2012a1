/* test_trainer.c - the public trainer: random models, learning, saving, refusals.
 *
 *   a model from a configuration is the same for the same seed, and opens
 *   a small one learns a text by heart; what is saved in F32 has the same loss to the bit
 *   one thread and two write the same bytes
 *   a batch that does not fit, a gradient that is no number: refused, nothing changed */
#define _XOPEN_SOURCE 700 /* nftw, mkdtemp */
#include <ftw.h>
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
#include "files/mapping.h"
#include "r2lm/train.h"

enum { PATH_BYTES = 1024, N_TOKENS = 60 };

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int make_folder(void **state) {
    char *folder = strdup("/tmp/r2lm_trainer_XXXXXX");
    if (folder == NULL || mkdtemp(folder) == NULL) return -1;
    *state = folder;
    return 0;
}

static int remove_folder(void **state) {
    const int status = nftw(*state, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return status;
}

static const char *golden(const char *name, char path[PATH_BYTES]) {
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, PATH_BYTES, "%.900s/%s",
             folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    return path;
}

static const char *inside(void **state, const char *name, char path[PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%.900s/%s", (const char *)*state, name);
    return path;
}

static uint64_t hash_weights(const char *folder) {
    char path[PATH_BYTES + 32];
    r2_error err;
    r2i_mapping file = { 0 };
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    must(r2i_mapping_open(&file, path, &err), &err);
    const uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, file.bytes, file.n_bytes);
    r2i_mapping_close(&file);
    return hash;
}

/* ---- random models ---- */

static void check_init(void **state, const char *name) {
    char from[PATH_BYTES], a[PATH_BYTES], b[PATH_BYTES], c[PATH_BYTES];
    r2_error err;
    r2_model *model;
    const r2_model_init_options one = { .seed = 1 }, two = { .seed = 2 },
                                again = { .seed = 1, .is_forced = true };
    golden(name, from);
    must(r2_model_init(from, inside(state, "a", a), &one, &err), &err);
    must(r2_model_init(from, inside(state, "b", b), &one, &err), &err);
    must(r2_model_init(from, inside(state, "c", c), &two, &err), &err);
    assert_true(hash_weights(a) == hash_weights(b));
    assert_true(hash_weights(a) != hash_weights(c));
    assert_int_equal(r2_model_init(from, c, &one, &err), R2_E_ARGUMENT);
    must(r2_model_init(from, c, &again, &err), &err);
    assert_true(hash_weights(a) == hash_weights(c));
    must(r2_model_open(&model, a, NULL, &err), &err);
    r2_model_close(model);
    (void)nftw(a, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    (void)nftw(b, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    (void)nftw(c, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void test_init(void **state) {
    char path[PATH_BYTES], out[PATH_BYTES];
    r2_error err;
    check_init(state, "llama_rope3"); /* biases, untied */
    check_init(state, "qwen3_moe");
    check_init(state, "deepseek_v3"); /* latent, shared expert, prediction module */
    inside(state, "no such folder", path);
    assert_int_equal(r2_model_init(path, inside(state, "x", out), NULL, &err), R2_E_NOT_FOUND);
}

/* ---- learning ---- */

typedef struct {
    r2_token tokens[N_TOKENS], targets[N_TOKENS];
    int32_t lengths[2];
    r2_training_batch batch;
} lesson;

/* Two documents; their first and last targets do not count. */
static void set_lesson(lesson *l, int32_t n_vocab) {
    const int32_t cut = 23;
    for (int32_t i = 0; i < N_TOKENS; i++)
        l->tokens[i] = (i * 37 + i * i % 11) % n_vocab;
    for (int32_t i = 0; i < N_TOKENS; i++) {
        const bool is_last = i == cut - 1 || i == N_TOKENS - 1;
        l->targets[i] = i == 0 || is_last ? -1 : l->tokens[i + 1];
    }
    l->lengths[0] = cut;
    l->lengths[1] = N_TOKENS - cut;
    l->batch = (r2_training_batch){ .tokens = l->tokens,
                                    .targets = l->targets,
                                    .n_tokens = N_TOKENS,
                                    .lengths = l->lengths,
                                    .n_documents = 2 };
}

/* Mean loss after the steps. */
static double learn(r2_trainer *t, const lesson *l, int32_t n_steps) {
    static const r2_step_options adamw = { .lr = 1e-2, .weight_decay = 0.1, .clip = 1 };
    r2_error err;
    r2_training_loss loss;
    r2_step_result result;
    const r2_loss_weights weights = { 1.0f / 57, 0.3f, 1e-4f };
    for (int32_t i = 0; i < n_steps; i++) {
        must(r2_trainer_add(t, &l->batch, &weights, &loss, &err), &err);
        assert_int_equal(loss.n_targets, N_TOKENS - 3);
        must(r2_trainer_step(t, &adamw, &result, &err), &err);
        assert_true(result.gradient_norm > 0);
    }
    must(r2_trainer_evaluate(t, &l->batch, &loss, &err), &err);
    return loss.loss / loss.n_targets;
}

static void check_learning(void **state, const char *name, r2_arithmetic arithmetic,
                           r2_optimizer optimizer, int32_t n_vocab) {
    char from[PATH_BYTES], start[PATH_BYTES], saved[PATH_BYTES];
    r2_error err;
    r2_trainer *t;
    r2_trainer_info info, plan;
    lesson l;
    const r2_trainer_options options = {
        .n_threads = 2, .batch_tokens = N_TOKENS, .arithmetic = arithmetic, .optimizer = optimizer
    };
    const r2_model_init_options forced = { .seed = 5, .is_forced = true };
    must(r2_model_init(golden(name, from), inside(state, "start", start), &forced, &err), &err);
    set_lesson(&l, n_vocab);
    must(r2_trainer_open(&t, start, &options, &err), &err);
    const double before = learn(t, &l, 0), after = learn(t, &l, 60);
    printf("%-12s loss %.3f (uniform %.3f), after 60 steps %.4f\n", name, before, log(n_vocab),
           after);
    assert_true(fabs(before - log(n_vocab)) < 0.1 && after < 0.25);
    must(r2_trainer_save(t, inside(state, "saved", saved), true, true, &err), &err);
    r2_trainer_get_info(t, &info);
    assert_int_equal(info.n_steps, 60);
    must(r2_trainer_plan(&plan, start, &options, &err), &err);
    assert_int_equal(plan.memory_bytes, info.memory_bytes); /* nothing is taken on the way */
    assert_int_equal(plan.n_parameters, info.n_parameters);
    assert_true(plan.masters_bytes >= 4 * plan.n_parameters && plan.kept_bytes > 0);
    assert_true(plan.masters_bytes + plan.gradients_bytes + plan.moments_bytes +
                    plan.activations_bytes <=
                plan.memory_bytes);
    r2_trainer_close(t);
    must(r2_trainer_open(&t, saved, &options, &err), &err);
    assert_true(learn(t, &l, 0) == after);
    assert_int_equal(r2_trainer_save(t, saved, true, false, &err), R2_E_ARGUMENT);
    r2_trainer_close(t);
}

static void test_learning(void **state) {
    check_learning(state, "llama", R2_ARITHMETIC_F32, R2_OPTIMIZER_ADAMW, 160);
    check_learning(state, "deepseek_v3", R2_ARITHMETIC_F32, R2_OPTIMIZER_ADAMW, 120);
    check_learning(state, "qwen3_moe", R2_ARITHMETIC_FAST, R2_OPTIMIZER_ADAMW, 128);
    check_learning(state, "deepseek_v3", R2_ARITHMETIC_FAST, R2_OPTIMIZER_ADAMW, 120);
    check_learning(state, "llama", R2_ARITHMETIC_F32, R2_OPTIMIZER_MUON, 160);
    check_learning(state, "deepseek_v3", R2_ARITHMETIC_FAST, R2_OPTIMIZER_MUON, 120);
}

static void test_threads(void **state) {
    char from[PATH_BYTES], saved[PATH_BYTES];
    uint64_t hashes[3];
    r2_error err;
    lesson l;
    set_lesson(&l, 120);
    golden("deepseek_v3", from);
    for (int32_t n_threads = 1; n_threads <= 3; n_threads++) {
        const r2_trainer_options options = { .n_threads = n_threads,
                                             .batch_tokens = N_TOKENS,
                                             .optimizer = R2_OPTIMIZER_MUON };
        r2_trainer *t;
        must(r2_trainer_open(&t, from, &options, &err), &err);
        (void)learn(t, &l, 3);
        must(r2_trainer_save(t, inside(state, "saved", saved), true, true, &err), &err);
        r2_trainer_close(t);
        hashes[n_threads - 1] = hash_weights(saved);
    }
    assert_true(hashes[0] == hashes[1] && hashes[0] == hashes[2]);
}

/* ---- refusals ---- */

static void refuse_batch(r2_trainer *t, const r2_training_batch *b, float scale, const char *says) {
    r2_error err;
    r2_training_loss loss;
    const r2_loss_weights weights = { scale, 0, 0 };
    assert_int_equal(r2_trainer_add(t, b, &weights, &loss, &err), R2_E_ARGUMENT);
    if (strstr(err.text, says) == NULL) fail_msg("expected \"%s\" in: %s", says, err.text);
}

static void test_refusals(void **state) {
    char from[PATH_BYTES], gguf[PATH_BYTES + 16], out[PATH_BYTES];
    r2_error err;
    r2_trainer *t;
    r2_training_loss loss;
    lesson l;
    r2_step_result result;
    const r2_loss_weights plain = { 1, 0, 0 };
    const r2_trainer_options options = { .n_threads = 1,
                                         .batch_tokens = N_TOKENS,
                                         .document_tokens = 40 };
    const r2_trainer_options bad = { .batch_tokens = 8, .document_tokens = 9 };
    golden("llama", from);
    assert_int_equal(r2_trainer_open(&t, from, &bad, &err), R2_E_ARGUMENT);
    assert_null(t);
    must(r2_trainer_open(&t, from, &options, &err), &err);
    set_lesson(&l, 160);
    r2_training_batch b = l.batch;
    b.n_tokens = N_TOKENS + 1;
    refuse_batch(t, &b, 1, "1 to 60 tokens");
    b = l.batch;
    b.n_documents = 1;
    refuse_batch(t, &b, 1, "60 tokens in all");
    b.n_documents = 0;
    refuse_batch(t, &b, 1, "documents");
    l.lengths[0] = 41;
    refuse_batch(t, &l.batch, 1, "document 0");
    set_lesson(&l, 160);
    l.tokens[7] = 160;
    refuse_batch(t, &l.batch, 1, "position 7");
    set_lesson(&l, 160);
    l.targets[9] = 160;
    refuse_batch(t, &l.batch, 1, "position 9");
    set_lesson(&l, 160);
    refuse_batch(t, &l.batch, 0, "scale");
    /* A gradient beyond numbers: the step does not happen. */
    float weights[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++)
        weights[i] = 3e38f;
    b = l.batch;
    const r2_step_options adamw = { .lr = 1 };
    must(r2_trainer_evaluate(t, &l.batch, &loss, &err), &err);
    const double before = loss.loss;
    b.weights = weights;
    must(r2_trainer_add(t, &b, &plain, &loss, &err), &err);
    assert_int_equal(r2_trainer_step(t, &adamw, &result, &err), R2_E_RANGE);
    must(r2_trainer_evaluate(t, &l.batch, &loss, &err), &err);
    assert_true(loss.loss == before);
    r2_trainer_close(t);
    snprintf(gguf, sizeof gguf, "%s/model.gguf", from);
    must(r2_trainer_open(&t, gguf, &options, &err), &err);
    must(r2_trainer_save(t, inside(state, "x", out), true, true, &err), &err);
    r2_trainer_close(t);
}

static void test_continuations_refused(void **state) {
    char from[PATH_BYTES];
    r2_error err;
    r2_trainer *t;
    lesson l;
    const int32_t lengths[] = { 30, 11, 10, 9 };
    const int32_t itself[] = { -1, 1, -1, -1 }, later[] = { -1, 2, -1, -1 },
                  twice[] = { -1, -1, 1, 2 }, below[] = { -1, -2, -1, -1 },
                  too_long[] = { -1, 0, -1, -1 }, good[] = { -1, -1, 0, 0 };
    r2_trainer_options options = {
        .n_threads = 1, .batch_tokens = N_TOKENS, .document_tokens = 40, .batch_documents = 4
    };
    (void)state;
    golden("llama", from);
    set_lesson(&l, 160);
    r2_training_batch b = l.batch;
    b.lengths = lengths;
    b.n_documents = 4;
    b.parents = good;
    must(r2_trainer_open(&t, from, &options, &err), &err);
    refuse_batch(t, &b, 1, "opened for continuations");
    r2_trainer_close(t);
    options.takes_continuations = true;
    must(r2_trainer_open(&t, from, &options, &err), &err);
    b.parents = itself;
    refuse_batch(t, &b, 1, "document 1: expected to continue an earlier one");
    b.parents = later;
    refuse_batch(t, &b, 1, "document 1: expected to continue an earlier one");
    b.parents = twice;
    refuse_batch(t, &b, 1, "document 3: expected to continue an earlier one");
    b.parents = below;
    refuse_batch(t, &b, 1, "document 1: expected to continue an earlier one");
    b.parents = too_long;
    refuse_batch(t, &b, 1, "40 tokens with the one it continues, found 30 and 11");
    b.parents = good;
    r2_training_loss loss;
    must(r2_trainer_evaluate(t, &b, &loss, &err), &err);
    r2_trainer_close(t);
}

/* However small a batch is, a question and an answer go into it. */
static void test_small_continuations(void **state) {
    char from[PATH_BYTES];
    r2_error err;
    r2_trainer *t;
    lesson l;
    r2_training_loss loss;
    const int32_t lengths[] = { 10, 6 }, parents[] = { -1, 0 };
    const r2_trainer_options options = { .n_threads = 1,
                                         .batch_tokens = 16,
                                         .takes_continuations = true };
    (void)state;
    golden("llama", from);
    set_lesson(&l, 16);
    r2_training_batch b = l.batch;
    b.lengths = lengths;
    b.parents = parents;
    b.n_tokens = 16;
    b.n_documents = 2;
    must(r2_trainer_open(&t, from, &options, &err), &err);
    must(r2_trainer_evaluate(t, &b, &loss, &err), &err);
    r2_trainer_close(t);
}

/* ---- experts ---- */

/* With balancing the largest load falls. */
static void test_balancing(void **state) {
    char from[PATH_BYTES], start[PATH_BYTES];
    const r2_trainer_options options = { .n_threads = 2, .batch_tokens = N_TOKENS };
    double load[2];
    golden("deepseek_v3", from);
    inside(state, "start", start);
    for (int way = 0; way < 2; way++) {
        const r2_step_options adamw = { .lr = 1e-3, .balance_rate = way == 0 ? 0 : 0.01 };
        const r2_loss_weights weights = { 1.0f / 57, 0, 0.01f };
        r2_error err;
        r2_trainer *t;
        lesson l;
        set_lesson(&l, 120);
        must(r2_trainer_open(&t, from, &options, &err), &err);
        load[way] = 0;
        for (int i = 0; i < 60; i++) {
            r2_training_loss loss;
            r2_step_result result;
            must(r2_trainer_add(t, &l.batch, &weights, &loss, &err), &err);
            /* Perfect balance would make it 1 per token and layer. */
            assert_true(loss.balance_loss > 1.9 * N_TOKENS && loss.balance_loss < 8 * N_TOKENS);
            must(r2_trainer_step(t, &adamw, &result, &err), &err);
            if (i >= 50) load[way] += result.expert_load / 10;
        }
        r2_trainer_close(t);
    }
    printf("largest load %.2f, balanced %.2f\n", load[0], load[1]);
    assert_true(load[1] < 0.8 * load[0] && load[1] >= 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_balancing, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_init, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_learning, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_threads, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(test_refusals, make_folder, remove_folder),
        cmocka_unit_test(test_continuations_refused),
        cmocka_unit_test(test_small_continuations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
