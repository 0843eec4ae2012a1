/* quant_slab_avx2.h - unpacks up to 256 columns of a quantized panel into one plain form.
 *
 * A SLAB is what the multiplying loop reads, the same for every type, so that loop exists once:
 *   codes    [n_groups][8 vectors of 64 bytes], unsigned (see CODE VECTOR in panel_formats.h)
 *   scale    [parts][16] f32, one row of 16 per group of 32 columns, or per half of 16
 *   minimum  the same for types that have one
 *   pairs    [parts][16] two int16: the sum of code - offset, and the offset, which times a start
 *            (act_rows.h) is what an int32 sum begins with
 * A slab lives in L1 and serves every token of the call, so unpacking costs little per token. */
#ifndef R2I_QUANT_SLAB_AVX2_H
#define R2I_QUANT_SLAB_AVX2_H
#include "kernels/avx2/avx2_vectors.h"
#include "kernels/panel_formats.h"

enum { SLAB_GROUPS = 8 };

typedef struct {
    _Alignas(64) uint8_t unpacked[SLAB_GROUPS * R2I_CODES8_BYTES];
    _Alignas(64) float scale[2 * SLAB_GROUPS][16];
    _Alignas(64) float minimum[2 * SLAB_GROUPS][16];
    _Alignas(64) int32_t pairs[2 * SLAB_GROUPS][16];
    const uint8_t *codes; /* `unpacked`, or the panel itself where bytes need no unpacking */
    size_t group_bytes;   /* from one group's codes to the next's */
} slab;

/* --- codes of one group of 32 columns ------------------------------------------------------- */

/* Bits `from`.. of each byte moved to bit `to`.. and masked.  16-bit shifts do for bytes because
 * the mask throws away what crossed from the neighbour. */
R2I_INLINE __m256i bits_moved(__m256i v, int from, int to, int mask) {
    const __m256i moved =
        from > to ? _mm256_srli_epi16(v, from - to) : _mm256_slli_epi16(v, to - from);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)mask));
}

typedef enum {
    CODES_NIBBLE,
    CODES_NIBBLE_PLANE1,
    CODES_NIBBLE_PLANE2,
    CODES_IQ4,
    CODES_FP4
} nibble_kind;

R2I_INLINE __m256i look_up(__m256i nibbles, nibble_kind kind) {
    if (kind == CODES_IQ4) {
        static const uint8_t table[16] = { R2I_IQ4_CODES };
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(r2i_load_i8x16(table)), nibbles);
    }
    if (kind == CODES_FP4) {
        static const uint8_t table[16] = { R2I_FP4_CODES };
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(r2i_load_i8x16(table)), nibbles);
    }
    return nibbles;
}

/* The bits above the nibble of group g; `plane` points to this half (32 bytes) of its vector 0. */
R2I_INLINE __m256i bits_above(const uint8_t *plane, int g, nibble_kind kind) {
    if (kind == CODES_NIBBLE_PLANE1) return bits_moved(r2i_load_i8x32(plane), g, 4, 0x10);
    if (kind == CODES_NIBBLE_PLANE2) {
        return bits_moved(r2i_load_i8x32(plane + g / 4 * 64), g % 4 * 2, 4, 0x30);
    }
    return _mm256_setzero_si256();
}

R2I_INLINE void unpack_nibbles(uint8_t *codes, const uint8_t *field, nibble_kind kind) {
    const uint8_t *plane = field + R2I_NIBBLES_BYTES;
    R2I_UNROLL
    for (int i = 0; i < 8; i++) { /* vector i/2, half i%2 */
        const int v = i / 2, at = 32 * (i % 2);
        const __m256i raw = r2i_load_i8x32(field + 64 * v + at);
        const __m256i low = look_up(bits_moved(raw, 0, 0, 15), kind);
        const __m256i high = look_up(bits_moved(raw, 4, 0, 15), kind);
        r2i_store_i8x32(codes + 64 * v + at, _mm256_or_si256(low, bits_above(plane + at, v, kind)));
        r2i_store_i8x32(codes + 64 * (v + 4) + at,
                        _mm256_or_si256(high, bits_above(plane + at, v + 4, kind)));
    }
}

