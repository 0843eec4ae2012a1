/* attend_bf16_avx512.c - attention over BF16 pages with vdpbf16ps. */
#include "kernels/avx512/attend_pages_avx512.h"
#include "kernels/avx512/levels_avx512.h"

#if !defined(__AVX512BF16__)
#error "compile this file with -mavx512bf16"
#endif

void r2i_avx512_add_attend_bf16(r2i_kernels *kernels) {
    kernels->attend = attend;
}
