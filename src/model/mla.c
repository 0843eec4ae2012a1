/* mla.c - multi-head latent attention in its absorbed form (DeepSeek-V2, arXiv:2405.04434, 2.1).
 *
 * The cache holds one row per token for all heads: u = RMSNorm(first kv_rank numbers of kv_a n) and a
 * rotated key part.  Instead of expanding k_h = [Wk_h u | k_pe] and v_h = Wv_h u for every cached
 * token, Wk_h moves to the query and Wv_h to the result:
 *     score_t = scale ([Wk_h^T q_nope | q_pe] . [u_t | k_pe_t]),   out_h = Wv_h sum_t p_t u_t
 * which is attention of all heads over one key/value head whose values are the start of its keys.
 *
 * A key then costs 2 kv_rank + rope.d products per head and row instead of d_head + d_value.  So for
 * many rows over many keys (the `fast` form) keys and values are expanded, a few pages at a time.  The
 * results differ by rounding alone. */
#include <string.h>

#include "base/checked.h"
#include "base/half.h"
#include "model/attention.h"

enum {
    EXPAND_ROWS = 64,  /* rows of a run from which expanding pays, measured ... */
    EXPAND_KEYS = 1024 /* ... if there are so many keys */
};

bool r2i_mla_is_expanded(const r2i_forward *f, const r2i_run *run) {
    return f->limits.is_expanding && f->parts.config->kv_rank > 0 && run->n_rows >= EXPAND_ROWS &&
           run->first_position + run->n_rows >= EXPAND_KEYS;
}

typedef struct {
    r2i_forward *f;
    int32_t layer;
} layer_region;

/* Latent rows to the cache, the rotated parts of the queries behind the places of their latent ones. */
static void store_latents(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const layer_region *region = argument;
    r2i_forward *f = region->f;
    const r2i_config *c = f->parts.config;
    const r2i_layer *layer = &f->parts.weights->layers[region->layer];
    const r2i_cache_stream *stream = r2i_cache_streams_of(f->parts.cache, region->layer);
    const int32_t d_row = c->kv_rank + c->rope.d, d_nope = c->d_head - c->rope.d;
    const r2i_mla_saved none = { .q = NULL }, *saved = f->saved != NULL ? &f->saved->mla : &none;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        float *latent = f->k + (size_t)row * (size_t)d_row;
        r2i_keep_row(saved->latent_raw, (size_t)row, latent, d_row);
        f->parts.kernels->rmsnorm(latent, latent, layer->kv_a_norm, c->kv_rank, c->latent_norm_eps);
        r2i_forward_rotate(f, latent + c->kv_rank, row);
        r2i_forward_bound(latent, d_row);
        r2i_keep_row(saved->latent, (size_t)row, latent, d_row);
        const int32_t position = f->positions[row];
        const r2i_run *run = r2i_batch_find_run(&f->batch, row);
        const int32_t n_copies = r2i_run_copies(run, position);
        for (int32_t i = 0; i <= n_copies; i++) {
            uint8_t *page = i < n_copies ? run->copies[i] : run->pages[position / R2I_PAGE_TOKENS];
            f->parts.kernels->store_row(f->parts.cache->rows, page + stream->offset, NULL,
                                        position % R2I_PAGE_TOKENS, latent, NULL, d_row, 0);
        }
        for (int32_t h = 0; h < c->n_heads; h++) {
            const size_t head = (size_t)row * (size_t)c->n_heads + (size_t)h;
            float *rotated = f->q + head * (size_t)c->d_head + d_nope;
            r2i_forward_rotate(f, rotated, row);
            memcpy(f->mla.q + head * (size_t)d_row + c->kv_rank, rotated,
                   (size_t)c->rope.d * sizeof *rotated);
        }
        r2i_keep_row(saved->q, (size_t)row, f->q + (size_t)(row * c->n_heads) * (size_t)c->d_head,
                     c->n_heads * c->d_head);
    }
}

static void project_queries(r2i_forward *f, r2i_layer *layer) {
    const r2i_config *c = f->parts.config;
    const int32_t n_rows = f->batch.n_rows, d = c->d_model, d_row = c->kv_rank + c->rope.d;
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
    if (f->saved != NULL) r2i_forward_keep(f, f->saved->mla.q_low, f->mla.q_low, (size_t)c->q_rank);
    r2i_forward_prepare(f, &f->mla.q_low_act, f->mla.q_low, (size_t)c->q_rank, &q_norm, n_rows,
                        c->q_rank, r2i_matrix_act_mask(&layer->q));
    const r2i_linear_output q = { .matrix = &layer->q,
                                  .y = f->q,
                                  .y_stride = (size_t)(c->n_heads * c->d_head) };
    r2i_linear(&f->linear, &q, 1, &f->mla.q_low_act, n_rows);
}

/* ---- absorbed ---- */

