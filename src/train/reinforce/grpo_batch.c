#include "train/reinforce/grpo_batch.h"

#include <math.h>
#include <string.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/failure.h"
#include "base/random.h"
#include "engine/spoken_text.h"
#include "model/model.h"
#include "r2lm/text.h"
#include "train/reinforce/grpo_reward.h"
#include "train/reinforce/rollout.h"
#include "train/runs/trainer_model.h"

enum { LANGUAGE_STREAM = 80, ANSWER_STREAM = 81, BLOCK_BYTES = 1 << 20, BATCH_ROWS = 512 };
#define MAX_TEXT_BYTES ((size_t)16 << 20)

struct r2i_grpo_maker {
    r2_trainer *trainer;
    r2_model *model;
    const r2_grpo_options *o;
    r2i_arena arena, step_arena; /* of the maker; of the batch */
    r2_task_maker *tasks;
    r2i_grpo_judges judges;
    r2i_rollout *rollout;
    r2_detokenizer *detokenizer;
    r2i_buffer text;
    r2_prompt **prompts; /* [cap_questions] of those that are being answered */
    int32_t cap_questions;
    int32_t next_question, next_sample; /* of the rollout */
    r2i_grpo_batch *batch;              /* at work */
};

/* ---- opening ---- */

static r2_status open_rollout(r2i_grpo_maker *m, r2_error *err) {
    const r2_grpo_options *o = m->o;
    const r2i_trainer_limits caps = r2i_trainer_get_limits(m->trainer);
    const int32_t n_parallel = r2i_min_i32(o->n_parallel, m->cap_questions * o->n_samples);
    r2_model_info info;
    r2_model_get_info(m->model, &info);
    const int64_t pages = (int64_t)n_parallel * (o->run.run_tokens / R2I_PAGE_TOKENS + 2);
    const r2_engine_options engine = { .n_threads = r2i_pool_threads(caps.pool),
                                       .n_context = o->run.run_tokens,
                                       .n_sequences = n_parallel,
                                       .n_batch_tokens = r2i_max_i32(BATCH_ROWS, n_parallel),
                                       .cache_bytes =
                                           pages * R2I_PAGE_TOKENS * info.cache_bytes_per_token };
    return r2i_rollout_open_live(&m->rollout, m->trainer, &engine, err);
}

