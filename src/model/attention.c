/* attention.c - tiles of query rows against chunks of cache pages.
 *
 * A tile is some tokens of a run times a block of heads that share keys: as many rows as one kernel
 * call takes.  A chunk is R2I_CHUNK_PAGES pages at an absolute place.  A chunk's result depends on
 * the query and the cached rows alone and chunks are merged in order, so a row's bits do not depend
 * on how work was split: one worker may take all chunks of a tile, or every chunk its own. */
#include "model/attention.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "model/attention_job.h"

enum { CHUNK_TOKENS = R2I_CHUNK_PAGES * R2I_PAGE_TOKENS };

void r2i_attention_plan(r2i_forward *f) {
    const int32_t tile_tokens =
        R2I_ATTEND_ROWS / r2i_attention_block(r2i_attention_group(f->parts.config));
    f->n_tiles = 0;
    for (int32_t r = 0; r < f->batch.n_runs; r++) {
        const r2i_run *run = &f->batch.runs[r];
        if (r2i_mla_is_expanded(f, run)) continue;
        for (int32_t t = 0; t < run->n_rows; t += tile_tokens) {
            f->tiles[f->n_tiles++] = (r2i_attend_tile){ run, run->first_row + t,
                                                        r2i_min_i32(tile_tokens, run->n_rows - t),
                                                        run->first_position + t };
        }
    }
}

