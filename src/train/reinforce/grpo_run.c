/* grpo_run.c - r2_grpo: a loop of steps in which the model's own answers are what it learns from.
 *
 *     questions -> answers -> judges -> for each part of the questions: gradients, optimizer step
 *
 * With ranks each asks questions of its own, and all take each optimizer step at once. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/failure.h"
#include "model/model.h"
#include "train/reinforce/grpo_update.h"
#include "train/runs/run_output.h"
#include "train/runs/run_plan.h"
#include "train/ranks/run_ranks.h"
#include "train/runs/run_saver.h"
#include "train/runs/run_schedule.h"
#include "train/runs/trainer_model.h"

enum {
    DEFAULT_QUESTIONS = 8,
    DEFAULT_SAMPLES = 8,
    DEFAULT_NEW_TOKENS = 256,
    DEFAULT_PARALLEL = 64,
    DEFAULT_PATIENCE = 10,
    MEASURE_KL_EVERY = 10,
    IDENTITY_BYTES = 512
};

/* Sums of a step over all ranks. */
enum {
    SUM_REWARD,
    SUM_RIGHT,
    SUM_LENGTH,
    SUM_CUT,
    SUM_FAILED,
    SUM_MIXED,
    SUM_NEGATIVE_LOGPROB,
    SUM_ANSWERS,
    SUM_QUESTIONS,
    SUM_LOSS,
    SUM_TOKENS,
    SUM_CLIPPED,
    SUM_ROWS,
    SUM_KL,
    SUM_KL_TOKENS,
    SUM_ALL_ROWS,
    N_SUMS
};

typedef struct {
    r2_grpo_options o; /* nothing left open */
    r2_trainer *trainer;
    r2i_heap *heap;
    r2i_arena arena;
    r2i_grpo_maker *maker;
    r2i_grpo_update *update;
    r2i_grpo_batch batch;
    r2_data_reader *chats;                       /* of sft_share; NULL: none */
    int32_t n_tasks;                             /* the verifier included */
    r2_curriculum lessons[R2_MAX_RUN_TASKS + 1]; /* of each task */
    r2_grpo_task_result tasks[R2_MAX_RUN_TASKS + 1];
    r2_grpo_sample *samples; /* of the report */
    r2_grpo_report report;
    r2i_run_saver saver;
    r2i_run_identity identity;
    r2_train_options shown;            /* what saver and identity know of the run */
    int32_t n_idle, n_cut, n_unjudged; /* steps in a row */
    double sums[N_SUMS];
    r2_error *err;
} grpo_run;

/* ---- options ---- */

static r2_status check_tasks(const r2_grpo_options *o, r2_error *err) {
    if (o->n_tasks < 0 || o->n_tasks + (o->verifier != NULL) < 1 || o->n_tasks > R2_MAX_RUN_TASKS ||
        o->n_languages < 0 || o->n_languages > R2_MAX_RUN_LANGUAGES)
        return r2i_fail(err, R2_E_ARGUMENT, "GRPO: expected 1 to %d tasks, or a verifier, found %d",
                        R2_MAX_RUN_TASKS, o->n_tasks);
    for (int32_t i = 0; i < o->n_tasks; i++) {
        int32_t k = 0;
        while (k < r2_task_count() && strcmp(r2_task_name(k), o->tasks[i]) != 0)
            k++;
        if (k == r2_task_count())
            return r2i_fail(err, R2_E_NOT_FOUND, "no task is called \"%.60s\"", o->tasks[i]);
        if (o->level > r2_task_levels(k))
            return r2i_fail(err, R2_E_ARGUMENT, "task %s: expected a level up to %d, found %d",
                            o->tasks[i], r2_task_levels(k), o->level);
        int32_t l = 0;
        while (l < o->n_languages && !r2_task_has_language(k, o->languages[l], R2_SPLIT_TRAIN))
            l++;
        if (o->n_languages > 0 && l == o->n_languages)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "task %s: it is never taught in %s (split ood-lang)", o->tasks[i],
                            r2_task_withheld_language(k));
    }
    return R2_OK;
}

