/* grpo_run.c - r2_grpo: a loop of steps in which the model's own answers are what it learns from.
 *
 *     questions -> answers -> judges -> for each part of the questions: gradients, optimizer step
 *
 * With ranks each asks questions of its own, and all take each optimizer step at once. */
#include <math.h>

#include "base/clock.h"
#include "base/failure.h"
#include "model/model.h"
#include "train/reinforce/grpo_options.h"
#include "train/reinforce/grpo_tally.h"
#include "train/runs/run_loop.h"
#include "train/runs/run_output.h"
#include "train/runs/run_plan.h"
#include "train/ranks/run_ranks.h"
#include "train/runs/trainer_model.h"

enum { MEASURE_KL_EVERY = 10 };

typedef struct {
    r2_grpo_options o; /* nothing left open */
    r2_trainer *trainer;
    r2i_heap *heap;
    r2i_arena arena;
    r2i_grpo_maker *maker;
    r2i_grpo_update *update;
    r2i_grpo_batch batch;
    r2_data_reader *chats;                       /* of sft_share; NULL: none */
    r2_curriculum lessons[R2_MAX_RUN_TASKS + 1]; /* of each task */
    r2i_grpo_tally tally;
    r2_grpo_sample *samples; /* of the report */
    r2_grpo_report report;
    r2i_run_saver saver;
    r2i_run_identity identity;
    r2_train_options shown; /* what saver and identity know of the run */
    r2i_run_loop loop;
    r2_error *err;
} grpo_run;

/* ---- opening ---- */

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
    for (int32_t i = 0; out != NULL && i < r->tally.n_tasks; i++) {
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
    for (int32_t i = 0; i < r->tally.n_tasks; i++) {
        r2_curriculum *c = &r->lessons[i];
        int place, n_right, n_samples;
        if (json_unpack(json_array_get(lessons, (size_t)i), "[iii]", &place, &n_right,
                        &n_samples) != 0 ||
            place < 4 || place > 4 * c->n_levels || n_right < 0 || n_samples < n_right)
            continue;
        *c = (r2_curriculum){ c->n_levels, place, n_right, n_samples };
    }
    r->tally.n_idle = (int32_t)json_integer_value(json_object_get(kept, "idle"));
    r->tally.n_cut = (int32_t)json_integer_value(json_object_get(kept, "cut"));
    r->tally.n_unjudged = (int32_t)json_integer_value(json_object_get(kept, "unjudged"));
}

static r2_status write_kept(grpo_run *r) {
    json_t *kept = r->identity.kept;
    int problem = json_object_set_new(kept, "lessons", lessons_to_json(r));
    problem |= json_object_set_new(kept, "idle", json_integer(r->tally.n_idle));
    problem |= json_object_set_new(kept, "cut", json_integer(r->tally.n_cut));
    problem |= json_object_set_new(kept, "unjudged", json_integer(r->tally.n_unjudged));
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
                                      .more = r2i_grpo_options_describe(
                                          &r->o, r2i_grpo_replays(r->trainer, &r->o)),
                                      .kept = json_object() };
    if (r->identity.more == NULL || r->identity.kept == NULL)
        return r2i_fail(r->err, R2_E_NOMEM, "no memory for checkpoints");
    R2I_TRY(r2i_run_saver_open(&r->saver, &r->identity, r2i_trainer_adamw(r->trainer), r->heap,
                               r->err));
    read_kept(r);
    return R2_OK;
}

static r2_status open_all(grpo_run *r) {
    r2i_grpo_options_fill(&r->o);
    R2I_TRY(r2i_grpo_options_check(&r->o, r->err));
    R2I_TRY(open_trainer(r));
    R2I_TRY(r2i_run_output_check(&r->o.run, r->trainer, r->err));
    R2I_TRY(r2i_grpo_maker_open(&r->maker, r->trainer, &r->o, r->err));
    r->tally.n_tasks = r2i_grpo_tasks(r->maker);
    for (int32_t i = 0; i < r->tally.n_tasks; i++) {
        int32_t n_levels = 1;
        (void)r2i_grpo_task(r->maker, i, &n_levels);
        r2_curriculum_begin(&r->lessons[i], n_levels, r->o.level);
    }
    R2I_TRY(r2i_grpo_update_open(&r->update, r->trainer, &r->o, r->err));
    R2I_TRY(open_chats(r));
    return open_saver(r);
}

