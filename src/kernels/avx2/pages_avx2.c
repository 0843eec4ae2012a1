/* pages_avx2.c - cache pages: expanding rows, values of latent rows. */
#include "kernels/avx2/avx2_parts.h"
#include "kernels/avx2/avx2_vectors.h"
#include "kernels/page_rows.h"

enum { SLOTS = R2I_PAGE_TOKENS };

/* A line of 8 elements of 4 bytes, or zeros if it is not there. */
R2I_INLINE __m256i load_line(const uint8_t *p, int is_there) {
    return is_there ? r2i_load_i8x32(p) : _mm256_setzero_si256();
}

R2I_INLINE void store_line(uint8_t *p, __m256i v, int32_t n_lanes) {
    if (n_lanes >= 8) {
        r2i_store_i8x32(p, v);
    } else {
        _mm256_maskstore_epi32((int *)(void *)p, r2i_first_lanes(n_lanes), v);
    }
}

/* n elements, a multiple of 32. */
static void expand_f16(uint8_t *to, const uint8_t *from, size_t n) {
    float *y = (float *)(void *)to;
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(y + i, r2i_f32x8_from_f16(from + 2 * i));
}

/* 8 pairs of codes times their scales, as pairs of BF16.  Scales are NaN, 0 or far from the limits of
 * F32, so that adding to the bits is all that rounding needs. */
R2I_INLINE __m256i expand_pairs(__m128i codes, __m256 even_scale, __m256 odd_scale) {
    const __m256i words = _mm256_cvtepi8_epi16(codes), one = _mm256_set1_epi32(1);
    const __m256i bias = _mm256_set1_epi32(0x7fff);
    const __m256i even = _mm256_srai_epi32(_mm256_slli_epi32(words, 16), 16);
    const __m256i odd = _mm256_srai_epi32(words, 16);
    __m256i a = _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(even), even_scale));
    __m256i b = _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(odd), odd_scale));
    const __m256i up_a = _mm256_and_si256(_mm256_srli_epi32(a, 16), one);
    const __m256i up_b = _mm256_and_si256(_mm256_srli_epi32(b, 16), one);
    a = _mm256_add_epi32(_mm256_add_epi32(a, bias), up_a);
    b = _mm256_add_epi32(_mm256_add_epi32(b, bias), up_b);
    return _mm256_blend_epi16(b, _mm256_srli_epi32(a, 16), 0x55);
}

static void expand_keys_q8(uint8_t *page, const uint8_t *stored, int32_t n_slots, int32_t d_key) {
    for (int32_t c = 0; c < d_key; c += R2I_Q8_GROUP) {
        const uint8_t *scales = stored + r2i_q8_key_scale_at(c / R2I_Q8_GROUP);
        const int32_t n_pairs = d_key - c < R2I_Q8_GROUP ? (d_key - c + 1) / 2 : R2I_Q8_GROUP / 2;
        uint8_t *to = page + 2 * (size_t)c * SLOTS;
        for (int32_t slot = 0; slot < n_slots; slot += 8) {
            const uint8_t *from = scales + 2 * slot;
            const __m256i bits = _mm256_cvtepu16_epi32(r2i_load_i8x16(from));
            const __m256 scale = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
            for (int32_t i = 0; i < n_pairs; i++) {
                from += R2I_Q8_KEY_LINE;
                r2i_store_i8x32(to + 4 * (i * SLOTS + slot),
                                expand_pairs(r2i_load_i8x16(from), scale, scale));
            }
        }
    }
}

/* 8 pairs of codes, or the first n of them. */
R2I_INLINE __m128i load_codes(const uint8_t *p, int32_t n) {
    if (n >= 8) return r2i_load_i8x16(p);
    uint8_t some[16] = { 0 };
    memcpy(some, p, 2 * (size_t)n);
    return r2i_load_i8x16(some);
}

static void expand_values_q8(uint8_t *page, const uint8_t *stored, int32_t n_slots,
                             int32_t d_value) {
    const uint8_t *codes = stored + r2i_q8_value_code_at(0, d_value);
    for (int32_t pair = 0; pair < n_slots / 2; pair++) {
        const uint8_t *scales = stored + r2i_q8_value_scale_at(pair, 0, d_value);
        for (int32_t c = 0; c < d_value; c += 8) {
            uint32_t both;
            memcpy(&both, scales + 4 * (c / R2I_Q8_GROUP), sizeof both);
            const __m256 even = _mm256_castsi256_ps(_mm256_set1_epi32((int)(both << 16)));
            const __m256 odd = _mm256_castsi256_ps(_mm256_set1_epi32((int)(both & 0xffff0000u)));
            const __m128i x = load_codes(codes + 2 * c, d_value - c);
            store_line(page + 4 * c, expand_pairs(x, even, odd), d_value - c);
        }
        codes += 2 * d_value;
        page += 4 * (size_t)d_value;
    }
}

