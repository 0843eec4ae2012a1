/* portable_pairs.c - panels of tokens from prepared rows; serves ref too. */
#include <string.h>

#include "kernels/kernels.h"

enum { PANEL = R2I_PANEL_ROWS };

static void pair_rows_f32(uint8_t *panels, size_t panel_stride, const uint8_t *rows, size_t stride, int32_t n_rows,
                          int32_t n_cols) {
    for (int32_t r = 0; r < n_rows; r++) {
        uint8_t *to = panels + (size_t)r * PANEL * 4;
        for (int32_t c = 0; c < n_cols; c += PANEL, to += panel_stride) {
            const size_t n = (size_t)(n_cols - c < PANEL ? n_cols - c : PANEL);
            memset(to, 0, PANEL * 4);
            memcpy(to, rows + (size_t)r * stride + 4 * (size_t)c, 4 * n);
        }
    }
}

/* Columns [0, n) of a row; zeros behind them, and for a row that is not there. */
static void load_words(uint16_t out[PANEL], const uint8_t *row, bool is_there, int32_t n) {
    memset(out, 0, PANEL * sizeof *out);
    if (is_there) memcpy(out, row, (size_t)n * sizeof *out);
}

/* Rows travel in pairs: the lower half of a word is the earlier one. */
static void pair_rows_bf16(uint8_t *panels, size_t panel_stride, const uint8_t *rows, size_t stride, int32_t n_rows,
                           int32_t n_cols) {
    uint16_t a[PANEL], b[PANEL];
    uint32_t words[PANEL];
    for (int32_t r = 0; r < n_rows; r += 2) {
        const uint8_t *row = rows + (size_t)r * stride;
        uint8_t *to = panels + (size_t)r * PANEL * 2;
        for (int32_t c = 0; c < n_cols; c += PANEL, to += panel_stride) {
            const int32_t n = n_cols - c < PANEL ? n_cols - c : PANEL;
            load_words(a, row + 2 * (size_t)c, true, n);
            load_words(b, row + stride + 2 * (size_t)c, r + 1 < n_rows, n);
            for (int i = 0; i < PANEL; i++) words[i] = (uint32_t)a[i] | (uint32_t)b[i] << 16;
            memcpy(to, words, sizeof words);
        }
    }
}

void r2i_kernels_add_pairs(r2i_kernels *kernels) {
    kernels->pair_rows[R2I_ACT_F32] = pair_rows_f32;
    kernels->pair_rows[R2I_ACT_BF16] = pair_rows_bf16;
}
