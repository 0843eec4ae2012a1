#include "train/backward/attention_backward.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum {
    TILE = 64,       /* query rows at a time */
    KEY_BLOCK = 128, /* keys that dQ sums up at a time */
    PANEL = R2I_PANEL_ROWS
};

struct r2i_attention_scratch {
    uint8_t *keys;        /* panels of K: rows are keys */
    uint8_t *values;      /* panels of V */
    uint8_t *turned_keys; /* panels of K^T, block by block */
    uint8_t *turned_tile; /* panels of Q^T or dO^T of a tile */
    uint8_t *rows;        /* prepared rows of Q or dO, or [keys] of P^T or dS^T */
    uint8_t *wide_rows;   /* prepared rows [TILE] of dS */
    float *p, *g_p;       /* [TILE, cap_tokens] */
    /* The head's rows of the trunk and of the run that continues it, together: [cap_tokens, cap_key or
     * cap_value]. */
    float *k, *v, *g_k, *g_v;
};

static size_t panels_bytes(r2i_type layout, int32_t n_rows, int32_t n_cols) {
    return (size_t)r2i_div_up_i32(n_rows, PANEL) * r2i_panel_bytes(layout, n_cols);
}

r2_status r2i_attention_workspace_create(r2i_attention_workspace *out, const r2i_kernels *kernels,
                                         r2i_pool *pool, r2i_type layout, int32_t cap_tokens,
                                         int32_t cap_key, int32_t cap_value, r2i_arena *arena,
                                         r2_error *err) {
    const int32_t n_threads = r2i_pool_threads(pool), d = r2i_max_i32(cap_key, cap_value);
    const int32_t n_blocks = r2i_div_up_i32(cap_tokens, KEY_BLOCK);
    const size_t cap = (size_t)cap_tokens;
    *out = (r2i_attention_workspace){ .kernels = kernels,
                                      .pool = pool,
                                      .layout = layout,
                                      .cap_tokens = cap_tokens,
                                      .cap_key = cap_key,
                                      .cap_value = cap_value };
    out->workers = R2I_ARENA_ARRAY(arena, r2i_attention_scratch, (size_t)n_threads);
    bool is_there = out->workers != NULL;
    const size_t row_bytes = r2i_max_size(TILE * r2i_act_row_bytes(R2I_ACT_F32, d),
                                          cap * r2i_act_row_bytes(R2I_ACT_F32, TILE));
    for (int32_t i = 0; is_there && i < n_threads; i++) {
        r2i_attention_scratch *w = &out->workers[i];
        w->keys = r2i_arena_push(arena, panels_bytes(layout, cap_tokens, cap_key), 64);
        w->values = r2i_arena_push(arena, panels_bytes(layout, cap_tokens, cap_value), 64);
        w->turned_keys = r2i_arena_push_array(arena, (size_t)n_blocks,
                                              panels_bytes(layout, cap_key, KEY_BLOCK), 64);
        w->turned_tile = r2i_arena_push(arena, panels_bytes(layout, d, TILE), 64);
        w->rows = r2i_arena_push(arena, row_bytes, 64);
        w->wide_rows =
            r2i_arena_push_array(arena, TILE, r2i_act_row_bytes(R2I_ACT_F32, cap_tokens), 64);
        w->p = r2i_arena_push_array(arena, TILE * cap, sizeof(float), 64);
        w->g_p = r2i_arena_push_array(arena, TILE * cap, sizeof(float), 64);
        w->k = r2i_arena_push_array(arena, cap, (size_t)cap_key * sizeof(float), 64);
        w->v = r2i_arena_push_array(arena, cap, (size_t)cap_value * sizeof(float), 64);
        w->g_k = r2i_arena_push_array(arena, cap, (size_t)cap_key * sizeof(float), 64);
        w->g_v = r2i_arena_push_array(arena, cap, (size_t)cap_value * sizeof(float), 64);
        is_there = w->keys != NULL && w->values != NULL && w->turned_keys != NULL &&
                   w->turned_tile != NULL && w->rows != NULL && w->wide_rows != NULL &&
                   w->p != NULL && w->g_p != NULL && w->k != NULL && w->v != NULL &&
                   w->g_k != NULL && w->g_v != NULL;
    }
    return is_there ? R2_OK
                    : r2i_fail(err, R2_E_NOMEM, "no memory for attention over %d tokens backward",
                               cap_tokens);
}

