/* attention_pages.c - attention of one run over pages that are made for one step.
 *
 * Where latent rows are expanded (mla.c), keys and values of all heads exist for a few pages at a time.
 * Every row is attended to them and keeps its sums until the last pages were added. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "model/attention_job.h"

typedef struct {
    r2i_forward *f;
    const r2i_attention *a;
    const r2i_run *run;
    const r2i_attention_pages *pages;
    const r2i_attention_sums *sums;
    bool is_first;
} pages_region;

/* A job of up to R2I_ATTEND_ROWS tokens of one head; `a` has groups of one. */
static void set_token_job(r2i_head_job *job, r2i_attend_tile *tile, const pages_region *region,
                          int32_t item, const r2i_worker_scratch *scratch) {
    const r2i_attention *a = region->a;
    const int32_t first = item / a->n_kv_heads * R2I_ATTEND_ROWS;
    const size_t d = (size_t)a->d_key, n_heads = (size_t)a->n_kv_heads;
    *tile = (r2i_attend_tile){ region->run, region->run->first_row + first,
                               r2i_min_i32(R2I_ATTEND_ROWS, region->run->n_rows - first),
                               region->run->first_position + first };
    job->f = region->f;
    job->a = a;
    job->tile = tile;
    job->kv_head = job->first_head = item % a->n_kv_heads;
    job->n_heads = 1;
    job->n_rows = tile->n_tokens;
    job->scratch = scratch;
    for (int32_t t = 0; t < tile->n_tokens; t++) {
        const size_t row = (size_t)(tile->first_row + t) * n_heads + (size_t)job->kv_head;
        job->first_key[t] = 0;
        job->end_key[t] = tile->first_position + t + 1;
        memcpy(scratch->q + (size_t)t * d, a->q + row * d, d * sizeof *scratch->q);
    }
}

static void add_to_rows(const r2i_head_job *job, const pages_region *region,
                        const r2i_partial *one) {
    const r2i_attention *a = job->a;
    const size_t d = (size_t)a->d_value;
    for (int32_t t = 0; t < job->n_rows; t++) {
        const size_t row =
            (size_t)(job->tile->first_row + t) * (size_t)a->n_kv_heads + (size_t)job->kv_head;
        float *out = a->out + row * d;
        if (region->is_first) {
            region->sums->max[row] = -INFINITY;
            region->sums->sum[row] = 0;
            memset(out, 0, d * sizeof *out);
        }
        if (one->max[t] == -INFINITY) continue;
        job->f->parts.kernels->attend_merge(&region->sums->max[row], &region->sums->sum[row], out,
                                            one->max[t], one->sum[t], one->out + (size_t)t * d,
                                            a->d_value);
    }
}

static void add_pages(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const pages_region *region = argument;
    const r2i_attention *a = region->a;
    const r2i_row_kind rows = r2i_attended_rows(region->f->parts.cache->rows);
    const size_t key_bytes = r2i_key_page_bytes(rows, a->d_key),
                 head_bytes = key_bytes + r2i_value_page_bytes(rows, a->d_value);
    const uint8_t *keys[R2I_CHUNK_PAGES], *values[R2I_CHUNK_PAGES];
    const r2i_worker_scratch *scratch = &region->f->workers[worker];
    float max[R2I_ATTEND_ROWS], sum[R2I_ATTEND_ROWS];
    const r2i_partial one = { max, sum, scratch->chunk_out };
    for (int32_t item = begin; item < end; item++) {
        r2i_head_job job;
        r2i_attend_tile tile;
        set_token_job(&job, &tile, region, item, scratch);
        const int32_t n_pages =
            r2i_min_i32(region->pages->n_pages,
                        r2i_last_position(&tile) / R2I_PAGE_TOKENS + 1 - region->pages->first_page);
        for (int32_t i = 0; i < n_pages; i++) {
            keys[i] =
                region->pages->memory + (size_t)(i * a->n_kv_heads + job.kv_head) * head_bytes;
            values[i] = keys[i] + key_bytes;
        }
        if (n_pages > 0)
            r2i_attend_pages(&job, region->pages->first_page, n_pages, keys, values, &one);
        for (int32_t t = 0; n_pages <= 0 && t < job.n_rows; t++)
            max[t] = -INFINITY;
        add_to_rows(&job, region, &one);
    }
}

static int32_t token_items(const r2i_attention *a, const r2i_run *run) {
    return r2i_div_up_i32(run->n_rows, R2I_ATTEND_ROWS) * a->n_kv_heads;
}

void r2i_attention_add_pages(r2i_forward *f, const r2i_attention *attention, const r2i_run *run,
                             const r2i_attention_pages *pages, const r2i_attention_sums *sums,
                             bool is_first) {
    pages_region region = { f, attention, run, pages, sums, is_first };
    r2i_pool_run(f->parts.pool, token_items(attention, run), 1, add_pages, &region);
}

static void divide_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const pages_region *region = argument;
    const r2i_attention *a = region->a;
    const size_t first = (size_t)region->run->first_row * (size_t)a->n_kv_heads;
    (void)worker;
    for (size_t row = first + (size_t)begin; row < first + (size_t)end; row++) {
        float *out = a->out + row * (size_t)a->d_value;
        const float scale = 1.0f / region->sums->sum[row];
        for (int32_t j = 0; j < a->d_value; j++)
            out[j] *= scale;
    }
}

void r2i_attention_finish(r2i_forward *f, const r2i_attention *attention, const r2i_run *run,
                          const r2i_attention_sums *sums) {
    pages_region region = { .f = f, .a = attention, .run = run, .sums = sums };
    r2i_pool_run(f->parts.pool, run->n_rows * attention->n_kv_heads, R2I_ATTEND_ROWS, divide_rows,
                 &region);
}
