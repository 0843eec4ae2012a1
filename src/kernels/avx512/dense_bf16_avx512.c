/* dense_bf16_avx512.c - BF16 panels and rows made and multiplied with the instructions for it. */
#include "kernels/avx512/dense_pack_avx512.h"
#include "kernels/avx512/dense_product_avx512.h"
#include "kernels/avx512/levels_avx512.h"

#if !defined(__AVX512BF16__)
#error "compile this file with -mavx512bf16"
#endif

TILE_TABLE(tiles_bf16, TILE_BF16)
TILE_TABLE(tiles_bf16_paired, TILE_BF16_PAIRED)

static void matmul_bf16(const r2i_matmul_job *job) {
    dense_product(job, tiles_bf16, (job->n_cols + 1) / 2, 64);
}

static void paired_bf16(const r2i_paired_job *job) {
    paired_product(job, tiles_bf16_paired, (job->n_steps + 1) / 2);
}

void r2i_avx512_add_dense_bf16(r2i_kernels *kernels) {
    kernels->pack[R2I_TYPE_BF16] = pack_bf16;
    kernels->act[R2I_ACT_BF16] = act_bf16;
    kernels->matmul[R2I_TYPE_BF16] = matmul_bf16;
    kernels->matmul_paired[R2I_TYPE_BF16] = paired_bf16;
}
