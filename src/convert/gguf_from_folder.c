/* gguf_from_folder.c - metadata from the configuration, then all tensors (key names:
 * docs/formats.md). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "convert/conversion.h"
#include "convert/vocabulary.h"
#include "files/gguf_write.h"
#include "model/config_read.h"

typedef struct {
    r2i_conversion *conversion;
    const r2i_config *config;
    r2i_gguf_writer *writer;
    const char *architecture;
    r2_error *err;
} output;

/* ---- what GGUF cannot say ---- */

static r2_status refuse(const output *o, const char *what) {
    return r2i_fail(o->err, R2_E_UNSUPPORTED, "%s: GGUF files of architecture %s cannot say: %s",
                    o->conversion->label, o->architecture, what);
}

static r2_status check_layers(const output *o) {
    const r2i_config *c = o->config;
    const bool is_deepseek = c->kv_rank > 0;
    bool was_moe = false;
    for (int32_t i = 0; i < c->n_layers; i++) {
        const bool is_dense = c->layers[i].ffn == R2I_FFN_DENSE;
        if (c->layers[i].window > 0 && c->layers[i].window < c->n_context)
            return refuse(o, "attention in windows (use_sliding_window)");
        if (c->n_experts > 0 && is_dense && (was_moe || !is_deepseek))
            return refuse(o, "dense layers among those with experts");
        was_moe |= !is_dense;
    }
    return R2_OK;
}

static r2_status check_expressible(const output *o) {
    const r2i_config *c = o->config;
    const bool is_v3 = c->family == R2I_FAMILY_DEEPSEEK_V3;
    R2I_TRY(check_layers(o));
    if (c->family == R2I_FAMILY_QWEN3_MOE && !c->is_renormalized)
        return refuse(o, "weights of experts that do not sum to 1 (norm_topk_prob false)");
    if (c->kv_rank > 0 && !c->rope.is_interleaved)
        return refuse(o, "rotated halves (rope_interleave false)");
    if (c->kv_rank > 0 && (c->score == R2I_SCORE_SIGMOID) != is_v3)
        return refuse(o, "this scoring_func with this model_type");
    return R2_OK;
}

/* ---- values ---- */

static r2_status put_integer(const output *o, const char *key, int64_t x) {
    char full[96];
    (void)snprintf(full, sizeof full, "%s.%s", o->architecture, key);
    return r2i_gguf_writer_add_integer(o->writer, full, R2I_GGUF_U32, x, o->err);
}

static r2_status put_float(const output *o, const char *key, double x) {
    char full[96];
    (void)snprintf(full, sizeof full, "%s.%s", o->architecture, key);
    return r2i_gguf_writer_add_f32(o->writer, full, (float)x, o->err);
}

static r2_status put_flag(const output *o, const char *key, bool x) {
    char full[96];
    (void)snprintf(full, sizeof full, "%s.%s", o->architecture, key);
    return r2i_gguf_writer_add_bool(o->writer, full, x, o->err);
}

static r2_status put_text(const output *o, const char *key, const char *text) {
    return r2i_gguf_writer_add_text(o->writer, key, text, strlen(text), o->err);
}

/* general.file_type names the type of most weights. */
static int64_t file_type(const r2i_conversion *c) {
    return c->main_type == R2I_TYPE_F32 ? 0 : c->main_type == R2I_TYPE_F16 ? 1 : 32;
}

static r2_status put_general(const output *o) {
    R2I_TRY(put_text(o, "general.architecture", o->architecture));
    R2I_TRY(put_text(o, "general.type", "model"));
    R2I_TRY(put_text(o, "general.name", o->conversion->label));
    return r2i_gguf_writer_add_integer(o->writer, "general.file_type", R2I_GGUF_U32,
                                       file_type(o->conversion), o->err);
}

