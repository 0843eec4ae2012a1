#include "model/weights.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum { NAME_BYTES = 128 };

/* Names of a tensor with a place in each layer. */
typedef struct {
    const char *hf, *gguf; /* between "model.layers.N." or "blk.N." and ".weight" */
} layer_name;

static const layer_name attention_norm = { "input_layernorm", "attn_norm" };
static const layer_name ffn_norm = { "post_attention_layernorm", "ffn_norm" };
static const layer_name q_proj = { "self_attn.q_proj", "attn_q" };
static const layer_name k_proj = { "self_attn.k_proj", "attn_k" };
static const layer_name v_proj = { "self_attn.v_proj", "attn_v" };
static const layer_name o_proj = { "self_attn.o_proj", "attn_output" };
static const layer_name q_norm = { "self_attn.q_norm", "attn_q_norm" };
static const layer_name k_norm = { "self_attn.k_norm", "attn_k_norm" };
static const layer_name q_a_proj = { "self_attn.q_a_proj", "attn_q_a" };
static const layer_name q_a_norm = { "self_attn.q_a_layernorm", "attn_q_a_norm" };
static const layer_name q_b_proj = { "self_attn.q_b_proj", "attn_q_b" };
static const layer_name kv_a_proj = { "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa" };
static const layer_name kv_a_norm = { "self_attn.kv_a_layernorm", "attn_kv_a_norm" };
static const layer_name kv_b_proj = { "self_attn.kv_b_proj", "attn_kv_b" };
/* Files in GGUF's newer form hold the two parts of kv_b on their own. */
static const layer_name k_b_proj = { "", "attn_k_b" };
static const layer_name v_b_proj = { "", "attn_v_b" };
static const layer_name gate_proj = { "mlp.gate_proj", "ffn_gate" };
static const layer_name up_proj = { "mlp.up_proj", "ffn_up" };
static const layer_name down_proj = { "mlp.down_proj", "ffn_down" };
static const layer_name router = { "mlp.gate", "ffn_gate_inp" };
/* hf: the part behind the expert's number. */
static const layer_name expert_gate = { "gate_proj", "ffn_gate_exps" };
static const layer_name expert_up = { "up_proj", "ffn_up_exps" };
static const layer_name expert_down = { "down_proj", "ffn_down_exps" };
static const layer_name shared_gate = { "mlp.shared_experts.gate_proj", "ffn_gate_shexp" };
static const layer_name shared_up = { "mlp.shared_experts.up_proj", "ffn_up_shexp" };
static const layer_name shared_down = { "mlp.shared_experts.down_proj", "ffn_down_shexp" };

static const layer_name mtp_embedding_norm = { "enorm", "nextn.enorm" };
static const layer_name mtp_hidden_norm = { "hnorm", "nextn.hnorm" };
static const layer_name mtp_join = { "eh_proj", "nextn.eh_proj" };
static const layer_name mtp_output_norm = { "shared_head.norm", "nextn.shared_head_norm" };
static const layer_name mtp_head = { "shared_head.head", "nextn.shared_head_head" };
static const layer_name mtp_embedding = { "embed_tokens", "nextn.embed_tokens" };

typedef struct {
    const r2i_config *config;
    const r2i_tensor_source *source;
    const r2i_weight_rules *rules;
    r2i_arena *arena;
    r2_error *err;
} loader;

static const char *source_label(const loader *l) {
    return l->source->gguf != NULL ? r2i_gguf_label(l->source->gguf)
                                   : r2i_safetensors_label(l->source->safetensors);
}

static void make_name(const loader *l, char out[NAME_BYTES], layer_name name, int32_t layer,
                      const char *suffix) {
    const bool is_gguf = l->source->gguf != NULL;
    (void)snprintf(out, NAME_BYTES, "%s.%d.%s.%s", is_gguf ? "blk" : "model.layers", layer,
                   is_gguf ? name.gguf : name.hf, suffix);
}

