#include "model/forward.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "model/forward_state.h"
#include "model/rope.h"

enum { MAX_PARTIAL_FLOATS = 2 << 20, PARALLEL_ROWS = 8 };

r2_status r2i_cache_layout_create(r2i_cache_layout *out, const r2i_config *config,
                                  r2i_row_kind rows, r2i_arena *arena, r2_error *err) {
    *out = (r2i_cache_layout){ .rows = rows, .n_streams = 2 * config->n_layers };
    out->streams = R2I_ARENA_ARRAY(arena, r2i_cache_stream, (size_t)out->n_streams);
    if (out->streams == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for the cache's layout");
    const size_t heads = (size_t)config->n_kv_heads;
    for (int32_t s = 0; s < out->n_streams; s++) {
        const size_t one = s % 2 == 0 ? r2i_key_page_bytes(rows, config->d_head)
                                      : r2i_value_page_bytes(rows, config->d_head);
        out->streams[s] =
            (r2i_cache_stream){ out->page_bytes, heads * one, 1, config->layers[s / 2].window };
        out->page_bytes += heads * one;
    }
    return R2_OK;
}

/* ---- scratch memory ---- */

/* Remembers the first failure, so that a list of allocations is checked once at its end. */
typedef struct {
    r2i_arena *arena;
    bool has_failed;
} taker;

static void *take(taker *t, size_t n, size_t element_bytes) {
    void *memory = r2i_arena_push_array(t->arena, n, element_bytes, 64);
    if (memory == NULL) t->has_failed = true;
    return memory;
}

static float *take_floats(taker *t, size_t n_rows, size_t n_cols) {
    size_t n;
    if (r2i_mul_size(n_rows, n_cols, &n)) return take(t, n, sizeof(float));
    t->has_failed = true;
    return NULL;
}

static void take_prepared(taker *t, r2i_prepared *p, unsigned mask, size_t n_rows, int32_t n_cols) {
    for (int kind = 0; kind < 3; kind++) {
        if ((mask >> kind & 1u) == 0) continue;
        p->stride[kind] = r2i_act_row_bytes((r2i_act_kind)kind, n_cols);
        p->rows[kind] = take(t, n_rows, p->stride[kind]);
    }
}

/* What the matrices of a model need at most. */
typedef struct {
    unsigned mask; /* of activation forms */
    size_t panel_bytes;
    int32_t widest; /* columns */
} needs;

static void collect_needs(void *user, r2i_matrix *m) {
    needs *n = user;
    n->mask |= r2i_matrix_act_mask(m);
    n->panel_bytes = r2i_max_size(n->panel_bytes, m->panel_bytes);
    n->widest = r2i_max_i32(n->widest, m->n_cols);
}

static void take_moe(taker *t, r2i_forward *f, const needs *need) {
    const r2i_config *c = f->parts.config;
    if (c->n_experts == 0) return;
    const size_t rows = (size_t)f->limits.cap_rows, experts = (size_t)c->n_experts,
                 active = (size_t)c->n_active;
    f->moe.scores = take_floats(t, rows, experts);
    f->moe.chosen = take(t, rows * active, sizeof(int32_t));
    f->moe.weights = take_floats(t, rows, active);
    f->moe.entry_of = take(t, rows * active, sizeof(int32_t));
    f->moe.first_entry = take(t, experts + 1, sizeof(int32_t));
    f->moe.first_tile = take(t, experts + 1, sizeof(int32_t));
    f->moe.is_kept = take(t, 3 * experts, sizeof(bool));
    take_prepared(t, &f->moe.x, need->mask, rows * active, c->d_model);
    take_prepared(t, &f->moe.inner, need->mask, rows * active, c->d_expert);
    f->moe.y = take_floats(t, rows * active, (size_t)c->d_model);
}

static void take_workers(taker *t, r2i_forward *f, const needs *need, uint8_t **panel_scratch) {
    const r2i_config *c = f->parts.config;
    const size_t tile_cols = R2I_TILE_PANELS * R2I_PANEL_ROWS, d = (size_t)c->d_head;
    /* An expert can be chosen by every row once, so its tile never has more rows than the batch. */
    const size_t rows = (size_t)f->limits.cap_rows;
    for (int32_t i = 0; i < f->n_workers && !t->has_failed; i++) {
        r2i_worker_scratch *w = &f->workers[i];
        w->panels = take(t, R2I_TILE_PANELS, need->panel_bytes);
        w->row = take_floats(t, 1, (size_t)need->widest);
        w->gate = take_floats(t, rows, tile_cols);
        w->up = take_floats(t, rows, tile_cols);
        w->q = take_floats(t, R2I_ATTEND_ROWS, d);
        w->chunk_out = take_floats(t, R2I_ATTEND_ROWS, d);
        w->total_out = take_floats(t, R2I_ATTEND_ROWS, d);
        panel_scratch[i] = w->panels;
    }
}

static size_t partial_floats(const r2i_forward *f) {
    const r2i_config *c = f->parts.config;
    const size_t chunks = (size_t)f->limits.cap_positions / (R2I_CHUNK_PAGES * R2I_PAGE_TOKENS) + 1;
    const size_t rows = (size_t)(4 * f->n_workers) * (size_t)(c->n_heads / c->n_kv_heads);
    return r2i_min_size(chunks * rows * ((size_t)c->d_head + 2), MAX_PARTIAL_FLOATS);
}

static void take_rows(taker *t, r2i_forward *f, const needs *need) {
    const r2i_config *c = f->parts.config;
    const size_t rows = (size_t)f->limits.cap_rows, half = (size_t)c->rope.d / 2;
    const size_t d_q = (size_t)c->n_heads * (size_t)c->d_head,
                 d_kv = (size_t)c->n_kv_heads * (size_t)c->d_head;
    f->inv_freq = take(t, half, sizeof(double));
    f->positions = take(t, rows, sizeof(int32_t));
    f->cosine = take_floats(t, rows, half);
    f->sine = take_floats(t, rows, half);
    f->x = take_floats(t, rows, (size_t)c->d_model);
    f->q = take_floats(t, rows, d_q);
    f->k = take_floats(t, rows, d_kv);
    f->v = take_floats(t, rows, d_kv);
    f->attended = take_floats(t, rows, d_q);
    f->tiles = take(t, rows, sizeof *f->tiles);
    take_prepared(t, &f->input, need->mask, rows, c->d_model);
    take_prepared(t, &f->attended_act, need->mask, rows, (int32_t)d_q);
    take_prepared(t, &f->inner, need->mask, rows, c->d_ffn);
    f->n_partial_floats = partial_floats(f);
    f->partials = take(t, f->n_partial_floats, sizeof(float));
    f->hidden = take_floats(t, 1, (size_t)c->d_model);
    f->logit_rows = take_floats(t, (size_t)f->limits.cap_logits, (size_t)c->d_model);
    take_prepared(t, &f->logit_act, need->mask, (size_t)f->limits.cap_logits, c->d_model);
}

r2_status r2i_forward_create(r2i_forward **out, const r2i_forward_parts *parts,
                             const r2i_forward_limits *limits, r2i_arena *arena, r2_error *err) {
    taker t = { arena, false };
    const int32_t n_workers = r2i_pool_threads(parts->pool);
    needs need = { 0, 0, 0 };
    *out = NULL;
    r2i_weights_visit(parts->weights, parts->config, collect_needs, &need);
    r2i_forward *f = take(&t, 1, sizeof *f);
    r2i_worker_scratch *workers = take(&t, (size_t)n_workers, sizeof *workers);
    uint8_t **panel_scratch = take(&t, (size_t)n_workers, sizeof *panel_scratch);
    if (!t.has_failed) {
        f->parts = *parts;
        f->limits = *limits;
        f->n_workers = n_workers;
        f->workers = workers;
        f->linear = (r2i_linear_context){ .kernels = parts->kernels,
                                          .pool = parts->pool,
                                          .scratch = panel_scratch,
                                          .packed = parts->packed,
                                          .packed_user = parts->packed_user };
        take_workers(&t, f, &need, panel_scratch);
        take_rows(&t, f, &need);
        take_moe(&t, f, &need);
    }
    if (t.has_failed)
        return r2i_fail(err, R2_E_NOMEM, "no memory for the activations of %d rows",
                        limits->cap_rows);
    r2i_rope_frequencies(&parts->config->rope, f->inv_freq, &f->rope_factor);
    *out = f;
    return R2_OK;
}

/* ---- rows ---- */

typedef struct {
    r2i_forward *f;
    r2i_prepared *out;
    const float *x, *weight;
    size_t x_stride;
    int32_t n_cols;
    unsigned mask;
} prepare_region;

static void prepare_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const prepare_region *region = argument;
    const r2i_kernels *kernels = region->f->parts.kernels;
    for (int32_t row = begin; row < end; row++) {
        const float *x = region->x + (size_t)row * region->x_stride;
        if (region->weight != NULL) {
            float *normed = region->f->workers[worker].row;
            kernels->rmsnorm(normed, x, region->weight, region->n_cols,
                             region->f->parts.config->norm_eps);
            x = normed;
        }
        for (int kind = 0; kind < 3; kind++) {
            if ((region->mask >> kind & 1u) == 0) continue;
            uint8_t *out = region->out->rows[kind] + (size_t)row * region->out->stride[kind];
            kernels->act[kind](out, x, region->n_cols, 0, region->n_cols);
        }
    }
}

