/* saved.h - what the forward pass keeps of a layer for its backward twin (src/train).
 *
 * The memory is the trainer's; blocks fill what is not NULL.  Rows are those of the batch, densely
 * one behind the other.  In inference there is no saved layer at all. */
#ifndef R2I_SAVED_H
#define R2I_SAVED_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    float *q_raw, *k_raw; /* before norm and rotation; NULL where heads are not normed */
    float *q;             /* [n_rows, n_heads, d_head] rotated */
    float *k, *v;         /* [n_rows, n_kv_heads, d_head] as cached */
} r2i_gqa_saved;

typedef struct {
    float *q_low;      /* [n_rows, q_rank] before its norm */
    float *q;          /* [n_rows, n_heads, d_head], the end of each head rotated */
    float *latent_raw; /* [n_rows, kv_rank + rope.d] before norm and rotation */
    float *latent;     /* [n_rows, kv_rank + rope.d] as cached */
} r2i_mla_saved;

typedef struct {
    float *gate, *up; /* [n_rows or entries, width of the inner layer] */
    bool is_rounded;  /* both are prepared BF16 rows (act_rows.h) instead */
} r2i_gated_saved;

typedef struct {
    float *scores;        /* [n_rows, n_experts] s of router.h */
    int32_t *chosen;      /* [n_rows, n_active] */
    float *weights;       /* [n_rows, n_active] */
    int32_t *entry_of;    /* [n_rows, n_active] place of a choice among the experts' rows */
    int32_t *first_entry; /* [n_experts + 1] */
    r2i_gated_saved experts, shared;
} r2i_moe_saved;

typedef struct {
    float *x;        /* [n_rows, d_model] residual rows before attention */
    float *x_ffn;    /* [n_rows, d_model] before the feed-forward part */
    float *attended; /* [n_rows, n_heads * d_value] input of o */
    r2i_gqa_saved gqa;
    r2i_mla_saved mla;
    r2i_gated_saved mlp;
    r2i_moe_saved moe;
} r2i_layer_saved;

/* Row `row` of a kept array, if it is kept. */
static inline void r2i_keep_row(float *to, size_t row, const float *from, int32_t n) {
    if (to != NULL) memcpy(to + row * (size_t)n, from, (size_t)n * sizeof *from);
}
#endif
