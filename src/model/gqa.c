/* gqa.c - grouped-query attention:  x += O concat_h softmax(q_h K^T / sqrt(d)) V.
 *
 * Query heads h share key/value head h / group.  Queries are taken in tiles of a run (tokens x heads
 * of a group) against chunks of R2I_CHUNK_PAGES pages at absolute places.  A chunk's result depends
 * on the query and the cached rows alone and chunks are merged in order, so a row's bits do not
 * depend on how work was split: one worker may take all chunks of a tile, or every chunk its own. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "model/forward_state.h"

enum {
    CHUNK_TOKENS = R2I_CHUNK_PAGES * R2I_PAGE_TOKENS,
    SMALL_BATCH = 8 /* rows below which a region costs more than it saves */
};

static int32_t group_of(const r2i_config *c) {
    return c->n_heads / c->n_kv_heads;
}

void r2i_gqa_plan(r2i_forward *f) {
    const int32_t tile_tokens = R2I_ATTEND_ROWS / group_of(f->parts.config);
    f->n_tiles = 0;
    for (int32_t r = 0; r < f->batch->n_runs; r++) {
        const r2i_run *run = &f->batch->runs[r];
        for (int32_t t = 0; t < run->n_rows; t += tile_tokens) {
            f->tiles[f->n_tiles++] = (r2i_attend_tile){ run, run->first_row + t,
                                                        r2i_min_i32(tile_tokens, run->n_rows - t),
                                                        run->first_position + t };
        }
    }
}

/* ---- queries, keys and values of the rows ---- */

typedef struct {
    r2i_forward *f;
    int32_t layer;
} layer_region;

static void norm_and_rotate(const r2i_forward *f, float *heads, int32_t n_heads, const float *norm,
                            int32_t row) {
    const r2i_config *c = f->parts.config;
    const size_t half = (size_t)c->rope.d / 2;
    for (int32_t h = 0; h < n_heads; h++) {
        float *head = heads + (size_t)h * (size_t)c->d_head;
        if (norm != NULL) f->parts.kernels->rmsnorm(head, head, norm, c->d_head, c->norm_eps);
        f->parts.kernels->rope(head, f->cosine + (size_t)row * half, f->sine + (size_t)row * half,
                               c->rope.d, c->rope.is_interleaved);
    }
}

static const r2i_run *find_run(const r2i_batch *batch, int32_t row) {
    int32_t low = 0, high = batch->n_runs - 1;
    while (low < high) {
        const int32_t middle = (low + high + 1) / 2;
        if (batch->runs[middle].first_row <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return &batch->runs[low];
}

static void store_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const layer_region *region = argument;
    r2i_forward *f = region->f;
    const r2i_config *c = f->parts.config;
    const r2i_layer *layer = &f->parts.weights->layers[region->layer];
    const r2i_cache_stream *streams = &f->parts.cache->streams[2 * region->layer];
    const size_t d = (size_t)c->d_head;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        float *q = f->q + (size_t)row * (size_t)c->n_heads * d,
              *k = f->k + (size_t)row * (size_t)c->n_kv_heads * d;
        const float *v = f->v + (size_t)row * (size_t)c->n_kv_heads * d;
        norm_and_rotate(f, q, c->n_heads, layer->q_norm, row);
        norm_and_rotate(f, k, c->n_kv_heads, layer->k_norm, row);
        const int32_t position = f->positions[row];
        uint8_t *page = find_run(f->batch, row)->pages[position / R2I_PAGE_TOKENS];
        for (int32_t h = 0; h < c->n_kv_heads; h++) {
            const size_t head = (size_t)h, n = (size_t)c->n_kv_heads;
            f->parts.kernels->store_row(
                f->parts.cache->rows, page + streams[0].offset + head * (streams[0].n_bytes / n),
                page + streams[1].offset + head * (streams[1].n_bytes / n),
                position % R2I_PAGE_TOKENS, k + head * d, v + head * d, c->d_head, c->d_head);
        }
    }
}

