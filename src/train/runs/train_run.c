/* train_run.c - r2_train: a loop of steps over a stream of prepared data.
 *
 *     stream (own thread) -> batches -> trainer -> report, validation now and then -> model folder
 *
 * The loss of a step is the mean over all targets of its batches. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "model/model.h"
#include "train/distill/distill_run.h"
#include "train/runs/run_loop.h"
#include "train/runs/run_output.h"
#include "train/runs/run_plan.h"
#include "train/runs/run_schedule.h"
#include "train/runs/run_sources.h"
#include "train/ranks/run_ranks.h"
#include "train/data/target_bytes.h"
#include "train/runs/trainer_model.h"

typedef struct {
    const r2_train_options *o;
    r2_trainer *trainer;
    r2i_heap *heap;  /* the model's */
    r2i_arena arena; /* manifests and lists */
    r2i_run_sources sources;
    r2i_data_stream *stream;
    r2i_distill *distill;           /* NULL: no teacher */
    int32_t *lengths;               /* [batch_tokens] */
    const r2i_batch_data **batches; /* [step_batches] of the step */
    r2_train_report report;
    r2i_run_saver saver;
    r2i_run_identity identity;
    r2_error *err;
} train_run;

/* ---- schedule ---- */

/* Weight of the prediction module's loss (DeepSeek-V3 ends with a third of what it begins with). */
static double mtp_weight_of(const r2_train_options *o, int64_t step) {
    const double done = (double)(step - 1) / o->n_steps;
    if (o->mtp_from == 0) return o->mtp_weight;
    if (done < o->mtp_from) return 0;
    return o->mtp_weight * (1 - (done - o->mtp_from) / (1 - o->mtp_from) * 2 / 3);
}

/* ---- opening ---- */

static r2_status check_options(const r2_train_options *o, r2_error *err) {
    R2I_TRY(r2i_run_schedule_check(o, err));
    if (o->trainer.divides_experts && o->distill != NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "training: a teacher and experts divided among ranks do not go together");
    if (o->n_data < 1 || o->n_data > R2I_MAX_SOURCES)
        return r2i_fail(err, R2_E_ARGUMENT, "training: expected 1 to %d folders of data, found %d",
                        R2I_MAX_SOURCES, o->n_data);
    if (o->step_batches < 0 || o->run_tokens < 0 || o->validate_every < 0 ||
        o->validate_batches < 0 || o->checkpoint_every < 0 || o->keep_last < 0)
        return r2i_fail(err, R2_E_ARGUMENT, "training: expected numbers from 0 on");
    if (!(o->mtp_weight >= 0) || !(o->mtp_from >= 0 && o->mtp_from < 1))
        return r2i_fail(err, R2_E_ARGUMENT,
                        "training: expected a weight of prediction modules from 0 on, and their "
                        "beginning from 0 to below 1");
    if (o->checkpoints == NULL && (o->is_resuming || o->checkpoint_every > 0))
        return r2i_fail(err, R2_E_ARGUMENT, "training: expected a folder for checkpoints");
    return R2_OK;
}

static int32_t batches_of(const train_run *r) {
    return r->o->step_batches > 0 ? r->o->step_batches : 1;
}

static r2_status open_trainer(train_run *r) {
    const r2_trainer_options options = r2i_run_trainer_options(r->o);
    R2I_TRY(r2_trainer_open(&r->trainer, r->o->model, &options, r->err));
    r->heap = &r2i_trainer_model(r->trainer)->heap;
    r2i_arena_init(&r->arena, r->heap, 1 << 18, 0);
    r->lengths = R2I_ARENA_ARRAY(&r->arena, int32_t, (size_t)options.batch_tokens);
    r->batches = R2I_ARENA_ARRAY(&r->arena, const r2i_batch_data *, (size_t)batches_of(r));
    if (r->lengths != NULL && r->batches != NULL) return R2_OK;
    return r2i_fail(r->err, R2_E_NOMEM, "no memory for lists of documents");
}

/* ---- batches ---- */

