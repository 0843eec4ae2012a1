/* mla_backward.c - backward twin of multi-head latent attention (model/mla.c).
 *
 * The forward pass scores absorbed queries against latent rows; its gradient is that of the expanded
 * form, which is the same function and costs less here:
 *     k_h = [Wk_h u | k_pe],  v_h = Wv_h u,  u = RMSNorm(c),  [c | k_pe'] = kv_a n */
#include <string.h>

#include "train/backward/backward_state.h"

enum { GRAIN_ROWS = 8 };

typedef struct {
    r2i_backward *b;
    const r2i_layer_saved *saved;
} mla_region;

/* The normed part of each latent row, dense. */
static void copy_plain(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const mla_region *region = argument;
    r2i_backward *b = region->b;
    const size_t rank = (size_t)b->config->kv_rank, d_row = rank + (size_t)b->config->rope.d;
    (void)worker;
    for (size_t row = (size_t)begin; row < (size_t)end; row++)
        memcpy(b->mla.plain + row * rank, region->saved->mla.latent + row * d_row,
               rank * sizeof(float));
}

/* Keys and values of all heads from kv = kv_b u. */
static void assemble_heads(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const mla_region *region = argument;
    r2i_backward *b = region->b;
    const r2i_config *c = b->config;
    const size_t d_rope = (size_t)c->rope.d, d_nope = (size_t)c->d_head - d_rope,
                 d_value = (size_t)c->d_value, d_row = (size_t)c->kv_rank + d_rope;
    (void)worker;
    for (size_t row = (size_t)begin; row < (size_t)end; row++) {
        const float *k_pe = region->saved->mla.latent + row * d_row + c->kv_rank;
        for (size_t h = 0; h < (size_t)c->n_heads; h++) {
            const size_t head = row * (size_t)c->n_heads + h;
            const float *kv = b->mla.kv + head * (d_nope + d_value);
            float *k = b->k + head * (d_nope + d_rope);
            memcpy(k, kv, d_nope * sizeof *k);
            memcpy(k + d_nope, k_pe, d_rope * sizeof *k);
            memcpy(b->v + head * d_value, kv + d_nope, d_value * sizeof *k);
        }
    }
}

/* Gradients of keys and values to those of kv and, over all heads, of the rotated part. */
static void take_apart(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const mla_region *region = argument;
    r2i_backward *b = region->b;
    const r2i_config *c = b->config;
    const size_t d_rope = (size_t)c->rope.d, d_nope = (size_t)c->d_head - d_rope,
                 d_value = (size_t)c->d_value, d_row = (size_t)c->kv_rank + d_rope;
    (void)worker;
    for (size_t row = (size_t)begin; row < (size_t)end; row++) {
        float *g_pe = b->mla.g_latent + row * d_row + c->kv_rank;
        memset(g_pe, 0, d_rope * sizeof *g_pe);
        for (size_t h = 0; h < (size_t)c->n_heads; h++) {
            const size_t head = row * (size_t)c->n_heads + h;
            const float *g_k = b->g_k + head * (d_nope + d_rope);
            float *g_kv = b->mla.g_kv + head * (d_nope + d_value);
            memcpy(g_kv, g_k, d_nope * sizeof *g_kv);
            memcpy(g_kv + d_nope, b->g_v + head * d_value, d_value * sizeof *g_kv);
            for (size_t i = 0; i < d_rope; i++)
                g_pe[i] += g_k[d_nope + i];
        }
    }
}

static void expand(r2i_backward *b, int32_t layer, mla_region *region) {
    const r2i_matrix *kv_b =
        b->parameters->lora != NULL ? r2i_lora_kv_b(b, layer) : &b->parameters->kv_b[layer];
    const int32_t n_rows = b->batch.n_rows;
    b->mla.kv_b = kv_b;
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, copy_plain, region);
    const r2i_product product = { .layout = kv_b->layout == R2I_TYPE_F32 ? R2I_TYPE_F32 : b->layout,
                                  .n_rows = n_rows,
                                  .n_out = kv_b->n_rows,
                                  .n_in = kv_b->n_cols,
                                  .x = b->mla.plain,
                                  .weights = (const float *)(const void *)kv_b->stored,
                                  .y = b->mla.kv };
    r2i_products_outputs(&b->products, &product);
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, assemble_heads, region);
}

