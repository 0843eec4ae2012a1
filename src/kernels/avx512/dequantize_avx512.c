/* dequantize_avx512.c - values of stored rows of the types that models are made of, 16 at a time; the order
 * of the operations, and so every bit, is that of ../dequantize.c: (scale * code) + minimum. */
#include <immintrin.h>
#include <string.h>

#include "kernels/avx512/levels_avx512.h"

static inline float half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h)));
}

static inline void store_plain(float *y, __m512i code, __m512 scale) {
    _mm512_storeu_ps(y, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(code)));
}

static inline void store_shifted(float *y, __m512i code, __m512 scale, __m512 minimum) {
    _mm512_storeu_ps(y, _mm512_add_ps(_mm512_mul_ps(scale, _mm512_cvtepi32_ps(code)), minimum));
}

static inline __m512i bytes_at(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline __m512i low_nibbles(__m512i bytes) {
    return _mm512_and_si512(bytes, _mm512_set1_epi32(15));
}

/* `code` with 16 more where a bit is set. */
static inline __m512i add_fifth(__m512i code, __mmask16 bits) {
    return _mm512_mask_or_epi32(code, bits, code, _mm512_set1_epi32(16));
}

/* ---- blocks of 32 ---- */

static void dequantize_q4_0(float *y, const uint8_t *row, int32_t n) {
    const __m512i offset = _mm512_set1_epi32(8);
    for (int32_t i = 0; i < n; i += 32, row += 18) {
        const __m512 d = _mm512_set1_ps(half_at(row));
        const __m512i q = bytes_at(row + 2);
        store_plain(y + i, _mm512_sub_epi32(low_nibbles(q), offset), d);
        store_plain(y + i + 16, _mm512_sub_epi32(_mm512_srli_epi32(q, 4), offset), d);
    }
}

static void dequantize_q4_1(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i += 32, row += 20) {
        const __m512 d = _mm512_set1_ps(half_at(row)), m = _mm512_set1_ps(half_at(row + 2));
        const __m512i q = bytes_at(row + 4);
        store_shifted(y + i, low_nibbles(q), d, m);
        store_shifted(y + i + 16, _mm512_srli_epi32(q, 4), d, m);
    }
}

static inline uint32_t word_at(const uint8_t *p) {
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static void dequantize_q5_0(float *y, const uint8_t *row, int32_t n) {
    const __m512i offset = _mm512_set1_epi32(16);
    for (int32_t i = 0; i < n; i += 32, row += 22) {
        const __m512 d = _mm512_set1_ps(half_at(row));
        const uint32_t fifth = word_at(row + 2);
        const __m512i q = bytes_at(row + 6), low = add_fifth(low_nibbles(q), (__mmask16)fifth),
                      high = add_fifth(_mm512_srli_epi32(q, 4), (__mmask16)(fifth >> 16));
        store_plain(y + i, _mm512_sub_epi32(low, offset), d);
        store_plain(y + i + 16, _mm512_sub_epi32(high, offset), d);
    }
}

static void dequantize_q5_1(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i += 32, row += 24) {
        const __m512 d = _mm512_set1_ps(half_at(row)), m = _mm512_set1_ps(half_at(row + 2));
        const uint32_t fifth = word_at(row + 4);
        const __m512i q = bytes_at(row + 8);
        store_shifted(y + i, add_fifth(low_nibbles(q), (__mmask16)fifth), d, m);
        store_shifted(y + i + 16, add_fifth(_mm512_srli_epi32(q, 4), (__mmask16)(fifth >> 16)), d,
                      m);
    }
}

static void dequantize_q8_0(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i += 32, row += 34) {
        const __m512 d = _mm512_set1_ps(half_at(row));
        for (int32_t k = 0; k < 32; k += 16) {
            const __m128i q = _mm_loadu_si128((const __m128i *)(const void *)(row + 2 + k));
            store_plain(y + i + k, _mm512_cvtepi8_epi32(q), d);
        }
    }
}

