/* weights.h - the tensors of a model by their role. */
#ifndef R2I_WEIGHTS_H
#define R2I_WEIGHTS_H
#include "files/gguf.h"
#include "files/safetensors.h"
#include "model/config.h"
#include "model/matrix.h"

/* Where tensors come from: exactly one is not NULL. */
typedef struct {
    const r2i_gguf *gguf;
    const r2i_safetensors *safetensors;
} r2i_tensor_source;

typedef struct {
    float *attention_norm; /* [d_model] */
    r2i_matrix q, k, v,
        o; /* [n_heads*d_head, d_model], [n_kv_heads*d_head, d_model] x2, [d_model, n_heads*d_head] */
    float *q_norm, *k_norm; /* [d_head] or NULL */
    /* MLA: q is [n_heads*d_head, q_rank or d_model] and o [d_model, n_heads*d_value]; k and v are not
     * there.  With u the normed latent row, q~ = absorb_k q_nope scores against u and a sum z of
     * latent rows becomes a result as expand_v z; expand_k u is the not rotated part of a key. */
    r2i_matrix q_a, kv_a;        /* [q_rank, d_model], [kv_rank + rope.d, d_model] */
    float *q_a_norm, *kv_a_norm; /* [q_rank] or NULL, [kv_rank] */
    /* [n_heads] of [kv_rank, d_head - rope.d], its transpose, [d_value, kv_rank]; the one of the first
     * two that the file does not hold is made of the other, expand_k only for R2_LATENT_FAST. */
    r2i_matrix *absorb_k, *expand_k, *expand_v;
    float *ffn_norm;           /* [d_model] */
    r2i_matrix gate, up, down; /* dense: [d_ffn, d_model] x2, [d_model, d_ffn] */
    r2i_matrix router;         /* MoE: [n_experts, d_model], F32 products */
    r2i_matrix *expert_gate, *expert_up,
        *expert_down;  /* [n_experts] of [d_expert, d_model] x2, [d_model, d_expert] */
    float *score_bias; /* [n_experts] or NULL */
    r2i_matrix shared_gate, shared_up, shared_down; /* as dense, n_shared_experts * d_expert wide */
} r2i_layer;

/* Multi-token prediction (DeepSeek-V3, arXiv:2412.19437, 2.2): what stands around its block, which is
 * layer n_layers. */
typedef struct {
    float *embedding_norm, *hidden_norm, *output_norm; /* [d_model] */
    r2i_matrix join; /* [d_model, 2 d_model]: of [embedding ; hidden row] */
    /* The model's, or the module's own (usually copies). */
    const r2i_matrix *embedding;
    r2i_matrix *head;
    r2i_matrix own_embedding, own_head;
} r2i_mtp_weights;

typedef struct {
    r2i_matrix embedding; /* [n_vocab, d_model], rows are read one by one */
    r2i_matrix head;      /* [n_vocab, d_model]; the same stored rows when tied */
    float *output_norm;   /* [d_model] */
    r2i_layer *layers;    /* [n_layers + n_mtp] */
    bool has_mtp;         /* the file holds the module that the configuration speaks of */
    r2i_mtp_weights mtp;
    int64_t n_parameters, n_active_parameters;
    int64_t bytes_per_token; /* stored weight bytes that one token needs */
    size_t packed_bytes;     /* room for all panels */
    int32_t n_matrices;      /* that r2i_weights_visit visits */
    r2i_type lora_layout;    /* panels of adapters (lora.h): F32 or BF16 */
} r2i_weights;

/* How stored types become panels. */
typedef struct {
    const r2i_kernels *kernels;
    bool is_f32;       /* R2_ARITHMETIC_F32, or a level without other products */
    bool is_expanding; /* R2_LATENT_FAST */
} r2i_weight_rules;

/* Finds every tensor that the configuration asks for and checks its shape.  R2_E_NOT_FOUND,
 * R2_E_MISMATCH with the tensor's name.  Small vectors are copied to `arena` as F32. */
R2_CHECKED r2_status r2i_weights_load(r2i_weights *out, const r2i_config *config,
                                      const r2i_tensor_source *source,
                                      const r2i_weight_rules *rules, r2i_arena *arena,
                                      r2_error *err);
/* Calls visit for every matrix that is multiplied with (the embedding's rows are not). */
void r2i_weights_visit(r2i_weights *weights, const r2i_config *config,
                       void (*visit)(void *user, r2i_matrix *m), void *user);
#endif
