/* quantize_avx512.c - rows of floats to stored rows, sixteen sub-blocks at a time. */
#define LANES 16
#include <immintrin.h>

#include "kernels/quantize_types.h"

#include "kernels/avx512/levels_avx512.h"

static inline lanes_f lanes_max(lanes_f a, lanes_f b) {
    return (lanes_f)_mm512_max_ps((__m512)a, (__m512)b);
}

static inline lanes_f lanes_min(lanes_f a, lanes_f b) {
    return (lanes_f)_mm512_min_ps((__m512)a, (__m512)b);
}

static inline lanes_f lanes_sqrt(lanes_f a) {
    return (lanes_f)_mm512_sqrt_ps((__m512)a);
}

static inline lanes_f lanes_add_if(lanes_f sum, lanes_f a, float b, float step) {
    const __mmask16 is_at_least = _mm512_cmp_ps_mask((__m512)a, _mm512_set1_ps(b), _CMP_GE_OQ);
    return (lanes_f)_mm512_mask_add_ps((__m512)sum, is_at_least, (__m512)sum, _mm512_set1_ps(step));
}

void r2i_avx512_add_quantize(r2i_kernels *kernels) {
    add_quantize(kernels);
}
