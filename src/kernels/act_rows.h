/* act_rows.h - a prepared activation row.
 *
 *   F32    x f32 [n_cols]
 *   BF16   x bf16 [n_cols rounded up to even, padded with 0]
 *   INT8   q i8 [n_cols] | scale f32 [G] | nsum i32 [G] | nhalf i32 [2G] | ssum f32 [G] | shalf f32 [2G]
 *          with G = n_cols / 32 groups: x = q * scale;
 *          nsum = -(sum of the group's q), nhalf the same for each half of 16,
 *          ssum = scale * float(sum), shalf the same for halves.
 * nsum, shifted left, starts the int32 sum of a group whose weights are stored with an offset of
 * 2^k; ssum multiplies the minimum of formats that have one.  n_cols is a multiple of 32 in INT8.
 *
 * Rounding of a group, equal in every level: max = max|x|; inverse = 127.0f / max, q = nearest even
 * of x * inverse, scale = max / 127.0f.  max < R2I_ACT_TINY (where 127 / max would overflow): q 0,
 * scale 0.  A NaN or infinity in the group: q and sums 0, scale, ssum and shalf NaN. */
#ifndef R2I_ACT_ROWS_H
#define R2I_ACT_ROWS_H
#include <stddef.h>
#include <stdint.h>

#define R2I_ACT_TINY 0x1p-120F

typedef struct {
    const int8_t *q;
    const float *scale;
    const int32_t *nsum, *nhalf;
    const float *ssum, *shalf;
} r2i_int8_row;

static inline r2i_int8_row r2i_int8_row_at(const uint8_t *row, int32_t n_cols) {
    const size_t n = (size_t)n_cols, groups = n / 32;
    const uint8_t *scale = row + n;
    return (r2i_int8_row){
        .q = (const int8_t *)row,
        .scale = (const float *)(const void *)scale,
        .nsum = (const int32_t *)(const void *)(scale + 4 * groups),
        .nhalf = (const int32_t *)(const void *)(scale + 8 * groups),
        .ssum = (const float *)(const void *)(scale + 16 * groups),
        .shalf = (const float *)(const void *)(scale + 20 * groups),
    };
}
#endif
