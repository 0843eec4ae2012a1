/* block_backward.c - what the backward twins share: linear layers, norms,
 * rotation. */
#include "base/checked.h"
#include "base/failure.h"
#include "train/backward/backward_state.h"

enum { GRAIN_ROWS = 8 };

r2i_product r2i_product_of(const r2i_backward *b, const r2i_matrix *m, const float *g_y,
                           const float *x, float *g_x, int32_t n_rows) {
    return (r2i_product){ .layout = m->layout == R2I_TYPE_F32 ? R2I_TYPE_F32 : b->layout,
                          .n_rows = n_rows,
                          .n_out = m->n_rows,
                          .n_in = m->n_cols,
                          .dy = g_y,
                          .x = x,
                          .weights = (const float *)(const void *)m->stored,
                          .gradient = r2i_gradient_of(b->parameters, m->stored),
                          .dx = g_x };
}

/* The same without adapters; norm (not NULL, BF16 products): x is what RMSNorm makes of it. */
static void plain_linears(r2i_backward *b, const r2i_linear_gradient *list, int32_t n,
                          const float *x, const float *norm, float *g_x, bool is_added,
                          int32_t n_rows) {
    r2i_product products[R2I_MAX_LINEAR] = { 0 };
    R2I_ASSERT(n <= R2I_MAX_LINEAR);
    for (int32_t i = 0; i < n; i++) {
        products[i] = r2i_product_of(b, list[i].matrix, list[i].g_y, x, g_x, n_rows);
        products[i].n_sharing = i == 0 ? n - 1 : R2I_SHARES_X;
        products[i].is_added = is_added;
        float *g_bias = r2i_gradient_of(b->parameters, list[i].matrix->bias);
        if (g_bias != NULL)
            r2i_add_column_sums(b->pool, g_bias, list[i].g_y, n_rows, list[i].matrix->n_rows);
    }
    r2i_products_backward(&b->products, products, n, norm, b->config->norm_eps);
}

void r2i_linears_backward(r2i_backward *b, const r2i_linear_gradient *list, int32_t n,
                          const float *x, float *g_x, bool is_added, int32_t n_rows) {
    if (b->parameters->lora == NULL) {
        plain_linears(b, list, n, x, NULL, g_x, is_added, n_rows);
        return;
    }
    for (int32_t i = 0; i < n; i++)
        r2i_lora_backward(b, list[i].matrix, list[i].g_y, x, g_x, is_added || i > 0, n_rows);
}

void r2i_normed_linears_backward(r2i_backward *b, const r2i_linear_gradient *list, int32_t n,
                                 const float *x, const float *norm, float *g_normed,
                                 int32_t n_rows) {
    if (b->parameters->lora == NULL && b->layout == R2I_TYPE_BF16) {
        plain_linears(b, list, n, x, norm, g_normed, false, n_rows);
        return;
    }
    r2i_norm_again(b, b->normed, x, norm, b->config->norm_eps, n_rows, b->config->d_model);
    r2i_linears_backward(b, list, n, b->normed, g_normed, false, n_rows);
}

void r2i_linear_backward(r2i_backward *b, const r2i_matrix *m, const float *g_y, const float *x,
                         float *g_x, bool is_added, int32_t n_rows) {
    const r2i_linear_gradient one = { m, g_y };
    r2i_linears_backward(b, &one, 1, x, g_x, is_added, n_rows);
}

void r2i_linear_inputs(r2i_backward *b, const r2i_matrix *m, const float *g_y, float *g_x,
                       int32_t n_rows) {
    if (b->parameters->lora != NULL) {
        r2i_lora_backward(b, m, g_y, NULL, g_x, false, n_rows);
        return;
    }
    const r2i_product product = r2i_product_of(b, m, g_y, NULL, g_x, n_rows);
    r2i_products_inputs(&b->products, &product, 1);
}

/* ---- norms ---- */

typedef struct {
    r2i_backward *b;
    float *out;
    const float *x, *weight;
    float eps;
    int32_t n_cols;
} norm_region;

static void norm_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const norm_region *r = argument;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        const size_t at = (size_t)row * (size_t)r->n_cols;
        r->b->kernels->rmsnorm(r->out + at, r->x + at, r->weight, r->n_cols, r->eps);
    }
}

void r2i_norm_again(r2i_backward *b, float *normed, const float *x, const float *weight, float eps,
                    int32_t n_rows, int32_t n_cols) {
    norm_region region = { b, normed, x, weight, eps, n_cols };
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, norm_rows, &region);
}

void r2i_block_norm_backward(r2i_backward *b, const float *x, const float *weight,
                             const float *g_normed, float *g_x, int32_t n_rows) {
    const int32_t d = b->config->d_model;
    const r2i_norm_backward norm = { .n_rows = n_rows,
                                     .n_cols = d,
                                     .eps = b->config->norm_eps,
                                     .weight = weight,
                                     .x = x,
                                     .g_y = g_normed,
                                     .g_x = g_x,
                                     .x_stride = (size_t)d,
                                     .g_y_stride = (size_t)d,
                                     .g_x_stride = (size_t)d,
                                     .is_added = true,
                                     .g_weight = r2i_gradient_of(b->parameters, weight),
                                     .row_scales = b->row_scales };
    r2i_norm_run_backward(b->pool, &norm);
}

/* ---- rotation ---- */

typedef struct {
    r2i_backward *b;
    float *first;
    int32_t n_parts;
    size_t stride, row_stride;
} rotate_region;

/* The transpose of a rotation is the rotation back; b->sine has the sign for it. */
static void rotate_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const rotate_region *r = argument;
    const r2i_rope_config *rope = &r->b->config->rope;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        const size_t at = (size_t)row * (size_t)(rope->d / 2);
        for (int32_t p = 0; p < r->n_parts; p++)
            r->b->kernels->rope(r->first + (size_t)row * r->row_stride + (size_t)p * r->stride,
                                r->b->cosine + at, r->b->sine + at, rope->d, rope->is_interleaved);
    }
}

void r2i_rotate_back(r2i_backward *b, float *first, int32_t n_parts, size_t stride,
                     size_t row_stride, int32_t n_rows) {
    rotate_region region = { b, first, n_parts, stride, row_stride };
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, rotate_rows, &region);
}
