/* backward_state.h - what the backward twins of one pass share; private to the twins. */
#ifndef R2I_BACKWARD_STATE_H
#define R2I_BACKWARD_STATE_H
#include "train/backward/attention_backward.h"
#include "train/backward/backward.h"
#include "train/backward/document_pages.h"
#include "train/lora/frozen_products.h"
#include "train/backward/products.h"
#include "train/backward/rows_backward.h"

/* Latent attention. */
typedef struct {
    float *q_low, *g_q_low;   /* [cap_rows, q_rank] normed */
    float *latent, *g_latent; /* [cap_rows, kv_rank + rope.d]; g: before norm and rotation */
    float *plain, *g_plain;   /* [cap_rows, kv_rank] the normed part, dense */
    float *kv, *g_kv;         /* [cap_rows, n_heads, d_nope + d_value] */
    const r2i_matrix *kv_b;   /* of the layer */
} r2i_mla_backward_scratch;

typedef struct r2i_expert_worker r2i_expert_worker; /* expert_backward.c */

/* Experts. */
typedef struct {
    int32_t *row_of;      /* [entries] */
    float *g_x;           /* [entries, d_model] */
    float *g_weights;     /* [entries] by (row, choice) */
    float *weight_of;     /* [entries] in the experts' order */
    int32_t *first_item;  /* [n_experts + 1] of the blocks of rows */
    uint8_t *packed;      /* all matrices of a layer's experts, as panels of what dx sums over */
    uint8_t *operands[5]; /* of the sums over rows, as panels */
    r2i_expert_worker *workers; /* [n_threads] */
    float *leaving;      /* [entries, d_model] own rows on their way to experts elsewhere, and: */
    struct {             /* rows that came to the experts here; [cap] of backward_limits.exchange */
        int32_t *row_of; /* each its own */
        float *x, *g_y, *g_x, *weight_of, *g_weights;
    } here;
    float *g_scores;  /* [cap_rows, n_experts] before the score function */
    int64_t *counts;  /* [n_layers + n_mtp, n_experts] rows since the last balancing */
    float *fractions; /* [n_runs, n_experts] f of the balance loss */
    double *losses;   /* [n_runs] of the balance loss */
} r2i_moe_backward_scratch;

/* Low-rank pairs. */
typedef struct {
    float *g_low; /* [cap_rows, rank] */
    const float
        *g_low_of;   /* the gradient that it was made of, where the pair's own are to follow */
    float **turned;  /* [n_threads] of [rank, 256] gradient of B, transposed */
    r2i_matrix kv_b; /* of one layer, and its values [n_heads, d_nope + d_value, kv_rank]: */
    float *kv_b_values;
} r2i_lora_backward_scratch;

/* Rows of the head's chunk. */
typedef struct {
    int32_t *rows;           /* [cap_rows] counted ones */
    float *logits;           /* [cap_logits, n_vocab] */
    float *x, *normed, *g_x; /* [cap_logits, d_model] */
    double *losses;          /* [cap_logits] */
    float *soft;             /* [threads, n_vocab] with is_soft */
    double *soft_losses;     /* [cap_logits] */
} r2i_head_scratch;

struct r2i_backward {
    const r2i_parameters *parameters;
    const r2i_config *config;
    r2i_weights *weights;
    const r2i_kernels *kernels;
    r2i_pool *pool;
    r2i_backward_limits limits;
    r2i_forward *forward;
    r2i_products products;
    r2i_frozen_products frozen; /* with parameters->lora: */
    r2i_lora_backward_scratch lora;
    r2i_type layout; /* of backward products */
    r2i_attention_workspace attention;

    void (*on_layer)(void *user, int32_t layer); /* NULL: nobody is told */
    void *on_layer_user;

    /* The batch. */
    r2i_document_pages pages;
    r2i_run *runs; /* [cap_documents] */
    r2i_batch batch;
    float balance_weight; /* of the pass */
    double balance_loss;  /* found so far */
    double *inv_freq;
    double rope_factor;
    float *cosine, *sine; /* [cap_rows, rope.d / 2] of the rotation back */

    size_t kept_bytes;      /* of all that follow */
    r2i_layer_saved *saved; /* [n_layers + n_mtp] */
    r2i_layer_saved *whole; /* recomputing: [n_layers + n_mtp] views of one memory, all but x */
    float *x_out;           /* [cap_rows, d_model] rows behind the last layer */

    float *g_x;                   /* [cap_rows, d_model] gradient of the residual rows */
    float *normed, *g_normed;     /* [cap_rows, d_model] input of a block, behind its norm */
    float *g_attended;            /* [cap_rows, n_heads * d_value] */
    float *k, *v;                 /* [cap_rows, n_heads * d_head or d_value] assembled for MLA */
    float *g_q, *g_k, *g_v;       /* [cap_rows, heads * d_head] ... */
    float *inner, *g_gate, *g_up; /* [rows or entries, inner width] */
    float *row_scales;            /* [cap_rows * n_heads] */
    r2i_mla_backward_scratch mla;
    r2i_moe_backward_scratch moe;
    r2i_head_scratch head;

    /* Prediction module. */
    struct {
        int32_t *tokens, *targets, *sources; /* [cap_rows] */
        float *weights;                      /* [cap_rows] */
        r2i_run *runs;
        float *g_main; /* [cap_rows, d_model] gradient of the main rows */
        float *embedded, *hidden, *joined, *g_joined; /* [cap_rows, d_model or 2 d_model] */
    } mtp;
};

/* Gradient += g_y^T x, its bias += g_y, g_x (+)= g_y W.  g_x may be NULL: not wanted. */
void r2i_linear_backward(r2i_backward *b, const r2i_matrix *m, const float *g_y, const float *x,
                         float *g_x, bool is_added, int32_t n_rows);
