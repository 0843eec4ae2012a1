/* quantize_avx2.c - rows of floats to stored rows, eight sub-blocks at a time. */
#define LANES 8
#include <immintrin.h>

#include "kernels/quantize_types.h"

#include "kernels/avx2/avx2_parts.h"

static inline lanes_f lanes_max(lanes_f a, lanes_f b) {
    return (lanes_f)_mm256_max_ps((__m256)a, (__m256)b);
}

static inline lanes_f lanes_min(lanes_f a, lanes_f b) {
    return (lanes_f)_mm256_min_ps((__m256)a, (__m256)b);
}

static inline lanes_f lanes_sqrt(lanes_f a) {
    return (lanes_f)_mm256_sqrt_ps((__m256)a);
}

static inline lanes_f lanes_add_if(lanes_f sum, lanes_f a, float b, float step) {
    const __m256 is_at_least = _mm256_cmp_ps((__m256)a, _mm256_set1_ps(b), _CMP_GE_OQ);
    return sum + (lanes_f)_mm256_and_ps(is_at_least, _mm256_set1_ps(step));
}

void r2i_avx2_add_quantize(r2i_kernels *kernels) {
    add_quantize(kernels);
}
