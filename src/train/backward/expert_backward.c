/* expert_backward.c - backward twin of the routed experts' products (model/moe.c).
 *
 *     y_k = w_k down(inner),  inner = silu(gate n) up n:
 *     g = down^T g_y,   g_w_k = g . inner,   then silu_mul_backward of w_k g,   g_n = gate^T g_gate + up^T g_up
 *     gradient of down += g_y^T (w_k inner),   of gate += g_gate^T n,   of up += g_up^T n
 *
 * Three regions: the experts' matrices are packed, once for all of their rows; blocks of an expert's
 * rows go through the chain above, gathered, rounded and multiplied where they lie in the cache; and
 * the sums over rows, whose operands the second region left as panels of tokens. */
#include <string.h>

#include "base/checked.h"
#include "train/backward/backward_state.h"

enum {
    BLOCK_ROWS = 192, /* even; of an expert in the second region */
    TILE_COLS = 64,   /* of a gradient in the third */
    PIECE_STEPS = 1024,
    UNPAIRED_ROWS = 64
};

/* Scratch of a worker. */
struct r2i_expert_worker {
    uint8_t *x, *g_y;      /* [BLOCK_ROWS] prepared rows of d_model columns */
    uint8_t *inner, *both; /* ... of the inner width; of g_gate, then g_up behind an even width */
    float *g;              /* [BLOCK_ROWS, width] */
    float *rows;           /* [3, width] of one row, or a matrix read from its file */
    uint8_t *turned;       /* [UNPAIRED_ROWS] prepared rows of PIECE_STEPS */
};

/* Operands of an expert's sums over its rows. */
enum { OF_X, OF_G_Y, OF_INNER, OF_GATE, OF_UP, N_OPERANDS };

typedef struct {
    r2i_backward *b;
    const r2i_layer *layer;
    const r2i_moe_saved *saved;
} expert_region;

static size_t element_of(const r2i_backward *b) {
    return b->layout == R2I_TYPE_F32 ? 4 : 2;
}

/* Columns of g_gate in front of g_up: pairs do not mix the two. */
static int32_t even_width(const r2i_backward *b) {
    return b->config->d_expert + (b->layout == R2I_TYPE_F32 ? 0 : b->config->d_expert % 2);
}

static size_t stride_of(const r2i_backward *b, int32_t n_cols) {
    return r2i_act_row_bytes(r2i_act_kind_of(b->layout), n_cols);
}

static size_t panels_of(int32_t n_cols) {
    return (size_t)r2i_div_up_i32(n_cols, R2I_PANEL_ROWS);
}

static int32_t rows_of(const r2i_moe_saved *saved, int32_t e) {
    return saved->first_entry[e + 1] - saved->first_entry[e];
}

/* ---- memory ---- */

static size_t packed_bytes(const r2i_backward *b) {
    const r2i_config *c = b->config;
    return panels_of(c->d_expert) * r2i_panel_bytes(b->layout, c->d_model) +
           panels_of(c->d_model) * r2i_panel_bytes(b->layout, 2 * even_width(b));
}

static int32_t operand_cols(const r2i_config *c, int operand) {
    return operand == OF_X || operand == OF_G_Y ? c->d_model : c->d_expert;
}

/* An expert's panels have an even number of rows: all of them lie one behind the other, each expert's
 * from its first row plus its number on. */
static size_t operand_bytes(const r2i_backward *b, int operand) {
    const size_t entries = (size_t)r2i_experts_cap(b),
                 row = panels_of(operand_cols(b->config, operand)) * R2I_PANEL_ROWS * element_of(b);
    return (entries + 2 * (size_t)b->config->n_experts) * row;
}

