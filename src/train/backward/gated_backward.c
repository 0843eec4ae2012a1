/* gated_backward.c - backward twin of the gated MLP (model/mlp.c):  y = down(inner),
 * inner = silu(gate n) * up n.
 *
 * With BF16 products, and neither adapters nor biases, the gradients of gate and up, and inner computed
 * again, exist as operands of products alone: a block of rows goes from what was kept to all forms of all
 * three while it is in the cache. */
#include "base/checked.h"
#include "base/failure.h"
#include "train/backward/backward_state.h"

enum { GRAIN_ROWS = 8, COLUMNS = 256, BLOCK = R2I_OPERAND_BLOCK };
enum { BOTH = R2I_OPERAND_ROWS | R2I_OPERAND_TURNED };

bool r2i_gated_is_plain(const r2i_backward *b) {
    return b->layout != R2I_TYPE_BF16 || b->parameters->lora != NULL || b->config->needs_ffn_bias;
}

size_t r2i_gated_operand_bytes(int32_t n_rows, int32_t d_model, int32_t width) {
    return r2i_operand_bytes(n_rows, d_model, BOTH | R2I_OPERAND_PANELS) +
           2 * r2i_operand_bytes(n_rows, width, BOTH) +
           r2i_operand_bytes(n_rows, width, R2I_OPERAND_PANELS);
}

/* ---- rows in F32 ---- */

typedef struct {
    r2i_backward *b;
    const r2i_gated_saved *saved;
    int32_t width;
} rows_region;

/* gate and up are widened to where inner and g_up come. */
static void rounded_row(const rows_region *r, size_t row) {
    const r2i_kernels *kernels = r->b->kernels;
    const size_t at = row * (size_t)r->width,
                 byte = row * r2i_act_row_bytes(R2I_ACT_BF16, r->width);
    float *inner = r->b->inner + at, *g_gate = r->b->g_gate + at, *g_up = r->b->g_up + at;
    kernels->dequantize[R2I_TYPE_BF16](inner, (const uint8_t *)r->saved->gate + byte, r->width);
    kernels->dequantize[R2I_TYPE_BF16](g_up, (const uint8_t *)r->saved->up + byte, r->width);
    kernels->silu_mul_backward(inner, g_gate, g_up, inner, g_up, g_gate, r->width);
}

static void gated_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const rows_region *r = argument;
    (void)worker;
    for (int32_t row = begin; r->saved->is_rounded && row < end; row++)
        rounded_row(r, (size_t)row);
    for (int32_t row = begin; !r->saved->is_rounded && row < end; row++) {
        const size_t at = (size_t)row * (size_t)r->width;
        r->b->kernels->silu_mul_backward(r->b->inner + at, r->b->g_gate + at, r->b->g_up + at,
                                         r->saved->gate + at, r->saved->up + at, r->b->g_gate + at,
                                         r->width);
    }
}

/* The gradient of inner goes through g_gate. */
static void backward_plain(r2i_backward *b, const r2i_gated_gradient *g) {
    const int32_t n_rows = b->batch.n_rows;
    rows_region region = { b, g->saved, g->down->n_cols };
    const float *x = g->x;
    if (g->norm != NULL) {
        r2i_norm_again(b, b->normed, x, g->norm, b->config->norm_eps, n_rows, b->config->d_model);
        x = b->normed;
    }
    r2i_linear_inputs(b, g->down, g->g_y, b->g_gate, n_rows);
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, gated_rows, &region);
    r2i_linear_backward(b, g->down, g->g_y, b->inner, NULL, false, n_rows);
    const r2i_linear_gradient both[] = { { g->gate, b->g_gate }, { g->up, b->g_up } };
    r2i_linears_backward(b, both, 2, x, b->g_normed, g->is_added, n_rows);
}

/* ---- operands in BF16 ---- */

typedef struct {
    r2i_backward *b;
    const r2i_gated_gradient *g;
    r2i_operand g_y, x, inner, g_gate, g_up;
} operands_region;

static int32_t block_rows(const operands_region *r, int32_t block) {
    return r2i_min_i32(BLOCK, r->x.n_rows - block * BLOCK);
}

static void take_ends(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const operands_region *r = argument;
    const size_t d = (size_t)r->g_y.n_cols;
    for (int32_t block = begin; block < end; block++) {
        const int32_t row = block * BLOCK, n = block_rows(r, block);
        r2i_operand_fill(r->b->kernels, &r->g_y, r->g->g_y + (size_t)row * d, d, row, n, 0,
                         r->g_y.n_cols);
        r2i_products_take_x(&r->b->products, &r->x, r->g->x, r->g->norm, r->b->config->norm_eps,
                            row, n, worker);
    }
}

/* Columns [column, column + n) of a row; gate and up that were kept rounded are widened to where inner and
 * g_up come. */
