#include "train/turned.h"

#include <string.h>

#include "base/checked.h"
#include "base/half.h"

enum { PANEL = R2I_PANEL_ROWS, PIECE = 128 /* rows turned at a time, in the first-level cache */ };

static void turn_f32(uint8_t *panel, const float *x, size_t x_stride, int32_t n_rows, int32_t n) {
    float row[PANEL] = { 0 };
    for (int32_t r = 0; r < n_rows; r++) {
        memcpy(row, x + (size_t)r * x_stride, (size_t)n * sizeof *row);
        memcpy(panel + (size_t)r * sizeof row, row, sizeof row);
    }
}

/* The bits of r2i_bf16_from_f32 but for what is no number, in a form that becomes vectors. */
static inline uint32_t rounded_bits(float f) {
    const uint32_t x = r2i_bits_from_f32(f);
    return x + 0x7fffu + (x >> 16 & 1u);
}

/* Columns travel in pairs: the lower half of a word is the earlier one. */
static void turn_pair(uint8_t *out, const float a[PANEL], const float b[PANEL]) {
    uint32_t words[PANEL];
    for (int c = 0; c < PANEL; c++)
        words[c] = rounded_bits(a[c]) >> 16 | (rounded_bits(b[c]) & 0xffff0000u);
    memcpy(out, words, sizeof words);
}

static void turn_bf16(uint8_t *panel, const float *x, size_t x_stride, int32_t n_rows, int32_t n) {
    float a[PANEL] = { 0 }, b[PANEL] = { 0 };
    for (int32_t r = 0; r < n_rows; r += 2) {
        memcpy(a, x + (size_t)r * x_stride, (size_t)n * sizeof *a);
        if (r + 1 < n_rows)
            memcpy(b, x + (size_t)(r + 1) * x_stride, (size_t)n * sizeof *b);
        else
            memset(b, 0, sizeof b);
        turn_pair(panel + (size_t)r * PANEL * 2, a, b);
    }
}

void r2i_turned_panels(r2i_type layout, uint8_t *panels, const float *x, size_t x_stride,
                       int32_t n_rows, int32_t n_cols) {
    const size_t panel_bytes = r2i_panel_bytes(layout, n_rows);
    for (int32_t c = 0; c < n_cols; c += PANEL) {
        uint8_t *panel = panels + (size_t)(c / PANEL) * panel_bytes;
        const int32_t n = r2i_min_i32(PANEL, n_cols - c);
        if (layout == R2I_TYPE_F32)
            turn_f32(panel, x + c, x_stride, n_rows, n);
        else
            turn_bf16(panel, x + c, x_stride, n_rows, n);
    }
}

void r2i_turned_rows(const r2i_kernels *kernels, r2i_act_kind kind, uint8_t *rows, size_t stride,
                     const float *x, size_t x_stride, int32_t n_rows, int32_t n_cols, int32_t begin,
                     int32_t end) {
    float turned[PANEL][PIECE];
    for (int32_t r = begin; r < end; r += PIECE) {
        const int32_t n = r2i_min_i32(PIECE, end - r);
        for (int32_t c = 0; c < n_cols; c += PANEL) {
            const float *from = x + (size_t)(r - begin) * x_stride + c;
            const int32_t width = r2i_min_i32(PANEL, n_cols - c);
            for (int32_t i = 0; i < n; i++) {
                for (int32_t j = 0; j < width; j++)
                    turned[j][i] = from[(size_t)i * x_stride + (size_t)j];
            }
            for (int32_t j = 0; j < width; j++)
                kernels->act[kind](rows + (size_t)(c + j) * stride, turned[j], n_rows, r, r + n);
        }
    }
}