static bool has_tensor(const loader *l, const char *name) {
    if (l->source->gguf != NULL) return r2i_gguf_find_tensor(l->source->gguf, name) != NULL;
    return r2i_safetensors_find(l->source->safetensors, name) != NULL;
}

static r2_status get_tensor(const loader *l, const char *name, r2i_stored_tensor *out) {
    if (l->source->gguf == NULL)
        return r2i_safetensors_get(l->source->safetensors, name, out, l->err);
    const r2i_stored_tensor *found = r2i_gguf_find_tensor(l->source->gguf, name);
    if (found == NULL) {
        return r2i_fail(l->err, R2_E_NOT_FOUND, "%s: tensor %s is missing", source_label(l), name);
    }
    *out = *found;
    return R2_OK;
}

static r2_status check_shape(const loader *l, const char *name, const r2i_stored_tensor *t,
                             int64_t n_cols, int64_t n_rows, int64_t n_stacked) {
    if (t->ne[0] == n_cols && t->ne[1] == n_rows && t->ne[2] == n_stacked && t->ne[3] == 1)
        return R2_OK;
    return r2i_fail(
        l->err, R2_E_MISMATCH, "%s: %s: expected [%lld, %lld, %lld], found [%lld, %lld, %lld]",
        source_label(l), name, (long long)n_stacked, (long long)n_rows, (long long)n_cols,
        (long long)t->ne[2], (long long)t->ne[1], (long long)t->ne[0]);
}

/* A small tensor as F32 in the arena. */
static r2_status load_vector(const loader *l, const char *name, int32_t n, float **out) {
    r2i_stored_tensor t;
    R2I_TRY(get_tensor(l, name, &t));
    R2I_TRY(check_shape(l, name, &t, n, 1, 1));
    if (t.type == R2I_TYPE_F8_E4M3) {
        return r2i_fail(l->err, R2_E_UNSUPPORTED,
                        "%s: %s: expected F32, F16 or BF16, found F8_E4M3", source_label(l), name);
    }
    float *copy = r2i_arena_push_array(l->arena, (size_t)n, sizeof *copy, 64);
    if (copy == NULL) return r2i_fail(l->err, R2_E_NOMEM, "no memory for %s", name);
    l->rules->kernels->dequantize[t.type](copy, t.bytes, n);
    *out = copy;
    return R2_OK;
}

static r2_status load_layer_vector(const loader *l, layer_name name, int32_t layer,
                                   const char *suffix, int32_t n, float **out) {
    char text[NAME_BYTES];
    make_name(l, text, name, layer, suffix);
    return load_vector(l, text, n, out);
}

static r2i_type choose_layout(const loader *l, r2i_type type) {
    if (l->rules->is_f32) return R2I_TYPE_F32;
    const bool is_widened = type == R2I_TYPE_F32 || type == R2I_TYPE_F8_E4M3;
    const r2i_type layout = is_widened ? R2I_TYPE_BF16 : type;
    return l->rules->kernels->matmul[layout] != NULL ? layout : R2I_TYPE_F32;
}

static void set_matrix(r2i_matrix *m, const r2i_stored_tensor *t, r2i_type layout, int32_t n_rows,
                       int32_t n_cols) {
    m->n_rows = n_rows;
    m->n_cols = n_cols;
    m->n_panels = r2i_div_up_i32(n_rows, R2I_PANEL_ROWS);
    m->type = t->type;
    m->layout = layout;
    m->stored = t->bytes;
    m->shard = t->shard;
    m->row_bytes = r2i_type_row_bytes(t->type, (size_t)n_cols);
    m->panel_bytes = r2i_panel_bytes(layout, n_cols);
}

