/* muon.h - Muon (Jordan et al. 2024; Liu et al., "Muon is scalable for LLM training", 2025): hidden
 * matrices, each expert's by itself, step by the orthogonal part of their momentum; all else by AdamW.
 *
 *     m = momentum m + (1 - momentum) g,   u = (1 - momentum) g + momentum m        (Nesterov)
 *     X = u / (|u| + 1e-7), five times X = a X + (b A + c A^2) X with A = X X^T     (Newton-Schulz)
 *     W = W (1 - lr decay) - lr 0.2 sqrt(max(rows, columns)) X
 *
 * a, b, c = 3.4445, -4.7750, 2.0315: singular values come near 1 quickly, not exactly.  The factor makes
 * updates as large as AdamW's, so that both share one learning rate.  A wide matrix is used as it is, a
 * tall one turned. */
#ifndef R2I_MUON_H
#define R2I_MUON_H
#include "train/parameters/adamw.h"
#include "train/backward/products.h"

typedef struct {
    r2i_adamw_options rest; /* lr, weight decay and clipping hold for all */
    double momentum;
} r2i_muon_options;

/* What a thread needs for one matrix at a time. */
typedef struct {
    r2i_products products;
    float *x, *next;       /* [n, m], n <= m */
    float *a, *polynomial; /* [n, n] */
} r2i_muon_room;

typedef struct {
    r2i_adamw adamw; /* its first moments are the momentum of hidden matrices */
    r2i_type layout;
    int32_t *small, *large; /* parameters stepped here: by one thread, by all together */
    int32_t n_small, n_large;
    r2i_pool *alone;      /* a pool of the calling thread only, for products inside a region */
    r2i_muon_room *rooms; /* [n_threads], for small matrices */
    r2i_muon_room large_room;
} r2i_muon;

/* `partition` divides no hidden matrix; NULL: all is stepped here.  layout: R2I_TYPE_F32 or
 * R2I_TYPE_BF16, the arithmetic of the products.  R2_E_NOMEM, R2_E_IO. */
R2_CHECKED r2_status r2i_muon_create(r2i_muon *out, r2i_parameters *parameters,
                                     const r2i_partition *partition, const r2i_kernels *kernels,
                                     r2i_type layout, r2i_pool *pool, r2i_arena *arena,
                                     r2_error *err);
void r2i_muon_destroy(r2i_muon *muon);
/* One step by gradients of that (finite) norm, which it clears.  Then r2i_parameters_refresh is due.  The
 * same bits for any number of threads. */
void r2i_muon_apply(r2i_muon *muon, r2i_pool *pool, const r2i_muon_options *options, double norm);
#endif
