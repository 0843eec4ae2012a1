/* fused_lanes.h - acc[r] = fma(a[r], b, acc[r]) for 16 rows, correctly rounded everywhere.
 *
 * Results must not depend on whether a machine has fused instructions, and libm's fmaf costs a call
 * per lane.  In double the product of two floats is exact, so s = a*b + c is off by at most half a
 * unit of 2^-52: the true value lies between s(1 - 2^-52) and s(1 + 2^-52).  Where both round to
 * the same float that is the answer, because rounding is monotonic; where not (once in 2^28, and
 * for sums that end exactly between two floats) the vector goes to fmaf. */
#ifndef R2I_FUSED_LANES_H
#define R2I_FUSED_LANES_H
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

/* gcc unrolls short loops before it looks for vectors, and then finds none: half the speed of
 * a whole product. */
#if defined(__GNUC__) && !defined(__clang__)
#define R2I_KEEP_LOOP _Pragma("GCC unroll 1")
#else
#define R2I_KEEP_LOOP
#endif

static inline void fused_lanes(float acc[R2I_PANEL_ROWS], const float a[R2I_PANEL_ROWS], float b) {
#if defined(__FP_FAST_FMAF)
    for (int r = 0; r < R2I_PANEL_ROWS; r++) acc[r] = __builtin_fmaf(a[r], b, acc[r]);
#else
    float low[R2I_PANEL_ROWS], high[R2I_PANEL_ROWS];
    int32_t n_doubts = 0;
    R2I_KEEP_LOOP
    for (int r = 0; r < R2I_PANEL_ROWS; r++) {
        const double s = (double)a[r] * (double)b + (double)acc[r];
        low[r] = (float)(s * (1.0 - 0x1p-52));
        high[r] = (float)(s * (1.0 + 0x1p-52));
    }
    /* Not !=, so that NaN is no doubt. */
    R2I_KEEP_LOOP
    for (int r = 0; r < R2I_PANEL_ROWS; r++) n_doubts += low[r] < high[r] || low[r] > high[r];
    if (n_doubts != 0) {
        R2I_KEEP_LOOP
        for (int r = 0; r < R2I_PANEL_ROWS; r++) low[r] = fmaf(a[r], b, acc[r]);
    }
    memcpy(acc, low, sizeof low);
#endif
}
#endif
