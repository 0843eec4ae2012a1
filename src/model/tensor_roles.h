/* tensor_roles.h - the tensors of a model by their role: names in both worlds, sizes, biases.
 *
 *     role          Hugging Face                                   GGUF
 *     Q, layer 3    model.layers.3.self_attn.q_proj.weight         blk.3.attn_q.weight
 *     its bias      model.layers.3.self_attn.q_proj.bias           blk.3.attn_q.bias
 *     EXPERT_UP     model.layers.3.mlp.experts.7.up_proj.weight    blk.3.ffn_up_exps.weight, stacked
 *     OUTPUT        lm_head.weight                                 output.weight
 *
 * Loading, adapters, conversion and quantization all read this one list. */
#ifndef R2I_TENSOR_ROLES_H
#define R2I_TENSOR_ROLES_H
#include <stddef.h>

#include "model/config.h"

/* X(role, hf, gguf, rows, cols): what stands between the layer and ".weight" ('*': an expert's number),
 * sizes as in tensor_roles.c; vectors are one row.  The first three stand outside of the layers. */
#define R2I_ROLE_LIST(X)                                                                   \
    X(EMBEDDING, "model.embed_tokens", "token_embd", VOCAB, MODEL)                         \
    X(OUTPUT, "lm_head", "output", VOCAB, MODEL)                                           \
    X(OUTPUT_NORM, "model.norm", "output_norm", ONE, MODEL)                                \
    X(ATTENTION_NORM, "input_layernorm", "attn_norm", ONE, MODEL)                          \
    X(Q, "self_attn.q_proj", "attn_q", ALL_KEYS, MODEL)                                    \
    X(K, "self_attn.k_proj", "attn_k", KV_HEADS, MODEL)                                    \
    X(V, "self_attn.v_proj", "attn_v", KV_HEADS, MODEL)                                    \
    X(O, "self_attn.o_proj", "attn_output", MODEL, ALL_VALUES)                             \
    X(Q_NORM, "self_attn.q_norm", "attn_q_norm", ONE, HEAD)                                \
    X(K_NORM, "self_attn.k_norm", "attn_k_norm", ONE, HEAD)                                \
    X(Q_A, "self_attn.q_a_proj", "attn_q_a", Q_RANK, MODEL)                                \
    X(Q_A_NORM, "self_attn.q_a_layernorm", "attn_q_a_norm", ONE, Q_RANK)                   \
    X(Q_B, "self_attn.q_b_proj", "attn_q_b", ALL_KEYS, Q_RANK)                             \
    X(KV_A, "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", LATENT_ROW, MODEL)            \
    X(KV_A_NORM, "self_attn.kv_a_layernorm", "attn_kv_a_norm", ONE, KV_RANK)               \
    X(KV_B, "self_attn.kv_b_proj", "attn_kv_b", ALL_EXPANDED, KV_RANK)                     \
    /* The two parts of KV_B on their own, of one head; that of the keys transposed. */    \
    X(K_B, "", "attn_k_b", KV_RANK, PLAIN_KEY)                                             \
    X(V_B, "", "attn_v_b", VALUE, KV_RANK)                                                 \
    X(FFN_NORM, "post_attention_layernorm", "ffn_norm", ONE, MODEL)                        \
    X(GATE, "mlp.gate_proj", "ffn_gate", FFN, MODEL)                                       \
    X(UP, "mlp.up_proj", "ffn_up", FFN, MODEL)                                             \
    X(DOWN, "mlp.down_proj", "ffn_down", MODEL, FFN)                                       \
    X(ROUTER, "mlp.gate", "ffn_gate_inp", EXPERTS, MODEL)                                  \
    /* Its name is whole: no ".weight" follows. */                                         \
    X(SCORE_BIAS, "mlp.gate.e_score_correction_bias", "exp_probs_b.bias", ONE, EXPERTS)    \
    X(EXPERT_GATE, "mlp.experts.*.gate_proj", "ffn_gate_exps", EXPERT, MODEL)              \
    X(EXPERT_UP, "mlp.experts.*.up_proj", "ffn_up_exps", EXPERT, MODEL)                    \
    X(EXPERT_DOWN, "mlp.experts.*.down_proj", "ffn_down_exps", MODEL, EXPERT)              \
    X(SHARED_GATE, "mlp.shared_experts.gate_proj", "ffn_gate_shexp", SHARED_EXPERT, MODEL) \
    X(SHARED_UP, "mlp.shared_experts.up_proj", "ffn_up_shexp", SHARED_EXPERT, MODEL)       \
    X(SHARED_DOWN, "mlp.shared_experts.down_proj", "ffn_down_shexp", MODEL, SHARED_EXPERT) \
    /* Of a prediction module, whose layer is the one behind the last. */                  \
    X(MTP_EMBEDDING_NORM, "enorm", "nextn.enorm", ONE, MODEL)                              \
    X(MTP_HIDDEN_NORM, "hnorm", "nextn.hnorm", ONE, MODEL)                                 \
    X(MTP_JOIN, "eh_proj", "nextn.eh_proj", MODEL, TWO_MODEL)                              \
    X(MTP_OUTPUT_NORM, "shared_head.norm", "nextn.shared_head_norm", ONE, MODEL)           \
    X(MTP_OUTPUT, "shared_head.head", "nextn.shared_head_head", VOCAB, MODEL)              \
    X(MTP_EMBEDDING, "embed_tokens", "nextn.embed_tokens", VOCAB, MODEL)

