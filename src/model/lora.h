/* lora.h - low-rank additions to products:  y += s B (A x)  for the rows that ask for them
 * (Hu et al. 2021, arXiv:2106.09685).
 *
 * An adapter is an array of pairs, one per matrix of the model.  The rows of a batch that use one
 * are spans.  `low` = s A x is computed for a span before the tiles of a product; B low is added to
 * each tile while it is in the worker's cache, before anything that is fused behind the product.
 * Both are products of the kernels, one chain per output: a row's bits depend neither on its
 * neighbours nor on the split, and rows without an adapter are not touched. */
#ifndef R2I_LORA_H
#define R2I_LORA_H
#include "model/linear.h"

enum { R2I_MAX_RANK = 512 };

typedef struct {
    int32_t rank;           /* 0: the matrix stays as it is */
    int32_t n_rows, n_cols; /* of the matrix */
    float scale;
    const uint8_t *a, *b; /* panels of A [rank, n_cols] and of B [n_rows, rank] */
    float *kept; /* training: low of the last product's rows [rows, rank]; otherwise NULL */
} r2i_lora_pair;

/* Rows [first_row, first_row + n_rows) of a product's x and y that use one adapter. */
typedef struct {
    const r2i_lora_pair *pairs; /* by r2i_matrix.index */
    float scale;                /* times the pair's own */
    int32_t first_row, n_rows;
} r2i_lora_span;

struct r2i_lora_work {
    r2i_type layout;            /* of all panels: F32 or BF16 */
    const r2i_lora_span *spans; /* of the products that follow, in row order */
    int32_t n_spans;
    uint8_t *low[R2I_MAX_LINEAR]; /* per product: prepared rows [cap_rows], of a span's rows only */
    size_t stride[R2I_MAX_LINEAR]; /* 0: no span changes this product */
};

/* Does this row need its activations in the form that A takes, r2i_act_kind_of(layout)? */
static inline bool r2i_lora_has_row(const r2i_lora_work *work, int32_t row) {
    for (int32_t s = 0; s < work->n_spans; s++) {
        const r2i_lora_span *span = &work->spans[s];
        if (row >= span->first_row && row < span->first_row + span->n_rows) return true;
    }
    return false;
}

/* Bytes of `low` for one product of cap_rows rows. */
size_t r2i_lora_low_bytes(r2i_type layout, int32_t cap_rows);
/* Fills low[i] for the product with matrices[i], i < n <= R2I_MAX_LINEAR; x is their input. */
void r2i_lora_lower(const r2i_linear_context *context, const r2i_matrix *const *matrices, int32_t n,
                    const r2i_prepared *x);
/* Adds B low[i] to panels [begin, end) of product i, which r2i_linear_tile has computed. */
void r2i_lora_raise(const r2i_linear_context *context, int32_t i, const r2i_linear_output *output,
                    int32_t begin, int32_t end);
#endif
