#include "model/matrix.h"

#include <string.h>

#include "base/checked.h"

/* Columns [begin, begin + n) of a row, all within one block of 128. */
static void read_scaled(const r2i_matrix *m, const r2i_kernels *kernels, int32_t r, int32_t begin,
                        int32_t n, float *out) {
    const int32_t row = r2i_matrix_stored_row(m, r);
    const size_t n_blocks = (size_t)r2i_div_up_i32(m->n_cols, R2I_SCALE_BLOCK);
    const size_t block = (size_t)((m->first_scale_row + row) / R2I_SCALE_BLOCK) * n_blocks +
                         (size_t)(begin / R2I_SCALE_BLOCK);
    float scale;
    memcpy(&scale, m->scales + block * sizeof scale, sizeof scale);
    kernels->dequantize[m->type](
        out, m->stored + (size_t)row * m->row_bytes + r2i_type_row_bytes(m->type, (size_t)begin),
        n);
    for (int32_t i = 0; i < n; i++)
        out[i] *= scale;
}

void r2i_matrix_read_part(const r2i_matrix *m, const r2i_kernels *kernels, int32_t r, int32_t begin,
                          int32_t n, float *out) {
    if (m->scales == NULL) {
        const uint8_t *row = m->stored + (size_t)r2i_matrix_stored_row(m, r) * m->row_bytes;
        kernels->dequantize[m->type](out, row + r2i_type_row_bytes(m->type, (size_t)begin), n);
        return;
    }
    for (int32_t c = 0; c < n; c += R2I_SCALE_BLOCK)
        read_scaled(m, kernels, r, begin + c, r2i_min_i32(R2I_SCALE_BLOCK, n - c), out + c);
}

void r2i_matrix_read_row(const r2i_matrix *m, const r2i_kernels *kernels, int32_t r, float *out) {
    r2i_matrix_read_part(m, kernels, r, 0, m->n_cols, out);
}

/* F32 and BF16 panels go column by column, so that blocks of columns can be packed one by one. */
static void pack_scaled(const r2i_matrix *m, const r2i_kernels *kernels, int32_t panel,
                        uint8_t *out) {
    float values[R2I_PANEL_ROWS][R2I_SCALE_BLOCK];
    for (int32_t begin = 0; begin < m->n_cols; begin += R2I_SCALE_BLOCK) {
        const int32_t n = r2i_min_i32(R2I_SCALE_BLOCK, m->n_cols - begin);
        const uint8_t *rows[R2I_PANEL_ROWS] = { NULL };
        for (int32_t i = 0; i < R2I_PANEL_ROWS; i++) {
            const int32_t r = panel * R2I_PANEL_ROWS + i;
            if (r >= m->n_rows) break;
            read_scaled(m, kernels, r, begin, n, values[i]);
            rows[i] = (const uint8_t *)values[i];
        }
        kernels->pack[m->layout](out + r2i_panel_bytes(m->layout, begin), R2I_TYPE_F32, rows, n);
    }
}

static void pack_plain(const r2i_matrix *m, const r2i_kernels *kernels, int32_t panel,
                       uint8_t *out) {
    const uint8_t *rows[R2I_PANEL_ROWS];
    for (int32_t i = 0; i < R2I_PANEL_ROWS; i++) {
        const int32_t r = panel * R2I_PANEL_ROWS + i;
        rows[i] =
            r < m->n_rows ? m->stored + (size_t)r2i_matrix_stored_row(m, r) * m->row_bytes : NULL;
    }
    kernels->pack[m->layout](out, m->type, rows, m->n_cols);
}

void r2i_matrix_pack(const r2i_matrix *m, const r2i_kernels *kernels, int32_t begin, int32_t end,
                     uint8_t *out) {
    for (int32_t p = begin; p < end; p++) {
        uint8_t *panel = out + (size_t)(p - begin) * m->panel_bytes;
        if (m->scales != NULL)
            pack_scaled(m, kernels, p, panel);
        else
            pack_plain(m, kernels, p, panel);
    }
}
