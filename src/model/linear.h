/* linear.h - products with weight matrices, spread over the pool. */
#ifndef R2I_LINEAR_H
#define R2I_LINEAR_H
#include "base/pool.h"
#include "model/matrix.h"

enum {
    R2I_TILE_PANELS = 4, /* panels computed (and, unpacked, packed) in one kernel call */
    R2I_MAX_LINEAR = 4   /* matrices sharing an input */
};

/* Prepared activation rows of the same input in each form that its matrices need. */
typedef struct {
    uint8_t *rows[3]; /* by r2i_act_kind: [n_tokens, stride[kind]] */
    size_t stride[3];
} r2i_prepared;

typedef struct r2i_lora_work r2i_lora_work; /* lora.h */

/* Told of every product, on any worker but each matrix on one at a time: the prepared rows (act_rows.h)
 * that a matrix is about to be multiplied with. */
typedef void (*r2i_observe)(void *user, const r2i_matrix *m, const uint8_t *act, size_t act_stride,
                            int32_t n_tokens);

/* What every product needs besides its operands. */
typedef struct {
    const r2i_kernels *kernels;
    r2i_pool *pool;
    uint8_t *const *scratch; /* per worker: R2I_TILE_PANELS panels of the widest unpacked matrix */
    /* Told, on any worker, which stored rows have been packed for good and are not needed any more. */
    void (*packed)(void *user, const r2i_matrix *m, int32_t first_row, int32_t n_rows);
    void *packed_user;
    r2i_observe observe; /* NULL: nobody looks */
    void *observe_user;
    size_t pack_budget;  /* bytes of panels that may still be packed for good: new memory is slow */
    r2i_lora_work *lora; /* adapters of the rows, or NULL */
} r2i_linear_context;

typedef struct {
    r2i_matrix *matrix;
    float *y; /* [n_tokens, y_stride] */
    size_t y_stride;
    bool is_added;     /* y += instead of y = */
    int32_t first_row; /* row of the matrix that y's column 0 takes; 0 unless y holds a tile only */
} r2i_linear_output;

/* outputs[i].y = matrix_i x (+ bias) for the prepared rows [0, n_tokens), adapters included. */
void r2i_linear(r2i_linear_context *context, const r2i_linear_output *outputs, int32_t n_outputs,
                const r2i_prepared *x, int32_t n_tokens);

/* Products of n matrices of one shape, each with its own input: y of (token t, matrix g) = matrices[g]
 * x of (t, g). */
typedef struct {
    r2i_matrix *matrices; /* [n] */
    int32_t n;
    const r2i_prepared *x; /* [n_tokens, n] rows, [n_tokens] if is_shared */
    bool is_shared;        /* one input for all matrices */
    int32_t n_tokens;
    float *y; /* [n_tokens, n, y_stride] */
    size_t y_stride;
} r2i_linear_each;
void r2i_linear_run_each(r2i_linear_context *context, const r2i_linear_each *each);

/* One tile of a product, for blocks that fuse something behind it: panels [begin, end), at most
 * R2I_TILE_PANELS of them, by worker `worker` of a region that visits every panel once.
 * is_kept says that this region packs the matrix for good (r2i_matrix_claim).  Adapters are not
 * included: r2i_lora_lower before the region and r2i_lora_raise behind the tile add them. */
void r2i_linear_tile(const r2i_linear_context *context, const r2i_linear_output *output,
                     const uint8_t *act, size_t act_stride, int32_t n_tokens, int32_t begin,
                     int32_t end, bool is_kept, int32_t worker);
/* The same in two steps, for rows that come part by part: the panels, in `scratch` (of R2I_TILE_PANELS)
 * where they are not kept; then products of n_tokens rows with them. */
const uint8_t *r2i_linear_panels(const r2i_linear_context *context, const r2i_matrix *m,
                                 int32_t begin, int32_t end, bool is_kept, uint8_t *scratch);
void r2i_linear_rows(const r2i_linear_context *context, const r2i_linear_output *output,
                     const uint8_t *panels, const uint8_t *act, size_t act_stride, int32_t n_tokens,
                     int32_t begin, int32_t end);
/* Before and after a region that visits all panels of m: claims the right to pack it for good, if the
 * budget allows, and publishes the panels when the claim was given. */
bool r2i_matrix_claim(r2i_linear_context *context, r2i_matrix *m);
void r2i_matrix_publish(const r2i_linear_context *context, r2i_matrix *m);

/* Bit mask of the activation forms a matrix needs: 1 << r2i_act_kind. */
static inline unsigned r2i_matrix_act_mask(const r2i_matrix *m) {
    return 1u << r2i_act_kind_of(m->layout);
}
#endif