static r2_status check_options(const r2_grpo_options *o, r2_error *err) {
    const r2_train_options *run = &o->run;
    R2I_TRY(check_tasks(o, err));
    if (run->n_steps < 1 || !(run->step.lr > 0 && isfinite(run->step.lr)) ||
        run->warmup_steps < 0 || run->warmup_steps >= run->n_steps)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "GRPO: expected steps, fewer of warm-up, and a learning rate above 0");
    if (o->n_samples < 2 || o->n_questions < 1 || o->new_tokens < 1 || o->level < 0 ||
        o->n_rounds < 0 || o->n_minibatches < 1 || o->n_minibatches > o->n_questions)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "GRPO: expected questions, two answers to each at least, and no more parts "
                        "(%d) than questions (%d)",
                        o->n_minibatches, o->n_questions);
    if (!(o->temperature > 0) || !(o->kl >= 0) || !(o->kl_limit >= 0) || !(o->overlong >= 0) ||
        !(o->overlong < 1) || !(o->language_weight >= 0) || !(o->sft_share >= 0))
        return r2i_fail(err, R2_E_ARGUMENT, "GRPO: expected weights from 0 on and a temperature");
    if (run->checkpoints == NULL && (run->is_resuming || run->checkpoint_every > 0))
        return r2i_fail(err, R2_E_ARGUMENT, "GRPO: expected a folder for checkpoints");
    if (run->distill != NULL || run->trainer.divides_experts)
        return r2i_fail(err, R2_E_UNSUPPORTED, "GRPO: no teacher, and experts are not divided");
    if ((o->sft_share > 0) != (run->n_data > 0))
        return r2i_fail(err, R2_E_ARGUMENT, "GRPO: expected data and their share, or neither");
    return R2_OK;
}

static void fill_options(r2_grpo_options *o) {
    if (o->n_languages == 0) o->languages[o->n_languages++] = "en";
    if (o->n_questions == 0) o->n_questions = DEFAULT_QUESTIONS;
    if (o->n_samples == 0) o->n_samples = DEFAULT_SAMPLES;
    if (o->new_tokens == 0) o->new_tokens = DEFAULT_NEW_TOKENS;
    if (o->n_parallel == 0) o->n_parallel = DEFAULT_PARALLEL;
    if (o->n_minibatches == 0) o->n_minibatches = 1;
    if (o->patience == 0) o->patience = DEFAULT_PATIENCE;
    if (o->temperature == 0) o->temperature = 1;
    if (o->clip_low == 0) o->clip_low = 0.2f;
    if (o->clip_high == 0) o->clip_high = 0.28f;
}

/* ---- opening ---- */

static json_t *names_of(const char *const *names, int32_t n) {
    char text[IDENTITY_BYTES] = "";
    for (int32_t i = 0; i < n; i++) {
        const size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? "," : "", names[i]);
    }
    return json_string(text);
}

/* What decides the numbers of a run besides what all runs have. */
static json_t *describe(const r2_grpo_options *o, bool is_replaying) {
    char text[IDENTITY_BYTES];
    (void)snprintf(text, sizeof text,
                   "%s%d x %d, %d tokens%s, T %g, think %d %d, %d rounds, %d parts",
                   is_replaying ? "kept experts, " : "", o->n_questions, o->n_samples,
                   o->new_tokens, o->reads_on ? " to their end" : "", (double)o->temperature,
                   (int)o->think, o->think_budget, o->n_rounds, o->n_minibatches);
    json_t *answers = json_string(text);
    (void)snprintf(
        text, sizeof text, "clip %g %g, norm %d, %s%s, kl %g, overlong %g, lang %g, sft %g",
        (double)o->clip_low, (double)o->clip_high, (int)o->norm,
        o->has_sequence_ratio ? "sequence" : "token", o->divides_by_deviation ? "/std" : "",
        (double)o->kl, (double)o->overlong, (double)o->language_weight, (double)o->sft_share);
    return json_pack("{s:s, s:o, s:o, s:i, s:o, s:s}", "verifier",
                     o->verifier != NULL ? o->verifier : "", "tasks",
                     names_of(o->tasks, o->n_tasks), "languages",
                     names_of(o->languages, o->n_languages), "level", o->level,
                     "questions and answers", answers, "loss and rewards", text);
}

