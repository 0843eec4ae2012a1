#include "model/forward.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "model/attention.h"
#include "model/rope.h"

enum { MAX_PARTIAL_FLOATS = 4 << 20, PARALLEL_ROWS = 8 };

/* Widths of what a query is compared with and of what is summed. */
static bool has_latents(const r2i_config *c) {
    return c->kv_rank > 0;
}

static size_t cached_key_width(const r2i_config *c) {
    return (size_t)(has_latents(c) ? c->kv_rank + c->rope.d : c->d_head);
}

static size_t cached_value_width(const r2i_config *c) {
    return (size_t)(has_latents(c) ? c->kv_rank : c->d_value);
}

static void add_stream(r2i_cache_layout *out, size_t n_bytes, int32_t window) {
    out->streams[out->n_streams++] = (r2i_cache_stream){ out->page_bytes, n_bytes, 1, window };
    out->page_bytes += n_bytes;
}

static size_t layer_page_bytes(const r2i_config *c, r2i_attention_kind attention,
                               r2i_row_kind rows) {
    if (attention == R2I_ATTENTION_MLA) return r2i_key_page_bytes(rows, c->kv_rank + c->rope.d);
    return (size_t)c->n_kv_heads *
           (r2i_key_page_bytes(rows, c->d_head) + r2i_value_page_bytes(rows, c->d_value));
}

size_t r2i_cache_page_bytes(const r2i_config *config, r2i_row_kind rows) {
    size_t n_bytes = 0;
    for (int32_t i = 0; i < config->n_layers; i++)
        n_bytes += layer_page_bytes(config, config->layers[i].attention, rows);
    return n_bytes;
}