/* One key head of a run, by one worker.  Tokens count from the trunk's first. */
typedef struct {
    const r2i_attention_workspace *ws;
    const r2i_attention_backward *a;
    r2i_attention_scratch *w;
    const r2i_run *run;
    int32_t n_shared, n_tokens; /* of the trunk; with the run's */
    int32_t kv_head;
} head_job;

static size_t kv_at(const head_job *job, int32_t token, int32_t d) {
    const int32_t row = token < job->n_shared ? job->run->trunk->first_row + token
                                              : job->run->first_row + token - job->n_shared;
    return ((size_t)row * (size_t)job->a->n_kv_heads + (size_t)job->kv_head) * (size_t)d;
}

/* to [n_tokens, d]: the head's rows. */
static void gather(const head_job *job, const float *rows, int32_t d, float *to) {
    for (int32_t t = 0; t < job->n_tokens; t++)
        memcpy(to + (size_t)t * (size_t)d, rows + kv_at(job, t, d), (size_t)d * sizeof *to);
}

/* Gradients of the head's rows: the trunk's are added to, the run's own written. */
static void scatter(const head_job *job, const float *from, int32_t d, float *g_rows) {
    for (int32_t t = 0; t < job->n_shared; t++) {
        float *to = g_rows + kv_at(job, t, d);
        for (int32_t i = 0; i < d; i++)
            to[i] += from[(size_t)t * (size_t)d + (size_t)i];
    }
    for (int32_t t = job->n_shared; t < job->n_tokens; t++)
        memcpy(g_rows + kv_at(job, t, d), from + (size_t)t * (size_t)d, (size_t)d * sizeof *from);
}

/* Panels whose rows are the head's tokens [n_tokens, d]. */
static void pack_tokens(const head_job *job, const float *rows, int32_t d, uint8_t *panels) {
    const size_t panel_bytes = r2i_panel_bytes(job->ws->layout, d);
    for (int32_t t = 0; t < job->n_tokens; t += PANEL) {
        const uint8_t *at[PANEL];
        for (int32_t i = 0; i < PANEL; i++) {
            at[i] = t + i < job->n_tokens ? (const uint8_t *)(rows + (size_t)(t + i) * (size_t)d)
                                          : NULL;
        }
        job->ws->kernels->pack[job->ws->layout](panels + (size_t)(t / PANEL) * panel_bytes,
                                                R2I_TYPE_F32, at, d);
    }
}

static size_t key_block_bytes(const head_job *job) {
    return panels_bytes(job->ws->layout, job->a->d_key, KEY_BLOCK);
}

static void pack_head(const head_job *job) {
    const r2i_attention_backward *a = job->a;
    const size_t d_key = (size_t)a->d_key, n = (size_t)job->n_tokens;
    gather(job, a->k, a->d_key, job->w->k);
    gather(job, a->v, a->d_value, job->w->v);
    pack_tokens(job, job->w->k, a->d_key, job->w->keys);
    pack_tokens(job, job->w->v, a->d_value, job->w->values);
    for (int32_t t = 0; t < job->n_tokens; t += KEY_BLOCK) {
        job->ws->kernels->turn_panels[job->ws->layout](
            job->w->turned_keys + (size_t)(t / KEY_BLOCK) * key_block_bytes(job),
            job->w->k + (size_t)t * d_key, d_key, r2i_min_i32(KEY_BLOCK, job->n_tokens - t),
            a->d_key);
    }
    memset(job->w->g_k, 0, n * d_key * sizeof(float));
    memset(job->w->g_v, 0, n * (size_t)a->d_value * sizeof(float));
}

/* Some tokens of one query head against keys [first_key, n_keys); both ends of blocks or of the run. */
typedef struct {
    const head_job *job;
    int32_t head, first_token, n_tokens;
    int32_t first_key, n_keys;
} tile_job;

static size_t query_at(const tile_job *tile, int32_t d) {
    const r2i_attention_backward *a = tile->job->a;
    const size_t row =
        (size_t)(tile->job->run->first_row + tile->first_token - tile->job->n_shared);
    return (row * (size_t)(a->n_kv_heads * a->group) + (size_t)tile->head) * (size_t)d;
}

static size_t query_stride(const tile_job *tile, int32_t d) {
    return (size_t)(tile->job->a->n_kv_heads * tile->job->a->group) * (size_t)d;
}

