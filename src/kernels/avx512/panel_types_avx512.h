/* panel_types_avx512.h - what tells one quantized layout from another.
 *
 * A UNIT is 32 columns of a panel: 8 code vectors, and per row one scale (or two, one per 16
 * columns) and perhaps a minimum.  For every layout there are
 *     panel_form      constants: units per block, bytes of a unit's codes, offset, ...
 *     unit_codes      code vector g of a unit
 *     add_codes, weight_pairs   what a group's sum begins with: [W | offset] of act_rows.h
 *     block_scales    scales and minimums of all units of a block
 * and nothing else in this folder knows a layout.  `type` is a constant in every call, so each
 * switch folds away.  Layouts are drawn in panel_formats.h. */
#ifndef R2I_PANEL_TYPES_AVX512_H
#define R2I_PANEL_TYPES_AVX512_H
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "kernels/panel_formats.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
/* Full unrolling keeps arrays of vectors in registers.  clang takes the GCC spelling without a word
 * and does nothing (measured: 118 instead of 630 GOPS). */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { UNIT_COLS = 32, UNIT_VECTORS = 8, BLOCK_UNITS_MAX = 8, HALVES_MAX = 2 };

typedef struct {
    int n_units;     /* units per block */
    int codes_bytes; /* of one unit */
    int block_bytes;
    int offset;      /* that codes carry */
    int n_halves;    /* scales per unit and row: 1, or 2 (one per 16 columns) */
    bool has_minimum;
} panel_form;

ALWAYS_INLINE panel_form form_of(r2i_type type) {
    switch (type) {
    case R2I_TYPE_Q4_0:
    case R2I_TYPE_IQ4_NL:
        return (panel_form){ 1, 256, 288, type == R2I_TYPE_Q4_0 ? 8 : 128, 1, false };
    case R2I_TYPE_Q4_1:
        return (panel_form){ 1, 256, 320, 0, 1, true };
    case R2I_TYPE_MXFP4:
        return (panel_form){ 1, 256, 272, 16, 1, false };
    case R2I_TYPE_Q5_0:
        return (panel_form){ 1, 320, 352, 16, 1, false };
    case R2I_TYPE_Q5_1:
        return (panel_form){ 1, 320, 384, 0, 1, true };
    case R2I_TYPE_Q8_0:
        return (panel_form){ 1, 512, 544, 128, 1, false };
    case R2I_TYPE_Q4_K:
        return (panel_form){ 8, 256, 2304, 0, 1, true };
    case R2I_TYPE_Q5_K:
        return (panel_form){ 8, 320, 2816, 0, 1, true };
    case R2I_TYPE_Q6_K:
        return (panel_form){ 8, 384, 3360, 32, 2, false };
    case R2I_TYPE_Q2_K:
        return (panel_form){ 8, 128, 1344, 0, 2, true };
    case R2I_TYPE_Q3_K:
        return (panel_form){ 8, 192, 1760, 4, 2, false };
    case R2I_TYPE_IQ4_XS:
        return (panel_form){ 8, 256, 2176, 128, 1, false };
    default:
        return (panel_form){ 0, 0, 0, 0, 0, false };
    }
}

/* Bits of x moved `left` (or, negative, right), then those of `mask` kept: mask must drop what the
 * shift carries over from the neighbouring byte. */
ALWAYS_INLINE __m512i shifted_bits(__m512i x, int left, int mask) {
    /* The count's type is int for one compiler and unsigned for the other: uint8_t suits both. */
    if (left > 0) x = _mm512_slli_epi16(x, (uint8_t)left);
    if (left < 0) x = _mm512_srli_epi16(x, (uint8_t)-left);
    return _mm512_and_si512(x, _mm512_set1_epi8((char)mask));
}

ALWAYS_INLINE __m512i nibbles_of(const uint8_t *unit, int g) {
    return shifted_bits(_mm512_loadu_si512(unit + 64 * (g & 3)), g < 4 ? 0 : -4, 0x0f);
}

/* One bit of group g from plane1, two from plane2, put at bit `at`. */
ALWAYS_INLINE __m512i plane1_of(const uint8_t *plane, int g, int at) {
    return shifted_bits(_mm512_loadu_si512(plane), at - g, 1 << at);
}
ALWAYS_INLINE __m512i plane2_of(const uint8_t *plane, int g, int at) {
    return shifted_bits(_mm512_loadu_si512(plane + 64 * (g / 4)), at - 2 * (g & 3), 3 << at);
}

