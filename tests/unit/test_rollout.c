/* test_rollout.c - answers written with a trainer's weights as they are.
 *
 *   log-probabilities to the bit those of the training forward pass, before and after steps: dense, experts,
 *   latent attention, low-rank pairs over a frozen base, BF16 and F32
 *   the same answers for any number of slots and threads, another seed another answer
 *   what ends a rollout early leaves nothing behind */
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

#include "base/checked.h"
#include "base/failure.h"
#include "train/reinforce/rollout.h"

enum { PATH_BYTES = 1024, N_CONTEXT = 40, MAX_PROMPT = 9, N_JOBS = 6, N_NEW = 14 };

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

static const char *golden(const char *name, char path[PATH_BYTES]) {
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, PATH_BYTES, "%.900s/%s",
             folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    return path;
}

typedef struct {
    r2_token prompts[N_JOBS][MAX_PROMPT];
    int32_t n_prompt[N_JOBS], next;
    uint64_t seed;
    int32_t n_group; /* so many jobs, one behind the other, have the same prompt */
    bool says_alike; /* and that is said */
    r2_token tokens[N_JOBS][N_CONTEXT];
    float logprobs[N_JOBS][N_CONTEXT];
    int32_t n_tokens[N_JOBS], n_answers, fails_at;
} answers;

static r2_status next_job(void *user, r2i_rollout_job *job, bool *has, r2_error *err) {
    answers *a = user;
    (void)err;
    *has = a->next < N_JOBS;
    if (!*has) return R2_OK;
    const int32_t i = a->next++;
    const int32_t group = a->n_group > 0 ? i / a->n_group : i;
    a->n_prompt[i] = 1 + group * 4 % MAX_PROMPT;
    for (int32_t t = 0; t < a->n_prompt[i]; t++)
        a->prompts[i][t] = (t * 31 + group * 7) % 100;
    *job = (r2i_rollout_job){
        .prompt = a->prompts[i], .n_prompt = a->n_prompt[i], .seed = a->seed + (uint64_t)i, .id = i
    };
    if (a->says_alike) job->n_alike = r2i_min_i32(N_JOBS, (group + 1) * a->n_group) - i - 1;
    return R2_OK;
}

static r2_status answered(void *user, const r2i_rollout_answer *answer, r2_error *err) {
    answers *a = user;
    const int64_t i = answer->job.id;
    const int32_t n_new = answer->n_tokens - answer->job.n_prompt;
    if (++a->n_answers == a->fails_at) return r2i_fail(err, R2_E_CANCELED, "enough");
    assert_int_equal(answer->status.finish, n_new == 3 ? R2_FINISH_END : R2_FINISH_LENGTH);
    memcpy(a->tokens[i], answer->tokens, (size_t)answer->n_tokens * sizeof(r2_token));
    memcpy(a->logprobs[i], answer->logprobs, (size_t)n_new * sizeof(float));
    a->n_tokens[i] = answer->n_tokens;
    return R2_OK;
}

static r2i_rollout_work work_of(answers *a) {
    return (
        r2i_rollout_work){ .how = { .sampling = { .temperature = 1.2f }, .max_new_tokens = N_NEW },
                           .next = next_job,
                           .answered = answered,
                           .user = a };
}

static void write_answers_of(r2i_rollout *r, answers *a, uint64_t seed, int32_t n_group,
                             bool says_alike) {
    r2_error err;
    memset(a, 0, sizeof *a);
    a->seed = seed;
    a->n_group = n_group;
    a->says_alike = says_alike;
    const r2i_rollout_work work = work_of(a);
    must(r2i_rollout_run(r, &work, &err), &err);
    assert_int_equal(a->n_answers, N_JOBS);
}

static void write_answers(r2i_rollout *r, answers *a, uint64_t seed) {
    write_answers_of(r, a, seed, 0, false);
}

/* log p of token i + 1 by the trainer's forward pass. */
static float logprob_of(r2_trainer *t, const answers *a, int32_t job, int32_t i) {
    r2_error err;
    r2_training_loss loss;
    r2_token targets[N_CONTEXT];
    for (int32_t j = 0; j < a->n_tokens[job]; j++)
        targets[j] = j == i ? a->tokens[job][j + 1] : -1;
    const r2_training_batch batch = { .tokens = a->tokens[job],
                                      .targets = targets,
                                      .n_tokens = a->n_tokens[job],
                                      .lengths = &a->n_tokens[job],
                                      .n_documents = 1 };
    must(r2_trainer_evaluate(t, &batch, &loss, &err), &err);
    return (float)-loss.loss;
}

static void check_bits(r2_trainer *t, const answers *a) {
    for (int32_t job = 0; job < N_JOBS; job++) {
        assert_int_equal(a->n_tokens[job], a->n_prompt[job] + N_NEW);
        for (int32_t i = a->n_prompt[job] - 1; i + 1 < a->n_tokens[job]; i++) {
            const float expected = a->logprobs[job][i + 1 - a->n_prompt[job]],
                        found = logprob_of(t, a, job, i);
            if (memcmp(&found, &expected, sizeof found) != 0)
                fail_msg("answer %d, token %d: %.9g in the rollout, %.9g in training", job, i + 1,
                         (double)expected, (double)found);
        }
    }
}