/* y_h = matrices[h] x_h for rows [first, first + n_rows) and all heads. */
static void project_heads(r2i_forward *f, r2i_matrix *matrices, int32_t first, int32_t n_rows,
                          const float *x, size_t x_stride, float *y, size_t y_stride) {
    const size_t n_heads = (size_t)f->parts.config->n_heads, at = (size_t)first * n_heads;
    r2i_forward_prepare(f, &f->mla.head_act, x + at * x_stride, x_stride, NULL,
                        n_rows * (int32_t)n_heads, matrices->n_cols, r2i_matrix_act_mask(matrices));
    const r2i_linear_each each = { .matrices = matrices,
                                   .n = (int32_t)n_heads,
                                   .x = &f->mla.head_act,
                                   .n_tokens = n_rows,
                                   .y = y + at * y_stride,
                                   .y_stride = y_stride };
    r2i_linear_run_each(&f->linear, &each);
}

/* Runs [*begin, *end) are the next ones that are not expanded; false when there are none. */
static bool next_absorbed(const r2i_forward *f, int32_t *begin, int32_t *end) {
    const r2i_batch *batch = &f->batch;
    for (*begin = *end; *begin < batch->n_runs; (*begin)++) {
        if (!r2i_mla_is_expanded(f, &batch->runs[*begin])) break;
    }
    for (*end = *begin; *end < batch->n_runs; (*end)++) {
        if (r2i_mla_is_expanded(f, &batch->runs[*end])) break;
    }
    return *begin < *end;
}

static int32_t rows_between(const r2i_batch *batch, int32_t begin, int32_t end) {
    const r2i_run *last = &batch->runs[end - 1];
    return last->first_row + last->n_rows - batch->runs[begin].first_row;
}

static void attend_absorbed(r2i_forward *f, int32_t i) {
    const r2i_config *c = f->parts.config;
    r2i_layer *layer = &f->parts.weights->layers[i];
    const size_t d_head = (size_t)c->d_head, d_row = (size_t)(c->kv_rank + c->rope.d);
    const r2i_attention attention = { .n_kv_heads = 1,
                                      .group = c->n_heads,
                                      .d_key = c->kv_rank + c->rope.d,
                                      .d_value = c->kv_rank,
                                      .window = c->layers[i].window,
                                      .scale = c->attention_scale,
                                      .keys = r2i_cache_streams_of(f->parts.cache, i),
                                      .q = f->mla.q,
                                      .out = f->mla.z };
    for (int32_t begin, end = 0; next_absorbed(f, &begin, &end);) {
        project_heads(f, layer->absorb_k, f->batch.runs[begin].first_row,
                      rows_between(&f->batch, begin, end), f->q, d_head, f->mla.q, d_row);
    }
    if (f->n_tiles > 0) r2i_attention_run(f, &attention);
    for (int32_t begin, end = 0; next_absorbed(f, &begin, &end);) {
        project_heads(f, layer->expand_v, f->batch.runs[begin].first_row,
                      rows_between(&f->batch, begin, end), f->mla.z, (size_t)c->kv_rank,
                      f->attended, (size_t)c->d_value);
    }
}

/* ---- expanded ---- */

typedef struct {
    r2i_forward *f;
    const r2i_run *run;
    int32_t layer, first_page, n_tokens;
} expand_region;

/* Latent rows of the cache as F32; item = page. */
static void read_latents(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expand_region *region = argument;
    r2i_forward *f = region->f;
    const int32_t d = f->parts.config->kv_rank + f->parts.config->rope.d;
    const r2i_kernels *kernels = f->parts.kernels;
    const r2i_row_kind stored = f->parts.cache->rows, kind = r2i_attended_rows(stored);
    const r2i_worker_scratch *scratch = &f->workers[worker];
    uint8_t *values = scratch->values; /* in the layout of values rows lie together */
    for (int32_t p = begin; p < end; p++) {
        const int32_t first = p * R2I_PAGE_TOKENS;
        const int32_t n = r2i_min_i32(R2I_PAGE_TOKENS, region->n_tokens - first);
        const uint8_t *keys = region->run->pages[region->first_page + p] +
                              r2i_cache_streams_of(f->parts.cache, region->layer)->offset;
        if (kind != stored) {
            kernels->expand_keys(stored, scratch->keys, keys, n, d);
            keys = scratch->keys;
        }
        kernels->latent_values(kind, values, keys, n, d);
        for (int32_t t = 0; t < n; t++) {
            float *row = f->mla.latents + (size_t)(first + t) * (size_t)d;
            const uint16_t *pairs =
                (const uint16_t *)(const void *)values + (size_t)(t / 2 * 2) * (size_t)d + t % 2;
            const float *floats = (const float *)(const void *)values + (size_t)t * (size_t)d;
            for (int32_t j = 0; j < d; j++)
                row[j] = kind == R2I_ROWS_F32 ? floats[j] : r2i_f32_from_bf16(pairs[2 * j]);
        }
    }
}

