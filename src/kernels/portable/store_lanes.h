/* store_lanes.h - the end of a product: 16 finished sums of a panel to one token's outputs. */
#ifndef R2I_STORE_LANES_H
#define R2I_STORE_LANES_H
#include "kernels/kernels.h"

/* Adds bias, then what was there before, in this order. */
static inline void store_lanes(const r2i_matmul_job *job, int32_t panel, int32_t token,
                               const float sum[R2I_PANEL_ROWS]) {
    const int32_t first = panel * R2I_PANEL_ROWS, left = job->n_rows - first;
    const int32_t n = left < R2I_PANEL_ROWS ? left : R2I_PANEL_ROWS;
    float *y = job->y + (size_t)token * job->y_stride + first;
    for (int32_t r = 0; r < n; r++) {
        float value = sum[r];
        if (job->bias != NULL) value += job->bias[first + r];
        if (job->is_added) value += y[r];
        y[r] = value;
    }
}
#endif
