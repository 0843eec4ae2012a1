/* rows_backward.h - backward twins of what the forward pass does row by row.
 *
 * g_ means: gradient of the loss with respect to.  Sums over rows go column by column, rows
 * ascending, in double: the same bits for any number of threads. */
#ifndef R2I_ROWS_BACKWARD_H
#define R2I_ROWS_BACKWARD_H
#include "base/pool.h"
#include "kernels/kernels.h"

/* y = w x r,  r = 1 / sqrt(mean(x^2) + eps), of n_rows rows of n_cols numbers. */
typedef struct {
    int32_t n_rows, n_cols;
    float eps;
    const float *weight; /* [n_cols] */
    const float *x;      /* rows x_stride apart */
    const float *g_y;
    float *g_x;
    size_t x_stride, g_y_stride, g_x_stride;
    bool is_added;     /* g_x += instead of g_x =; without, g_x may be g_y */
    float *g_weight;   /* [n_cols], added to; NULL: frozen */
    float *row_scales; /* [n_rows] scratch */
} r2i_norm_backward;
void r2i_norm_run_backward(r2i_pool *pool, const r2i_norm_backward *norm);

/* sums[c] += sum over rows of x[r][c]. */
void r2i_add_column_sums(r2i_pool *pool, float *sums, const float *x, int32_t n_rows,
                         int32_t n_cols);
#endif
