/* config_json.c - configuration from a Hugging Face config.json. */
#include <limits.h>
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
};

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
                    "%s: model_type: expected llama, qwen2, qwen3 or qwen3_moe, found \"%.40s\"",
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

static r2_status read_sizes(r2i_config *c, const source *s) {
    R2I_TRY(get_size(s, "vocab_size", &c->n_vocab));
    R2I_TRY(get_size(s, "hidden_size", &c->d_model));
    R2I_TRY(get_size(s, "intermediate_size", &c->d_ffn));
    R2I_TRY(get_size(s, "num_hidden_layers", &c->n_layers));
    R2I_TRY(get_size(s, "num_attention_heads", &c->n_heads));
    c->n_kv_heads = c->n_heads;
    R2I_TRY(try_size(s, "num_key_value_heads", &c->n_kv_heads));
    const bool is_qwen3 = c->family == R2I_FAMILY_QWEN3 || c->family == R2I_FAMILY_QWEN3_MOE;
    c->d_head = is_qwen3 ? 128 : c->d_model / c->n_heads;
    R2I_TRY(try_size(s, "head_dim", &c->d_head));
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

static r2_status read_experts(r2i_config *c, const source *s) {
    if (c->family != R2I_FAMILY_QWEN3_MOE) return R2_OK;
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

/* Per layer from layer_types; otherwise every layer from max_window_layers on, if switched on. */
static r2_status read_windows(r2i_config *c, const source *s) {
    bool is_used = false;
    int32_t window = 0, first = c->n_layers;
    const json_t *types = NULL;
    if (c->family == R2I_FAMILY_LLAMA) return R2_OK;
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

/* The numbers lie in rope_scaling (old) or rope_parameters (new, which may hold theta as well). */
static r2_status read_rope(r2i_config *c, const source *s) {
    r2i_rope_config *rope = &c->rope;
    const json_t *scaling = NULL;
    *rope = (r2i_rope_config){ .d = c->d_head,
                               .theta = 10000,
                               .beta_fast = 32,
                               .beta_slow = 1,
                               .low_freq_factor = 1,
                               .high_freq_factor = 4 };
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
    R2I_TRY(try_number(&inner, "attention_factor", &rope->attention_factor));
    rope->original_context = c->n_context;
    return try_number(&inner, "original_max_position_embeddings", &rope->original_context);
}

r2_status r2i_config_from_json(r2i_config *out, const json_t *json, const char *label,
                               r2i_arena *arena, r2_error *err) {
    const source s = { json, label, err };
    r2i_config c = { 0 };
    R2I_TRY(find_model_type(&c, &s));
    R2I_TRY(read_sizes(&c, &s));
    R2I_TRY(read_features(&c, &s));
    R2I_TRY(r2i_config_fill_layers(&c, arena, err));
    R2I_TRY(read_experts(&c, &s));
    R2I_TRY(read_windows(&c, &s));
    R2I_TRY(read_rope(&c, &s));
    r2i_config_set_plain(&c);
    R2I_TRY(r2i_config_check(&c, label, err));
    *out = c;
    return R2_OK;
}
