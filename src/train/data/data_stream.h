/* data_stream.h - batches of runs of tokens out of prepared data, the same ones every time.
 *
 * A batch holds runs: a run is a part of a document (data_parts.h), and attention never crosses runs.
 * Parts of texts are cut where the batch is full and go on in the next one; chats are taken whole, cut at
 * the length of a run.  Which source the next part comes from is drawn by weight, which part by a
 * permutation of its own for each epoch: all a function of (seed, position), so that a place of a few
 * numbers resumes the stream exactly.  A thread of its own prepares the next n_held batches. */
#ifndef R2I_DATA_STREAM_H
#define R2I_DATA_STREAM_H
#include "train/data/data_parts.h"

enum { R2I_MAX_SOURCES = 32 };

typedef struct {
    const r2i_data_set *set;
    r2i_split split;
    double weight; /* share of the parts drawn; above 0 */
} r2i_data_source;

typedef struct {
    const r2i_data_source *sources;
    int32_t n_sources;    /* 1 to R2I_MAX_SOURCES */
    int32_t run_tokens;   /* most tokens of a run, at least 2 */
    int32_t batch_tokens; /* at least run_tokens */
    uint64_t seed;
    bool is_once;   /* end after one epoch of every source: for validation */
    int32_t n_held; /* batches that stay valid at once; 0: 1 */
} r2i_data_stream_options;

/* Where a stream stands; plain numbers, to be kept in a checkpoint. */
typedef struct {
    int64_t n_drawn;             /* parts of all sources */
    int32_t source;              /* of the part under way; -1: none */
    int64_t offset;              /* in it */
    int64_t at[R2I_MAX_SOURCES]; /* parts of each source taken in all epochs */
} r2i_data_place;

typedef struct {
    const int32_t *tokens;     /* [n_tokens] */
    const int32_t *targets;    /* [n_tokens] the token that follows; -1: not learnt */
    const int32_t *run_begins; /* [n_runs + 1], the last one is n_tokens */
    int32_t n_tokens, n_runs, n_targets;
    r2i_data_place after; /* where the stream stands behind this batch */
} r2i_batch_data;

typedef struct r2i_data_stream r2i_data_stream;

/* `place` may be NULL: the beginning.  R2_E_ARGUMENT: no documents or bad numbers; R2_E_NOMEM, R2_E_IO
 * (no thread). The sets must outlive the stream. */
R2_CHECKED r2_status r2i_data_stream_open(r2i_data_stream **out,
                                          const r2i_data_stream_options *options,
                                          const r2i_data_place *place, r2i_heap *heap,
                                          r2_error *err);
/* NULL is allowed. */
void r2i_data_stream_close(r2i_data_stream *stream);
/* Memory that a stream of such batches takes, its sources' parts not counted. */
int64_t r2i_data_stream_bytes(int32_t batch_tokens, int32_t n_held);
/* The next batch, valid until n_held calls after it; n_tokens is 0 at the end (is_once). */
const r2i_batch_data *r2i_data_stream_next(r2i_data_stream *stream);
#endif
