/* amx.c - the AMX level: products by tiles of int8 and BF16; all else is AVX-512's. */
#include "kernels/amx/amx_parts.h"

void r2i_kernels_add_amx(r2i_kernels *kernels) {
    r2i_amx_add_quantized(kernels);
    r2i_amx_add_bf16(kernels);
    kernels->matmul_paired[R2I_TYPE_BF16] = NULL; /* tiles take prepared rows */
    kernels->level = R2I_LEVEL_AMX;
}
