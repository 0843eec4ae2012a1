/* gqa_backward.c - backward twin of grouped-query attention (model/gqa.c), step for step the other
 * way:  o, softmax attention, rotation, head norms, projections, norm. */
#include "train/backward/backward_state.h"

/* g [n_rows, n_heads, d_head]: back through the norm of each head. */
static void head_norm_backward(r2i_backward *b, const float *raw, const float *weight, float *g,
                               int32_t n_heads) {
    const size_t d = (size_t)b->config->d_head;
    const r2i_norm_backward norm = { .n_rows = b->batch.n_rows * n_heads,
                                     .n_cols = b->config->d_head,
                                     .eps = b->config->norm_eps,
                                     .weight = weight,
                                     .x = raw,
                                     .g_y = g,
                                     .g_x = g,
                                     .x_stride = d,
                                     .g_y_stride = d,
                                     .g_x_stride = d,
                                     .g_weight = r2i_gradient_of(b->parameters, weight),
                                     .row_scales = b->row_scales };
    if (weight != NULL) r2i_norm_run_backward(b->pool, &norm);
}

static void heads_backward(r2i_backward *b, const float *raw, const float *weight, float *g,
                           int32_t n_heads) {
    const size_t d = (size_t)b->config->d_head;
    r2i_rotate_back(b, g, n_heads, d, (size_t)n_heads * d, b->batch.n_rows);
    head_norm_backward(b, raw, weight, g, n_heads);
}

void r2i_gqa_backward(r2i_backward *b, int32_t layer, const r2i_layer_saved *saved) {
    const r2i_config *c = b->config;
    const r2i_layer *l = &b->weights->layers[layer];
    const int32_t n_rows = b->batch.n_rows;
    r2i_linear_backward(b, &l->o, b->g_x, saved->attended, b->g_attended, false, n_rows);
    const r2i_attention_backward attention = { .n_kv_heads = c->n_kv_heads,
                                               .group = c->n_heads / c->n_kv_heads,
                                               .d_key = c->d_head,
                                               .d_value = c->d_value,
                                               .window = c->layers[layer].window,
                                               .scale = c->attention_scale,
                                               .q = saved->gqa.q,
                                               .k = saved->gqa.k,
                                               .v = saved->gqa.v,
                                               .g_out = b->g_attended,
                                               .g_q = b->g_q,
                                               .g_k = b->g_k,
                                               .g_v = b->g_v };
    r2i_attention_run_backward(&b->attention, &attention, b->batch.runs, b->batch.n_runs);
    heads_backward(b, saved->gqa.q_raw, l->q_norm, b->g_q, c->n_heads);
    heads_backward(b, saved->gqa.k_raw, l->k_norm, b->g_k, c->n_kv_heads);
    const r2i_linear_gradient qkv[] = { { &l->q, b->g_q }, { &l->k, b->g_k }, { &l->v, b->g_v } };
    r2i_normed_linears_backward(b, qkv, 3, saved->x, l->attention_norm, b->g_normed, n_rows);
    r2i_block_norm_backward(b, saved->x, l->attention_norm, b->g_normed, b->g_x, n_rows);
}
