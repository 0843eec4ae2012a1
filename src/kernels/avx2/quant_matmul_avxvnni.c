/* quant_matmul_avxvnni.c - quantized products with vpdpbusd; compiled with -mavxvnni. */
#define R2I_HAS_DOT 1
#include "kernels/avx2/avx2_parts.h"
#include "kernels/avx2/quant_tile_avx2.h"

void r2i_avx2_add_quant_vnni(r2i_kernels *kernels) { set_quant_matmul(kernels); }
