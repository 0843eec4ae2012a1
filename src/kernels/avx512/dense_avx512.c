/* dense_avx512.c - F32, F16 and BF16 panels: packing, activation rows and the product.
 * dense_bf16_avx512.c replaces the BF16 product where the machine has vdpbf16ps. */
#include <string.h>

#include "kernels/avx512/dense_product_avx512.h"
#include "kernels/avx512/levels_avx512.h"
#include "kernels/avx512/transpose_avx512.h"

TILE_TABLE(tiles_f32, TILE_F32)
TILE_TABLE(tiles_f16, TILE_F16)
TILE_TABLE(tiles_bf16, TILE_BF16)

static void matmul_f32(const r2i_matmul_job *job) {
    dense_product(job, tiles_f32, job->n_cols, 64);
}
static void matmul_f16(const r2i_matmul_job *job) {
    dense_product(job, tiles_f16, job->n_cols, 32);
}
static void matmul_bf16(const r2i_matmul_job *job) {
    dense_product(job, tiles_bf16, (job->n_cols + 1) / 2, 64);
}

static void act_f32(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    (void)n_cols;
    memcpy(row + 4 * (size_t)begin, x, 4 * (size_t)(end - begin));
}

static void act_bf16(uint8_t *row, const float *x, int32_t n_cols, int32_t begin, int32_t end) {
    uint8_t *y = row + 2 * (size_t)begin;
    for (int32_t i = 0, n = end - begin; i < n; i += 16) {
        const __mmask16 m = lanes_avx512(n - i);
        const __m512i bits = round_bf16_avx512(_mm512_maskz_loadu_ps(m, x + i));
        _mm256_mask_storeu_epi16(y + 2 * (size_t)i, m, _mm512_cvtepi32_epi16(bits));
    }
    if (end == n_cols && n_cols % 2 != 0) memset(row + 2 * (size_t)n_cols, 0, 2);
}

enum { PACK_COLUMNS = 256 }; /* a multiple of every type's block */

/* Where 16 rows are read from: stored rows, or f32 rows of the current PACK_COLUMNS columns. */
typedef struct {
    r2i_type type; /* F32, F16 or BF16 */
    const uint8_t *rows[R2I_PANEL_ROWS];
    int32_t n_cols;
} pack_source;

/* 16 elements of a row from column on as f32; 0 beyond the last column. */
static inline __m512 load_columns(const pack_source *s, int i, int32_t column) {
    const __mmask16 m = s->rows[i] == NULL ? (__mmask16)0 : lanes_avx512(s->n_cols - column);
    if (s->type == R2I_TYPE_F32) return _mm512_maskz_loadu_ps(m, s->rows[i] + 4 * (size_t)column);
    const __m256i half = _mm256_maskz_loadu_epi16(m, s->rows[i] + 2 * (size_t)column);
    if (s->type == R2I_TYPE_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
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

/* 32 columns of a row as pairs of BF16. */
static inline __m512i load_pairs(const pack_source *s, int i, int32_t column) {
    if (s->type == R2I_TYPE_BF16) {
        const uint32_t low = lanes_avx512(s->n_cols - column),
                       high = lanes_avx512(s->n_cols - column - 16);
        const __mmask32 m = s->rows[i] == NULL ? 0u : low | high << 16;
        return _mm512_maskz_loadu_epi16(m, s->rows[i] + 2 * (size_t)column);
    }
    const __m512i low = round_bf16_avx512(load_columns(s, i, column));
    const __m512i high = round_bf16_avx512(load_columns(s, i, column + 16));
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(low)),
                              _mm512_cvtepi32_epi16(high), 1);
}

static void pack_source_bf16(uint8_t *panel, const pack_source *s) {
    for (int32_t column = 0; column < s->n_cols; column += 32) {
        __m512i v[16];
        for (int i = 0; i < 16; i++)
            v[i] = load_pairs(s, i, column);
        transpose_avx512(v);
        const int32_t left = (s->n_cols - column + 1) / 2, n = left < 16 ? left : 16;
        for (int32_t i = 0; i < n; i++)
            _mm512_storeu_si512(panel + 64 * (size_t)(column / 2 + i), v[i]);
    }
}

/* Quantized rows are taken to f32 in pieces. */
static void pack_by_pieces(uint8_t *panel, r2i_type type, const uint8_t *const rows[R2I_PANEL_ROWS],
                           int32_t n_cols, size_t column_bytes,
                           void (*pack_source_to)(uint8_t *panel, const pack_source *s)) {
    /* Some types are dequantized by the portable level.  Filling the table costs nothing beside a
     * panel, and a pointer kept from r2i_kernels_init would be a mutable global. */
    r2i_kernels table = { 0 };
    r2i_kernels_add_portable(&table);
    r2i_avx512_add_vector(&table);
    const r2i_type_info *info = r2i_type_get(type);
    float piece[R2I_PANEL_ROWS][PACK_COLUMNS];
    for (int32_t column = 0; column < n_cols; column += PACK_COLUMNS) {
        const int32_t left = n_cols - column;
        pack_source s = { .type = R2I_TYPE_F32,
                          .n_cols = left < PACK_COLUMNS ? left : PACK_COLUMNS };
        const size_t offset = (size_t)(column / info->block_elements) * (size_t)info->block_bytes;
        for (int i = 0; i < R2I_PANEL_ROWS; i++) {
            if (rows[i] == NULL) continue;
            table.dequantize[type](piece[i], rows[i] + offset, s.n_cols);
            s.rows[i] = (const uint8_t *)piece[i];
        }
        pack_source_to(panel + (size_t)column * column_bytes, &s);
    }
}

static bool is_dense(r2i_type type) {
    return type == R2I_TYPE_F32 || type == R2I_TYPE_F16 || type == R2I_TYPE_BF16;
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

static void pack_bf16(uint8_t *panel, r2i_type type, const uint8_t *const rows[R2I_PANEL_ROWS],
                      int32_t n_cols) {
    if (!is_dense(type)) {
        pack_by_pieces(panel, type, rows, n_cols, 32, pack_source_bf16);
        return;
    }
    pack_source s = { .type = type, .n_cols = n_cols };
    memcpy(s.rows, rows, sizeof s.rows);
    pack_source_bf16(panel, &s);
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
}