static void take_worker(r2i_taker *t, const r2i_backward *b, r2i_expert_worker *w) {
    const r2i_config *c = b->config;
    const size_t width = (size_t)c->d_expert, d = (size_t)c->d_model;
    w->x = r2i_take(t, BLOCK_ROWS * stride_of(b, c->d_model), 1);
    w->g_y = r2i_take(t, BLOCK_ROWS * stride_of(b, c->d_model), 1);
    w->inner = r2i_take(t, BLOCK_ROWS * stride_of(b, c->d_expert), 1);
    w->both = r2i_take(t, BLOCK_ROWS * stride_of(b, 2 * even_width(b)), 1);
    w->g = r2i_take_floats(t, BLOCK_ROWS, width);
    w->rows = r2i_take_floats(t, r2i_max_size(3, b->parameters->lora != NULL ? d : 0), width);
    w->turned = r2i_take(t, UNPAIRED_ROWS * stride_of(b, PIECE_STEPS), 1);
}

int32_t r2i_experts_cap(const r2i_backward *b) {
    return b->limits.exchange != NULL ? b->limits.exchange->cap_entries
                                      : b->limits.cap_rows * b->config->n_active;
}

static void take_here(r2i_taker *t, r2i_backward *b) {
    const size_t cap = (size_t)r2i_experts_cap(b), d = (size_t)b->config->d_model;
    b->moe.leaving =
        r2i_take_floats(t, (size_t)b->limits.cap_rows * (size_t)b->config->n_active, d);
    b->moe.here.row_of = r2i_take(t, cap, sizeof(int32_t));
    b->moe.here.x = r2i_take_floats(t, cap, d);
    b->moe.here.g_y = r2i_take_floats(t, cap, d);
    b->moe.here.g_x = r2i_take_floats(t, cap, d);
    b->moe.here.weight_of = r2i_take_floats(t, cap, 1);
    b->moe.here.g_weights = r2i_take_floats(t, cap, 1);
    for (size_t i = 0; !t->has_failed && i < cap; i++)
        b->moe.here.row_of[i] = (int32_t)i;
}

void r2i_experts_take(r2i_taker *t, r2i_backward *b) {
    const r2i_config *c = b->config;
    const size_t rows = (size_t)b->limits.cap_rows, entries = rows * (size_t)c->n_active,
                 n_threads = (size_t)r2i_pool_threads(b->pool);
    b->moe.row_of = r2i_take(t, entries, sizeof(int32_t));
    b->moe.g_weights = r2i_take_floats(t, entries, 1);
    b->moe.weight_of = r2i_take_floats(t, entries, 1);
    b->moe.g_x = r2i_take_floats(t, entries, (size_t)c->d_model);
    if (b->limits.exchange != NULL) take_here(t, b);
    b->moe.first_item = r2i_take(t, (size_t)c->n_experts + 1, sizeof(int32_t));
    b->moe.packed = r2i_take(t, (size_t)c->n_experts * packed_bytes(b), 1);
    for (int i = 0; b->parameters->lora == NULL && i < N_OPERANDS; i++)
        b->moe.operands[i] = r2i_take(t, operand_bytes(b, i), 1);
    b->moe.workers = r2i_take(t, n_threads, sizeof *b->moe.workers);
    for (size_t i = 0; !t->has_failed && i < n_threads; i++)
        take_worker(t, b, &b->moe.workers[i]);
}

/* ---- the first region ---- */

/* Values [rows, cols] of a matrix that is trained, or of a frozen one in scratch. */
static const float *values_of(const r2i_backward *b, const r2i_matrix *m, float *scratch) {
    if (b->parameters->lora == NULL) return (const float *)(const void *)m->stored;
    for (int32_t r = 0; r < m->n_rows; r++)
        r2i_matrix_read_row(m, b->kernels, r, scratch + (size_t)r * (size_t)m->n_cols);
    return scratch;
}

static uint8_t *packed_down(const r2i_backward *b, int32_t e) {
    return b->moe.packed + (size_t)e * packed_bytes(b);
}

static uint8_t *packed_gated(const r2i_backward *b, int32_t e) {
    return packed_down(b, e) +
           panels_of(b->config->d_expert) * r2i_panel_bytes(b->layout, b->config->d_model);
}

