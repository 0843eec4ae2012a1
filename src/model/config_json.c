/* config_json.c - configuration from a Hugging Face config.json. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "model/config_read.h"

typedef struct {
    const json_t *json;
    const char *label;
    r2_error *err;
} source;

static const struct {
    const char *name;
    r2i_family family;
} model_types[] = {
    { "llama", R2I_FAMILY_LLAMA },
    { "qwen2", R2I_FAMILY_QWEN2 },
    { "qwen3", R2I_FAMILY_QWEN3 },
    { "qwen3_moe", R2I_FAMILY_QWEN3_MOE },
    { "deepseek_v2", R2I_FAMILY_DEEPSEEK_V2 },
    { "deepseek_v3", R2I_FAMILY_DEEPSEEK_V3 },
};

static bool is_deepseek(const r2i_config *c) {
    return c->family == R2I_FAMILY_DEEPSEEK_V2 || c->family == R2I_FAMILY_DEEPSEEK_V3;
}

static r2_status find_model_type(r2i_config *c, const source *s) {
    const char *name = NULL, *activation = "silu";
    R2I_TRY(r2i_json_get_text(s->json, s->label, "model_type", &name, s->err));
    R2I_TRY(r2i_json_try_text(s->json, s->label, "hidden_act", &activation, s->err));
    if (strcmp(activation, "silu") != 0) {
        return r2i_fail(s->err, R2_E_UNSUPPORTED,
                        "%s: hidden_act: expected \"silu\", found \"%.40s\"", s->label, activation);
    }
    for (size_t i = 0; i < sizeof model_types / sizeof *model_types; i++) {
        if (strcmp(name, model_types[i].name) != 0) continue;
        c->architecture = model_types[i].name;
        c->family = model_types[i].family;
        return R2_OK;
    }
    return r2i_fail(s->err, R2_E_UNSUPPORTED,
                    "%s: model_type: expected llama, qwen2, qwen3, qwen3_moe, deepseek_v2 or "
                    "deepseek_v3, found \"%.40s\"",
                    s->label, name);
}

static r2_status get_size(const source *s, const char *key, int32_t *out) {
    return r2i_json_get_i32(s->json, s->label, key, 1, INT_MAX, out, s->err);
}

static r2_status try_size(const source *s, const char *key, int32_t *out) {
    return r2i_json_try_i32(s->json, s->label, key, 0, INT_MAX, out, s->err);
}

static r2_status try_flag(const source *s, const char *key, bool *out) {
    return r2i_json_try_bool(s->json, s->label, key, out, s->err);
}

/* A head is [not rotated | rotated]; all heads share the latent row (arXiv:2405.04434, 2.1). */
static r2_status read_latent_sizes(r2i_config *c, const source *s) {
    int32_t d_plain = 0;
    R2I_TRY(get_size(s, "kv_lora_rank", &c->kv_rank));
    R2I_TRY(try_size(s, "q_lora_rank", &c->q_rank));
    R2I_TRY(r2i_json_get_i32(s->json, s->label, "qk_nope_head_dim", 1, 1 << 20, &d_plain, s->err));
    R2I_TRY(
        r2i_json_get_i32(s->json, s->label, "qk_rope_head_dim", 2, 1 << 20, &c->rope.d, s->err));
    c->d_head = d_plain + c->rope.d;
    c->n_kv_heads = 1;
    c->latent_norm_eps = 1e-6f; /* the two inner norms do not follow rms_norm_eps */
    r2i_config_set_plain(c);
    return get_size(s, "v_head_dim", &c->d_value);
}

static r2_status read_head_sizes(r2i_config *c, const source *s) {
    c->n_kv_heads = c->n_heads;
    R2I_TRY(try_size(s, "num_key_value_heads", &c->n_kv_heads));
    const bool is_qwen3 = c->family == R2I_FAMILY_QWEN3 || c->family == R2I_FAMILY_QWEN3_MOE;
    c->d_head = is_qwen3 ? 128 : c->d_model / c->n_heads;
    R2I_TRY(try_size(s, "head_dim", &c->d_head));
    c->rope.d = c->d_head;
    r2i_config_set_plain(c);
    return R2_OK;
}

static r2_status read_sizes(r2i_config *c, const source *s) {
    R2I_TRY(get_size(s, "vocab_size", &c->n_vocab));
    R2I_TRY(get_size(s, "hidden_size", &c->d_model));
    R2I_TRY(get_size(s, "intermediate_size", &c->d_ffn));
    R2I_TRY(get_size(s, "num_hidden_layers", &c->n_layers));
    R2I_TRY(get_size(s, "num_attention_heads", &c->n_heads));
    R2I_TRY(is_deepseek(c) ? read_latent_sizes(c, s) : read_head_sizes(c, s));
    c->n_context = 2048;
    R2I_TRY(try_size(s, "max_position_embeddings", &c->n_context));
    c->norm_eps = 1e-6f;
    return r2i_json_try_f32(s->json, s->label, "rms_norm_eps", 0, 1, &c->norm_eps, s->err);
}

