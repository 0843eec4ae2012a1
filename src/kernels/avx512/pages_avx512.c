/* pages_avx512.c - cache pages: storing rows, expanding them, values of latent rows. */
#include <string.h>

#include "kernels/avx512/expand_avx512.h"
#include "kernels/avx512/levels_avx512.h"
#include "kernels/avx512/transpose_avx512.h"
#include "kernels/page_rows.h"

/* Writes 4-byte elements of a channel or a pair of channels: stride R2I_PAGE_TOKENS. */
static void scatter(uint8_t *page, int32_t slot, int32_t step, __mmask16 m, __m512i elements) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i at = _mm512_slli_epi32(lane, 7); /* R2I_PAGE_TOKENS == 1 << 7 */
    uint8_t *first = page + 4 * ((size_t)step * R2I_PAGE_TOKENS + (size_t)slot);
    _mm512_mask_i32scatter_epi32(first, m, at, elements, 4);
}

static void store_f32(uint8_t *key_page, uint8_t *value_page, int32_t slot, const float *key,
                      const float *value, int32_t d_key, int32_t d_value) {
    for (int32_t i = 0; i < d_key; i += 16) {
        const __mmask16 m = lanes_avx512(d_key - i);
        scatter(key_page, slot, i, m, _mm512_maskz_loadu_epi32(m, key + i));
    }
    if (d_value == 0) return;
    memcpy(value_page + 4 * (size_t)slot * (size_t)d_value, value, 4 * (size_t)d_value);
}

static void store_key_bf16(uint8_t *page, int32_t slot, const float *key, int32_t d_key) {
    for (int32_t i = 0; i < d_key; i += 32) {
        const __m512 low = _mm512_maskz_loadu_ps(lanes_avx512(d_key - i), key + i);
        const __m512 high = _mm512_maskz_loadu_ps(lanes_avx512(d_key - i - 16), key + i + 16);
        const __m512i pairs = _mm512_inserti64x4(
            _mm512_castsi256_si512(_mm512_cvtepi32_epi16(round_bf16_avx512(low))),
            _mm512_cvtepi32_epi16(round_bf16_avx512(high)), 1);
        scatter(page, slot, i / 2, lanes_avx512((d_key - i + 1) / 2), pairs);
    }
}

/* Values lie in pairs of tokens.  Only this token's half is written, because another thread may be
 * writing the other half. */
static void store_value_bf16(uint8_t *page, int32_t slot, const float *value, int32_t d_value) {
    const __mmask32 half = slot % 2 == 0 ? 0x55555555u : 0xaaaaaaaau;
    uint8_t *y = page + 4 * (size_t)(slot / 2) * (size_t)d_value;
    for (int32_t i = 0; i < d_value; i += 16) {
        const __mmask16 m = lanes_avx512(d_value - i);
        const __mmask32 in_row = i + 16 <= d_value ? 0xffffffffu : (1u << 2 * (d_value - i)) - 1u;
        const __m512i bits = round_bf16_avx512(_mm512_maskz_loadu_ps(m, value + i));
        const __m512i both = _mm512_or_si512(bits, _mm512_slli_epi32(bits, 16));
        _mm512_mask_storeu_epi16(y + 4 * (size_t)i, half & in_row, both);
    }
}

static inline __m256i round_f16(__m512 x) {
    const __m512 limit = _mm512_set1_ps(R2I_F16_MAX), least = _mm512_set1_ps(-R2I_F16_MAX);
    const __m512 kept = _mm512_max_ps(least, _mm512_min_ps(limit, x)); /* NaN passes */
    return _mm512_cvtps_ph(kept, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static void store_f16(uint8_t *key_page, uint8_t *value_page, int32_t slot, const float *key,
                      const float *value, int32_t d_key, int32_t d_value) {
    uint16_t *k = (uint16_t *)(void *)key_page + slot;
    for (int32_t i = 0; i < d_key; i += 16) {
        uint16_t bits[16];
        const int32_t n = d_key - i < 16 ? d_key - i : 16;
        _mm256_storeu_si256((__m256i *)(void *)bits,
                            round_f16(_mm512_maskz_loadu_ps(lanes_avx512(n), key + i)));
        for (int32_t j = 0; j < n; j++, k += R2I_PAGE_TOKENS)
            *k = bits[j];
    }
    for (int32_t i = 0; i < d_value; i += 16) {
        const __mmask16 m = lanes_avx512(d_value - i);
        uint8_t *y = value_page + 2 * ((size_t)slot * (size_t)d_value + (size_t)i);
        _mm256_mask_storeu_epi16(y, m, round_f16(_mm512_maskz_loadu_ps(m, value + i)));
    }
}

/* Codes of n <= 32 channels, 0 beyond them. */
static __m256i round_group(const float *x, int32_t n, uint16_t *scale) {
    const __m512 low = _mm512_maskz_loadu_ps(lanes_avx512(n), x),
                 high = _mm512_maskz_loadu_ps(lanes_avx512(n - 16), x + 16);
    const __m512i sign = _mm512_set1_epi32(0x7fffffff);
    const __m512i magnitude = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(low), sign),
                                               _mm512_and_si512(_mm512_castps_si512(high), sign));
    const r2i_q8_scale s = r2i_q8_scale_of(_mm512_reduce_max_epu32(magnitude));
    *scale = s.scale;
    if (s.inverse == 0.0f) return _mm256_setzero_si256();
    const __m512 inverse = _mm512_set1_ps(s.inverse);
    const __m128i a = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(low, inverse)));
    const __m128i b = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(high, inverse)));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}