static void take_steps(r2_trainer *t, const answers *a) {
    static const r2_step_options how = { .lr = 3e-2 };
    r2_error err;
    r2_training_loss loss;
    r2_step_result result;
    const r2_loss_weights weights = { .scale = 0.1f };
    for (int32_t i = 0; i < 2; i++) {
        const r2_training_batch batch = { .tokens = a->tokens[i],
                                          .targets = a->tokens[i + 1],
                                          .n_tokens = 12,
                                          .lengths = (const int32_t[]){ 12 },
                                          .n_documents = 1 };
        must(r2_trainer_add(t, &batch, &weights, &loss, &err), &err);
        must(r2_trainer_step(t, &how, &result, &err), &err);
    }
}

static void check_model(const char *name, const r2_trainer_options *options) {
    char path[PATH_BYTES];
    r2_error err;
    r2_trainer *t;
    r2i_rollout *few, *many;
    static answers first, again, later;
    const r2_engine_options three = { .n_threads = 1, .n_sequences = 3, .n_context = N_CONTEXT },
                            eight = { .n_threads = 2, .n_sequences = 8, .n_context = N_CONTEXT };
    must(r2_trainer_open(&t, golden(name, path), options, &err), &err);
    must(r2i_rollout_open_live(&few, t, &three, &err), &err);
    must(r2i_rollout_open_live(&many, t, &eight, &err), &err);
    write_answers(few, &first, 11);
    check_bits(t, &first);
    write_answers(many, &again, 11);
    assert_memory_equal(first.tokens, again.tokens, sizeof first.tokens);
    assert_memory_equal(first.logprobs, again.logprobs, sizeof first.logprobs);
    write_answers(many, &again, 12);
    assert_memory_not_equal(first.tokens, again.tokens, sizeof first.tokens);
    /* A prompt that is read once for several answers. */
    write_answers_of(many, &again, 11, 3, false);
    write_answers_of(few, &later, 11, 3, true);
    assert_memory_equal(again.tokens, later.tokens, sizeof again.tokens);
    assert_memory_equal(again.logprobs, later.logprobs, sizeof again.logprobs);
    check_bits(t, &later);
    take_steps(t, &first);
    write_answers(few, &later, 11);
    assert_memory_not_equal(first.logprobs, later.logprobs, sizeof first.logprobs);
    check_bits(t, &later);
    r2i_rollout_close(few);
    r2i_rollout_close(many);
    r2_trainer_close(t);
}

static void test_bits(void **state) {
    static const r2_trainer_options fast = { .n_threads = 2, .batch_tokens = 64 },
                                    f32 = { .n_threads = 2,
                                            .batch_tokens = 64,
                                            .arithmetic = R2_ARITHMETIC_F32 },
                                    lora = { .n_threads = 2,
                                             .batch_tokens = 64,
                                             .lora = { .rank = 4 } };
    (void)state;
    check_model("llama", &fast);
    check_model("llama", &f32);
    check_model("llama", &lora);
    check_model("qwen3_moe", &fast);
    check_model("deepseek_v3", &fast);
}

static void test_ends(void **state) {
    char path[PATH_BYTES];
    r2_error err;
    r2_trainer *t;
    r2i_rollout *r;
    static answers a;
    const r2_trainer_options options = { .n_threads = 1, .batch_tokens = 64 };
    const r2_engine_options engine = { .n_threads = 1, .n_sequences = 3, .n_context = N_CONTEXT },
                            small = { .n_threads = 1, .n_sequences = 3, .n_context = 4 };
    (void)state;
    must(r2_trainer_open(&t, golden("llama", path), &options, &err), &err);
    must(r2i_rollout_open_live(&r, t, &engine, &err), &err);
    memset(&a, 0, sizeof a);
    a.fails_at = 2;
    r2i_rollout_work work = work_of(&a);
    assert_int_equal(r2i_rollout_run(r, &work, &err), R2_E_CANCELED);
    write_answers(r, &a, 11); /* goes on as if nothing had been */
    check_bits(t, &a);
    r2i_rollout_close(r);
    must(r2i_rollout_open_live(&r, t, &small, &err), &err);
    memset(&a, 0, sizeof a);
    assert_int_equal(r2i_rollout_run(r, &work, &err), R2_E_FULL);
    r2i_rollout_close(r);
    r2_trainer_close(t);
}

/* A budget's </think> is the one that ended thoughts: not those that the model wrote before and behind it. */
static void test_forced(void **state) {
    enum { N = 8, N_PROMPT = 2, CLOSE = 7 };
    static const r2_token tokens[N] = { 1, CLOSE, 2, CLOSE, 5, CLOSE, 3, CLOSE };
    static const bool is_thinking[N - N_PROMPT] = { true, true, true, true, false, false };
    (void)state;
    r2i_rollout_answer a = {
        .job = { .n_prompt = N_PROMPT }, .tokens = tokens, .n_tokens = N, .is_thinking = is_thinking
    };
    assert_int_equal(r2i_rollout_find_forced(&a, CLOSE), -1);
    a.status.is_think_cut = true;
    assert_int_equal(r2i_rollout_find_forced(&a, CLOSE), 5);
    assert_int_equal(r2i_rollout_find_forced(&a, 9), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_bits), cmocka_unit_test(test_ends),
                                        cmocka_unit_test(test_forced) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