static r2_status open_chats(grpo_run *r) {
    const r2_train_options *run = &r->o.run;
    const r2_data_reader_options options = { .data = run->data,
                                             .shares = run->shares,
                                             .n_data = run->n_data,
                                             .batch_tokens = run->trainer.batch_tokens,
                                             .run_tokens = run->run_tokens,
                                             /* each rank an order of its own */
                                             .seed = run->seed +
                                                     (uint64_t)r2_ranks_index(run->trainer.ranks),
                                             .model = r2i_trainer_model(r->trainer),
                                             .host = run->trainer.host };
    if (r->o.sft_share <= 0) return R2_OK;
    return r2_data_reader_open(&r->chats, &options, r->err);
}

static r2_status open_trainer(grpo_run *r) {
    r2_train_options *run = &r->o.run;
    run->trainer.takes_continuations = true;
    const r2_trainer_options options = r2i_run_trainer_options(run);
    run->run_tokens = options.document_tokens;
    run->trainer.batch_tokens = options.batch_tokens;
    R2I_TRY(r2_trainer_open(&r->trainer, run->model, &options, r->err));
    r->heap = &r2i_trainer_model(r->trainer)->heap;
    r2i_arena_init(&r->arena, r->heap, 1 << 16, 0);
    const size_t n_answers =
        (size_t)r->o.n_questions * (size_t)(1 + r->o.n_rounds) * (size_t)r->o.n_samples;
    r->samples = R2I_ARENA_ARRAY(&r->arena, r2_grpo_sample, n_answers);
    return r->samples != NULL ? R2_OK : r2i_fail(r->err, R2_E_NOMEM, "no memory for answers");
}

static json_t *lessons_to_json(const grpo_run *r) {
    json_t *out = json_array();
    for (int32_t i = 0; out != NULL && i < r->n_tasks; i++) {
        const r2_curriculum *c = &r->lessons[i];
        json_t *one = json_pack("[i, i, i]", c->place, c->n_right, c->n_samples);
        if (json_array_append_new(out, one) == 0) continue;
        json_decref(out);
        out = NULL;
    }
    return out;
}

/* What was kept comes back when the run goes on. */
static void read_kept(grpo_run *r) {
    const json_t *kept = r->identity.kept, *lessons = json_object_get(kept, "lessons");
    for (int32_t i = 0; i < r->n_tasks; i++) {
        r2_curriculum *c = &r->lessons[i];
        int place, n_right, n_samples;
        if (json_unpack(json_array_get(lessons, (size_t)i), "[iii]", &place, &n_right,
                        &n_samples) != 0 ||
            place < 4 || place > 4 * c->n_levels || n_right < 0 || n_samples < n_right)
            continue;
        *c = (r2_curriculum){ c->n_levels, place, n_right, n_samples };
    }
    r->n_idle = (int32_t)json_integer_value(json_object_get(kept, "idle"));
    r->n_cut = (int32_t)json_integer_value(json_object_get(kept, "cut"));
    r->n_unjudged = (int32_t)json_integer_value(json_object_get(kept, "unjudged"));
}

static r2_status write_kept(grpo_run *r) {
    json_t *kept = r->identity.kept;
    int problem = json_object_set_new(kept, "lessons", lessons_to_json(r));
    problem |= json_object_set_new(kept, "idle", json_integer(r->n_idle));
    problem |= json_object_set_new(kept, "cut", json_integer(r->n_cut));
    problem |= json_object_set_new(kept, "unjudged", json_integer(r->n_unjudged));
    return problem == 0 ? R2_OK : r2i_fail(r->err, R2_E_NOMEM, "no memory for a checkpoint");
}

static r2_status open_saver(grpo_run *r) {
    r->shown = r->o.run;
    r->shown.data = NULL;
    r->shown.shares = NULL;
    r->shown.n_data = 0;
    r->shown.step_batches = r->o.n_questions;
    r->identity = (r2i_run_identity){ .options = &r->shown,
                                      .trainer = r->trainer,
                                      .more = describe(&r->o, r2i_grpo_replays(r->trainer, &r->o)),
                                      .kept = json_object() };
    if (r->identity.more == NULL || r->identity.kept == NULL)
        return r2i_fail(r->err, R2_E_NOMEM, "no memory for checkpoints");
    R2I_TRY(r2i_run_saver_open(&r->saver, &r->identity, r2i_trainer_adamw(r->trainer), r->heap,
                               r->err));
    read_kept(r);
    return R2_OK;
}