static void store_key_q8(uint8_t *page, int32_t slot, const float *key, int32_t d_key) {
    for (int32_t i = 0; i < d_key; i += R2I_Q8_GROUP) {
        uint16_t scale, pairs[R2I_Q8_GROUP / 2];
        const int32_t n = d_key - i < R2I_Q8_GROUP ? d_key - i : R2I_Q8_GROUP;
        _mm256_storeu_si256((__m256i *)(void *)pairs, round_group(key + i, n, &scale));
        uint16_t *y = (uint16_t *)(void *)(page + r2i_q8_key_scale_at(i / R2I_Q8_GROUP)) + slot;
        *y = scale;
        for (int32_t j = 0; j < (n + 1) / 2; j++)
            *(y += R2I_PAGE_TOKENS) = pairs[j];
    }
}

static void store_value_q8(uint8_t *page, int32_t slot, const float *value, int32_t d_value) {
    const __mmask64 half = slot % 2 == 0 ? 0x5555555555555555u : 0xaaaaaaaaaaaaaaaau;
    uint8_t *y = page + r2i_q8_value_code_at(slot / 2, d_value);
    uint8_t *scales = page + r2i_q8_value_scale_at(slot / 2, 0, d_value) + 2 * (slot % 2);
    for (int32_t i = 0; i < d_value; i += R2I_Q8_GROUP, y += 2 * R2I_Q8_GROUP, scales += 4) {
        uint16_t scale;
        const int32_t n = d_value - i < R2I_Q8_GROUP ? d_value - i : R2I_Q8_GROUP;
        const __m512i codes = _mm512_cvtepu8_epi16(round_group(value + i, n, &scale));
        const __m512i both = _mm512_or_si512(codes, _mm512_slli_epi16(codes, 8));
        const __mmask64 in_row = n == R2I_Q8_GROUP ? ~(__mmask64)0 : ((__mmask64)1 << 2 * n) - 1;
        memcpy(scales, &scale, sizeof scale);
        _mm512_mask_storeu_epi8(y, half & in_row, both);
    }
}

static void store_row(r2i_row_kind kind, uint8_t *key_page, uint8_t *value_page, int32_t slot,
                      const float *key, const float *value, int32_t d_key, int32_t d_value) {
    switch (kind) {
    case R2I_ROWS_F32:
        store_f32(key_page, value_page, slot, key, value, d_key, d_value);
        break;
    case R2I_ROWS_F16:
        store_f16(key_page, value_page, slot, key, value, d_key, d_value);
        break;
    case R2I_ROWS_BF16:
        store_key_bf16(key_page, slot, key, d_key);
        if (d_value > 0) store_value_bf16(value_page, slot, value, d_value);
        break;
    case R2I_ROWS_Q8:
        store_key_q8(key_page, slot, key, d_key);
        if (d_value > 0) store_value_q8(value_page, slot, value, d_value);
        break;
    }
}

