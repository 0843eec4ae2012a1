#include "convert/tensor_list.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"

typedef struct {
    r2i_tensor_list *list;
    size_t cap;
    const r2i_config *config;
    r2i_arena *arena;
    r2_error *err;
} lister;

/* Most tensors that a layer, and the ends of a model, can have: see below. */
enum { LAYER_TENSORS = 48, END_TENSORS = 4 };

static r2i_listed_tensor *add(lister *l) {
    R2I_ASSERT(l->list->n < l->cap);
    r2i_listed_tensor *t = &l->list->tensors[l->list->n++];
    t->n_rows = t->n_parts = 1;
    return t;
}

static void set_names(r2i_listed_tensor *t, int32_t layer, const char *hf, const char *gguf,
                      const char *suffix) {
    (void)snprintf(t->hf, sizeof t->hf, "model.layers.%d.%s.%s", layer, hf, suffix);
    (void)snprintf(t->gguf, sizeof t->gguf, "blk.%d.%s.%s", layer, gguf, suffix);
}

static void add_vector(lister *l, int32_t layer, const char *hf, const char *gguf,
                       const char *suffix, int64_t n, bool is_optional) {
    r2i_listed_tensor *t = add(l);
    set_names(t, layer, hf, gguf, suffix);
    t->n_cols = n;
    t->is_vector = t->is_plain = true;
    t->is_optional = is_optional;
}

static void add_norm(lister *l, int32_t layer, const char *hf, const char *gguf, int64_t n) {
    add_vector(l, layer, hf, gguf, "weight", n, false);
}

static r2i_listed_tensor *add_matrix(lister *l, int32_t layer, const char *hf, const char *gguf,
                                     int64_t n_rows, int64_t n_cols) {
    r2i_listed_tensor *t = add(l);
    set_names(t, layer, hf, gguf, "weight");
    t->n_rows = n_rows;
    t->n_cols = n_cols;
    return t;
}

/* A matrix that may have a bias. */
static void add_linear(lister *l, int32_t layer, const char *hf, const char *gguf, int64_t n_rows,
                       int64_t n_cols, bool needs_bias) {
    (void)add_matrix(l, layer, hf, gguf, n_rows, n_cols);
    add_vector(l, layer, hf, gguf, "bias", n_rows, !needs_bias);
}

/* Queries and keys: llama files have the rows of each head, and its bias, in pairs. */
static void add_rotated(lister *l, int32_t layer, const char *hf, const char *gguf,
                        int32_t n_heads) {
    const r2i_config *c = l->config;
    const size_t first = l->list->n;
    add_linear(l, layer, hf, gguf, (int64_t)n_heads * c->d_head, c->d_model, c->needs_qkv_bias);
    if (c->family != R2I_FAMILY_LLAMA) return;
    for (size_t i = first; i < l->list->n; i++) {
        l->list->tensors[i].form = R2I_FORM_PAIRS;
        l->list->tensors[i].n_parts = n_heads;
    }
}

static void add_gqa(lister *l, int32_t i) {
    const r2i_config *c = l->config;
    const int64_t d_kv = (int64_t)c->n_kv_heads * c->d_head, d_q = (int64_t)c->n_heads * c->d_head;
    add_rotated(l, i, "self_attn.q_proj", "attn_q", c->n_heads);
    add_rotated(l, i, "self_attn.k_proj", "attn_k", c->n_kv_heads);
    add_linear(l, i, "self_attn.v_proj", "attn_v", d_kv, c->d_model, c->needs_qkv_bias);
    add_linear(l, i, "self_attn.o_proj", "attn_output", c->d_model, d_q, c->needs_o_bias);
    if (!c->has_head_norms) return;
    add_norm(l, i, "self_attn.q_norm", "attn_q_norm", c->d_head);
    add_norm(l, i, "self_attn.k_norm", "attn_k_norm", c->d_head);
}

