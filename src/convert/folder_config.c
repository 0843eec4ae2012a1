#include "convert/folder_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"

typedef struct {
    const r2i_conversion *conversion;
    const r2i_config *config;
    json_t *json;
    bool has_failed; /* no memory for a value */
} output;

/* ---- values ---- */

static void put(output *o, const char *key, json_t *value) {
    o->has_failed |= json_object_set_new(o->json, key, value) != 0;
}

static void put_integer(output *o, const char *key, int64_t x) {
    put(o, key, json_integer(x));
}

static void put_flag(output *o, const char *key, bool x) {
    put(o, key, json_boolean(x));
}

static void put_text(output *o, const char *key, const char *text) {
    put(o, key, json_string(text));
}

/* The shortest decimal that is this F32: 1e-06 rather than 9.99999997e-07. */
static json_t *real_of(double x) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, x);
        if ((float)strtod(text, NULL) == (float)x) break;
    }
    return json_real(strtod(text, NULL));
}

static void put_real(output *o, const char *key, double x) {
    put(o, key, real_of(x));
}

/* ---- families ---- */

typedef struct {
    r2i_family family;
    const char *model_type, *class_name;
} family_row;

static const family_row families[] = {
    { R2I_FAMILY_LLAMA, "llama", "LlamaForCausalLM" },
    { R2I_FAMILY_QWEN2, "qwen2", "Qwen2ForCausalLM" },
    { R2I_FAMILY_QWEN3, "qwen3", "Qwen3ForCausalLM" },
    { R2I_FAMILY_QWEN3_MOE, "qwen3_moe", "Qwen3MoeForCausalLM" },
    { R2I_FAMILY_DEEPSEEK_V2, "deepseek_v2", "DeepseekV2ForCausalLM" },
    { R2I_FAMILY_DEEPSEEK_V3, "deepseek_v3", "DeepseekV3ForCausalLM" },
};

static void put_family(output *o) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        if (families[i].family != o->config->family) continue;
        put(o, "architectures", json_pack("[s]", families[i].class_name));
        put_text(o, "model_type", families[i].model_type);
    }
}

static bool has_tensor(const output *o, const char *name) {
    return r2i_gguf_find_tensor(o->conversion->gguf, name) != NULL;
}

static void put_sizes(output *o) {
    const r2i_config *c = o->config;
    put_integer(o, "vocab_size", c->n_vocab);
    put_integer(o, "hidden_size", c->d_model);
    put_integer(o, "intermediate_size", c->d_ffn > 0 ? c->d_ffn : c->d_expert);
    put_integer(o, "num_hidden_layers", c->n_layers);
    put_integer(o, "num_attention_heads", c->n_heads);
    put_integer(o, "num_key_value_heads", c->kv_rank > 0 ? c->n_heads : c->n_kv_heads);
    put_text(o, "hidden_act", "silu");
    put_integer(o, "max_position_embeddings", c->n_context);
    put_real(o, "rms_norm_eps", (double)c->norm_eps);
    put_flag(o, "tie_word_embeddings", c->is_tied);
    put_text(o, "torch_dtype",
             o->conversion->main_type == R2I_TYPE_F32   ? "float32"
             : o->conversion->main_type == R2I_TYPE_F16 ? "float16"
                                                        : "bfloat16");
}

static void put_latent(output *o) {
    const r2i_config *c = o->config;
    put_integer(o, "kv_lora_rank", c->kv_rank);
    put(o, "q_lora_rank", c->q_rank > 0 ? json_integer(c->q_rank) : json_null());
    put_integer(o, "qk_nope_head_dim", c->d_head - c->rope.d);
    put_integer(o, "qk_rope_head_dim", c->rope.d);
    put_integer(o, "v_head_dim", c->d_value);
    put_flag(o, "attention_bias", has_tensor(o, "blk.0.attn_kv_a_mqa.bias"));
}

static void put_attention(output *o) {
    const r2i_config *c = o->config;
    if (c->kv_rank > 0) {
        put_latent(o);
        return;
    }
    put_integer(o, "head_dim", c->d_head);
    if (c->family != R2I_FAMILY_QWEN2)
        put_flag(o, "attention_bias", has_tensor(o, "blk.0.attn_q.bias"));
    if (c->family == R2I_FAMILY_LLAMA)
        put_flag(o, "mlp_bias", has_tensor(o, "blk.0.ffn_up.bias"));
    else
        put_flag(o, "use_sliding_window", false);
}

