/* config_gguf.c - configuration from GGUF metadata (key names: docs/formats.md). */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "model/adapter.h"
#include "model/config_read.h"

typedef struct {
    const char *name;
    r2i_family family;
    bool has_head_norms, needs_qkv_bias;
} architecture;

static const architecture architectures[] = {
    { "llama", R2I_FAMILY_LLAMA, false, false },
    { "qwen2", R2I_FAMILY_QWEN2, false, true },
    { "qwen3", R2I_FAMILY_QWEN3, true, false },
    { "qwen3moe", R2I_FAMILY_QWEN3_MOE, true, false },
    { "deepseek2", R2I_FAMILY_DEEPSEEK_V2, false, false }, /* V3 too, told by its scores */
};

static r2_status find_architecture(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    const char *name = r2i_gguf_architecture(gguf);
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        if (strcmp(name, architectures[i].name) != 0) continue;
        c->architecture = architectures[i].name;
        c->family = architectures[i].family;
        c->has_head_norms = architectures[i].has_head_norms;
        c->needs_qkv_bias = architectures[i].needs_qkv_bias;
        return R2_OK;
    }
    return r2i_fail(err, R2_E_UNSUPPORTED,
                    "%s: architecture: expected llama, qwen2, qwen3, qwen3moe or deepseek2, "
                    "found \"%s\"",
                    r2i_gguf_label(gguf), name);
}

static bool is_deepseek(const r2i_config *c) {
    return c->family == R2I_FAMILY_DEEPSEEK_V2 || c->family == R2I_FAMILY_DEEPSEEK_V3;
}

static r2_status read_head_sizes(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    c->n_kv_heads = c->n_heads;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".attention.head_count_kv", 1, c->n_heads, &c->n_kv_heads, err));
    c->d_head = c->d_model / c->n_heads;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".attention.key_length", 1, INT_MAX, &c->d_head, err));
    int32_t d_value = c->d_head;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".attention.value_length", 1, INT_MAX, &d_value, err));
    if (d_value != c->d_head) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: attention.value_length: expected %d as key_length, found %d",
                        r2i_gguf_label(gguf), c->d_head, d_value);
    }
    r2i_config_set_plain(c);
    return R2_OK;
}

/* Files that keep kv_b split describe the latent row as key_length and value_length, and the heads as
 * the same with _mla; older ones, with kv_b whole, have the heads there. */
static r2_status read_latent_sizes(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    const bool is_split = r2i_gguf_find(gguf, ".attention.key_length_mla") != NULL;
    R2I_TRY(r2i_gguf_get_i32(gguf, ".attention.kv_lora_rank", 1, INT_MAX, &c->kv_rank, err));
    R2I_TRY(r2i_gguf_try_i32(gguf, ".attention.q_lora_rank", 0, INT_MAX, &c->q_rank, err));
    R2I_TRY(r2i_gguf_get_i32(gguf, is_split ? ".attention.key_length_mla" : ".attention.key_length",
                             1, INT_MAX, &c->d_head, err));
    c->n_kv_heads = 1;
    /* The files hold one epsilon; released models have 1e-6 for all norms, and where the outer one
     * differs the inner two still are 1e-6. */
    c->latent_norm_eps = 1e-6f;
    r2i_config_set_plain(c);
    return r2i_gguf_get_i32(gguf,
                            is_split ? ".attention.value_length_mla" : ".attention.value_length", 1,
                            INT_MAX, &c->d_value, err);
}

static r2_status read_sizes(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    R2I_TRY(r2i_gguf_get_i32(gguf, ".block_count", 1, 1024, &c->n_layers, err));
    R2I_TRY(r2i_gguf_get_i32(gguf, ".embedding_length", 1, INT_MAX, &c->d_model, err));
    R2I_TRY(r2i_gguf_get_i32(gguf, ".attention.head_count", 1, 65536, &c->n_heads, err));
    R2I_TRY(is_deepseek(c) ? read_latent_sizes(c, gguf, err) : read_head_sizes(c, gguf, err));
    R2I_TRY(r2i_gguf_try_i32(gguf, ".feed_forward_length", 0, INT_MAX, &c->d_ffn, err));
    c->n_context = 2048;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".context_length", 1, INT_MAX, &c->n_context, err));
    return r2i_gguf_get_f32(gguf, ".attention.layer_norm_rms_epsilon", 0, 1, &c->norm_eps, err);
}

/* Prediction modules are the last blocks of the count. */
static r2_status read_modules(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    int32_t n_modules = 0;
    if (!is_deepseek(c)) return R2_OK;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".nextn_predict_layers", 0, c->n_layers - 1, &n_modules, err));
    c->n_layers -= n_modules;
    c->n_mtp = n_modules > 0 ? 1 : 0;
    return R2_OK;
}

