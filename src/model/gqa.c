/* gqa.c - grouped-query attention:  x += O concat_h softmax(q_h K^T / sqrt(d)) V.
 * Query heads h share key/value head h / group (Ainslie et al. 2023, arXiv:2305.13245). */
#include "model/attention.h"

typedef struct {
    r2i_forward *f;
    int32_t layer;
} layer_region;

static void norm_and_rotate(const r2i_forward *f, float *heads, int32_t n_heads, const float *norm,
                            int32_t row) {
    const r2i_config *c = f->parts.config;
    for (int32_t h = 0; h < n_heads; h++) {
        float *head = heads + (size_t)h * (size_t)c->d_head;
        if (norm != NULL) f->parts.kernels->rmsnorm(head, head, norm, c->d_head, c->norm_eps);
        r2i_forward_rotate(f, head, row);
    }
}

/* Keys and values [n_kv_heads, d_head] of a position to its page. */
static void store_row(const r2i_forward *f, const r2i_cache_stream *streams, uint8_t *page,
                      int32_t position, const float *k, const float *v) {
    const r2i_config *c = f->parts.config;
    const size_t n = (size_t)c->n_kv_heads, d = (size_t)c->d_head;
    for (size_t head = 0; head < n; head++) {
        f->parts.kernels->store_row(
            f->parts.cache->rows, page + streams[0].offset + head * (streams[0].n_bytes / n),
            page + streams[1].offset + head * (streams[1].n_bytes / n), position % R2I_PAGE_TOKENS,
            k + head * d, v + head * d, c->d_head, c->d_head);
    }
}

static void store_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const layer_region *region = argument;
    r2i_forward *f = region->f;
    const r2i_config *c = f->parts.config;
    const r2i_layer *layer = &f->parts.weights->layers[region->layer];
    const r2i_cache_stream *streams = r2i_cache_streams_of(f->parts.cache, region->layer);
    const size_t d = (size_t)c->d_head;
    const r2i_gqa_saved none = { .q_raw = NULL },
                        *saved = f->saved != NULL ? &f->saved->gqa : &none;
    const int32_t d_q = c->n_heads * c->d_head, d_kv = c->n_kv_heads * c->d_head;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        float *q = f->q + (size_t)row * (size_t)c->n_heads * d,
              *k = f->k + (size_t)row * (size_t)c->n_kv_heads * d;
        float *v = f->v + (size_t)row * (size_t)c->n_kv_heads * d;
        r2i_keep_row(saved->q_raw, (size_t)row, q, d_q);
        r2i_keep_row(saved->k_raw, (size_t)row, k, d_kv);
        norm_and_rotate(f, q, c->n_heads, layer->q_norm, row);
        norm_and_rotate(f, k, c->n_kv_heads, layer->k_norm, row);
        r2i_forward_bound(k, c->n_kv_heads * c->d_head);
        r2i_forward_bound(v, c->n_kv_heads * c->d_value);
        r2i_keep_row(saved->q, (size_t)row, q, d_q);
        r2i_keep_row(saved->k, (size_t)row, k, d_kv);
        r2i_keep_row(saved->v, (size_t)row, v, d_kv);
        const int32_t position = f->positions[row];
        const r2i_run *run = r2i_batch_find_run(&f->batch, row);
        store_row(f, streams, run->pages[position / R2I_PAGE_TOKENS], position, k, v);
        for (int32_t i = 0; i < r2i_run_copies(run, position); i++)
            store_row(f, streams, run->copies[i], position, k, v);
    }
}

void r2i_gqa_run(r2i_forward *f, int32_t i) {
    const r2i_config *c = f->parts.config;
    r2i_layer *layer = &f->parts.weights->layers[i];
    const int32_t n_rows = f->batch.n_rows, d = c->d_model, d_q = c->n_heads * c->d_head;
    const size_t d_kv = (size_t)(c->n_kv_heads * c->d_head);
    const unsigned mask = r2i_matrix_act_mask(&layer->q) | r2i_matrix_act_mask(&layer->k) |
                          r2i_matrix_act_mask(&layer->v);
    const r2i_row_norm norm = { layer->attention_norm, c->norm_eps };
    r2i_forward_prepare(f, &f->input, f->x, (size_t)d, &norm, n_rows, d, mask);
    const r2i_linear_output qkv[] = {
        { .matrix = &layer->q, .y = f->q, .y_stride = (size_t)d_q },
        { .matrix = &layer->k, .y = f->k, .y_stride = d_kv },
        { .matrix = &layer->v, .y = f->v, .y_stride = d_kv },
    };
    r2i_linear(&f->linear, qkv, 3, &f->input, n_rows);
    layer_region region = { f, i };
    r2i_forward_over_rows(f, n_rows, store_rows, &region);
    const r2i_cache_stream *streams = r2i_cache_streams_of(f->parts.cache, i);
    const r2i_attention attention = { .n_kv_heads = c->n_kv_heads,
                                      .group = r2i_attention_group(c),
                                      .d_key = c->d_head,
                                      .d_value = c->d_value,
                                      .window = c->layers[i].window,
                                      .scale = c->attention_scale,
                                      .keys = &streams[0],
                                      .values = &streams[1],
                                      .q = f->q,
                                      .out = f->attended };
    r2i_attention_run(f, &attention);
    r2i_forward_add_attended(f, &layer->o);
}