#include "kernels/page_expand.h"

/* 4 x 4 matrix of 64-bit elements, rows to columns. */
R2I_INLINE void transpose_pairs(__m256i v[4]) {
    const __m256i a = _mm256_unpacklo_epi64(v[0], v[1]), b = _mm256_unpackhi_epi64(v[0], v[1]);
    const __m256i c = _mm256_unpacklo_epi64(v[2], v[3]), d = _mm256_unpackhi_epi64(v[2], v[3]);
    v[0] = _mm256_permute2x128_si256(a, c, 0x20);
    v[1] = _mm256_permute2x128_si256(b, d, 0x20);
    v[2] = _mm256_permute2x128_si256(a, c, 0x31);
    v[3] = _mm256_permute2x128_si256(b, d, 0x31);
}

/* 8 x 8 matrix of 32-bit elements, rows to columns. */
R2I_INLINE void transpose_elements(__m256i v[8]) {
    __m256i even[4], odd[4];
    R2I_UNROLL
    for (int i = 0; i < 4; i++) { /* columns 0, 1, 4, 5 and 2, 3, 6, 7 of rows 2i, 2i + 1 */
        even[i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        odd[i] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    transpose_pairs(even);
    transpose_pairs(odd);
    R2I_UNROLL
    for (int i = 0; i < 2; i++) {
        v[i] = even[i];
        v[2 + i] = odd[i];
        v[4 + i] = even[2 + i];
        v[6 + i] = odd[2 + i];
    }
}

/* Values of 8 tokens from slot on of latent rows, line by line. */
static void latent_f32(uint8_t *values, const uint8_t *keys, int32_t slot, int32_t d) {
    for (int32_t c = 0; c < d; c += 8) {
        const uint8_t *from = keys + 4 * ((size_t)c * SLOTS + (size_t)slot);
        uint8_t *to = values + 4 * ((size_t)slot * (size_t)d + (size_t)c);
        __m256i v[8];
        R2I_UNROLL
        for (int i = 0; i < 8; i++)
            v[i] = load_line(from + 4 * (size_t)i * SLOTS, c + i < d);
        transpose_elements(v);
        R2I_UNROLL
        for (int i = 0; i < 8; i++)
            store_line(to + 4 * (size_t)i * (size_t)d, v[i], d - c);
    }
}

/* The same in BF16: 64 bits hold two tokens of two channels, in keys channel by channel, in values
 * token by token, so the words inside change places too. */
static void latent_bf16(uint8_t *values, const uint8_t *keys, int32_t slot, int32_t d) {
    const __m256i swap = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    for (int32_t c = 0; c < d; c += 8) {
        const uint8_t *from = keys + 4 * ((size_t)(c / 2) * SLOTS + (size_t)slot);
        uint8_t *to = values + 4 * ((size_t)(slot / 2) * (size_t)d + (size_t)c);
        __m256i v[4];
        R2I_UNROLL
        for (int i = 0; i < 4; i++) {
            v[i] = load_line(from + 4 * (size_t)i * SLOTS, c + 2 * i < d);
            v[i] = _mm256_shuffle_epi8(v[i], swap);
        }
        transpose_pairs(v);
        R2I_UNROLL
        for (int i = 0; i < 4; i++)
            store_line(to + 4 * (size_t)i * (size_t)d, v[i], d - c);
    }
}

static void latent_values(r2i_row_kind kind, uint8_t *value_page, const uint8_t *key_page,
                          int32_t n_slots, int32_t d_value) {
    const int32_t end = r2i_page_slots(n_slots);
    for (int32_t slot = 0; slot < end; slot += 8) {
        if (kind == R2I_ROWS_F32) {
            latent_f32(value_page, key_page, slot, d_value);
        } else {
            latent_bf16(value_page, key_page, slot, d_value);
        }
    }
}

void r2i_avx2_add_pages(r2i_kernels *kernels) {
    add_expand(kernels);
    kernels->latent_values = latent_values;
}
