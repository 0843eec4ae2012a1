/* attention_backward.h - backward twin of softmax attention within the runs of a batch.
 *
 *     S = scale Q K^T (causal, within the window),  P = softmax(S),  O = P V
 *     dV = P^T dO,   dP = dO V^T,   dS = P (dP - rowsum(P dP)) scale,   dQ = dS K,   dK = dS^T Q
 *
 * S and P are computed again, tile by tile, with the forward pass's kernels.  A run begins at position 0 or
 * where its trunk ends, to whose keys it attends too.  One worker computes a key head of a run and of all
 * that continue it from beginning to end, so sums keep their order. */
#ifndef R2I_ATTENTION_BACKWARD_H
#define R2I_ATTENTION_BACKWARD_H
#include "base/arena.h"
#include "base/pool.h"
#include "model/forward.h"

typedef struct {
    int32_t n_kv_heads, group; /* query heads = n_kv_heads * group */
    int32_t d_key, d_value;
    int32_t window; /* 0: all */
    float scale;
    const float *q;         /* [n_rows, heads, d_key] rotated */
    const float *k, *v;     /* [n_rows, n_kv_heads, d_key or d_value] */
    const float *g_out;     /* [n_rows, heads, d_value] */
    float *g_q, *g_k, *g_v; /* as q, k, v; written */
} r2i_attention_backward;

typedef struct r2i_attention_scratch r2i_attention_scratch;
typedef struct {
    const r2i_kernels *kernels;
    r2i_pool *pool;
    r2i_type layout;                /* of the products: F32 or BF16 */
    r2i_attention_scratch *workers; /* [n_threads] */
    int32_t cap_tokens, cap_key, cap_value;
} r2i_attention_workspace;

/* Room for runs of up to cap_tokens tokens, those of the trunk included, and heads of these widths.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_attention_workspace_create(r2i_attention_workspace *out,
                                                    const r2i_kernels *kernels, r2i_pool *pool,
                                                    r2i_type layout, int32_t cap_tokens,
                                                    int32_t cap_key, int32_t cap_value,
                                                    r2i_arena *arena, r2_error *err);
void r2i_attention_run_backward(const r2i_attention_workspace *workspace,
                                const r2i_attention_backward *attention, const r2i_run *runs,
                                int32_t n_runs);
#endif
