/* dense_avx512.c - F32, F16 and BF16 panels: packing, activation rows and the product.
 * dense_bf16_avx512.c replaces what BF16 is made and multiplied with where the machine has the
 * instructions. */
#include <string.h>

#include "kernels/avx512/dense_pack_avx512.h"
#include "kernels/avx512/dense_product_avx512.h"
#include "kernels/avx512/levels_avx512.h"

TILE_TABLE(tiles_f32, TILE_F32)
TILE_TABLE(tiles_f16, TILE_F16)
TILE_TABLE(tiles_bf16, TILE_BF16)
TILE_TABLE(tiles_f32_paired, TILE_F32_PAIRED)
TILE_TABLE(tiles_bf16_paired, TILE_BF16_PAIRED)

static void matmul_f32(const r2i_matmul_job *job) {
    dense_product(job, tiles_f32, job->n_cols, 64);
}
static void matmul_f16(const r2i_matmul_job *job) {
    dense_product(job, tiles_f16, job->n_cols, 32);
}
static void matmul_bf16(const r2i_matmul_job *job) {
    dense_product(job, tiles_bf16, (job->n_cols + 1) / 2, 64);
}

static void paired_f32(const r2i_paired_job *job) {
    paired_product(job, tiles_f32_paired, job->n_steps);
}
static void paired_bf16(const r2i_paired_job *job) {
    paired_product(job, tiles_bf16_paired, (job->n_steps + 1) / 2);
}

static void act_f32(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    (void)n_cols;
    memcpy(row + 4 * (size_t)begin, x, 4 * (size_t)(end - begin));
}

static void pack_source_f32(uint8_t *panel, const pack_source *s) {
    for (int32_t column = 0; column < s->n_cols; column += 16) {
        __m512i v[16];
        for (int i = 0; i < 16; i++)
            v[i] = _mm512_castps_si512(load_columns(s, i, column));
        transpose_avx512(v);
        const int32_t n = s->n_cols - column < 16 ? s->n_cols - column : 16;
        for (int32_t i = 0; i < n; i++)
            _mm512_storeu_si512(panel + 64 * (size_t)(column + i), v[i]);
    }
}

static void pack_f32(uint8_t *panel, r2i_type type, const uint8_t *const rows[R2I_PANEL_ROWS],
                     int32_t n_cols) {
    if (!is_dense(type)) {
        pack_by_pieces(panel, type, rows, n_cols, 64, pack_source_f32);
        return;
    }
    pack_source s = { .type = type, .n_cols = n_cols };
    memcpy(s.rows, rows, sizeof s.rows);
    pack_source_f32(panel, &s);
}

static void pack_f16(uint8_t *panel, r2i_type type, const uint8_t *const rows[R2I_PANEL_ROWS],
                     int32_t n_cols) {
    (void)type; /* F16 panels are made of F16 rows only */
    for (int32_t column = 0; column < n_cols; column += 16) {
        const __mmask16 m = lanes_avx512(n_cols - column);
        __m512i v[16];
        for (int i = 0; i < 16; i++) {
            const __m256i half = rows[i] == NULL
                                     ? _mm256_setzero_si256()
                                     : _mm256_maskz_loadu_epi16(m, rows[i] + 2 * (size_t)column);
            v[i] = _mm512_cvtepu16_epi32(half);
        }
        transpose_avx512(v);
        const int32_t n = n_cols - column < 16 ? n_cols - column : 16;
        for (int32_t i = 0; i < n; i++) {
            _mm256_storeu_si256((__m256i *)(void *)(panel + 32 * (size_t)(column + i)),
                                _mm512_cvtepi32_epi16(v[i]));
        }
    }
}

void r2i_avx512_add_dense(r2i_kernels *kernels) {
    kernels->pack[R2I_TYPE_F32] = pack_f32;
    kernels->pack[R2I_TYPE_F16] = pack_f16;
    kernels->pack[R2I_TYPE_BF16] = pack_bf16;
    kernels->act[R2I_ACT_F32] = act_f32;
    kernels->act[R2I_ACT_BF16] = act_bf16;
    kernels->matmul[R2I_TYPE_F32] = matmul_f32;
    kernels->matmul[R2I_TYPE_F16] = matmul_f16;
    kernels->matmul[R2I_TYPE_BF16] = matmul_bf16;
    kernels->matmul_paired[R2I_TYPE_F32] = paired_f32;
    kernels->matmul_paired[R2I_TYPE_BF16] = paired_bf16;
}
