#include "train/backward/product_operands.h"

#include "base/checked.h"

enum { LINE_BYTES = 64 };

size_t r2i_operand_stride(r2i_type layout, int32_t n_cols) {
    const size_t n_bytes = r2i_act_row_bytes(r2i_act_kind_of(layout), n_cols);
    return n_bytes % 1024 == 0 ? n_bytes + LINE_BYTES : n_bytes;
}

static int32_t round_up_panel(int32_t n_cols) {
    return r2i_div_up_i32(n_cols, R2I_PANEL_ROWS) * R2I_PANEL_ROWS;
}

/* Where the panels of tokens [token, ..) begin; pieces before the last are whole. */
static size_t piece_offset(int32_t n_cols, int32_t token) {
    return (size_t)token * (size_t)round_up_panel(n_cols) * 2;
}

size_t r2i_operand_bytes(int32_t n_rows, int32_t n_cols, unsigned forms) {
    size_t n_bytes = 0;
    if (forms & R2I_OPERAND_ROWS)
        n_bytes += (size_t)n_rows * r2i_operand_stride(R2I_TYPE_BF16, n_cols);
    if (forms & R2I_OPERAND_TURNED)
        n_bytes += (size_t)n_cols * r2i_operand_stride(R2I_TYPE_BF16, n_rows);
    if (forms & R2I_OPERAND_PANELS) n_bytes += piece_offset(n_cols, n_rows + n_rows % 2);
    return n_bytes;
}

r2i_operand r2i_operand_place(uint8_t **at, int32_t n_rows, int32_t n_cols, unsigned forms) {
    r2i_operand o = { .n_rows = n_rows,
                      .n_cols = n_cols,
                      .row_stride = r2i_operand_stride(R2I_TYPE_BF16, n_cols),
                      .turned_stride = r2i_operand_stride(R2I_TYPE_BF16, n_rows) };
    if (forms & R2I_OPERAND_ROWS) o.rows = *at;
    *at += r2i_operand_bytes(n_rows, n_cols, forms & R2I_OPERAND_ROWS);
    if (forms & R2I_OPERAND_TURNED) o.turned = *at;
    *at += r2i_operand_bytes(n_rows, n_cols, forms & R2I_OPERAND_TURNED);
    if (forms & R2I_OPERAND_PANELS) o.panels = *at;
    *at += r2i_operand_bytes(n_rows, n_cols, forms & R2I_OPERAND_PANELS);
    return o;
}

const uint8_t *r2i_operand_panels(const r2i_operand *o, int32_t token, int32_t n_tokens,
                                  int32_t column) {
    return o->panels + piece_offset(o->n_cols, token) +
           (size_t)(column / R2I_PANEL_ROWS) * r2i_panel_bytes(R2I_TYPE_BF16, n_tokens);
}

/* A panel at a time: what is written of it lies together. */
static void fill_panels(const r2i_kernels *kernels, const r2i_operand *o, const float *x,
                        size_t x_stride, int32_t row, int32_t n, int32_t column, int32_t n_cols) {
    const int32_t piece = row / R2I_PRODUCT_PIECE * R2I_PRODUCT_PIECE,
                  n_tokens = r2i_min_i32(R2I_PRODUCT_PIECE, o->n_rows - piece);
    const size_t panel_bytes = r2i_panel_bytes(R2I_TYPE_BF16, n_tokens);
    uint8_t *to = o->panels + piece_offset(o->n_cols, piece) +
                  (size_t)(column / R2I_PANEL_ROWS) * panel_bytes +
                  (size_t)((row - piece) / 2) * LINE_BYTES;
    for (int32_t c = 0; c < n_cols; c += R2I_PANEL_ROWS, to += panel_bytes)
        kernels->turn_panels[R2I_TYPE_BF16](to, x + c, x_stride, n,
                                            r2i_min_i32(R2I_PANEL_ROWS, n_cols - c));
}

void r2i_operand_fill(const r2i_kernels *kernels, const r2i_operand *o, const float *x,
                      size_t x_stride, int32_t row, int32_t n, int32_t column, int32_t n_cols) {
    for (int32_t i = 0; o->rows != NULL && i < n; i++)
        kernels->act[R2I_ACT_BF16](o->rows + (size_t)(row + i) * o->row_stride,
                                   x + (size_t)i * x_stride, o->n_cols, column, column + n_cols);
    if (o->turned != NULL)
        kernels->turn_rows[R2I_ACT_BF16](o->turned + (size_t)column * o->turned_stride +
                                             2 * (size_t)row,
                                         o->turned_stride, x, x_stride, n, n_cols);
    if (o->panels != NULL) fill_panels(kernels, o, x, x_stride, row, n, column, n_cols);
}
