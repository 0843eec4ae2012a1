#include "train/backward/backward.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "model/rope.h"
#include "train/backward/backward_state.h"
#include "train/lora/lora_parameters.h"

enum { COLUMN_BLOCK = 64, GRAIN_ROWS = 16 };

/* ---- the batch ---- */

static void turn_positions(void *argument, int32_t begin, int32_t end, int32_t worker) {
    r2i_backward *b = argument;
    const int32_t d = b->config->rope.d;
    (void)worker;
    for (int32_t r = begin; r < end; r++) {
        const r2i_run *run = &b->batch.runs[r];
        for (int32_t i = 0; i < run->n_rows; i++) {
            const size_t at = (size_t)(run->first_row + i) * (size_t)(d / 2);
            r2i_rope_row(b->cosine + at, b->sine + at, b->inv_freq, b->rope_factor, d,
                         run->first_position + i);
            for (int32_t j = 0; j < d / 2; j++)
                b->sine[at + (size_t)j] = -b->sine[at + (size_t)j];
        }
    }
}

static void set_current(r2i_backward *b, const r2i_batch *batch) {
    if (b->batch.runs == batch->runs && b->batch.n_rows == batch->n_rows) return;
    b->batch = *batch;
    r2i_pool_run(b->pool, batch->n_runs, 1, turn_positions, b);
}

static void set_documents(r2i_backward *b, const r2i_train_batch *batch) {
    const r2i_lora_parameters *lora = b->parameters->lora;
    const int32_t n = r2i_document_pages_set(&b->pages, batch->lengths, batch->parents,
                                             batch->n_documents, b->runs);
    R2I_ASSERT(n == batch->n_rows && n <= b->limits.cap_rows);
    for (int32_t doc = 0; lora != NULL && !batch->is_base && doc < batch->n_documents; doc++) {
        b->runs[doc].lora = lora->pairs;
        b->runs[doc].lora_scale = 1;
    }
    b->batch =
        (r2i_batch){ 0 }; /* the runs' memory is the same every time: their lengths are not */
    const r2i_batch main_batch = { batch->tokens, batch->n_rows, b->runs, batch->n_documents };
    set_current(b, &main_batch);
}

static void set_routes(r2i_backward *b, const r2_expert_routes *routes) {
    r2i_forward_set_routes(b->forward, routes != NULL ? routes->experts : NULL,
                           routes != NULL && routes->is_given);
}

/* ---- layers ---- */

void r2i_layer_backward(r2i_backward *b, const r2i_batch *batch, int32_t layer) {
    const r2i_layer_config *kinds = &b->config->layers[layer];
    r2i_layer_saved saved = b->saved[layer];
    set_current(b, batch);
    if (b->whole != NULL) {
        r2i_forward_set_saved(b->forward, b->whole);
        r2i_forward_rerun_layer(b->forward, batch, layer, saved.x);
        saved = b->whole[layer];
        saved.x = b->saved[layer].x;
    }
    if (kinds->ffn == R2I_FFN_MOE)
        r2i_moe_backward(b, layer, &saved);
    else
        r2i_mlp_backward(b, layer, &saved);
    if (kinds->attention == R2I_ATTENTION_MLA)
        r2i_mla_backward(b, layer, &saved);
    else
        r2i_gqa_backward(b, layer, &saved);
}

typedef struct {
    float *gradient;
    const int32_t *tokens;
    const float *g_rows;
    int32_t n_rows, d;
} embedding_region;

/* A token may stand in many rows: blocks of columns are split, rows are not. */
static void embedding_columns(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const embedding_region *r = argument;
    const size_t d = (size_t)r->d;
    (void)worker;
    for (int32_t block = begin; block < end; block++) {
        const int32_t first = block * COLUMN_BLOCK, n = r2i_min_i32(COLUMN_BLOCK, r->d - first);
        for (int32_t row = 0; row < r->n_rows; row++) {
            float *to = r->gradient + (size_t)r->tokens[row] * d + first;
            const float *from = r->g_rows + (size_t)row * d + first;
            for (int32_t i = 0; i < n; i++)
                to[i] += from[i];
        }
    }
}

void r2i_embedding_backward(r2i_backward *b, const int32_t *tokens, const float *g_rows,
                            int32_t n_rows) {
    float *gradient = r2i_gradient_of(b->parameters, b->weights->embedding.stored);
    embedding_region region = { gradient, tokens, g_rows, n_rows, b->config->d_model };
    if (gradient != NULL)
        r2i_pool_run(b->pool, r2i_div_up_i32(b->config->d_model, COLUMN_BLOCK), 1,
                     embedding_columns, &region);
}

/* ---- a pass ---- */

void r2i_backward_on_layer(r2i_backward *b, void (*on_layer)(void *user, int32_t layer),
                           void *user) {
    b->on_layer = on_layer;
    b->on_layer_user = user;
}

static void tell(const r2i_backward *b, int32_t layer) {
    if (b->on_layer != NULL) b->on_layer(b->on_layer_user, layer);
}

static r2i_train_loss run(r2i_backward *b, const r2i_train_batch *batch, bool has_gradients) {
    const size_t row_bytes = (size_t)b->config->d_model * sizeof(float);
    const bool has_mtp = batch->mtp_weight > 0 && r2i_mtp_is_there(b->forward);
    float *g_x = has_mtp ? b->mtp.g_main : b->g_x;
    r2i_train_loss out = { 0 };
    b->balance_weight = batch->balance_weight;
    b->balance_loss = 0;
    set_documents(b, batch);
    const r2i_batch main_batch = b->batch;
    r2i_forward_set_saved(b->forward, has_gradients ? b->saved : NULL);
    set_routes(b, batch->routes);
    r2i_forward_run(b->forward, &main_batch);
    if (has_mtp) memcpy(b->x_out, r2i_forward_rows(b->forward), (size_t)batch->n_rows * row_bytes);
    if (has_gradients) memset(g_x, 0, (size_t)batch->n_rows * row_bytes);
    const r2i_head_loss_job head = { .targets = batch->targets,
                                     .weights = batch->weights,
                                     .x = r2i_forward_rows(b->forward),
                                     .norm = b->weights->output_norm,
                                     .matrix = &b->weights->head,
                                     .n_rows = batch->n_rows,
                                     .scale = 1,
                                     .soft = batch->soft,
                                     .soft_loss = &out.soft_loss,
                                     .policy = batch->policy,
                                     .lengths = batch->lengths,
                                     .n_documents = batch->n_documents,
                                     .g_x = has_gradients ? g_x : NULL };
    out.loss = r2i_head_loss(b, &head);
    if (has_mtp) out.mtp_loss = r2i_mtp_train(b, batch, has_gradients);
    if (!has_gradients) return out;
    if (has_mtp) memcpy(b->g_x, g_x, (size_t)batch->n_rows * row_bytes);
    tell(b, b->config->n_layers);
    for (int32_t i = b->config->n_layers - 1; i >= b->parameters->first_layer; i--) {
        r2i_layer_backward(b, &main_batch, i);
        tell(b, i);
    }
    r2i_embedding_backward(b, batch->tokens, b->g_x, batch->n_rows);
    tell(b, -1);
    r2i_forward_set_saved(b->forward, NULL);
    out.balance_loss = b->balance_loss;
    return out;
}

r2i_train_loss r2i_backward_run(r2i_backward *b, const r2i_train_batch *batch) {
    return run(b, batch, true);
}

r2i_train_loss r2i_backward_evaluate(r2i_backward *b, const r2i_train_batch *batch) {
    return run(b, batch, false);
}