/* The factors of a matrix of F8_E4M3, one for each block of 128 x 128. */
static r2_status load_scales(const loader *l, const char *name, r2i_matrix *m) {
    char text[NAME_BYTES + 16];
    r2i_stored_tensor t;
    (void)snprintf(text, sizeof text, "%s_scale_inv", name);
    R2I_TRY(get_tensor(l, text, &t));
    R2I_TRY(check_shape(l, text, &t, r2i_div_up_i32(m->n_cols, R2I_SCALE_BLOCK),
                        r2i_div_up_i32(m->n_rows, R2I_SCALE_BLOCK), 1));
    if (t.type != R2I_TYPE_F32) {
        return r2i_fail(l->err, R2_E_UNSUPPORTED, "%s: %s: expected F32, found %s", source_label(l),
                        text, r2i_type_get(t.type)->name);
    }
    m->scales = t.bytes;
    return R2_OK;
}

static r2_status load_matrix(const loader *l, const char *name, int32_t n_rows, int32_t n_cols,
                             r2i_matrix *out) {
    r2i_stored_tensor t;
    R2I_TRY(get_tensor(l, name, &t));
    R2I_TRY(check_shape(l, name, &t, n_cols, n_rows, 1));
    set_matrix(out, &t, choose_layout(l, t.type), n_rows, n_cols);
    return t.type == R2I_TYPE_F8_E4M3 ? load_scales(l, name, out) : R2_OK;
}

/* GGUF stores the biases of llama's q and k in the same swapped order as their rows. */
static r2_status unswap_bias(const loader *l, r2i_matrix *m) {
    if (m->n_swapped_heads == 0 || m->bias == NULL) return R2_OK;
    float *copy = R2I_ARENA_ARRAY(l->arena, float, (size_t)m->n_rows);
    if (copy == NULL) return r2i_fail(l->err, R2_E_NOMEM, "no memory for a bias");
    for (int32_t r = 0; r < m->n_rows; r++)
        copy[r] = m->bias[r2i_matrix_stored_row(m, r)];
    m->bias = copy;
    return R2_OK;
}

static r2_status load_layer_matrix(const loader *l, layer_name name, int32_t layer, int32_t n_rows,
                                   int32_t n_cols, bool needs_bias, r2i_matrix *out) {
    char text[NAME_BYTES];
    make_name(l, text, name, layer, "weight");
    R2I_TRY(load_matrix(l, text, n_rows, n_cols, out));
    make_name(l, text, name, layer, "bias");
    if (!needs_bias && !has_tensor(l, text)) return R2_OK;
    float *bias = NULL;
    R2I_TRY(load_vector(l, text, n_rows, &bias));
    out->bias = bias;
    return R2_OK;
}

/* n matrices stacked in one tensor of a GGUF file. */
static r2_status load_stacked(const loader *l, layer_name name, int32_t i, int32_t n,
                              int32_t n_rows, int32_t n_cols, r2i_matrix *matrices) {
    char text[NAME_BYTES];
    r2i_stored_tensor t;
    make_name(l, text, name, i, "weight");
    R2I_TRY(get_tensor(l, text, &t));
    R2I_TRY(check_shape(l, text, &t, n_cols, n_rows, n));
    for (int32_t m = 0; m < n; m++) {
        set_matrix(&matrices[m], &t, choose_layout(l, t.type), n_rows, n_cols);
        matrices[m].stored += (size_t)m * (size_t)n_rows * matrices[m].row_bytes;
    }
    return R2_OK;
}

