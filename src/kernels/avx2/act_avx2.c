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

/* The greatest of eight. */
R2I_INLINE float max_f32x8(__m256 v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

/* lo and hi of act_rows.h: 0 and what lies beyond it on either side. */
R2I_INLINE void limits_of(const __m256 v[4], float *lo, float *hi) {
    const __m256 zero = _mm256_setzero_ps();
    const __m256 top = _mm256_max_ps(_mm256_max_ps(v[0], v[1]), _mm256_max_ps(v[2], v[3]));
    const __m256 bottom = _mm256_min_ps(_mm256_min_ps(v[0], v[1]), _mm256_min_ps(v[2], v[3]));
    *hi = max_f32x8(_mm256_max_ps(top, zero));
    *lo = -max_f32x8(_mm256_max_ps(_mm256_sub_ps(zero, bottom), zero));
}

/* 32 rounded values to q and the sums of both halves. */
R2I_INLINE void round_group(int8_t *q, const __m256 v[4], float inverse, int32_t zero,
                            int32_t sum[2]) {
    const __m256 factor = _mm256_set1_ps(inverse);
    __m256i level[4];
    R2I_UNROLL
    for (int i = 0; i < 4; i++) {
        level[i] = _mm256_sub_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(v[i], factor)),
                                    _mm256_set1_epi32(zero));
    }
    /* Packing clamps to -128..127.  It works inside 128-bit halves: words of four come out as
     * 0 2 4 6 1 3 5 7. */
    const __m256i mixed = _mm256_packs_epi16(_mm256_packs_epi32(level[0], level[1]),
                                             _mm256_packs_epi32(level[2], level[3]));
    const __m256i bytes =
        _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    r2i_store_i8x32(q, bytes);
    /* Sums of q + 128 per eight columns. */
    const __m256i sums = _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8((char)0x80)),
                                         _mm256_setzero_si256());
    const __m256i halves = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4e));
    sum[0] = _mm_cvtsi128_si32(_mm256_castsi256_si128(halves)) - 16 * 128;
    sum[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(halves, 1)) - 16 * 128;
}

R2I_INLINE int32_t round_even(float x) {
    return _mm_cvtss_si32(_mm_set_ss(x));
}

static void act_int8(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    r2i_act_group *to = (r2i_act_group *)(void *)row + begin / R2I_GROUP;
    (void)n_cols;
    for (int32_t c = begin; c < end; c += R2I_GROUP, x += R2I_GROUP, to++) {
        const __m256 v[4] = { _mm256_loadu_ps(x), _mm256_loadu_ps(x + 8), _mm256_loadu_ps(x + 16),
                              _mm256_loadu_ps(x + 24) };
        float lo, hi;
        limits_of(v, &lo, &hi);
        const float range = hi - lo;
        const bool is_finite = max_magnitude(v) < 0x7f800000u && isfinite(range);
        const bool is_tiny = range < R2I_ACT_TINY;
        const float scale = !is_finite ? NAN : is_tiny ? 0.0F : range / 255.0F;
        int32_t sum[2] = { 0, 0 }, zero = 0;
        if (is_finite && !is_tiny) {
            const float inverse = 255.0F / range;
            zero = round_even(lo * inverse) + 128;
            round_group(to->q, v, inverse, zero, sum);
        } else { /* nothing to tell apart from zero, or no number at all */
            r2i_store_i8x32(to->q, _mm256_setzero_si256());
        }
        to->unused = 0;
        to->scale = scale;
        to->start = r2i_start_of(zero, -(sum[0] + sum[1]));
        to->ssum = scale * (float)(sum[0] + sum[1] + 32 * zero);
        for (size_t h = 0; h < 2; h++) {
            to->half_start[h] = r2i_start_of(zero, -sum[h]);
            to->shalf[h] = scale * (float)(sum[h] + 16 * zero);
        }
    }
}

void r2i_avx2_add_act(r2i_kernels *kernels) {
    kernels->act[R2I_ACT_BF16] = act_bf16;
    kernels->act[R2I_ACT_INT8] = act_int8;
}