r2_status r2i_cache_layout_create(r2i_cache_layout *out, const r2i_config *config,
                                  r2i_row_kind rows, r2i_arena *arena, r2_error *err) {
    const size_t n_layers = (size_t)(config->n_layers + config->n_mtp),
                 heads = (size_t)config->n_kv_heads;
    *out = (r2i_cache_layout){ .rows = rows };
    out->streams = R2I_ARENA_ARRAY(arena, r2i_cache_stream, 2 * n_layers);
    out->first_stream = R2I_ARENA_ARRAY(arena, int32_t, n_layers);
    if (out->streams == NULL || out->first_stream == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for the cache's layout");
    for (int32_t i = 0; i < (int32_t)n_layers; i++) {
        const r2i_layer_config *layer = &config->layers[i];
        out->first_stream[i] = out->n_streams;
        if (layer->attention == R2I_ATTENTION_MLA) {
            add_stream(out, layer_page_bytes(config, layer->attention, rows), layer->window);
            continue;
        }
        add_stream(out, heads * r2i_key_page_bytes(rows, config->d_head), layer->window);
        add_stream(out, heads * r2i_value_page_bytes(rows, config->d_value), layer->window);
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
    unsigned mask;      /* of activation forms */
    unsigned lora_mask; /* of adapters */
    size_t panel_bytes;
    int32_t widest; /* columns */
} needs;

static void collect_needs(void *user, r2i_matrix *m) {
    needs *n = user;
    n->mask |= r2i_matrix_act_mask(m);
    n->panel_bytes = r2i_max_size(n->panel_bytes, m->panel_bytes);
    n->widest = r2i_max_i32(n->widest, m->n_cols);
}

static void take_mtp(taker *t, r2i_forward *f, const needs *need) {
    const size_t rows = (size_t)f->limits.cap_rows, d = (size_t)f->parts.config->d_model;
    if (!f->parts.weights->has_mtp) return;
    f->mtp.hidden = take_floats(t, rows, d);
    f->mtp.own = take_floats(t, rows, d);
    f->mtp.joined = take_floats(t, rows, 2 * d);
    take_prepared(t, &f->mtp.join_act, need->mask, rows, (int32_t)(2 * d));
}

/* Forms of the experts' inputs alone: there are n_active of them per row, and the router's F32 would
 * cost more memory than all else. */
static unsigned expert_mask(const r2i_forward *f, bool is_down) {
    const int32_t n_layers = f->parts.config->n_layers + (f->parts.weights->has_mtp ? 1 : 0);
    unsigned mask = 0;
    for (int32_t i = 0; i < n_layers; i++) {
        const r2i_layer *layer = &f->parts.weights->layers[i];
        if (f->parts.config->layers[i].ffn != R2I_FFN_MOE) continue;
        mask |= is_down ? r2i_matrix_act_mask(layer->expert_down)
                        : r2i_matrix_act_mask(layer->expert_gate) |
                              r2i_matrix_act_mask(layer->expert_up);
    }
    return mask;
}

static void take_moe(taker *t, r2i_forward *f) {
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
    take_prepared(t, &f->moe.x, expert_mask(f, false), rows * active, c->d_model);
    take_prepared(t, &f->moe.inner, expert_mask(f, true), rows * active, c->d_expert);
    f->moe.y = take_floats(t, rows * active, (size_t)c->d_model);
}

static void take_expanded(taker *t, r2i_forward *f, const needs *need) {
    const r2i_config *c = f->parts.config;
    const r2i_row_kind rows = r2i_attended_rows(f->parts.cache->rows);
    const size_t heads = (size_t)c->n_heads, tokens = R2I_EXPAND_TOKENS,
                 cap = (size_t)f->limits.cap_rows;
    f->mla.latents = take_floats(t, tokens, cached_key_width(c));
    take_prepared(t, &f->mla.latent_act, need->mask, tokens, c->kv_rank);
    f->mla.k = take_floats(t, tokens, heads * (size_t)(c->d_head - c->rope.d));
    f->mla.v = take_floats(t, tokens, heads * (size_t)c->d_value);
    f->mla.pages =
        take(t, R2I_EXPAND_PAGES * heads,
             r2i_key_page_bytes(rows, c->d_head) + r2i_value_page_bytes(rows, c->d_value));
    f->mla.max = take_floats(t, cap, heads);
    f->mla.sum = take_floats(t, cap, heads);
}

static void take_mla(taker *t, r2i_forward *f, const needs *need) {
    const r2i_config *c = f->parts.config;
    if (!has_latents(c)) return;
    const size_t rows = (size_t)f->limits.cap_rows, heads = (size_t)c->n_heads;
    if (c->q_rank > 0) {
        f->mla.q_low = take_floats(t, rows, (size_t)c->q_rank);
        take_prepared(t, &f->mla.q_low_act, need->mask | need->lora_mask, rows, c->q_rank);
    }
    f->mla.q = take_floats(t, rows * heads, cached_key_width(c));
    f->mla.z = take_floats(t, rows * heads, cached_value_width(c));
    take_prepared(t, &f->mla.head_act, need->mask, rows * heads,
                  r2i_max_i32(c->kv_rank, c->d_head - c->rope.d));
    if (f->limits.is_expanding) take_expanded(t, f, need);
}

/* Pages that attention reads where the cache holds something else. */
static void take_pages(taker *t, const r2i_forward *f, r2i_worker_scratch *w) {
    const r2i_config *c = f->parts.config;
    const r2i_row_kind stored = f->parts.cache->rows, rows = r2i_attended_rows(stored);
    const bool is_expanded = stored != rows;
    /* Latent rows are turned as a whole where they are expanded to the heads' keys and values. */
    const size_t d_value = has_latents(c) ? cached_key_width(c) : cached_value_width(c);
    if (is_expanded) w->keys = take(t, 1, r2i_key_page_bytes(rows, (int32_t)cached_key_width(c)));
    if (!is_expanded && !has_latents(c)) return;
    w->values = take(t, 1, r2i_value_page_bytes(rows, (int32_t)d_value));
    w->page_out = take_floats(t, R2I_ATTEND_ROWS, cached_value_width(c));
}

static void take_workers(taker *t, r2i_forward *f, const needs *need, uint8_t **panel_scratch) {
    const r2i_config *c = f->parts.config;
    const size_t tile_cols = R2I_TILE_PANELS * R2I_PANEL_ROWS;
    /* An expert can be chosen by every row once, so its tile never has more rows than the batch. */
    const size_t rows = (size_t)f->limits.cap_rows;
    for (int32_t i = 0; i < f->n_workers && !t->has_failed; i++) {
        r2i_worker_scratch *w = &f->workers[i];
        w->panels = take(t, R2I_TILE_PANELS, need->panel_bytes);
        w->row = take_floats(t, 1, (size_t)need->widest);
        w->gate = take_floats(t, rows, tile_cols);
        w->up = take_floats(t, rows, tile_cols);
        w->q = take_floats(t, R2I_ATTEND_ROWS, cached_key_width(c));
        w->chunk_out = take_floats(t, R2I_ATTEND_ROWS, cached_value_width(c));
        w->total_out = take_floats(t, R2I_ATTEND_ROWS, cached_value_width(c));
        take_pages(t, f, w);
        panel_scratch[i] = w->panels;
    }
}

static void take_lora(taker *t, r2i_forward *f) {
    const r2i_type layout = f->parts.weights->lora_layout;
    f->lora.layout = layout;
    f->linear.lora = &f->lora;
    f->spans = take(t, (size_t)f->limits.cap_rows, sizeof *f->spans);
    f->logit_spans = take(t, (size_t)f->limits.cap_logits, sizeof *f->logit_spans);
    for (int32_t i = 0; i < R2I_MAX_LINEAR; i++)
        f->lora.low[i] = take(t, 1, r2i_lora_low_bytes(layout, f->limits.cap_rows));
}

static size_t partial_floats(const r2i_forward *f) {
    const r2i_config *c = f->parts.config;
    const size_t chunks = (size_t)f->limits.cap_positions / (R2I_CHUNK_PAGES * R2I_PAGE_TOKENS) + 1;
    const size_t rows = (size_t)(4 * f->n_workers) * (size_t)(c->n_heads / c->n_kv_heads);
    return r2i_min_size(chunks * rows * (cached_value_width(c) + 2), MAX_PARTIAL_FLOATS);
}

static void take_rows(taker *t, r2i_forward *f, const needs *need) {
    const r2i_config *c = f->parts.config;
    const size_t rows = (size_t)f->limits.cap_rows, half = (size_t)c->rope.d / 2;
    const size_t d_q = (size_t)c->n_heads * (size_t)c->d_head,
                 d_out = (size_t)c->n_heads * (size_t)c->d_value;
    const unsigned mask = need->mask | need->lora_mask;
    f->inv_freq = take(t, half, sizeof(double));
    f->positions = take(t, rows, sizeof(int32_t));
    f->cosine = take_floats(t, rows, half);
    f->sine = take_floats(t, rows, half);
    f->x = take_floats(t, rows, (size_t)c->d_model);
    f->q = take_floats(t, rows, d_q);
    f->k = take_floats(t, rows, (size_t)c->n_kv_heads * cached_key_width(c));
    f->v = take_floats(t, rows, (size_t)c->n_kv_heads * cached_value_width(c));
    f->attended = take_floats(t, rows, d_out);
    f->tiles = take(t, rows, sizeof *f->tiles);
    take_prepared(t, &f->input, mask, rows, c->d_model);
    take_prepared(t, &f->attended_act, mask, rows, (int32_t)d_out);
    take_prepared(t, &f->inner, mask, rows,
                  r2i_max_i32(c->d_ffn, c->n_shared_experts * c->d_expert));
    f->n_partial_floats = partial_floats(f);
    f->partials = take(t, f->n_partial_floats, sizeof(float));
    f->hidden = take_floats(t, 1, (size_t)c->d_model);
    f->logit_rows = take_floats(t, (size_t)f->limits.cap_logits, (size_t)c->d_model);
    take_prepared(t, &f->logit_act, mask, (size_t)f->limits.cap_logits, c->d_model);
}

r2_status r2i_forward_create(r2i_forward **out, const r2i_forward_parts *parts,
                             const r2i_forward_limits *limits, r2i_arena *arena, r2_error *err) {
    taker t = { arena, false };
    const int32_t n_workers = r2i_pool_threads(parts->pool);
    needs need = { .lora_mask = 1u << r2i_act_kind_of(parts->weights->lora_layout) };
    *out = NULL;
    r2i_weights_visit(parts->weights, parts->config, collect_needs, &need);
    /* Matrices made of others are not visited; they have this layout. */
    if (has_latents(parts->config)) {
        need.mask |= r2i_matrix_act_mask(parts->weights->layers[0].absorb_k) |
                     r2i_matrix_act_mask(parts->weights->layers[0].expand_k);
    }
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
        take_mla(&t, f, &need);
        take_moe(&t, f);
        take_mtp(&t, f, &need);
        take_lora(&t, f);
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
    const float *x;
    const r2i_row_norm *norm;
    size_t x_stride;
    int32_t n_cols;
    unsigned mask;
} prepare_region;

static void prepare_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const prepare_region *region = argument;
    const r2i_kernels *kernels = region->f->parts.kernels;
    const r2i_lora_work *lora = &region->f->lora;
    const r2i_act_kind lora_kind = r2i_act_kind_of(lora->layout);
    const unsigned lora_mask = region->out->rows[lora_kind] != NULL ? 1u << lora_kind : 0;
    for (int32_t row = begin; row < end; row++) {
        const float *x = region->x + (size_t)row * region->x_stride;
        const unsigned mask = region->mask | (r2i_lora_has_row(lora, row) ? lora_mask : 0);
        if (region->norm != NULL) {
            float *normed = region->f->workers[worker].row;
            kernels->rmsnorm(normed, x, region->norm->weight, region->n_cols, region->norm->eps);
            x = normed;
        }
        for (int kind = 0; kind < 3; kind++) {
            if ((mask >> kind & 1u) == 0) continue;
            uint8_t *out = region->out->rows[kind] + (size_t)row * region->out->stride[kind];
            kernels->act[kind](out, x, region->n_cols, 0, region->n_cols);
        }
    }
}

void r2i_forward_prepare(r2i_forward *f, r2i_prepared *out, const float *x, size_t x_stride,
                         const r2i_row_norm *norm, int32_t n_rows, int32_t n_cols, unsigned mask) {
    prepare_region region = { f, out, x, norm, x_stride, n_cols, mask };
    if (n_rows < PARALLEL_ROWS)
        prepare_rows(&region, 0, n_rows, 0);
    else
        r2i_pool_run(f->parts.pool, n_rows, PARALLEL_ROWS / 2, prepare_rows, &region);
}

static void start_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    r2i_forward *f = argument;
    const r2i_config *c = f->parts.config;
    const size_t half = (size_t)c->rope.d / 2;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        r2i_rope_row(f->cosine + (size_t)row * half, f->sine + (size_t)row * half, f->inv_freq,
                     f->rope_factor, c->rope.d, f->positions[row]);
    }
}