/* Two bits per code from plane2 and, for Q3_K, a third one from the plane1 behind it. */
R2I_INLINE void unpack_planes(uint8_t *codes, const uint8_t *field, int has_third) {
    R2I_UNROLL
    for (int i = 0; i < 16; i++) { /* group i/2, half i%2 */
        const int g = i / 2, at = 32 * (i % 2);
        __m256i code = bits_moved(r2i_load_i8x32(field + g / 4 * 64 + at), g % 4 * 2, 0, 3);
        if (has_third) {
            const __m256i plane = r2i_load_i8x32(field + R2I_PLANE2_BYTES + at);
            code = _mm256_or_si256(code, bits_moved(plane, g, 2, 4));
        }
        r2i_store_i8x32(codes + 64 * g + at, code);
    }
}

/* Pairs of one part of `n_steps` groups of four columns.  16-bit sums hold 8 * 2 * 255. */
R2I_INLINE void weigh_codes(int32_t pairs[16], const uint8_t *codes, const int n_steps,
                            int offset) {
    const __m256i ones_8 = _mm256_set1_epi8(1), ones_16 = _mm256_set1_epi16(1);
    const __m256i total = _mm256_set1_epi32(4 * n_steps * offset);
    const __m256i high = _mm256_set1_epi32(offset << 16), low = _mm256_set1_epi32(0xffff);
    R2I_UNROLL
    for (int half = 0; half < 2; half++) {
        __m256i sum = _mm256_setzero_si256();
        R2I_UNROLL
        for (int step = 0; step < n_steps; step++) {
            const __m256i code = r2i_load_i8x32(codes + 64 * step + 32 * half);
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(code, ones_8));
        }
        const __m256i weight = _mm256_sub_epi32(_mm256_madd_epi16(sum, ones_16), total);
        r2i_store_i8x32(pairs + 8 * half, _mm256_or_si256(_mm256_and_si256(weight, low), high));
    }
}

/* After the codes of all n_groups groups are there. */
R2I_INLINE void weigh_slab(slab *s, int n_groups, int has_halves, int offset) {
    for (int g = 0; g < n_groups; g++) {
        const uint8_t *codes = s->codes + (size_t)g * s->group_bytes;
        if (has_halves) {
            weigh_codes(s->pairs[2 * g], codes, 4, offset);
            weigh_codes(s->pairs[2 * g + 1], codes + 256, 4, offset);
        } else {
            weigh_codes(s->pairs[g], codes, 8, offset);
        }
    }
}

/* --- scales --------------------------------------------------------------------------------- */

R2I_INLINE void scales_from_f16(float scale[16], const uint8_t *field) {
    _mm256_store_ps(scale, r2i_f32x8_from_f16(field));
    _mm256_store_ps(scale + 8, r2i_f32x8_from_f16(field + 16));
}

/* f16 d[16] times 16 small integers; `sign` -1 for minima. */
R2I_INLINE void scales_from_product(float scale[16], __m256 d0, __m256 d1, __m128i factors,
                                    int is_signed) {
    const __m128i upper = _mm_unpackhi_epi64(factors, factors);
    const __m256 f0 = is_signed ? r2i_f32x8_from_i8(factors) : r2i_f32x8_from_u8(factors);
    const __m256 f1 = is_signed ? r2i_f32x8_from_i8(upper) : r2i_f32x8_from_u8(upper);
    _mm256_store_ps(scale, _mm256_mul_ps(d0, f0));
    _mm256_store_ps(scale + 8, _mm256_mul_ps(d1, f1));
}

R2I_INLINE __m256 negated(__m256 v) {
    return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
}

R2I_INLINE __m128i nibble_of(__m128i bytes, int which) {
    const __m128i moved = which ? _mm_srli_epi16(bytes, 4) : bytes;
    return _mm_and_si128(moved, _mm_set1_epi8(15));
}
R2I_INLINE __m128i two_bits_of(__m128i bytes, int at) {
    return _mm_and_si128(_mm_srl_epi16(bytes, _mm_cvtsi32_si128(at)), _mm_set1_epi8(3));
}
R2I_INLINE __m128i six_bits(__m128i low_4, __m128i high_2) {
    return _mm_or_si128(low_4, _mm_slli_epi16(high_2, 4));
}