/* out [n_tokens, n_keys] = x [n_tokens, d] . rows of the panels; columns before first_key are left out. */
static void multiply_keys(const tile_job *tile, const float *x, int32_t d, const uint8_t *panels,
                          float *out) {
    const r2i_attention_workspace *ws = tile->job->ws;
    const r2i_act_kind kind = r2i_act_kind_of(ws->layout);
    const size_t stride = r2i_act_row_bytes(kind, d);
    const int32_t first_panel = tile->first_key / PANEL, n = tile->n_keys - tile->first_key;
    for (int32_t i = 0; i < tile->n_tokens; i++) {
        ws->kernels->act[kind](tile->job->w->rows + (size_t)i * stride,
                               x + query_at(tile, d) + (size_t)i * query_stride(tile, d), d, 0, d);
    }
    const r2i_matmul_job product = {
        .panels = panels + (size_t)first_panel * r2i_panel_bytes(ws->layout, d),
        .n_panels = r2i_div_up_i32(n, PANEL),
        .n_rows = n,
        .n_cols = d,
        .act = tile->job->w->rows,
        .act_stride = stride,
        .n_tokens = tile->n_tokens,
        .y = out,
        .y_stride = (size_t)tile->job->ws->cap_tokens,
    };
    ws->kernels->matmul[ws->layout](&product);
}

/* p: scores to probabilities;  g_p: to gradients of the scores.  Columns count from first_key. */
static void finish_rows(const tile_job *tile) {
    const r2i_attention_backward *a = tile->job->a;
    const size_t stride = (size_t)tile->job->ws->cap_tokens;
    const int32_t n = tile->n_keys - tile->first_key;
    for (int32_t i = 0; i < tile->n_tokens; i++) {
        float *p = tile->job->w->p + (size_t)i * stride,
              *g = tile->job->w->g_p + (size_t)i * stride;
        const int32_t position = tile->first_token + i, end = position + 1 - tile->first_key;
        const int32_t begin =
            a->window > 0 ? r2i_max_i32(0, position + 1 - a->window - tile->first_key) : 0;
        double inward = 0;
        for (int32_t j = begin; j < end; j++)
            p[j] *= a->scale;
        tile->job->ws->kernels->softmax(p + begin, p + begin, end - begin);
        for (int32_t j = begin; j < end; j++)
            inward += (double)(p[j] * g[j]);
        for (int32_t j = begin; j < end; j++)
            g[j] = p[j] * (g[j] - (float)inward) * a->scale;
        memset(p, 0, (size_t)begin * sizeof *p);
        memset(g, 0, (size_t)begin * sizeof *g);
        memset(p + end, 0, (size_t)(n - end) * sizeof *p);
        memset(g + end, 0, (size_t)(n - end) * sizeof *g);
    }
}

/* g_rows of the tile's keys += weights^T x:  weights [n_tokens, keys], x [n_tokens, d]. */
static void add_to_keys(const tile_job *tile, const float *weights, const float *x, int32_t d,
                        float *g_rows) {
    const head_job *job = tile->job;
    const r2i_attention_workspace *ws = job->ws;
    const r2i_act_kind kind = r2i_act_kind_of(ws->layout);
    const size_t stride = r2i_act_row_bytes(kind, tile->n_tokens);
    const int32_t n = tile->n_keys - tile->first_key;
    ws->kernels->turn_panels[ws->layout](job->w->turned_tile, x + query_at(tile, d),
                                         query_stride(tile, d), tile->n_tokens, d);
    ws->kernels->turn_rows[kind](job->w->rows, stride, weights, (size_t)ws->cap_tokens,
                                 tile->n_tokens, n);
    const r2i_matmul_job product = { .panels = job->w->turned_tile,
                                     .n_panels = r2i_div_up_i32(d, PANEL),
                                     .n_rows = d,
                                     .n_cols = tile->n_tokens,
                                     .act = job->w->rows,
                                     .act_stride = stride,
                                     .n_tokens = n,
                                     .y = g_rows + (size_t)tile->first_key * (size_t)d,
                                     .y_stride = (size_t)d,
                                     .is_added = true };
    ws->kernels->matmul[ws->layout](&product);
}