/* ---- adapters of rows ---- */

/* Appends rows [row, row + n_rows) of a run, to the span before them where they continue it. */
static void add_span(r2i_lora_span *spans, int32_t *n, const r2i_run *run, int32_t row,
                     int32_t n_rows) {
    r2i_lora_span *last = *n > 0 ? &spans[*n - 1] : NULL;
    if (run->lora == NULL) return;
    if (last != NULL && last->pairs == run->lora && last->scale == run->lora_scale &&
        last->first_row + last->n_rows == row)
        last->n_rows += n_rows;
    else
        spans[(*n)++] = (r2i_lora_span){ run->lora, run->lora_scale, row, n_rows };
}

static void plan_spans(r2i_forward *f, const r2i_batch *batch) {
    f->n_spans = 0;
    for (int32_t r = 0; r < batch->n_runs; r++)
        add_span(f->spans, &f->n_spans, &batch->runs[r], batch->runs[r].first_row,
                 batch->runs[r].n_rows);
    f->lora.spans = f->spans;
    f->lora.n_spans = f->n_spans;
}

void r2i_forward_select(r2i_forward *f, const int32_t *rows, int32_t n) {
    f->lora.n_spans = 0;
    f->lora.spans = f->logit_spans;
    for (int32_t i = 0; f->n_spans > 0 && i < n; i++)
        add_span(f->logit_spans, &f->lora.n_spans, r2i_batch_find_run(f->batch, rows[i]), i, 1);
}