typedef enum {
#define R2I_ROLE_ENUM(role, hf, gguf, rows, cols) R2I_ROLE_##role,
    R2I_ROLE_LIST(R2I_ROLE_ENUM)
#undef R2I_ROLE_ENUM
        R2I_ROLE_NONE,
    R2I_N_ROLES
} r2i_role;

typedef enum { R2I_NAMES_HF, R2I_NAMES_GGUF } r2i_name_kind;
typedef enum { R2I_BIAS_NONE, R2I_BIAS_OPTIONAL, R2I_BIAS_NEEDED } r2i_bias_need;
typedef struct {
    int32_t n_rows, n_cols;
} r2i_role_size;

enum { R2I_TENSOR_NAME_BYTES = 96 };

/* Writes the name of a role's tensor.  `layer` is not looked at outside of the layers. */
void r2i_role_name(char out[R2I_TENSOR_NAME_BYTES], r2i_name_kind kind, r2i_role role,
                   int32_t layer);
void r2i_role_bias_name(char out[R2I_TENSOR_NAME_BYTES], r2i_name_kind kind, r2i_role role,
                        int32_t layer);
/* Hugging Face's name of expert `e`. */
void r2i_role_expert_name(char out[R2I_TENSOR_NAME_BYTES], r2i_role role, int32_t layer, int32_t e);
/* Role of a name of n bytes without its ".weight", or R2I_ROLE_NONE; *layer is -1 outside of the
 * layers.  A single expert has none. */
r2i_role r2i_role_of(r2i_name_kind kind, const char *name, size_t n, int32_t *layer);
/* Layer of any tensor's name and, in *rest, what follows the dot behind it; -1: none. */
int32_t r2i_role_layer(r2i_name_kind kind, const char *name, const char **rest);

bool r2i_role_is_vector(r2i_role role);
/* As Hugging Face has it; experts and the parts of KV_B: of one. */
r2i_role_size r2i_role_get_size(const r2i_config *config, r2i_role role);
/* Does a model of this configuration have a bias beside the matrix? */
r2i_bias_need r2i_role_get_bias(const r2i_config *config, r2i_role role);
/* Heads whose rows GGUF files keep as pairs (matrix.h); 0: the same rows in the same order. */
int32_t r2i_role_paired_heads(const r2i_config *config, r2i_role role);
#endif