/* dQ = dS K, block after block of keys. */
static void multiply_queries(const tile_job *tile) {
    const head_job *job = tile->job;
    const r2i_attention_workspace *ws = job->ws;
    const r2i_act_kind kind = r2i_act_kind_of(ws->layout);
    const int32_t n = tile->n_keys - tile->first_key, d = job->a->d_key;
    const size_t stride = r2i_act_row_bytes(kind, n), element = kind == R2I_ACT_F32 ? 4 : 2;
    for (int32_t i = 0; i < tile->n_tokens; i++) {
        ws->kernels->act[kind](job->w->wide_rows + (size_t)i * stride,
                               job->w->g_p + (size_t)i * (size_t)ws->cap_tokens, n, 0, n);
    }
    for (int32_t j = 0; j < n; j += KEY_BLOCK) {
        const int32_t block = (tile->first_key + j) / KEY_BLOCK;
        const r2i_matmul_job product = {
            .panels = job->w->turned_keys + (size_t)block * key_block_bytes(job),
            .n_panels = r2i_div_up_i32(d, PANEL),
            .n_rows = d,
            .n_cols = r2i_min_i32(KEY_BLOCK, n - j),
            .act = job->w->wide_rows + (size_t)j * element,
            .act_stride = stride,
            .n_tokens = tile->n_tokens,
            .y = job->a->g_q + query_at(tile, d),
            .y_stride = query_stride(tile, d),
            .is_added = j > 0,
        };
        ws->kernels->matmul[ws->layout](&product);
    }
}

static void run_tile(const head_job *job, int32_t head, int32_t first_token) {
    const r2i_attention_backward *a = job->a;
    const int32_t n_tokens = r2i_min_i32(TILE, job->n_tokens - first_token);
    const int32_t end = r2i_div_up_i32(first_token + n_tokens, KEY_BLOCK) * KEY_BLOCK;
    const int32_t first_key =
        a->window > 0 ? r2i_max_i32(0, first_token + 1 - a->window) / KEY_BLOCK * KEY_BLOCK : 0;
    const tile_job tile = { job,      head,      first_token,
                            n_tokens, first_key, r2i_min_i32(end, job->n_tokens) };
    multiply_keys(&tile, a->q, a->d_key, job->w->keys, job->w->p);
    multiply_keys(&tile, a->g_out, a->d_value, job->w->values, job->w->g_p);
    finish_rows(&tile);
    add_to_keys(&tile, job->w->p, a->g_out, a->d_value, job->w->g_v);
    add_to_keys(&tile, job->w->g_p, a->q, a->d_key, job->w->g_k);
    multiply_queries(&tile);
}

typedef struct {
    const r2i_attention_workspace *ws;
    const r2i_attention_backward *a;
    const r2i_run *runs;
    int32_t n_runs;
} backward_region;

static void run_head(const backward_region *region, const r2i_run *run, int32_t kv_head,
                     int32_t worker) {
    const r2i_attention_backward *a = region->a;
    const int32_t n_shared = run->trunk != NULL ? run->trunk->n_rows : 0;
    const head_job job = { region->ws, a,        &region->ws->workers[worker],
                           run,        n_shared, n_shared + run->n_rows,
                           kv_head };
    R2I_ASSERT(run->first_position == n_shared && job.n_tokens <= region->ws->cap_tokens);
    pack_head(&job);
    for (int32_t h = 0; h < a->group; h++) {
        for (int32_t t = n_shared; t < job.n_tokens; t += TILE)
            run_tile(&job, kv_head * a->group + h, t);
    }
    scatter(&job, job.w->g_k, a->d_key, a->g_k);
    scatter(&job, job.w->g_v, a->d_value, a->g_v);
}

/* Items of runs that continue another one are done with that one. */
static void run_heads(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const backward_region *region = argument;
    const int32_t n_heads = region->a->n_kv_heads;
    for (int32_t item = begin; item < end; item++) {
        const r2i_run *run = &region->runs[item / n_heads], *last = region->runs + region->n_runs;
        if (run->trunk != NULL) continue;
        run_head(region, run, item % n_heads, worker);
        for (const r2i_run *next = run + 1; next < last; next++) {
            if (next->trunk == run) run_head(region, next, item % n_heads, worker);
        }
    }
}

void r2i_attention_run_backward(const r2i_attention_workspace *workspace,
                                const r2i_attention_backward *attention, const r2i_run *runs,
                                int32_t n_runs) {
    backward_region region = { workspace, attention, runs, n_runs };
    R2I_ASSERT(attention->d_key <= workspace->cap_key &&
               attention->d_value <= workspace->cap_value);
    r2i_pool_run(workspace->pool, n_runs * attention->n_kv_heads, 1, run_heads, &region);
}
