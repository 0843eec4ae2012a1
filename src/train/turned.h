/* turned.h - transposes of F32 rows in the forms that the kernels' products take.
 *
 * Backward products sum over what was an output (dx = dy W) or over rows (dW = dy^T x), so one or both
 * operands are needed the other way round.  They are turned on the way into panels and activation
 * rows; no transposed matrix is ever kept. */
#ifndef R2I_TURNED_H
#define R2I_TURNED_H
#include "kernels/kernels.h"

/* Panels (F32 or BF16) of the transpose of x [n_rows, x_stride], columns [0, n_cols): row c of the
 * panels is column c.  ceil(n_cols / 16) panels of n_rows columns each. */
void r2i_turned_panels(r2i_type layout, uint8_t *panels, const float *x, size_t x_stride,
                       int32_t n_rows, int32_t n_cols);
/* Prepared rows (kernels.h) of the same transpose: n_cols rows of n_rows columns, of which columns
 * [begin, end) are filled; begin is a multiple of 32, end too or n_rows.  x points to row `begin`. */
void r2i_turned_rows(const r2i_kernels *kernels, r2i_act_kind kind, uint8_t *rows, size_t stride,
                     const float *x, size_t x_stride, int32_t n_rows, int32_t n_cols, int32_t begin,
                     int32_t end);
#endif
