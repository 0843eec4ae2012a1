/* turn_avx512.c - transposes for products backward, and SwiGLU backward. */
#include "kernels/avx512/turn_rows_avx512.h"

/* Row by row through all panels, so that what is read lies together. */
static void turn_panels_f32(uint8_t *panels, const float *x, size_t x_stride, int32_t n_rows,
                            int32_t n_cols) {
    const size_t panel_bytes = r2i_panel_bytes(R2I_TYPE_F32, n_rows);
    for (int32_t r = 0; r < n_rows; r++) {
        uint8_t *to = panels + 64 * (size_t)r;
        for (int32_t c = 0; c < n_cols; c += 16, to += panel_bytes)
            _mm512_storeu_ps(to, load_row(x + c, x_stride, r, n_rows, lanes_avx512(n_cols - c)));
    }
}

/* A line of 64 bytes of each turned row takes 16 rows of F32, 32 of BF16. */
static void turn_rows_f32(uint8_t *rows, size_t stride, const float *x, size_t x_stride,
                          int32_t n_rows, int32_t n_cols) {
    for (int32_t r = 0; r < n_rows; r += 16) {
        for (int32_t c = 0; c < n_cols; c += 16) {
            const __mmask16 m = lanes_avx512(n_cols - c);
            const int32_t n = n_cols - c < 16 ? n_cols - c : 16;
            __m512i v[16];
            UNROLL_AVX512
            for (int i = 0; i < 16; i++)
                v[i] = _mm512_castps_si512(load_row(x + c, x_stride, r + i, n_rows, m));
            transpose_avx512(v);
            for (int32_t j = 0; j < n; j++)
                _mm512_storeu_si512(rows + (size_t)(c + j) * stride + 4 * (size_t)r, v[j]);
        }
    }
}

/* ---- panels of prepared rows ---- */

static void pair_rows_f32(uint8_t *panels, size_t panel_stride, const uint8_t *rows, size_t stride,
                          int32_t n_rows, int32_t n_cols) {
    for (int32_t r = 0; r < n_rows; r++) {
        const uint8_t *row = rows + (size_t)r * stride;
        uint8_t *to = panels + 64 * (size_t)r;
        for (int32_t c = 0; c < n_cols; c += 16, to += panel_stride)
            _mm512_storeu_ps(to,
                             _mm512_maskz_loadu_ps(lanes_avx512(n_cols - c), row + 4 * (size_t)c));
    }
}

static void pair_rows_bf16(uint8_t *panels, size_t panel_stride, const uint8_t *rows, size_t stride,
                           int32_t n_rows, int32_t n_cols) {
    for (int32_t r = 0; r < n_rows; r += 2) {
        const uint8_t *row = rows + (size_t)r * stride;
        uint8_t *to = panels + 32 * (size_t)r;
        for (int32_t c = 0; c < n_cols; c += 16, to += panel_stride) {
            const __mmask16 m = lanes_avx512(n_cols - c), next = r + 1 < n_rows ? m : 0;
            const __m256i a = _mm256_maskz_loadu_epi16(m, row + 2 * (size_t)c);
            const __m256i b = _mm256_maskz_loadu_epi16(next, row + stride + 2 * (size_t)c);
            _mm512_storeu_si512(to, alternate(_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1)));
        }
    }
}

static void silu_mul_backward(float *inner, float *g_gate, float *g_up, const float *gate,
                              const float *up, const float *g_inner, int32_t n) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lanes_avx512(n - i);
        const __m512 g = _mm512_maskz_loadu_ps(m, gate + i), u = _mm512_maskz_loadu_ps(m, up + i),
                     d = _mm512_maskz_loadu_ps(m, g_inner + i);
        const __m512 below = _mm512_add_ps(one, exp_avx512(_mm512_sub_ps(_mm512_setzero_ps(), g)));
        const __m512 s = _mm512_div_ps(one, below), silu = _mm512_mul_ps(g, s);
        const __m512 slope = _mm512_mul_ps(s, _mm512_fmadd_ps(g, _mm512_sub_ps(one, s), one));
        _mm512_mask_storeu_ps(inner + i, m, _mm512_mul_ps(silu, u));
        _mm512_mask_storeu_ps(g_gate + i, m, _mm512_mul_ps(_mm512_mul_ps(d, u), slope));
        _mm512_mask_storeu_ps(g_up + i, m, _mm512_mul_ps(d, silu));
    }
}

void r2i_avx512_add_turn(r2i_kernels *kernels) {
    kernels->turn_panels[R2I_TYPE_F32] = turn_panels_f32;
    kernels->turn_panels[R2I_TYPE_BF16] = turn_panels_bf16;
    kernels->turn_rows[R2I_ACT_F32] = turn_rows_f32;
    kernels->turn_rows[R2I_ACT_BF16] = turn_rows_bf16;
    kernels->pair_rows[R2I_ACT_F32] = pair_rows_f32;
    kernels->pair_rows[R2I_ACT_BF16] = pair_rows_bf16;
    kernels->silu_mul_backward = silu_mul_backward;
}