static bool has_score_bias(const r2i_config *c, const r2i_gguf *gguf) {
    char name[64];
    for (int32_t i = 0; i < c->n_layers; i++) {
        (void)snprintf(name, sizeof name, "blk.%d.exp_probs_b.bias", i);
        if (c->layers[i].ffn == R2I_FFN_MOE) return r2i_gguf_find_tensor(gguf, name) != NULL;
    }
    return false;
}

static r2_status read_routing(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    enum { SOFTMAX = 1, SIGMOID = 2 }; /* absent in files older than V3 */
    int32_t gating = SOFTMAX;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".expert_gating_func", SOFTMAX, SIGMOID, &gating, err));
    R2I_TRY(r2i_gguf_try_i32(gguf, ".expert_group_count", 1, 1024, &c->n_groups, err));
    R2I_TRY(r2i_gguf_try_i32(gguf, ".expert_group_used_count", 1, 1024, &c->n_active_groups, err));
    R2I_TRY(r2i_gguf_try_bool(gguf, ".expert_weights_norm", &c->is_renormalized, err));
    R2I_TRY(r2i_gguf_try_f32(gguf, ".expert_weights_scale", 0, 1e6f, &c->routed_scale, err));
    if (c->routed_scale == 0) c->routed_scale = 1; /* so written for "none" */
    if (gating == SIGMOID) {
        c->family = R2I_FAMILY_DEEPSEEK_V3;
        c->score = R2I_SCORE_SIGMOID;
        c->group = R2I_GROUP_TWO_BEST;
    }
    c->has_score_bias = has_score_bias(c, gguf);
    return R2_OK;
}

static r2_status read_experts(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    int32_t n_dense = 0;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".expert_count", 0, R2I_MAX_EXPERTS, &c->n_experts, err));
    if (c->family != R2I_FAMILY_QWEN3_MOE && !is_deepseek(c)) {
        if (c->n_experts == 0) return R2_OK;
        return r2i_fail(err, R2_E_UNSUPPORTED, "%s: experts are not supported for architecture %s",
                        r2i_gguf_label(gguf), c->architecture);
    }
    R2I_TRY(r2i_gguf_get_i32(gguf, ".expert_used_count", 1, c->n_experts, &c->n_active, err));
    R2I_TRY(r2i_gguf_get_i32(gguf, ".expert_feed_forward_length", 1, INT_MAX, &c->d_expert, err));
    if (is_deepseek(c)) {
        R2I_TRY(r2i_gguf_try_i32(gguf, ".expert_shared_count", 0, 1024, &c->n_shared_experts, err));
        R2I_TRY(r2i_gguf_try_i32(gguf, ".leading_dense_block_count", 0, INT_MAX, &n_dense, err));
    }
    for (int32_t i = 0; i < c->n_layers; i++) {
        c->layers[i].attention = is_deepseek(c) ? R2I_ATTENTION_MLA : R2I_ATTENTION_GQA;
        c->layers[i].ffn = i >= n_dense ? R2I_FFN_MOE : R2I_FFN_DENSE;
    }
    if (is_deepseek(c)) return read_routing(c, gguf, err);
    c->is_renormalized = true; /* llama.cpp renormalises this family whatever the file says */
    return R2_OK;
}

/* A factor stored here multiplies the derived one; in config.json it replaces it.  Latent attention
 * has nothing derived: its magnitude went into the scale of the scores. */
static r2_status read_magnitudes(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    r2i_rope_config *rope = &c->rope;
    float attention = 0, per_log = 0;
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.scaling.attn_factor", 0, 1e6f, &attention, err));
    if (!is_deepseek(c)) {
        if (attention > 0 && rope->factor > 1)
            rope->attention_factor = (double)attention * (0.1 * log(rope->factor) + 1);
        return R2_OK;
    }
    rope->attention_factor = attention > 0 ? (double)attention : 1;
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.scaling.yarn_log_multiplier", 0, 1e6f, &per_log, err));
    if (rope->kind == R2I_ROPE_YARN) r2i_config_sharpen(c, (double)per_log);
    return R2_OK;
}