static void put_deepseek_experts(output *o) {
    const r2i_config *c = o->config;
    const bool is_v3 = c->family == R2I_FAMILY_DEEPSEEK_V3;
    int32_t n_dense = 0;
    while (n_dense < c->n_layers && c->layers[n_dense].ffn == R2I_FFN_DENSE)
        n_dense++;
    put_integer(o, "n_routed_experts", c->n_experts);
    put_integer(o, "n_shared_experts", c->n_shared_experts);
    put_integer(o, "first_k_dense_replace", n_dense);
    put_integer(o, "moe_layer_freq", 1);
    put_text(o, "scoring_func", c->score == R2I_SCORE_SIGMOID ? "sigmoid" : "softmax");
    put_text(o, "topk_method",
             is_v3             ? "noaux_tc"
             : c->n_groups > 1 ? "group_limited_greedy"
                               : "greedy");
    put_integer(o, "n_group", c->n_groups);
    put_integer(o, "topk_group", c->n_active_groups);
    put_real(o, "routed_scaling_factor", (double)c->routed_scale);
    if (is_v3) put_integer(o, "num_nextn_predict_layers", o->conversion->has_mtp ? c->n_mtp : 0);
}

static void put_experts(output *o) {
    const r2i_config *c = o->config;
    if (c->n_experts == 0) return;
    put_integer(o, "num_experts_per_tok", c->n_active);
    put_integer(o, "moe_intermediate_size", c->d_expert);
    put_flag(o, "norm_topk_prob", c->is_renormalized);
    if (c->kv_rank > 0) {
        put_deepseek_experts(o);
        return;
    }
    put_integer(o, "num_experts", c->n_experts);
    put_integer(o, "decoder_sparse_step", 1);
    put(o, "mlp_only_layers", json_array());
}

/* ---- positions ---- */

/* Files for llama.cpp hold what each frequency is divided by, not the settings it came from.
 * Released models have low 1 and high 4; factor is the largest divisor, and only one original
 * length fits. */
static bool find_llama3(const r2i_rope_config *rope, r2i_rope_config *out, r2i_arena *arena) {
    const int32_t n = rope->d / 2;
    float *made = R2I_ARENA_ARRAY(arena, float, (size_t)n);
    *out = *rope;
    out->kind = R2I_ROPE_LLAMA3;
    out->low_freq_factor = 1;
    out->high_freq_factor = 4;
    out->factor = 1;
    for (int32_t i = 0; i < n; i++)
        out->factor = fmax(out->factor, (double)rope->divisors[i]);
    for (int32_t length = 16; made != NULL && length <= 1 << 20; length *= 2) {
        double worst = 0;
        out->original_context = length;
        r2i_llama3_divisors(made, out);
        for (int32_t i = 0; i < n; i++)
            worst = fmax(worst, fabs((double)made[i] / (double)rope->divisors[i] - 1));
        if (worst < 1e-5) return true;
    }
    return false;
}

static json_t *make_llama3(const r2i_rope_config *rope) {
    return json_pack("{s:s, s:o, s:f, s:f, s:I}", "rope_type", "llama3", "factor",
                     real_of(rope->factor), "low_freq_factor", rope->low_freq_factor,
                     "high_freq_factor", rope->high_freq_factor, "original_max_position_embeddings",
                     (json_int_t)rope->original_context);
}

static double yarn_log(const r2i_conversion *c) {
    float per_log = 0;
    const r2_status status =
        r2i_gguf_try_f32(c->gguf, ".rope.scaling.yarn_log_multiplier", 0, 1e6f, &per_log, NULL);
    return status == R2_OK ? (double)per_log : 0;
}

/* DeepSeek says a ratio of two magnitudes, 0.1 mscale ln(factor) + 1; the second one also sharpens
 * the scores.  Without a second one the ratio itself is said. */
