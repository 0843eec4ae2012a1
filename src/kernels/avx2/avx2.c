/* avx2.c - the AVX2 level: 256-bit integers and floats, FMA, F16C. */
#include "kernels/avx2/avx2_parts.h"

void r2i_kernels_add_avx2(r2i_kernels *kernels) {
    r2i_avx2_add_quant(kernels);
    if (kernels->features & R2I_CPU_AVX_VNNI) r2i_avx2_add_quant_vnni(kernels);
    r2i_avx2_add_quantize(kernels);
    r2i_avx2_add_dense(kernels);
    r2i_avx2_add_act(kernels);
    r2i_avx2_add_rows(kernels);
    r2i_avx2_add_attend(kernels);
    r2i_avx2_add_pages(kernels);
    kernels->level = R2I_LEVEL_AVX2;
}