static void add_kv_b(lister *l, int32_t i) {
    const r2i_config *c = l->config;
    const int64_t d_nope = c->d_head - c->rope.d;
    r2i_listed_tensor *t = add_matrix(l, i, "self_attn.kv_b_proj", "attn_kv_b",
                                      c->n_heads * (d_nope + c->d_value), c->kv_rank);
    t->form = R2I_FORM_KV_B;
    t->n_parts = c->n_heads;
    (void)snprintf(t->gguf_k, sizeof t->gguf_k, "blk.%d.attn_k_b.weight", i);
    (void)snprintf(t->gguf_v, sizeof t->gguf_v, "blk.%d.attn_v_b.weight", i);
}

static void add_mla(lister *l, int32_t i) {
    const r2i_config *c = l->config;
    const int64_t d_q = (int64_t)c->n_heads * c->d_head;
    const bool has_bias = c->needs_qkv_bias;
    if (c->q_rank > 0) {
        add_linear(l, i, "self_attn.q_a_proj", "attn_q_a", c->q_rank, c->d_model, has_bias);
        add_norm(l, i, "self_attn.q_a_layernorm", "attn_q_a_norm", c->q_rank);
        (void)add_matrix(l, i, "self_attn.q_b_proj", "attn_q_b", d_q, c->q_rank);
    } else {
        (void)add_matrix(l, i, "self_attn.q_proj", "attn_q", d_q, c->d_model);
    }
    add_linear(l, i, "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", c->kv_rank + c->rope.d,
               c->d_model, has_bias);
    add_norm(l, i, "self_attn.kv_a_layernorm", "attn_kv_a_norm", c->kv_rank);
    add_kv_b(l, i);
    add_linear(l, i, "self_attn.o_proj", "attn_output", c->d_model,
               (int64_t)c->n_heads * c->d_value, c->needs_o_bias);
}

static void add_dense(lister *l, int32_t i) {
    const r2i_config *c = l->config;
    add_linear(l, i, "mlp.gate_proj", "ffn_gate", c->d_ffn, c->d_model, c->needs_ffn_bias);
    add_linear(l, i, "mlp.up_proj", "ffn_up", c->d_ffn, c->d_model, c->needs_ffn_bias);
    add_linear(l, i, "mlp.down_proj", "ffn_down", c->d_model, c->d_ffn, c->needs_ffn_bias);
}

static void add_experts(lister *l, int32_t i, const char *hf, const char *gguf, int64_t n_rows,
                        int64_t n_cols) {
    r2i_listed_tensor *t = add_matrix(l, i, hf, gguf, n_rows, n_cols);
    t->form = R2I_FORM_EXPERTS;
    t->n_parts = l->config->n_experts;
}

static void add_moe(lister *l, int32_t i) {
    const r2i_config *c = l->config;
    const int64_t d_shared = (int64_t)c->n_shared_experts * c->d_expert;
    add_matrix(l, i, "mlp.gate", "ffn_gate_inp", c->n_experts, c->d_model)->is_plain = true;
    if (c->has_score_bias) {
        r2i_listed_tensor *t = add(l);
        (void)snprintf(t->hf, sizeof t->hf, "model.layers.%d.mlp.gate.e_score_correction_bias", i);
        (void)snprintf(t->gguf, sizeof t->gguf, "blk.%d.exp_probs_b.bias", i);
        t->n_cols = c->n_experts;
        t->is_vector = t->is_plain = true;
    }
    add_experts(l, i, "mlp.experts.*.gate_proj", "ffn_gate_exps", c->d_expert, c->d_model);
    add_experts(l, i, "mlp.experts.*.up_proj", "ffn_up_exps", c->d_expert, c->d_model);
    add_experts(l, i, "mlp.experts.*.down_proj", "ffn_down_exps", c->d_model, c->d_expert);
    if (d_shared == 0) return;
    (void)add_matrix(l, i, "mlp.shared_experts.gate_proj", "ffn_gate_shexp", d_shared, c->d_model);
    (void)add_matrix(l, i, "mlp.shared_experts.up_proj", "ffn_up_shexp", d_shared, c->d_model);
    (void)add_matrix(l, i, "mlp.shared_experts.down_proj", "ffn_down_shexp", c->d_model, d_shared);
}

