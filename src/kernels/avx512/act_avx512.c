/* act_avx512.c - activation rows rounded to int8 in groups of 32 (act_rows.h).
 *
 * Sixteen groups at a time: their limits become vectors, so that divisions, scales and sums are
 * vector work, and only finding the limits and rounding go group by group. */
#include <immintrin.h>

#include "kernels/act_rows.h"
#include "kernels/avx512/panel_avx512.h"

enum { GROUP_HALF = R2I_GROUP / 2 };

/* The int8 row again, writable, at column 0. */
typedef struct {
    int8_t *q;
    float *scale;
    int32_t *start, *half_start;
    float *ssum, *shalf;
} int8_row_out;

static inline int8_row_out row_out_at(uint8_t *row, int32_t n_cols) {
    const size_t n = (size_t)n_cols, groups = n / R2I_GROUP;
    uint8_t *floats = row + n;
    return (int8_row_out){
        .q = (int8_t *)row,
        .scale = (float *)(void *)floats,
        .start = (int32_t *)(void *)(floats + 4 * groups),
        .half_start = (int32_t *)(void *)(floats + 8 * groups),
        .ssum = (float *)(void *)(floats + 16 * groups),
        .shalf = (float *)(void *)(floats + 20 * groups),
    };
}

enum { BATCH = 16 };

/* What a batch needs between its three steps. */
typedef struct {
    _Alignas(64) float top[BATCH], bottom[BATCH]; /* greatest x, greatest -x */
    _Alignas(64) float inverse[BATCH];
    _Alignas(64) int32_t zero[BATCH];
    _Alignas(64) uint64_t sums[BATCH][4]; /* of q + 128, per 8 columns */
    __mmask16 is_nan, is_number;          /* number: neither tiny nor infinite nor NaN */
    __m512 scale;
} act_batch;

/* Limits of group i, of no meaning if there is a NaN. */
static inline void find_limits(act_batch *batch, int i, const float *x) {
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + GROUP_HALF);
    const __m512 max = _mm512_max_ps(a, b),
                 min = _mm512_sub_ps(_mm512_setzero_ps(), _mm512_min_ps(a, b));
    /* Quarters max max min min, then quarter 0 of max and 2 of min. */
    __m512 m =
        _mm512_max_ps(_mm512_shuffle_f32x4(max, min, 0x44), _mm512_shuffle_f32x4(max, min, 0xee));
    m = _mm512_max_ps(m, _mm512_shuffle_f32x4(m, m, 0xb1));
    m = _mm512_max_ps(m, _mm512_permute_ps(m, 0x4e));
    m = _mm512_max_ps(m, _mm512_permute_ps(m, 0xb1));
    batch->top[i] = _mm512_cvtss_f32(m);
    batch->bottom[i] = _mm_cvtss_f32(_mm512_extractf32x4_ps(m, 2));
    const unsigned is_nan = _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0;
    batch->is_nan = (__mmask16)(batch->is_nan | is_nan << i);
}

static inline void find_scales(act_batch *batch) {
    const __m512 none = _mm512_setzero_ps(), steps = _mm512_set1_ps(255.0f);
    const __m512 hi = _mm512_max_ps(_mm512_load_ps(batch->top), none);
    const __m512 lo = _mm512_sub_ps(none, _mm512_max_ps(_mm512_load_ps(batch->bottom), none));
    const __m512 range = _mm512_sub_ps(hi, lo);
    const __mmask16 is_finite = _mm512_mask_cmp_ps_mask(
        (__mmask16)~batch->is_nan, range, _mm512_set1_ps(__builtin_inff()), _CMP_LT_OQ);
    const __mmask16 is_number =
        _mm512_mask_cmp_ps_mask(is_finite, range, _mm512_set1_ps(R2I_ACT_TINY), _CMP_GE_OQ);
    const __m512 scale = _mm512_maskz_div_ps(is_number, range, steps);
    const __m512 inverse = _mm512_maskz_div_ps(is_number, steps, range);
    const __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(lo, inverse));
    batch->is_number = is_number;
    batch->scale = _mm512_mask_mov_ps(_mm512_set1_ps(__builtin_nanf("")), is_finite, scale);
    _mm512_store_ps(batch->inverse, inverse);
    _mm512_store_si512(batch->zero,
                       _mm512_maskz_add_epi32(is_number, low, _mm512_set1_epi32(128)));
}