/* ---- attention ---- */

/* One tile's queries against one key/value head. */
typedef struct {
    r2i_forward *f;
    const r2i_attend_tile *tile;
    int32_t layer, head;
    int32_t n_rows; /* tokens x group */
    int32_t first_key[R2I_ATTEND_ROWS], end_key[R2I_ATTEND_ROWS];
    const float *q; /* [n_rows, d_head] */
} head_job;

static void set_job(head_job *job, r2i_forward *f, int32_t layer, int32_t tile, int32_t head,
                    float *q_scratch) {
    const r2i_config *c = f->parts.config;
    const int32_t group = group_of(c), window = c->layers[layer].window;
    const size_t d = (size_t)c->d_head;
    job->f = f;
    job->tile = &f->tiles[tile];
    job->layer = layer;
    job->head = head;
    job->n_rows = job->tile->n_tokens * group;
    job->q = q_scratch;
    for (int32_t t = 0; t < job->tile->n_tokens; t++) {
        const int32_t position = job->tile->first_position + t;
        const size_t row = (size_t)(job->tile->first_row + t);
        for (int32_t g = 0; g < group; g++) {
            job->end_key[t * group + g] = position + 1;
            job->first_key[t * group + g] = window > 0 ? r2i_max_i32(0, position + 1 - window) : 0;
        }
        memcpy(q_scratch + (size_t)t * (size_t)group * d,
               f->q + (row * (size_t)c->n_heads + (size_t)(head * group)) * d,
               (size_t)group * d * sizeof *q_scratch);
    }
}

static int32_t last_position(const r2i_attend_tile *tile) {
    return tile->first_position + tile->n_tokens - 1;
}

static void attend_chunk(const head_job *job, int32_t chunk, float *out_max, float *out_sum,
                         float *out) {
    const r2i_forward *f = job->f;
    const r2i_config *c = f->parts.config;
    const r2i_cache_stream *streams = &f->parts.cache->streams[2 * job->layer];
    const size_t head = (size_t)job->head, n_heads = (size_t)c->n_kv_heads;
    const uint8_t *keys[R2I_CHUNK_PAGES], *values[R2I_CHUNK_PAGES];
    const int32_t first_page = chunk * R2I_CHUNK_PAGES;
    const int32_t n_pages =
        r2i_min_i32(R2I_CHUNK_PAGES, last_position(job->tile) / R2I_PAGE_TOKENS + 1 - first_page);
    for (int32_t i = 0; i < n_pages; i++) {
        const uint8_t *page = job->tile->run->pages[first_page + i];
        keys[i] = page + streams[0].offset + head * (streams[0].n_bytes / n_heads);
        values[i] = page + streams[1].offset + head * (streams[1].n_bytes / n_heads);
    }
    const r2i_attend_job attend = { .rows = f->parts.cache->rows,
                                    .d_key = c->d_head,
                                    .d_value = c->d_head,
                                    .key_pages = keys,
                                    .value_pages = values,
                                    .n_pages = n_pages,
                                    .first_position = first_page * R2I_PAGE_TOKENS,
                                    .n_rows = job->n_rows,
                                    .q = job->q,
                                    .q_stride = (size_t)c->d_head,
                                    .first_key = job->first_key,
                                    .end_key = job->end_key,
                                    .scale = 1.0f / sqrtf((float)c->d_head),
                                    .out_max = out_max,
                                    .out_sum = out_sum,
                                    .out = out };
    f->parts.kernels->attend(&attend);
}

typedef struct {
    float max[R2I_ATTEND_ROWS], sum[R2I_ATTEND_ROWS];
    float *out; /* [n_rows, d_head] */
} accumulator;