static void put_yarn_magnitudes(const output *o, json_t *yarn) {
    const r2i_rope_config *rope = &o->config->rope;
    const double all = yarn_log(o->conversion) / 0.1, ln = 0.1 * log(rope->factor);
    if (o->config->kv_rank == 0 || all == 0 || ln <= 0) {
        if (rope->attention_factor > 0)
            (void)json_object_set_new(yarn, "attention_factor", real_of(rope->attention_factor));
        return;
    }
    const double one = (rope->attention_factor * (all * ln + 1) - 1) / ln;
    (void)json_object_set_new(yarn, "mscale", real_of(one));
    (void)json_object_set_new(yarn, "mscale_all_dim", real_of(all));
}

static json_t *make_yarn(const output *o) {
    const r2i_rope_config *rope = &o->config->rope;
    json_t *yarn = json_pack("{s:s, s:s, s:o, s:I, s:o, s:o}", "type", "yarn", "rope_type", "yarn",
                             "factor", real_of(rope->factor), "original_max_position_embeddings",
                             (json_int_t)rope->original_context, "beta_fast",
                             real_of(rope->beta_fast), "beta_slow", real_of(rope->beta_slow));
    if (yarn != NULL) put_yarn_magnitudes(o, yarn);
    return yarn;
}

static bool is_divided(const r2i_rope_config *rope) {
    for (int32_t i = 0; rope->divisors != NULL && i < rope->d / 2; i++) {
        if (rope->divisors[i] != 1.0f) return true;
    }
    return false;
}

static r2_status put_rope(output *o, r2i_arena *arena, r2_error *err) {
    const r2i_rope_config *rope = &o->config->rope;
    r2i_rope_config llama3;
    put_real(o, "rope_theta", rope->theta);
    if (is_divided(rope)) {
        if (rope->kind != R2I_ROPE_PLAIN || !find_llama3(rope, &llama3, arena)) {
            return r2i_fail(err, R2_E_UNSUPPORTED,
                            "%s: rope_freqs.weight: expected what Llama 3's scaling gives",
                            o->conversion->label);
        }
        put(o, "rope_scaling", make_llama3(&llama3));
    } else if (rope->kind == R2I_ROPE_YARN) {
        put(o, "rope_scaling", make_yarn(o));
    } else if (rope->kind == R2I_ROPE_LINEAR) {
        put(o, "rope_scaling",
            json_pack("{s:s, s:s, s:o}", "type", "linear", "rope_type", "linear", "factor",
                      real_of(rope->factor)));
    } else {
        put(o, "rope_scaling", json_null());
    }
    return R2_OK;
}

/* ---- tokens with a role ---- */

static int32_t special_id(const output *o, const char *key) {
    int32_t id = -1;
    const r2_status status =
        r2i_gguf_try_i32(o->conversion->gguf, key, 0, o->config->n_vocab - 1, &id, NULL);
    return status == R2_OK ? id : -1;
}

static json_t *id_or_null(int32_t id) {
    return id >= 0 ? json_integer(id) : json_null();
}

static void put_ids(output *o, bool lists_ends) {
    const int32_t eos = special_id(o, "tokenizer.ggml.eos_token_id"),
                  eot = special_id(o, "tokenizer.ggml.eot_token_id"),
                  pad = special_id(o, "tokenizer.ggml.padding_token_id");
    put(o, "bos_token_id", id_or_null(special_id(o, "tokenizer.ggml.bos_token_id")));
    put(o, "eos_token_id",
        lists_ends && eos >= 0 && eot >= 0 && eot != eos ? json_pack("[i, i]", eos, eot)
                                                         : id_or_null(eos));
    if (pad >= 0) put_integer(o, "pad_token_id", pad);
}

r2_status r2i_folder_config_make(json_t **config, json_t **generation,
                                 const r2i_conversion *conversion, r2_error *err) {
    output o = { conversion, &conversion->config, json_object(), false };
    output g = { conversion, &conversion->config, json_object(), false };
    r2i_arena *arena = &((r2i_conversion *)(uintptr_t)conversion)->arena;
    put_family(&o);
    put_sizes(&o);
    put_attention(&o);
    put_experts(&o);
    r2_status status = put_rope(&o, arena, err);
    put_ids(&o, false);
    put_ids(&g, true);
    if (status == R2_OK && (o.has_failed || g.has_failed))
        status = r2i_fail(err, R2_E_NOMEM, "config.json: no memory");
    if (status != R2_OK) {
        json_decref(o.json);
        json_decref(g.json);
        o.json = g.json = NULL;
    }
    *config = o.json;
    *generation = g.json;
    return status;
}
