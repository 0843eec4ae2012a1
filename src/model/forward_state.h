/* forward_state.h - what the blocks of one forward pass share; private to the blocks. */
#ifndef R2I_FORWARD_STATE_H
#define R2I_FORWARD_STATE_H
#include "model/forward.h"

/* Query tokens of one run that are attended together: as many as fill a kernel call. */
typedef struct {
    const r2i_run *run;
    int32_t first_row, n_tokens;
    int32_t first_position;
} r2i_attend_tile;

/* Scratch of one worker. */
typedef struct {
    uint8_t *panels;  /* R2I_TILE_PANELS of the widest matrix */
    uint8_t *panels2; /* as many, of the second of two matrices */
    float *row;       /* [widest row] */
    float *gate, *up; /* [cap_rows, R2I_TILE_PANELS * 16] */
    float *q;         /* [R2I_ATTEND_ROWS, width of a cached or an expanded key] */
    float *chunk_out; /* [R2I_ATTEND_ROWS, width of a cached or an expanded value] */
    float *total_out; /* [R2I_ATTEND_ROWS, width of a cached value] */
    float *page_out;  /* the same of one page, where pages are made ready first: */
    uint8_t *keys;    /* page of F16 or Q8 keys as attention reads them */
    uint8_t *values;  /* likewise of values, or of latent rows' values */
} r2i_worker_scratch;

/* Rows of a batch sorted by the expert they go to.  An entry is one (row, choice). */
typedef struct {
    float *scores;        /* [cap_rows, n_experts] */
    int32_t *chosen;      /* [cap_rows, n_active] experts, best first */
    float *weights;       /* [cap_rows, n_active] */
    int32_t *entry_of;    /* [cap_rows, n_active] place of the choice in expert order */
    int32_t *first_entry; /* [n_experts + 1] */
    int32_t *first_tile;  /* [n_experts + 1] of the region in work */
    bool *is_kept;        /* [3, n_experts] matrices being packed by the region */
    r2i_prepared x;       /* [cap_entries]; a single row stays in f->input */
    r2i_prepared inner;   /* [cap_entries] of d_expert columns */
    float *y;             /* [cap_entries, d_model] */
    struct {              /* rows that came to the experts here, with an exchange */
        r2i_prepared x;
        float *y;
    } here;
} r2i_moe_scratch;

/* Latent attention. */
typedef struct {
    float *q_low;           /* [cap_rows, q_rank] */
    r2i_prepared q_low_act; /* [cap_rows] */
    float *q;               /* [cap_rows, n_heads, kv_rank + rope.d] */
    float *z;               /* [cap_rows, n_heads, kv_rank] sums of latent rows */
    r2i_prepared head_act;  /* [cap_rows, n_heads] of kv_rank or d_head - rope.d columns */
    /* Expanded form. */
    float *latents;          /* [R2I_EXPAND_TOKENS, kv_rank + rope.d] */
    r2i_prepared latent_act; /* [R2I_EXPAND_TOKENS] of kv_rank columns */
    float *k, *v;            /* [R2I_EXPAND_TOKENS, n_heads, d_head - rope.d or d_value] */
    uint8_t *pages;          /* r2i_attention_pages of R2I_EXPAND_PAGES */
    float *max, *sum;        /* [cap_rows, n_heads] */
} r2i_mla_scratch;
enum { R2I_EXPAND_PAGES = 2, R2I_EXPAND_TOKENS = R2I_EXPAND_PAGES * R2I_PAGE_TOKENS };

/* Multi-token prediction; NULL without. */
typedef struct {
    float *hidden;         /* [cap_rows, d_model] of the main model, after its last norm */
    float *own;            /* [cap_rows, d_model] of the module, after its last norm */
    float *joined;         /* [cap_rows, 2 d_model] */
    r2i_prepared join_act; /* [cap_rows] */
} r2i_mtp_scratch;

struct r2i_forward {
    r2i_forward_parts parts;
    r2i_forward_limits limits;
    r2i_linear_context linear;
    r2i_lora_work lora;                 /* linear.lora */
    r2i_lora_span *spans, *logit_spans; /* [cap_rows], [cap_logits] */
    int32_t n_spans;                    /* of the batch */
    int32_t n_workers;
    r2i_worker_scratch *workers;
    double *inv_freq; /* [d_rope / 2] */
    double rope_factor;

    bool (*is_wanted)(void *user); /* NULL: always */
    void *wanted_user;
    bool is_complete;

    const r2i_layer_saved *all_saved; /* [n_layers + n_mtp] in training, otherwise NULL */
    const r2i_layer_saved *saved;     /* of the layer being computed */

    uint16_t *routes; /* r2i_forward_set_routes */
    bool has_given_routes;

