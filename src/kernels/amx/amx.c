/* amx.c - the AMX level: products by tiles of int8 and BF16. */
#include "kernels/kernels.h"

void r2i_kernels_add_amx(r2i_kernels *kernels) {
    kernels->level = R2I_LEVEL_AMX;
}
