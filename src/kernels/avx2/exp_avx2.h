/* exp_avx2.h - exp of eight floats.
 *
 * x = n ln 2 + r with |r| <= ln(2)/2, exp(r) by its Taylor polynomial of degree 7 (remainder below
 * 1e-8) in fused steps, times 2^n in two factors because 2^128 is no float.  Relative error below
 * 2e-7; 0 where the result would be subnormal, infinity above the largest float, NaN for NaN. */
#ifndef R2I_EXP_AVX2_H
#define R2I_EXP_AVX2_H
#include "kernels/avx2/avx2_vectors.h"

R2I_INLINE __m256 r2i_exp_f32x8(__m256 x) {
    const __m256 lowest = _mm256_set1_ps(-87.336544F), highest = _mm256_set1_ps(88.722839F);
    const __m256 in_range =
        _mm256_max_ps(lowest, _mm256_min_ps(highest, x)); /* NaN passes through */
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(in_range, _mm256_set1_ps(0x1.715476p+0F)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 part = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1F), in_range);
    const __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20F), part);
    __m256 p = _mm256_set1_ps(1.0F / 5040.0F);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F / 720.0F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F / 120.0F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F / 24.0F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F / 6.0F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F));
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    __m256 y = _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(a)), _mm256_castsi256_ps(b));
    y = _mm256_andnot_ps(_mm256_cmp_ps(x, lowest, _CMP_LT_OQ), y);
    y = _mm256_blendv_ps(y, _mm256_set1_ps(__builtin_inff()),
                         _mm256_cmp_ps(x, highest, _CMP_GT_OQ));
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

/* Sum and maximum over lanes, in a fixed order. */
R2I_INLINE float r2i_sum_f32x8(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
R2I_INLINE float r2i_max_f32x8(__m256 v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
R2I_INLINE int r2i_has_nan(__m256 unordered_with_itself) {
    return _mm256_movemask_ps(unordered_with_itself) != 0;
}

/* Eight floats, or the first n of them and `fill`. */
R2I_INLINE __m256 r2i_load_f32_part(const float *x, int32_t n, float fill) {
    if (n >= 8) return _mm256_loadu_ps(x);
    const __m256i mask = r2i_first_lanes(n);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(x, mask),
                            _mm256_castsi256_ps(mask));
}
R2I_INLINE void r2i_store_f32_part(float *y, int32_t n, __m256 v) {
    if (n >= 8) {
        _mm256_storeu_ps(y, v);
    } else {
        _mm256_maskstore_ps(y, r2i_first_lanes(n), v);
    }
}

/* Rounded to BF16 (nearest even, NaN stays quiet NaN), still as eight floats. */
R2I_INLINE __m256 r2i_round_to_bf16(__m256 v) {
    const __m256i bits = _mm256_castps_si256(v), one = _mm256_set1_epi32(1);
    const __m256i is_odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    const __m256i raised =
        _mm256_add_epi32(bits, _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 is_nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
    const __m256 chosen =
        _mm256_blendv_ps(_mm256_castsi256_ps(raised), _mm256_castsi256_ps(quiet), is_nan);
    return _mm256_and_ps(chosen, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000u)));
}
#endif
