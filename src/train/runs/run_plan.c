/* run_plan.c - r2_train_plan: the run's parts are created and not used, so what is predicted is what will
 * be taken. */
#include "train/runs/run_plan.h"

#include "base/checked.h"
#include "base/failure.h"
#include "model/model.h"
#include "train/data/data_manifest.h"
#include "train/distill/distill_run.h"
#include "train/runs/trainer_model.h"

enum { DEFAULT_RUN_TOKENS = 512, DEFAULT_BATCH_TOKENS = 4096 };

r2_trainer_options r2i_run_trainer_options(const r2_train_options *o) {
    r2_trainer_options out = o->trainer;
    if (out.batch_tokens <= 0) out.batch_tokens = DEFAULT_BATCH_TOKENS;
    out.document_tokens =
        r2i_min_i32(out.batch_tokens, o->run_tokens > 0 ? o->run_tokens : DEFAULT_RUN_TOKENS);
    out.takes_soft_targets = o->distill != NULL;
    return out;
}

/* Keys that a token attends to, on the average of runs as long as documents allow. */
static double mean_keys(const r2_data_split *s, int32_t run_tokens) {
    const double mean = s->n_documents > 0 ? (double)s->n_tokens / (double)s->n_documents : 1;
    return ((mean < run_tokens ? mean : run_tokens) + 1) / 2;
}

/* Scores and weighted values, forward once (of latent attention over the latents) and backward twice. */
static double attention_flops(const r2i_config *c, double keys) {
    const double plain = c->d_head + c->d_value,
                 forward = c->kv_rank > 0 ? 2.0 * c->kv_rank + c->rope.d : plain;
    return 2 * (double)c->n_layers * c->n_heads * (forward + 2 * plain) * keys;
}

static r2_status count_data(r2_data_split counts[R2I_N_SPLITS], const r2_train_options *o,
                            r2i_arena *arena, r2_error *err) {
    for (int32_t i = 0; i < o->n_data; i++) {
        r2i_data_manifest manifest;
        R2I_TRY(r2i_manifest_read(&manifest, o->data[i], arena, err));
        const r2_data_split *splits[] = { &manifest.counts.train, &manifest.counts.validation };
        for (int k = 0; k < R2I_N_SPLITS; k++) {
            counts[k].n_documents += splits[k]->n_documents;
            counts[k].n_tokens += splits[k]->n_tokens;
            counts[k].n_targets += splits[k]->n_targets;
        }
    }
    return R2_OK;
}

/* A teacher's panels are filled by and by: what is reserved counts. */
static r2_status add_teacher(r2_train_plan_result *out, const r2_train_options *o,
                             r2_trainer *trainer, r2_error *err) {
    r2i_distill *distill;
    if (o->distill == NULL) return R2_OK;
    r2i_heap *heap = &r2i_trainer_model(trainer)->heap;
    const size_t before = heap->used_bytes;
    R2I_TRY(r2i_distill_open(&distill, o->distill, trainer, o->seed, heap, err));
    out->teacher_bytes = r2i_distill_bytes(distill) + (int64_t)(heap->used_bytes - before);
    r2i_distill_close(distill);
    return R2_OK;
}

/* Two operations per weight and token forward, two for the gradient of what went in and, if the weight is trained,
 * two for its own.  Beside adapters the model itself has no gradients. */
static double product_flops(const r2_trainer_info *t, bool has_adapters) {
    const double active = (double)t->n_active_parameters;
    return has_adapters ? 4 * active + 6 * (double)t->n_parameters : 6 * active;
}

static r2_status fill(r2_train_plan_result *out, const r2_train_options *o, r2_trainer *trainer,
                      r2_error *err) {
    r2_model *model = r2i_trainer_model(trainer);
    r2_data_split counts[R2I_N_SPLITS] = { { 0 } };
    const r2_trainer_options options = r2i_run_trainer_options(o);
    r2_trainer_get_info(trainer, &out->trainer); /* before anything else is taken */
    R2I_TRY(count_data(counts, o, &model->arena, err));
    R2I_TRY(add_teacher(out, o, trainer, err));
    out->memory_bytes = out->trainer.memory_bytes + out->trainer.file_bytes + out->teacher_bytes +
                        r2i_data_stream_bytes(options.batch_tokens, o->step_batches);
    out->n_parameters = model->weights.n_parameters;
    out->n_train_tokens = counts[R2I_SPLIT_TRAIN].n_tokens;
    out->n_validation_tokens = counts[R2I_SPLIT_VALIDATION].n_tokens;
    out->step_tokens = (int64_t)options.batch_tokens * (o->step_batches > 0 ? o->step_batches : 1);
    out->active_flops_per_token = product_flops(&out->trainer, o->trainer.lora.rank > 0);
    out->flops_per_token = out->active_flops_per_token +
                           attention_flops(&model->config, mean_keys(&counts[R2I_SPLIT_TRAIN],
                                                                     options.document_tokens));
    return R2_OK;
}

r2_status r2_train_plan(r2_train_plan_result *out, const r2_train_options *options, r2_error *err) {
    const r2_trainer_options trainer_options = r2i_run_trainer_options(options);
    r2_trainer *trainer;
    *out = (r2_train_plan_result){ 0 };
    R2I_TRY(r2i_trainer_open(&trainer, options->model, &trainer_options, true, err));
    const r2_status status = fill(out, options, trainer, err);
    r2_trainer_close(trainer);
    return status;
}