static void add_layer(lister *l, int32_t i, r2i_attention_kind attention, r2i_ffn_kind ffn) {
    const r2i_config *c = l->config;
    add_norm(l, i, "input_layernorm", "attn_norm", c->d_model);
    if (attention == R2I_ATTENTION_MLA)
        add_mla(l, i);
    else
        add_gqa(l, i);
    add_norm(l, i, "post_attention_layernorm", "ffn_norm", c->d_model);
    if (ffn == R2I_FFN_MOE)
        add_moe(l, i);
    else
        add_dense(l, i);
}

/* A module predicts one token further: a block behind the last layer, and what joins it to them.
 * Its embedding and head are those of the model; a file may hold copies. */
static void add_mtp(lister *l, int32_t i) {
    const r2i_config *c = l->config;
    const r2i_layer_config *last = &c->layers[c->n_layers - 1];
    add_layer(l, i, last->attention, last->ffn);
    add_norm(l, i, "enorm", "nextn.enorm", c->d_model);
    add_norm(l, i, "hnorm", "nextn.hnorm", c->d_model);
    (void)add_matrix(l, i, "eh_proj", "nextn.eh_proj", c->d_model, 2 * (int64_t)c->d_model);
    add_norm(l, i, "shared_head.norm", "nextn.shared_head_norm", c->d_model);
    add_matrix(l, i, "shared_head.head", "nextn.shared_head_head", c->n_vocab, c->d_model)
        ->is_optional = true;
    add_matrix(l, i, "embed_tokens", "nextn.embed_tokens", c->n_vocab, c->d_model)->is_optional =
        true;
}

static void add_end(lister *l, const char *hf, const char *gguf, int64_t n_rows) {
    r2i_listed_tensor *t = add(l);
    (void)snprintf(t->hf, sizeof t->hf, "%s.weight", hf);
    (void)snprintf(t->gguf, sizeof t->gguf, "%s.weight", gguf);
    t->n_rows = n_rows;
    t->n_cols = l->config->d_model;
    t->is_vector = t->is_plain = n_rows == 1;
}

r2_status r2i_tensor_list_make(r2i_tensor_list *out, const r2i_config *config, bool has_mtp,
                               r2i_arena *arena, r2_error *err) {
    const int32_t n_mtp = has_mtp ? config->n_mtp : 0;
    const size_t cap = ((size_t)config->n_layers + (size_t)n_mtp) * LAYER_TENSORS + END_TENSORS;
    *out = (r2i_tensor_list){ .tensors = R2I_ARENA_ARRAY(arena, r2i_listed_tensor, cap) };
    if (out->tensors == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %zu tensors", cap);
    lister l = { out, cap, config, arena, err };
    add_end(&l, "model.embed_tokens", "token_embd", config->n_vocab);
    add_end(&l, "model.norm", "output_norm", 1);
    if (!config->is_tied) add_end(&l, "lm_head", "output", config->n_vocab);
    for (int32_t i = 0; i < config->n_layers; i++)
        add_layer(&l, i, config->layers[i].attention, config->layers[i].ffn);
    for (int32_t i = 0; i < n_mtp; i++)
        add_mtp(&l, config->n_layers + i);
    return R2_OK;
}

void r2i_tensor_list_expert_name(char out[R2I_TENSOR_NAME_BYTES], const r2i_listed_tensor *tensor,
                                 int32_t e) {
    const char *star = strchr(tensor->hf, '*');
    R2I_ASSERT(star != NULL);
    (void)snprintf(out, R2I_TENSOR_NAME_BYTES, "%.*s%d%s", (int)(star - tensor->hf), tensor->hf, e,
                   star + 1);
}
