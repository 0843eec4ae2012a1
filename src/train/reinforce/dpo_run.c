/* dpo_run.c - r2_dpo: a loop of steps over pairs of answers, one of which is preferred (arXiv:2305.18290).
 *
 * What the model as it was says of all of them is computed once, before anything is trained or a checkpoint
 * read.  The two answers of a pair stand in the same batch. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/random.h"
#include "model/model.h"
#include "train/reinforce/dpo_pairs.h"
#include "train/runs/run_loop.h"
#include "train/runs/run_output.h"
#include "train/runs/run_plan.h"
#include "train/runs/run_schedule.h"
#include "train/ranks/run_ranks.h"
#include "train/runs/trainer_model.h"

enum { DEFAULT_PAIRS = 8, ORDER_STREAM = 82 };

typedef struct {
    r2_dpo_options o;
    r2_trainer *trainer;
    r2i_heap *heap;
    r2i_arena arena;
    r2i_dpo_pairs pairs;
    int32_t *order; /* [pairs.n] of the epoch */
    int64_t epoch;  /* -1: none */
    /* A batch: [batch_tokens] each, and which pairs. */
    int32_t *tokens, *targets, *lengths, *members;
    float *weights, *reference, *logprobs, *factors;
    int32_t n_rows, n_documents, cap_rows, cap_documents;
    double loss, n_right, margin, n_pairs, n_step_rows, n_targets; /* of the step */
    r2_dpo_report report;
    r2i_run_saver saver;
    r2i_run_identity identity;
    r2_train_options shown;
    r2_error *err;
} dpo_run;

/* ---- opening ---- */

static r2_status check_options(const r2_dpo_options *o, r2_error *err) {
    const r2_train_options *run = &o->run;
    R2I_TRY(r2i_run_schedule_check(run, err));
    if (o->n_files < 1 || o->step_pairs < 1 || !(o->beta > 0))
        return r2i_fail(err, R2_E_ARGUMENT, "DPO: expected pairs and a beta above 0");
    if (run->checkpoints == NULL && (run->is_resuming || run->checkpoint_every > 0))
        return r2i_fail(err, R2_E_ARGUMENT, "DPO: expected a folder for checkpoints");
    if (run->trainer.divides_experts)
        return r2i_fail(err, R2_E_UNSUPPORTED, "DPO: experts are not divided");
    return R2_OK;
}

static r2_status take_memory(dpo_run *r) {
    r2i_taker t = { &r->arena, false };
    const size_t n = (size_t)r->cap_rows, n_documents = (size_t)r->cap_documents;
    r->tokens = r2i_take(&t, n, sizeof *r->tokens);
    r->targets = r2i_take(&t, n, sizeof *r->targets);
    r->lengths = r2i_take(&t, n_documents, sizeof *r->lengths);
    r->members = r2i_take(&t, n_documents, sizeof *r->members);
    r->order = r2i_take(&t, (size_t)r->pairs.n, sizeof *r->order);
    float **const rows[] = { &r->weights, &r->reference, &r->logprobs, &r->factors };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        *rows[i] = r2i_take_floats(&t, 1, n);
    return t.has_failed ? r2i_fail(r->err, R2_E_NOMEM, "no memory for batches of pairs") : R2_OK;
}

static r2_status open_trainer(dpo_run *r) {
    const r2_train_options *run = &r->o.run;
    const r2_trainer_options options = r2i_run_trainer_options(run);
    R2I_TRY(r2_trainer_open(&r->trainer, run->model, &options, r->err));
    r2_model *model = r2i_trainer_model(r->trainer);
    const r2i_trainer_limits caps = r2i_trainer_get_limits(r->trainer);
    r->heap = &model->heap;
    r2i_arena_init(&r->arena, r->heap, 1 << 20, 0);
    r->cap_rows = caps.batch_tokens;
    r->cap_documents = caps.batch_documents;
    if (model->tokenizer == NULL || model->chat_template == NULL)
        return r2i_fail(r->err, R2_E_UNSUPPORTED, "%.80s: expected a chat template, found none",
                        model->name);
    R2I_TRY(r2i_run_output_check(run, r->trainer, r->err));
    const int32_t most = r2i_min_i32(caps.document_tokens, r->cap_rows / 2);
    R2I_TRY(
        r2i_dpo_pairs_read(&r->pairs, model, r->o.pairs, r->o.n_files, most, &r->arena, r->err));
    return take_memory(r);
}