ALWAYS_INLINE __m512i looked_up(const uint8_t codes[16], __m512i nibbles) {
    const __m128i table = _mm_loadu_si128((const __m128i *)(const void *)codes);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles);
}

/* Code vector g (columns 4g..4g+3 of 16 rows) of a unit. */
ALWAYS_INLINE __m512i unit_codes(r2i_type type, const uint8_t *unit, int g) {
    static const uint8_t iq4_codes[16] = { R2I_IQ4_CODES }, fp4_codes[16] = { R2I_FP4_CODES };
    switch (type) {
    case R2I_TYPE_Q8_0:
        return _mm512_loadu_si512(unit + 64 * g);
    case R2I_TYPE_IQ4_NL:
    case R2I_TYPE_IQ4_XS:
        return looked_up(iq4_codes, nibbles_of(unit, g));
    case R2I_TYPE_MXFP4:
        return looked_up(fp4_codes, nibbles_of(unit, g));
    case R2I_TYPE_Q5_0:
    case R2I_TYPE_Q5_1:
    case R2I_TYPE_Q5_K:
        return _mm512_or_si512(nibbles_of(unit, g), plane1_of(unit + R2I_NIBBLES_BYTES, g, 4));
    case R2I_TYPE_Q6_K:
        return _mm512_or_si512(nibbles_of(unit, g), plane2_of(unit + R2I_NIBBLES_BYTES, g, 4));
    case R2I_TYPE_Q2_K:
        return plane2_of(unit, g, 0);
    case R2I_TYPE_Q3_K:
        return _mm512_or_si512(plane2_of(unit, g, 0), plane1_of(unit + R2I_PLANE2_BYTES, g, 2));
    default:
        return nibbles_of(unit, g); /* Q4_0, Q4_1, Q4_K */
    }
}

/* Codes so small that those of a part (a unit or half) add up in a byte: 8 * 31, 4 * 63. */
ALWAYS_INLINE bool has_small_codes(r2i_type type) {
    return type != R2I_TYPE_Q8_0 && type != R2I_TYPE_IQ4_NL && type != R2I_TYPE_IQ4_XS;
}

/* Sum of a part's code vectors, begun at 0: bytes where they fit, else i32 per row. */
ALWAYS_INLINE __m512i add_codes(r2i_type type, __m512i sum, __m512i codes) {
    if (has_small_codes(type)) return _mm512_add_epi8(sum, codes);
    return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi8(1));
}

/* Per row the i16 pair [W | offset], W the sum of code - offset over a part.  Times the pair
 * `start` of an activation row it is what the part's int32 sum lacks. */
ALWAYS_INLINE __m512i weight_pairs(r2i_type type, __m512i sum) {
    const panel_form form = form_of(type);
    const __m512i offsets = _mm512_set1_epi32(-form.offset * UNIT_COLS / form.n_halves);
    const __m512i w = has_small_codes(type)
                          ? _mm512_dpbusd_epi32(offsets, sum, _mm512_set1_epi8(1))
                          : _mm512_add_epi32(sum, offsets);
    return _mm512_mask_mov_epi16(w, 0xaaaaaaaa, _mm512_set1_epi32(form.offset * 65536));
}

