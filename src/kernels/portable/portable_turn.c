/* portable_turn.c - transposes for products backward, and SwiGLU backward. */
#include <string.h>

#include "base/half.h"
#include "kernels/portable/fast_exp.h"
#include "kernels/portable/portable_parts.h"

enum { PANEL = R2I_PANEL_ROWS, PIECE = 128 /* rows turned at a time, in the first-level cache */ };

/* The bits of r2i_bf16_from_f32 in the upper half, in a form that becomes vectors. */
static inline uint32_t rounded_bits(float f) {
    const uint32_t x = r2i_bits_from_f32(f), rounded = x + 0x7fffu + (x >> 16 & 1u);
    return ((x & 0x7fffffffu) > 0x7f800000u ? x | 0x400000u : rounded) & 0xffff0000u;
}

/* Columns [0, n) of row r; zeros behind them, and for a row that is not there. */
static void load_row(float out[PANEL], const float *x, size_t x_stride, int32_t r, int32_t n_rows, int32_t n) {
    memset(out, 0, PANEL * sizeof *out);
    if (r < n_rows) memcpy(out, x + (size_t)r * x_stride, (size_t)n * sizeof *out);
}

static void turn_panels_f32(uint8_t *panels, const float *x, size_t x_stride, int32_t n_rows, int32_t n_cols) {
    float row[PANEL];
    for (int32_t c = 0; c < n_cols; c += PANEL) {
        const int32_t n = n_cols - c < PANEL ? n_cols - c : PANEL;
        for (int32_t r = 0; r < n_rows; r++, panels += sizeof row) {
            load_row(row, x + c, x_stride, r, n_rows, n);
            memcpy(panels, row, sizeof row);
        }
    }
}

/* Columns travel in pairs: the lower half of a word is the earlier one. */
static void turn_panels_bf16(uint8_t *panels, const float *x, size_t x_stride, int32_t n_rows, int32_t n_cols) {
    float a[PANEL], b[PANEL];
    uint32_t words[PANEL];
    for (int32_t c = 0; c < n_cols; c += PANEL) {
        const int32_t n = n_cols - c < PANEL ? n_cols - c : PANEL;
        for (int32_t r = 0; r < n_rows; r += 2, panels += sizeof words) {
            load_row(a, x + c, x_stride, r, n_rows, n);
            load_row(b, x + c, x_stride, r + 1, n_rows, n);
            for (int i = 0; i < PANEL; i++) words[i] = rounded_bits(a[i]) >> 16 | rounded_bits(b[i]);
            memcpy(panels, words, sizeof words);
        }
    }
}

/* Turns rows [r, r + PIECE) of 16 columns; zeros where there are none. */
static void turn_piece(float turned[PANEL][PIECE], const float *x, size_t x_stride, int32_t n_rows, int32_t r,
                       int32_t n) {
    float row[PANEL];
    for (int32_t i = 0; i < PIECE; i++) {
        load_row(row, x, x_stride, r + i, n_rows, n);
        for (int j = 0; j < PANEL; j++) turned[j][i] = row[j];
    }
}

static void turn_rows(uint8_t *rows, size_t stride, const float *x, size_t x_stride, int32_t n_rows, int32_t n_cols,
                      r2i_act_kind kind) {
    const size_t n_bytes = r2i_act_row_bytes(kind, n_rows), element = kind == R2I_ACT_F32 ? 4 : 2;
    float turned[PANEL][PIECE];
    for (int32_t r = 0; r < n_rows; r += PIECE) {
        const size_t begin = (size_t)r * element, left = n_bytes - begin;
        const size_t n_written = left < PIECE * element ? left : PIECE * element;
        for (int32_t c = 0; c < n_cols; c += PANEL) {
            const int32_t n = n_cols - c < PANEL ? n_cols - c : PANEL;
            turn_piece(turned, x + c, x_stride, n_rows, r, n);
            for (int32_t j = 0; j < n; j++) {
                uint16_t half[PIECE];
                for (int32_t i = 0; kind == R2I_ACT_BF16 && i < PIECE; i++)
                    half[i] = (uint16_t)(rounded_bits(turned[j][i]) >> 16);
                memcpy(rows + (size_t)(c + j) * stride + begin,
                       kind == R2I_ACT_F32 ? (const void *)turned[j] : half, n_written);
            }
        }
    }
}

static void turn_rows_f32(uint8_t *rows, size_t stride, const float *x, size_t x_stride, int32_t n_rows,
                          int32_t n_cols) {
    turn_rows(rows, stride, x, x_stride, n_rows, n_cols, R2I_ACT_F32);
}

static void turn_rows_bf16(uint8_t *rows, size_t stride, const float *x, size_t x_stride, int32_t n_rows,
                           int32_t n_cols) {
    turn_rows(rows, stride, x, x_stride, n_rows, n_cols, R2I_ACT_BF16);
}

static void silu_mul_backward(float *inner, float *g_gate, float *g_up, const float *gate, const float *up,
                              const float *g_inner, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        const float g = gate[i], u = up[i], d = g_inner[i], s = 1.0F / (1.0F + fast_exp(-g));
        inner[i] = g * s * u;
        g_gate[i] = d * u * s * (1.0F + g * (1.0F - s));
        g_up[i] = d * g * s;
    }
}

/* Token by token: the loop over columns becomes vectors. */
static void add_outer(const r2i_outer_job *job) {
    for (int32_t r = 0; r < job->n_ranks; r++) {
        float *g = job->g + (size_t)r * job->g_stride;
        for (int32_t t = 0; t < job->n_tokens; t++) {
            const float c = job->c[(size_t)t * job->c_stride + (size_t)r], *x = job->x + (size_t)t * job->x_stride;
            for (int32_t i = 0; i < job->n_cols; i++) g[i] += c * x[i];
        }
    }
}

void r2i_portable_add_turn(r2i_kernels *kernels) {
    kernels->turn_panels[R2I_TYPE_F32] = turn_panels_f32;
    kernels->turn_panels[R2I_TYPE_BF16] = turn_panels_bf16;
    kernels->turn_rows[R2I_ACT_F32] = turn_rows_f32;
    kernels->turn_rows[R2I_ACT_BF16] = turn_rows_bf16;
    kernels->silu_mul_backward = silu_mul_backward;
    kernels->add_outer = add_outer;
}
