/* trainer.c - r2_trainer: batches into losses and gradients, steps, and what it tells of itself. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/hash.h"
#include "train/backward/expert_routes.h"
#include "train/distill/soft_targets.h"
#include "train/reinforce/policy_loss.h"
#include "train/runs/trainer_parts.h"

static int64_t n_steps_of(const r2_trainer *t) {
    return t->has_muon ? t->muon.adamw.n_steps : t->adamw.n_steps;
}

void r2_trainer_get_info(const r2_trainer *t, r2_trainer_info *out) {
    *out = (r2_trainer_info){ .n_active_parameters = t->model->weights.n_active_parameters,
                              .memory_bytes = (int64_t)(t->model->heap.used_bytes -
                                                        r2i_arena_spare_bytes(&t->model->arena)),
                              .masters_bytes = (int64_t)t->masters_bytes,
                              .gradients_bytes = (int64_t)t->gradients_bytes,
                              .moments_bytes = (int64_t)t->moments_bytes,
                              .activations_bytes = (int64_t)t->activations_bytes,
                              .kept_bytes = (int64_t)r2i_backward_kept_bytes(t->backward),
                              .file_bytes =
                                  t->parameters.lora != NULL ? r2i_model_file_bytes(t->model) : 0,
                              .is_initial = r2i_model_is_initial(t->model),
                              .n_steps = n_steps_of(t),
                              .n_threads = r2i_pool_threads(t->pool),
                              .n_routes = r2i_expert_routes_count(&t->model->config),
                              .has_mtp = t->model->weights.has_mtp };
    for (int32_t i = 0; i < t->parameters.n; i++) {
        if (!t->parameters.list[i].is_fixed)
            out->n_parameters += (int64_t)r2i_parameter_size(&t->parameters.list[i]);
    }
}

r2_model *r2i_trainer_model(r2_trainer *trainer) {
    return trainer->model;
}

r2i_trainer_limits r2i_trainer_get_limits(const r2_trainer *t) {
    return (r2i_trainer_limits){ t->limits.cap_rows, t->limits.cap_document,
                                 t->limits.cap_documents, t->limits.has_continuations, t->pool };
}

r2i_adamw *r2i_trainer_adamw(r2_trainer *trainer) {
    return trainer->has_muon ? &trainer->muon.adamw : &trainer->adamw;
}

const r2i_lora_parameters *r2i_trainer_lora(const r2_trainer *t) {
    return t->parameters.lora;
}

int32_t r2i_trainer_documents(const r2_trainer *trainer) {
    return trainer->limits.cap_documents;
}

void r2i_trainer_finish_early(r2_trainer *trainer) {
    if (trainer->ranks != NULL) r2i_exchange_begin(&trainer->exchange);
}

void r2i_trainer_abandon_step(r2_trainer *trainer) {
    if (trainer->ranks != NULL) r2i_exchange_drain(&trainer->exchange);
}

uint64_t r2i_trainer_hash_layout(const r2_trainer *t) {
    return r2i_parameters_hash_layout(&t->parameters);
}

uint64_t r2i_trainer_hash_values(const r2_trainer *t) {
    uint64_t hash = R2I_HASH_SEED;
    for (int32_t i = 0; i < t->parameters.n; i++) {
        const r2i_parameter *p = &t->parameters.list[i];
        if (t->ranks != NULL && t->partition.has_own_experts && p->expert >= 0) continue;
        hash = r2i_hash_bytes(hash, t->parameters.values + p->first,
                              r2i_parameter_size(p) * sizeof *t->parameters.values);
    }
    return hash;
}

bool r2i_trainer_divides_experts(const r2_trainer *t) {
    return t->ranks != NULL && t->partition.has_own_experts;
}

r2_status r2i_trainer_pass_nothing(r2_trainer *t, float mtp_weight, bool is_training,
                                   r2_error *err) {
    static const r2_token tokens[2] = { 0, 0 }, targets[2] = { -1, -1 };
    static const int32_t length = 2;
    const r2_training_batch batch = {
        .tokens = tokens, .targets = targets, .n_tokens = 2, .lengths = &length, .n_documents = 1
    };
    const r2_loss_weights weights = { .scale = 1, .mtp = mtp_weight };
    r2_training_loss loss;
    int32_t n;
    int64_t *counts = r2i_backward_counts(t->backward, &n);
    if (n > 0) memcpy(t->counts, counts, (size_t)n * sizeof *counts);
    const r2_status status = is_training ? r2_trainer_add(t, &batch, &weights, &loss, err)
                                         : r2_trainer_evaluate(t, &batch, &loss, err);
    if (n > 0) memcpy(counts, t->counts, (size_t)n * sizeof *counts);
    return status;
}

/* ---- batches ---- */