/* 16 codes: nearest of x * inverse, less zero, kept within int8. */
static inline __m128i rounded(__mmask16 mask, const float *x, __m512 inverse, __m512i zero) {
    const __m512i level = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x), inverse));
    return _mm512_cvtsepi32_epi8(_mm512_maskz_sub_epi32(mask, level, zero));
}

static inline void round_group(act_batch *batch, int i, int8_t *q, const float *x) {
    /* x * 0 would be NaN where x is not finite: such a group is emptied by the mask. */
    const __mmask16 mask = (batch->is_number >> i & 1) != 0 ? 0xffff : 0;
    const __m512 inverse = _mm512_set1_ps(batch->inverse[i]);
    const __m512i zero = _mm512_set1_epi32(batch->zero[i]);
    const __m128i qa = rounded(mask, x, inverse, zero),
                  qb = rounded(mask, x + GROUP_HALF, inverse, zero);
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

/* [zero | -sum]. */
static inline __m512i start_pairs(__m512i zero, __m512i sum) {
    const __m512i negative = _mm512_sub_epi32(_mm512_setzero_si512(), sum);
    return _mm512_mask_mov_epi16(_mm512_slli_epi32(negative, 16), 0x55555555, zero);
}

/* scale * float(sum + n * zero), n = 2^log2. */
static inline __m512 scaled_sums(__m512 scale, __m512i sum, __m512i zero, unsigned log2) {
    const __m512i all = _mm512_add_epi32(sum, _mm512_slli_epi32(zero, log2));
    return _mm512_mul_ps(scale, _mm512_cvtepi32_ps(all));
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
    const __m512i twice_high = _mm512_add_epi32(twice, _mm512_set1_epi32(8));
    const __m512i zero = _mm512_load_si512(batch->zero);
    const __m512i zero_low = _mm512_permutexvar_epi32(twice, zero),
                  zero_high = _mm512_permutexvar_epi32(twice_high, zero);
    const __m512 scale_low = _mm512_permutexvar_ps(twice, batch->scale),
                 scale_high = _mm512_permutexvar_ps(twice_high, batch->scale);
    int32_t *half_start = out->half_start + 2 * (size_t)group;
    float *shalf = out->shalf + 2 * (size_t)group;
    _mm512_mask_storeu_ps(out->scale + group, mask, batch->scale);
    _mm512_mask_storeu_epi32(out->start + group, mask, start_pairs(zero, sums));
    _mm512_mask_storeu_ps(out->ssum + group, mask, scaled_sums(batch->scale, sums, zero, 5));
    _mm512_mask_storeu_epi32(half_start, low_mask, start_pairs(zero_low, low));
    _mm512_mask_storeu_epi32(half_start + BATCH, high_mask, start_pairs(zero_high, high));
    _mm512_mask_storeu_ps(shalf, low_mask, scaled_sums(scale_low, low, zero_low, 4));
    _mm512_mask_storeu_ps(shalf + BATCH, high_mask, scaled_sums(scale_high, high, zero_high, 4));
}

static void act_int8(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    const int8_row_out out = row_out_at(row, n_cols);
    const int32_t end_group = end / R2I_GROUP;
    act_batch batch = { .is_number = 0 };
    for (int32_t group = begin / R2I_GROUP; group < end_group;
         group += BATCH, x += BATCH * R2I_GROUP) {
        const int32_t n = end_group - group < BATCH ? end_group - group : BATCH;
        batch.is_nan = 0;
        for (int32_t i = 0; i < n; i++) find_limits(&batch, i, x + i * R2I_GROUP);
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