static r2_status open_all(grpo_run *r) {
    fill_options(&r->o);
    R2I_TRY(check_options(&r->o, r->err));
    R2I_TRY(open_trainer(r));
    R2I_TRY(r2i_run_output_check(&r->o.run, r->trainer, r->err));
    R2I_TRY(r2i_grpo_maker_open(&r->maker, r->trainer, &r->o, r->err));
    r->n_tasks = r2i_grpo_tasks(r->maker);
    for (int32_t i = 0; i < r->n_tasks; i++) {
        int32_t n_levels = 1;
        (void)r2i_grpo_task(r->maker, i, &n_levels);
        r2_curriculum_begin(&r->lessons[i], n_levels, r->o.level);
    }
    R2I_TRY(r2i_grpo_update_open(&r->update, r->trainer, &r->o, r->err));
    R2I_TRY(open_chats(r));
    return open_saver(r);
}

/* ---- a step ---- */

static r2_status sum_over_ranks(const grpo_run *r, double *numbers, int32_t n) {
    for (int32_t i = 0; i < n; i += R2I_MOST_SUMS)
        R2I_TRY(r2i_run_sum(r->o.run.trainer.ranks, numbers + i, r2i_min_i32(R2I_MOST_SUMS, n - i),
                            r->err));
    return R2_OK;
}

static void count_answers(grpo_run *r) {
    const r2i_grpo_batch *b = &r->batch;
    double *s = r->sums;
    for (int32_t i = 0; i < b->n_answers; i++) {
        const r2i_grpo_answer *a = &b->answers[i];
        r2_grpo_task_result *task = &r->tasks[b->questions[a->question].task_index];
        const int32_t n_new = a->n_tokens - a->n_prompt;
        task->n_answers++;
        task->n_right += a->is_right;
        s[SUM_REWARD] += a->reward;
        s[SUM_RIGHT] += a->is_right;
        s[SUM_LENGTH] += n_new;
        s[SUM_CUT] += !a->has_end;
        s[SUM_ALL_ROWS] += a->n_tokens;
        for (int32_t t = 0; t < n_new; t++)
            s[SUM_NEGATIVE_LOGPROB] -= (double)a->logprobs[t];
    }
    for (int32_t q = 0; q < b->n_questions; q++)
        s[SUM_MIXED] += b->questions[q].is_mixed;
    s[SUM_FAILED] = (double)b->n_failed;
    s[SUM_ANSWERS] = b->n_answers;
    s[SUM_QUESTIONS] = b->n_questions;
}

static r2_status sum_tasks(grpo_run *r) {
    double numbers[2 * (R2_MAX_RUN_TASKS + 1)];
    const int32_t n = r->n_tasks;
    for (int32_t i = 0; i < n; i++) {
        numbers[2 * i] = r->tasks[i].n_answers;
        numbers[2 * i + 1] = r->tasks[i].n_right;
    }
    R2I_TRY(sum_over_ranks(r, numbers, 2 * n));
    for (int32_t i = 0; i < n; i++) {
        r->tasks[i].n_answers = (int32_t)numbers[2 * i];
        r->tasks[i].n_right = (int32_t)numbers[2 * i + 1];
        if (r->o.level == 0)
            (void)r2_curriculum_note(&r->lessons[i], r->tasks[i].n_right, r->tasks[i].n_answers);
    }
    return R2_OK;
}

/* 1 over what the loss is a mean of, the same on all ranks. */
static r2_status find_scale(grpo_run *r, const r2i_grpo_part *part, double *scale) {
    const r2_grpo_options *o = &r->o;
    const double n_answers = (double)o->n_questions * o->n_samples / o->n_minibatches;
    double n_tokens = (double)r2i_grpo_count(&r->batch, o, part);
    R2I_TRY(sum_over_ranks(r, &n_tokens, 1));
    *scale = 0;
    if (n_tokens == 0) return R2_OK;
    *scale = 1 / (o->norm == R2_NORM_TOKENS    ? n_tokens
                  : o->norm == R2_NORM_ANSWERS ? n_answers
                                               : n_answers * o->new_tokens);
    return R2_OK;
}