static r2_status load_attention(const loader *l, int32_t i, r2i_layer *layer) {
    const r2i_config *c = l->config;
    const int32_t d_q = c->n_heads * c->d_head, d_kv = c->n_kv_heads * c->d_head;
    R2I_TRY(load_layer_vector(l, attention_norm, i, "weight", c->d_model, &layer->attention_norm));
    R2I_TRY(load_layer_matrix(l, q_proj, i, d_q, c->d_model, c->needs_qkv_bias, &layer->q));
    R2I_TRY(load_layer_matrix(l, k_proj, i, d_kv, c->d_model, c->needs_qkv_bias, &layer->k));
    R2I_TRY(load_layer_matrix(l, v_proj, i, d_kv, c->d_model, c->needs_qkv_bias, &layer->v));
    R2I_TRY(load_layer_matrix(l, o_proj, i, c->d_model, d_q, c->needs_o_bias, &layer->o));
    if (l->source->gguf != NULL && c->family == R2I_FAMILY_LLAMA && c->rope.d == c->d_head) {
        layer->q.n_swapped_heads = c->n_heads;
        layer->k.n_swapped_heads = c->n_kv_heads;
        R2I_TRY(unswap_bias(l, &layer->q));
        R2I_TRY(unswap_bias(l, &layer->k));
    }
    if (!c->has_head_norms) return R2_OK;
    R2I_TRY(load_layer_vector(l, q_norm, i, "weight", c->d_head, &layer->q_norm));
    return load_layer_vector(l, k_norm, i, "weight", c->d_head, &layer->k_norm);
}

/* ---- latent attention ---- */

/* out = transpose of m, as panels alone. */
static r2_status make_turned(const loader *l, const r2i_matrix *m, float *scratch,
                             r2i_matrix *out) {
    const size_t n = (size_t)m->n_rows;
    float *row = scratch + n * (size_t)m->n_cols;
    for (int32_t i = 0; i < m->n_rows; i++) {
        r2i_matrix_read_row(m, l->rules->kernels, i, row);
        for (int32_t j = 0; j < m->n_cols; j++)
            scratch[(size_t)j * n + (size_t)i] = row[j];
    }
    const r2i_stored_tensor turned = { .type = R2I_TYPE_F32,
                                       .bytes = (const uint8_t *)scratch,
                                       .shard = R2I_SHARD_NONE };
    set_matrix(out, &turned, choose_layout(l, R2I_TYPE_F32), m->n_cols, m->n_rows);
    out->panels = r2i_arena_push_array(l->arena, (size_t)out->n_panels, out->panel_bytes, 64);
    if (out->panels == NULL)
        return r2i_fail(l->err, R2_E_NOMEM, "no memory for %d attention heads", l->config->n_heads);
    r2i_matrix_pack(out, l->rules->kernels, 0, out->n_panels, out->panels);
    out->stored = NULL;
    atomic_init(&out->pack_state, R2I_PACK_DONE);
    return R2_OK;
}

static r2_status make_all_turned(const loader *l, const r2i_matrix *matrices, r2i_matrix *out) {
    const size_t n_floats = ((size_t)matrices->n_rows + 1) * (size_t)matrices->n_cols;
    float *scratch = r2i_heap_take(l->arena->heap, n_floats * sizeof *scratch);
    if (scratch == NULL) return r2i_fail(l->err, R2_E_NOMEM, "no memory to turn a matrix");
    r2_status status = R2_OK;
    for (int32_t h = 0; status == R2_OK && h < l->config->n_heads; h++)
        status = make_turned(l, &matrices[h], scratch, &out[h]);
    r2i_heap_give(l->arena->heap, scratch, n_floats * sizeof *scratch);
    return status;
}

/* Rows [first, first + n) of a matrix as one of their own. */
static void set_part(r2i_matrix *part, const r2i_matrix *whole, int32_t first, int32_t n) {
    const r2i_stored_tensor t = { .type = whole->type,
                                  .bytes = whole->stored + (size_t)first * whole->row_bytes,
                                  .shard = whole->shard };
    set_matrix(part, &t, whole->layout, n, whole->n_cols);
    part->scales = whole->scales;
    part->first_scale_row = first;
}