static r2_status open_saver(dpo_run *r) {
    char hash[24];
    (void)snprintf(hash, sizeof hash, "%016" PRIx64, r->pairs.hash);
    r->shown = r->o.run;
    r->shown.data = NULL;
    r->shown.shares = NULL;
    r->shown.n_data = 0;
    r->shown.distill = NULL;
    r->shown.step_batches = r->o.step_pairs;
    r->identity =
        (r2i_run_identity){ .options = &r->shown,
                            .trainer = r->trainer,
                            .more = json_pack("{s:s, s:i, s:f}", "pairs", hash, "pairs of a step",
                                              r->o.step_pairs, "beta", (double)r->o.beta) };
    if (r->identity.more == NULL) return r2i_fail(r->err, R2_E_NOMEM, "no memory for checkpoints");
    return r2i_run_saver_open(&r->saver, &r->identity, r2i_trainer_adamw(r->trainer), r->heap,
                              r->err);
}

/* ---- batches ---- */

static void put_answer(dpo_run *r, const r2i_dpo_answer *a) {
    for (int32_t i = 0; i < a->n; i++, r->n_rows++) {
        r->tokens[r->n_rows] = a->tokens[i];
        r->targets[r->n_rows] = a->targets[i];
        r->weights[r->n_rows] = a->targets[i] >= 0;
        r->reference[r->n_rows] = a->reference[i];
    }
    r->lengths[r->n_documents++] = a->n;
}

static void put_pair(dpo_run *r, int32_t index) {
    r->members[r->n_documents / 2] = index;
    put_answer(r, &r->pairs.pairs[index].answers[0]);
    put_answer(r, &r->pairs.pairs[index].answers[1]);
}

static bool has_room(const dpo_run *r, int32_t index) {
    const r2i_dpo_pair *p = &r->pairs.pairs[index];
    return r->n_documents + 2 <= r->cap_documents &&
           r->n_rows + p->answers[0].n + p->answers[1].n <= r->cap_rows;
}

static r2_training_batch batch_of(const dpo_run *r, const r2_policy_targets *policy) {
    return (r2_training_batch){ .tokens = r->tokens,
                                .targets = r->targets,
                                .weights = r->weights,
                                .n_tokens = r->n_rows,
                                .lengths = r->lengths,
                                .n_documents = r->n_documents,
                                .policy = policy };
}

/* What the model says now of the batch's answers becomes their reference. */
static r2_status read_batch(dpo_run *r) {
    const r2_policy_targets reads = { .form = R2_POLICY_READ,
                                      .logprobs = r->logprobs,
                                      .factors = r->factors };
    const r2_training_batch batch = batch_of(r, &reads);
    r2_training_loss loss;
    int32_t row = 0;
    if (r->n_documents == 0) return R2_OK;
    R2I_TRY(r2_trainer_evaluate(r->trainer, &batch, &loss, r->err));
    for (int32_t d = 0; d < r->n_documents; d++) {
        const r2i_dpo_answer *a = &r->pairs.pairs[r->members[d / 2]].answers[d % 2];
        memcpy(a->reference, r->logprobs + row, (size_t)a->n * sizeof *a->reference);
        row += a->n;
    }
    r->n_rows = r->n_documents = 0;
    return R2_OK;
}

static r2_status read_references(dpo_run *r) {
    for (int32_t i = 0; i < r->pairs.n; i++) {
        if (!has_room(r, i)) R2I_TRY(read_batch(r));
        put_pair(r, i);
    }
    return read_batch(r);
}

/* ---- steps ---- */

/* Pair i of all epochs: of each a permutation of its own (Fisher and Yates). */
static int32_t pair_at(dpo_run *r, int64_t i) {
    const int32_t n = r->pairs.n;
    const int64_t epoch = i / n;
    if (epoch != r->epoch) {
        for (int32_t k = 0; k < n; k++)
            r->order[k] = k;
        for (int32_t k = n - 1; k > 0; k--) {
            const uint64_t random =
                r2i_random_u64(r->o.run.seed + (uint64_t)epoch, ORDER_STREAM, (uint64_t)k);
            const int32_t j = (int32_t)(random % (uint64_t)(k + 1)), kept = r->order[k];
            r->order[k] = r->order[j];
            r->order[j] = kept;
        }
        r->epoch = epoch;
    }
    return r->order[i % n];
}

/* Margins as r2i_policy_documents has them. */
static void count_batch(dpo_run *r) {
    double above[2] = { 0 };
    int32_t row = 0;
    for (int32_t d = 0; d < r->n_documents; d++) {
        above[d % 2] = 0;
        for (int32_t i = 0; i < r->lengths[d]; i++, row++) {
            if (r->weights[row] == 0) continue;
            above[d % 2] += (double)r->logprobs[row] - (double)r->reference[row];
            r->n_targets++;
        }
        if (d % 2 == 0) continue;
        const double margin = (double)r->o.beta * (above[0] - above[1]);
        r->n_right += margin > 0;
        r->margin += margin;
        r->n_pairs++;
    }
    r->n_step_rows += r->n_rows;
}

