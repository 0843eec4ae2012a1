/* panel_store_amx.h - from a panel's finished sums to y. */
#ifndef R2I_PANEL_STORE_AMX_H
#define R2I_PANEL_STORE_AMX_H
#include <immintrin.h>

#include "kernels/kernels.h"

/* Adds bias, then what y held, to sums [n_tokens][16] and stores the rows that exist. */
static inline void store_panel(const r2i_matmul_job *job, const float *sums, int32_t panel,
                               int32_t first_token, int32_t n_tokens) {
    const int32_t row = panel * R2I_PANEL_ROWS, n_left = job->n_rows - row;
    const __mmask16 mask = (__mmask16)(n_left >= 16 ? 0xffffu : (1u << n_left) - 1u);
    const __m512 bias =
        job->bias ? _mm512_maskz_loadu_ps(mask, job->bias + row) : _mm512_setzero_ps();
    for (int32_t t = 0; t < n_tokens; t++) {
        float *y = job->y + (size_t)(first_token + t) * job->y_stride + row;
        __m512 sum = _mm512_loadu_ps(sums + 16 * t);
        if (job->bias) sum = _mm512_add_ps(sum, bias);
        if (job->is_added) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, y));
        _mm512_mask_storeu_ps(y, mask, sum);
    }
}
#endif
