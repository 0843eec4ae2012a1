/* matrix.h - a weight matrix: stored rows in a mapped file, packed panels for the kernels.
 *
 * The element type fixes the arithmetic (kernels.h).  Panels are made in scratch memory for
 * each use until a step has budget to keep them (new memory costs more than packing does), or always
 * with is_unpacked.
 * Both give the same bits, because both feed the same kernel. */
#ifndef R2I_MATRIX_H
#define R2I_MATRIX_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum { R2I_SCALE_BLOCK = 128 }; /* rows and columns that share a scale */
enum { R2I_SHARD_NONE = -1 };   /* rows in memory: made while loading */
typedef enum { R2I_PACK_NONE, R2I_PACK_CLAIMED, R2I_PACK_DONE } r2i_pack_state;

typedef struct {
    int32_t n_rows, n_cols;
    int32_t n_panels;
    r2i_type type;         /* of the stored rows */
    r2i_type layout;       /* of the panels */
    const uint8_t *stored; /* [n_rows, row_bytes] */
    int32_t shard;         /* file of a sharded model that holds them, or R2I_SHARD_NONE */
    size_t row_bytes, panel_bytes;
    /* F8_E4M3: F32 factors of unknown alignment [rows / 128, ceil(n_cols / 128)]; NULL otherwise. */
    const uint8_t *scales;
    int32_t first_scale_row; /* place of row 0 in the matrix that the factors are of */
    int32_t
        n_swapped_heads; /* GGUF llama q and k: rows of each head lie as pairs; 0: rows as they are */
    const float *bias;   /* [n_rows] or NULL */
    int32_t index;       /* its place in the order of r2i_weights_visit */
    uint8_t *panels;     /* [n_panels, panel_bytes], room reserved; NULL: never kept */
    _Atomic int pack_state; /* r2i_pack_state */
} r2i_matrix;

/* Stored row that holds row `r` of the matrix in Hugging Face order.  GGUF's llama converter turns
 * the halves of a head into pairs: stored row 2i + h of a head is row h * d/2 + i. */
static inline int32_t r2i_matrix_stored_row(const r2i_matrix *m, int32_t r) {
    if (m->n_swapped_heads == 0) return r;
    const int32_t d = m->n_rows / m->n_swapped_heads, head = r / d, i = r % d;
    return head * d + (i % (d / 2)) * 2 + i / (d / 2);
}

/* Row `r` [n_cols] as F32, scaled. */
void r2i_matrix_read_row(const r2i_matrix *m, const r2i_kernels *kernels, int32_t r, float *out);
/* Columns [begin, begin + n) of row `r`; both are multiples of 256, but for what is left at the row's end. */
void r2i_matrix_read_part(const r2i_matrix *m, const r2i_kernels *kernels, int32_t r, int32_t begin,
                          int32_t n, float *out);
/* Packs panels [begin, end) to `out`. */
void r2i_matrix_pack(const r2i_matrix *m, const r2i_kernels *kernels, int32_t begin, int32_t end,
                     uint8_t *out);
#endif
