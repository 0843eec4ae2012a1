/* product_operands.h - BF16 operands of products backward, all forms of them made in one visit of the F32
 * rows that they come from, so that those need not lie in memory.
 *
 * Of rows [n_rows, n_cols] (tokens), dy or x of a linear layer:
 *     rows     prepared rows (kernels.h), for dx = dy W
 *     turned   prepared rows of the transpose, for the gradient of W, from dy
 *     panels   of the transpose, a piece of R2I_PRODUCT_PIECE tokens behind the other, from x */
#ifndef R2I_PRODUCT_OPERANDS_H
#define R2I_PRODUCT_OPERANDS_H
#include "kernels/kernels.h"

enum { R2I_PRODUCT_PIECE = 1024, R2I_OPERAND_BLOCK = 32 };
enum { R2I_OPERAND_ROWS = 1, R2I_OPERAND_TURNED = 2, R2I_OPERAND_PANELS = 4 };

typedef struct {
    int32_t n_rows, n_cols;
    uint8_t *rows, *turned, *panels; /* NULL: not wanted */
    size_t row_stride, turned_stride;
} r2i_operand;

/* Bytes from row to row of prepared rows: no power of two, or they would fall into the same sets of a
 * cache. */
size_t r2i_operand_stride(r2i_type layout, int32_t n_cols);
/* Bytes of the forms (a mask); their places from *at on, which goes behind them. */
size_t r2i_operand_bytes(int32_t n_rows, int32_t n_cols, unsigned forms);
r2i_operand r2i_operand_place(uint8_t **at, int32_t n_rows, int32_t n_cols, unsigned forms);
/* Fills in rows [row, row + n), columns [column, column + n_cols) from x [n, x_stride].  `row` is a
 * multiple of R2I_OPERAND_BLOCK, n at most that; `column` a multiple of 32. */
void r2i_operand_fill(const r2i_kernels *kernels, const r2i_operand *operand, const float *x,
                      size_t x_stride, int32_t row, int32_t n, int32_t column, int32_t n_cols);
/* Panels of tokens [token, ..) of a piece, from column on (a multiple of 16); n_tokens of the piece. */
const uint8_t *r2i_operand_panels(const r2i_operand *operand, int32_t token, int32_t n_tokens,
                                  int32_t column);
#endif