/* Panels of the columns of a matrix [width, d_model], whose rows are columns [first, ...) of them. */
static void pack_gated(const r2i_backward *b, const float *values, int32_t first, uint8_t *panels) {
    const size_t d = (size_t)b->config->d_model, width = (size_t)even_width(b),
                 panel_bytes = r2i_panel_bytes(b->layout, 2 * (int32_t)width);
    uint8_t *to = panels + (size_t)first * R2I_PANEL_ROWS * element_of(b);
    for (size_t c = 0; c < d; c += R2I_PANEL_ROWS, to += panel_bytes)
        b->kernels->turn_panels[b->layout](to, values + c, d, b->config->d_expert,
                                           r2i_min_i32(R2I_PANEL_ROWS, (int32_t)(d - c)));
}

static void pack_expert(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expert_region *region = argument;
    r2i_backward *b = region->b;
    float *scratch = b->moe.workers[worker].rows;
    for (int32_t e = begin; e < end; e++) {
        if (rows_of(region->saved, e) == 0) continue;
        const r2i_matrix *down = &region->layer->expert_down[e];
        b->kernels->turn_panels[b->layout](packed_down(b, e), values_of(b, down, scratch),
                                           (size_t)down->n_cols, down->n_rows, down->n_cols);
        pack_gated(b, values_of(b, &region->layer->expert_gate[e], scratch), 0, packed_gated(b, e));
        pack_gated(b, values_of(b, &region->layer->expert_up[e], scratch), even_width(b),
                   packed_gated(b, e));
    }
}

/* ---- the second region ---- */

/* Panels of an operand of expert e. */
static uint8_t *operand_of(const expert_region *region, int operand, int32_t e, size_t *stride) {
    const r2i_backward *b = region->b;
    const size_t row = R2I_PANEL_ROWS * element_of(b),
                 n_panels = panels_of(operand_cols(b->config, operand)),
                 first = (size_t)region->saved->first_entry[e] + 2 * (size_t)e;
    *stride = r2i_panel_bytes(b->layout, rows_of(region->saved, e));
    return b->moe.operands[operand] + (first - first % 2) * n_panels * row;
}

/* Rows of a block, n of them from row `first` of expert e on. */
typedef struct {
    int32_t e, first, n;
} expert_block;

static void pair_block(const expert_region *region, const expert_block *at, int operand,
                       const uint8_t *rows, size_t row_stride) {
    const r2i_backward *b = region->b;
    size_t stride;
    uint8_t *panels = operand_of(region, operand, at->e, &stride);
    b->kernels->pair_rows[r2i_act_kind_of(b->layout)](
        panels + (size_t)at->first * R2I_PANEL_ROWS * element_of(b), stride, rows, row_stride,
        at->n, operand_cols(b->config, operand));
}

/* Rows of n and g_y as the kernels take them. */
static void gather_block(const expert_region *region, const expert_block *at,
                         const r2i_expert_worker *w) {
    const r2i_backward *b = region->b;
    const int32_t d = b->config->d_model;
    const size_t stride = stride_of(b, d);
    const int32_t *rows = b->moe.row_of + region->saved->first_entry[at->e] + at->first;
    const r2i_act_kind kind = r2i_act_kind_of(b->layout);
    for (size_t i = 0; i < (size_t)at->n; i++) {
        const size_t from = (size_t)rows[i] * (size_t)d;
        b->kernels->act[kind](w->g_y + i * stride, b->g_x + from, d, 0, d);
        if (region->b->parameters->lora == NULL)
            b->kernels->act[kind](w->x + i * stride, b->normed + from, d, 0, d);
    }
}

static void multiply(const r2i_backward *b, const uint8_t *panels, int32_t n_out, int32_t n_in,
                     const uint8_t *rows, int32_t n_rows, float *y) {
    const r2i_matmul_job job = { .panels = panels,
                                 .n_panels = (int32_t)panels_of(n_out),
                                 .n_rows = n_out,
                                 .n_cols = n_in,
                                 .act = rows,
                                 .act_stride = stride_of(b, n_in),
                                 .n_tokens = n_rows,
                                 .y = y,
                                 .y_stride = (size_t)n_out };
    b->kernels->matmul[b->layout](&job);
}

