/* products.h - the matrix products of a linear layer in training.
 *
 *     y = x W^T          dx (+)= dy W          gradient of W += dy^T x
 *
 * All run on the forward pass's kernels, with operands turned on the way, in F32 or in BF16 with F32
 * sums.  Every output is one chain over pieces of R2I_PRODUCT_PIECE in order, whatever the number of
 * threads.  Several products of different sizes (experts) make one region. */
#ifndef R2I_PRODUCTS_H
#define R2I_PRODUCTS_H
#include "base/arena.h"
#include "base/pool.h"
#include "train/backward/product_operands.h"

typedef struct {
    const r2i_kernels *kernels;
    r2i_pool *pool;
    uint8_t **panels;  /* [n_threads] scratch: a tile of panels of a piece */
    uint8_t *rows;     /* prepared rows of one call */
    size_t rows_bytes; /* room there */
} r2i_products;

enum { R2I_MAX_PRODUCTS = 4 }; /* that share an input */

typedef struct {
    r2i_type layout;      /* R2I_TYPE_F32 or R2I_TYPE_BF16 */
    int32_t n_rows;       /* tokens; 0: nothing to do */
    int32_t n_out, n_in;  /* of W */
    const float *dy;      /* [n_rows, n_out] */
    const float *x;       /* [n_rows, n_in] */
    const float *weights; /* W [n_out, n_in] */
    float *gradient;      /* [n_out, n_in]; NULL: frozen */
    float *dx;            /* [n_rows, n_in] */
    bool is_added;        /* dx += instead of dx = */
    const r2i_operand *dy_made,
        *x_made; /* BF16: the forms of dy and x that are needed; NULL: made */
    float *y;    /* [n_rows, n_out] */
    /* So many behind this one have the same x, dx, n_rows, n_in and layout and R2I_SHARES_X here: x is
     * turned once for all of them, and dx (+)= the sum of theirs. */
    int32_t n_sharing;
} r2i_product;
enum { R2I_SHARES_X = -1 };

/* Bytes of `rows` for a call with n_rows rows in all and at most n_wide columns on either side. */
size_t r2i_products_rows_bytes(int32_t n_products, int64_t n_rows, int32_t n_wide);
R2_CHECKED r2_status r2i_products_create(r2i_products *out, const r2i_kernels *kernels,
                                         r2i_pool *pool, size_t rows_bytes, r2i_arena *arena,
                                         r2_error *err);
/* y = x W^T of one, where a backward twin needs a product of the forward pass again. */
void r2i_products_outputs(const r2i_products *context, const r2i_product *product);
/* dx (+)= dy W of each. */
void r2i_products_inputs(const r2i_products *context, const r2i_product *products, int32_t n);
/* gradient += dy^T x of each. */
void r2i_products_weights(const r2i_products *context, const r2i_product *products, int32_t n);
/* Both, of products that all share x; dx may be NULL.  BF16: norm (not NULL) says that x is what
 * RMSNorm(x; norm, eps) makes of it.  context->rows needs room for the forms of all dy and of x. */
void r2i_products_backward(const r2i_products *context, const r2i_product *products, int32_t n,
                           const float *norm, float eps);
/* Fills in panels of rows [row, row + n) of x [n_rows, n_cols], normed with a norm, on a worker. */
void r2i_products_take_x(const r2i_products *context, const r2i_operand *operand, const float *x,
                         const float *norm, float eps, int32_t row, int32_t n, int32_t worker);
#endif