void r2i_forward_prepare(r2i_forward *f, r2i_prepared *out, const float *x, size_t x_stride,
                         const float *weight, int32_t n_rows, int32_t n_cols, unsigned mask) {
    prepare_region region = { f, out, x, weight, x_stride, n_cols, mask };
    if (n_rows < PARALLEL_ROWS)
        prepare_rows(&region, 0, n_rows, 0);
    else
        r2i_pool_run(f->parts.pool, n_rows, PARALLEL_ROWS / 2, prepare_rows, &region);
}

static void start_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    r2i_forward *f = argument;
    const r2i_config *c = f->parts.config;
    const r2i_matrix *embedding = &f->parts.weights->embedding;
    const size_t half = (size_t)c->rope.d / 2;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        const uint8_t *stored =
            embedding->stored + (size_t)f->batch->tokens[row] * embedding->row_bytes;
        f->parts.kernels->dequantize[embedding->type](f->x + (size_t)row * (size_t)c->d_model,
                                                      stored, c->d_model);
        r2i_rope_row(f->cosine + (size_t)row * half, f->sine + (size_t)row * half, f->inv_freq,
                     f->rope_factor, c->rope.d, f->positions[row]);
    }
}

void r2i_forward_set_pack_budget(r2i_forward *f, size_t n_bytes) {
    f->linear.pack_budget = n_bytes;
}