/* From g = down^T g_y: the gradient of the choice's weight, and w inner, w g_gate, w g_up as rows. */
static void weigh_block(const expert_region *region, const expert_block *at,
                        const r2i_expert_worker *w) {
    const r2i_backward *b = region->b;
    const int32_t n = b->config->d_expert;
    const size_t width = (size_t)n, even = (size_t)even_width(b) * element_of(b),
                 inner_stride = stride_of(b, n), both_stride = stride_of(b, 2 * even_width(b));
    const r2i_act_kind kind = r2i_act_kind_of(b->layout);
    float *inner = w->rows, *g_gate = w->rows + width, *g_up = w->rows + 2 * width;
    for (size_t i = 0; i < (size_t)at->n; i++) {
        const size_t entry = (size_t)(region->saved->first_entry[at->e] + at->first) + i;
        const float weight = b->moe.weight_of[entry],
                    *up = region->saved->experts.up + entry * width;
        double sum = 0;
        b->kernels->silu_mul_backward(inner, g_gate, g_up,
                                      region->saved->experts.gate + entry * width, up,
                                      w->g + i * width, n);
        /* g . inner = sum g silu(gate) up = g_up . up. */
        for (size_t j = 0; j < width; j++) {
            sum += (double)(g_up[j] * up[j]);
            inner[j] *= weight;
            g_gate[j] *= weight;
            g_up[j] *= weight;
        }
        b->moe.g_weights[entry] = (float)sum;
        b->kernels->act[kind](w->inner + i * inner_stride, inner, n, 0, n);
        b->kernels->act[kind](w->both + i * both_stride, g_gate, n, 0, n);
        b->kernels->act[kind](w->both + i * both_stride + even, g_up, n, 0, n);
    }
}

static void run_block(const expert_region *region, const expert_block *at, int32_t worker) {
    r2i_backward *b = region->b;
    const r2i_config *c = b->config;
    const r2i_expert_worker *w = &b->moe.workers[worker];
    const int32_t even = even_width(b);
    const size_t entry = (size_t)(region->saved->first_entry[at->e] + at->first);
    gather_block(region, at, w);
    multiply(b, packed_down(b, at->e), c->d_expert, c->d_model, w->g_y, at->n, w->g);
    weigh_block(region, at, w);
    multiply(b, packed_gated(b, at->e), c->d_model, 2 * even, w->both, at->n,
             b->moe.g_x + entry * (size_t)c->d_model);
    if (b->parameters->lora != NULL) return;
    pair_block(region, at, OF_X, w->x, stride_of(b, c->d_model));
    pair_block(region, at, OF_G_Y, w->g_y, stride_of(b, c->d_model));
    pair_block(region, at, OF_INNER, w->inner, stride_of(b, c->d_expert));
    pair_block(region, at, OF_GATE, w->both, stride_of(b, 2 * even));
    pair_block(region, at, OF_UP, w->both + (size_t)even * element_of(b), stride_of(b, 2 * even));
}

static void run_blocks(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expert_region *region = argument;
    const int32_t *first_item = region->b->moe.first_item;
    int32_t e = 0;
    for (int32_t item = begin; item < end; item++) {
        while (item >= first_item[e + 1])
            e++;
        const int32_t first = (item - first_item[e]) * BLOCK_ROWS;
        const expert_block at = { e, first,
                                  r2i_min_i32(BLOCK_ROWS, rows_of(region->saved, e) - first) };
        run_block(region, &at, worker);
    }
}

/* ---- the third region ---- */

