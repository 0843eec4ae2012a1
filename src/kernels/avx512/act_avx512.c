/* act_avx512.c - activation rows rounded to int8 in groups of 32 (act_rows.h).
 *
 * Sixteen groups at a time: their largest magnitudes become one vector, so that divisions, scales
 * and sums are vector work, and only finding the maximum and rounding go group by group. */
#include <immintrin.h>

#include "kernels/act_rows.h"
#include "kernels/avx512/panel_avx512.h"

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
    const __m512i m =
        _mm512_max_epu32(_mm512_and_si512(a, magnitude), _mm512_and_si512(b, magnitude));
    const __m256i m8 = _mm256_max_epu32(_mm512_castsi512_si256(m), _mm512_extracti64x4_epi64(m, 1));
    __m128i x = _mm_max_epu32(_mm256_castsi256_si128(m8), _mm256_extracti128_si256(m8, 1));
    x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0x4e));
    x = _mm_max_epu32(x, _mm_shuffle_epi32(x, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(x);
}

enum { BATCH = 16 };

/* What a batch needs between its three steps. */
typedef struct {
    _Alignas(64) uint32_t largest[BATCH]; /* bits */
    _Alignas(64) float inverse[BATCH];
    _Alignas(64) uint64_t sums[BATCH][4]; /* of q + 128, per 8 columns */
    __mmask16 is_number;                  /* groups that are neither tiny nor infinite nor NaN */
    __m512 scale;
} act_batch;

static inline void find_scales(act_batch *batch) {
    const __m512i bits = _mm512_load_si512(batch->largest);
    const __m512 largest = _mm512_castsi512_ps(bits), steps = _mm512_set1_ps(127.0f);
    const __mmask16 is_finite = _mm512_cmplt_epu32_mask(bits, _mm512_set1_epi32(0x7f800000));
    batch->is_number =
        _mm512_mask_cmp_ps_mask(is_finite, largest, _mm512_set1_ps(R2I_ACT_TINY), _CMP_GE_OQ);
    const __m512 scale = _mm512_maskz_div_ps(batch->is_number, largest, steps);
    batch->scale = _mm512_mask_mov_ps(_mm512_set1_ps(__builtin_nanf("")), is_finite, scale);
    _mm512_store_ps(batch->inverse, _mm512_maskz_div_ps(batch->is_number, steps, largest));
}

static inline void round_group(act_batch *batch, int i, int8_t *q, const float *x) {
    /* x * 0 would be NaN where x is not finite: such a group is emptied by the mask. */
    const __mmask16 mask = (batch->is_number >> i & 1) != 0 ? 0xffff : 0;
    const __m512 factor = _mm512_set1_ps(batch->inverse[i]);
    const __m512 a = _mm512_mul_ps(_mm512_loadu_ps(x), factor);
    const __m512 b = _mm512_mul_ps(_mm512_loadu_ps(x + GROUP_HALF), factor);
    const __m128i qa = _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(mask, a));
    const __m128i qb = _mm512_cvtsepi32_epi8(_mm512_maskz_cvtps_epi32(mask, b));
    const __m256i codes = _mm256_inserti128_si256(_mm256_castsi128_si256(qa), qb, 1);
    const __m256i lifted = _mm256_xor_si256(codes, _mm256_set1_epi8((char)0x80));
    _mm256_storeu_si256((__m256i *)(void *)q, codes);
    _mm256_store_si256((__m256i *)(void *)batch->sums[i],
                       _mm256_sad_epu8(lifted, _mm256_setzero_si256()));
}

/* Sums of the halves of groups first .. first + 7, in order. */
static inline __m512i half_sums(const act_batch *batch, int first) {
    __m256i parts[2];
    for (int k = 0; k < 2; k++) { /* groups g, g+1 and g+2, g+3 */
        const uint64_t *sums = batch->sums[first + 4 * k];
        const __m512i x = _mm512_load_si512(sums), y = _mm512_load_si512(sums + 8);
        parts[k] = _mm512_cvtepi64_epi32(
            _mm512_add_epi64(_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y)));
    }
    const __m512i order = _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    const __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(parts[0]), parts[1], 1);
    return _mm512_sub_epi32(_mm512_permutexvar_epi32(order, both),
                            _mm512_set1_epi32(GROUP_HALF * 128));
}

static inline __m512i negative(__m512i x) {
    return _mm512_sub_epi32(_mm512_setzero_si512(), x);
}

/* The row's fields of n groups from `group` on. */
static inline void store_fields(const act_batch *batch, const int8_row_out *out, int32_t group,
                                int32_t n) {
    const __mmask16 mask = (__mmask16)((1u << n) - 1);
    const __mmask16 low_mask = (__mmask16)((1u << 2 * (n < 8 ? n : 8)) - 1);
    const __mmask16 high_mask = (__mmask16)((1u << 2 * (n < 8 ? 0 : n - 8)) - 1);
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i low = half_sums(batch, 0), high = half_sums(batch, 8);
    const __m512i sums = _mm512_add_epi32(
        _mm512_permutex2var_epi32(low, even, high),
        _mm512_permutex2var_epi32(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high));
    const __m512 scale_low = _mm512_permutexvar_ps(twice, batch->scale);
    const __m512 scale_high =
        _mm512_permutexvar_ps(_mm512_add_epi32(twice, _mm512_set1_epi32(8)), batch->scale);
    int32_t *nhalf = out->nhalf + 2 * (size_t)group;
    float *shalf = out->shalf + 2 * (size_t)group;
    _mm512_mask_storeu_ps(out->scale + group, mask, batch->scale);
    _mm512_mask_storeu_epi32(out->nsum + group, mask, negative(sums));
    _mm512_mask_storeu_ps(out->ssum + group, mask,
                          _mm512_mul_ps(batch->scale, _mm512_cvtepi32_ps(sums)));
    _mm512_mask_storeu_epi32(nhalf, low_mask, negative(low));
    _mm512_mask_storeu_epi32(nhalf + BATCH, high_mask, negative(high));
    _mm512_mask_storeu_ps(shalf, low_mask, _mm512_mul_ps(scale_low, _mm512_cvtepi32_ps(low)));
    _mm512_mask_storeu_ps(shalf + BATCH, high_mask,
                          _mm512_mul_ps(scale_high, _mm512_cvtepi32_ps(high)));
}

static void act_int8(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    const int8_row_out out = row_out_at(row, n_cols);
    const int32_t end_group = end / R2I_GROUP;
    act_batch batch = { .is_number = 0 };
    for (int32_t group = begin / R2I_GROUP; group < end_group;
         group += BATCH, x += BATCH * R2I_GROUP) {
        const int32_t n = end_group - group < BATCH ? end_group - group : BATCH;
        for (int32_t i = 0; i < n; i++) {
            const float *columns = x + i * R2I_GROUP;
            batch.largest[i] =
                largest_bits(_mm512_loadu_si512(columns), _mm512_loadu_si512(columns + GROUP_HALF));
        }
        find_scales(&batch);
        for (int32_t i = 0; i < n; i++) {
            round_group(&batch, i, out.q + (size_t)(group + i) * R2I_GROUP, x + i * R2I_GROUP);
        }
        store_fields(&batch, &out, group, n);
    }
}

void r2i_avx512_add_act(r2i_kernels *kernels) {
    kernels->act[R2I_ACT_INT8] = act_int8;
}