/* Q4_K, Q5_K: low[8][16] | high[4][16] | d | dmin. */
R2I_INLINE void scales_of_k45(slab *s, const uint8_t *field) {
    const uint8_t *d = field + 8 * 16 + 4 * 16, *dmin = d + 32;
    const __m256 d0 = r2i_f32x8_from_f16(d), d1 = r2i_f32x8_from_f16(d + 16);
    const __m256 m0 = negated(r2i_f32x8_from_f16(dmin)),
                 m1 = negated(r2i_f32x8_from_f16(dmin + 16));
    for (int i = 0; i < 8; i++) {
        const __m128i low = r2i_load_i8x16(field + 16 * i);
        const __m128i high = nibble_of(r2i_load_i8x16(field + 128 + 16 * (i / 2)), i % 2);
        const __m128i sc = six_bits(nibble_of(low, 0), two_bits_of(high, 0));
        const __m128i mn = six_bits(nibble_of(low, 1), two_bits_of(high, 2));
        scales_from_product(s->scale[i], d0, d1, sc, 0);
        scales_from_product(s->minimum[i], m0, m1, mn, 0);
    }
}

/* 2^(e-128) without a table: an exponent field of e - 1, or a subnormal for e < 2. */
R2I_INLINE __m256 power_of_two(__m128i low_8) {
    const __m256i e = _mm256_cvtepu8_epi32(low_8);
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    const __m256i is_normal = _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1));
    return _mm256_castsi256_ps(_mm256_blendv_epi8(subnormal, normal, is_normal));
}

/* --- whole types: `n_groups` groups of 32 columns starting at `block` ------------------------- */

R2I_INLINE void unpack_simple(slab *s, const uint8_t *block, int n_groups, nibble_kind kind,
                              int has_min) {
    const int n_code_bytes =
        R2I_NIBBLES_BYTES + (kind == CODES_NIBBLE_PLANE1 ? R2I_PLANE1_BYTES : 0);
    const int n_bytes = n_code_bytes + (has_min ? 64 : kind == CODES_FP4 ? 16 : 32);
    s->codes = s->unpacked;
    s->group_bytes = R2I_CODES8_BYTES;
    for (int i = 0; i < n_groups; i++) {
        const uint8_t *at = block + (ptrdiff_t)i * n_bytes, *d = at + n_code_bytes;
        unpack_nibbles(s->unpacked + i * R2I_CODES8_BYTES, at, kind);
        if (kind == CODES_FP4) {
            const __m128i e = r2i_load_i8x16(d);
            _mm256_store_ps(s->scale[i], power_of_two(e));
            _mm256_store_ps(s->scale[i] + 8, power_of_two(_mm_unpackhi_epi64(e, e)));
        } else {
            scales_from_f16(s->scale[i], d);
        }
        if (has_min) scales_from_f16(s->minimum[i], d + 32);
    }
}

static inline void unpack_q4_0(slab *s, const uint8_t *b, int n) {
    unpack_simple(s, b, n, CODES_NIBBLE, 0);
}
static inline void unpack_q4_1(slab *s, const uint8_t *b, int n) {
    unpack_simple(s, b, n, CODES_NIBBLE, 1);
}
static inline void unpack_q5_0(slab *s, const uint8_t *b, int n) {
    unpack_simple(s, b, n, CODES_NIBBLE_PLANE1, 0);
}
static inline void unpack_q5_1(slab *s, const uint8_t *b, int n) {
    unpack_simple(s, b, n, CODES_NIBBLE_PLANE1, 1);
}
static inline void unpack_iq4_nl(slab *s, const uint8_t *b, int n) {
    unpack_simple(s, b, n, CODES_IQ4, 0);
}
static inline void unpack_mxfp4(slab *s, const uint8_t *b, int n) {
    unpack_simple(s, b, n, CODES_FP4, 0);
}

/* Codes are bytes already: only the scales move. */
static inline void unpack_q8_0(slab *s, const uint8_t *block, int n_groups) {
    s->codes = block;
    s->group_bytes = R2I_CODES8_BYTES + 32;
    for (int i = 0; i < n_groups; i++) {
        scales_from_f16(s->scale[i], block + (size_t)i * s->group_bytes + R2I_CODES8_BYTES);
    }
}