/* Runs [first, ...) of the stream's batch, as many as the trainer takes. */
static r2_training_batch cut_batch(const train_run *r, const r2i_batch_data *data, int32_t first) {
    const int32_t cap = r2i_trainer_documents(r->trainer), begin = data->run_begins[first];
    int32_t n = 0;
    for (; first + n < data->n_runs && n < cap; n++) {
        if (data->run_begins[first + n + 1] - begin > r->sources.batch_tokens)
            break; /* own answers */
        r->lengths[n] = data->run_begins[first + n + 1] - data->run_begins[first + n];
    }
    return (r2_training_batch){ .tokens = data->tokens + begin,
                                .targets = data->targets + begin,
                                .n_tokens = data->run_begins[first + n] - begin,
                                .lengths = r->lengths,
                                .n_documents = n };
}

/* Loss sums of a stream's batch; with scale > 0 its gradients are added.  is_last: of the step. */
static r2_status run_batch(train_run *r, const r2i_batch_data *data, float scale, bool is_last,
                           r2_training_loss *sum) {
    /* The teacher says nothing of tokens after next: of own answers the prediction module learns nothing. */
    const double mtp = r2i_distill_is_own(r->distill) ? 0 : mtp_weight_of(r->o, r->report.step);
    const r2_loss_weights weights = { scale, (float)mtp, (float)r->o->balance_weight };
    for (int32_t first = 0; first < data->n_runs;) {
        r2_training_batch batch = cut_batch(r, data, first);
        r2_training_loss loss;
        if (scale > 0 && r->distill != NULL)
            R2I_TRY(r2i_distill_soften(r->distill, &batch, r->err));
        if (is_last && first + batch.n_documents == data->n_runs)
            r2i_trainer_finish_early(r->trainer);
        R2I_TRY(scale > 0 ? r2_trainer_add(r->trainer, &batch, &weights, &loss, r->err)
                          : r2_trainer_evaluate(r->trainer, &batch, &loss, r->err));
        sum->loss += loss.loss;
        sum->soft_loss += loss.soft_loss;
        sum->mtp_loss += loss.mtp_loss;
        sum->n_targets += loss.n_targets;
        first += batch.n_documents;
    }
    return R2_OK;
}

/* With divided experts the ranks make their passes together: n_made of n_most that one of them makes. */
static r2_status make_rest(train_run *r, int32_t n_made, int32_t n_most, bool is_training) {
    /* As in the passes of the others: r2_trainer_evaluate has 1. */
    const float mtp = is_training ? (float)mtp_weight_of(r->o, r->report.step) : 1;
    if (!r2i_trainer_divides_experts(r->trainer)) return R2_OK;
    for (; n_made < n_most; n_made++)
        R2I_TRY(r2i_trainer_pass_nothing(r->trainer, mtp, is_training, r->err));
    return R2_OK;
}

static int32_t passes_of(const train_run *r, const r2i_batch_data *data) {
    return r2i_div_up_i32(data->n_runs, r2i_trainer_documents(r->trainer));
}

/* Batch i is the last one of a round, in which every rank has one. */
static bool is_round_over(const train_run *r, int32_t i) {
    return (i + 1) % r2_ranks_count(r->o->trainer.ranks) == 0;
}

static r2_status validate(train_run *r) {
    r2_ranks *ranks = r->o->trainer.ranks;
    r2i_data_stream *stream;
    double loss = 0;
    int64_t n_targets = 0, n_bytes = 0;
    int32_t n_made = 0, n_most = 0; /* passes since the last round */
    r2_status status = r2i_run_sources_stream(&stream, &r->sources, R2I_SPLIT_VALIDATION, 1, NULL,
                                              r->heap, r->err);
    status = r2_ranks_agree(ranks, status, r->err);
    if (status != R2_OK) r2i_data_stream_close(stream);
    if (status != R2_OK || stream == NULL) return status;
    for (int32_t i = 0;
         status == R2_OK && (r->o->validate_batches == 0 || i < r->o->validate_batches); i++) {
        const r2i_batch_data *data = r2i_data_stream_next(stream);
        r2_training_loss sum = { 0 };
        if (data->n_tokens == 0) break;
        n_targets += data->n_targets;
        n_bytes += r2i_target_bytes(r2i_trainer_model(r->trainer), data->targets, data->n_tokens);
        n_most = r2i_max_i32(n_most, passes_of(r, data));
        if (r2i_run_is_mine(ranks, i)) {
            n_made = passes_of(r, data);
            status = run_batch(r, data, 0, false, &sum);
        }
        loss += sum.loss;
        if (status == R2_OK && is_round_over(r, i)) {
            status = make_rest(r, n_made, n_most, false);
            n_made = n_most = 0;
        }
    }
    if (status == R2_OK) status = make_rest(r, n_made, n_most, false);
    r2i_data_stream_close(stream);
    R2I_TRY(r2_ranks_agree(ranks, status, r->err));
    R2I_TRY(r2i_run_sum(ranks, &loss, 1, r->err));
    if (n_targets > 0) r->report.validation_loss = loss / (double)n_targets;
    if (n_bytes > 0) r->report.validation_bpb = loss / log(2) / (double)n_bytes;
    return R2_OK;
}

