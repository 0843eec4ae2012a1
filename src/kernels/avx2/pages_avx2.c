/* pages_avx2.c - cache pages: values of latent rows. */
#include "kernels/avx2/avx2_parts.h"
#include "kernels/avx2/avx2_vectors.h"

enum { SLOTS = R2I_PAGE_TOKENS, SLOT_STEP = 32 };

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
    const int32_t end = (n_slots + SLOT_STEP - 1) / SLOT_STEP * SLOT_STEP;
    for (int32_t slot = 0; slot < end; slot += 8) {
        if (kind == R2I_ROWS_F32) {
            latent_f32(value_page, key_page, slot, d_value);
        } else {
            latent_bf16(value_page, key_page, slot, d_value);
        }
    }
}

void r2i_avx2_add_pages(r2i_kernels *kernels) {
    kernels->latent_values = latent_values;
}
