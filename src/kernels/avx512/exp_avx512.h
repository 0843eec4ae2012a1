/* exp_avx512.h - exp, rounding and lane masks of 16 floats. */
#ifndef R2I_EXP_AVX512_H
#define R2I_EXP_AVX512_H
#include <immintrin.h>
#include <math.h>
#include <stdint.h>

/* Complete unrolling: registers cannot be indexed. */
#if defined(__clang__)
#define UNROLL_AVX512 _Pragma("clang loop unroll(full)")
#else
#define UNROLL_AVX512 _Pragma("GCC unroll 16")
#endif

/* First n of 16 lanes, for any n. */
static inline __mmask16 lanes_avx512(int32_t n) {
    const uint32_t n_idle = n >= 16 ? 0u : n <= 0 ? 16u : 16u - (uint32_t)n;
    return (__mmask16)(0xffffu >> n_idle);
}

/* exp(x), error below 1.5 ulp; 0 below -104, infinity above 88.8, NaN stays NaN.
 * x = n ln 2 + r with |r| <= ln 2 / 2, then the Taylor series to r^7 scaled by 2^n. */
static inline __m512 exp_avx512(__m512 x) {
    /* The bounds come first, because max and min return their second operand when one is NaN. */
    x = _mm512_min_ps(_mm512_set1_ps(89.0f), _mm512_max_ps(_mm512_set1_ps(-105.0f), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040.0f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static inline float exp_one_avx512(float x) {
    return _mm512_cvtss_f32(exp_avx512(_mm512_set1_ps(x)));
}

/* Bits of f32 rounded to nearest even BF16 in the low half of each lane, as r2i_bf16_from_f32:
 * vcvtneps2bf16 would flush subnormal numbers. */
static inline __m512i round_bf16_avx512(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, bias), 16);
    const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    return _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), quiet);
}

/* 32 numbers as BF16, those of `low` first.  Compiled with -mavx512bf16 by the instruction, unless
 * there are subnormal numbers; the same bits either way. */
static inline __m512i join_bf16_avx512(__m512 low, __m512 high) {
#if defined(__AVX512BF16__)
    enum { IS_SUBNORMAL = 0x20 };
    const __mmask16 is_rare =
        _mm512_fpclass_ps_mask(low, IS_SUBNORMAL) | _mm512_fpclass_ps_mask(high, IS_SUBNORMAL);
    if (__builtin_expect(is_rare == 0, 1)) return (__m512i)_mm512_cvtne2ps_pbh(high, low);
#endif
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(round_bf16_avx512(low))),
                              _mm512_cvtepi32_epi16(round_bf16_avx512(high)), 1);
}
#endif
