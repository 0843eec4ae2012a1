/* portable_parts.h - what the files of portable/ add to its table. */
#ifndef R2I_PORTABLE_PARTS_H
#define R2I_PORTABLE_PARTS_H
#include "kernels/kernels.h"

void r2i_portable_add_pack(r2i_kernels *kernels);
void r2i_portable_add_act(r2i_kernels *kernels);
void r2i_portable_add_int8(r2i_kernels *kernels);
void r2i_portable_add_float(r2i_kernels *kernels);
void r2i_portable_add_rows(r2i_kernels *kernels);
void r2i_portable_add_attend(r2i_kernels *kernels);
void r2i_portable_add_pages(r2i_kernels *kernels);
void r2i_portable_add_turn(r2i_kernels *kernels);
#endif