static r2_status read_features(r2i_config *c, const source *s) {
    bool attention_bias = false, mlp_bias = false;
    R2I_TRY(try_flag(s, "tie_word_embeddings", &c->is_tied));
    R2I_TRY(try_flag(s, "attention_bias", &attention_bias));
    R2I_TRY(try_flag(s, "mlp_bias", &mlp_bias));
    const bool is_qwen2 = c->family == R2I_FAMILY_QWEN2;
    c->needs_qkv_bias = is_qwen2 || attention_bias;
    c->needs_o_bias = !is_qwen2 && attention_bias;
    c->needs_ffn_bias = c->family == R2I_FAMILY_LLAMA && mlp_bias;
    c->has_head_norms = c->family == R2I_FAMILY_QWEN3 || c->family == R2I_FAMILY_QWEN3_MOE;
    return R2_OK;
}

static bool is_listed(const json_t *list, int32_t layer) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (json_is_integer(item) && json_integer_value(item) == layer) return true;
    }
    return false;
}

static r2_status read_qwen_experts(r2i_config *c, const source *s) {
    int32_t step = 1;
    const json_t *dense_layers = NULL;
    R2I_TRY(get_size(s, "num_experts", &c->n_experts));
    R2I_TRY(get_size(s, "num_experts_per_tok", &c->n_active));
    R2I_TRY(get_size(s, "moe_intermediate_size", &c->d_expert));
    R2I_TRY(try_flag(s, "norm_topk_prob", &c->is_renormalized));
    R2I_TRY(r2i_json_try_i32(s->json, s->label, "decoder_sparse_step", 1, INT_MAX, &step, s->err));
    R2I_TRY(
        r2i_json_try_tree(s->json, s->label, "mlp_only_layers", JSON_ARRAY, &dense_layers, s->err));
    for (int32_t i = 0; i < c->n_layers; i++) {
        const bool is_moe = (i + 1) % step == 0 && !is_listed(dense_layers, i);
        c->layers[i].ffn = is_moe ? R2I_FFN_MOE : R2I_FFN_DENSE;
    }
    return R2_OK;
}

static r2_status wrong_word(const source *s, const char *key, const char *expected,
                            const char *found) {
    return r2i_fail(s->err, R2_E_UNSUPPORTED, "%s: %s: expected %s, found \"%.40s\"", s->label, key,
                    expected, found);
}

/* How DeepSeek-V2 and V3 choose experts; what a file leaves out is as transformers has it. */
static r2_status read_routing(r2i_config *c, const source *s) {
    const bool is_v3 = c->family == R2I_FAMILY_DEEPSEEK_V3;
    const char *score = is_v3 ? "sigmoid" : "softmax", *method = is_v3 ? "noaux_tc" : "greedy";
    R2I_TRY(r2i_json_try_text(s->json, s->label, "scoring_func", &score, s->err));
    R2I_TRY(r2i_json_try_text(s->json, s->label, "topk_method", &method, s->err));
    const bool is_grouped = strcmp(method, is_v3 ? "noaux_tc" : "group_limited_greedy") == 0;
    if (strcmp(score, "sigmoid") != 0 && strcmp(score, "softmax") != 0)
        return wrong_word(s, "scoring_func", "softmax or sigmoid", score);
    if (!is_grouped && is_v3) return wrong_word(s, "topk_method", "noaux_tc", method);
    if (!is_grouped && strcmp(method, "greedy") != 0)
        return wrong_word(s, "topk_method", "greedy or group_limited_greedy", method);
    c->score = strcmp(score, "sigmoid") == 0 ? R2I_SCORE_SIGMOID : R2I_SCORE_SOFTMAX;
    c->group = is_v3 ? R2I_GROUP_TWO_BEST : R2I_GROUP_BEST;
    c->has_score_bias = is_v3;
    c->routed_scale = is_v3 ? 2.5f : 1.0f;
    R2I_TRY(r2i_json_try_f32(s->json, s->label, "routed_scaling_factor", 0, 1e6f, &c->routed_scale,
                             s->err));
    if (is_v3) { /* V2 does not renormalise, whatever its file says */
        c->is_renormalized = true;
        R2I_TRY(try_flag(s, "norm_topk_prob", &c->is_renormalized));
    }
    if (!is_grouped) return R2_OK;
    c->n_groups = is_v3 ? 8 : 1;
    c->n_active_groups = is_v3 ? 4 : 1;
    R2I_TRY(try_size(s, "n_group", &c->n_groups));
    return try_size(s, "topk_group", &c->n_active_groups);
}

