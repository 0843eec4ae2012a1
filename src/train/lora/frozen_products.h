/* frozen_products.h - dx (+)= dy W (+ dlow A) for matrices that stay as their file has them.
 *
 * W is read where it lies, in pieces of R2I_PRODUCT_PIECE rows: a piece's values become transposed BF16
 * (or F32) panels in a room that all threads share, then tiles of dx are multiplied with them.  The model
 * is never copied as a whole.  Every output is one chain over the pieces in order, then the pair's part. */
#ifndef R2I_FROZEN_PRODUCTS_H
#define R2I_FROZEN_PRODUCTS_H
#include "model/matrix.h"
#include "train/backward/products.h"

typedef struct {
    const r2i_matrix *matrix; /* W [n_out, n_in] */
    r2i_type layout;          /* of the panels: R2I_TYPE_F32 or R2I_TYPE_BF16 */
    int32_t n_rows;           /* tokens; 0: nothing to do */
    const float *dy;          /* [n_rows, n_out] */
    float *dx;                /* [n_rows, n_in] */
    bool is_added;            /* dx += instead of dx = */
    bool is_prepared;         /* dy, n_rows and layout are those of the last call */
    /* Of the matrix's low-rank pair; rank 0: there is none. */
    int32_t rank;
    const float *g_low; /* [n_rows, rank] */
    const float *a;     /* A [rank, n_in] */
} r2i_frozen_product;

typedef struct {
    const r2i_products *products; /* kernels, threads, room for prepared rows */
    uint8_t *panels;              /* of as many pieces as there is room for */
    size_t panels_bytes;
    float **values; /* [n_threads] values on their way into panels */
} r2i_frozen_products;

/* `products` is borrowed; n_wide: the most columns that a matrix has.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_frozen_products_create(r2i_frozen_products *out,
                                                const r2i_products *products, int32_t n_wide,
                                                r2i_arena *arena, r2_error *err);
void r2i_frozen_inputs(const r2i_frozen_products *context, const r2i_frozen_product *product);
#endif