/* Where the products of panels are missing, those of the rows of a become prepared rows again. */
static void multiply_unpaired(const r2i_backward *b, const r2i_paired_job *job, uint8_t *rows) {
    const bool is_f32 = b->layout == R2I_TYPE_F32;
    const int32_t n_words = is_f32 ? job->n_steps : r2i_div_up_i32(job->n_steps, 2);
    const size_t stride = stride_of(b, PIECE_STEPS);
    for (int32_t first = 0; first < job->n_rows; first += UNPAIRED_ROWS) {
        const int32_t n = r2i_min_i32(UNPAIRED_ROWS, job->n_rows - first);
        for (int32_t r = 0; r < n; r++) {
            const uint8_t *from = job->a + (size_t)((first + r) / R2I_PANEL_ROWS) * job->a_stride +
                                  4 * (size_t)(r % R2I_PANEL_ROWS);
            for (int32_t i = 0; i < n_words; i++)
                memcpy(rows + (size_t)r * stride + 4 * (size_t)i, from + 64 * (size_t)i, 4);
        }
        for (int32_t c = 0; c < job->n_cols; c += R2I_PANEL_ROWS) {
            const r2i_matmul_job part = { .panels =
                                              job->b + (size_t)(c / R2I_PANEL_ROWS) * job->b_stride,
                                          .n_panels = 1,
                                          .n_rows = r2i_min_i32(R2I_PANEL_ROWS, job->n_cols - c),
                                          .n_cols = job->n_steps,
                                          .act = rows,
                                          .act_stride = stride,
                                          .n_tokens = n,
                                          .y = job->y + (size_t)first * job->y_stride + c,
                                          .y_stride = job->y_stride,
                                          .is_added = job->is_added };
            b->kernels->matmul[b->layout](&part);
        }
    }
}

/* Columns [column, ...) of the gradient of a matrix += sum over the expert's rows. */
static void add_gradient(const expert_region *region, const r2i_matrix *m, int32_t e, int of_rows,
                         int of_cols, int32_t column, int32_t worker) {
    const r2i_backward *b = region->b;
    float *gradient = r2i_gradient_of(b->parameters, m->stored);
    const int32_t n_rows = rows_of(region->saved, e);
    r2i_paired_job job = { .n_rows = m->n_rows,
                           .n_cols = r2i_min_i32(TILE_COLS, m->n_cols - column),
                           .y_stride = (size_t)m->n_cols,
                           .is_added = true };
    if (gradient == NULL) return;
    job.y = gradient + column;
    const uint8_t *rows = operand_of(region, of_rows, e, &job.a_stride),
                  *cols = operand_of(region, of_cols, e, &job.b_stride);
    for (int32_t t = 0; t < n_rows; t += PIECE_STEPS) {
        const size_t first = (size_t)t * R2I_PANEL_ROWS * element_of(b);
        job.n_steps = r2i_min_i32(PIECE_STEPS, n_rows - t);
        job.a = rows + first;
        job.b = cols + (size_t)(column / R2I_PANEL_ROWS) * job.b_stride + first;
        if (b->kernels->matmul_paired[b->layout] != NULL)
            b->kernels->matmul_paired[b->layout](&job);
        else
            multiply_unpaired(b, &job, b->moe.workers[worker].turned);
    }
}

static int32_t tiles_of(int32_t n_cols) {
    return r2i_div_up_i32(n_cols, TILE_COLS);
}

static void run_sums(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expert_region *region = argument;
    const r2i_layer *l = region->layer;
    const int32_t n_gated = tiles_of(region->b->config->d_model),
                  n = n_gated + tiles_of(region->b->config->d_expert);
    for (int32_t item = begin; item < end; item++) {
        const int32_t e = item / n, tile = item % n;
        if (tile < n_gated) {
            add_gradient(region, &l->expert_gate[e], e, OF_GATE, OF_X, tile * TILE_COLS, worker);
            add_gradient(region, &l->expert_up[e], e, OF_UP, OF_X, tile * TILE_COLS, worker);
        } else {
            add_gradient(region, &l->expert_down[e], e, OF_G_Y, OF_INNER,
                         (tile - n_gated) * TILE_COLS, worker);
        }
    }
}

/* ---- all ---- */

