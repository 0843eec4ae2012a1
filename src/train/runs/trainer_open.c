/* trainer_open.c - a trainer made: limits, parameters, optimizer, the backward pass, work divided among
 * ranks. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/failure.h"
#include "train/lora/lora_parameters.h"
#include "train/runs/trainer_parts.h"

enum { DEFAULT_TOKENS = 4096, MAX_TOKENS = 1 << 22 };

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
                                       .cap_documents = o->batch_documents > 0
                                                            ? o->batch_documents
                                                            : n / 32 + 1 + o->takes_continuations,
                                       .is_f32 = t->model->is_f32,
                                       .is_recomputing = o->is_recomputing,
                                       .is_soft = o->takes_soft_targets,
                                       .has_continuations = o->takes_continuations };
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
