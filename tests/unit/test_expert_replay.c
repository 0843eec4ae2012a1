/* test_expert_replay.c - answers that are learnt in several steps go to the experts that they were drawn with.
 *
 *   in the second part of a batch, behind an optimizer step, and whatever batches it is cut into; without, elsewhere
 *   answers that are not the model's own are told before the first step, of all parts
 *   the record by itself: parts in any order, no more rows than were kept or have room
 *   choices of experts that cannot be are refused */
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
#include "train/backward/backward_state.h"
#include "train/reinforce/expert_replay.h"
#include "train/reinforce/grpo_update.h"
#include "train/reinforce/rollout.h"
#include "train/runs/trainer_parts.h"

enum {
    PATH_BYTES = 1024,
    N_QUESTIONS = 4,
    N_SAMPLES = 3,
    N_ANSWERS = N_QUESTIONS * N_SAMPLES,
    N_PROMPT = 7,
    N_NEW = 12,
    N_CONTEXT = N_PROMPT + N_NEW,
    BATCH_TOKENS = 48, /* a question and its answers */
    CAP_ROUTES = N_CONTEXT * 64
};

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

static const char *golden(const char *name, char path[PATH_BYTES]) {
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, PATH_BYTES, "%.900s/%s",
             folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    return path;
}

/* ---- a batch of answers ---- */

typedef struct {
    r2_trainer *trainer;
    r2_grpo_options o;
    r2i_grpo_update *update;
    r2i_grpo_batch batch;
    r2i_grpo_question questions[N_QUESTIONS];
    r2i_grpo_answer answers[N_ANSWERS];
    r2_token prompts[N_QUESTIONS][N_PROMPT], tokens[N_ANSWERS][N_CONTEXT];
    float logprobs[N_ANSWERS][N_NEW];
    uint16_t then[N_ANSWERS][CAP_ROUTES]; /* [n_tokens, n_layers, n_active] when they were drawn */
    int32_t next;
} lesson;

static r2_status next_job(void *user, r2i_rollout_job *job, bool *has, r2_error *err) {
    lesson *l = user;
    const int32_t i = l->next++;
    (void)err;
    *has = i < N_ANSWERS;
    if (*has)
        *job = (r2i_rollout_job){
            .prompt = l->prompts[i / N_SAMPLES], .n_prompt = N_PROMPT, .seed = (uint64_t)i, .id = i
        };
    return R2_OK;
}

static r2_status answered(void *user, const r2i_rollout_answer *a, r2_error *err) {
    lesson *l = user;
    const int64_t i = a->job.id;
    (void)err;
    memcpy(l->tokens[i], a->tokens, (size_t)a->n_tokens * sizeof *a->tokens);
    memcpy(l->logprobs[i], a->logprobs, (size_t)(a->n_tokens - N_PROMPT) * sizeof *a->logprobs);
    l->answers[i] = (r2i_grpo_answer){ .question = (int32_t)(i / N_SAMPLES),
                                       .tokens = l->tokens[i],
                                       .n_tokens = a->n_tokens,
                                       .n_prompt = N_PROMPT,
                                       .logprobs = l->logprobs[i],
                                       .n_forced = -1,
                                       .advantage = (double)(i % N_SAMPLES) - 1 };
    return R2_OK;
}

static void write_answers(lesson *l) {
    r2_error err;
    r2i_rollout *rollout;
    const r2_engine_options engine = { .n_threads = 2, .n_sequences = 5, .n_context = N_CONTEXT };
    const r2i_rollout_work work = { .how = { .sampling = { .temperature = 1 },
                                             .max_new_tokens = N_NEW },
                                    .next = next_job,
                                    .answered = answered,
                                    .user = l };
    for (int32_t q = 0; q < N_QUESTIONS; q++) {
        l->questions[q] = (r2i_grpo_question){ .first = q * N_SAMPLES, .is_mixed = q != 1 };
        for (int32_t i = 0; i < N_PROMPT; i++)
            l->prompts[q][i] = (q * 37 + i * 11) % 100;
    }
    must(r2i_rollout_open_live(&rollout, l->trainer, &engine, &err), &err);
    must(r2i_rollout_run(rollout, &work, &err), &err);
    r2i_rollout_close(rollout);
    l->batch = (r2i_grpo_batch){ .questions = l->questions,
                                 .answers = l->answers,
                                 .n_questions = N_QUESTIONS,
                                 .n_answers = N_ANSWERS };
}

