/* act_avx512.c - activation rows rounded to int8 in groups of 32 (act_rows.h). */
#include <immintrin.h>

#include "kernels/act_rows.h"
#include "panel_avx512.h"

enum { GROUP_HALF = R2I_GROUP / 2 };

/* The int8 row again, writable, at column 0. */
typedef struct {
    int8_t *q;
    float *scale;
    int32_t *nsum, *nhalf;
    float *ssum, *shalf;
} int8_row_out;

static inline int8_row_out row_out_at(uint8_t *row, int32_t n_cols) {
    const size_t n = (size_t)n_cols, groups = n / R2I_GROUP;
    uint8_t *floats = row + n;
    return (int8_row_out){
        .q = (int8_t *)row,
        .scale = (float *)(void *)floats,
        .nsum = (int32_t *)(void *)(floats + 4 * groups),
        .nhalf = (int32_t *)(void *)(floats + 8 * groups),
        .ssum = (float *)(void *)(floats + 16 * groups),
        .shalf = (float *)(void *)(floats + 20 * groups),
    };
}

/* Bits of the largest magnitude: as integers, magnitudes are ordered and NaN is above infinity. */
static inline uint32_t largest_bits(__m512i a, __m512i b) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    const __m512i m = _mm512_max_epu32(_mm512_and_si512(a, magnitude), _mm512_and_si512(b, magnitude));
    const __m256i m8 = _mm256_max_epu32(_mm512_castsi512_si256(m), _mm512_extracti64x4_epi64(m, 1));
    __m128i x = _mm_max_epu32(_mm256_castsi256_si128(m8), _mm256_extracti128_si256(m8, 1));
    x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(x);
}

/* Sum of 16 int8. */
static inline int32_t sum_i8(__m128i q) {
    const __m128i flipped = _mm_xor_si128(q, _mm_set1_epi8((char)0x80));
    const __m128i sums = _mm_sad_epu8(flipped, _mm_setzero_si128());
    return _mm_cvtsi128_si32(sums) + _mm_extract_epi32(sums, 2) - GROUP_HALF * 128;
}

static void round_group(const int8_row_out *out, const float *x, int32_t group) {
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + GROUP_HALF);
    const uint32_t bits = largest_bits(_mm512_castps_si512(a), _mm512_castps_si512(b));
    const float largest = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128((int)bits)));
    const bool is_finite = bits < 0x7f800000u, is_number = is_finite && largest >= R2I_ACT_TINY;
    const float scale = is_number ? largest / 127.0f : is_finite ? 0.0f : __builtin_nanf("");
    const float inverse = is_number ? 127.0f / largest : 0.0f;
    const __mmask16 mask = is_number ? 0xffff : 0; /* x * 0 would be NaN where x is not finite */
    const __m512 factor = _mm512_set1_ps(inverse);
    const __m128i qa = _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(mask, _mm512_mul_ps(a, factor)));
    const __m128i qb = _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(mask, _mm512_mul_ps(b, factor)));
    const int32_t sum_a = sum_i8(qa), sum_b = sum_i8(qb);
    int8_t *q = out->q + (size_t)group * R2I_GROUP;
    _mm_storeu_si128((__m128i *)(void *)q, qa);
    _mm_storeu_si128((__m128i *)(void *)(q + GROUP_HALF), qb);
    out->scale[group] = scale;
    out->nsum[group] = -(sum_a + sum_b);
    out->nhalf[2 * group] = -sum_a;
    out->nhalf[2 * group + 1] = -sum_b;
    out->ssum[group] = scale * (float)(sum_a + sum_b);
    out->shalf[2 * group] = scale * (float)sum_a;
    out->shalf[2 * group + 1] = scale * (float)sum_b;
}

static void act_int8(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    const int8_row_out out = row_out_at(row, n_cols);
    for (int32_t c = begin; c < end; c += R2I_GROUP) round_group(&out, x + (c - begin), c / R2I_GROUP);
}

void r2i_avx512_add_act(r2i_kernels *kernels) {
    kernels->act[R2I_ACT_INT8] = act_int8;
}