static void inner_row(const operands_region *r, int32_t row, int32_t column, int32_t n,
                      float *inner, float *g_gate, float *g_up) {
    const r2i_kernels *kernels = r->b->kernels;
    const r2i_gated_saved *saved = r->g->saved;
    const int32_t width = r->inner.n_cols;
    const size_t at = (size_t)row * (size_t)width + (size_t)column,
                 byte = (size_t)row * r2i_act_row_bytes(R2I_ACT_BF16, width) + 2 * (size_t)column;
    const float *gate = saved->gate + at, *up = saved->up + at;
    if (saved->is_rounded) {
        kernels->dequantize[R2I_TYPE_BF16](inner, (const uint8_t *)saved->gate + byte, n);
        kernels->dequantize[R2I_TYPE_BF16](g_up, (const uint8_t *)saved->up + byte, n);
        gate = inner;
        up = g_up;
    }
    kernels->silu_mul_backward(inner, g_gate, g_up, gate, up, r->b->g_gate + at, n);
}

/* A block of rows, COLUMNS of the inner layer at a time. */
static void take_inner(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const operands_region *r = argument;
    const r2i_kernels *kernels = r->b->kernels;
    float *inner = (float *)(void *)r->b->products.panels[worker],
          *g_gate = inner + BLOCK * COLUMNS, *g_up = g_gate + BLOCK * COLUMNS;
    for (int32_t block = begin; block < end; block++) {
        const int32_t row = block * BLOCK, n = block_rows(r, block);
        for (int32_t c = 0; c < r->inner.n_cols; c += COLUMNS) {
            const int32_t n_cols = r2i_min_i32(COLUMNS, r->inner.n_cols - c);
            for (int32_t i = 0; i < n; i++) {
                const size_t to = (size_t)i * COLUMNS;
                inner_row(r, row + i, c, n_cols, inner + to, g_gate + to, g_up + to);
            }
            r2i_operand_fill(kernels, &r->inner, inner, COLUMNS, row, n, c, n_cols);
            r2i_operand_fill(kernels, &r->g_gate, g_gate, COLUMNS, row, n, c, n_cols);
            r2i_operand_fill(kernels, &r->g_up, g_up, COLUMNS, row, n, c, n_cols);
        }
    }
}

static void place_operands(operands_region *r, int32_t n_rows, int32_t d_model, int32_t width) {
    uint8_t *at = r->b->products.rows;
    r->g_y = r2i_operand_place(&at, n_rows, d_model, BOTH);
    r->x = r2i_operand_place(&at, n_rows, d_model, R2I_OPERAND_PANELS);
    r->inner = r2i_operand_place(&at, n_rows, width, R2I_OPERAND_PANELS);
    r->g_gate = r2i_operand_place(&at, n_rows, width, BOTH);
    r->g_up = r2i_operand_place(&at, n_rows, width, BOTH);
    R2I_ASSERT((size_t)(at - r->b->products.rows) <= r->b->products.rows_bytes);
}

static r2i_product made_product(const operands_region *r, const r2i_matrix *m,
                                const r2i_operand *dy, const r2i_operand *x, float *dx) {
    r2i_product p = r2i_product_of(r->b, m, NULL, NULL, dx, r->x.n_rows);
    p.dy_made = dy;
    p.x_made = x;
    return p;
}

static void backward_operands(r2i_backward *b, const r2i_gated_gradient *g) {
    const int32_t n_rows = b->batch.n_rows, n_blocks = r2i_div_up_i32(n_rows, BLOCK);
    operands_region r = { .b = b, .g = g };
    place_operands(&r, n_rows, g->down->n_rows, g->down->n_cols);
    r2i_pool_run(b->pool, n_blocks, 1, take_ends, &r);
    r2i_product products[] = { made_product(&r, g->down, &r.g_y, &r.inner, b->g_gate),
                               made_product(&r, g->gate, &r.g_gate, &r.x, b->g_normed),
                               made_product(&r, g->up, &r.g_up, &r.x, b->g_normed) };
    products[1].n_sharing = 1;
    products[2].n_sharing = R2I_SHARES_X;
    products[1].is_added = g->is_added;
    r2i_products_inputs(&b->products, products, 1);
    r2i_pool_run(b->pool, n_blocks, 1, take_inner, &r);
    r2i_products_weights(&b->products, products, 3);
    r2i_products_inputs(&b->products, products + 1, 2);
}

void r2i_gated_backward(r2i_backward *b, const r2i_gated_gradient *g) {
    if (r2i_gated_is_plain(b))
        backward_plain(b, g);
    else
        backward_operands(b, g);
}

void r2i_mlp_backward(r2i_backward *b, int32_t layer, const r2i_layer_saved *saved) {
    const r2i_layer *l = &b->weights->layers[layer];
    const r2i_gated_gradient gated = { .gate = &l->gate,
                                       .up = &l->up,
                                       .down = &l->down,
                                       .saved = &saved->mlp,
                                       .x = saved->x_ffn,
                                       .norm = l->ffn_norm,
                                       .g_y = b->g_x };
    r2i_gated_backward(b, &gated);
    r2i_block_norm_backward(b, saved->x_ffn, l->ffn_norm, b->g_normed, b->g_x, b->batch.n_rows);
}
