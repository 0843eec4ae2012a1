/* trainer.c - r2_trainer: an open model with masters, gradients, moments and a backward pass. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/failure.h"
#include "base/hash.h"
#include "base/utf8_valid.h"
#include "files/atomic_folder.h"
#include "model/model.h"
#include "r2lm/convert.h"
#include "r2lm/train.h"
#include "train/lora/adapter_write.h"
#include "train/backward/backward.h"
#include "train/ranks/expert_ranks.h"
#include "train/ranks/gradient_exchange.h"
#include "train/ranks/lent_values.h"
#include "train/lora/lora_parameters.h"
#include "train/parameters/muon.h"
#include "train/reinforce/policy_loss.h"
#include "train/distill/soft_targets.h"
#include "train/runs/trainer_model.h"
#include "train/parameters/weights_folder.h"

enum { PATH_BYTES = 4096, DEFAULT_TOKENS = 4096, MAX_TOKENS = 1 << 22 };

struct r2_trainer {
    r2_model *model;
    r2i_pool *pool;
    r2i_parameters parameters;
    r2i_muon muon; /* with has_muon; its own AdamW steps what it leaves */
    bool has_muon;
    r2i_adamw adamw; /* otherwise */
    r2i_backward *backward;
    r2i_backward_limits limits;
    r2_ranks *ranks; /* NULL: alone; otherwise with the next three */
    r2i_partition partition;
    r2i_exchange exchange;
    r2i_expert_ranks experts; /* of a partition with own experts */
    r2i_lent_values lent;     /* while the model is written */
    int64_t *counts;          /* [n_ranks, n] rows of experts */
    int32_t *targets;         /* [cap_rows], -1 replaced */
    float *weights;           /* [cap_rows] */
    size_t masters_bytes, gradients_bytes, moments_bytes, activations_bytes;
    char path[PATH_BYTES];
};

/* ---- opening ---- */

static r2_status set_limits(r2_trainer *t, const r2_trainer_options *o, r2_error *err) {
    const int32_t n = o->batch_tokens > 0 ? o->batch_tokens : DEFAULT_TOKENS;
    if (o->batch_tokens < 0 || n > MAX_TOKENS || o->document_tokens < 0 || o->document_tokens > n ||
        o->batch_documents < 0 || o->batch_documents > n)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "training: expected batches of up to %d tokens with documents of no more, "
                        "found %d and %d",
                        MAX_TOKENS, o->batch_tokens, o->document_tokens);
    t->limits = (r2i_backward_limits){ .cap_rows = n,
                                       .cap_document = o->document_tokens,
                                       .cap_documents =
                                           o->batch_documents > 0 ? o->batch_documents : n / 32 + 1,
                                       .is_f32 = t->model->is_f32,
                                       .is_recomputing = o->is_recomputing,
                                       .is_soft = o->takes_soft_targets };
    if (t->limits.cap_document == 0) t->limits.cap_document = n;
    return R2_OK;
}

static r2_status create_optimizer(r2_trainer *t, const r2_trainer_options *o, r2_error *err) {
    r2_model *m = t->model;
    const r2i_partition *partition = t->ranks != NULL ? &t->partition : NULL;
    if (o->optimizer != R2_OPTIMIZER_MUON)
        return r2i_adamw_create(&t->adamw, &t->parameters, partition, false, &m->arena, err);
    const bool is_f32 = m->is_f32 || m->kernels.matmul[R2I_TYPE_BF16] == NULL;
    t->has_muon = true;
    return r2i_muon_create(&t->muon, &t->parameters, partition, &m->kernels,
                           is_f32 ? R2I_TYPE_F32 : R2I_TYPE_BF16, t->pool, &m->arena, err);
}