/* Each answer by itself, with its question. */
static void note_experts(lesson *l) {
    r2_error err;
    r2_training_loss loss;
    r2_trainer_info info;
    r2_token targets[N_CONTEXT];
    r2_trainer_get_info(l->trainer, &info);
    assert_true(info.n_routes > 0 && info.n_routes * N_CONTEXT <= CAP_ROUTES);
    for (int32_t i = 0; i < N_CONTEXT; i++)
        targets[i] = i + 1 < N_CONTEXT ? 1 : -1;
    for (int32_t i = 0; i < N_ANSWERS; i++) {
        const r2i_grpo_answer *a = &l->answers[i];
        const r2_expert_routes routes = { .experts = l->then[i] };
        const r2_training_batch batch = { .tokens = a->tokens,
                                          .targets = targets,
                                          .n_tokens = a->n_tokens,
                                          .lengths = &a->n_tokens,
                                          .n_documents = 1,
                                          .routes = &routes };
        must(r2_trainer_evaluate(l->trainer, &batch, &loss, &err), &err);
    }
}

static void start(lesson *l, const char *model, bool has_free_routes, int32_t lora_rank) {
    char path[PATH_BYTES];
    r2_error err;
    memset(l, 0, sizeof *l);
    l->o = (r2_grpo_options){ .run = { .trainer = { .n_threads = 2,
                                                    .batch_tokens = BATCH_TOKENS,
                                                    .document_tokens = N_CONTEXT,
                                                    .batch_documents = 8,
                                                    .takes_continuations = true,
                                                    .lora = { .rank = lora_rank } },
                                       .run_tokens = N_CONTEXT },
                              .n_questions = N_QUESTIONS,
                              .n_samples = N_SAMPLES,
                              .new_tokens = N_NEW,
                              .n_minibatches = 2,
                              .clip_low = 0.2f,
                              .clip_high = 0.28f,
                              .has_free_routes = has_free_routes };
    must(r2_trainer_open(&l->trainer, golden(model, path), &l->o.run.trainer, &err), &err);
    write_answers(l);
    note_experts(l);
    must(r2i_grpo_update_open(&l->update, l->trainer, &l->o, &err), &err);
}

static void end(lesson *l) {
    r2i_grpo_update_close(l->update);
    r2_trainer_close(l->trainer);
}

static void learn_part(lesson *l, int32_t index) {
    static const r2_step_options how = { .lr = 0.03 };
    r2_error err;
    r2_step_result result;
    r2i_grpo_sums sums = { 0 };
    r2i_grpo_part part = r2i_grpo_part_of(&l->batch, &l->o, index);
    part.is_first = index == 0;
    part.scale = 0.01;
    if (index == 0) must(r2i_grpo_keep_routes(l->update, &l->batch, 1, &err), &err);
    must(r2i_grpo_add(l->update, &l->batch, &part, &sums, &err), &err);
    assert_true(sums.n_tokens == (index == 0 ? 1 : 2) * N_SAMPLES * N_NEW);
    must(r2_trainer_step(l->trainer, &how, &result, &err), &err);
}

/* Choices of the last batch's rows, the last question and its answers, that are not those noted. */
static int32_t count_others(const lesson *l) {
    const r2i_config *c = &l->trainer->model->config;
    const r2i_backward *b = l->trainer->backward;
    const int32_t n_runs = b->batch.n_runs;
    int32_t n = 0, n_rows = 0;
    for (int32_t r = 0; r < n_runs; r++) { /* the question is the beginning of any answer */
        const int32_t answer = N_ANSWERS - n_runs + r2i_max_i32(r, 1);
        for (int32_t i = 0; i < b->runs[r].n_rows; i++, n_rows++) {
            const int32_t row = b->runs[r].first_row + i, at = b->runs[r].first_position + i;
            for (int32_t k = 0; k < c->n_layers * c->n_active; k++) {
                const int32_t layer = k / c->n_active;
                if (c->layers[layer].ffn != R2I_FFN_MOE) continue;
                n += b->saved[layer].moe.chosen[row * c->n_active + k % c->n_active] !=
                     l->then[answer][at * c->n_layers * c->n_active + k];
            }
        }
    }
    assert_int_equal(n_rows, N_PROMPT - 1 + N_SAMPLES * N_NEW);
    return n;
}

static void check_parts(const char *model, int32_t lora_rank) {
    static lesson l;
    for (int has_free_routes = 0; has_free_routes < 2; has_free_routes++) {
        start(&l, model, has_free_routes, lora_rank);
        assert_true(r2i_grpo_replays(l.trainer, &l.o) == !has_free_routes);
        learn_part(&l, 0);
        learn_part(&l, 1);
        const int32_t n = count_others(&l);
        printf("%-12s rank %d: %d choices differ%s\n", model, lora_rank, n,
               has_free_routes ? "" : " in what is replayed");
        assert_true(has_free_routes ? n > 0 : n == 0);
        end(&l);
    }
}

static void test_parts(void **state) {
    (void)state;
    check_parts("qwen3_moe", 0);
    check_parts("deepseek_v3", 0);
    check_parts("qwen3_moe", 4);
}

static void test_other_answers(void **state) {
    static lesson l;
    r2_error err;
    (void)state;
    start(&l, "qwen3_moe", false, 0);
    l.logprobs[N_ANSWERS - 1][N_NEW - 1] += 0.001f;
    assert_int_equal(r2i_grpo_keep_routes(l.update, &l.batch, 1, &err), R2_E_STATE);
    assert_non_null(strstr(err.text, "answer 11"));
    end(&l);
}