static r2_status put_heads(const output *o) {
    const r2i_config *c = o->config;
    R2I_TRY(put_integer(o, "attention.head_count", c->n_heads));
    R2I_TRY(put_integer(o, "attention.head_count_kv", c->n_kv_heads));
    if (c->kv_rank == 0) {
        R2I_TRY(put_integer(o, "attention.key_length", c->d_head));
        return put_integer(o, "attention.value_length", c->d_value);
    }
    /* The latent row is the one head that is stored; the heads it stands for are the _mla ones. */
    R2I_TRY(put_integer(o, "attention.key_length", c->kv_rank + c->rope.d));
    R2I_TRY(put_integer(o, "attention.value_length", c->kv_rank));
    R2I_TRY(put_integer(o, "attention.key_length_mla", c->d_head));
    R2I_TRY(put_integer(o, "attention.value_length_mla", c->d_value));
    R2I_TRY(put_integer(o, "attention.kv_lora_rank", c->kv_rank));
    return c->q_rank > 0 ? put_integer(o, "attention.q_lora_rank", c->q_rank) : R2_OK;
}

static r2_status put_sizes(const output *o) {
    const r2i_config *c = o->config;
    const int32_t n_mtp = o->conversion->has_mtp ? c->n_mtp : 0;
    R2I_TRY(put_integer(o, "block_count", c->n_layers + n_mtp));
    R2I_TRY(put_integer(o, "context_length", c->n_context));
    R2I_TRY(put_integer(o, "embedding_length", c->d_model));
    R2I_TRY(put_integer(o, "feed_forward_length", c->d_ffn));
    R2I_TRY(put_integer(o, "vocab_size", c->n_vocab));
    R2I_TRY(put_float(o, "attention.layer_norm_rms_epsilon", (double)c->norm_eps));
    if (n_mtp > 0) R2I_TRY(put_integer(o, "nextn_predict_layers", n_mtp));
    return put_heads(o);
}

static r2_status put_experts(const output *o) {
    const r2i_config *c = o->config;
    int32_t n_dense = 0;
    if (c->n_experts == 0) return R2_OK;
    R2I_TRY(put_integer(o, "expert_count", c->n_experts));
    R2I_TRY(put_integer(o, "expert_used_count", c->n_active));
    R2I_TRY(put_integer(o, "expert_feed_forward_length", c->d_expert));
    if (c->kv_rank == 0) return R2_OK;
    while (n_dense < c->n_layers && c->layers[n_dense].ffn == R2I_FFN_DENSE)
        n_dense++;
    R2I_TRY(put_integer(o, "leading_dense_block_count", n_dense));
    R2I_TRY(put_integer(o, "expert_shared_count", c->n_shared_experts));
    R2I_TRY(put_float(o, "expert_weights_scale", (double)c->routed_scale));
    R2I_TRY(put_flag(o, "expert_weights_norm", c->is_renormalized));
    R2I_TRY(put_integer(o, "expert_gating_func", c->score == R2I_SCORE_SIGMOID ? 2 : 1));
    R2I_TRY(put_integer(o, "expert_group_count", c->n_groups));
    return put_integer(o, "expert_group_used_count", c->n_active_groups);
}

/* ---- positions ---- */

static const json_t *rope_object(const r2i_conversion *c) {
    const json_t *scaling = json_object_get(c->folder.config, "rope_parameters");
    return json_is_object(scaling) ? scaling : json_object_get(c->folder.config, "rope_scaling");
}

/* Latent attention derives no magnitude: what config.json came to is written.  Elsewhere a reader
 * multiplies the stored factor with the derived one. */
static r2_status put_magnitudes(const output *o) {
    const r2i_rope_config *rope = &o->config->rope;
    const double derived = 0.1 * log(rope->factor) + 1, found = rope->attention_factor;
    if (o->config->kv_rank == 0) {
        const bool is_usual = found == 0 || rope->factor <= 1 || fabs(found / derived - 1) < 1e-6;
        return is_usual ? R2_OK : put_float(o, "rope.scaling.attn_factor", found / derived);
    }
    const double per_log =
        0.1 * json_number_value(json_object_get(rope_object(o->conversion), "mscale_all_dim"));
    const double factor = found > 0 ? found : rope->factor > 1 ? derived : 1;
    if (fabs(factor - 1) > 1e-6) R2I_TRY(put_float(o, "rope.scaling.attn_factor", factor));
    return per_log > 0 ? put_float(o, "rope.scaling.yarn_log_multiplier", per_log) : R2_OK;
}

static r2_status put_yarn(const output *o) {
    const r2i_rope_config *rope = &o->config->rope;
    R2I_TRY(put_integer(o, "rope.scaling.original_context_length",
                        (int64_t)(rope->original_context + 0.5)));
    R2I_TRY(put_float(o, "rope.scaling.yarn_beta_fast", rope->beta_fast));
    R2I_TRY(put_float(o, "rope.scaling.yarn_beta_slow", rope->beta_slow));
    return put_magnitudes(o);
}