/* Each head of a whole kv_b has first the rows that expand its key, then those of its value. */
static r2_status load_whole_kv_b(const loader *l, int32_t i, r2i_layer *layer) {
    const r2i_config *c = l->config;
    const int32_t d_nope = c->d_head - c->rope.d, d_head = d_nope + c->d_value;
    char text[NAME_BYTES];
    r2i_matrix whole = { 0 };
    make_name(l, text, kv_b_proj, i, "weight");
    R2I_TRY(load_matrix(l, text, c->n_heads * d_head, c->kv_rank, &whole));
    for (int32_t h = 0; h < c->n_heads; h++) {
        set_part(&layer->expand_k[h], &whole, h * d_head, d_nope);
        set_part(&layer->expand_v[h], &whole, h * d_head + d_nope, c->d_value);
    }
    return make_all_turned(l, layer->expand_k, layer->absorb_k);
}

/* GGUF's newer form has the parts on their own, that of the keys already turned. */
static r2_status load_kv_b(const loader *l, int32_t i, r2i_layer *layer) {
    const r2i_config *c = l->config;
    const int32_t d_nope = c->d_head - c->rope.d, n = c->n_heads;
    char text[NAME_BYTES];
    layer->absorb_k = R2I_ARENA_ARRAY(l->arena, r2i_matrix, (size_t)n);
    layer->expand_k = R2I_ARENA_ARRAY(l->arena, r2i_matrix, (size_t)n);
    layer->expand_v = R2I_ARENA_ARRAY(l->arena, r2i_matrix, (size_t)n);
    if (layer->absorb_k == NULL || layer->expand_k == NULL || layer->expand_v == NULL)
        return r2i_fail(l->err, R2_E_NOMEM, "no memory for %d attention heads", n);
    make_name(l, text, k_b_proj, i, "weight");
    if (l->source->gguf == NULL || !has_tensor(l, text)) return load_whole_kv_b(l, i, layer);
    R2I_TRY(load_stacked(l, k_b_proj, i, n, c->kv_rank, d_nope, layer->absorb_k));
    R2I_TRY(load_stacked(l, v_b_proj, i, n, c->d_value, c->kv_rank, layer->expand_v));
    return l->rules->is_expanding ? make_all_turned(l, layer->absorb_k, layer->expand_k) : R2_OK;
}

static r2_status load_latent_attention(const loader *l, int32_t i, r2i_layer *layer) {
    const r2i_config *c = l->config;
    const int32_t d_q = c->n_heads * c->d_head, d = c->d_model;
    R2I_TRY(load_layer_vector(l, attention_norm, i, "weight", d, &layer->attention_norm));
    if (c->q_rank > 0) {
        R2I_TRY(load_layer_matrix(l, q_a_proj, i, c->q_rank, d, c->needs_qkv_bias, &layer->q_a));
        R2I_TRY(load_layer_vector(l, q_a_norm, i, "weight", c->q_rank, &layer->q_a_norm));
        R2I_TRY(load_layer_matrix(l, q_b_proj, i, d_q, c->q_rank, false, &layer->q));
    } else {
        R2I_TRY(load_layer_matrix(l, q_proj, i, d_q, d, false, &layer->q));
    }
    R2I_TRY(load_layer_matrix(l, kv_a_proj, i, c->kv_rank + c->rope.d, d, c->needs_qkv_bias,
                              &layer->kv_a));
    R2I_TRY(load_layer_vector(l, kv_a_norm, i, "weight", c->kv_rank, &layer->kv_a_norm));
    R2I_TRY(load_kv_b(l, i, layer));
    return load_layer_matrix(l, o_proj, i, d, c->n_heads * c->d_value, c->needs_o_bias, &layer->o);
}

static r2_status load_dense(const loader *l, int32_t i, r2i_layer *layer) {
    const r2i_config *c = l->config;
    R2I_TRY(
        load_layer_matrix(l, gate_proj, i, c->d_ffn, c->d_model, c->needs_ffn_bias, &layer->gate));
    R2I_TRY(load_layer_matrix(l, up_proj, i, c->d_ffn, c->d_model, c->needs_ffn_bias, &layer->up));
    return load_layer_matrix(l, down_proj, i, c->d_model, c->d_ffn, c->needs_ffn_bias,
                             &layer->down);
}

