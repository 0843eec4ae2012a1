/* amx_parts.h - the add functions of this folder's files. */
#ifndef R2I_AMX_PARTS_H
#define R2I_AMX_PARTS_H
#include "kernels/kernels.h"

void r2i_amx_add_bf16(r2i_kernels *kernels);
void r2i_amx_add_quantized(r2i_kernels *kernels);
#endif