/* ---- steps ---- */

/* Means over the step's targets. */
typedef struct {
    double next, soft, module;
} step_losses;

/* The step's batches; returns their targets. */
static int64_t take_batches(train_run *r) {
    int64_t n_targets = 0;
    r->report.n_step_tokens = 0;
    for (int32_t i = 0; i < batches_of(r); i++) {
        const r2i_batch_data *data = r->batches[i] = r2i_data_stream_next(r->stream);
        r->saver.totals.place = data->after;
        r->report.n_step_tokens += data->n_tokens;
        n_targets += data->n_targets;
    }
    r->report.n_tokens += r->report.n_step_tokens;
    r->report.n_targets += n_targets;
    return n_targets;
}

/* Gradients of the step's batches: as of one large batch, whatever each of them holds.  Every rank sees
 * all of them, in the same order whatever the number of ranks, and computes its own; losses are the sums
 * of this rank. */
static r2_status run_batches(train_run *r, step_losses *losses) {
    const int32_t n_batches = batches_of(r);
    const r2_ranks *ranks = r->o->trainer.ranks;
    const double n_targets = (double)take_batches(r);
    const bool is_together = r2i_trainer_divides_experts(r->trainer);
    int32_t n_made = 0, n_most = 0; /* passes since the last round */
    for (int32_t i = 0; i < n_batches; i++) {
        const r2i_batch_data *data = r->batches[i];
        const bool is_last = i + r2_ranks_count(ranks) >= n_batches && !is_together;
        const bool is_mine = r2i_run_is_mine(ranks, i);
        r2_training_loss sum = { 0 };
        if (i > 0 && is_round_over(r, i - 1)) {
            R2I_TRY(make_rest(r, n_made, n_most, true));
            n_made = n_most = 0;
        }
        if (data->n_targets > 0) n_most = r2i_max_i32(n_most, passes_of(r, data));
        if (data->n_targets == 0 || !is_mine) continue;
        n_made = passes_of(r, data);
        const double share = data->n_targets / n_targets;
        if (r->distill != NULL) R2I_TRY(r2i_distill_choose(r->distill, &data, r->err));
        if (data->n_targets == 0) continue;
        const double scale = share / data->n_targets; /* 1 / n_targets, but for the student's own */
        R2I_TRY(run_batch(r, data, (float)scale, is_last, &sum));
        losses->next += sum.loss * scale;
        losses->soft += sum.soft_loss * scale;
        losses->module += sum.mtp_loss * scale;
    }
    return make_rest(r, n_made, n_most, true);
}

/* The losses of all ranks, or what failed on one of them. */
static r2_status run_all_batches(train_run *r, step_losses *losses) {
    r2_ranks *ranks = r->o->trainer.ranks;
    r2_status status = r2_ranks_agree(ranks, run_batches(r, losses), r->err);
    double sums[3] = { losses->next, losses->soft, losses->module };
    if (status == R2_OK) status = r2i_run_sum(ranks, sums, 3, r->err);
    *losses = (step_losses){ sums[0], sums[1], sums[2] };
    if (status == R2_OK && !isfinite(losses->next + losses->soft))
        status = r2i_fail(r->err, R2_E_RANGE, "step %lld: the loss is no finite number",
                          (long long)r->report.step);
    if (status != R2_OK) r2i_trainer_abandon_step(r->trainer);
    return status;
}

