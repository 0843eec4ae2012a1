#include "model/forward.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "model/attention.h"
#include "model/rope.h"

enum { FEW_ROWS = 8 };

/* ---- the cache's layout ---- */

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

/* ---- rows ---- */

void r2i_forward_over_rows(r2i_forward *f, int32_t n_rows, r2i_pool_work work, void *argument) {
    if (n_rows < FEW_ROWS)
        work(argument, 0, n_rows, 0);
    else
        r2i_pool_run(f->parts.pool, n_rows, FEW_ROWS / 2, work, argument);
}

void r2i_forward_rotate(const r2i_forward *f, float *part, int32_t row) {
    const r2i_rope_config *rope = &f->parts.config->rope;
    const size_t at = (size_t)row * (size_t)(rope->d / 2);
    f->parts.kernels->rope(part, f->cosine + at, f->sine + at, rope->d, rope->is_interleaved);
}

void r2i_forward_add_attended(r2i_forward *f, r2i_matrix *o) {
    const int32_t n_rows = f->batch.n_rows;
    if (f->saved != NULL) r2i_forward_keep(f, f->saved->attended, f->attended, (size_t)o->n_cols);
    r2i_forward_prepare(f, &f->attended_act, f->attended, (size_t)o->n_cols, NULL, n_rows,
                        o->n_cols, r2i_matrix_act_mask(o));
    const r2i_linear_output output = {
        .matrix = o, .y = f->x, .y_stride = (size_t)o->n_rows, .is_added = true
    };
    r2i_linear(&f->linear, &output, 1, &f->attended_act, n_rows);
}

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
    r2i_forward_over_rows(f, n_rows, prepare_rows, &region);
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
        add_span(f->logit_spans, &f->lora.n_spans, r2i_batch_find_run(&f->batch, rows[i]), i, 1);
}

void r2i_forward_start(r2i_forward *f, const r2i_batch *batch) {
    R2I_ASSERT(batch->n_rows >= 1 && batch->n_rows <= f->limits.cap_rows);
    f->batch = *batch;
    for (int32_t r = 0; r < batch->n_runs; r++) {
        const r2i_run *run = &batch->runs[r];
        for (int32_t i = 0; i < run->n_rows; i++)
            f->positions[run->first_row + i] = run->first_position + i;
    }
    r2i_forward_over_rows(f, batch->n_rows, start_rows, f);
    r2i_attention_plan(f);
    plan_spans(f, batch);
}

void r2i_forward_embed(const r2i_forward *f, const r2i_matrix *embedding, int32_t token, float *x) {
    r2i_matrix_read_row(embedding, f->parts.kernels, token, x);
}

void r2i_forward_layer(r2i_forward *f, int32_t i) {
    const r2i_layer_config *kinds = &f->parts.config->layers[i];
    const size_t d = (size_t)f->parts.config->d_model;
    f->saved = f->all_saved != NULL ? &f->all_saved[i] : NULL;
    if (f->saved != NULL) r2i_forward_keep(f, f->saved->x, f->x, d);
    if (kinds->attention == R2I_ATTENTION_MLA)
        r2i_mla_run(f, i);
    else
        r2i_gqa_run(f, i);
    if (f->saved != NULL) r2i_forward_keep(f, f->saved->x_ffn, f->x, d);
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

/* ---- training ---- */

typedef struct {
    float *to;
    const float *from;
    size_t n_cols;
} keep_region;

static void keep_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const keep_region *region = argument;
    const size_t at = (size_t)begin * region->n_cols;
    (void)worker;
    memcpy(region->to + at, region->from + at,
           (size_t)(end - begin) * region->n_cols * sizeof *region->from);
}

void r2i_forward_keep(r2i_forward *f, float *to, const float *from, size_t n_cols) {
    keep_region region = { to, from, n_cols };
    if (to != NULL) r2i_forward_over_rows(f, f->batch.n_rows, keep_rows, &region);
}

void r2i_forward_set_saved(r2i_forward *f, const r2i_layer_saved *saved) {
    f->all_saved = saved;
}

void r2i_forward_set_routes(r2i_forward *f, uint16_t *routes, bool is_given) {
    f->routes = routes;
    f->has_given_routes = is_given;
}

const float *r2i_forward_rows(const r2i_forward *f) {
    return f->x;
}

void r2i_forward_rerun_layer(r2i_forward *f, const r2i_batch *batch, int32_t layer,
                             const float *x) {
    r2i_forward_start(f, batch);
    r2i_forward_keep(f, f->x, x, (size_t)f->parts.config->d_model);
    r2i_forward_layer(f, layer);
}

static void embed_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    r2i_forward *f = argument;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        r2i_forward_embed(f, &f->parts.weights->embedding, f->batch.tokens[row],
                          f->x + (size_t)row * (size_t)f->parts.config->d_model);
    }
}

void r2i_forward_run(r2i_forward *f, const r2i_batch *batch) {
    const r2i_config *c = f->parts.config;
    r2i_forward_start(f, batch);
    r2i_forward_over_rows(f, batch->n_rows, embed_rows, f);
    f->is_complete = false;
    for (int32_t i = 0; i < c->n_layers; i++) {
        if (f->is_wanted != NULL && !f->is_wanted(f->wanted_user)) return;
        r2i_forward_layer(f, i);
    }
    f->is_complete = true;
}

void r2i_forward_set_wanted(r2i_forward *f, bool (*is_wanted)(void *user), void *user) {
    f->is_wanted = is_wanted;
    f->wanted_user = user;
}

bool r2i_forward_is_complete(const r2i_forward *f) {
    return f->is_complete;
}

void r2i_forward_bound(float *x, int32_t n) {
    const float most = 3e38f; /* rounds to a finite BF16 */
    for (int32_t i = 0; i < n; i++) {
        const float number = x[i] == x[i] ? x[i] : 0;
        const float below = number < most ? number : most;
        x[i] = below > -most ? below : -most;
    }
}

bool r2i_forward_is_finite(const r2i_forward *f, int32_t row) {
    const int32_t d = f->parts.config->d_model;
    const float *x = f->x + (size_t)row * (size_t)d;
    int32_t n_bad = 0;
    for (int32_t i = 0; i < d; i++)
        n_bad += !(fabsf(x[i]) <= FLT_MAX);
    return n_bad == 0;
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