static r2_status load_experts(const loader *l, layer_name name, int32_t i, int32_t n_rows,
                              int32_t n_cols, r2i_matrix **out) {
    const int32_t n = l->config->n_experts;
    *out = R2I_ARENA_ARRAY(l->arena, r2i_matrix, (size_t)n);
    if (*out == NULL) return r2i_fail(l->err, R2_E_NOMEM, "no memory for %d experts", n);
    if (l->source->gguf != NULL) return load_stacked(l, name, i, n, n_rows, n_cols, *out);
    for (int32_t e = 0; e < n; e++) {
        char text[NAME_BYTES];
        (void)snprintf(text, sizeof text, "model.layers.%d.mlp.experts.%d.%s.weight", i, e,
                       name.hf);
        R2I_TRY(load_matrix(l, text, n_rows, n_cols, &(*out)[e]));
        /* The rows of a layer's input are prepared for all of its experts at once. */
        if (r2i_act_kind_of((*out)[e].layout) == r2i_act_kind_of((*out)[0].layout)) continue;
        return r2i_fail(l->err, R2_E_UNSUPPORTED, "%s: %s: expected the type of expert 0, found %s",
                        source_label(l), text, r2i_type_get((*out)[e].type)->name);
    }
    return R2_OK;
}

static r2_status load_score_bias(const loader *l, int32_t i, r2i_layer *layer) {
    char text[NAME_BYTES];
    (void)snprintf(text, sizeof text,
                   l->source->gguf != NULL ? "blk.%d.exp_probs_b.bias"
                                           : "model.layers.%d.mlp.gate.e_score_correction_bias",
                   i);
    return load_vector(l, text, l->config->n_experts, &layer->score_bias);
}

static r2_status load_shared_experts(const loader *l, int32_t i, r2i_layer *layer) {
    const int32_t d = l->config->d_model, width = l->config->n_shared_experts * l->config->d_expert;
    R2I_TRY(load_layer_matrix(l, shared_gate, i, width, d, false, &layer->shared_gate));
    R2I_TRY(load_layer_matrix(l, shared_up, i, width, d, false, &layer->shared_up));
    return load_layer_matrix(l, shared_down, i, d, width, false, &layer->shared_down);
}

static r2_status load_moe(const loader *l, int32_t i, r2i_layer *layer) {
    const r2i_config *c = l->config;
    R2I_TRY(load_layer_matrix(l, router, i, c->n_experts, c->d_model, false, &layer->router));
    layer->router.layout = R2I_TYPE_F32; /* a rounded score could choose another expert */
    layer->router.panel_bytes = r2i_panel_bytes(R2I_TYPE_F32, c->d_model);
    if (c->has_score_bias) R2I_TRY(load_score_bias(l, i, layer));
    if (c->n_shared_experts > 0) R2I_TRY(load_shared_experts(l, i, layer));
    R2I_TRY(load_experts(l, expert_gate, i, c->d_expert, c->d_model, &layer->expert_gate));
    R2I_TRY(load_experts(l, expert_up, i, c->d_expert, c->d_model, &layer->expert_up));
    return load_experts(l, expert_down, i, c->d_model, c->d_expert, &layer->expert_down);
}

static r2_status load_ends(const loader *l, r2i_weights *w) {
    const r2i_config *c = l->config;
    const bool is_gguf = l->source->gguf != NULL;
    const char *embedding = is_gguf ? "token_embd.weight" : "model.embed_tokens.weight";
    const char *head = is_gguf ? "output.weight" : "lm_head.weight";
    R2I_TRY(load_matrix(l, embedding, c->n_vocab, c->d_model, &w->embedding));
    R2I_TRY(load_matrix(l, c->is_tied ? embedding : head, c->n_vocab, c->d_model, &w->head));
    return load_vector(l, is_gguf ? "output_norm.weight" : "model.norm.weight", c->d_model,
                       &w->output_norm);
}

