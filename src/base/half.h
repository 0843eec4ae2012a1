/* half.h - scalar conversions of the 16-bit and 8-bit floating-point formats (bit patterns).
 * Kernels convert whole rows; these serve headers, scales and the plain path. */
#ifndef R2I_HALF_H
#define R2I_HALF_H
#include <stdint.h>
#include <string.h>

static inline float r2i_f32_from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static inline uint32_t r2i_bits_from_f32(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float r2i_f32_from_bf16(uint16_t h) {
    return r2i_f32_from_bits((uint32_t)h << 16);
}

/* Round to nearest even; NaN stays NaN (quiet). */
static inline uint16_t r2i_bf16_from_f32(float f) {
    const uint32_t x = r2i_bits_from_f32(f);
    if ((x & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((x >> 16) | 0x40u);
    return (uint16_t)((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
}

static inline float r2i_f32_from_f16(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u,
                   mantissa = h & 1023u;
    if (exponent == 31u) return r2i_f32_from_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0u) return r2i_f32_from_bits(sign | (exponent + 112u) << 23 | mantissa << 13);
    const float tiny = (float)mantissa * 0x1p-24f;
    return r2i_f32_from_bits(sign | r2i_bits_from_f32(tiny));
}

/* 8 bits without infinities (Micikevicius et al. 2022): exponent 4 bits, bias 7.  The shifted bits are
 * the number times 2^-120, subnormals included; 0x7f and 0xff are no numbers. */
static inline float r2i_f32_from_e4m3(uint8_t b) {
    const float f =
        r2i_f32_from_bits((uint32_t)(b & 0x80u) << 24 | (uint32_t)(b & 0x7fu) << 20) * 0x1p120f;
    return (b & 0x7fu) == 0x7fu ? r2i_f32_from_bits(0x7fc00000u) : f;
}

/* Round to nearest even, overflow to infinity. */
static inline uint16_t r2i_f16_from_f32(float f) {
    const uint32_t x = r2i_bits_from_f32(f), sign = (x >> 16) & 0x8000u, a = x & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (a <
        0x38800000u) { /* below 2^-14: subnormal; adding 0.5 leaves the rounded count in the low bits */
        const float shifted = r2i_f32_from_bits(a) + 0.5f;
        return (uint16_t)(sign | (r2i_bits_from_f32(shifted) - 0x3f000000u));
    }
    const uint32_t rounded = a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u;
    return (uint16_t)(sign | rounded >> 13);
}
#endif