static r2_status open_parts(r2i_grpo_maker *m, r2_error *err) {
    const r2_grpo_options *o = m->o;
    const int32_t n_ranks = r2_ranks_count(o->run.trainer.ranks);
    m->cap_questions = r2i_div_up_i32(o->n_questions, n_ranks) * (1 + o->n_rounds);
    m->prompts = R2I_ARENA_ARRAY(&m->arena, r2_prompt *, (size_t)m->cap_questions);
    if (m->prompts == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for questions");
    if (m->model->tokenizer == NULL || m->model->chat_template == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "%.80s: expected a chat template, found none",
                        m->model->name);
    R2I_TRY(r2_task_maker_create(&m->tasks, &m->model->host, err));
    R2I_TRY(r2i_grpo_judges_open(&m->judges, o, r2i_trainer_get_limits(m->trainer).pool,
                                 &m->model->host, &m->arena, err));
    R2I_TRY(r2_detokenizer_create(&m->detokenizer, m->model, false, err));
    return open_rollout(m, err);
}

r2_status r2i_grpo_maker_open(r2i_grpo_maker **out, r2_trainer *trainer,
                              const r2_grpo_options *options, r2_error *err) {
    r2_model *model = r2i_trainer_model(trainer);
    *out = NULL;
    r2i_grpo_maker *m = r2i_heap_take(&model->heap, sizeof *m);
    if (m == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for questions");
    *m = (r2i_grpo_maker){ .trainer = trainer, .model = model, .o = options };
    r2i_arena_init(&m->arena, &model->heap, BLOCK_BYTES, 0);
    r2i_arena_init(&m->step_arena, &model->heap, BLOCK_BYTES, 0);
    r2i_buffer_init(&m->text, &model->heap, MAX_TEXT_BYTES);
    const r2_status status = open_parts(m, err);
    if (status != R2_OK)
        r2i_grpo_maker_close(m);
    else
        *out = m;
    return status;
}

static void forget_prompts(r2i_grpo_maker *m) {
    for (int32_t i = 0; m->prompts != NULL && i < m->cap_questions; i++) {
        r2_prompt_destroy(m->prompts[i]);
        m->prompts[i] = NULL;
    }
}

void r2i_grpo_maker_close(r2i_grpo_maker *m) {
    if (m == NULL) return;
    r2i_heap *heap = &m->model->heap;
    forget_prompts(m);
    r2i_rollout_close(m->rollout);
    if (m->detokenizer != NULL) r2_detokenizer_destroy(m->detokenizer);
    r2i_grpo_judges_close(&m->judges);
    r2_task_maker_destroy(m->tasks);
    r2i_buffer_destroy(&m->text);
    r2i_arena_destroy(&m->step_arena);
    r2i_arena_destroy(&m->arena);
    r2i_heap_give(heap, m, sizeof *m);
}

/* ---- questions ---- */

int32_t r2i_grpo_tasks(const r2i_grpo_maker *m) {
    return m->o->n_tasks + (m->judges.n > 0);
}

const char *r2i_grpo_task(const r2i_grpo_maker *m, int32_t i, int32_t *n_levels) {
    if (i == m->o->n_tasks) {
        *n_levels = r2_verifier_levels(m->judges.verifiers[0]);
        return r2_verifier_name(m->judges.verifiers[0]);
    }
    *n_levels = r2_task_levels(r2_task_find(m->o->tasks[i]));
    return m->o->tasks[i];
}

static const char *keep(r2i_grpo_maker *m, const char *text) {
    return r2i_arena_copy_text(&m->step_arena, text, strlen(text));
}

static r2_status render(r2i_grpo_maker *m, const r2i_grpo_question *q, r2_prompt **out,
                        r2_error *err) {
    const r2_grpo_options *o = m->o;
    const r2_chat_message message = { .role = "user", .content = q->text };
    const r2_chat_options how = { .think = o->think };
    R2I_TRY(r2_chat_render(out, m->model, &message, 1, &how, err));
    if ((*out)->n_tokens + o->new_tokens <= o->run.run_tokens) return R2_OK;
    return r2i_fail(
        err, R2_E_ARGUMENT,
        "task %s, level %d: a question of %d tokens and an answer of %d do not fit into %d "
        "(--run-tokens)",
        q->task, q->level, (*out)->n_tokens, o->new_tokens, o->run.run_tokens);
}

/* One of those that the task is taught in; a verifier knows none. */
static const char *draw_language(const r2_grpo_options *o, const r2i_grpo_question *q,
                                 uint64_t which) {
    const char *taught[R2_MAX_RUN_LANGUAGES] = { o->languages[0] };
    uint64_t n = 0;
    for (int32_t i = 0; i < o->n_languages; i++) {
        if (q->is_verified ||
            r2_task_has_language(r2_task_find(q->task), o->languages[i], R2_SPLIT_TRAIN))
            taught[n++] = o->languages[i];
    }
    return taught[n > 0 ? which % n : 0]; /* none: the task says so */
}

/* Question `slot` of a round; tasks take turns, whatever the numbers of ranks and rounds. */
static r2_status draw_question(r2i_grpo_maker *m, int64_t step, int32_t round, int32_t slot,
                               const r2_curriculum *lessons, r2_error *err) {
    const r2_grpo_options *o = m->o;
    r2i_grpo_batch *b = m->batch;
    const int32_t i = b->n_questions;
    const int64_t turn = (step - 1) * o->n_questions + slot;
    r2i_grpo_question *q = &b->questions[i];
    r2_task_item item;
    *q = (r2i_grpo_question){ .number = turn * (1 + o->n_rounds) + round,
                              .task_index = (int32_t)((turn + round) % r2i_grpo_tasks(m)),
                              .first = i * o->n_samples };
    const uint64_t which = r2i_random_u64(o->run.seed, LANGUAGE_STREAM, (uint64_t)q->number);
    int32_t n_levels;
    q->task = r2i_grpo_task(m, q->task_index, &n_levels);
    q->is_verified = q->task_index == o->n_tasks;
    q->language = draw_language(o, q, which);
    q->level = r2_curriculum_level(&lessons[q->task_index], o->run.seed, (uint64_t)q->number);
    const r2_task_choice choice = { .task = q->task,
                                    .level = q->level,
                                    .language = q->language,
                                    .split = R2_SPLIT_TRAIN,
                                    .seed = o->run.seed };
    R2I_TRY(q->is_verified ? r2_verifier_make(m->judges.verifiers[0], &item, q->level, o->run.seed,
                                              (uint64_t)q->number, err)
                           : r2_task_make(m->tasks, &item, &choice, (uint64_t)q->number, err));
    q->text = keep(m, item.prompt);
    q->expected = keep(m, item.expected);
    if (q->text == NULL || q->expected == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for questions");
    R2I_TRY(render(m, q, &m->prompts[i], err));
    b->n_questions++;
    return R2_OK;
}

/* ---- answers ---- */

static r2_status next_job(void *user, r2i_rollout_job *job, bool *has, r2_error *err) {
    r2i_grpo_maker *m = user;
    const r2i_grpo_batch *b = m->batch;
    (void)err;
    *has = m->next_question < b->n_questions;
    if (!*has) return R2_OK;
    const r2i_grpo_question *q = &b->questions[m->next_question];
    const r2_prompt *prompt = m->prompts[m->next_question];
    *job = (r2i_rollout_job){ .prompt = prompt->tokens,
                              .n_prompt = prompt->n_tokens,
                              .seed = r2i_random_u64(m->o->run.seed + (uint64_t)q->number,
                                                     ANSWER_STREAM, (uint64_t)m->next_sample),
                              .id = q->first + m->next_sample,
                              .n_alike = m->o->n_samples - 1 - m->next_sample };
    if (++m->next_sample == m->o->n_samples) {
        m->next_sample = 0;
        m->next_question++;
    }
    return R2_OK;
}

/* Thoughts between their marks, ends left out: as evaluations read it. */
static r2_status decode(r2i_grpo_maker *m, const r2i_rollout_answer *a, r2_error *err) {
    r2i_spoken_text spoken = { .model = m->model, .detokenizer = m->detokenizer };
    r2i_buffer_clear(&m->text);
    for (int32_t i = a->job.n_prompt; i < a->n_tokens; i++) {
        const r2_token token = a->tokens[i];
        bool has_text;
        R2I_TRY(r2i_spoken_text_mark(&spoken, &m->text, token, a->is_thinking[i - a->job.n_prompt],
                                     &has_text, err));
        if (!has_text) continue;
        R2I_TRY(r2i_buffer_append_text(&m->text, r2_detokenizer_feed(m->detokenizer, token), err));
    }
    return r2i_buffer_append_text(&m->text, r2_detokenizer_finish(m->detokenizer), err);
}

static void *copy(r2i_grpo_maker *m, const void *from, size_t n_bytes) {
    void *out = r2i_arena_push(&m->step_arena, n_bytes + 1, 16);
    if (out != NULL) memcpy(out, from, n_bytes);
    return out;
}

static r2_status keep_answer(void *user, const r2i_rollout_answer *a, r2_error *err) {
    r2i_grpo_maker *m = user;
    r2i_grpo_batch *b = m->batch;
    r2i_grpo_answer *out = &b->answers[a->job.id];
    if (a->status.finish == R2_FINISH_ERROR)
        return r2i_fail(err, R2_E_RANGE, "the model's own answer: numbers that are none");
    if (a->status.finish == R2_FINISH_MEMORY)
        return r2i_fail(err, R2_E_FULL, "the model's own answer: no room in the cache");
    R2I_TRY(decode(m, a, err));
    const size_t n_new = (size_t)(a->n_tokens - a->job.n_prompt);
    *out = (r2i_grpo_answer){ .question = (int32_t)(a->job.id / m->o->n_samples),
                              .tokens = copy(m, a->tokens, (size_t)a->n_tokens * sizeof *a->tokens),
                              .n_tokens = a->n_tokens,
                              .n_prompt = a->job.n_prompt,
                              .logprobs = copy(m, a->logprobs, n_new * sizeof *a->logprobs),
                              .n_forced = r2i_rollout_find_forced(a, m->model->think_close),
                              .has_end = a->status.finish == R2_FINISH_END,
                              .text = copy(m, m->text.bytes != NULL ? m->text.bytes : "",
                                           m->text.n_bytes),
                              .n_bytes = m->text.n_bytes };
    if (out->tokens == NULL || out->logprobs == NULL || out->text == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for answers");
    b->n_answers++;
    b->n_new_tokens += (int64_t)n_new;
    return R2_OK;
}

/* Answers to the questions from `first` on. */
static r2_status answer(r2i_grpo_maker *m, int32_t first, r2_error *err) {
    const r2_grpo_options *o = m->o;
    const int64_t start = r2i_clock_ns();
    const r2i_rollout_work work = { .how = { .sampling = { .temperature = o->temperature },
                                             .max_new_tokens = o->new_tokens,
                                             .think = o->think,
                                             .think_budget = o->think_budget },
                                    .next = next_job,
                                    .answered = keep_answer,
                                    .user = m };
    m->next_question = first;
    m->next_sample = 0;
    if (first == m->batch->n_questions) return R2_OK;
    const r2_status status = r2i_rollout_run(m->rollout, &work, err);
    m->batch->rollout_seconds += (double)(r2i_clock_ns() - start) * 1e-9;
    return status;
}

static int32_t count_mixed(const r2i_grpo_batch *b) {
    int32_t n = 0;
    for (int32_t i = 0; i < b->n_questions; i++)
        n += b->questions[i].is_mixed;
    return n;
}

/* As many questions as there are places without a mixed one. */
static r2_status run_round(r2i_grpo_maker *m, int64_t step, int32_t round,
                           const r2_curriculum *lessons, r2_error *err) {
    const r2_grpo_options *o = m->o;
    const r2_ranks *ranks = o->run.trainer.ranks;
    r2i_grpo_batch *b = m->batch;
    const int32_t first = b->n_questions, n_mixed = count_mixed(b);
    int32_t n_places = 0;
    for (int32_t slot = r2_ranks_index(ranks); slot < o->n_questions;
         slot += r2_ranks_count(ranks)) {
        if (n_places++ >= n_mixed) R2I_TRY(draw_question(m, step, round, slot, lessons, err));
    }
    R2I_TRY(answer(m, first, err));
    forget_prompts(m);
    const int64_t start = r2i_clock_ns();
    R2I_TRY(r2i_grpo_judge(&m->judges, b, first, err));
    b->grade_seconds += (double)(r2i_clock_ns() - start) * 1e-9;
    return R2_OK;
}

r2_status r2i_grpo_make(r2i_grpo_maker *m, int64_t step, const r2_curriculum *lessons,
                        r2i_grpo_batch *batch, r2_error *err) {
    const size_t cap = (size_t)m->cap_questions;
    r2i_arena_destroy(&m->step_arena);
    r2i_arena_init(&m->step_arena, &m->model->heap, BLOCK_BYTES, 0);
    *batch = (r2i_grpo_batch){ .questions = R2I_ARENA_ARRAY(&m->step_arena, r2i_grpo_question, cap),
                               .answers = R2I_ARENA_ARRAY(&m->step_arena, r2i_grpo_answer,
                                                          cap * (size_t)m->o->n_samples) };
    if (batch->questions == NULL || batch->answers == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for questions");
    m->batch = batch;
    forget_prompts(m);
    for (int32_t round = 0; round <= m->o->n_rounds; round++)
        R2I_TRY(run_round(m, step, round, lessons, err));
    return R2_OK;
}
