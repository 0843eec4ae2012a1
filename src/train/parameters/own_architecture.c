/* own_architecture.c - from a number of layers to a configuration.
 *
 * What a small model needs differs from DeepSeek-V3's sizes, not from its kind, so that any software
 * that runs DeepSeek-V3 runs these (docs/training.md has the table).  That is why the logits are not
 * capped, as some small models have them: there is no place for it in such a file.
 *
 * Queries go through a row half as wide: as many numbers as one matrix would have, and llama.cpp takes
 * a deepseek2 file without q_rank only for models of 26 or 27 layers.  A latent row (kv_rank + 32
 * rotated) is a multiple of 32 numbers.  The first layer is dense, as in all of DeepSeek's models. */
#include "train/parameters/own_architecture.h"

#include <math.h>

#include "base/checked.h"
#include "base/failure.h"

enum {
    D_PER_LAYER = 32,
    D_ROPE = 32,
    D_NOPE = 32,
    D_VALUE = 64,
    MIN_HEADS = 4,
    MIN_KV_RANK = 96,
    MAX_KV_RANK = 512,
    CONTEXT = 4096
};

/* More layers come with more experts to choose from, and a few more are chosen. */
static const struct {
    int32_t depth; /* from here on */
    int32_t n_experts, n_active, n_vocab;
} stages[] = { { 0, 16, 3, 6144 }, { 8, 24, 4, 8192 }, { 12, 32, 4, 16384 }, { 16, 64, 6, 32768 } };

static int32_t kv_rank_of(int32_t depth) {
    const int32_t rank = (12 * depth + 31) / 32 * 32;
    return r2i_min_i32(MAX_KV_RANK, r2i_max_i32(MIN_KV_RANK, rank));
}

/* The chosen experts' weights sum to 1; n equal ones would shrink what independent experts give by
 * sqrt(n), so that it is multiplied by that: as much as the shared expert's. */
static double routed_scale_of(int32_t n_active) {
    return round(100 * sqrt((double)n_active)) / 100;
}

static json_t *make_attention(int32_t depth) {
    const int32_t n_heads = r2i_max_i32(MIN_HEADS, depth / 2);
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:i, s:i, s:n}",
                     "num_attention_heads", n_heads, "num_key_value_heads", n_heads, "q_lora_rank",
                     D_PER_LAYER / 2 * depth, "kv_lora_rank", kv_rank_of(depth), "qk_nope_head_dim",
                     D_NOPE, "qk_rope_head_dim", D_ROPE, "v_head_dim", D_VALUE, "attention_bias", 0,
                     "max_position_embeddings", CONTEXT, "rope_theta", 10000, "rope_scaling");
}

static json_t *make_experts(int32_t depth, int32_t n_experts, int32_t n_active) {
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:b, s:f, s:i}",
                     "moe_intermediate_size", D_PER_LAYER / 2 * depth, "n_routed_experts",
                     n_experts, "n_shared_experts", 1, "num_experts_per_tok", n_active,
                     "first_k_dense_replace", 1, "moe_layer_freq", 1, "n_group", 1, "topk_group", 1,
                     "topk_method", "noaux_tc", "scoring_func", "sigmoid", "norm_topk_prob", 1,
                     "routed_scaling_factor", routed_scale_of(n_active), "num_nextn_predict_layers",
                     1);
}

static json_t *make_config(const r2i_own_shape *s) {
    size_t at = 0;
    for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
        if (s->depth >= stages[i].depth) at = i;
    const int32_t d = D_PER_LAYER * s->depth,
                  n_vocab = s->n_vocab > 0 ? s->n_vocab : stages[at].n_vocab;
    json_t *config = json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:s, s:f, s:b, s:s}", "architectures",
        "DeepseekV3ForCausalLM", "model_type", "deepseek_v3", "vocab_size", n_vocab, "hidden_size",
        d, "intermediate_size", 3 * d, "num_hidden_layers", s->depth, "hidden_act", "silu",
        "rms_norm_eps", 1e-6, "tie_word_embeddings", 1, "torch_dtype", "float32");
    json_t *attention = make_attention(s->depth),
           *experts = make_experts(s->depth, stages[at].n_experts, stages[at].n_active);
    bool is_made = config != NULL && json_object_update(config, attention) == 0 &&
                   json_object_update(config, experts) == 0;
    if (is_made && s->eos_id >= 0)
        is_made = json_object_set_new(config, "eos_token_id", json_integer(s->eos_id)) == 0;
    json_decref(attention);
    json_decref(experts);
    if (is_made) return config;
    json_decref(config);
    return NULL;
}

r2_status r2i_own_config_make(json_t **out, const r2i_own_shape *shape, r2_error *err) {
    *out = NULL;
    if (shape->depth < R2I_MIN_DEPTH || shape->depth > R2I_MAX_DEPTH)
        return r2i_fail(err, R2_E_ARGUMENT, "depth: expected %d to %d layers, found %d",
                        R2I_MIN_DEPTH, R2I_MAX_DEPTH, shape->depth);
    *out = make_config(shape);
    return *out != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for a configuration");
}
