/* expand_avx512.h - pages of F16 and Q8 rows as attention reads them.
 *
 * Codes lie in the order of the BF16 page, so they are widened, multiplied and narrowed as they
 * come; only the scales are repeated to fit.
 *
 * Included by pages_avx512.c and, compiled with -mavx512bf16, by pages_bf16_avx512.c. */
#ifndef R2I_EXPAND_AVX512_H
#define R2I_EXPAND_AVX512_H
#include <string.h>

#include "kernels/avx512/exp_avx512.h"
#include "kernels/kernels.h"
#include "kernels/page_rows.h"

/* n elements, a multiple of 32. */
static void expand_f16(uint8_t *to, const uint8_t *from, size_t n) {
    for (size_t i = 0; i < n; i += 32) {
        const __m512i x = _mm512_loadu_si512(from + 2 * i);
        _mm512_storeu_ps(to + 4 * i, _mm512_cvtph_ps(_mm512_castsi512_si256(x)));
        _mm512_storeu_ps(to + 4 * i + 64, _mm512_cvtph_ps(_mm512_extracti64x4_epi64(x, 1)));
    }
}

static inline __m512 scaled_codes(__m128i codes, __m512 scale) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)), scale);
}

/* 32 codes times their scales in BF16.  Scales are NaN, 0 or far from the limits of F32, so that
 * neither subnormal numbers nor overflow can occur, and adding to the bits is all that rounding
 * needs. */
static inline __attribute__((always_inline)) __m512i expand_codes(__m256i codes, __m512 low_scale,
                                                                  __m512 high_scale) {
    const __m512 low = scaled_codes(_mm256_castsi256_si128(codes), low_scale);
    const __m512 high = scaled_codes(_mm256_extracti128_si256(codes, 1), high_scale);
#if defined(__AVX512BF16__)
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
#else
    const __m512i high_words =
        _mm512_add_epi16(_mm512_cvtepu8_epi16(_mm256_setr_epi8(
                             0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36,
                             38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62)),
                         _mm512_set1_epi16(1));
    const __m512i bias = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1);
    __m512i a = _mm512_castps_si512(low), b = _mm512_castps_si512(high);
    const __m512i up_a = _mm512_and_si512(_mm512_srli_epi32(a, 16), one);
    const __m512i up_b = _mm512_and_si512(_mm512_srli_epi32(b, 16), one);
    a = _mm512_add_epi32(_mm512_add_epi32(a, bias), up_a);
    b = _mm512_add_epi32(_mm512_add_epi32(b, bias), up_b);
    return _mm512_permutex2var_epi16(a, high_words, b);
#endif
}

static inline __m512 scales_of(__m256i bf16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
}

static void expand_keys_q8(uint8_t *page, const uint8_t *stored, int32_t n_slots, int32_t d_key) {
    const __m512i first = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    for (int32_t c = 0; c < d_key; c += R2I_Q8_GROUP) {
        const uint8_t *scales = stored + r2i_q8_key_scale_at(c / R2I_Q8_GROUP);
        const int32_t n_pairs = d_key - c < R2I_Q8_GROUP ? (d_key - c + 1) / 2 : R2I_Q8_GROUP / 2;
        uint8_t *to = page + 2 * (size_t)c * R2I_PAGE_TOKENS;
        for (int32_t slot = 0; slot < n_slots; slot += 16) {
            const uint8_t *from = scales + 2 * slot;
            const __m512 scale = scales_of(_mm256_loadu_si256((const __m256i *)(const void *)from));
            const __m512 low = _mm512_permutexvar_ps(first, scale),
                         high = _mm512_permutexvar_ps(second, scale);
            for (int32_t i = 0; i < n_pairs; i++) {
                from += R2I_Q8_KEY_LINE;
                const __m256i codes = _mm256_loadu_si256((const __m256i *)(const void *)from);
                _mm512_storeu_si512(to + 4 * (i * R2I_PAGE_TOKENS + slot),
                                    expand_codes(codes, low, high));
            }
        }
    }
}

static void expand_values_q8(uint8_t *page, const uint8_t *stored, int32_t n_slots,
                             int32_t d_value) {
    const uint8_t *codes = stored + r2i_q8_value_code_at(0, d_value);
    for (int32_t pair = 0; pair < n_slots / 2; pair++) {
        const uint8_t *scales = stored + r2i_q8_value_scale_at(pair, 0, d_value);
        for (int32_t c = 0; c < d_value; c += 16) {
            const __mmask16 m = lanes_avx512(d_value - c);
            uint32_t both;
            memcpy(&both, scales + 4 * (c / R2I_Q8_GROUP), sizeof both);
            const uint64_t apart = (uint64_t)(both & 0xffff0000u) << 32 | both << 16;
            const __m512 scale = _mm512_castsi512_ps(_mm512_set1_epi64((long long)apart));
            const __m256i x = _mm256_maskz_loadu_epi16(m, codes + 2 * c);
            _mm512_mask_storeu_epi32(page + 4 * c, m, expand_codes(x, scale, scale));
        }
        codes += 2 * d_value;
        page += 4 * (size_t)d_value;
    }
}

#include "kernels/page_expand.h"
#endif