static r2_status read_deepseek_experts(r2i_config *c, const source *s) {
    const bool is_v3 = c->family == R2I_FAMILY_DEEPSEEK_V3;
    int32_t n_dense = is_v3 ? 3 : 0, step = 1, n_mtp = 0;
    c->n_shared_experts = is_v3 ? 1 : 0;
    R2I_TRY(get_size(s, "n_routed_experts", &c->n_experts));
    R2I_TRY(get_size(s, "num_experts_per_tok", &c->n_active));
    R2I_TRY(get_size(s, "moe_intermediate_size", &c->d_expert));
    R2I_TRY(try_size(s, "n_shared_experts", &c->n_shared_experts));
    R2I_TRY(try_size(s, "first_k_dense_replace", &n_dense));
    R2I_TRY(r2i_json_try_i32(s->json, s->label, "moe_layer_freq", 1, INT_MAX, &step, s->err));
    R2I_TRY(try_size(s, "num_nextn_predict_layers", &n_mtp));
    c->n_mtp = n_mtp > 0 ? 1 : 0; /* a model may be used with fewer modules than it has */
    for (int32_t i = 0; i < c->n_layers; i++) {
        c->layers[i].attention = R2I_ATTENTION_MLA;
        c->layers[i].ffn = i >= n_dense && i % step == 0 ? R2I_FFN_MOE : R2I_FFN_DENSE;
    }
    return read_routing(c, s);
}

/* Per layer from layer_types; otherwise every layer from max_window_layers on, if switched on. */
static r2_status read_windows(r2i_config *c, const source *s) {
    bool is_used = false;
    int32_t window = 0, first = c->n_layers;
    const json_t *types = NULL;
    if (c->family == R2I_FAMILY_LLAMA || is_deepseek(c)) return R2_OK;
    R2I_TRY(try_flag(s, "use_sliding_window", &is_used));
    if (!is_used) return R2_OK;
    R2I_TRY(try_size(s, "sliding_window", &window));
    R2I_TRY(try_size(s, "max_window_layers", &first));
    R2I_TRY(r2i_json_try_tree(s->json, s->label, "layer_types", JSON_ARRAY, &types, s->err));
    for (int32_t i = 0; i < c->n_layers; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        const bool is_sliding = type != NULL ? strcmp(type, "sliding_attention") == 0 : i >= first;
        c->layers[i].window = is_sliding ? window : 0;
    }
    return R2_OK;
}

static r2_status find_rope_kind(r2i_rope_config *rope, const source *s) {
    static const struct {
        const char *name;
        r2i_rope_kind kind;
    } kinds[] = { { "default", R2I_ROPE_PLAIN },
                  { "linear", R2I_ROPE_LINEAR },
                  { "llama3", R2I_ROPE_LLAMA3 },
                  { "yarn", R2I_ROPE_YARN } };
    const char *name = "default";
    R2I_TRY(r2i_json_try_text(s->json, s->label, "type", &name, s->err));
    R2I_TRY(r2i_json_try_text(s->json, s->label, "rope_type", &name, s->err));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(name, kinds[i].name) != 0) continue;
        rope->kind = kinds[i].kind;
        return R2_OK;
    }
    return r2i_fail(s->err, R2_E_UNSUPPORTED,
                    "%s: rope type: expected default, linear, llama3 or yarn, found \"%.40s\"",
                    s->label, name);
}

static r2_status try_number(const source *s, const char *key, double *out) {
    float value = (float)*out;
    R2I_TRY(r2i_json_try_f32(s->json, s->label, key, 0, 1e12f, &value, s->err));
    if (value != (float)*out) *out = (double)value;
    return R2_OK;
}

/* m(k) of the factor, as YaRN's own code and DeepSeek's have it. */
static double yarn_magnitude(const r2i_rope_config *rope, double k) {
    return rope->factor <= 1 ? 1 : 0.1 * k * log(rope->factor) + 1;
}

static r2_status read_magnitudes(r2i_config *c, const source *s) {
    r2i_rope_config *rope = &c->rope;
    double mscale = 0, mscale_all = 0;
    R2I_TRY(try_number(s, "attention_factor", &rope->attention_factor));
    if (rope->kind != R2I_ROPE_YARN) return R2_OK;
    R2I_TRY(try_number(s, "mscale", &mscale));
    R2I_TRY(try_number(s, "mscale_all_dim", &mscale_all));
    if (rope->attention_factor == 0 && mscale > 0 && mscale_all > 0)
        rope->attention_factor = yarn_magnitude(rope, mscale) / yarn_magnitude(rope, mscale_all);
    if (is_deepseek(c)) r2i_config_sharpen(c, 0.1 * mscale_all);
    return R2_OK;
}