static r2_status check_sizes(const r2_trainer *t, const r2_training_batch *b, r2_error *err) {
    int64_t n = 0;
    if (b->n_tokens < 1 || b->n_tokens > t->limits.cap_rows)
        return r2i_fail(err, R2_E_ARGUMENT, "batch: expected 1 to %d tokens, found %d",
                        t->limits.cap_rows, b->n_tokens);
    if (b->n_documents < 1 || b->n_documents > t->limits.cap_documents)
        return r2i_fail(err, R2_E_ARGUMENT, "batch: expected 1 to %d documents, found %d",
                        t->limits.cap_documents, b->n_documents);
    for (int32_t d = 0; d < b->n_documents; d++) {
        if (b->lengths[d] < 1 || b->lengths[d] > t->limits.cap_document)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "batch: document %d: expected 1 to %d tokens, found %d", d,
                            t->limits.cap_document, b->lengths[d]);
        n += b->lengths[d];
    }
    if (n != b->n_tokens)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "batch: expected documents of %d tokens in all, found %lld", b->n_tokens,
                        (long long)n);
    return R2_OK;
}

/* A parent stands before its continuations and has none itself; both together are within the limit. */
static r2_status check_parents(const r2_trainer *t, const r2_training_batch *b, float mtp,
                               r2_error *err) {
    if (b->parents == NULL) return R2_OK;
    if (!t->limits.has_continuations)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "batch: expected a trainer that was opened for continuations");
    if (mtp > 0 && t->model->weights.has_mtp)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "batch: expected no continuations, or no loss of the prediction module");
    for (int32_t d = 0; d < b->n_documents; d++) {
        const int32_t parent = b->parents[d];
        if (parent == -1) continue;
        if (parent < 0 || parent >= d || b->parents[parent] != -1)
            return r2i_fail(
                err, R2_E_ARGUMENT,
                "batch: document %d: expected to continue an earlier one that continues "
                "none, found %d",
                d, parent);
        if (b->lengths[d] > t->limits.cap_document - b->lengths[parent])
            return r2i_fail(
                err, R2_E_ARGUMENT,
                "batch: document %d: expected %d tokens with the one it continues, found "
                "%d and %d",
                d, t->limits.cap_document, b->lengths[parent], b->lengths[d]);
    }
    return R2_OK;
}

static r2_status check_soft(const r2_trainer *t, const r2_training_batch *b, r2_error *err) {
    if (b->soft == NULL) return R2_OK;
    if (!t->limits.is_soft)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "batch: expected a trainer that was opened for soft targets");
    return r2i_soft_targets_check(b->soft, b->targets, b->n_tokens, t->model->config.n_vocab, err);
}

static r2_status take_batch(r2_trainer *t, const r2_training_batch *b, const r2_loss_weights *w,
                            r2i_train_batch *out, int32_t *n_targets, r2_error *err) {
    const int32_t n_vocab = t->model->config.n_vocab;
    R2I_TRY(check_sizes(t, b, err));
    R2I_TRY(check_parents(t, b, w->mtp, err));
    R2I_TRY(check_soft(t, b, err));
    R2I_TRY(r2i_expert_routes_check(b->routes, &t->model->config, b->n_tokens, err));
    if (b->policy != NULL) {
        R2I_TRY(r2i_policy_check(b->policy, b->n_documents, err));
        if (b->soft != NULL)
            return r2i_fail(err, R2_E_ARGUMENT, "batch: expected soft targets or a policy");
    }
    *n_targets = 0;
    for (int32_t i = 0; i < b->n_tokens; i++) {
        if (b->tokens[i] < 0 || b->tokens[i] >= n_vocab || b->targets[i] < -1 ||
            b->targets[i] >= n_vocab)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "batch: position %d: expected tokens below %d, found %d and then %d", i,
                            n_vocab, b->tokens[i], b->targets[i]);
        const float weight = b->weights != NULL ? b->weights[i] : 1;
        t->targets[i] = r2i_max_i32(0, b->targets[i]);
        t->weights[i] = b->targets[i] >= 0 ? weight * w->scale : 0;
        *n_targets += b->targets[i] >= 0 && weight != 0;
    }
    *out = (r2i_train_batch){ .tokens = b->tokens,
                              .n_rows = b->n_tokens,
                              .lengths = b->lengths,
                              .parents = b->parents,
                              .n_documents = b->n_documents,
                              .targets = t->targets,
                              .weights = t->weights,
                              .soft = b->soft,
                              .policy = b->policy,
                              .routes = b->routes,
                              .balance_weight = w->scale * w->balance,
                              .mtp_weight = w->mtp };
    return R2_OK;
}

static bool is_from_zero_on(double x) {
    return isfinite(x) && x >= 0;
}

