/* avx512.c - the AVX-512 level: F, BW, VL, DQ and VNNI; BF16 where the machine has it. */
#include "kernels/avx512/levels_avx512.h"
#include "kernels/avx512/panel_avx512.h"

void r2i_kernels_add_avx512(r2i_kernels *kernels) {
    r2i_avx512_add_vector(kernels);
    r2i_avx512_add_quantize(kernels);
    r2i_avx512_add_dense(kernels);
    r2i_avx512_add_attend(kernels);
    r2i_avx512_add_pages(kernels);
    r2i_avx512_add_turn(kernels);
    r2i_avx512_add_dequantize(kernels);
    r2i_avx512_add_outer(kernels);
    r2i_avx512_add_quantized(kernels);
    if (kernels->features & R2I_CPU_AVX512_BF16) {
        r2i_avx512_add_dense_bf16(kernels);
        r2i_avx512_add_attend_bf16(kernels);
        r2i_avx512_add_pages_bf16(kernels);
        r2i_avx512_add_turn_bf16(kernels);
    }
    kernels->level = R2I_LEVEL_AVX512;
}