static r2_status add_chats(grpo_run *r) {
    r2_training_batch batch;
    r2_training_loss loss;
    int32_t n_targets = 0;
    if (r->chats == NULL || !r2_data_reader_next(r->chats, &batch)) return R2_OK;
    for (int32_t i = 0; i < batch.n_tokens; i++)
        n_targets += batch.targets[i] >= 0;
    const double n = (double)n_targets * r2_ranks_count(r->o.run.trainer.ranks);
    const r2_loss_weights weights = { .scale = n > 0 ? (float)((double)r->o.sft_share / n) : 0 };
    return n > 0 ? r2_trainer_add(r->trainer, &batch, &weights, &loss, r->err) : R2_OK;
}

static r2_status add_gradients(grpo_run *r, const r2i_grpo_part *part, r2i_grpo_sums *sums) {
    if (part->is_first)
        R2I_TRY(r2i_grpo_keep_routes(r->update, &r->batch, part->index + 1, r->err));
    if (part->scale > 0) R2I_TRY(r2i_grpo_add(r->update, &r->batch, part, sums, r->err));
    return part->is_first ? add_chats(r) : R2_OK;
}

/* One optimizer step on questions [first, end) of this rank's, if anything is learnt from them anywhere. */
static r2_status run_part(grpo_run *r, int32_t i, bool *is_first, r2i_grpo_sums *sums) {
    const r2_grpo_options *o = &r->o;
    r2_step_options how = o->run.step;
    r2_step_result result;
    r2i_grpo_part part = r2i_grpo_part_of(&r->batch, o, i);
    part.is_first = *is_first;
    part.measures_kl = (r->report.run.step - 1) % MEASURE_KL_EVERY == 0 || o->kl_limit > 0;
    R2I_TRY(find_scale(r, &part, &part.scale));
    if (part.scale == 0 && (r->chats == NULL || !part.is_first)) return R2_OK;
    const r2_status status =
        r2_ranks_agree(o->run.trainer.ranks, add_gradients(r, &part, sums), r->err);
    if (status != R2_OK) {
        r2i_trainer_abandon_step(r->trainer);
        return status;
    }
    how.lr = r->report.run.lr;
    R2I_TRY(r2_trainer_step(r->trainer, &how, &result, r->err));
    r->report.run.gradient_norm = fmax(r->report.run.gradient_norm, result.gradient_norm);
    r->report.run.expert_load = result.expert_load;
    *is_first = false;
    return R2_OK;
}

static r2_status learn(grpo_run *r) {
    r2i_grpo_sums sums = { 0 };
    bool is_first = true;
    r->report.run.gradient_norm = 0;
    for (int32_t i = 0; i < r->o.n_minibatches; i++)
        R2I_TRY(run_part(r, i, &is_first, &sums));
    r->sums[SUM_LOSS] = sums.loss;
    r->sums[SUM_TOKENS] = sums.n_tokens;
    r->sums[SUM_CLIPPED] = sums.n_clipped;
    r->sums[SUM_ROWS] = sums.n_rows;
    r->sums[SUM_KL] = sums.kl;
    r->sums[SUM_KL_TOKENS] = sums.n_kl_tokens;
    return R2_OK;
}

static void fill_samples(grpo_run *r) {
    for (int32_t i = 0; i < r->batch.n_answers; i++) {
        const r2i_grpo_answer *a = &r->batch.answers[i];
        const r2i_grpo_question *q = &r->batch.questions[a->question];
        r->samples[i] = (r2_grpo_sample){ .task = q->task,
                                          .language = q->language,
                                          .prompt = q->text,
                                          .level = q->level,
                                          .question = q->number,
                                          .text = a->text,
                                          .n_bytes = a->n_bytes,
                                          .n_tokens = a->n_tokens - a->n_prompt,
                                          .is_right = a->is_right,
                                          .has_form = a->grade.has_form,
                                          .has_end = a->has_end,
                                          .reward = a->reward,
                                          .advantage = a->advantage,
                                          .why = a->grade.why };
    }
    r->report.samples = r->samples;
    r->report.n_samples = r->batch.n_answers;
}

