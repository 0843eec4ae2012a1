/* portable.c - the table in plain C: every operation, every layout, any machine. */
#include "kernels/portable/portable_parts.h"
#include "kernels/stored_blocks.h"

void r2i_kernels_add_portable(r2i_kernels *kernels) {
    r2i_kernels_add_dequantize(kernels);
    r2i_kernels_add_quantize(kernels);
    r2i_portable_add_pack(kernels);
    r2i_portable_add_act(kernels);
    r2i_portable_add_int8(kernels);
    r2i_portable_add_float(kernels);
    r2i_portable_add_rows(kernels);
    r2i_portable_add_attend(kernels);
    r2i_portable_add_pages(kernels);
    r2i_portable_add_turn(kernels);
    r2i_kernels_add_pairs(kernels);
}
