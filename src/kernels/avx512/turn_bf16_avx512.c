/* turn_bf16_avx512.c - transposes to BF16 with the instruction that rounds. */
#include "kernels/avx512/turn_rows_avx512.h"

#if !defined(__AVX512BF16__)
#error "compile this file with -mavx512bf16"
#endif

void r2i_avx512_add_turn_bf16(r2i_kernels *kernels) {
    kernels->turn_panels[R2I_TYPE_BF16] = turn_panels_bf16;
    kernels->turn_rows[R2I_ACT_BF16] = turn_rows_bf16;
}