/* ---- blocks of 256 ---- */

/* Scale and minimum number k of eight, six bits each in twelve bytes. */
static inline void scale_of(const uint8_t *s, int k, float d, float m, __m512 *scale,
                            __m512 *minimum) {
    const int sc = k < 4 ? s[k] & 63 : (s[k + 4] & 15) | s[k - 4] >> 6 << 4,
              mn = k < 4 ? s[k + 4] & 63 : s[k + 4] >> 4 | s[k] >> 6 << 4;
    *scale = _mm512_set1_ps(d * (float)sc);
    *minimum = _mm512_set1_ps(-(m * (float)mn));
}

/* Q4_K, or Q5_K with a fifth bit of each code: bit k of byte l is that of column 32 k + l. */
static inline void dequantize_45(float *y, const uint8_t *block, bool has_fifth) {
    const float d = half_at(block), m = half_at(block + 2);
    const uint8_t *q = block + (has_fifth ? 48 : 16);
    for (int k = 0; k < 8; k++) {
        __m512 scale, minimum;
        scale_of(block + 4, k, d, m, &scale, &minimum);
        for (int half = 0; half < 32; half += 16) {
            const __m512i bytes = bytes_at(q + 32 * (k / 2) + half);
            __m512i code = k % 2 == 0 ? low_nibbles(bytes) : _mm512_srli_epi32(bytes, 4);
            if (has_fifth)
                code = add_fifth(code, _mm512_test_epi32_mask(bytes_at(block + 16 + half),
                                                              _mm512_set1_epi32(1 << k)));
            store_shifted(y + 32 * k + half, code, scale, minimum);
        }
    }
}

static void dequantize_q4_k(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i += 256, row += 144)
        dequantize_45(y + i, row, false);
}

static void dequantize_q5_k(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i += 256, row += 176)
        dequantize_45(y + i, row, true);
}

/* In each half of 128 columns: nibbles of 64 bytes, and two more bits in 32. */
static void dequantize_q6_k(float *y, const uint8_t *row, int32_t n) {
    const __m512i offset = _mm512_set1_epi32(32);
    for (int32_t i = 0; i < n; i += 256, row += 210) {
        const float d = half_at(row + 208);
        for (int c = 0; c < 256; c += 16) {
            const int half = c / 128, at = c % 128;
            const __m512i bytes = bytes_at(row + 64 * half + at % 64),
                          low = at < 64 ? low_nibbles(bytes) : _mm512_srli_epi32(bytes, 4),
                          two = _mm512_and_si512(
                              _mm512_srlv_epi32(bytes_at(row + 128 + 32 * half + at % 32),
                                                _mm512_set1_epi32(at / 32 * 2)),
                              _mm512_set1_epi32(3));
            const __m512i code = _mm512_or_si512(low, _mm512_slli_epi32(two, 4));
            const float scale = d * (float)(int8_t)row[192 + c / 16];
            store_plain(y + i + c, _mm512_sub_epi32(code, offset), _mm512_set1_ps(scale));
        }
    }
}

void r2i_avx512_add_dequantize(r2i_kernels *kernels) {
    kernels->dequantize[R2I_TYPE_Q4_0] = dequantize_q4_0;
    kernels->dequantize[R2I_TYPE_Q4_1] = dequantize_q4_1;
    kernels->dequantize[R2I_TYPE_Q5_0] = dequantize_q5_0;
    kernels->dequantize[R2I_TYPE_Q5_1] = dequantize_q5_1;
    kernels->dequantize[R2I_TYPE_Q8_0] = dequantize_q8_0;
    kernels->dequantize[R2I_TYPE_Q4_K] = dequantize_q4_k;
    kernels->dequantize[R2I_TYPE_Q5_K] = dequantize_q5_k;
    kernels->dequantize[R2I_TYPE_Q6_K] = dequantize_q6_k;
}