static void merge_chunk(const head_job *job, accumulator *total, const float *max, const float *sum,
                        const float *out) {
    const int32_t d = job->f->parts.config->d_head;
    for (int32_t i = 0; i < job->n_rows; i++) {
        if (max[i] == -INFINITY) continue;
        job->f->parts.kernels->attend_merge(&total->max[i], &total->sum[i],
                                            total->out + (size_t)i * (size_t)d, max[i], sum[i],
                                            out + (size_t)i * (size_t)d, d);
    }
}

static void start_total(const head_job *job, accumulator *total, float *out) {
    total->out = out;
    memset(out, 0, (size_t)job->n_rows * (size_t)job->f->parts.config->d_head * sizeof *out);
    for (int32_t i = 0; i < job->n_rows; i++) {
        total->max[i] = -INFINITY;
        total->sum[i] = 0;
    }
}

/* Divides by the sum and puts the rows where the output projection reads them. */
static void finish_total(const head_job *job, const accumulator *total) {
    r2i_forward *f = job->f;
    const r2i_config *c = f->parts.config;
    const int32_t group = group_of(c);
    for (int32_t i = 0; i < job->n_rows; i++) {
        const size_t row = (size_t)(job->tile->first_row + i / group),
                     head = (size_t)(job->head * group + i % group);
        float *out = f->attended + (row * (size_t)c->n_heads + head) * (size_t)c->d_head;
        const float scale = 1.0f / total->sum[i];
        for (int32_t j = 0; j < c->d_head; j++)
            out[j] = total->out[(size_t)i * (size_t)c->d_head + (size_t)j] * scale;
    }
}

static int32_t first_chunk(const head_job *job) {
    return job->first_key[0] / CHUNK_TOKENS;
}

static int32_t chunks_of(const r2i_attend_tile *tile) {
    return last_position(tile) / CHUNK_TOKENS + 1;
}

/* Whole tiles: item = tile x head. */
static void attend_tiles(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const layer_region *region = argument;
    r2i_forward *f = region->f;
    const r2i_worker_scratch *scratch = &f->workers[worker];
    const int32_t n_heads = f->parts.config->n_kv_heads;
    float max[R2I_ATTEND_ROWS], sum[R2I_ATTEND_ROWS];
    for (int32_t item = begin; item < end; item++) {
        head_job job;
        accumulator total;
        set_job(&job, f, region->layer, item / n_heads, item % n_heads, scratch->q);
        start_total(&job, &total, scratch->total_out);
        for (int32_t chunk = first_chunk(&job); chunk < chunks_of(job.tile); chunk++) {
            attend_chunk(&job, chunk, max, sum, scratch->chunk_out);
            merge_chunk(&job, &total, max, sum, scratch->chunk_out);
        }
        finish_total(&job, &total);
    }
}

/* Few tiles over long contexts: item = (tile x head) x chunk, results kept apart until all are there. */
typedef struct {
    layer_region base;
    int32_t n_chunks;   /* per tile */
    size_t slot_floats; /* of a partial: max [rows], sum [rows], out [rows, d_head] */
    int32_t cap_rows;
} split_region;

static float *partial_of(const split_region *region, int32_t item) {
    return region->base.f->partials + (size_t)item * region->slot_floats;
}

static void attend_split(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const split_region *region = argument;
    r2i_forward *f = region->base.f;
    const int32_t n_heads = f->parts.config->n_kv_heads;
    for (int32_t item = begin; item < end; item++) {
        const int32_t tile_head = item / region->n_chunks, chunk = item % region->n_chunks;
        const r2i_attend_tile *tile = &f->tiles[tile_head / n_heads];
        if (chunk >= chunks_of(tile)) continue;
        head_job job;
        float *partial = partial_of(region, item);
        set_job(&job, f, region->base.layer, tile_head / n_heads, tile_head % n_heads,
                f->workers[worker].q);
        attend_chunk(&job, chunk, partial, partial + region->cap_rows,
                     partial + 2 * (size_t)region->cap_rows);
    }
}

