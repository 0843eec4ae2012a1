/* dense_pack_avx512.h - rows to panels, and activation rows, in BF16.  Each file that includes it
 * instantiates it with what it is compiled for. */
#ifndef R2I_DENSE_PACK_AVX512_H
#define R2I_DENSE_PACK_AVX512_H
#include <string.h>

#include "kernels/avx512/levels_avx512.h"
#include "kernels/avx512/transpose_avx512.h"

static inline void act_bf16(uint8_t *row, const float *x, int32_t n_cols, int32_t begin,
                            int32_t end) {
    uint8_t *y = row + 2 * (size_t)begin;
    for (int32_t i = 0, n = end - begin; i < n; i += 32) {
        const __mmask16 low = lanes_avx512(n - i), high = lanes_avx512(n - i - 16);
        const __m512i bits = join_bf16_avx512(_mm512_maskz_loadu_ps(low, x + i),
                                              _mm512_maskz_loadu_ps(high, x + i + 16));
        _mm512_mask_storeu_epi16(y + 2 * (size_t)i, (uint32_t)low | (uint32_t)high << 16, bits);
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

/* 32 columns of a row as pairs of BF16. */
static inline __m512i load_pairs(const pack_source *s, int i, int32_t column) {
    if (s->type == R2I_TYPE_BF16) {
        const uint32_t low = lanes_avx512(s->n_cols - column),
                       high = lanes_avx512(s->n_cols - column - 16);
        const __mmask32 m = s->rows[i] == NULL ? 0u : low | high << 16;
        return _mm512_maskz_loadu_epi16(m, s->rows[i] + 2 * (size_t)column);
    }
    return join_bf16_avx512(load_columns(s, i, column), load_columns(s, i, column + 16));
}

static inline void pack_source_bf16(uint8_t *panel, const pack_source *s) {
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
static inline void pack_by_pieces(uint8_t *panel, r2i_type type,
                                  const uint8_t *const rows[R2I_PANEL_ROWS], int32_t n_cols,
                                  size_t column_bytes,
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

static inline bool is_dense(r2i_type type) {
    return type == R2I_TYPE_F32 || type == R2I_TYPE_F16 || type == R2I_TYPE_BF16;
}

static inline void pack_bf16(uint8_t *panel, r2i_type type,
                             const uint8_t *const rows[R2I_PANEL_ROWS], int32_t n_cols) {
    if (!is_dense(type)) {
        pack_by_pieces(panel, type, rows, n_cols, 32, pack_source_bf16);
        return;
    }
    pack_source s = { .type = type, .n_cols = n_cols };
    memcpy(s.rows, rows, sizeof s.rows);
    pack_source_bf16(panel, &s);
}
#endif