/* ---- a step ---- */

/* 1 over what the loss is a mean of, the same on all ranks. */
static r2_status find_scale(grpo_run *r, const r2i_grpo_part *part, double *scale) {
    const r2_grpo_options *o = &r->o;
    const double n_answers = (double)o->n_questions * o->n_samples / o->n_minibatches;
    double n_tokens = (double)r2i_grpo_count(&r->batch, o, part);
    R2I_TRY(r2i_run_sum(o->run.trainer.ranks, &n_tokens, 1, r->err));
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
    r2i_grpo_tally_learnt(&r->tally, &sums);
    return R2_OK;
}

static void begin_step(grpo_run *r) {
    r2i_grpo_tally_begin(&r->tally);
    for (int32_t i = 0; i < r->tally.n_tasks; i++) {
        int32_t n_levels;
        r->tally.tasks[i].task = r2i_grpo_task(r->maker, i, &n_levels);
        r->tally.tasks[i].level = r->lessons[i].place / 4.0;
    }
}

static void move_levels(grpo_run *r) {
    for (int32_t i = 0; r->o.level == 0 && i < r->tally.n_tasks; i++) {
        const r2_grpo_task_result *task = &r->tally.tasks[i];
        (void)r2_curriculum_note(&r->lessons[i], task->n_right, task->n_answers);
    }
}

static r2_status run_step(void *run) {
    grpo_run *r = run;
    r2_ranks *ranks = r->o.run.trainer.ranks;
    begin_step(r);
    const r2_status status =
        r2i_grpo_make(r->maker, r->report.run.step, r->lessons, &r->batch, r->err);
    R2I_TRY(r2_ranks_agree(ranks, status, r->err));
    const int64_t made = r2i_clock_ns();
    r2i_grpo_tally_answers(&r->tally, &r->batch);
    R2I_TRY(learn(r));
    R2I_TRY(r2i_grpo_tally_sum(&r->tally, ranks, r->err));
    move_levels(r);
    r->report.update_seconds = (double)(r2i_clock_ns() - made) * 1e-9;
    r2i_grpo_tally_report(&r->tally, &r->batch, r->samples, &r->report);
    r2i_grpo_tally_judge(&r->tally, &r->report, &r->o, &r->loop.ending);
    return write_kept(r);
}

/* ---- the run ---- */

static bool tell(void *run) {
    const grpo_run *r = run;
    return r->o.report == NULL || r->o.report(r->o.run.user, &r->report);
}

static r2_status run_steps(grpo_run *r) {
    r->loop = (r2i_run_loop){ .saver = &r->saver,
                              .trainer = r->trainer,
                              .report = &r->report.run,
                              .run = r,
                              .step = run_step,
                              .tell = tell };
    return r2i_run_steps(&r->loop, r->err);
}

/* What the run had read before it was interrupted. */
static void skip_chats(grpo_run *r) {
    r2_training_batch batch;
    for (int64_t i = 0; r->chats != NULL && i < r->saver.totals.step; i++)
        (void)r2_data_reader_next(r->chats, &batch);
}

static r2_status run_all(grpo_run *r) {
    R2I_TRY(r2_ranks_agree(r->o.run.trainer.ranks, open_all(r), r->err));
    R2I_TRY(r2i_run_check_plan(&r->identity, r->err));
    skip_chats(r);
    R2I_TRY(run_steps(r));
    return r2i_run_output_write(&r->o.run, r->trainer, r->err);
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
