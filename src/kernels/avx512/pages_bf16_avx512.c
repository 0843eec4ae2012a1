/* pages_bf16_avx512.c - expanding stored rows with the processor's own rounding to BF16. */
#include "kernels/avx512/expand_avx512.h"
#include "kernels/avx512/levels_avx512.h"

#if !defined(__AVX512BF16__)
#error "compile this file with -mavx512bf16"
#endif

void r2i_avx512_add_pages_bf16(r2i_kernels *kernels) {
    add_expand(kernels);
}