static r2_status run_step(void *run) {
    train_run *r = run;
    r2_step_options how = r->o->step;
    r2_step_result result;
    step_losses losses = { 0 };
    R2I_TRY(run_all_batches(r, &losses));
    how.lr = r->report.lr;
    R2I_TRY(r2_trainer_step(r->trainer, &how, &result, r->err));
    r->report.gradient_norm = result.gradient_norm;
    r->report.expert_load = result.expert_load;
    r->report.loss = losses.next;
    r->report.soft_loss = losses.soft;
    r->report.mtp_loss = losses.module;
    return R2_OK;
}

/* ---- the run ---- */

static r2_status validate_if_due(void *run) {
    train_run *r = run;
    const r2_train_options *o = r->o;
    const int64_t step = r->report.step;
    const bool is_due =
        step == o->n_steps || (o->validate_every > 0 && step % o->validate_every == 0);
    return is_due ? validate(r) : R2_OK;
}

static bool tell(void *run) {
    const train_run *r = run;
    return r->o->report == NULL || r->o->report(r->o->user, &r->report);
}

static r2_status run_steps(train_run *r) {
    r2i_run_loop loop = { .saver = &r->saver,
                          .trainer = r->trainer,
                          .report = &r->report,
                          .run = r,
                          .step = run_step,
                          .validate = validate_if_due,
                          .tell = tell };
    r->report = (r2_train_report){ .n_cut = r->sources.n_cut,
                                   .memory_bytes = r2i_distill_bytes(r->distill) };
    return r2i_run_steps(&loop, r->err);
}

static r2_status open_sources(train_run *r) {
    const r2_trainer_options options = r2i_run_trainer_options(r->o);
    return r2i_run_sources_open(&r->sources, r->o, r2i_trainer_model(r->trainer),
                                options.batch_tokens, options.document_tokens, &r->arena, r->err);
}

static r2_status open_all(train_run *r) {
    R2I_TRY(check_options(r->o, r->err));
    R2I_TRY(open_trainer(r));
    R2I_TRY(r2i_run_output_check(r->o, r->trainer, r->err));
    R2I_TRY(open_sources(r));
    if (r->o->distill != NULL)
        R2I_TRY(
            r2i_distill_open(&r->distill, r->o->distill, r->trainer, r->o->seed, r->heap, r->err));
    r->identity = (r2i_run_identity){ .options = r->o,
                                      .trainer = r->trainer,
                                      .sets = r->sources.sets,
                                      .teacher = r2i_distill_identity(r->distill) };
    R2I_TRY(r2i_run_saver_open(&r->saver, &r->identity, r2i_trainer_adamw(r->trainer), r->heap,
                               r->err));
    R2I_TRY(r2i_run_sources_stream(&r->stream, &r->sources, R2I_SPLIT_TRAIN, batches_of(r),
                                   &r->saver.totals.place, r->heap, r->err));
    if (r->stream == NULL)
        return r2i_fail(r->err, R2_E_ARGUMENT, "%.150s: no documents to train on", r->o->data[0]);
    return R2_OK;
}

static r2_status run_all(train_run *r) {
    R2I_TRY(r2_ranks_agree(r->o->trainer.ranks, open_all(r), r->err));
    R2I_TRY(r2i_run_check_plan(&r->identity, r->err));
    R2I_TRY(run_steps(r));
    return r2i_run_output_write(r->o, r->trainer, r->err);
}

r2_status r2_train(const r2_train_options *options, r2_error *err) {
    r2_error own;
    train_run r = { .o = options, .err = err != NULL ? err : &own };
    *r.err = (r2_error){ R2_OK, "" };
    const r2_status status = run_all(&r);
    r2i_data_stream_close(r.stream);
    r2i_distill_close(r.distill);
    r2i_run_saver_close(&r.saver);
    r2i_run_sources_close(&r.sources);
    if (r.heap != NULL) r2i_arena_destroy(&r.arena);
    r2_trainer_close(r.trainer);
    return status;
}
