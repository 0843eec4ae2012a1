/* act_rows.h - a prepared activation row.
 *
 *   F32    x f32 [n_cols]
 *   BF16   x bf16 [n_cols rounded up to even, padded with 0]
 *   INT8   r2i_act_group [n_cols / 32], one cache line per 32 columns, so that a row can be written in
 *          pieces by several workers and read front to back: x ~= scale * (q + zero);
 *          start holds two i16: zero in the low half, -(sum of the group's q) in the high half;
 *          half_start the same for each half of 16, with the group's zero;
 *          ssum = scale * float(sum + 32 zero), shalf = scale * float(half sum + 16 zero).
 * Weights whose codes are stored with an offset give a group the exact int32 sum
 *   sum of (code - offset) * (q + zero) = sum of code * q + offset * -(sum of q) + zero * W
 *   with W = sum of (code - offset) over the group,
 * so the pair [W | offset] times start is what the sum begins with; W belongs to the weights alone,
 * and a kernel computes it where it decodes codes.  ssum multiplies the minimum of formats that
 * have one.  n_cols is a multiple of 32 in INT8.
 *
 * Rounding of a group, equal in every level: the 256 levels lie between lo = min(0, least x) and
 * hi = max(0, greatest x), so a value far out on one side costs nothing on the other:
 *   range = hi - lo; scale = range / 255.0f; inverse = 255.0f / range; low = rint(lo * inverse);
 *   q = clamp(rint(x * inverse) - low, 0, 255) - 128; zero = low + 128   (rint: to nearest even).
 * range < R2I_ACT_TINY (where 255 / range would overflow): scale, zero, q and sums are 0.  A NaN or
 * infinity in the group, or a range beyond F32: zero, q and sums 0, scale, ssum and shalf NaN. */
#ifndef R2I_ACT_ROWS_H
#define R2I_ACT_ROWS_H
#include <stddef.h>
#include <stdint.h>

#define R2I_ACT_TINY 0x1p-120F

typedef struct {
    int8_t q[32];
    float scale;
    int32_t start;
    float ssum;
    int32_t half_start[2];
    float shalf[2];
    int32_t unused; /* 0 */
} r2i_act_group;
_Static_assert(sizeof(r2i_act_group) == 64, "kernels load its fields by their distance");

/* The two halves of a start. */
static inline int32_t r2i_start_zero(int32_t start) {
    return (int16_t)(uint16_t)((uint32_t)start & 0xffffU);
}
static inline int32_t r2i_start_minus_sum(int32_t start) {
    return start >> 16;
}
static inline int32_t r2i_start_of(int32_t zero, int32_t minus_sum) {
    return (int32_t)(((uint32_t)minus_sum << 16) | ((uint32_t)zero & 0xffffU));
}

static inline const r2i_act_group *r2i_act_groups(const uint8_t *row) {
    return (const r2i_act_group *)(const void *)row;
}
#endif
