/* portable_float.c - F32, F16 and BF16 panels: one chain of fused steps per output, columns ascending. */
#include <string.h>

#include "base/half.h"
#include "kernels/portable/fused_lanes.h"
#include "kernels/portable/portable_parts.h"
#include "kernels/portable/store_lanes.h"

enum {
    LANES = R2I_PANEL_ROWS,
    SLAB_COLS = 128,  /* columns widened at a time: 8 KiB of weights, in the first-level cache */
    TILE_TOKENS = 32  /* tokens that share one widening */
};

/* Widens columns [begin, begin + n) of a panel; begin is even. */
typedef void (*widen_slab)(float w[SLAB_COLS][LANES], const uint8_t *panel, int32_t begin, int32_t n);
/* Widens as many elements of a prepared row. */
typedef void (*widen_row)(float x[SLAB_COLS], const uint8_t *row, int32_t begin, int32_t n);

static uint16_t half_at(const uint8_t *p, size_t index) {
    uint16_t h;
    memcpy(&h, p + 2 * index, sizeof h);
    return h;
}

static void widen_f32(float w[SLAB_COLS][LANES], const uint8_t *panel, int32_t begin, int32_t n) {
    memcpy(w, panel + (size_t)begin * LANES * 4, (size_t)n * LANES * 4);
}

static void widen_f16(float w[SLAB_COLS][LANES], const uint8_t *panel, int32_t begin, int32_t n) {
    const uint8_t *from = panel + (size_t)begin * LANES * 2;
    for (int32_t c = 0; c < n; c++) {
        for (int r = 0; r < LANES; r++) w[c][r] = r2i_f32_from_f16(half_at(from, (size_t)(c * LANES + r)));
    }
}

static void widen_bf16(float w[SLAB_COLS][LANES], const uint8_t *panel, int32_t begin, int32_t n) {
    for (int32_t c = 0; c < n; c += 2) {
        const uint8_t *pair = panel + (size_t)(begin + c) * LANES * 2;
        for (int j = 0; j < 2; j++) {
            for (int r = 0; r < LANES; r++) w[c + j][r] = r2i_f32_from_bf16(half_at(pair, (size_t)(2 * r + j)));
        }
    }
}

static void widen_f32_row(float x[SLAB_COLS], const uint8_t *row, int32_t begin, int32_t n) {
    memcpy(x, row + (size_t)begin * 4, (size_t)n * 4);
}

static void widen_bf16_row(float x[SLAB_COLS], const uint8_t *row, int32_t begin, int32_t n) {
    for (int32_t c = 0; c < n; c++) x[c] = r2i_f32_from_bf16(half_at(row, (size_t)(begin + c)));
}

static void chain_fused(float acc[LANES], float w[SLAB_COLS][LANES], const float x[SLAB_COLS], int32_t n) {
    for (int32_t c = 0; c < n; c++) fused_lanes(acc, w[c], x[c]);
}

/* Products of two BF16 numbers are exact in f32, so that a plain product and sum is a fused one. */
static void chain_exact(float acc[LANES], float w[SLAB_COLS][LANES], const float x[SLAB_COLS], int32_t n) {
    for (int32_t c = 0; c < n; c++) {
        R2I_KEEP_LOOP
        for (int r = 0; r < LANES; r++) acc[r] += w[c][r] * x[c];
    }
}

static void multiply_tile(const r2i_matmul_job *job, r2i_type layout, const uint8_t *panel, int32_t first_token,
                          int32_t n_tokens, float acc[TILE_TOKENS][LANES]) {
    const bool is_bf16 = layout == R2I_TYPE_BF16;
    const widen_slab widen = is_bf16 ? widen_bf16 : layout == R2I_TYPE_F16 ? widen_f16 : widen_f32;
    const widen_row widen_x = is_bf16 ? widen_bf16_row : widen_f32_row;
    float w[SLAB_COLS][LANES], x[SLAB_COLS];
    for (int32_t c = 0; c < job->n_cols; c += SLAB_COLS) {
        int32_t n = job->n_cols - c < SLAB_COLS ? job->n_cols - c : SLAB_COLS;
        if (is_bf16) n += n & 1; /* the pad is zero in panel and row */
        widen(w, panel, c, n);
        for (int32_t t = 0; t < n_tokens; t++) {
            widen_x(x, job->act + (size_t)(first_token + t) * job->act_stride, c, n);
            if (is_bf16) {
                chain_exact(acc[t], w, x, n);
            } else {
                chain_fused(acc[t], w, x, n);
            }
        }
    }
}

static void matmul_float(const r2i_matmul_job *job, r2i_type layout) {
    const size_t panel_bytes = r2i_panel_bytes(layout, job->n_cols);
    float acc[TILE_TOKENS][LANES];
    for (int32_t p = 0; p < job->n_panels; p++) {
        for (int32_t t = 0; t < job->n_tokens; t += TILE_TOKENS) {
            const int32_t left = job->n_tokens - t, n = left < TILE_TOKENS ? left : TILE_TOKENS;
            memset(acc, 0, sizeof acc);
            multiply_tile(job, layout, job->panels + (size_t)p * panel_bytes, t, n, acc);
            for (int32_t i = 0; i < n; i++) store_lanes(job, p, t + i, acc[i]);
        }
    }
}

static void matmul_f32(const r2i_matmul_job *job) { matmul_float(job, R2I_TYPE_F32); }
static void matmul_f16(const r2i_matmul_job *job) { matmul_float(job, R2I_TYPE_F16); }
static void matmul_bf16(const r2i_matmul_job *job) { matmul_float(job, R2I_TYPE_BF16); }

void r2i_portable_add_float(r2i_kernels *kernels) {
    kernels->matmul[R2I_TYPE_F32] = matmul_f32;
    kernels->matmul[R2I_TYPE_F16] = matmul_f16;
    kernels->matmul[R2I_TYPE_BF16] = matmul_bf16;
}
