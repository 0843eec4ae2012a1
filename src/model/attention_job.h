/* attention_job.h - one kernel call's worth of attention; private to attention*.c. */
#ifndef R2I_ATTENTION_JOB_H
#define R2I_ATTENTION_JOB_H
#include "model/attention.h"

/* One tile's tokens and heads [first_head, first_head + n_heads) against one key/value head. */
typedef struct {
    r2i_forward *f;
    const r2i_attention *a;
    const r2i_attend_tile *tile;
    int32_t kv_head, first_head, n_heads;
    int32_t n_rows; /* tokens x n_heads */
    int32_t first_key[R2I_ATTEND_ROWS], end_key[R2I_ATTEND_ROWS];
    const r2i_worker_scratch *scratch; /* q holds the rows' queries [n_rows, d_key] */
} r2i_head_job;

/* Partial results of a job's rows over some of the keys. */
typedef struct {
    float *max, *sum; /* [n_rows] */
    float *out;       /* [n_rows, d_value] */
} r2i_partial;

static inline int32_t r2i_last_position(const r2i_attend_tile *tile) {
    return tile->first_position + tile->n_tokens - 1;
}

/* Results of the job's rows over n_pages pages of keys and values as attention reads them, the first of
 * which begins at position first_page * R2I_PAGE_TOKENS. */
void r2i_attend_pages(const r2i_head_job *job, int32_t first_page, int32_t n_pages,
                      const uint8_t *const *keys, const uint8_t *const *values,
                      const r2i_partial *out);
#endif
