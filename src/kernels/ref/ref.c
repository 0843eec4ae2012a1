/* ref.c - the judge's table: F32 panels only, sums in double, code as in a textbook. */
#include "kernels/ref/ref_parts.h"
#include "kernels/stored_blocks.h"

void r2i_kernels_add_ref(r2i_kernels *kernels) {
    r2i_kernels_add_dequantize(kernels);
    r2i_kernels_add_quantize(kernels);
    r2i_ref_add_matrix(kernels);
    r2i_ref_add_rows(kernels);
    r2i_ref_add_attend(kernels);
    r2i_ref_add_pages(kernels);
    r2i_ref_add_turn(kernels);
    r2i_kernels_add_pairs(kernels);
}
