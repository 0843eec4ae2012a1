/* forward.h - the forward pass: token runs of many sequences in, hidden rows and logits out.
 *
 * A batch is a list of rows (tokens); a run is consecutive rows of one sequence at consecutive
 * positions.  Decoding is a run of one row, a prompt chunk one of many: the same code.  What
 * attention must remember is written to cache pages that the caller lends; nothing else outlives a
 * call.  All memory is taken when the forward object is created. */
#ifndef R2I_FORWARD_H
#define R2I_FORWARD_H
#include "base/arena.h"
#include "model/linear.h"
#include "model/weights.h"

/* One stream of cache rows inside a page: all R2I_PAGE_TOKENS / stride rows of one layer lie
 * together at `offset`.  Keys and values have stride 1 and no boundary state; compressed and sparse
 * attention will add streams with other strides and a state of the unfinished window. */
typedef struct {
    size_t offset, n_bytes; /* in the page */
    int32_t stride;         /* tokens per row */
    int32_t window;         /* rows needed: the last `window` tokens; 0: all */
} r2i_cache_stream;

typedef struct {
    r2i_row_kind rows;
    size_t page_bytes;     /* a multiple of 64 */
    size_t boundary_bytes; /* state besides pages that a sequence carries; 0 for keys and values */
    int32_t n_streams;
    r2i_cache_stream *streams; /* [n_streams]: layer i has its keys at 2i, its values at 2i + 1 */
} r2i_cache_layout;

/* Streams of a model in `arena`. */
R2_CHECKED r2_status r2i_cache_layout_create(r2i_cache_layout *out, const r2i_config *config,
                                             r2i_row_kind rows, r2i_arena *arena, r2_error *err);

typedef struct {
    int32_t first_row, n_rows; /* in the batch */
    int32_t first_position;    /* of the first row; all tokens before are in the pages */
    uint8_t *const *pages; /* page i holds positions [128 i, 128 i + 128), up to the run's last */
} r2i_run;

typedef struct {
    const int32_t *tokens; /* [n_rows], below n_vocab */
    int32_t n_rows;
    const r2i_run *runs; /* [n_runs], in row order, covering all rows */
    int32_t n_runs;
} r2i_batch;

typedef struct {
    int32_t cap_rows;      /* rows per batch */
    int32_t cap_logits;    /* rows of one r2i_forward_logits */
    int32_t cap_positions; /* longest sequence */
} r2i_forward_limits;

typedef struct r2i_forward r2i_forward;

typedef struct {
    const r2i_config *config;
    r2i_weights *weights; /* only pack states change */
    const r2i_kernels *kernels;
    r2i_pool *pool;
    const r2i_cache_layout *cache;
    void (*packed)(void *user, const r2i_matrix *m, int32_t first_row,
                   int32_t n_rows); /* r2i_linear_context */
    void *packed_user;
} r2i_forward_parts;

/* Takes all scratch from `arena`.  The parts are borrowed.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_forward_create(r2i_forward **out, const r2i_forward_parts *parts,
                                        const r2i_forward_limits *limits, r2i_arena *arena,
                                        r2_error *err);
/* How many bytes of weights the next runs may pack for good; none to begin with.  Weights that are
 * not packed yet are packed in scratch for each use. */
void r2i_forward_set_pack_budget(r2i_forward *f, size_t n_bytes);
/* Runs the layers over a batch and writes the rows' keys and values to their pages. */
void r2i_forward_run(r2i_forward *f, const r2i_batch *batch);
/* Final hidden row (after the last norm) of a batch row of the last run; valid until the next call. */
const float *r2i_forward_hidden(r2i_forward *f, int32_t row);
/* Logits [n, n_vocab] of n <= cap_logits batch rows of the last run. */
void r2i_forward_logits(r2i_forward *f, const int32_t *rows, int32_t n, float *logits);
#endif