void r2i_forward_start(r2i_forward *f, const r2i_batch *batch) {
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
    r2i_attention_plan(f);
    plan_spans(f, batch);
}

void r2i_forward_embed(const r2i_forward *f, const r2i_matrix *embedding, int32_t token, float *x) {
    r2i_matrix_read_row(embedding, f->parts.kernels, token, x);
}

void r2i_forward_layer(r2i_forward *f, int32_t i) {
    const r2i_layer_config *kinds = &f->parts.config->layers[i];
    if (kinds->attention == R2I_ATTENTION_MLA)
        r2i_mla_run(f, i);
    else
        r2i_gqa_run(f, i);
    if (kinds->ffn == R2I_FFN_MOE)
        r2i_moe_run(f, i);
    else
        r2i_mlp_run(f, i);
}

void r2i_forward_set_pack_budget(r2i_forward *f, size_t n_bytes) {
    f->linear.pack_budget = n_bytes;
}

size_t r2i_forward_pack_budget(const r2i_forward *f) {
    return f->linear.pack_budget;
}

void r2i_forward_set_observer(r2i_forward *f, r2i_observe observe, void *user) {
    f->linear.observe = observe;
    f->linear.observe_user = user;
}

void r2i_forward_run(r2i_forward *f, const r2i_batch *batch) {
    const r2i_config *c = f->parts.config;
    r2i_forward_start(f, batch);
    for (int32_t row = 0; row < batch->n_rows; row++)
        r2i_forward_embed(f, &f->parts.weights->embedding, batch->tokens[row],
                          f->x + (size_t)row * (size_t)c->d_model);
    for (int32_t i = 0; i < c->n_layers; i++)
        r2i_forward_layer(f, i);
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
    const r2i_row_norm norm = { f->parts.weights->output_norm, c->norm_eps };
    r2i_forward_select(f, rows, n);
    r2i_forward_head(f, &norm, &f->parts.weights->head, n, logits);
}

void r2i_forward_head(r2i_forward *f, const r2i_row_norm *norm, r2i_matrix *head, int32_t n,
                      float *logits) {
    const int32_t d = f->parts.config->d_model;
    r2i_forward_prepare(f, &f->logit_act, f->logit_rows, (size_t)d, norm, n, d,
                        r2i_matrix_act_mask(head));
    const r2i_linear_output output = { .matrix = head,
                                       .y = logits,
                                       .y_stride = (size_t)head->n_rows };
    r2i_linear(&f->linear, &output, 1, &f->logit_act, n);
}