/* Alone among ranks is alone. */
static r2_status divide_work(r2_trainer *t, const r2_trainer_options *o, r2_error *err) {
    r2i_arena *arena = &t->model->arena;
    const int32_t n = r2_ranks_count(o->ranks);
    if (n == 1) return R2_OK;
    t->ranks = o->ranks;
    const r2i_partition_rules rules = { r2_ranks_index(o->ranks), n,
                                        o->optimizer == R2_OPTIMIZER_MUON, o->divides_experts };
    R2I_TRY(r2i_partition_create(&t->partition, &t->parameters, &rules, arena, err));
    R2I_TRY(r2i_exchange_create(&t->exchange, t->ranks, &t->parameters, &t->partition, t->pool,
                                arena, err));
    if (!o->divides_experts) return R2_OK;
    const r2i_config *c = &t->model->config;
    R2I_TRY(r2i_expert_ranks_create(&t->experts, t->ranks, c->n_experts, c->n_active,
                                    t->limits.cap_rows, (size_t)c->d_model * sizeof(float), arena,
                                    err));
    t->limits.exchange = &t->experts.calls;
    return R2_OK;
}

/* Which experts live here: [*first, *end). */
static r2_status divide_experts(const r2_trainer *t, const r2_trainer_options *o, int32_t *first,
                                int32_t *end, r2_error *err) {
    const int32_t n_experts = t->model->config.n_experts, n = r2_ranks_count(o->ranks),
                  rank = r2_ranks_index(o->ranks);
    const bool is_divided = o->divides_experts && n > 1;
    *first = is_divided ? r2i_first_expert(n_experts, rank, n) : 0;
    *end = is_divided ? r2i_first_expert(n_experts, rank + 1, n) : n_experts;
    if (o->divides_experts && n_experts == 0)
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: expected experts to divide, found none",
                        t->path);
    if (is_divided && o->lora.rank > 0)
        return r2i_fail(err, R2_E_UNSUPPORTED, "adapters are trained with all experts everywhere");
    return R2_OK;
}

/* Gradients of a layer leave for their owners as soon as its backward pass is over. */
static void layer_is_done(void *user, int32_t layer) {
    r2_trainer *t = user;
    r2i_exchange_bucket(&t->exchange, r2i_bucket_of(layer));
}

