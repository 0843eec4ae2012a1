/* levels_avx512.h - what each file of this folder adds to the table.
 * Functions that end in _bf16 are added only where R2I_CPU_AVX512_BF16 is set. */
#ifndef R2I_LEVELS_AVX512_H
#define R2I_LEVELS_AVX512_H
#include "kernels/kernels.h"

void r2i_avx512_add_vector(r2i_kernels *kernels);
void r2i_avx512_add_quantize(r2i_kernels *kernels);
void r2i_avx512_add_dense(r2i_kernels *kernels);
void r2i_avx512_add_attend(r2i_kernels *kernels);
void r2i_avx512_add_pages(r2i_kernels *kernels);
void r2i_avx512_add_turn(r2i_kernels *kernels);
void r2i_avx512_add_dequantize(r2i_kernels *kernels);
void r2i_avx512_add_outer(r2i_kernels *kernels);
void r2i_avx512_add_dense_bf16(r2i_kernels *kernels);
void r2i_avx512_add_attend_bf16(r2i_kernels *kernels);
void r2i_avx512_add_pages_bf16(r2i_kernels *kernels);
void r2i_avx512_add_turn_bf16(r2i_kernels *kernels);
#endif
