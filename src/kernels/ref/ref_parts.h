/* ref_parts.h - what the files of ref/ add to its table. */
#ifndef R2I_REF_PARTS_H
#define R2I_REF_PARTS_H
#include "kernels/kernels.h"

void r2i_ref_add_matrix(r2i_kernels *kernels);
void r2i_ref_add_rows(r2i_kernels *kernels);
void r2i_ref_add_attend(r2i_kernels *kernels);
void r2i_ref_add_pages(r2i_kernels *kernels);
void r2i_ref_add_turn(r2i_kernels *kernels);
#endif
