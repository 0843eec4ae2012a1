/* forward.h - the forward pass: token runs of many sequences in, hidden rows and logits out.
 *
 * A batch is a list of rows (tokens); a run is consecutive rows of one sequence at consecutive
 * positions.  Decoding is a run of one row, a prompt chunk one of many: the same code.  What
 * attention must remember is written to cache pages that the caller lends; nothing else outlives a
 * call.  All memory is taken when the forward object is created. */
#ifndef R2I_FORWARD_H
#define R2I_FORWARD_H
#include "base/arena.h"
#include "model/expert_exchange.h"
#include "model/lora.h"
#include "model/saved.h"
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
    r2i_cache_stream *streams; /* [n_streams] */
    int32_t *
        first_stream; /* [n_layers + n_mtp]: GQA has keys and values, MLA one stream of latent rows */
} r2i_cache_layout;

/* Streams of a layer, in the order its attention block expects. */
static inline const r2i_cache_stream *r2i_cache_streams_of(const r2i_cache_layout *cache,
                                                           int32_t layer) {
    return &cache->streams[cache->first_stream[layer]];
}

/* Bytes of a page that all layers of the main model fill, prediction modules not counted. */
size_t r2i_cache_page_bytes(const r2i_config *config, r2i_row_kind rows);
/* Streams of a model in `arena`. */
R2_CHECKED r2_status r2i_cache_layout_create(r2i_cache_layout *out, const r2i_config *config,
                                             r2i_row_kind rows, r2i_arena *arena, r2_error *err);

typedef struct r2i_run r2i_run;
struct r2i_run {
    int32_t first_row, n_rows; /* in the batch */
    int32_t first_position;    /* of the first row; all tokens before are in the pages */
    uint8_t *const *pages; /* page i holds positions [128 i, 128 i + 128), up to the run's last */
    const r2i_lora_pair *lora; /* the adapter's pairs [n_matrices]; NULL: none */
    float lora_scale;          /* times the pairs' own */
    /* Runs of the same batch that go on where this one ends have its full pages in theirs; what it writes
     * to its last page, not full yet, it writes to these too. */
    uint8_t *const *copies; /* [n_copies] */
    int32_t n_copies;
    const r2i_run *trunk; /* in training: the run of this batch that it continues; NULL: none */
};

/* Of run->copies those that a row at this position is written to. */
static inline int32_t r2i_run_copies(const r2i_run *run, int32_t position) {
    const int32_t end = run->first_position + run->n_rows;
    return position / R2I_PAGE_TOKENS == end / R2I_PAGE_TOKENS ? run->n_copies : 0;
}

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
    bool is_expanding;     /* latent attention of long prompts expands keys and values */
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
    const r2i_expert_exchange *exchange; /* NULL: all experts are here */
} r2i_forward_parts;

/* Takes all scratch from `arena`.  The parts are borrowed.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_forward_create(r2i_forward **out, const r2i_forward_parts *parts,
                                        const r2i_forward_limits *limits, r2i_arena *arena,
                                        r2_error *err);
/* How many bytes of weights the next runs may pack for good; none to begin with.  Weights that are
 * not packed yet are packed in scratch for each use. */
void r2i_forward_set_pack_budget(r2i_forward *f, size_t n_bytes);
/* What is left of it. */
size_t r2i_forward_pack_budget(const r2i_forward *f);
/* Lets somebody see the inputs of all products from now on; NULL: nobody. */
void r2i_forward_set_observer(r2i_forward *f, r2i_observe observe, void *user);
/* The next runs ask before each layer whether anybody still wants them; where not, the run ends there and
 * what it wrote means nothing.  NULL: they do not ask. */
void r2i_forward_set_wanted(r2i_forward *f, bool (*is_wanted)(void *user), void *user);
/* The last run came to its end. */
bool r2i_forward_is_complete(const r2i_forward *f);
/* Runs the layers over a batch and writes the rows' keys and values to their pages. */
void r2i_forward_run(r2i_forward *f, const r2i_batch *batch);
/* Final hidden row (after the last norm) of a batch row of the last run; valid until the next call. */
const float *r2i_forward_hidden(r2i_forward *f, int32_t row);
/* Whether a batch row of the last run came out as numbers.  What is cached of a row that did not is made
 * finite, so that it reaches no row which does not attend to it. */
bool r2i_forward_is_finite(const r2i_forward *f, int32_t row);
/* Logits [n, n_vocab] of n <= cap_logits batch rows of the last run. */
void r2i_forward_logits(r2i_forward *f, const int32_t *rows, int32_t n, float *logits);

/* ---- training (src/train) ---- */

/* The next runs keep what the backward twins of their layers read: saved [n_layers + n_mtp], borrowed;
 * NULL: nothing is kept. */
void r2i_forward_set_saved(r2i_forward *f, const r2i_layer_saved *saved);
/* Experts of the next runs' rows, [n_rows, n_layers, n_active], those of layers without experts not used: told as
 * the routers choose them, or (is_given) taken as they stand and weighed by what the routers say of them now.
 * A prediction module's router chooses.  Borrowed; NULL: all routers choose, nobody is told. */
void r2i_forward_set_routes(r2i_forward *f, uint16_t *routes, bool is_given);
/* Residual rows [n_rows, d_model] as the last run left them. */
const float *r2i_forward_rows(const r2i_forward *f);
/* Runs one layer again over the residual rows x that it saw in a run of this batch. */
void r2i_forward_rerun_layer(r2i_forward *f, const r2i_batch *batch, int32_t layer, const float *x);

/* ---- multi-token prediction (DeepSeek-V3, arXiv:2412.19437, 2.2) ---- */

/* Rows that the module reads: for the batch's row i, whose token is the one AFTER position p of the
 * run, the hidden row of position p is row source_rows[i] of the last r2i_forward_run, or of the last
 * r2i_mtp_run when is_own (drafting further than one token). */
typedef struct {
    r2i_batch batch;
    const int32_t *source_rows;
    bool is_own;
} r2i_mtp_batch;

/* Whether the model has the module. */
bool r2i_mtp_is_there(const r2i_forward *f);
/* Keeps the hidden rows of the last r2i_forward_run for r2i_mtp_run.  Call it after every run whose
 * rows will be asked for. */
void r2i_mtp_keep_rows(r2i_forward *f);
/* Runs the module over a batch and writes its latent rows to the same pages and slots: the row made
 * from position p and the token of p + 1 lies at p.  Attention sees no rows of the main layers. */
void r2i_mtp_run(r2i_forward *f, const r2i_mtp_batch *mtp);
/* Logits [n, n_vocab] for the token after next, of rows of the last r2i_mtp_run. */
void r2i_mtp_logits(r2i_forward *f, const int32_t *rows, int32_t n, float *logits);
#endif