/* g_x = g_y W alone. */
void r2i_linear_inputs(r2i_backward *b, const r2i_matrix *m, const float *g_y, float *g_x,
                       int32_t n_rows);
/* The same of a frozen matrix and its pair, if it has one; x NULL: no gradients of the pair. */
void r2i_lora_backward(r2i_backward *b, const r2i_matrix *m, const float *g_y, const float *x,
                       float *g_x, bool is_added, int32_t n_rows);
/* kv_b of a layer, put together from its frozen parts; valid until the next call. */
const r2i_matrix *r2i_lora_kv_b(r2i_backward *b, int32_t layer);
R2_CHECKED r2_status r2i_lora_backward_create(r2i_backward *b, r2i_arena *arena, r2_error *err);
/* The same for up to R2I_MAX_LINEAR matrices with one input: g_x (+)= the sum of theirs. */
typedef struct {
    const r2i_matrix *matrix;
    const float *g_y;
} r2i_linear_gradient;
void r2i_linears_backward(r2i_backward *b, const r2i_linear_gradient *list, int32_t n,
                          const float *x, float *g_x, bool is_added, int32_t n_rows);
/* The same with RMSNorm(x; norm) of residual rows as input; b->normed may be used. */
void r2i_normed_linears_backward(r2i_backward *b, const r2i_linear_gradient *list, int32_t n,
                                 const float *x, const float *norm, float *g_normed,
                                 int32_t n_rows);
/* A matrix without adapters in products backward. */
r2i_product r2i_product_of(const r2i_backward *b, const r2i_matrix *m, const float *g_y,
                           const float *x, float *g_x, int32_t n_rows);
/* normed = RMSNorm(x; weight) of dense rows. */
void r2i_norm_again(r2i_backward *b, float *normed, const float *x, const float *weight, float eps,
                    int32_t n_rows, int32_t n_cols);
/* g_x += backward of the norm of dense rows; gradient of the weight included. */
void r2i_block_norm_backward(r2i_backward *b, const float *x, const float *weight,
                             const float *g_normed, float *g_x, int32_t n_rows);
/* Rotates n parts of rope.d numbers of each row back: parts `stride` apart from `first` on. */
void r2i_rotate_back(r2i_backward *b, float *first, int32_t n_parts, size_t stride,
                     size_t row_stride, int32_t n_rows);

/* Twins: g_x [n_rows, d_model] is the gradient behind the block on entry, before it on return. */
void r2i_gqa_backward(r2i_backward *b, int32_t layer, const r2i_layer_saved *saved);
void r2i_mla_backward(r2i_backward *b, int32_t layer, const r2i_layer_saved *saved);
void r2i_mlp_backward(r2i_backward *b, int32_t layer, const r2i_layer_saved *saved);
void r2i_moe_backward(r2i_backward *b, int32_t layer, const r2i_layer_saved *saved);
/* The routed experts: gradients of their matrices, of the choices' weights (b->moe.g_weights) and, by entry,
 * of the normed rows (b->moe.g_x), from b->g_x and b->normed. */
void r2i_experts_backward(r2i_backward *b, const r2i_layer *layer, const r2i_moe_saved *saved);
void r2i_experts_take(r2i_taker *t, r2i_backward *b);
/* Most rows that the experts here are given. */
int32_t r2i_experts_cap(const r2i_backward *b);
/* Of a gated MLP alone, gated_backward.c: gradients of its matrices, g_normed (+)= that of its input. */
typedef struct {
    const r2i_matrix *gate, *up, *down;
    const r2i_gated_saved *saved;
    const float *x;    /* [n_rows, d_model] its input */
    const float *norm; /* not NULL: x are residual rows, the input is RMSNorm(x; norm) */
    const float *g_y;
    bool is_added;
} r2i_gated_gradient;
void r2i_gated_backward(r2i_backward *b, const r2i_gated_gradient *gated);
/* Whether its inner rows' gradients are kept in F32: b->inner, b->g_up. */
bool r2i_gated_is_plain(const r2i_backward *b);
/* Bytes of b->products.rows that it needs otherwise. */
size_t r2i_gated_operand_bytes(int32_t n_rows, int32_t d_model, int32_t width);

typedef struct {
    const int32_t *targets;
    const float *weights;
    const float *x; /* residual rows [n_rows, d_model] before the last norm */
    const float *norm;
    const r2i_matrix *matrix; /* the head */
    int32_t n_rows;
    float scale;                     /* of the gradients */
    bool is_module;                  /* logits come from r2i_mtp_logits */
    const r2_soft_targets *soft;     /* NULL: none */
    double *soft_loss;               /* their loss is added to it */
    const r2_policy_targets *policy; /* NULL: none; otherwise with the next two */
    const int32_t *lengths;          /* [n_documents] */
    int32_t n_documents;
    float *g_x; /* [n_rows, d_model] added to; NULL: loss alone */
} r2i_head_loss_job;
/* Sum of weights * cross entropy, in chunks of rows. */
double r2i_head_loss(r2i_backward *b, const r2i_head_loss_job *job);

/* mtp_backward.c: runs the module behind the main pass; main rows' gradient is added to b->mtp.g_main.
 * Without gradients only the loss. */
double r2i_mtp_train(r2i_backward *b, const r2i_train_batch *batch, bool has_gradients);
/* backward.c: one layer; makes the batch the current one. */
void r2i_layer_backward(r2i_backward *b, const r2i_batch *batch, int32_t layer);
/* Gradient of the embedding's rows. */
void r2i_embedding_backward(r2i_backward *b, const int32_t *tokens, const float *g_rows,
                            int32_t n_rows);
#endif