/* From g_plain and the rotated parts in g_latent to g_latent before norm and rotation. */
static void latent_backward(r2i_backward *b, const r2i_layer *l, const r2i_layer_saved *saved) {
    const r2i_config *c = b->config;
    const size_t d_row = (size_t)(c->kv_rank + c->rope.d);
    const r2i_norm_backward norm = { .n_rows = b->batch.n_rows,
                                     .n_cols = c->kv_rank,
                                     .eps = c->latent_norm_eps,
                                     .weight = l->kv_a_norm,
                                     .x = saved->mla.latent_raw,
                                     .g_y = b->mla.g_plain,
                                     .g_x = b->mla.g_latent,
                                     .x_stride = d_row,
                                     .g_y_stride = (size_t)c->kv_rank,
                                     .g_x_stride = d_row,
                                     .g_weight = r2i_gradient_of(b->parameters, l->kv_a_norm),
                                     .row_scales = b->row_scales };
    r2i_rotate_back(b, b->mla.g_latent + c->kv_rank, 1, 0, d_row, b->batch.n_rows);
    r2i_norm_run_backward(b->pool, &norm);
}

/* Of queries and of latent rows, to g_normed. */
static void projections_backward(r2i_backward *b, const r2i_layer *l,
                                 const r2i_layer_saved *saved) {
    const r2i_config *c = b->config;
    const int32_t n_rows = b->batch.n_rows;
    const size_t d = (size_t)c->d_head, rank = (size_t)c->q_rank;
    r2i_rotate_back(b, b->g_q + (c->d_head - c->rope.d), c->n_heads, d, (size_t)c->n_heads * d,
                    n_rows);
    if (c->q_rank == 0) {
        const r2i_linear_gradient direct[] = { { &l->kv_a, b->mla.g_latent }, { &l->q, b->g_q } };
        r2i_linears_backward(b, direct, 2, b->normed, b->g_normed, false, n_rows);
        return;
    }
    r2i_norm_again(b, b->mla.q_low, saved->mla.q_low, l->q_a_norm, c->latent_norm_eps, n_rows,
                   c->q_rank);
    r2i_linear_backward(b, &l->q, b->g_q, b->mla.q_low, b->mla.g_q_low, false, n_rows);
    const r2i_norm_backward norm = { .n_rows = n_rows,
                                     .n_cols = c->q_rank,
                                     .eps = c->latent_norm_eps,
                                     .weight = l->q_a_norm,
                                     .x = saved->mla.q_low,
                                     .g_y = b->mla.g_q_low,
                                     .g_x = b->mla.g_q_low,
                                     .x_stride = rank,
                                     .g_y_stride = rank,
                                     .g_x_stride = rank,
                                     .g_weight = r2i_gradient_of(b->parameters, l->q_a_norm),
                                     .row_scales = b->row_scales };
    r2i_norm_run_backward(b->pool, &norm);
    const r2i_linear_gradient both[] = { { &l->kv_a, b->mla.g_latent },
                                         { &l->q_a, b->mla.g_q_low } };
    r2i_linears_backward(b, both, 2, b->normed, b->g_normed, false, n_rows);
}

void r2i_mla_backward(r2i_backward *b, int32_t layer, const r2i_layer_saved *saved) {
    const r2i_config *c = b->config;
    const r2i_layer *l = &b->weights->layers[layer];
    const int32_t n_rows = b->batch.n_rows;
    mla_region region = { b, saved };
    r2i_linear_backward(b, &l->o, b->g_x, saved->attended, b->g_attended, false, n_rows);
    expand(b, layer, &region);
    const r2i_attention_backward attention = { .n_kv_heads = c->n_heads,
                                               .group = 1,
                                               .d_key = c->d_head,
                                               .d_value = c->d_value,
                                               .window = c->layers[layer].window,
                                               .scale = c->attention_scale,
                                               .q = saved->mla.q,
                                               .k = b->k,
                                               .v = b->v,
                                               .g_out = b->g_attended,
                                               .g_q = b->g_q,
                                               .g_k = b->g_k,
                                               .g_v = b->g_v };
    r2i_attention_run_backward(&b->attention, &attention, b->batch.runs, b->batch.n_runs);
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, take_apart, &region);
    r2i_linear_backward(b, b->mla.kv_b, b->mla.g_kv, b->mla.plain, b->mla.g_plain, false, n_rows);
    latent_backward(b, l, saved);
    r2i_norm_again(b, b->normed, saved->x, l->attention_norm, c->norm_eps, n_rows, c->d_model);
    projections_backward(b, l, saved);
    r2i_block_norm_backward(b, saved->x, l->attention_norm, b->g_normed, b->g_x, n_rows);
}