static void fill_report(grpo_run *r) {
    const double *s = r->sums, n = fmax(s[SUM_ANSWERS], 1);
    r2_grpo_report *p = &r->report;
    p->reward = s[SUM_REWARD] / n;
    p->pass_rate = s[SUM_RIGHT] / n;
    p->length = s[SUM_LENGTH] / n;
    p->cut_share = s[SUM_CUT] / n;
    p->mixed_share = s[SUM_MIXED] / fmax(s[SUM_QUESTIONS], 1);
    p->clipped_share = s[SUM_TOKENS] > 0 ? s[SUM_CLIPPED] / s[SUM_TOKENS] : 0;
    p->entropy = s[SUM_LENGTH] > 0 ? s[SUM_NEGATIVE_LOGPROB] / s[SUM_LENGTH] : 0;
    p->kl = s[SUM_KL_TOKENS] > 0 ? s[SUM_KL] / s[SUM_KL_TOKENS] : (double)NAN;
    p->rollout_tokens = s[SUM_LENGTH];
    p->update_tokens = s[SUM_ROWS];
    p->rollout_seconds = r->batch.rollout_seconds;
    p->grade_seconds = r->batch.grade_seconds;
    p->n_questions = (int32_t)s[SUM_QUESTIONS];
    p->n_kept = (int32_t)s[SUM_MIXED];
    p->n_answers = (int32_t)s[SUM_ANSWERS];
    p->n_failed = (int32_t)s[SUM_FAILED];
    p->tasks = r->tasks;
    p->n_tasks = r->n_tasks;
    p->run.loss = s[SUM_LOSS];
    p->run.n_step_tokens = (int64_t)s[SUM_ALL_ROWS];
    p->run.n_tokens += (int64_t)s[SUM_ALL_ROWS];
    p->run.n_targets += (int64_t)s[SUM_TOKENS];
    fill_samples(r);
}

static void begin_step(grpo_run *r, int64_t step) {
    memset(r->sums, 0, sizeof r->sums);
    for (int32_t i = 0; i < r->n_tasks; i++) {
        int32_t n_levels;
        r->tasks[i] = (r2_grpo_task_result){ .task = r2i_grpo_task(r->maker, i, &n_levels),
                                             .level = r->lessons[i].place / 4.0 };
    }
    r->report.run.step = step;
    r->report.run.validation_loss = r->report.run.validation_bpb = (double)NAN;
    r->report.run.lr = r2i_run_rate(&r->o.run, step);
}

static r2_status run_step(grpo_run *r, int64_t step) {
    const int64_t start = r2i_clock_ns();
    begin_step(r, step);
    const r2_status status = r2i_grpo_make(r->maker, step, r->lessons, &r->batch, r->err);
    R2I_TRY(r2_ranks_agree(r->o.run.trainer.ranks, status, r->err));
    const int64_t made = r2i_clock_ns();
    count_answers(r);
    R2I_TRY(learn(r));
    R2I_TRY(sum_over_ranks(r, r->sums, N_SUMS));
    R2I_TRY(sum_tasks(r));
    r->report.update_seconds = (double)(r2i_clock_ns() - made) * 1e-9;
    fill_report(r);
    r->report.run.seconds = (double)(r2i_clock_ns() - start) * 1e-9;
    if (!isfinite(r->report.run.loss))
        return r2i_fail(r->err, R2_E_RANGE, "step %lld: the loss is no finite number",
                        (long long)step);
    return R2_OK;
}

/* ---- runs that learn nothing ---- */

static r2_status say_idle(const grpo_run *r) {
    const r2_grpo_report *p = &r->report;
    if (p->pass_rate > 0.5)
        return r2i_fail(r->err, R2_E_STATE,
                        "for %d steps all answers to each question were equally good, most of them "
                        "right: there is nothing left to learn; a higher --level or other --tasks",
                        r->n_idle);
    return r2i_fail(
        r->err, R2_E_STATE,
        "for %d steps all answers to each question were equally bad: nothing can be learnt "
        "from them; an easier --level, more --answers, or `train sft` on such tasks first",
        r->n_idle);
}