    r2i_batch batch;      /* being computed; its arrays are the caller's */
    int32_t *positions;   /* [cap_rows] */
    float *cosine, *sine; /* [cap_rows, d_rope / 2] */
    float *x;             /* [cap_rows, d_model] the residual stream */
    r2i_prepared input;   /* normed rows [cap_rows] of d_model columns */
    float *q, *k, *v;     /* [cap_rows, heads * d_head]; MLA: k holds latent rows */
    float *attended;      /* [cap_rows, n_heads * d_value] */
    r2i_prepared attended_act;
    r2i_prepared inner;     /* [cap_rows] of d_ffn columns, or of the shared experts' */
    r2i_attend_tile *tiles; /* [cap_rows] */
    int32_t n_tiles;
    float *partials; /* [n_partial_floats] attention results of chunks */
    size_t n_partial_floats;
    r2i_mla_scratch mla;
    r2i_moe_scratch moe;
    r2i_mtp_scratch mtp;
    float *hidden;     /* [d_model] for r2i_forward_hidden */
    float *logit_rows; /* [cap_logits, d_model] */
    r2i_prepared logit_act;
};

/* Runs work over rows [0, n_rows); few of them at once on the calling thread, where a region would
 * cost more than it saves. */
void r2i_forward_over_rows(r2i_forward *f, int32_t n_rows, r2i_pool_work work, void *argument);
/* Rotates rope.d numbers by the position of a batch row. */
void r2i_forward_rotate(const r2i_forward *f, float *part, int32_t row);
/* x += o attended, the end of every attention block. */
void r2i_forward_add_attended(r2i_forward *f, r2i_matrix *o);
typedef struct {
    const float *weight;
    float eps;
} r2i_row_norm;
/* Normalises (norm not NULL) and prepares n rows of n_cols columns in each form of `mask`, rows with
 * an adapter in its form too, where `out` has room for it. */
void r2i_forward_prepare(r2i_forward *f, r2i_prepared *out, const float *x, size_t x_stride,
                         const r2i_row_norm *norm, int32_t n_rows, int32_t n_cols, unsigned mask);
/* Makes a batch the current one: positions, rotations, tiles, adapters. */
void r2i_forward_start(r2i_forward *f, const r2i_batch *batch);
/* The next products are of these rows of the batch: with their adapters. */
void r2i_forward_select(r2i_forward *f, const int32_t *rows, int32_t n);
/* Keeps the batch's rows of n_cols columns for the backward pass, if `to` is not NULL. */
void r2i_forward_keep(r2i_forward *f, float *to, const float *from, size_t n_cols);
/* One layer: attention, then feed-forward. */
void r2i_forward_layer(r2i_forward *f, int32_t layer);
/* Makes elements [n] to be cached finite.  A slot that a row does not
 * attend to enters its sums with weight 0, and 0 times what is no number is none. */
void r2i_forward_bound(float *x, int32_t n);
/* One row of the embedding. */
void r2i_forward_embed(const r2i_forward *f, const r2i_matrix *embedding, int32_t token, float *x);
/* Logits [n, n_vocab] of the first n of f->logit_rows. */
void r2i_forward_head(r2i_forward *f, const r2i_row_norm *norm, r2i_matrix *head, int32_t n,
                      float *logits);
/* x += Attention(RMSNorm(x)) over cached keys and values. */
void r2i_gqa_run(r2i_forward *f, int32_t layer);
/* The same over cached latent rows.  Runs of many rows over long contexts may expand keys and values of
 * every head from the latent rows, which costs less then but rounds otherwise. */
bool r2i_mla_is_expanded(const r2i_forward *f, const r2i_run *run);
void r2i_mla_run(r2i_forward *f, int32_t layer);
/* x += down(silu(gate x) * up x) of RMSNorm(x), Shazeer 2020. */
void r2i_mlp_run(r2i_forward *f, int32_t layer);
/* The same for rows that lie prepared in f->input; inner layers up to what f->inner has room for.
 * `saved` may be NULL. */
void r2i_mlp(r2i_forward *f, r2i_matrix *gate, r2i_matrix *up, r2i_matrix *down,
             const r2i_gated_saved *saved);
/* x += sum over the chosen experts (router.h) + shared experts, DeepSeekMoE (arXiv:2401.06066). */
void r2i_moe_run(r2i_forward *f, int32_t layer);

/* Columns [16 begin, 16 end) of silu(gate x) * up x, prepared as input of `down`. */
typedef struct {
    r2i_matrix *gate, *up;
    bool is_gate_kept, is_up_kept;
    const r2i_prepared *x;
    r2i_prepared *inner;
    r2i_act_kind inner_kind;
    int32_t first_x_row, first_row, n_rows; /* of x, of inner, of both */
    bool has_lora; /* rows are the batch's own: r2i_lora_lower was called for gate, up */
    const r2i_gated_saved *saved; /* rows as those of inner; may be NULL */
} r2i_gated_job;
void r2i_gated_tile(const r2i_forward *f, const r2i_gated_job *job, int32_t begin, int32_t end,
                    int32_t worker);
#endif
