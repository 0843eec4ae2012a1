/* act_avx2.c - activation rows as the products want them (act_rows.h), equal in every bit to the
 * portable ones. */
#include <math.h>

#include "base/half.h"
#include "kernels/act_rows.h"
#include "kernels/avx2/avx2_parts.h"
#include "kernels/avx2/exp_avx2.h"

static void act_bf16(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    uint16_t *y = (uint16_t *)(void *)row;
    int32_t c = begin;
    for (; c + 8 <= end; c += 8) {
        const __m256 rounded = r2i_round_to_bf16(_mm256_loadu_ps(x + (c - begin)));
        const __m256i words = _mm256_srli_epi32(_mm256_castps_si256(rounded), 16);
        const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0xd8);
        _mm_storeu_si128((__m128i *)(void *)(y + c), _mm256_castsi256_si128(packed));
    }
    for (; c < end; c++)
        y[c] = r2i_bf16_from_f32(x[c - begin]);
    if (end == n_cols && n_cols % 2 != 0) y[n_cols] = 0;
}

/* The largest magnitude as a bit pattern: NaN and infinity come out on top. */
R2I_INLINE uint32_t max_magnitude(const __m256 v[4]) {
    const __m256i no_sign = _mm256_set1_epi32(0x7fffffff);
    __m256i max = _mm256_setzero_si256();
    R2I_UNROLL
    for (int i = 0; i < 4; i++) {
        max = _mm256_max_epu32(max, _mm256_and_si256(_mm256_castps_si256(v[i]), no_sign));
    }
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(max), _mm256_extracti128_si256(max, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

R2I_INLINE int32_t sum_i32x8(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

/* 32 rounded values to q and the sums of both halves. */
R2I_INLINE void round_group(int8_t *q, const __m256 v[4], float inverse, int32_t sum[2]) {
    const __m256 factor = _mm256_set1_ps(inverse);
    const __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(v[0], factor));
    const __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(v[1], factor));
    const __m256i c = _mm256_cvtps_epi32(_mm256_mul_ps(v[2], factor));
    const __m256i d = _mm256_cvtps_epi32(_mm256_mul_ps(v[3], factor));
    sum[0] = sum_i32x8(_mm256_add_epi32(a, b));
    sum[1] = sum_i32x8(_mm256_add_epi32(c, d));
    /* Packing works inside 128-bit halves: words of four come out as 0 2 4 6 1 3 5 7. */
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    r2i_store_i8x32(q,
                    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}

static void act_int8(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    const size_t n_groups = (size_t)n_cols / R2I_GROUP;
    float *scales = (float *)(void *)(row + n_cols);
    int32_t *nsum = (int32_t *)(void *)(scales + n_groups), *nhalf = nsum + n_groups;
    float *ssum = scales + 4 * n_groups, *shalf = ssum + n_groups;
    for (int32_t c = begin; c < end; c += R2I_GROUP, x += R2I_GROUP) {
        const __m256 v[4] = { _mm256_loadu_ps(x), _mm256_loadu_ps(x + 8), _mm256_loadu_ps(x + 16),
                              _mm256_loadu_ps(x + 24) };
        const uint32_t bits = max_magnitude(v);
        const float max = r2i_f32_from_bits(bits);
        const bool is_finite = bits < 0x7f800000u, is_tiny = max < R2I_ACT_TINY;
        const float scale = !is_finite ? NAN : is_tiny ? 0.0F : max / 127.0F;
        int32_t sum[2] = { 0, 0 };
        if (is_finite && !is_tiny) {
            round_group((int8_t *)row + c, v, 127.0F / max, sum);
        } else { /* nothing to tell apart from zero, or no number at all */
            r2i_store_i8x32(row + c, _mm256_setzero_si256());
        }
        const size_t g = (size_t)c / R2I_GROUP;
        scales[g] = scale;
        nsum[g] = -(sum[0] + sum[1]);
        ssum[g] = scale * (float)(sum[0] + sum[1]);
        for (size_t h = 0; h < 2; h++) {
            nhalf[2 * g + h] = -sum[h];
            shalf[2 * g + h] = scale * (float)sum[h];
        }
    }
}

void r2i_avx2_add_act(r2i_kernels *kernels) {
    kernels->act[R2I_ACT_BF16] = act_bf16;
    kernels->act[R2I_ACT_INT8] = act_int8;
}
