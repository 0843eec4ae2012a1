/* act_avx512.c - activation rows rounded to int8 in groups of 32 (act_rows.h).
 *
 * Sixteen groups at a time: their limits become vectors, so that divisions, scales and sums are
 * vector work, and only finding the limits and rounding go group by group. */
#include <immintrin.h>

#include "kernels/act_rows.h"
#include "kernels/avx512/panel_avx512.h"
#include "kernels/avx512/transpose_avx512.h"

enum { GROUP_HALF = R2I_GROUP / 2 };

enum { BATCH = 16 };

/* What a batch needs between its three steps, lane i of a vector: group i.  Lanes are set one by one in
 * registers: a vector that is read where its parts were just written waits for the writing. */
typedef struct {
    __m512 top, bottom; /* greatest x, greatest -x */
    _Alignas(64) float inverse[BATCH];
    _Alignas(64) int32_t zero[BATCH];
    __m512i first, second;       /* sums of q + 128 over a group's halves */
    __mmask16 is_nan, is_number; /* number: neither tiny nor infinite nor NaN */
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
    const __mmask16 lane = (__mmask16)(1U << i);
    batch->top = _mm512_mask_broadcastss_ps(batch->top, lane, _mm512_castps512_ps128(m));
    batch->bottom = _mm512_mask_broadcastss_ps(batch->bottom, lane, _mm512_extractf32x4_ps(m, 2));
    const unsigned is_nan = _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0;
    batch->is_nan = (__mmask16)(batch->is_nan | is_nan << i);
}

static inline void find_scales(act_batch *batch) {
    const __m512 none = _mm512_setzero_ps(), steps = _mm512_set1_ps(255.0f);
    const __m512 hi = _mm512_max_ps(batch->top, none);
    const __m512 lo = _mm512_sub_ps(none, _mm512_max_ps(batch->bottom, none));
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
    _mm512_store_si512(batch->zero, _mm512_maskz_add_epi32(is_number, low, _mm512_set1_epi32(128)));
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
    const __m256i eights = _mm256_sad_epu8(lifted, _mm256_setzero_si256());
    const __m256i halves = _mm256_add_epi64(eights, _mm256_unpackhi_epi64(eights, eights));
    const __mmask16 lane = (__mmask16)(1U << i);
    batch->first = _mm512_mask_broadcastd_epi32(batch->first, lane, _mm256_castsi256_si128(halves));
    batch->second =
        _mm512_mask_broadcastd_epi32(batch->second, lane, _mm256_extracti128_si256(halves, 1));
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

/* Lanes of eight fields to the second halves of the first n <= 4 groups' cache lines. */
static inline void store_few(const __m512i field[16], r2i_act_group *to, int32_t n) {
    for (int h = 0; h < 2; h++) {
        const __m128i a = _mm512_castsi512_si128(field[4 * h]);
        const __m128i b = _mm512_castsi512_si128(field[4 * h + 1]);
        const __m128i c = _mm512_castsi512_si128(field[4 * h + 2]);
        const __m128i d = _mm512_castsi512_si128(field[4 * h + 3]);
        const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
        const __m128i ab_high = _mm_unpackhi_epi32(a, b), cd_high = _mm_unpackhi_epi32(c, d);
        const __m128i rows[4] = { _mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd),
                                  _mm_unpacklo_epi64(ab_high, cd_high),
                                  _mm_unpackhi_epi64(ab_high, cd_high) };
        for (int32_t i = 0; i < n; i++) {
            _mm_storeu_si128((__m128i *)(void *)((uint8_t *)&to[i].scale + 16 * h), rows[i]);
        }
    }
}

/* Everything behind q in n groups: fields become vectors over groups, a transposition makes them
 * the second halves of cache lines. */
static inline void store_fields(const act_batch *batch, r2i_act_group *to, int32_t n) {
    const __m512i lift = _mm512_set1_epi32(GROUP_HALF * 128);
    const __m512i first = _mm512_sub_epi32(batch->first, lift),
                  second = _mm512_sub_epi32(batch->second, lift);
    const __m512i sum = _mm512_add_epi32(first, second), zero = _mm512_load_si512(batch->zero);
    const __m512 scale = batch->scale;
    __m512i field[16] = {
        _mm512_castps_si512(scale),
        start_pairs(zero, sum),
        _mm512_castps_si512(scaled_sums(scale, sum, zero, 5)),
        start_pairs(zero, first),
        start_pairs(zero, second),
        _mm512_castps_si512(scaled_sums(scale, first, zero, 4)),
        _mm512_castps_si512(scaled_sums(scale, second, zero, 4)),
    };
    for (int i = 7; i < 16; i++)
        field[i] = _mm512_setzero_si512();
    if (n <= 4) {
        store_few(field, to, n);
        return;
    }
    transpose_avx512(field);
    for (int32_t i = 0; i < n; i++) {
        _mm256_storeu_si256((__m256i *)(void *)&to[i].scale, _mm512_castsi512_si256(field[i]));
    }
}

static void act_int8(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    r2i_act_group *to = (r2i_act_group *)(void *)row + begin / R2I_GROUP;
    int32_t n_left = (end - begin) / R2I_GROUP;
    act_batch batch;
    (void)n_cols;
    for (; n_left > 0; n_left -= BATCH, to += BATCH, x += BATCH * R2I_GROUP) {
        const int32_t n = n_left < BATCH ? n_left : BATCH;
        batch.top = batch.bottom = _mm512_setzero_ps();
        batch.first = batch.second = _mm512_setzero_si512();
        batch.is_nan = 0;
        for (int32_t i = 0; i < n; i++)
            find_limits(&batch, i, x + i * R2I_GROUP);
        find_scales(&batch);
        for (int32_t i = 0; i < n; i++)
            round_group(&batch, i, to[i].q, x + i * R2I_GROUP);
        store_fields(&batch, to, n);
    }
}

void r2i_avx512_add_act(r2i_kernels *kernels) {
    kernels->act[R2I_ACT_INT8] = act_int8;
}
