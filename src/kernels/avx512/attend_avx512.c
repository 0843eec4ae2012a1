/* attend_avx512.c - attending to cache pages and merging chunks. */
#include <string.h>

#include "kernels/avx512/attend_pages_avx512.h"
#include "kernels/avx512/levels_avx512.h"

static void attend_merge(float *max_a, float *sum_a, float *out_a, float max_b, float sum_b,
                         const float *out_b, int32_t d) {
    const float m = max_b > *max_a ? max_b : *max_a, base = m == -INFINITY ? 0.0f : m;
    const float keep = exp_one_avx512(*max_a - base), add = exp_one_avx512(max_b - base);
    const __m512 a = _mm512_set1_ps(keep), b = _mm512_set1_ps(add);
    for (int32_t i = 0; i < d; i += 16) {
        const __mmask16 lanes = lanes_avx512(d - i);
        const __m512 kept = _mm512_mul_ps(a, _mm512_maskz_loadu_ps(lanes, out_a + i));
        const __m512 sum = _mm512_fmadd_ps(b, _mm512_maskz_loadu_ps(lanes, out_b + i), kept);
        _mm512_mask_storeu_ps(out_a + i, lanes, sum);
    }
    *sum_a = fmaf(add, sum_b, keep * *sum_a);
    *max_a = m;
}

void r2i_avx512_add_attend(r2i_kernels *kernels) {
    kernels->attend = attend;
    kernels->attend_merge = attend_merge;
}