ALWAYS_INLINE __m512 f16_rows(const uint8_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
ALWAYS_INLINE __m512i byte_rows(const uint8_t *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
/* The bits of `mask` that begin at bit `at` of each lane. */
ALWAYS_INLINE __m512i field_at(__m512i x, int at, int mask) {
    return _mm512_and_si512(_mm512_srli_epi32(x, (uint8_t)at), _mm512_set1_epi32(mask));
}
/* d * n in f32, n an integer. */
ALWAYS_INLINE __m512 scaled(__m512 d, __m512i n) {
    return _mm512_mul_ps(d, _mm512_cvtepi32_ps(n));
}
ALWAYS_INLINE __m512 negated(__m512 x) {
    return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
}

/* 2^(e - 128), subnormal for e < 2. */
ALWAYS_INLINE __m512 exponent_rows(const uint8_t *p) {
    const __m512i e = byte_rows(p);
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const __m512i tiny = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    const __mmask16 is_tiny = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(normal, is_tiny, tiny));
}

/* Q4_K, Q5_K: fields low[8][16] | high[4][16] | d | dmin. */
ALWAYS_INLINE void scales_q4_q5_k(const uint8_t *fields, __m512 *scale, __m512 *minimum) {
    const __m512 d = f16_rows(fields + 192), dmin = f16_rows(fields + 224);
    UNROLL
    for (int i = 0; i < 8; i++) {
        const __m512i low = byte_rows(fields + 16 * i),
                      high = byte_rows(fields + 128 + 16 * (i / 2));
        const int at = 4 * (i % 2);
        const __m512i sc =
            _mm512_or_si512(field_at(low, 0, 15), _mm512_slli_epi32(field_at(high, at, 3), 4));
        const __m512i mn =
            _mm512_or_si512(field_at(low, 4, 15), _mm512_slli_epi32(field_at(high, at + 2, 3), 4));
        scale[i] = scaled(d, sc);
        minimum[i] = negated(scaled(dmin, mn));
    }
}

/* Q6_K: sc i8 [16][16] | d. */
ALWAYS_INLINE void scales_q6_k(const uint8_t *fields, __m512 *scale) {
    const __m512 d = f16_rows(fields + 256);
    UNROLL
    for (int k = 0; k < 16; k++) {
        const __m128i sc = _mm_loadu_si128((const __m128i *)(const void *)(fields + 16 * k));
        scale[k] = scaled(d, _mm512_cvtepi8_epi32(sc));
    }
}

/* Q2_K: sc [16][16] (scale | min << 4) | d | dmin. */
ALWAYS_INLINE void scales_q2_k(const uint8_t *fields, __m512 *scale, __m512 *minimum) {
    const __m512 d = f16_rows(fields + 256), dmin = f16_rows(fields + 288);
    UNROLL
    for (int k = 0; k < 16; k++) {
        const __m512i sc = byte_rows(fields + 16 * k);
        scale[k] = scaled(d, field_at(sc, 0, 15));
        minimum[k] = negated(scaled(dmin, field_at(sc, 4, 15)));
    }
}

/* Q3_K (16 scales) and IQ4_XS (8): low, two nibbles a byte | high, four pairs of bits a byte | d;
 * stored plus 32. */
ALWAYS_INLINE void scales_six_bits(const uint8_t *fields, int n_scales, __m512 *scale) {
    const __m512 d = f16_rows(fields + 12 * n_scales);
    UNROLL
    for (int k = 0; k < n_scales; k++) {
        const __m512i low = field_at(byte_rows(fields + 16 * (k / 2)), 4 * (k % 2), 15);
        const __m512i high =
            field_at(byte_rows(fields + 8 * n_scales + 16 * (k / 4)), 2 * (k % 4), 3);
        const __m512i sc = _mm512_or_si512(low, _mm512_slli_epi32(high, 4));
        scale[k] = scaled(d, _mm512_sub_epi32(sc, _mm512_set1_epi32(32)));
    }
}

/* scale [n_units * n_halves] and minimum (if the layout has one) of all units of a block. */
ALWAYS_INLINE void block_scales(r2i_type type, const uint8_t *block, __m512 *scale,
                                __m512 *minimum) {
    const panel_form f = form_of(type);
    const uint8_t *fields = block + f.n_units * f.codes_bytes;
    switch (type) {
    case R2I_TYPE_Q4_K:
    case R2I_TYPE_Q5_K:
        scales_q4_q5_k(fields, scale, minimum);
        break;
    case R2I_TYPE_Q6_K:
        scales_q6_k(fields, scale);
        break;
    case R2I_TYPE_Q2_K:
        scales_q2_k(fields, scale, minimum);
        break;
    case R2I_TYPE_Q3_K:
        scales_six_bits(fields, 16, scale);
        break;
    case R2I_TYPE_IQ4_XS:
        scales_six_bits(fields, 8, scale);
        break;
    case R2I_TYPE_MXFP4:
        scale[0] = exponent_rows(fields);
        break;
    default:
        scale[0] = f16_rows(fields);
        if (f.has_minimum) minimum[0] = f16_rows(fields + 32);
        break;
    }
}
#endif