static r2_status read_scaling(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    r2i_rope_config *rope = &c->rope;
    r2i_gguf_text kind = { "none", 4 };
    R2I_TRY(r2i_gguf_try_text(gguf, ".rope.scaling.type", &kind, err));
    if (r2i_gguf_text_is(kind, "none")) return R2_OK;
    if (r2i_gguf_text_is(kind, "linear"))
        rope->kind = R2I_ROPE_LINEAR;
    else if (r2i_gguf_text_is(kind, "yarn"))
        rope->kind = R2I_ROPE_YARN;
    else {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: rope.scaling.type: expected none, linear or yarn, found \"%.*s\"",
                        r2i_gguf_label(gguf), (int)(kind.n_bytes < 32 ? kind.n_bytes : 32),
                        kind.bytes);
    }
    float factor = 0, fast = 32, slow = 1;
    int32_t original = 0;
    R2I_TRY(r2i_gguf_get_f32(gguf, ".rope.scaling.factor", 0, 1e6f, &factor, err));
    R2I_TRY(r2i_gguf_try_i32(gguf, ".rope.scaling.original_context_length", 1, INT_MAX, &original,
                             err));
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.scaling.yarn_beta_fast", 0, 1e6f, &fast, err));
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.scaling.yarn_beta_slow", 0, 1e6f, &slow, err));
    rope->factor = (double)factor;
    rope->original_context = original;
    rope->beta_fast = (double)fast;
    rope->beta_slow = (double)slow;
    return read_magnitudes(c, gguf, err);
}

static r2_status read_rope(r2i_config *c, const r2i_gguf *gguf, r2i_arena *arena, r2_error *err) {
    r2i_rope_config *rope = &c->rope;
    float theta = 10000;
    rope->d = c->d_head;
    rope->is_interleaved = is_deepseek(c);
    R2I_TRY(r2i_gguf_try_i32(gguf, ".rope.dimension_count", 2, c->d_head, &rope->d, err));
    /* The rows of a llama file lie in pairs over the whole head (matrix.h), so no part of it turns. */
    if (c->family == R2I_FAMILY_LLAMA && rope->d != c->d_head) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: rope.dimension_count: expected %d, the head size, found %d",
                        r2i_gguf_label(gguf), c->d_head, rope->d);
    }
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.freq_base", 1e-3f, 1e12f, &theta, err));
    rope->theta = (double)theta;
    const r2i_stored_tensor *divisors = r2i_gguf_find_tensor(gguf, "rope_freqs.weight");
    if (divisors == NULL) return read_scaling(c, gguf, err);
    if (divisors->type != R2I_TYPE_F32 || divisors->ne[0] != rope->d / 2) {
        return r2i_fail(err, R2_E_MISMATCH, "%s: rope_freqs.weight: expected F32 [%d]",
                        r2i_gguf_label(gguf), rope->d / 2);
    }
    float *copy = R2I_ARENA_ARRAY(arena, float, (size_t)rope->d / 2);
    if (copy == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for rope frequencies");
    memcpy(copy, divisors->bytes, (size_t)rope->d / 2 * sizeof *copy);
    for (int32_t i = 0; i < rope->d / 2; i++) {
        if (isfinite(copy[i]) && copy[i] > 0) continue;
        return r2i_fail(err, R2_E_FORMAT, "%s: rope_freqs.weight: element %d is not above 0",
                        r2i_gguf_label(gguf), i);
    }
    rope->divisors = copy;
    return read_scaling(c, gguf, err);
}

static r2_status read_all(r2i_config *out, const r2i_gguf *gguf, r2i_arena *arena, r2_error *err) {
    r2i_config c = { 0 };
    if (r2i_adapter_is_gguf(gguf)) {
        return r2i_fail(err, R2_E_UNSUPPORTED, "%s: expected a model, found an adapter for one",
                        r2i_gguf_label(gguf));
    }
    R2I_TRY(find_architecture(&c, gguf, err));
    R2I_TRY(read_sizes(&c, gguf, err));
    R2I_TRY(read_modules(&c, gguf, err));
    R2I_TRY(r2i_config_fill_layers(&c, arena, err));
    R2I_TRY(read_experts(&c, gguf, err));
    R2I_TRY(read_rope(&c, gguf, arena, err));
    const r2i_stored_tensor *embedding = r2i_gguf_find_tensor(gguf, "token_embd.weight");
    if (embedding == NULL || embedding->ne[1] > INT_MAX) {
        return r2i_fail(err, R2_E_NOT_FOUND, "%s: tensor token_embd.weight is missing",
                        r2i_gguf_label(gguf));
    }
    c.n_vocab = (int32_t)embedding->ne[1];
    c.is_tied = r2i_gguf_find_tensor(gguf, "output.weight") == NULL;
    R2I_TRY(r2i_config_check(&c, r2i_gguf_label(gguf), err));
    *out = c;
    return R2_OK;
}

r2_status r2i_config_from_gguf(r2i_config *out, const r2i_gguf *gguf, r2i_arena *arena,
                               r2_error *err) {
    return r2i_fail_file(read_all(out, gguf, arena, err), err);
}

const char *r2i_config_gguf_architecture(r2i_family family) {
    switch (family) {
    case R2I_FAMILY_LLAMA:
        return "llama";
    case R2I_FAMILY_QWEN2:
        return "qwen2";
    case R2I_FAMILY_QWEN3:
        return "qwen3";
    case R2I_FAMILY_QWEN3_MOE:
        return "qwen3moe";
    default:
        return "deepseek2";
    }
}