r2_status r2_trainer_add(r2_trainer *trainer, const r2_training_batch *batch,
                         const r2_loss_weights *weights, r2_training_loss *loss, r2_error *err) {
    r2i_train_batch b;
    const double scale = (double)weights->scale;
    *loss = (r2_training_loss){ 0 };
    if (!(is_from_zero_on(scale) && scale > 0) || !is_from_zero_on((double)weights->mtp) ||
        !is_from_zero_on((double)weights->balance))
        return r2i_fail(err, R2_E_ARGUMENT,
                        "batch: expected a scale above 0 and other weights from 0 on");
    R2I_TRY(take_batch(trainer, batch, weights, &b, &loss->n_targets, err));
    const r2i_train_loss found = r2i_backward_run(trainer->backward, &b);
    loss->loss = found.loss / scale;
    loss->soft_loss = found.soft_loss / scale;
    loss->mtp_loss = found.mtp_loss / scale;
    if (weights->balance > 0)
        loss->balance_loss = found.balance_loss / scale / (double)weights->balance;
    return R2_OK;
}

r2_status r2_trainer_evaluate(r2_trainer *trainer, const r2_training_batch *batch,
                              r2_training_loss *loss, r2_error *err) {
    static const r2_loss_weights plain = { .scale = 1, .mtp = 1 };
    r2i_train_batch b;
    *loss = (r2_training_loss){ 0 };
    R2I_TRY(take_batch(trainer, batch, &plain, &b, &loss->n_targets, err));
    const r2i_train_loss found = r2i_backward_evaluate(trainer->backward, &b);
    loss->loss = found.loss;
    loss->soft_loss = found.soft_loss;
    loss->mtp_loss = found.mtp_loss;
    return R2_OK;
}

r2_status r2i_trainer_read(r2_trainer *trainer, const r2_training_batch *batch, bool is_base,
                           r2_error *err) {
    static const r2_loss_weights plain = { .scale = 1 };
    r2i_train_batch b;
    int32_t n_targets;
    R2I_TRY(take_batch(trainer, batch, &plain, &b, &n_targets, err));
    b.is_base = is_base;
    (void)r2i_backward_evaluate(trainer->backward, &b);
    return R2_OK;
}

/* ---- steps ---- */

/* Steps what is stepped here; the norm is that of all gradients. */
static double take_step(r2_trainer *t, const r2i_muon_options *o) {
    r2i_adamw *adamw = t->has_muon ? &t->muon.adamw : &t->adamw;
    if (t->ranks != NULL) r2i_exchange_gradients(&t->exchange);
    const double norm = sqrt(r2i_ranks_sum(t->ranks, r2i_adamw_squares(adamw, t->pool)));
    if (!isfinite(norm)) return norm;
    if (t->has_muon)
        r2i_muon_apply(&t->muon, t->pool, o, norm);
    else
        r2i_adamw_apply(adamw, t->pool, &o->rest, norm);
    if (t->ranks != NULL) r2i_exchange_values(&t->exchange);
    r2i_parameters_refresh(&t->parameters);
    return norm;
}

static void add_up_counts(r2_trainer *t) {
    int32_t n;
    int64_t *counts = r2i_backward_counts(t->backward, &n);
    if (t->ranks != NULL && n > 0) r2i_ranks_sum_counts(t->ranks, counts, n, t->counts);
}

r2_status r2_trainer_step(r2_trainer *trainer, const r2_step_options *options,
                          r2_step_result *result, r2_error *err) {
    const r2i_adamw_options o = { .lr = options->lr,
                                  .beta1 = options->beta1 > 0 ? options->beta1 : 0.9,
                                  .beta2 = options->beta2 > 0 ? options->beta2 : 0.95,
                                  .eps = options->eps > 0 ? options->eps : 1e-8,
                                  .weight_decay = options->weight_decay,
                                  .clip = options->clip };
    *result = (r2_step_result){ 0 };
    if (!is_from_zero_on(o.lr) || !(o.beta1 < 1) || !(o.beta2 < 1) || !(options->momentum < 1) ||
        !is_from_zero_on(o.weight_decay) || !(o.clip >= 0) ||
        !is_from_zero_on(options->balance_rate))
        return r2i_fail(err, R2_E_ARGUMENT,
                        "AdamW: expected rates, decay and clip from 0 on and betas below 1");
    const r2i_muon_options muon = { o, options->momentum > 0 ? options->momentum : 0.95 };
    result->gradient_norm = take_step(trainer, &muon);
    R2I_TRY(r2i_ranks_check(trainer->ranks, err));
    if (!isfinite(result->gradient_norm))
        return r2i_fail(err, R2_E_RANGE, "step %lld: the gradient is no finite number",
                        (long long)n_steps_of(trainer) + 1);
    add_up_counts(trainer);
    result->expert_load = r2i_backward_balance(
        trainer->backward, trainer->parameters.lora == NULL ? options->balance_rate : 0);
    return r2i_ranks_check(trainer->ranks, err);
}
