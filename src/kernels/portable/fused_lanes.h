/* fused_lanes.h - acc[r] = fma(a[r], b[r or 0], acc[r]) for 16 rows, correctly rounded everywhere.
 *
 * Results must not depend on whether a machine has fused instructions, and libm's fmaf costs a
 * call per lane.  In double a product of two floats is exact, so a*b + c is off by one rounding to
 * 53 bits, and rounding that again to 24 bits goes wrong only if the first result lies exactly
 * between two floats (its low 29 bits are 1000...) or below the normal range.  Those lanes are rare;
 * they send the vector to fmaf. */
#ifndef R2I_FUSED_LANES_H
#define R2I_FUSED_LANES_H
#include <math.h>

#include "base/half.h"
#include "kernels/kernels.h"

/* Whether rounding the double `s` to float could be a harmful second rounding. */
static inline uint32_t is_doubtful(double s) {
    uint64_t bits;
    memcpy(&bits, &s, sizeof bits);
    const uint32_t is_half = ((uint32_t)bits & 0x1fffffffu) == 0x10000000u;
    const double size = fabs(s);
    return is_half | ((uint32_t)(size < 0x1p-126) & (uint32_t)(size > 0.0));
}

static inline void fused_lanes(float acc[R2I_PANEL_ROWS], const float a[R2I_PANEL_ROWS], float b) {
#if defined(__FP_FAST_FMAF)
    for (int r = 0; r < R2I_PANEL_ROWS; r++) acc[r] = __builtin_fmaf(a[r], b, acc[r]);
#else
    float sum[R2I_PANEL_ROWS];
    uint32_t doubt = 0;
    for (int r = 0; r < R2I_PANEL_ROWS; r++) {
        const double s = (double)a[r] * (double)b + (double)acc[r];
        doubt |= is_doubtful(s);
        sum[r] = (float)s;
    }
    if (doubt != 0) {
        for (int r = 0; r < R2I_PANEL_ROWS; r++) sum[r] = fmaf(a[r], b, acc[r]);
    }
    memcpy(acc, sum, sizeof sum);
#endif
}
#endif