static void test_who_replays(void **state) {
    static lesson l;
    (void)state;
    start(&l, "qwen3_moe", false, 0);
    l.o.n_minibatches = 1;
    assert_false(r2i_grpo_replays(l.trainer, &l.o));
    end(&l);
}

/* ---- the record ---- */

static void test_record(void **state) {
    r2i_heap heap;
    r2i_expert_replay r;
    const r2_expert_routes *routes;
    r2_error err;
    (void)state;
    r2i_heap_init(&heap);
    must(r2i_expert_replay_open(&r, &heap, 3, 10, 4, &err), &err);
    static const int32_t sizes[3][2] = { { 2, 1 }, { 0, 0 }, { 3, 4 } };
    for (int again = 0; again < 2; again++) {
        r2i_expert_replay_clear(&r);
        for (int32_t part = 0; part < 3; part++) {
            r2i_expert_replay_begin(&r, part, false);
            for (int i = 0; i < 2 && sizes[part][i] > 0; i++) {
                must(r2i_expert_replay_next(&r, sizes[part][i], &routes, &err), &err);
                assert_false(routes->is_given);
                for (int32_t k = 0; k < 4 * sizes[part][i]; k++)
                    routes->experts[k] = (uint16_t)(100 * part + 10 * i + again);
            }
        }
        assert_int_equal(r2i_expert_replay_next(&r, 1, &routes, &err), R2_E_STATE);
        for (int32_t part = 2; part >= 0; part -= 2) {
            r2i_expert_replay_begin(&r, part, true);
            for (int i = 0; i < 2; i++) {
                must(r2i_expert_replay_next(&r, sizes[part][i], &routes, &err), &err);
                assert_true(routes->is_given);
                for (int32_t k = 0; k < 4 * sizes[part][i]; k++)
                    assert_int_equal(routes->experts[k], 100 * part + 10 * i + again);
            }
        }
    }
    r2i_expert_replay_begin(&r, 2, true);
    assert_int_equal(r2i_expert_replay_next(&r, 8, &routes, &err), R2_E_STATE);
    r2i_expert_replay_close(&r);
    assert_int_equal(heap.used_bytes, 0);
    assert_int_equal(r2i_expert_replay_open(&r, &heap, 1, SIZE_MAX / 4, 4, &err), R2_E_NOMEM);
    assert_int_equal(heap.used_bytes, 0);
}

/* ---- what cannot be ---- */

static void refuse(r2_trainer *t, r2_training_batch *batch, const char *says) {
    const r2_loss_weights weights = { .scale = 1 };
    r2_training_loss loss;
    r2_error err;
    assert_int_equal(r2_trainer_add(t, batch, &weights, &loss, &err), R2_E_ARGUMENT);
    if (strstr(err.text, says) == NULL) fail_msg("%s", err.text);
}

static void test_refusals(void **state) {
    static const r2_trainer_options options = { .n_threads = 1, .batch_tokens = 32 };
    static const r2_token tokens[] = { 1, 2, 3 };
    static const int32_t length = 3;
    uint16_t experts[3 * 9] = { 0 };
    r2_expert_routes routes = { .experts = experts };
    r2_training_batch batch = { .tokens = tokens,
                                .targets = tokens,
                                .n_tokens = 3,
                                .lengths = &length,
                                .n_documents = 1,
                                .routes = &routes };
    char path[PATH_BYTES];
    r2_error err;
    r2_training_loss loss;
    r2_trainer_info info;
    r2_trainer *t;
    (void)state;
    must(r2_trainer_open(&t, golden("llama", path), &options, &err), &err);
    r2_trainer_get_info(t, &info);
    assert_int_equal(info.n_routes, 0);
    refuse(t, &batch, "the model has none");
    r2_trainer_close(t);
    must(r2_trainer_open(&t, golden("qwen3_moe", path), &options, &err), &err); /* 3 layers of 3 */
    r2_trainer_get_info(t, &info);
    assert_int_equal(info.n_routes, 9);
    must(r2_trainer_evaluate(t, &batch, &loss, &err), &err);
    routes.is_given = true;
    must(r2_trainer_evaluate(t, &batch, &loss, &err), &err);
    const uint16_t was = experts[9 + 8]; /* position 1, layer 2 */
    experts[9 + 8] = 8;
    refuse(t, &batch, "position 1, layer 2: expected 3 different experts below 8");
    experts[9 + 8] = experts[9 + 7];
    refuse(t, &batch, "position 1, layer 2");
    experts[9 + 8] = was;
    experts[9 + 3] = 999; /* layer 1 has no experts */
    must(r2_trainer_evaluate(t, &batch, &loss, &err), &err);
    r2_trainer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),       cmocka_unit_test(test_other_answers),
        cmocka_unit_test(test_who_replays), cmocka_unit_test(test_record),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