/* Expanded keys and values to pages; item = token. */
static void store_expanded(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expand_region *region = argument;
    r2i_forward *f = region->f;
    const r2i_config *c = f->parts.config;
    const r2i_row_kind kind = r2i_attended_rows(f->parts.cache->rows);
    const int32_t d_nope = c->d_head - c->rope.d, d_row = c->kv_rank + c->rope.d;
    const size_t key_bytes = r2i_key_page_bytes(kind, c->d_head),
                 head_bytes = key_bytes + r2i_value_page_bytes(kind, c->d_value);
    float *key = f->workers[worker].q; /* [d_head] */
    for (int32_t t = begin; t < end; t++) {
        r2i_forward_bound(f->mla.v + (size_t)t * (size_t)(c->n_heads * c->d_value),
                          c->n_heads * c->d_value);
        const float *latent = f->mla.latents + (size_t)t * (size_t)d_row;
        for (int32_t h = 0; h < c->n_heads; h++) {
            const size_t head = (size_t)t * (size_t)c->n_heads + (size_t)h;
            uint8_t *page =
                f->mla.pages + (size_t)(t / R2I_PAGE_TOKENS * c->n_heads + h) * head_bytes;
            memcpy(key, f->mla.k + head * (size_t)d_nope, (size_t)d_nope * sizeof *key);
            memcpy(key + d_nope, latent + c->kv_rank, (size_t)c->rope.d * sizeof *key);
            r2i_forward_bound(key, d_nope);
            f->parts.kernels->store_row(kind, page, page + key_bytes, t % R2I_PAGE_TOKENS, key,
                                        f->mla.v + head * (size_t)c->d_value, c->d_head,
                                        c->d_value);
        }
    }
}

static void expand_pages(r2i_forward *f, expand_region *region) {
    const r2i_config *c = f->parts.config;
    r2i_layer *layer = &f->parts.weights->layers[region->layer];
    const int32_t n = region->n_tokens;
    r2i_pool_run(f->parts.pool, r2i_div_up_i32(n, R2I_PAGE_TOKENS), 1, read_latents, region);
    r2i_forward_prepare(
        f, &f->mla.latent_act, f->mla.latents, (size_t)(c->kv_rank + c->rope.d), NULL, n,
        c->kv_rank, r2i_matrix_act_mask(layer->expand_k) | r2i_matrix_act_mask(layer->expand_v));
    r2i_linear_each each = { .matrices = layer->expand_k,
                             .n = c->n_heads,
                             .x = &f->mla.latent_act,
                             .is_shared = true,
                             .n_tokens = n,
                             .y = f->mla.k,
                             .y_stride = (size_t)(c->d_head - c->rope.d) };
    r2i_linear_run_each(&f->linear, &each);
    each.matrices = layer->expand_v;
    each.y = f->mla.v;
    each.y_stride = (size_t)c->d_value;
    r2i_linear_run_each(&f->linear, &each);
    r2i_forward_over_rows(f, n, store_expanded, region);
}

static void attend_expanded(r2i_forward *f, int32_t i, const r2i_run *run) {
    const r2i_config *c = f->parts.config;
    const r2i_attention attention = { .n_kv_heads = c->n_heads,
                                      .group = 1,
                                      .d_key = c->d_head,
                                      .d_value = c->d_value,
                                      .scale = c->attention_scale,
                                      .q = f->q,
                                      .out = f->attended };
    const r2i_attention_sums sums = { f->mla.max, f->mla.sum };
    const int32_t n_keys = run->first_position + run->n_rows;
    for (int32_t first = 0; first < n_keys; first += R2I_EXPAND_TOKENS) {
        expand_region region = { f, run, i, first / R2I_PAGE_TOKENS,
                                 r2i_min_i32(R2I_EXPAND_TOKENS, n_keys - first) };
        expand_pages(f, &region);
        const r2i_attention_pages pages = { f->mla.pages, region.first_page,
                                            r2i_div_up_i32(region.n_tokens, R2I_PAGE_TOKENS) };
        r2i_attention_add_pages(f, &attention, run, &pages, &sums, first == 0);
    }
    r2i_attention_finish(f, &attention, run, &sums);
}

void r2i_mla_run(r2i_forward *f, int32_t i) {
    r2i_layer *layer = &f->parts.weights->layers[i];
    project_queries(f, layer);
    layer_region region = { f, i };
    r2i_forward_over_rows(f, f->batch.n_rows, store_latents, &region);
    attend_absorbed(f, i);
    for (int32_t r = 0; r < f->batch.n_runs; r++) {
        if (r2i_mla_is_expanded(f, &f->batch.runs[r])) attend_expanded(f, i, &f->batch.runs[r]);
    }
    r2i_forward_add_attended(f, &layer->o);
}