void r2i_forward_run(r2i_forward *f, const r2i_batch *batch) {
    R2I_ASSERT(batch->n_rows >= 1 && batch->n_rows <= f->limits.cap_rows);
    f->batch = batch;
    for (int32_t r = 0; r < batch->n_runs; r++) {
        const r2i_run *run = &batch->runs[r];
        for (int32_t i = 0; i < run->n_rows; i++)
            f->positions[run->first_row + i] = run->first_position + i;
    }
    if (batch->n_rows < PARALLEL_ROWS)
        start_rows(f, 0, batch->n_rows, 0);
    else
        r2i_pool_run(f->parts.pool, batch->n_rows, PARALLEL_ROWS, start_rows, f);
    r2i_gqa_plan(f);
    for (int32_t i = 0; i < f->parts.config->n_layers; i++) {
        r2i_gqa_run(f, i);
        if (f->parts.config->layers[i].ffn == R2I_FFN_MOE)
            r2i_moe_run(f, i);
        else
            r2i_mlp_run(f, i);
    }
}

const float *r2i_forward_hidden(r2i_forward *f, int32_t row) {
    const r2i_config *c = f->parts.config;
    const float *x = f->x + (size_t)row * (size_t)c->d_model;
    f->parts.kernels->rmsnorm(f->hidden, x, f->parts.weights->output_norm, c->d_model, c->norm_eps);
    return f->hidden;
}

void r2i_forward_logits(r2i_forward *f, const int32_t *rows, int32_t n, float *logits) {
    R2I_ASSERT(n <= f->limits.cap_logits);
    const r2i_config *c = f->parts.config;
    const size_t d = (size_t)c->d_model;
    for (int32_t i = 0; i < n; i++) {
        memcpy(f->logit_rows + (size_t)i * d, f->x + (size_t)rows[i] * d, d * sizeof *f->x);
    }
    r2i_matrix *head = &f->parts.weights->head;
    r2i_forward_prepare(f, &f->logit_act, f->logit_rows, d, f->parts.weights->output_norm, n,
                        c->d_model, r2i_matrix_act_mask(head));
    const r2i_linear_output output = { .matrix = head,
                                       .y = logits,
                                       .y_stride = (size_t)c->n_vocab };
    r2i_linear(&f->linear, &output, 1, &f->logit_act, n);
}
