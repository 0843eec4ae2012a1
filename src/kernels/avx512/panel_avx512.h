/* panel_avx512.h - entry points of the quantized half of this folder. */
#ifndef R2I_PANEL_AVX512_H
#define R2I_PANEL_AVX512_H
#include "kernels/kernels.h"

/* Everything for quantized layouts: calls the two below. */
void r2i_avx512_add_quantized(r2i_kernels *kernels);
/* pack of the quantized layouts. */
void r2i_avx512_add_panel_pack(r2i_kernels *kernels);
/* act[R2I_ACT_INT8]. */
void r2i_avx512_add_act(r2i_kernels *kernels);
#endif