/* Fills `own` and says so if the module has a matrix of its own. */
static r2_status load_own(const loader *l, layer_name name, r2i_matrix *own, bool *is_there) {
    const r2i_config *c = l->config;
    char text[NAME_BYTES];
    make_name(l, text, name, c->n_layers, "weight");
    *is_there = has_tensor(l, text);
    return *is_there ? load_matrix(l, text, c->n_vocab, c->d_model, own) : R2_OK;
}

static r2_status load_layer(const loader *l, int32_t i, r2i_layer *layer) {
    const r2i_layer_config *kinds = &l->config->layers[i];
    R2I_TRY(kinds->attention == R2I_ATTENTION_MLA ? load_latent_attention(l, i, layer)
                                                  : load_attention(l, i, layer));
    R2I_TRY(load_layer_vector(l, ffn_norm, i, "weight", l->config->d_model, &layer->ffn_norm));
    return kinds->ffn == R2I_FFN_MOE ? load_moe(l, i, layer) : load_dense(l, i, layer);
}

/* Files without the module's first tensor have none of it; others must have it whole. */
static r2_status load_mtp(const loader *l, r2i_weights *w) {
    const int32_t i = l->config->n_layers, d = l->config->d_model;
    char text[NAME_BYTES];
    if (l->config->n_mtp == 0) return R2_OK;
    make_name(l, text, mtp_join, i, "weight");
    if (!has_tensor(l, text)) return R2_OK;
    w->has_mtp = true;
    R2I_TRY(load_layer_vector(l, mtp_embedding_norm, i, "weight", d, &w->mtp.embedding_norm));
    R2I_TRY(load_layer_vector(l, mtp_hidden_norm, i, "weight", d, &w->mtp.hidden_norm));
    R2I_TRY(load_layer_vector(l, mtp_output_norm, i, "weight", d, &w->mtp.output_norm));
    R2I_TRY(load_layer_matrix(l, mtp_join, i, d, 2 * d, false, &w->mtp.join));
    bool has_embedding, has_head;
    R2I_TRY(load_own(l, mtp_embedding, &w->mtp.own_embedding, &has_embedding));
    R2I_TRY(load_own(l, mtp_head, &w->mtp.own_head, &has_head));
    w->mtp.embedding = has_embedding ? &w->mtp.own_embedding : &w->embedding;
    w->mtp.head = has_head ? &w->mtp.own_head : &w->head;
    return load_layer(l, i, &w->layers[i]);
}

static void visit_attention(r2i_layer *layer, const r2i_config *config, int32_t i,
                            void (*visit)(void *user, r2i_matrix *m), void *user) {
    visit(user, &layer->q);
    visit(user, &layer->o);
    if (config->layers[i].attention == R2I_ATTENTION_GQA) {
        visit(user, &layer->k);
        visit(user, &layer->v);
        return;
    }
    if (config->q_rank > 0) visit(user, &layer->q_a);
    visit(user, &layer->kv_a);
    for (int32_t h = 0; h < config->n_heads; h++) {
        /* Of the keys' part the one that is stored; the other is made from it. */
        visit(user, layer->absorb_k[h].stored != NULL ? &layer->absorb_k[h] : &layer->expand_k[h]);
        visit(user, &layer->expand_v[h]);
    }
}

static void visit_moe(r2i_layer *layer, const r2i_config *config,
                      void (*visit)(void *user, r2i_matrix *m), void *user) {
    visit(user, &layer->router);
    if (config->n_shared_experts > 0) {
        visit(user, &layer->shared_gate);
        visit(user, &layer->shared_up);
        visit(user, &layer->shared_down);
    }
    for (int32_t e = 0; e < config->n_experts; e++) {
        visit(user, &layer->expert_gate[e]);
        visit(user, &layer->expert_up[e]);
        visit(user, &layer->expert_down[e]);
    }
}

