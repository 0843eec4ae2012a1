#include "train/backward/rows_backward.h"

#include <math.h>

#include "base/checked.h"

enum { CHAINS = 16, COLUMN_BLOCK = 32, GRAIN_ROWS = 8 };

/* Sum of a b, and of a a, in interleaved chains that are joined in order. */
static double dot(const float *a, const float *b, int32_t n) {
    float part[CHAINS] = { 0 };
    double sum = 0;
    int32_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS) {
        for (int k = 0; k < CHAINS; k++)
            part[k] += a[i + k] * b[i + k];
    }
    for (int k = 0; i < n; i++, k++)
        part[k] += a[i] * b[i];
    for (int k = 0; k < CHAINS; k++)
        sum += (double)part[k];
    return sum;
}

static double dot3(const float *a, const float *b, const float *c, int32_t n) {
    float part[CHAINS] = { 0 };
    double sum = 0;
    int32_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS) {
        for (int k = 0; k < CHAINS; k++)
            part[k] += a[i + k] * b[i + k] * c[i + k];
    }
    for (int k = 0; i < n; i++, k++)
        part[k] += a[i] * b[i] * c[i];
    for (int k = 0; k < CHAINS; k++)
        sum += (double)part[k];
    return sum;
}

/* g_x = r (w g_y) - x r^3 / n sum(w g_y x). */
static void norm_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const r2i_norm_backward *p = argument;
    const int32_t n = p->n_cols;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        const float *x = p->x + (size_t)row * p->x_stride,
                    *g_y = p->g_y + (size_t)row * p->g_y_stride;
        float *g_x = p->g_x + (size_t)row * p->g_x_stride;
        const double r = 1 / sqrt(dot(x, x, n) / n + (double)p->eps);
        const float scale = (float)r, inward = (float)(r * r * r / n * dot3(p->weight, g_y, x, n));
        p->row_scales[row] = scale;
        for (int32_t i = 0; i < n; i++) {
            const float g = scale * p->weight[i] * g_y[i] - inward * x[i];
            g_x[i] = p->is_added ? g_x[i] + g : g;
        }
    }
}

/* Before norm_rows may overwrite g_y; recomputes r because rows have not been visited yet. */
static void norm_scales(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const r2i_norm_backward *p = argument;
    (void)worker;
    for (int32_t row = begin; row < end; row++) {
        const float *x = p->x + (size_t)row * p->x_stride;
        p->row_scales[row] = (float)(1 / sqrt(dot(x, x, p->n_cols) / p->n_cols + (double)p->eps));
    }
}

static void norm_columns(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const r2i_norm_backward *p = argument;
    (void)worker;
    for (int32_t block = begin; block < end; block++) {
        const int32_t first = block * COLUMN_BLOCK;
        const int32_t n = r2i_min_i32(COLUMN_BLOCK, p->n_cols - first);
        double sums[COLUMN_BLOCK] = { 0 };
        for (int32_t row = 0; row < p->n_rows; row++) {
            const float *x = p->x + (size_t)row * p->x_stride + first,
                        *g_y = p->g_y + (size_t)row * p->g_y_stride + first;
            const float scale = p->row_scales[row];
            for (int32_t i = 0; i < n; i++)
                sums[i] += (double)(g_y[i] * (x[i] * scale));
        }
        for (int32_t i = 0; i < n; i++)
            p->g_weight[first + i] += (float)sums[i];
    }
}

void r2i_norm_run_backward(r2i_pool *pool, const r2i_norm_backward *norm) {
    r2i_norm_backward p = *norm;
    if (p.n_rows == 0) return;
    if (p.g_weight != NULL) {
        r2i_pool_run(pool, p.n_rows, GRAIN_ROWS, norm_scales, &p);
        r2i_pool_run(pool, r2i_div_up_i32(p.n_cols, COLUMN_BLOCK), 1, norm_columns, &p);
    }
    r2i_pool_run(pool, p.n_rows, GRAIN_ROWS, norm_rows, &p);
}

typedef struct {
    float *sums;
    const float *x;
    int32_t n_rows, n_cols;
} sums_region;

static void sum_columns(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const sums_region *p = argument;
    (void)worker;
    for (int32_t block = begin; block < end; block++) {
        const int32_t first = block * COLUMN_BLOCK;
        const int32_t n = r2i_min_i32(COLUMN_BLOCK, p->n_cols - first);
        double sums[COLUMN_BLOCK] = { 0 };
        for (int32_t row = 0; row < p->n_rows; row++) {
            const float *x = p->x + (size_t)row * (size_t)p->n_cols + first;
            for (int32_t i = 0; i < n; i++)
                sums[i] += (double)x[i];
        }
        for (int32_t i = 0; i < n; i++)
            p->sums[first + i] += (float)sums[i];
    }
}

void r2i_add_column_sums(r2i_pool *pool, float *sums, const float *x, int32_t n_rows,
                         int32_t n_cols) {
    sums_region region = { sums, x, n_rows, n_cols };
    r2i_pool_run(pool, r2i_div_up_i32(n_cols, COLUMN_BLOCK), 1, sum_columns, &region);
}
