/* panel_store_avx2.h - from a panel's finished sums to y. */
#ifndef R2I_PANEL_STORE_AVX2_H
#define R2I_PANEL_STORE_AVX2_H
#include "kernels/avx2/avx2_vectors.h"
#include "kernels/kernels.h"

/* Adds bias, then what y held, to acc [n_tokens][16] and stores the rows that exist. */
static inline void store_panel(const r2i_matmul_job *job, const float *acc, int32_t panel,
                               int32_t first_token, int32_t n_tokens) {
    const int32_t first_row = panel * R2I_PANEL_ROWS;
    for (int h = 0; h < 2; h++) {
        const int32_t row = first_row + 8 * h;
        const __m256i mask = r2i_first_lanes(job->n_rows - row);
        const __m256 bias =
            job->bias ? _mm256_maskload_ps(job->bias + row, mask) : _mm256_setzero_ps();
        for (int32_t t = 0; t < n_tokens; t++) {
            float *y = job->y + (size_t)(first_token + t) * job->y_stride + row;
            __m256 sum = _mm256_load_ps(acc + 16 * t + 8 * h);
            if (job->bias) sum = _mm256_add_ps(sum, bias);
            if (job->is_added) sum = _mm256_add_ps(sum, _mm256_maskload_ps(y, mask));
            _mm256_maskstore_ps(y, mask, sum);
        }
    }
}
#endif