static void merge_split(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const split_region *region = argument;
    r2i_forward *f = region->base.f;
    const int32_t n_heads = f->parts.config->n_kv_heads;
    for (int32_t item = begin; item < end; item++) {
        head_job job;
        accumulator total;
        set_job(&job, f, region->base.layer, item / n_heads, item % n_heads, f->workers[worker].q);
        start_total(&job, &total, f->workers[worker].total_out);
        for (int32_t chunk = first_chunk(&job); chunk < chunks_of(job.tile); chunk++) {
            const float *partial = partial_of(region, item * region->n_chunks + chunk);
            merge_chunk(&job, &total, partial, partial + region->cap_rows,
                        partial + 2 * (size_t)region->cap_rows);
        }
        finish_total(&job, &total);
    }
}

/* Fills `split` and says whether chunks are worth splitting and their results fit into memory. */
static bool plan_split(r2i_forward *f, int32_t layer, split_region *split) {
    const r2i_config *c = f->parts.config;
    int32_t n_chunks = 1, cap_tokens = 1;
    for (int32_t i = 0; i < f->n_tiles; i++) {
        n_chunks = r2i_max_i32(n_chunks, chunks_of(&f->tiles[i]));
        cap_tokens = r2i_max_i32(cap_tokens, f->tiles[i].n_tokens);
    }
    const int32_t n_items = f->n_tiles * c->n_kv_heads, cap_rows = cap_tokens * group_of(c);
    const size_t slot_floats = (size_t)cap_rows * ((size_t)c->d_head + 2);
    *split = (split_region){ { f, layer }, n_chunks, slot_floats, cap_rows };
    const size_t needed = (size_t)n_items * (size_t)n_chunks * slot_floats;
    return n_chunks > 1 && n_items < 4 * f->n_workers && needed <= f->n_partial_floats;
}

static void attend_all(r2i_forward *f, int32_t layer) {
    split_region split;
    layer_region whole = { f, layer };
    const int32_t n_items = f->n_tiles * f->parts.config->n_kv_heads;
    if (!plan_split(f, layer, &split)) {
        r2i_pool_run(f->parts.pool, n_items, 1, attend_tiles, &whole);
        return;
    }
    r2i_pool_run(f->parts.pool, n_items * split.n_chunks, 1, attend_split, &split);
    merge_split(&split, 0, n_items, 0);
}

void r2i_gqa_run(r2i_forward *f, int32_t i) {
    const r2i_config *c = f->parts.config;
    r2i_layer *layer = &f->parts.weights->layers[i];
    const int32_t n_rows = f->batch->n_rows, d = c->d_model, d_q = c->n_heads * c->d_head;
    const size_t d_kv = (size_t)(c->n_kv_heads * c->d_head);
    const unsigned mask = r2i_matrix_act_mask(&layer->q) | r2i_matrix_act_mask(&layer->k) |
                          r2i_matrix_act_mask(&layer->v);
    r2i_forward_prepare(f, &f->input, f->x, (size_t)d, layer->attention_norm, n_rows, d, mask);
    const r2i_linear_output qkv[] = {
        { .matrix = &layer->q, .y = f->q, .y_stride = (size_t)d_q },
        { .matrix = &layer->k, .y = f->k, .y_stride = d_kv },
        { .matrix = &layer->v, .y = f->v, .y_stride = d_kv },
    };
    r2i_linear(&f->linear, qkv, 3, &f->input, n_rows);
    layer_region region = { f, i };
    if (n_rows < SMALL_BATCH)
        store_rows(&region, 0, n_rows, 0);
    else
        r2i_pool_run(f->parts.pool, n_rows, SMALL_BATCH, store_rows, &region);
    attend_all(f, i);
    r2i_forward_prepare(f, &f->attended_act, f->attended, (size_t)d_q, NULL, n_rows, d_q,
                        r2i_matrix_act_mask(&layer->o));
    const r2i_linear_output o = {
        .matrix = &layer->o, .y = f->x, .y_stride = (size_t)d, .is_added = true
    };
    r2i_linear(&f->linear, &o, 1, &f->attended_act, n_rows);
}
