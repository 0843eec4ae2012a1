/* fast_exp.h - exp in f32 as straight-line code that compilers turn into vectors.
 *
 * x = n ln 2 + r, |r| <= ln(2)/2; exp(r) by its Taylor polynomial of degree 7 (remainder below
 * 1e-8), times 2^n.  Relative error below 2e-7 where the result is a normal number; 0 below,
 * infinity above, NaN for NaN. */
#ifndef R2I_FAST_EXP_H
#define R2I_FAST_EXP_H
#include <math.h>

#include "base/half.h"

static inline float fast_exp(float x) {
    const float magic = 0x1.8p23F; /* adding it rounds to a whole number in the low mantissa bits */
    const float shifted = x * 0x1.715476p+0F + magic, n = shifted - magic;
    const float r = (x - n * 0x1.62e4p-1F) - n * 0x1.7f7d1cp-20F;
    float p = 1.0F / 5040.0F;
    p = p * r + 1.0F / 720.0F;
    p = p * r + 1.0F / 120.0F;
    p = p * r + 1.0F / 24.0F;
    p = p * r + 1.0F / 6.0F;
    p = p * r + 0.5F;
    p = p * r + 1.0F;
    p = p * r + 1.0F;
    /* n is in -126..128: two factors, because 2^128 is no float. */
    const uint32_t whole = r2i_bits_from_f32(shifted) - 0x4b400000u + 256u, half = whole >> 1;
    const float a = r2i_f32_from_bits((half - 1u) << 23), b = r2i_f32_from_bits((whole - half - 1u) << 23);
    float y = p * a * b;
    y = x < -87.336544F ? 0.0F : y;
    y = x > 88.722839F ? INFINITY : y;
    return x != x ? x : y;
}
#endif