static r2_status check_progress(grpo_run *r) {
    const r2_grpo_report *p = &r->report;
    r->n_idle = p->n_kept == 0 ? r->n_idle + 1 : 0;
    r->n_cut = p->cut_share >= 1 ? r->n_cut + 1 : 0;
    r->n_unjudged = p->n_failed >= p->n_answers ? r->n_unjudged + 1 : 0;
    if (r->n_unjudged >= r->o.patience)
        return r2i_fail(r->err, R2_E_STATE, "for %d steps no answer could be judged: %.150s",
                        r->n_unjudged, p->n_samples > 0 ? p->samples[0].why : "");
    if (r->n_cut >= r->o.patience)
        return r2i_fail(r->err, R2_E_STATE,
                        "for %d steps every answer was cut off at %d tokens: more of them (-n), a "
                        "thinking --budget, or `train sft` on short answers first",
                        r->n_cut, r->o.new_tokens);
    if (r->n_idle >= r->o.patience) return say_idle(r);
    if (r->o.kl_limit > 0 && p->kl > (double)r->o.kl_limit)
        return r2i_fail(
            r->err, R2_E_STATE,
            "step %lld: the model is %.3g nats per token from where it began, more than "
            "%.3g (--kl-limit)",
            (long long)p->run.step, p->kl, (double)r->o.kl_limit);
    return R2_OK;
}

/* ---- the run ---- */

static r2_status tell(grpo_run *r, bool *goes_on) {
    const r2_grpo_options *o = &r->o;
    double n_stopping = o->report != NULL && !o->report(o->run.user, &r->report);
    R2I_TRY(r2i_run_sum(o->run.trainer.ranks, &n_stopping, 1, r->err));
    *goes_on = n_stopping == 0;
    return R2_OK;
}

static r2_status run_steps(grpo_run *r) {
    const int64_t start = r2i_clock_ns();
    const r2i_run_totals before = r->saver.totals;
    r2_train_report *p = &r->report.run;
    r2_trainer_info info;
    bool goes_on = true;
    r2_trainer_get_info(r->trainer, &info);
    *p = (r2_train_report){ .n_steps = r->o.run.n_steps,
                            .n_tokens = before.n_tokens,
                            .n_targets = before.n_targets,
                            .memory_bytes = info.memory_bytes };
    for (int64_t step = before.step + 1; goes_on && step <= r->o.run.n_steps; step++) {
        const r2_status status = run_step(r, step);
        if (status != R2_OK) return r2i_run_saver_name_last(&r->saver, status, r->err);
        if (step == before.step + 1) R2I_TRY(r2i_run_saver_forget_later(&r->saver, step, r->err));
        p->seconds_all = before.seconds + (double)(r2i_clock_ns() - start) * 1e-9;
        R2I_TRY(tell(r, &goes_on));
        const r2_status progress = check_progress(r);
        if (progress != R2_OK) goes_on = false;
        R2I_TRY(write_kept(r));
        r2_error why = *r->err;
        R2I_TRY(r2i_run_saver_step(&r->saver, p, goes_on, r->err));
        if (progress != R2_OK) return r2i_fail(r->err, progress, "%s", why.text);
    }
    return R2_OK;
}

/* What the run had read before it was interrupted. */
static void skip_chats(grpo_run *r) {
    r2_training_batch batch;
    for (int64_t i = 0; r->chats != NULL && i < r->saver.totals.step; i++)
        (void)r2_data_reader_next(r->chats, &batch);
}

static r2_status save(grpo_run *r) {
    r2_ranks *ranks = r->o.run.trainer.ranks;
    r2_status status = R2_OK;
    if (r2_ranks_index(ranks) == 0) status = r2i_run_output_write(&r->o.run, r->trainer, r->err);
    return r2_ranks_agree(ranks, status, r->err);
}

static r2_status run_all(grpo_run *r) {
    R2I_TRY(r2_ranks_agree(r->o.run.trainer.ranks, open_all(r), r->err));
    R2I_TRY(r2i_run_check_plan(&r->identity, r->err));
    skip_chats(r);
    R2I_TRY(run_steps(r));
    return save(r);
}

r2_status r2_grpo(const r2_grpo_options *options, r2_error *err) {
    r2_error own;
    grpo_run r = { .o = *options, .err = err != NULL ? err : &own };
    *r.err = (r2_error){ R2_OK, "" };
    const r2_status status = run_all(&r);
    r2_data_reader_close(r.chats);
    r2i_grpo_update_close(r.update);
    r2i_grpo_maker_close(r.maker);
    r2i_run_saver_close(&r.saver);
    json_decref(r.identity.more);
    json_decref(r.identity.kept);
    if (r.heap != NULL) r2i_arena_destroy(&r.arena);
    r2_trainer_close(r.trainer);
    return status;
}