static r2_status add_batch(dpo_run *r) {
    const r2_policy_targets policy = { .form = R2_POLICY_PAIR,
                                       .reference = r->reference,
                                       .beta = r->o.beta,
                                       .logprobs = r->logprobs,
                                       .factors = r->factors };
    const r2_training_batch batch = batch_of(r, &policy);
    const r2_loss_weights weights = { .scale = 1.0f / (float)r->o.step_pairs };
    r2_training_loss loss;
    if (r->n_documents == 0) return R2_OK;
    R2I_TRY(r2_trainer_add(r->trainer, &batch, &weights, &loss, r->err));
    r->loss += loss.loss;
    count_batch(r);
    r->n_rows = r->n_documents = 0;
    return R2_OK;
}

static r2_status add_pairs(dpo_run *r, int64_t step) {
    const r2_ranks *ranks = r->o.run.trainer.ranks;
    r->n_rows = r->n_documents = 0;
    for (int32_t i = 0; i < r->o.step_pairs; i++) {
        const int32_t index = pair_at(r, (step - 1) * r->o.step_pairs + i);
        if (!r2i_run_is_mine(ranks, i)) continue;
        if (!has_room(r, index)) R2I_TRY(add_batch(r));
        put_pair(r, index);
    }
    return add_batch(r);
}

static r2_status run_step(void *run) {
    dpo_run *r = run;
    r2_ranks *ranks = r->o.run.trainer.ranks;
    r2_train_report *p = &r->report.run;
    r2_step_options how = r->o.run.step;
    r2_step_result result;
    r->loss = r->n_right = r->margin = r->n_pairs = r->n_step_rows = r->n_targets = 0;
    const r2_status status = r2_ranks_agree(ranks, add_pairs(r, p->step), r->err);
    if (status != R2_OK) {
        r2i_trainer_abandon_step(r->trainer);
        return status;
    }
    double sums[] = { r->loss, r->n_right, r->margin, r->n_pairs, r->n_step_rows, r->n_targets };
    R2I_TRY(r2i_run_sum(ranks, sums, sizeof sums / sizeof *sums, r->err));
    how.lr = p->lr;
    R2I_TRY(r2_trainer_step(r->trainer, &how, &result, r->err));
    p->loss = sums[0] / sums[3];
    p->gradient_norm = result.gradient_norm;
    p->expert_load = result.expert_load;
    p->n_step_tokens = (int64_t)sums[4];
    p->n_tokens += p->n_step_tokens;
    p->n_targets += (int64_t)sums[5];
    r->report.accuracy = sums[1] / sums[3];
    r->report.margin = sums[2] / sums[3];
    return R2_OK;
}

static bool tell(void *run) {
    const dpo_run *r = run;
    return r->o.report == NULL || r->o.report(r->o.run.user, &r->report);
}

static r2_status run_steps(dpo_run *r) {
    r2i_run_loop loop = { .saver = &r->saver,
                          .trainer = r->trainer,
                          .report = &r->report.run,
                          .run = r,
                          .step = run_step,
                          .tell = tell };
    r->report.run = (r2_train_report){ .n_cut = r->pairs.n_too_long };
    return r2i_run_steps(&loop, r->err);
}

/* ---- the run ---- */

static r2_status open_all(dpo_run *r) {
    if (r->o.step_pairs == 0) r->o.step_pairs = DEFAULT_PAIRS;
    if (r->o.beta == 0) r->o.beta = 0.1f;
    R2I_TRY(check_options(&r->o, r->err));
    R2I_TRY(open_trainer(r));
    R2I_TRY(read_references(r));
    return open_saver(r);
}

static r2_status run_all(dpo_run *r) {
    R2I_TRY(r2_ranks_agree(r->o.run.trainer.ranks, open_all(r), r->err));
    R2I_TRY(r2i_run_check_plan(&r->identity, r->err));
    R2I_TRY(run_steps(r));
    return r2i_run_output_write(&r->o.run, r->trainer, r->err);
}

r2_status r2_dpo(const r2_dpo_options *options, r2_error *err) {
    r2_error own;
    dpo_run r = { .o = *options, .epoch = -1, .err = err != NULL ? err : &own };
    *r.err = (r2_error){ R2_OK, "" };
    const r2_status status = run_all(&r);
    r2i_run_saver_close(&r.saver);
    json_decref(r.identity.more);
    if (r.heap != NULL) r2i_arena_destroy(&r.arena);
    r2_trainer_close(r.trainer);
    return status;
}