static void find_entries(r2i_backward *b, const r2i_moe_saved *saved) {
    const int32_t n_active = b->config->n_active;
    for (int32_t i = 0; i < b->batch.n_rows * n_active; i++) {
        b->moe.row_of[saved->entry_of[i]] = i / n_active;
        b->moe.weight_of[saved->entry_of[i]] = saved->weights[i];
    }
}

static void plan_blocks(r2i_backward *b, const r2i_moe_saved *saved) {
    b->moe.first_item[0] = 0;
    for (int32_t e = 0; e < b->config->n_experts; e++)
        b->moe.first_item[e + 1] =
            b->moe.first_item[e] + r2i_div_up_i32(rows_of(saved, e), BLOCK_ROWS);
}

static void run_experts(r2i_backward *b, const r2i_layer *layer, const r2i_moe_saved *saved) {
    const r2i_config *c = b->config;
    const int32_t n_sums = c->n_experts * (tiles_of(c->d_model) + tiles_of(c->d_expert));
    expert_region region = { b, layer, saved };
    plan_blocks(b, saved);
    r2i_pool_run(b->pool, c->n_experts, 1, pack_expert, &region);
    r2i_pool_run(b->pool, b->moe.first_item[c->n_experts], 1, run_blocks, &region);
    if (b->parameters->lora == NULL) r2i_pool_run(b->pool, n_sums, 1, run_sums, &region);
}

/* ---- experts elsewhere ---- */

typedef struct {
    const r2i_backward *b;
    const float *rows;
} leaving_region;

static void gather_leaving(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const leaving_region *region = argument;
    const r2i_backward *b = region->b;
    const size_t d = (size_t)b->config->d_model;
    (void)worker;
    for (size_t entry = (size_t)begin; entry < (size_t)end; entry++)
        memcpy(b->moe.leaving + entry * d, region->rows + (size_t)b->moe.row_of[entry] * d,
               d * sizeof(float));
}

/* Rows [n_rows, d_model] go to their experts, in the experts' order. */
static void give_rows(r2i_backward *b, const float *rows, float *here) {
    leaving_region region = { b, rows };
    const r2i_expert_exchange *exchange = b->limits.exchange;
    r2i_pool_run(b->pool, b->batch.n_rows * b->config->n_active, 16, gather_leaving, &region);
    exchange->give(exchange->user, b->moe.leaving, (size_t)b->config->d_model * sizeof(float),
                   here);
}

/* With the rows that came here in place of the own ones. */
static void run_experts_elsewhere(r2i_backward *b, const r2i_layer *layer,
                                  const r2i_moe_saved *saved) {
    const r2i_expert_exchange *exchange = b->limits.exchange;
    const r2i_moe_backward_scratch own = b->moe;
    float *normed = b->normed, *g_x = b->g_x;
    r2i_moe_saved came = *saved;
    /* Read alone while the experts run. */
    came.first_entry = (int32_t *)(uintptr_t)exchange->plan(exchange->user, saved->first_entry);
    give_rows(b, b->normed, own.here.x);
    give_rows(b, b->g_x, own.here.g_y);
    exchange->give(exchange->user, own.weight_of, sizeof(float), own.here.weight_of);
    b->normed = own.here.x;
    b->g_x = own.here.g_y;
    b->moe.row_of = own.here.row_of;
    b->moe.weight_of = own.here.weight_of;
    b->moe.g_x = own.here.g_x;
    b->moe.g_weights = own.here.g_weights;
    run_experts(b, layer, &came);
    b->moe = own;
    b->normed = normed;
    b->g_x = g_x;
    exchange->take_back(exchange->user, own.here.g_x, (size_t)b->config->d_model * sizeof(float),
                        own.g_x);
    exchange->take_back(exchange->user, own.here.g_weights, sizeof(float), own.g_weights);
}

void r2i_experts_backward(r2i_backward *b, const r2i_layer *layer, const r2i_moe_saved *saved) {
    find_entries(b, saved);
    if (b->limits.exchange != NULL)
        run_experts_elsewhere(b, layer, saved);
    else
        run_experts(b, layer, saved);
}