const r2i_run *r2i_batch_find_run(const r2i_batch *batch, int32_t row) {
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

static int32_t blocks_of(const r2i_attention *a) {
    return r2i_div_up_i32(a->group, r2i_attention_block(a->group));
}

/* Items are tiles x key/value heads x blocks of a group's heads. */
static int32_t count_items(const r2i_forward *f, const r2i_attention *a) {
    return f->n_tiles * a->n_kv_heads * blocks_of(a);
}

static void set_job(r2i_head_job *job, r2i_forward *f, const r2i_attention *a, int32_t item,
                    const r2i_worker_scratch *scratch) {
    const int32_t n_blocks = blocks_of(a), block = r2i_attention_block(a->group);
    const int32_t first_of_group = item % n_blocks * block;
    const size_t d = (size_t)a->d_key, all_heads = (size_t)(a->n_kv_heads * a->group);
    job->f = f;
    job->a = a;
    job->tile = &f->tiles[item / n_blocks / a->n_kv_heads];
    job->kv_head = item / n_blocks % a->n_kv_heads;
    job->first_head = job->kv_head * a->group + first_of_group;
    job->n_heads = r2i_min_i32(block, a->group - first_of_group);
    job->n_rows = job->tile->n_tokens * job->n_heads;
    job->scratch = scratch;
    for (int32_t t = 0; t < job->tile->n_tokens; t++) {
        const int32_t position = job->tile->first_position + t;
        const size_t row = (size_t)(job->tile->first_row + t);
        for (int32_t h = 0; h < job->n_heads; h++) {
            job->end_key[t * job->n_heads + h] = position + 1;
            job->first_key[t * job->n_heads + h] =
                a->window > 0 ? r2i_max_i32(0, position + 1 - a->window) : 0;
        }
        memcpy(scratch->q + (size_t)(t * job->n_heads) * d,
               a->q + (row * all_heads + (size_t)job->first_head) * d,
               (size_t)job->n_heads * d * sizeof *scratch->q);
    }
}

static int32_t first_chunk(const r2i_head_job *job) {
    return job->first_key[0] / CHUNK_TOKENS;
}

static int32_t chunks_of(const r2i_attend_tile *tile) {
    return r2i_last_position(tile) / CHUNK_TOKENS + 1;
}

static void merge(const r2i_head_job *job, const r2i_partial *total, const r2i_partial *later) {
    const int32_t d = job->a->d_value;
    for (int32_t i = 0; i < job->n_rows; i++) {
        if (later->max[i] == -INFINITY) continue;
        const size_t at = (size_t)i * (size_t)d;
        job->f->parts.kernels->attend_merge(&total->max[i], &total->sum[i], total->out + at,
                                            later->max[i], later->sum[i], later->out + at, d);
    }
}

static void start_total(const r2i_head_job *job, const r2i_partial *total) {
    memset(total->out, 0, (size_t)job->n_rows * (size_t)job->a->d_value * sizeof *total->out);
    for (int32_t i = 0; i < job->n_rows; i++) {
        total->max[i] = -INFINITY;
        total->sum[i] = 0;
    }
}

static const uint8_t *head_page(const r2i_head_job *job, const r2i_cache_stream *stream,
                                int32_t page) {
    const size_t n_bytes = stream->n_bytes / (size_t)job->a->n_kv_heads;
    return job->tile->run->pages[page] + stream->offset + (size_t)job->kv_head * n_bytes;
}

void r2i_attend_pages(const r2i_head_job *job, int32_t first_page, int32_t n_pages,
                      const uint8_t *const *keys, const uint8_t *const *values,
                      const r2i_partial *out) {
    const r2i_attention *a = job->a;
    const r2i_attend_job attend = { .rows = r2i_attended_rows(job->f->parts.cache->rows),
                                    .d_key = a->d_key,
                                    .d_value = a->d_value,
                                    .key_pages = keys,
                                    .value_pages = values,
                                    .n_pages = n_pages,
                                    .first_position = first_page * R2I_PAGE_TOKENS,
                                    .n_rows = job->n_rows,
                                    .q = job->scratch->q,
                                    .q_stride = (size_t)a->d_key,
                                    .first_key = job->first_key,
                                    .end_key = job->end_key,
                                    .scale = a->scale,
                                    .out_max = out->max,
                                    .out_sum = out->sum,
                                    .out = out->out };
    job->f->parts.kernels->attend(&attend);
}

static bool is_made_ready(const r2i_head_job *job) {
    const r2i_row_kind rows = job->f->parts.cache->rows;
    return job->a->values == NULL || rows != r2i_attended_rows(rows);
}

/* A page's keys and values as attention reads them: expanded in scratch unless they lie so in the
 * cache; the values of latent rows are taken from their keys. */
static void make_ready(const r2i_head_job *job, int32_t page, int32_t n_slots, const uint8_t **keys,
                       const uint8_t **values) {
    const r2i_attention *a = job->a;
    const r2i_kernels *kernels = job->f->parts.kernels;
    const r2i_row_kind stored = job->f->parts.cache->rows, rows = r2i_attended_rows(stored);
    *keys = head_page(job, a->keys, page);
    *values = job->scratch->values;
    if (rows != stored) {
        kernels->expand_keys(stored, job->scratch->keys, *keys, n_slots, a->d_key);
        *keys = job->scratch->keys;
    }
    if (a->values == NULL) {
        kernels->latent_values(rows, job->scratch->values, *keys, n_slots, a->d_value);
    } else {
        kernels->expand_values(stored, job->scratch->values, head_page(job, a->values, page),
                               n_slots, a->d_value);
    }
}

/* Page by page, while what was made ready is still in the processor's cache. */
static void attend_ready_pages(const r2i_head_job *job, int32_t first_page, int32_t n_pages,
                               const r2i_partial *out) {
    float max[R2I_ATTEND_ROWS], sum[R2I_ATTEND_ROWS];
    const r2i_partial one = { max, sum, job->scratch->page_out };
    start_total(job, out);
    for (int32_t i = first_page; i < first_page + n_pages; i++) {
        const int32_t first = i * R2I_PAGE_TOKENS;
        const uint8_t *keys, *values;
        if (first + R2I_PAGE_TOKENS <= job->first_key[0]) continue; /* before every row's window */
        make_ready(job, i, r2i_min_i32(R2I_PAGE_TOKENS, r2i_last_position(job->tile) + 1 - first),
                   &keys, &values);
        r2i_attend_pages(job, i, 1, &keys, &values, &one);
        merge(job, out, &one);
    }
}

static void attend_chunk(const r2i_head_job *job, int32_t chunk, const r2i_partial *out) {
    const uint8_t *keys[R2I_CHUNK_PAGES], *values[R2I_CHUNK_PAGES];
    const int32_t first_page = chunk * R2I_CHUNK_PAGES;
    const int32_t n_pages = r2i_min_i32(
        R2I_CHUNK_PAGES, r2i_last_position(job->tile) / R2I_PAGE_TOKENS + 1 - first_page);
    if (is_made_ready(job)) {
        attend_ready_pages(job, first_page, n_pages, out);
        return;
    }
    for (int32_t i = 0; i < n_pages; i++) {
        keys[i] = head_page(job, job->a->keys, first_page + i);
        values[i] = head_page(job, job->a->values, first_page + i);
    }
    r2i_attend_pages(job, first_page, n_pages, keys, values, out);
}

/* Divides by the sum and puts the rows where the next product reads them. */
static void finish_total(const r2i_head_job *job, const r2i_partial *total) {
    const r2i_attention *a = job->a;
    const size_t d = (size_t)a->d_value, all_heads = (size_t)(a->n_kv_heads * a->group);
    for (int32_t i = 0; i < job->n_rows; i++) {
        const size_t row = (size_t)(job->tile->first_row + i / job->n_heads),
                     head = (size_t)(job->first_head + i % job->n_heads);
        float *out = a->out + (row * all_heads + head) * d;
        const float scale = 1.0f / total->sum[i];
        for (size_t j = 0; j < d; j++)
            out[j] = total->out[(size_t)i * d + j] * scale;
    }
}

/* Whole tiles. */
typedef struct {
    r2i_forward *f;
    const r2i_attention *a;
} whole_region;

static void attend_whole(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const whole_region *region = argument;
    const r2i_worker_scratch *scratch = &region->f->workers[worker];
    float max[2][R2I_ATTEND_ROWS], sum[2][R2I_ATTEND_ROWS];
    const r2i_partial total = { max[0], sum[0], scratch->total_out },
                      one = { max[1], sum[1], scratch->chunk_out };
    for (int32_t item = begin; item < end; item++) {
        r2i_head_job job;
        set_job(&job, region->f, region->a, item, scratch);
        start_total(&job, &total);
        for (int32_t chunk = first_chunk(&job); chunk < chunks_of(job.tile); chunk++) {
            attend_chunk(&job, chunk, &one);
            merge(&job, &total, &one);
        }
        finish_total(&job, &total);
    }
}

/* Few tiles over long contexts: items x chunks, results kept apart until all are there. */
typedef struct {
    whole_region base;
    int32_t n_chunks;   /* per item */
    size_t slot_floats; /* of an r2i_partial: max [rows], sum [rows], out [rows, d_value] */
    int32_t cap_rows;
} split_region;

static r2i_partial partial_of(const split_region *region, int32_t slot) {
    float *floats = region->base.f->partials + (size_t)slot * region->slot_floats;
    return (r2i_partial){ floats, floats + region->cap_rows,
                          floats + 2 * (size_t)region->cap_rows };
}

static void attend_split(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const split_region *region = argument;
    r2i_forward *f = region->base.f;
    for (int32_t slot = begin; slot < end; slot++) {
        r2i_head_job job;
        set_job(&job, f, region->base.a, slot / region->n_chunks, &f->workers[worker]);
        const int32_t chunk = slot % region->n_chunks;
        if (chunk >= chunks_of(job.tile)) continue;
        const r2i_partial out = partial_of(region, slot);
        attend_chunk(&job, chunk, &out);
    }
}

static void merge_split(const split_region *region, int32_t n_items) {
    r2i_forward *f = region->base.f;
    float max[R2I_ATTEND_ROWS], sum[R2I_ATTEND_ROWS];
    for (int32_t item = 0; item < n_items; item++) {
        r2i_head_job job;
        const r2i_partial total = { max, sum, f->workers[0].total_out };
        set_job(&job, f, region->base.a, item, &f->workers[0]);
        start_total(&job, &total);
        for (int32_t chunk = first_chunk(&job); chunk < chunks_of(job.tile); chunk++) {
            const r2i_partial later = partial_of(region, item * region->n_chunks + chunk);
            merge(&job, &total, &later);
        }
        finish_total(&job, &total);
    }
}

/* Fills `split` and says whether chunks are worth splitting and their results fit into memory. */
static bool plan_split(r2i_forward *f, const r2i_attention *a, split_region *split) {
    int32_t n_chunks = 1, cap_tokens = 1;
    for (int32_t i = 0; i < f->n_tiles; i++) {
        n_chunks = r2i_max_i32(n_chunks, chunks_of(&f->tiles[i]));
        cap_tokens = r2i_max_i32(cap_tokens, f->tiles[i].n_tokens);
    }
    const int32_t n_items = count_items(f, a),
                  cap_rows = cap_tokens * r2i_attention_block(a->group);
    const size_t slot_floats = (size_t)cap_rows * ((size_t)a->d_value + 2);
    *split = (split_region){ { f, a }, n_chunks, slot_floats, cap_rows };
    const size_t needed = (size_t)n_items * (size_t)n_chunks * slot_floats;
    return n_chunks > 1 && n_items < 4 * f->n_workers && needed <= f->n_partial_floats;
}

void r2i_attention_run(r2i_forward *f, const r2i_attention *attention) {
    split_region split;
    whole_region whole = { f, attention };
    const int32_t n_items = count_items(f, attention);
    if (!plan_split(f, attention, &split)) {
        r2i_pool_run(f->parts.pool, n_items, 1, attend_whole, &whole);
        return;
    }
    r2i_pool_run(f->parts.pool, n_items * split.n_chunks, 1, attend_split, &split);
    merge_split(&split, n_items);
}
