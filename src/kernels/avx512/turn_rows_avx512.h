/* turn_rows_avx512.h - transposes to BF16.  Each file that includes it instantiates it with what it is
 * compiled for. */
#ifndef R2I_TURN_ROWS_AVX512_H
#define R2I_TURN_ROWS_AVX512_H
#include "kernels/avx512/levels_avx512.h"
#include "kernels/avx512/transpose_avx512.h"

/* 16 columns of row r from x on, `m` of them; zeros for a row that is not there. */
static inline __m512 load_row(const float *x, size_t x_stride, int32_t r, int32_t n_rows,
                              __mmask16 m) {
    return _mm512_maskz_loadu_ps(r < n_rows ? m : (__mmask16)0, x + (size_t)r * x_stride);
}

/* 16 numbers of a row, then 16 of the next one, to pairs: the earlier row in the lower halves. */
static inline __m512i alternate(__m512i both) {
    static const uint16_t order[32] = { 0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                        21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                        11, 27, 12, 28, 13, 29, 14, 30, 15, 31 };
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), both);
}

/* Rows r and r + 1 as BF16, the earlier one in the lower halves. */
static inline __m512i load_pair(const float *x, size_t x_stride, int32_t r, int32_t n_rows,
                                __mmask16 m) {
    const __m512i both = join_bf16_avx512(load_row(x, x_stride, r, n_rows, m),
                                          load_row(x, x_stride, r + 1, n_rows, m));
    return alternate(both);
}

static inline void turn_panels_bf16(uint8_t *panels, const float *x, size_t x_stride,
                                    int32_t n_rows, int32_t n_cols) {
    const size_t panel_bytes = r2i_panel_bytes(R2I_TYPE_BF16, n_rows);
    for (int32_t r = 0; r < n_rows; r += 2) {
        uint8_t *to = panels + 32 * (size_t)r;
        for (int32_t c = 0; c < n_cols; c += 16, to += panel_bytes)
            _mm512_storeu_si512(to,
                                load_pair(x + c, x_stride, r, n_rows, lanes_avx512(n_cols - c)));
    }
}

/* A line of 64 bytes of each turned row takes 32 rows. */
static inline void turn_rows_bf16(uint8_t *rows, size_t stride, const float *x, size_t x_stride,
                                  int32_t n_rows, int32_t n_cols) {
    for (int32_t r = 0; r < n_rows; r += 32) {
        for (int32_t c = 0; c < n_cols; c += 16) {
            const __mmask16 m = lanes_avx512(n_cols - c);
            const int32_t n = n_cols - c < 16 ? n_cols - c : 16;
            __m512i v[16];
            UNROLL_AVX512
            for (int i = 0; i < 16; i++)
                v[i] = load_pair(x + c, x_stride, r + 2 * i, n_rows, m);
            transpose_avx512(v);
            for (int32_t j = 0; j < n; j++)
                _mm512_storeu_si512(rows + (size_t)(c + j) * stride + 2 * (size_t)r, v[j]);
        }
    }
}
#endif
