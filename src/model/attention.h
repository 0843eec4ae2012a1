/* attention.h - softmax attention of a batch's rows over cached rows, whatever they are made of.
 *
 * Query heads are taken in groups that share one key/value head: a group of a few for grouped
 * queries, all heads for a latent row.  Private to the blocks. */
#ifndef R2I_ATTENTION_H
#define R2I_ATTENTION_H
#include "model/forward_state.h"

typedef struct {
    int32_t n_kv_heads, group; /* query heads = n_kv_heads * group */
    int32_t d_key, d_value;
    int32_t window; /* keys seen: the last `window` tokens; 0: all */
    float scale;    /* of q . k */
    const r2i_cache_stream *keys;
    const r2i_cache_stream *values; /* NULL: a value is the first d_value channels of its key */
    const float *q;                 /* [n_rows, n_kv_heads * group, d_key] */
    float *out;                     /* [n_rows, n_kv_heads * group, d_value] */
} r2i_attention;

/* Results over some of the keys, for all rows of a batch: divided by their sums at the end. */
typedef struct {
    float *max, *sum; /* [n_rows, n_kv_heads * group] */
} r2i_attention_sums;

/* Keys and values of a few pages that are not those of the cache: [page][kv head] of a key page and
 * a value page. */
typedef struct {
    const uint8_t *memory;
    int32_t first_page, n_pages;
} r2i_attention_pages;

/* Cuts the batch into tiles of query tokens; once per batch, before the layers. */
void r2i_attention_plan(r2i_forward *f);
/* out = softmax(scale q K^T) V for all rows of the batch, causal. */
void r2i_attention_run(r2i_forward *f, const r2i_attention *attention);
/* Adds these pages to the rows of one run: `out` holds sums p v, and with is_first the results begin.
 * keys and values are not used. */
void r2i_attention_add_pages(r2i_forward *f, const r2i_attention *attention, const r2i_run *run,
                             const r2i_attention_pages *pages, const r2i_attention_sums *sums,
                             bool is_first);
/* Divides by the sums. */
void r2i_attention_finish(r2i_forward *f, const r2i_attention *attention, const r2i_run *run,
                          const r2i_attention_sums *sums);
/* The run of the batch that holds a row. */
const r2i_run *r2i_batch_find_run(const r2i_batch *batch, int32_t row);

/* Query heads per key/value head, and how many heads fill the rows of one kernel call. */
static inline int32_t r2i_attention_group(const r2i_config *c) {
    return c->n_heads / c->n_kv_heads;
}
static inline int32_t r2i_attention_block(int32_t group) {
    return group < R2I_ATTEND_ROWS ? group : R2I_ATTEND_ROWS;
}
#endif