static r2_status put_rope(const output *o) {
    const r2i_rope_config *rope = &o->config->rope;
    char key[96];
    R2I_TRY(put_float(o, "rope.freq_base", rope->theta));
    R2I_TRY(put_integer(o, "rope.dimension_count", rope->d));
    if (rope->kind != R2I_ROPE_LINEAR && rope->kind != R2I_ROPE_YARN) return R2_OK;
    (void)snprintf(key, sizeof key, "%s.rope.scaling.type", o->architecture);
    R2I_TRY(put_text(o, key, rope->kind == R2I_ROPE_YARN ? "yarn" : "linear"));
    R2I_TRY(put_float(o, "rope.scaling.factor", rope->factor));
    return rope->kind == R2I_ROPE_YARN ? put_yarn(o) : R2_OK;
}

/* Llama 3's scaling is stored as what each frequency is divided by (Meta's llama-models,
 * apply_scaling). */
void r2i_llama3_divisors(float *out, const r2i_rope_config *rope) {
    const double two_pi = 6.283185307179586;
    const double low = rope->original_context / rope->low_freq_factor,
                 high = rope->original_context / rope->high_freq_factor;
    for (int32_t i = 0; i < rope->d / 2; i++) {
        const double wave = two_pi * pow(rope->theta, 2.0 * i / rope->d);
        const double smooth = (rope->original_context / wave - rope->low_freq_factor) /
                              (rope->high_freq_factor - rope->low_freq_factor);
        const double divisor = wave < high  ? 1
                               : wave > low ? rope->factor
                                            : 1 / ((1 - smooth) / rope->factor + smooth);
        out[i] = (float)divisor;
    }
}

static r2_status put_divisors(const output *o) {
    const r2i_rope_config *rope = &o->config->rope;
    const int64_t ne = rope->d / 2;
    if (rope->kind != R2I_ROPE_LLAMA3) return R2_OK;
    float *divisors = R2I_ARENA_ARRAY(&o->conversion->arena, float, (size_t)ne);
    if (divisors == NULL) return r2i_fail(o->err, R2_E_NOMEM, "no memory for rope frequencies");
    r2i_llama3_divisors(divisors, rope);
    return r2i_gguf_writer_add_tensor(o->writer, "rope_freqs.weight", R2I_TYPE_F32, 1, &ne,
                                      divisors, o->err);
}

/* ---- the file ---- */

static r2_status write_piece(void *user, const void *bytes, size_t n_bytes, r2_error *err) {
    return r2i_gguf_writer_write(user, bytes, n_bytes, err);
}

static r2_status write_tensors(const output *o) {
    r2i_conversion *c = o->conversion;
    for (size_t i = 0; i < c->n_tensors; i++) {
        const r2i_written_tensor *t = &c->tensors[i];
        R2I_TRY(r2i_gguf_writer_add_tensor(o->writer, t->name, t->recipe.type, t->n_dims, t->ne,
                                           NULL, o->err));
    }
    R2I_TRY(put_divisors(o));
    R2I_TRY(r2i_gguf_writer_begin(o->writer, c->out, o->err));
    for (size_t i = 0; i < c->n_tensors; i++)
        R2I_TRY(r2i_stream_tensor(c, &c->tensors[i], write_piece, o->writer, o->err));
    return r2i_gguf_writer_finish(o->writer, o->err);
}

static r2_status write_all(const output *o) {
    R2I_TRY(check_expressible(o));
    R2I_TRY(put_general(o));
    R2I_TRY(put_sizes(o));
    R2I_TRY(put_experts(o));
    R2I_TRY(put_rope(o));
    R2I_TRY(r2i_vocabulary_to_gguf(o->conversion, o->writer, o->err));
    return write_tensors(o);
}

r2_status r2i_write_gguf(r2i_conversion *conversion, r2_error *err) {
    output o = { conversion, &conversion->config, NULL,
                 r2i_config_gguf_architecture(conversion->config.family), err };
    R2I_TRY(r2i_gguf_writer_create(&o.writer, &conversion->heap, err));
    const r2_status status = write_all(&o);
    r2i_gguf_writer_destroy(o.writer);
    return status;
}
