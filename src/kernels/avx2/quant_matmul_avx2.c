/* quant_matmul_avx2.c - quantized products for processors without vpdpbusd on 256 bits. */
#define R2I_HAS_DOT 0
#include "kernels/avx2/avx2_parts.h"
#include "kernels/avx2/quant_tile_avx2.h"

void r2i_avx2_add_quant(r2i_kernels *kernels) { set_quant_matmul(kernels); }
