/* config_gguf.c - configuration from GGUF metadata (key names: docs/formats.md). */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/failure.h"
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
                    "%s: architecture: expected llama, qwen2, qwen3 or qwen3moe, found \"%s\"",
                    r2i_gguf_label(gguf), name);
}

static r2_status read_sizes(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    R2I_TRY(r2i_gguf_get_i32(gguf, ".block_count", 1, 1024, &c->n_layers, err));
    R2I_TRY(r2i_gguf_get_i32(gguf, ".embedding_length", 1, INT_MAX, &c->d_model, err));
    R2I_TRY(r2i_gguf_get_i32(gguf, ".attention.head_count", 1, 65536, &c->n_heads, err));
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
    R2I_TRY(r2i_gguf_try_i32(gguf, ".feed_forward_length", 0, INT_MAX, &c->d_ffn, err));
    c->n_context = 2048;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".context_length", 1, INT_MAX, &c->n_context, err));
    return r2i_gguf_get_f32(gguf, ".attention.layer_norm_rms_epsilon", 0, 1, &c->norm_eps, err);
}

static r2_status read_experts(r2i_config *c, const r2i_gguf *gguf, r2_error *err) {
    R2I_TRY(r2i_gguf_try_i32(gguf, ".expert_count", 0, 1024, &c->n_experts, err));
    if (c->family != R2I_FAMILY_QWEN3_MOE) {
        if (c->n_experts == 0) return R2_OK;
        return r2i_fail(err, R2_E_UNSUPPORTED, "%s: experts are not supported for architecture %s",
                        r2i_gguf_label(gguf), c->architecture);
    }
    R2I_TRY(r2i_gguf_get_i32(gguf, ".expert_used_count", 1, c->n_experts, &c->n_active, err));
    R2I_TRY(r2i_gguf_get_i32(gguf, ".expert_feed_forward_length", 1, INT_MAX, &c->d_expert, err));
    c->is_renormalized = true; /* llama.cpp renormalises this family whatever the file says */
    for (int32_t i = 0; i < c->n_layers; i++)
        c->layers[i].ffn = R2I_FFN_MOE;
    return R2_OK;
}

static bool text_is(r2i_gguf_text text, const char *word) {
    return text.n_bytes == strlen(word) && memcmp(text.bytes, word, text.n_bytes) == 0;
}

static r2_status read_scaling(r2i_rope_config *rope, const r2i_gguf *gguf, r2_error *err) {
    r2i_gguf_text kind = { "none", 4 };
    R2I_TRY(r2i_gguf_try_text(gguf, ".rope.scaling.type", &kind, err));
    if (text_is(kind, "none")) return R2_OK;
    if (text_is(kind, "linear"))
        rope->kind = R2I_ROPE_LINEAR;
    else if (text_is(kind, "yarn"))
        rope->kind = R2I_ROPE_YARN;
    else {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: rope.scaling.type: expected none, linear or yarn, found \"%.*s\"",
                        r2i_gguf_label(gguf), (int)(kind.n_bytes < 32 ? kind.n_bytes : 32),
                        kind.bytes);
    }
    float factor = 0, attention = 0, fast = 32, slow = 1;
    int32_t original = 0;
    R2I_TRY(r2i_gguf_get_f32(gguf, ".rope.scaling.factor", 0, 1e6f, &factor, err));
    R2I_TRY(r2i_gguf_try_i32(gguf, ".rope.scaling.original_context_length", 1, INT_MAX, &original,
                             err));
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.scaling.attn_factor", 0, 1e6f, &attention, err));
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.scaling.yarn_beta_fast", 0, 1e6f, &fast, err));
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.scaling.yarn_beta_slow", 0, 1e6f, &slow, err));
    rope->factor = (double)factor;
    rope->original_context = original;
    rope->beta_fast = (double)fast;
    rope->beta_slow = (double)slow;
    /* Here the stored factor multiplies the derived one; in config.json it replaces it. */
    if (attention > 0 && factor > 1)
        rope->attention_factor = (double)attention * (0.1 * log((double)factor) + 1);
    return R2_OK;
}

static r2_status read_rope(r2i_config *c, const r2i_gguf *gguf, r2i_arena *arena, r2_error *err) {
    r2i_rope_config *rope = &c->rope;
    float theta = 10000;
    rope->d = c->d_head;
    R2I_TRY(r2i_gguf_try_i32(gguf, ".rope.dimension_count", 2, c->d_head, &rope->d, err));
    /* The rows of a llama file lie in pairs over the whole head (weights.c), so no part of it turns. */
    if (c->family == R2I_FAMILY_LLAMA && rope->d != c->d_head) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: rope.dimension_count: expected %d, the head size, found %d",
                        r2i_gguf_label(gguf), c->d_head, rope->d);
    }
    R2I_TRY(r2i_gguf_try_f32(gguf, ".rope.freq_base", 1e-3f, 1e12f, &theta, err));
    rope->theta = (double)theta;
    const r2i_stored_tensor *divisors = r2i_gguf_find_tensor(gguf, "rope_freqs.weight");
    if (divisors == NULL) return read_scaling(rope, gguf, err);
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
    return read_scaling(rope, gguf, err);
}

r2_status r2i_config_from_gguf(r2i_config *out, const r2i_gguf *gguf, r2i_arena *arena,
                               r2_error *err) {
    r2i_config c = { 0 };
    R2I_TRY(find_architecture(&c, gguf, err));
    R2I_TRY(read_sizes(&c, gguf, err));
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
    r2i_config_set_plain(&c);
    R2I_TRY(r2i_config_check(&c, r2i_gguf_label(gguf), err));
    *out = c;
    return R2_OK;
}
