/* mla.c - multi-head latent attention in its absorbed form (DeepSeek-V2, arXiv:2405.04434, 2.1).
 *
 * The cache holds one row per token for all heads: u = RMSNorm(first kv_rank numbers of kv_a n) and a
 * rotated key part.  Instead of expanding k_h = [Wk_h u | k_pe] and v_h = Wv_h u for every cached
 * token, Wk_h moves to the query and Wv_h to the result:
 *     score_t = scale ([Wk_h^T q_nope | q_pe] . [u_t | k_pe_t]),   out_h = Wv_h sum_t p_t u_t
 * which is attention of all heads over one key/value head whose values are the start of its keys. */
#include <string.h>

#include "model/attention.h"

enum { SMALL_BATCH = 8 };

typedef struct {
    r2i_forward *f;
    int32_t layer;
} layer_region;

static void rotate(const r2i_forward *f, float *part, int32_t row) {
    const r2i_config *c = f->parts.config;
    const size_t half = (size_t)c->rope.d / 2;
    f->parts.kernels->rope(part, f->cosine + (size_t)row * half, f->sine + (size_t)row * half,
                           c->rope.d, c->rope.is_interleaved);
}

/* Latent rows to the cache, the rotated parts of the queries behind the places of their latent ones. */
static void store_latents(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const layer_region *region = argument;
    r2i_forward *f = region->f;
    const r2i_config *c = f->parts.config;
    const r2i_layer *layer = &f->parts.weights->layers[region->layer];
    const r2i_cache_stream *stream = r2i_cache_streams_of(f->parts.cache, region->layer);
    const int32_t d_row = c->kv_rank + c->rope.d, d_nope = c->d_head - c->rope.d;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        float *latent = f->k + (size_t)row * (size_t)d_row;
        f->parts.kernels->rmsnorm(latent, latent, layer->kv_a_norm, c->kv_rank, c->latent_norm_eps);
        rotate(f, latent + c->kv_rank, row);
        const int32_t position = f->positions[row];
        uint8_t *page = r2i_batch_find_run(f->batch, row)->pages[position / R2I_PAGE_TOKENS];
        f->parts.kernels->store_row(f->parts.cache->rows, page + stream->offset, NULL,
                                    position % R2I_PAGE_TOKENS, latent, NULL, d_row, 0);
        for (int32_t h = 0; h < c->n_heads; h++) {
            const size_t head = (size_t)row * (size_t)c->n_heads + (size_t)h;
            float *rotated = f->mla.q + head * (size_t)d_row + c->kv_rank;
            memcpy(rotated, f->q + head * (size_t)c->d_head + d_nope,
                   (size_t)c->rope.d * sizeof *rotated);
            rotate(f, rotated, row);
        }
    }
}

static void project_queries(r2i_forward *f, r2i_layer *layer) {
    const r2i_config *c = f->parts.config;
    const int32_t n_rows = f->batch->n_rows, d = c->d_model, d_row = c->kv_rank + c->rope.d;
    const bool has_q_a = c->q_rank > 0;
    const r2i_row_norm norm = { layer->attention_norm, c->norm_eps },
                       q_norm = { layer->q_a_norm, c->latent_norm_eps };
    r2i_matrix *first = has_q_a ? &layer->q_a : &layer->q;
    r2i_forward_prepare(f, &f->input, f->x, (size_t)d, &norm, n_rows, d,
                        r2i_matrix_act_mask(first) | r2i_matrix_act_mask(&layer->kv_a));
    const r2i_linear_output outputs[] = {
        { .matrix = first, .y = has_q_a ? f->mla.q_low : f->q, .y_stride = (size_t)first->n_rows },
        { .matrix = &layer->kv_a, .y = f->k, .y_stride = (size_t)d_row },
    };
    r2i_linear(&f->linear, outputs, 2, &f->input, n_rows);
    if (!has_q_a) return;
    r2i_forward_prepare(f, &f->mla.q_low_act, f->mla.q_low, (size_t)c->q_rank, &q_norm, n_rows,
                        c->q_rank, r2i_matrix_act_mask(&layer->q));
    const r2i_linear_output q = { .matrix = &layer->q,
                                  .y = f->q,
                                  .y_stride = (size_t)(c->n_heads * c->d_head) };
    r2i_linear(&f->linear, &q, 1, &f->mla.q_low_act, n_rows);
}

/* y_h = matrices[h] x_h for all rows and heads. */
static void project_heads(r2i_forward *f, r2i_matrix *matrices, const float *x, size_t x_stride,
                          float *y, size_t y_stride) {
    const r2i_config *c = f->parts.config;
    const int32_t n_rows = f->batch->n_rows;
    r2i_forward_prepare(f, &f->mla.head_act, x, x_stride, NULL, n_rows * c->n_heads,
                        matrices->n_cols, r2i_matrix_act_mask(matrices));
    const r2i_linear_each each = { .matrices = matrices,
                                   .n = c->n_heads,
                                   .x = &f->mla.head_act,
                                   .n_tokens = n_rows,
                                   .y = y,
                                   .y_stride = y_stride };
    r2i_linear_run_each(&f->linear, &each);
}

void r2i_mla_run(r2i_forward *f, int32_t i) {
    const r2i_config *c = f->parts.config;
    r2i_layer *layer = &f->parts.weights->layers[i];
    const int32_t n_rows = f->batch->n_rows, d_row = c->kv_rank + c->rope.d,
                  d_o = c->n_heads * c->d_value;
    project_queries(f, layer);
    layer_region region = { f, i };
    if (n_rows < SMALL_BATCH)
        store_latents(&region, 0, n_rows, 0);
    else
        r2i_pool_run(f->parts.pool, n_rows, SMALL_BATCH, store_latents, &region);
    project_heads(f, layer->absorb_k, f->q, (size_t)c->d_head, f->mla.q, (size_t)d_row);
    const r2i_attention attention = { .n_kv_heads = 1,
                                      .group = c->n_heads,
                                      .d_key = d_row,
                                      .d_value = c->kv_rank,
                                      .window = c->layers[i].window,
                                      .scale = c->attention_scale,
                                      .keys = r2i_cache_streams_of(f->parts.cache, i),
                                      .q = f->mla.q,
                                      .out = f->mla.z };
    r2i_attention_run(f, &attention);
    project_heads(f, layer->expand_v, f->mla.z, (size_t)c->kv_rank, f->attended,
                  (size_t)c->d_value);
    r2i_forward_prepare(f, &f->attended_act, f->attended, (size_t)d_o, NULL, n_rows, d_o,
                        r2i_matrix_act_mask(&layer->o));
    const r2i_linear_output o = {
        .matrix = &layer->o, .y = f->x, .y_stride = (size_t)c->d_model, .is_added = true
    };
    r2i_linear(&f->linear, &o, 1, &f->attended_act, n_rows);
}
