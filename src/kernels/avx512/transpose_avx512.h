/* transpose_avx512.h - 16 x 16 matrix of 32-bit elements, rows to columns, in registers. */
#ifndef R2I_TRANSPOSE_AVX512_H
#define R2I_TRANSPOSE_AVX512_H
#include <immintrin.h>

#include "kernels/avx512/exp_avx512.h"

static inline __attribute__((always_inline)) void transpose_avx512(__m512i v[16]) {
    __m512i t[16], u[16];
    UNROLL_AVX512
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    /* u[4g + c], 128-bit lane l: column 4l + c of rows 4g..4g+3. */
    UNROLL_AVX512
    for (int i = 0; i < 16; i += 4) {
        u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    UNROLL_AVX512
    for (int c = 0; c < 4; c++) {
        const __m512i a = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x88);
        const __m512i b = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x88);
        const __m512i d = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xdd);
        const __m512i e = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xdd);
        v[c] = _mm512_shuffle_i32x4(a, b, 0x88);
        v[4 + c] = _mm512_shuffle_i32x4(d, e, 0x88);
        v[8 + c] = _mm512_shuffle_i32x4(a, b, 0xdd);
        v[12 + c] = _mm512_shuffle_i32x4(d, e, 0xdd);
    }
}
#endif
