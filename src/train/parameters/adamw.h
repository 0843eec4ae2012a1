/* adamw.h - AdamW (Loshchilov & Hutter 2019) with clipping of the gradient's norm.
 *
 *     g = gradient * min(1, clip / (norm + 1e-6))
 *     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
 *     w = w (1 - lr decay) - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
 *
 * Matrices decay, norms and biases do not. */
#ifndef R2I_ADAMW_H
#define R2I_ADAMW_H
#include "base/pool.h"
#include "train/ranks/partition.h"

typedef struct {
    double lr, beta1, beta2, eps;
    double weight_decay;
    double clip; /* largest norm of the gradient; 0: as it is */
} r2i_adamw_options;

typedef struct {
    r2i_parameters *parameters;
    const r2i_partition *partition; /* NULL: all is stepped here */
    bool leaves_hidden;             /* their values are stepped by another optimizer (muon.h) */
    float *m;                       /* [n_m] of what is stepped here; without partition as values */
    float *v;                       /* [n_v] */
    size_t *first_m, *first_v; /* [n] place of a parameter's part there; v: none where it is left */
    size_t n_m, n_v;
    int64_t n_steps;
    int32_t n_pieces;
    int32_t *first_piece; /* [n + 1] of each parameter */
    double *sums;         /* [n_pieces] */
} r2i_adamw;

/* Moments of zero.  leaves_hidden: hidden matrices keep a first moment for another optimizer and no
 * second one.  `partition` is borrowed.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_adamw_create(r2i_adamw *out, r2i_parameters *parameters,
                                      const r2i_partition *partition, bool leaves_hidden,
                                      r2i_arena *arena, r2_error *err);
/* Values [begin, end) of parameter i that are stepped here. */
size_t r2i_adamw_part(const r2i_adamw *adamw, int32_t i, size_t *end);
/* Sum of the squares of the gradients stepped here: the same bits for any number of threads. */
double r2i_adamw_squares(const r2i_adamw *adamw, r2i_pool *pool);
/* What gradients of that norm are multiplied with, so that their norm is at most `clip`. */
double r2i_adamw_scale(const r2i_adamw_options *options, double norm);
/* One step of all that is not left, by gradients of that (finite) norm, which it clears.  Then
 * r2i_parameters_refresh is due. */
void r2i_adamw_apply(r2i_adamw *adamw, r2i_pool *pool, const r2i_adamw_options *options,
                     double norm);
#endif