static void visit_layer(r2i_layer *layer, const r2i_config *config, int32_t i,
                        void (*visit)(void *user, r2i_matrix *m), void *user) {
    visit_attention(layer, config, i, visit, user);
    if (config->layers[i].ffn == R2I_FFN_MOE) {
        visit_moe(layer, config, visit, user);
        return;
    }
    visit(user, &layer->gate);
    visit(user, &layer->up);
    visit(user, &layer->down);
}

static void visit_main(r2i_weights *weights, const r2i_config *config,
                       void (*visit)(void *user, r2i_matrix *m), void *user) {
    for (int32_t i = 0; i < config->n_layers; i++)
        visit_layer(&weights->layers[i], config, i, visit, user);
    visit(user, &weights->head);
}

void r2i_weights_visit(r2i_weights *weights, const r2i_config *config,
                       void (*visit)(void *user, r2i_matrix *m), void *user) {
    visit_main(weights, config, visit, user);
    if (!weights->has_mtp) return;
    visit(user, &weights->mtp.join);
    visit_layer(&weights->layers[config->n_layers], config, config->n_layers, visit, user);
    if (weights->mtp.head != &weights->head) visit(user, weights->mtp.head);
}

typedef struct {
    int64_t n_all, stored_all;
} totals;

static void add_matrix(void *user, r2i_matrix *m) {
    totals *t = user;
    t->n_all += (int64_t)m->n_rows * m->n_cols;
    t->stored_all += (int64_t)m->n_rows * (int64_t)m->row_bytes;
}

static void add_packed_bytes(void *user, r2i_matrix *m) {
    r2i_weights *w = user;
    w->packed_bytes += (size_t)m->n_panels * m->panel_bytes + 63;
    m->index = w->n_matrices++;
}

/* Of the experts, one token uses n_active of n_experts. */
static void count(r2i_weights *w, const r2i_config *c) {
    totals t = { 0, 0 };
    r2i_weights_visit(w, c, add_packed_bytes, w);
    visit_main(w, c, add_matrix, &t);
    int64_t idle = 0, idle_bytes = 0;
    for (int32_t i = 0; i < c->n_layers; i++) {
        const r2i_layer *layer = &w->layers[i];
        if (c->layers[i].ffn != R2I_FFN_MOE) continue;
        const r2i_matrix *kinds[] = { layer->expert_gate, layer->expert_up, layer->expert_down };
        for (int k = 0; k < 3; k++) {
            const int64_t n = c->n_experts - c->n_active;
            idle += n * kinds[k]->n_rows * kinds[k]->n_cols;
            idle_bytes += n * kinds[k]->n_rows * (int64_t)kinds[k]->row_bytes;
        }
    }
    const int64_t untied = c->is_tied ? 0 : (int64_t)w->embedding.n_rows * w->embedding.n_cols;
    w->n_parameters = t.n_all + untied;
    w->n_active_parameters = t.n_all - idle;
    w->bytes_per_token = t.stored_all - idle_bytes;
}

r2_status r2i_weights_load(r2i_weights *out, const r2i_config *config,
                           const r2i_tensor_source *source, const r2i_weight_rules *rules,
                           r2i_arena *arena, r2_error *err) {
    const loader l = { config, source, rules, arena, err };
    memset(out, 0, sizeof *out);
    out->layers = R2I_ARENA_ARRAY(arena, r2i_layer, (size_t)(config->n_layers + config->n_mtp));
    if (out->layers == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for %d layers", config->n_layers);
    R2I_TRY(load_ends(&l, out));
    for (int32_t i = 0; i < config->n_layers; i++)
        R2I_TRY(load_layer(&l, i, &out->layers[i]));
    R2I_TRY(load_mtp(&l, out));
    count(out, config);
    out->lora_layout = choose_layout(&l, R2I_TYPE_F32);
    return R2_OK;
}