static r2_status connect_ranks(r2_trainer *t, r2_error *err) {
    int32_t n_counts;
    if (t->ranks == NULL) return R2_OK;
    (void)r2i_backward_counts(t->backward, &n_counts);
    t->counts =
        R2I_ARENA_ARRAY(&t->model->arena, int64_t, (size_t)n_counts * (size_t)t->partition.n_ranks);
    if (t->counts == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for counts of experts");
    r2i_backward_on_layer(t->backward, layer_is_done, t);
    r2i_pool_set_poll(t->pool, r2i_exchange_poll, &t->exchange);
    return R2_OK;
}

static int64_t n_steps_of(const r2_trainer *t) {
    return t->has_muon ? t->muon.adamw.n_steps : t->adamw.n_steps;
}

static r2_status create_parameters(r2_trainer *t, const r2_trainer_options *o, bool is_copying,
                                   r2_error *err) {
    r2_model *m = t->model;
    const r2_lora_options *lora = &o->lora;
    int32_t first_expert, end_expert;
    R2I_TRY(divide_experts(t, o, &first_expert, &end_expert, err));
    if (lora->rank == 0)
        return r2i_parameters_create_part(&t->parameters, &m->config, &m->weights, &m->kernels,
                                          m->is_f32, is_copying, first_expert, end_expert,
                                          &m->arena, err);
    const r2i_lora_rules rules = { .rank = lora->rank,
                                   .alpha =
                                       lora->alpha != 0 ? lora->alpha : (float)(2 * lora->rank),
                                   .has_root_scale = lora->has_root_scale,
                                   .seed = lora->seed,
                                   .targets =
                                       lora->targets != NULL ? lora->targets : "all-linear" };
    return r2i_lora_parameters_create(&t->parameters, &m->config, &m->weights, &m->kernels, &rules,
                                      &m->arena, err);
}

static r2_status create_parts(r2_trainer *t, const r2_trainer_options *o, bool is_plan,
                              r2_error *err) {
    r2_model *m = t->model;
    const size_t *used = &m->arena.used_bytes;
    m->arena.is_mapped = true;
    const int32_t n_threads = o->n_threads > 0 ? o->n_threads : r2i_min_i32(r2i_cpu_count(), 256);
    R2I_TRY(set_limits(t, o, err));
    R2I_TRY(r2i_pool_create(&t->pool, n_threads, &m->heap, err));
    R2I_TRY(create_parameters(t, o, !is_plan, err));
    if (t->parameters.lora == NULL) r2i_model_forget_files(m); /* the masters are copies */
    R2I_TRY(divide_work(t, o, err));
    t->masters_bytes = t->gradients_bytes = t->parameters.n_values * sizeof(float);
    t->moments_bytes = *used;
    R2I_TRY(create_optimizer(t, o, err));
    t->moments_bytes = *used - t->moments_bytes;
    t->activations_bytes = *used;
    R2I_TRY(r2i_backward_create(&t->backward, &t->parameters, &m->kernels, t->pool, &t->limits,
                                &m->arena, err));
    R2I_TRY(connect_ranks(t, err));
    t->targets = R2I_ARENA_ARRAY(&m->arena, int32_t, (size_t)t->limits.cap_rows);
    t->weights = R2I_ARENA_ARRAY(&m->arena, float, (size_t)t->limits.cap_rows);
    t->activations_bytes = *used - t->activations_bytes;
    if (t->targets != NULL && t->weights != NULL) return R2_OK;
    return r2i_fail(err, R2_E_NOMEM, "no memory for batches of %d tokens", t->limits.cap_rows);
}

r2_status r2i_trainer_open(r2_trainer **out, const char *path, const r2_trainer_options *options,
                           bool is_plan, r2_error *err) {
    static const r2_trainer_options defaults = { 0 };
    const r2_trainer_options *o = options != NULL ? options : &defaults;
    const r2_model_options model_options = {
        .host = o->host, .cpu = o->cpu, .arithmetic = o->arithmetic, .is_unpacked = true
    };
    r2_model *model;
    *out = NULL;
    R2I_TRY(r2_model_open(&model, path, &model_options, err));
    r2_trainer *t = R2I_ARENA_NEW(&model->arena, r2_trainer);
    if (t == NULL) {
        r2_model_close(model);
        return r2i_fail(err, R2_E_NOMEM, "no memory for a trainer");
    }
    t->model = model;
    model->heap.is_plan = is_plan;
    (void)snprintf(t->path, sizeof t->path, "%s", path);
    const r2_status status = create_parts(t, o, is_plan, err);
    if (status != R2_OK)
        r2_trainer_close(t);
    else
        *out = t;
    return status;
}

r2_status r2_trainer_open(r2_trainer **out, const char *path, const r2_trainer_options *options,
                          r2_error *err) {
    return r2i_trainer_open(out, path, options, false, err);
}

r2_status r2_trainer_plan(r2_trainer_info *out, const char *path, const r2_trainer_options *options,
                          r2_error *err) {
    r2_trainer *t;
    *out = (r2_trainer_info){ 0 };
    R2I_TRY(r2i_trainer_open(&t, path, options, true, err));
    r2_trainer_get_info(t, out);
    r2_trainer_close(t);
    return R2_OK;
}

void r2_trainer_close(r2_trainer *trainer) {
    if (trainer == NULL) return;
    if (trainer->has_muon) r2i_muon_destroy(&trainer->muon);
    r2i_pool_destroy(trainer->pool);
    r2_model_close(trainer->model); /* and with it the memory of the trainer */
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
                                 t->limits.cap_documents, t->pool };
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
    uint64_t hash = R2I_HASH_SEED;
    for (int32_t i = 0; i < t->parameters.n; i++) {
        const r2i_parameter *p = &t->parameters.list[i];
        const int32_t sizes[2] = { p->n_rows, p->n_cols };
        hash = r2i_hash_bytes(hash, p->name, strlen(p->name));
        hash = r2i_hash_bytes(hash, sizes, sizeof sizes);
    }
    return hash;
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
    R2I_TRY(check_soft(t, b, err));
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
                              .n_documents = b->n_documents,
                              .targets = t->targets,
                              .weights = t->weights,
                              .soft = b->soft,
                              .policy = b->policy,
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

r2_status r2i_trainer_read_base(r2_trainer *trainer, const r2_training_batch *batch,
                                r2_error *err) {
    static const r2_loss_weights plain = { .scale = 1 };
    r2i_train_batch b;
    int32_t n_targets;
    R2I_TRY(take_batch(trainer, batch, &plain, &b, &n_targets, err));
    b.is_base = true;
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

/* ---- saving ---- */

static void describe_parameter(void *user, int32_t i, r2i_made_tensor *out) {
    const r2_trainer *t = user;
    const r2i_parameter *p = &t->parameters.list[i];
    *out = (r2i_made_tensor){
        .name = p->name, .is_vector = p->is_vector, .n_rows = p->n_rows, .n_cols = p->n_cols
    };
}

static void copy_row(void *user, int32_t i, int64_t r, float *row) {
    r2_trainer *t = user;
    const r2i_parameter *p = &t->parameters.list[i];
    memcpy(row, r2i_lent_values_of(&t->lent, i) + (size_t)r * (size_t)p->n_cols,
           (size_t)p->n_cols * sizeof *row);
}

static r2_status check_rows(void *user, r2_error *err) {
    const r2_trainer *t = user;
    return r2i_ranks_check(t->ranks, err);
}

/* `source`: the folder that configuration and tokenizer are copied from. */
static r2_status save_with(r2_trainer *trainer, const char *source, const char *out, bool is_f32,
                           bool is_forced, r2_error *err) {
    const r2i_weights_folder files = { .source = source,
                                       .out = out,
                                       .is_forced = is_forced,
                                       .is_bf16 = !is_f32,
                                       .heap = &trainer->model->heap,
                                       .n = trainer->parameters.n,
                                       .describe = describe_parameter,
                                       .make_row = copy_row,
                                       .check = check_rows,
                                       .user = trainer };
    return r2i_weights_folder_write(&files, err);
}

/* A GGUF file has configuration and tokenizer in a form of its own: they come from a folder that is
 * made of it beside `out` and goes again. */
static r2_status save_beside_converted(r2_trainer *trainer, const char *out, bool is_f32,
                                       bool is_forced, r2_error *err) {
    char beside[PATH_BYTES + 16];
    r2i_atomic_folder *folder = NULL;
    const r2_convert_options options = { .is_forced = true,
                                         .n_threads = r2i_pool_threads(trainer->pool) };
    (void)snprintf(beside, sizeof beside, "%.4000s.converted", out);
    R2I_TRY(
        r2i_atomic_folder_begin(&folder, beside, true, "config.json", &trainer->model->heap, err));
    const char *source = r2i_atomic_folder_path(folder);
    r2_status status = r2_convert(trainer->path, source, &options, err);
    if (status == R2_OK) status = save_with(trainer, source, out, is_f32, is_forced, err);
    r2i_atomic_folder_abandon(folder);
    return status;
}

r2_status r2_trainer_save(r2_trainer *trainer, const char *out, bool is_f32, bool is_forced,
                          r2_error *err) {
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    if (trainer->parameters.lora != NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%.150s: an adapter is trained, the model stays as it is: save the adapter",
                        trainer->path);
    if (r2i_trainer_divides_experts(trainer) && trainer->partition.rank > 0) {
        r2i_lend_values(trainer->ranks, &trainer->parameters);
        return r2i_ranks_check(trainer->ranks, err);
    }
    R2I_TRY(r2i_lent_values_open(&trainer->lent, trainer->ranks, &trainer->parameters,
                                 &trainer->partition, &trainer->model->heap, err));
    const r2_status status = trainer->model->has_folder
                                 ? save_with(trainer, trainer->path, out, is_f32, is_forced, err)
                                 : save_beside_converted(trainer, out, is_f32, is_forced, err);
    r2i_lent_values_close(&trainer->lent);
    return status;
}

r2_status r2_trainer_save_adapter(r2_trainer *trainer, const char *out, bool is_forced,
                                  r2_error *err) {
    const size_t n = strlen(out);
    const bool is_gguf = n > 5 && strcmp(out + n - 5, ".gguf") == 0,
               is_text = r2i_utf8_is_valid(trainer->path, strlen(trainer->path));
    const r2i_adapter_output output = { .parameters = &trainer->parameters,
                                        .base = is_text ? trainer->path : "",
                                        .out = out,
                                        .is_forced = is_forced,
                                        .heap = &trainer->model->heap };
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    if (trainer->parameters.lora == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "%.150s: all of the model is trained, no adapter",
                        trainer->path);
    return is_gguf ? r2i_adapter_write_gguf(&output, err) : r2i_adapter_write_folder(&output, err);
}
