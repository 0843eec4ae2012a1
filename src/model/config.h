/* config.h - a transformer described by data.
 *
 * Every family is a mapping from its own configuration to this one; the forward pass knows nothing
 * else.  Equations: Vaswani et al. 2017 with RMSNorm (Zhang 2019), rotary positions (Su 2021),
 * grouped queries (Ainslie 2023), SwiGLU (Shazeer 2020). */
#ifndef R2I_CONFIG_H
#define R2I_CONFIG_H
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "r2lm/status.h"

enum { R2I_MAX_EXPERTS = 1024 };

typedef enum {
    R2I_FAMILY_LLAMA,
    R2I_FAMILY_QWEN2,
    R2I_FAMILY_QWEN3,
    R2I_FAMILY_QWEN3_MOE,
    R2I_FAMILY_DEEPSEEK_V2,
    R2I_FAMILY_DEEPSEEK_V3
} r2i_family;
/* Grouped queries, or one latent row per token for all heads (DeepSeek-V2, arXiv:2405.04434, 2.1). */
typedef enum { R2I_ATTENTION_GQA, R2I_ATTENTION_MLA } r2i_attention_kind;
typedef enum { R2I_FFN_DENSE, R2I_FFN_MOE } r2i_ffn_kind;
/* How router logits become scores. */
typedef enum { R2I_SCORE_SOFTMAX, R2I_SCORE_SIGMOID } r2i_score_kind;
/* How a group of consecutive experts is scored: by its best expert (V2) or its two best (V3). */
typedef enum { R2I_GROUP_BEST, R2I_GROUP_TWO_BEST } r2i_group_kind;
typedef enum { R2I_ROPE_PLAIN, R2I_ROPE_LINEAR, R2I_ROPE_LLAMA3, R2I_ROPE_YARN } r2i_rope_kind;

typedef struct {
    r2i_rope_kind kind;
    int32_t d;           /* rotated dimensions of a head */
    bool is_interleaved; /* pairs (2i, 2i+1) instead of (i, i + d/2) */
    double theta, factor;
    double low_freq_factor, high_freq_factor; /* llama3 */
    double beta_fast, beta_slow;              /* yarn */
    double attention_factor; /* multiplies cos and sin; yarn: 0 = derive it from the factor */
    double original_context; /* llama3, yarn */
    const float *divisors;   /* [d/2] of inv_freq (GGUF rope_freqs), or NULL */
} r2i_rope_config;

typedef struct {
    r2i_attention_kind attention;
    r2i_ffn_kind ffn;
    int32_t window; /* keys seen: the last `window` tokens; 0: all */
} r2i_layer_config;

typedef struct {
    r2i_family family;
    const char *architecture; /* name in the file */
    int32_t n_layers, d_model, n_heads, n_kv_heads, d_ffn;
    int32_t d_head;        /* of queries and keys; MLA: not rotated part + rope.d */
    int32_t d_value;       /* of values and of attention's results, per head */
    float attention_scale; /* of q . k */
    /* MLA; 0 without.  Values and the not rotated part of keys come from kv_rank numbers per token,
     * queries from q_rank (0: directly from the hidden row). */
    int32_t kv_rank, q_rank;
    float latent_norm_eps;
    int32_t n_vocab; /* rows of the embedding */
    int32_t n_context;
    float norm_eps;
    bool has_head_norms; /* RMSNorm on each head of q and k */
    bool is_tied;        /* output head = embedding */
    bool needs_qkv_bias, needs_o_bias, needs_ffn_bias;
    int32_t n_experts, n_active, d_expert; /* MoE layers; 0 without */
    int32_t n_shared_experts; /* run for every token, as one MLP of n_shared_experts * d_expert */
    r2i_score_kind score;
    bool has_score_bias; /* added to the scores to choose, not to weigh */
    int32_t n_groups,
        n_active_groups; /* experts are chosen within the best groups; 1, 1: one group */
    r2i_group_kind group;
    bool is_renormalized; /* chosen experts' weights sum to 1 */
    float routed_scale;   /* multiplies them afterwards */
    int32_t n_mtp;        /* multi-token prediction modules behind the layers; 0 or 1 */
    r2i_rope_config rope;
    r2i_layer_config *layers; /* [n_layers + 1]: a prediction module's block is the last */
} r2i_config;

/* Ranges that every model must satisfy, whatever file it comes from.  Messages begin with `where`. */
R2_CHECKED r2_status r2i_config_check(const r2i_config *config, const char *where, r2_error *err);
/* What follows from the sizes in plain attention and routing: values as wide as keys, scores divided
 * by sqrt(d_head), one group of experts, no scaling. */
void r2i_config_set_plain(r2i_config *config);
/* Under YaRN, latent attention multiplies its scale by (1 + per_log ln(factor))^2, factor > 1: longer
 * contexts are attended more sharply (Peng et al. 2023, 3.4).  After the rope's factor is known. */
void r2i_config_sharpen(r2i_config *config, double per_log);
/* All layers alike: GQA, dense, no window; behind them the place of a prediction module's block, which
 * is latent attention and experts. */
R2_CHECKED r2_status r2i_config_fill_layers(r2i_config *config, r2i_arena *arena, r2_error *err);
#endif