/* The numbers lie in rope_scaling (old) or rope_parameters (new, which may hold theta as well). */
static r2_status read_rope(r2i_config *c, const source *s) {
    r2i_rope_config *rope = &c->rope;
    const json_t *scaling = NULL;
    *rope = (r2i_rope_config){ .d = rope->d,
                               .is_interleaved = is_deepseek(c),
                               .theta = 10000,
                               .beta_fast = 32,
                               .beta_slow = 1,
                               .low_freq_factor = 1,
                               .high_freq_factor = 4 };
    if (is_deepseek(c)) R2I_TRY(try_flag(s, "rope_interleave", &rope->is_interleaved));
    R2I_TRY(try_number(s, "rope_theta", &rope->theta));
    R2I_TRY(r2i_json_try_tree(s->json, s->label, "rope_parameters", JSON_OBJECT, &scaling, s->err));
    if (scaling == NULL) {
        R2I_TRY(
            r2i_json_try_tree(s->json, s->label, "rope_scaling", JSON_OBJECT, &scaling, s->err));
    }
    if (scaling == NULL) return R2_OK;
    const source inner = { scaling, s->label, s->err };
    R2I_TRY(find_rope_kind(rope, &inner));
    R2I_TRY(try_number(&inner, "rope_theta", &rope->theta));
    R2I_TRY(try_number(&inner, "factor", &rope->factor));
    R2I_TRY(try_number(&inner, "low_freq_factor", &rope->low_freq_factor));
    R2I_TRY(try_number(&inner, "high_freq_factor", &rope->high_freq_factor));
    R2I_TRY(try_number(&inner, "beta_fast", &rope->beta_fast));
    R2I_TRY(try_number(&inner, "beta_slow", &rope->beta_slow));
    R2I_TRY(read_magnitudes(c, &inner));
    rope->original_context = c->n_context;
    return try_number(&inner, "original_max_position_embeddings", &rope->original_context);
}

/* Weights that are not plain numbers: only DeepSeek's 8-bit blocks are known (weights_read.c reads them
 * by the type each tensor has). */
static r2_status check_quantization(const source *s) {
    const json_t *tree = NULL, *block = NULL;
    const char *method = "", *format = "e4m3";
    R2I_TRY(
        r2i_json_try_tree(s->json, s->label, "quantization_config", JSON_OBJECT, &tree, s->err));
    if (tree == NULL) return R2_OK;
    R2I_TRY(r2i_json_try_text(tree, s->label, "quant_method", &method, s->err));
    R2I_TRY(r2i_json_try_text(tree, s->label, "fmt", &format, s->err));
    R2I_TRY(r2i_json_try_tree(tree, s->label, "weight_block_size", JSON_ARRAY, &block, s->err));
    if (strcmp(method, "fp8") != 0 || strcmp(format, "e4m3") != 0) {
        return r2i_fail(s->err, R2_E_UNSUPPORTED,
                        "%s: quantization_config: expected fp8 of format e4m3, found \"%.20s\" of "
                        "format \"%.20s\"",
                        s->label, method, format);
    }
    if (json_array_size(block) == 2 && json_integer_value(json_array_get(block, 0)) == 128 &&
        json_integer_value(json_array_get(block, 1)) == 128)
        return R2_OK;
    return r2i_fail(s->err, R2_E_UNSUPPORTED,
                    "%s: quantization_config: weight_block_size: expected [128, 128]", s->label);
}

static r2_status read_all(r2i_config *out, const json_t *json, const char *label, r2i_arena *arena,
                          r2_error *err) {
    const source s = { json, label, err };
    r2i_config c = { 0 };
    R2I_TRY(find_model_type(&c, &s));
    R2I_TRY(read_sizes(&c, &s));
    R2I_TRY(read_features(&c, &s));
    R2I_TRY(r2i_config_fill_layers(&c, arena, err));
    if (is_deepseek(&c)) R2I_TRY(read_deepseek_experts(&c, &s));
    if (c.family == R2I_FAMILY_QWEN3_MOE) R2I_TRY(read_qwen_experts(&c, &s));
    R2I_TRY(read_windows(&c, &s));
    R2I_TRY(read_rope(&c, &s));
    R2I_TRY(check_quantization(&s));
    R2I_TRY(r2i_config_check(&c, label, err));
    *out = c;
    return R2_OK;
}

r2_status r2i_config_from_json(r2i_config *out, const json_t *json, const char *label,
                               r2i_arena *arena, r2_error *err) {
    return r2i_fail_file(read_all(out, json, label, arena, err), err);
}