/* Values of 16 tokens of latent rows, F32: 16 lines of tokens become 16 lines of channels. */
static void latent_f32(uint8_t *values, const uint8_t *keys, int32_t slot, int32_t d) {
    for (int32_t c = 0; c < d; c += 16) {
        const int32_t n_rows = d - c < 16 ? d - c : 16;
        const __mmask16 lanes = lanes_avx512(d - c);
        __m512i v[16];
        const uint8_t *from = keys + 4 * ((size_t)c * R2I_PAGE_TOKENS + (size_t)slot);
        uint8_t *to = values + 4 * ((size_t)slot * (size_t)d + (size_t)c);
        UNROLL_AVX512
        for (int i = 0; i < 16; i++) {
            const __mmask16 is_row = i < n_rows ? 0xffff : 0;
            v[i] = _mm512_maskz_loadu_epi32(is_row, from + 4 * (size_t)i * R2I_PAGE_TOKENS);
        }
        transpose_avx512(v);
        UNROLL_AVX512
        for (int i = 0; i < 16; i++)
            _mm512_mask_storeu_epi32(to + 4 * (size_t)i * (size_t)d, lanes, v[i]);
    }
}

/* 8 x 8 matrix of 64-bit elements, rows to columns. */
static inline __attribute__((always_inline)) void transpose_pairs(__m512i v[8]) {
    __m512i t[8], u[8];
    UNROLL_AVX512
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_epi64(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi64(v[i], v[i + 1]);
    }
    /* t[2g + h], 128-bit lane l: column 2l + h of rows 2g, 2g+1. */
    UNROLL_AVX512
    for (int h = 0; h < 2; h++) {
        u[h] = _mm512_shuffle_i64x2(t[h], t[2 + h], 0x44);
        u[2 + h] = _mm512_shuffle_i64x2(t[4 + h], t[6 + h], 0x44);
        u[4 + h] = _mm512_shuffle_i64x2(t[h], t[2 + h], 0xee);
        u[6 + h] = _mm512_shuffle_i64x2(t[4 + h], t[6 + h], 0xee);
    }
    UNROLL_AVX512
    for (int h = 0; h < 2; h++) {
        v[h] = _mm512_shuffle_i64x2(u[h], u[2 + h], 0x88);
        v[2 + h] = _mm512_shuffle_i64x2(u[h], u[2 + h], 0xdd);
        v[4 + h] = _mm512_shuffle_i64x2(u[4 + h], u[6 + h], 0x88);
        v[6 + h] = _mm512_shuffle_i64x2(u[4 + h], u[6 + h], 0xdd);
    }
}

/* The same in BF16: 64 bits hold two tokens of two channels, in keys channel by channel, in values
 * token by token.  So both words change places inside, and 8 lines of 8 pairs of tokens become 8
 * lines of 8 pairs of channels. */
static void latent_bf16(uint8_t *values, const uint8_t *keys, int32_t slot, int32_t d) {
    const __m512i swap =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    for (int32_t c = 0; c < d; c += 16) {
        const int32_t n_rows = d - c < 16 ? (d - c + 1) / 2 : 8;
        const __mmask16 lanes = lanes_avx512(d - c);
        __m512i v[8];
        const uint8_t *from = keys + 4 * ((size_t)(c / 2) * R2I_PAGE_TOKENS + (size_t)slot);
        uint8_t *to = values + 4 * ((size_t)(slot / 2) * (size_t)d + (size_t)c);
        UNROLL_AVX512
        for (int i = 0; i < 8; i++) {
            const __mmask16 is_row = i < n_rows ? 0xffff : 0;
            v[i] = _mm512_maskz_loadu_epi32(is_row, from + 4 * (size_t)i * R2I_PAGE_TOKENS);
            v[i] = _mm512_shuffle_epi8(v[i], swap);
        }
        transpose_pairs(v);
        UNROLL_AVX512
        for (int i = 0; i < 8; i++)
            _mm512_mask_storeu_epi32(to + 4 * (size_t)i * (size_t)d, lanes, v[i]);
    }
}

/* Lines of values are written front to back, eight or sixteen beside each other: written down a column
 * of the page they would fall into two sets of L1, three times as slow (Zen 5). */
static void latent_values(r2i_row_kind kind, uint8_t *value_page, const uint8_t *key_page,
                          int32_t n_slots, int32_t d_value) {
    for (int32_t slot = 0; slot < r2i_page_slots(n_slots); slot += 16) {
        if (kind == R2I_ROWS_F32)
            latent_f32(value_page, key_page, slot, d_value);
        else
            latent_bf16(value_page, key_page, slot, d_value);
    }
}

void r2i_avx512_add_pages(r2i_kernels *kernels) {
    kernels->store_row = store_row;
    add_expand(kernels);
    kernels->latent_values = latent_values;
}
