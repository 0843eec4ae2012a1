/* attend_avx512.c - the attention cache: storing rows, attending to pages, merging chunks. */
#include <string.h>

#include "kernels/avx512/attend_pages_avx512.h"
#include "kernels/avx512/levels_avx512.h"

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

static void store_row(r2i_row_kind kind, uint8_t *key_page, uint8_t *value_page, int32_t slot,
                      const float *key, const float *value, int32_t d_key, int32_t d_value) {
    if (kind == R2I_ROWS_F32) {
        store_f32(key_page, value_page, slot, key, value, d_key, d_value);
        return;
    }
    store_key_bf16(key_page, slot, key, d_key);
    store_value_bf16(value_page, slot, value, d_value);
}

static void attend_merge(float *max_a, float *sum_a, float *out_a, float max_b, float sum_b,
                         const float *out_b, int32_t d) {
    const float m = max_b > *max_a ? max_b : *max_a, base = m == -INFINITY ? 0.0f : m;
    const float keep = exp_one_avx512(*max_a - base), add = exp_one_avx512(max_b - base);
    const __m512 a = _mm512_set1_ps(keep), b = _mm512_set1_ps(add);
    for (int32_t i = 0; i < d; i += 16) {
        const __mmask16 lanes = lanes_avx512(d - i);
        const __m512 kept = _mm512_mul_ps(a, _mm512_maskz_loadu_ps(lanes, out_a + i));
        const __m512 sum = _mm512_fmadd_ps(b, _mm512_maskz_loadu_ps(lanes, out_b + i), kept);
        _mm512_mask_storeu_ps(out_a + i, lanes, sum);
    }
    *sum_a = fmaf(add, sum_b, keep * *sum_a);
    *max_a = m;
}

void r2i_avx512_add_attend(r2i_kernels *kernels) {
    kernels->store_row = store_row;
    kernels->attend = attend;
    kernels->attend_merge = attend_merge;
}