R2I_INLINE void unpack_code_fields(slab *s, const uint8_t *block, nibble_kind kind,
                                   int field_bytes) {
    s->codes = s->unpacked;
    s->group_bytes = R2I_CODES8_BYTES;
    for (int i = 0; i < SLAB_GROUPS; i++) {
        unpack_nibbles(s->unpacked + i * R2I_CODES8_BYTES, block + i * field_bytes, kind);
    }
}

static inline void unpack_q4_k(slab *s, const uint8_t *block, int n_groups) {
    (void)n_groups;
    unpack_code_fields(s, block, CODES_NIBBLE, 256);
    scales_of_k45(s, block + 8 * 256);
}

static inline void unpack_q5_k(slab *s, const uint8_t *block, int n_groups) {
    (void)n_groups;
    unpack_code_fields(s, block, CODES_NIBBLE_PLANE1, 320);
    scales_of_k45(s, block + 8 * 320);
}

static inline void unpack_q6_k(slab *s, const uint8_t *block, int n_groups) {
    (void)n_groups;
    unpack_code_fields(s, block, CODES_NIBBLE_PLANE2, 384);
    const uint8_t *sc = block + 8 * 384, *d = sc + 256;
    const __m256 d0 = r2i_f32x8_from_f16(d), d1 = r2i_f32x8_from_f16(d + 16);
    for (int k = 0; k < 16; k++) {
        scales_from_product(s->scale[k], d0, d1, r2i_load_i8x16(sc + 16 * k), 1);
    }
}

static inline void unpack_q2_k(slab *s, const uint8_t *block, int n_groups) {
    (void)n_groups;
    s->codes = s->unpacked;
    s->group_bytes = R2I_CODES8_BYTES;
    for (int i = 0; i < SLAB_GROUPS; i++) {
        unpack_planes(s->unpacked + i * R2I_CODES8_BYTES, block + i * R2I_PLANE2_BYTES, 0);
    }
    const uint8_t *sc = block + 8 * R2I_PLANE2_BYTES, *d = sc + 256, *dmin = d + 32;
    const __m256 d0 = r2i_f32x8_from_f16(d), d1 = r2i_f32x8_from_f16(d + 16);
    const __m256 m0 = negated(r2i_f32x8_from_f16(dmin)),
                 m1 = negated(r2i_f32x8_from_f16(dmin + 16));
    for (int k = 0; k < 16; k++) {
        const __m128i both = r2i_load_i8x16(sc + 16 * k);
        scales_from_product(s->scale[k], d0, d1, nibble_of(both, 0), 0);
        scales_from_product(s->minimum[k], m0, m1, nibble_of(both, 1), 0);
    }
}

/* Scales of 6 bits stored less 32: factor k from nibble k%2 of low[k/2] and two bits of high[k/4].
 */
R2I_INLINE void scales_of_offset_32(slab *s, const uint8_t *low, int n_scales) {
    const uint8_t *high = low + 8 * n_scales, *d = high + 4 * n_scales;
    const __m256 d0 = r2i_f32x8_from_f16(d), d1 = r2i_f32x8_from_f16(d + 16);
    for (int k = 0; k < n_scales; k++) {
        const __m128i low_4 = nibble_of(r2i_load_i8x16(low + 16 * (k / 2)), k % 2);
        const __m128i high_2 = two_bits_of(r2i_load_i8x16(high + 16 * (k / 4)), k % 4 * 2);
        const __m128i factor = _mm_sub_epi8(six_bits(low_4, high_2), _mm_set1_epi8(32));
        scales_from_product(s->scale[k], d0, d1, factor, 1);
    }
}

static inline void unpack_q3_k(slab *s, const uint8_t *block, int n_groups) {
    const int field_bytes = R2I_PLANE2_BYTES + R2I_PLANE1_BYTES;
    (void)n_groups;
    s->codes = s->unpacked;
    s->group_bytes = R2I_CODES8_BYTES;
    for (int i = 0; i < SLAB_GROUPS; i++) {
        unpack_planes(s->unpacked + i * R2I_CODES8_BYTES, block + i * field_bytes, 1);
    }
    scales_of_offset_32(s, block + 8 * field_bytes, 16);
}

static inline void unpack_iq4_xs(slab *s, const uint8_t *block, int n_groups) {
    (void)n_groups;
    unpack_code_fields(s, block, CODES_IQ4, 256);
    scales_of_offset_32(s, block + 8 * 256, 8);
}
#endif
