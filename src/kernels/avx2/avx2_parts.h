/* avx2_parts.h - the add functions of this folder's files; each replaces some operations. */
#ifndef R2I_AVX2_PARTS_H
#define R2I_AVX2_PARTS_H
#include "kernels/kernels.h"

void r2i_avx2_add_act(r2i_kernels *kernels);
void r2i_avx2_add_attend(r2i_kernels *kernels);
void r2i_avx2_add_pages(r2i_kernels *kernels);
void r2i_avx2_add_dense(r2i_kernels *kernels);
void r2i_avx2_add_rows(r2i_kernels *kernels);
void r2i_avx2_add_quantize(r2i_kernels *kernels);
void r2i_avx2_add_quant(r2i_kernels *kernels);
void r2i_avx2_add_quant_vnni(r2i_kernels *kernels); /* only with R2I_CPU_AVX_VNNI */
#endif
