#include "convert/plan_shapes.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const r2i_config *config;
    void (*visit)(void *user, const r2i_planned_tensor *tensor);
    void *user;
    int32_t layer;
    bool is_mtp; /* whatever follows belongs to the prediction module */
} visitor;

static void put_stacked(const visitor *v, r2_part part, const char *name, int32_t n_stacked,
                        int32_t n_rows, int32_t n_cols) {
    const r2i_planned_tensor tensor = {
        v->is_mtp ? R2_PART_MTP : part, name, v->layer, n_stacked, n_rows, n_cols
    };
    v->visit(v->user, &tensor);
}

static void put(const visitor *v, r2_part part, const char *name, int32_t n_rows, int32_t n_cols,
                bool has_bias) {
    put_stacked(v, part, name, 1, n_rows, n_cols);
    if (has_bias) put_stacked(v, part, name, 1, 1, n_rows);
}

static void put_vector(const visitor *v, r2_part part, const char *name, int32_t n) {
    put_stacked(v, part, name, 1, 1, n);
}

static void visit_gqa(const visitor *v) {
    const r2i_config *c = v->config;
    const int32_t d_q = c->n_heads * c->d_head, d_k = c->n_kv_heads * c->d_head,
                  d_v = c->n_kv_heads * c->d_value;
    put(v, R2_PART_ATTENTION, "attn_q", d_q, c->d_model, c->needs_qkv_bias);
    put(v, R2_PART_ATTENTION, "attn_k", d_k, c->d_model, c->needs_qkv_bias);
    put(v, R2_PART_ATTENTION, "attn_v", d_v, c->d_model, c->needs_qkv_bias);
    put(v, R2_PART_ATTENTION, "attn_output", c->d_model, c->n_heads * c->d_value, c->needs_o_bias);
    if (!c->has_head_norms) return;
    put_vector(v, R2_PART_OTHER, "attn_q_norm", c->d_head);
    put_vector(v, R2_PART_OTHER, "attn_k_norm", c->d_head);
}

/* DeepSeek-V2 (arXiv:2405.04434), section 2.1. */
static void visit_mla(const visitor *v) {
    const r2i_config *c = v->config;
    const int32_t d_q = c->n_heads * c->d_head, d_nope = c->d_head - c->rope.d;
    if (c->q_rank > 0) {
        put(v, R2_PART_ATTENTION, "attn_q_a", c->q_rank, c->d_model, c->needs_qkv_bias);
        put_vector(v, R2_PART_OTHER, "attn_q_a_norm", c->q_rank);
        put(v, R2_PART_ATTENTION, "attn_q_b", d_q, c->q_rank, false);
    } else {
        put(v, R2_PART_ATTENTION, "attn_q", d_q, c->d_model, false);
    }
    put(v, R2_PART_ATTENTION, "attn_kv_a_mqa", c->kv_rank + c->rope.d, c->d_model,
        c->needs_qkv_bias);
    put_vector(v, R2_PART_OTHER, "attn_kv_a_norm", c->kv_rank);
    put(v, R2_PART_ATTENTION, "attn_kv_b", c->n_heads * (d_nope + c->d_value), c->kv_rank, false);
    put(v, R2_PART_ATTENTION, "attn_output", c->d_model, c->n_heads * c->d_value, c->needs_o_bias);
}

static void visit_moe(const visitor *v) {
    const r2i_config *c = v->config;
    const int32_t e = c->n_experts, d = c->d_model, d_shared = c->n_shared_experts * c->d_expert;
    put(v, R2_PART_ROUTER, "ffn_gate_inp", e, d, false);
    if (c->has_score_bias) put_vector(v, R2_PART_ROUTER, "exp_probs_b", e);
    put_stacked(v, R2_PART_EXPERTS, "ffn_gate_exps", e, c->d_expert, d);
    put_stacked(v, R2_PART_EXPERTS, "ffn_up_exps", e, c->d_expert, d);
    put_stacked(v, R2_PART_EXPERTS, "ffn_down_exps", e, d, c->d_expert);
    if (d_shared == 0) return;
    put(v, R2_PART_SHARED_EXPERTS, "ffn_gate_shexp", d_shared, d, false);
    put(v, R2_PART_SHARED_EXPERTS, "ffn_up_shexp", d_shared, d, false);
    put(v, R2_PART_SHARED_EXPERTS, "ffn_down_shexp", d, d_shared, false);
}

static void visit_dense(const visitor *v) {
    const r2i_config *c = v->config;
    put(v, R2_PART_DENSE_FFN, "ffn_gate", c->d_ffn, c->d_model, c->needs_ffn_bias);
    put(v, R2_PART_DENSE_FFN, "ffn_up", c->d_ffn, c->d_model, c->needs_ffn_bias);
    put(v, R2_PART_DENSE_FFN, "ffn_down", c->d_model, c->d_ffn, c->needs_ffn_bias);
}

static void visit_block(const visitor *v, const r2i_layer_config *layer) {
    put_vector(v, R2_PART_OTHER, "attn_norm", v->config->d_model);
    put_vector(v, R2_PART_OTHER, "ffn_norm", v->config->d_model);
    if (layer->attention == R2I_ATTENTION_MLA)
        visit_mla(v);
    else
        visit_gqa(v);
    if (layer->ffn == R2I_FFN_MOE)
        visit_moe(v);
    else
        visit_dense(v);
}

/* A block as the last layer's, the matrix that joins its two inputs, and copies of both ends. */
static void visit_mtp(visitor *v) {
    const r2i_config *c = v->config;
    v->is_mtp = true;
    for (int32_t i = 0; i < c->n_mtp; i++) {
        v->layer = c->n_layers + i;
        visit_block(v, &c->layers[c->n_layers - 1]);
        put(v, R2_PART_MTP, "nextn.eh_proj", c->d_model, 2 * c->d_model, false);
        put_vector(v, R2_PART_MTP, "nextn.enorm", c->d_model);
        put_vector(v, R2_PART_MTP, "nextn.hnorm", c->d_model);
        put_vector(v, R2_PART_MTP, "nextn.shared_head_norm", c->d_model);
        put(v, R2_PART_MTP, "nextn.embed_tokens", c->n_vocab, c->d_model, false);
        put(v, R2_PART_MTP, "nextn.shared_head_head", c->n_vocab, c->d_model, false);
    }
}

void r2i_planned_tensors_visit(const r2i_config *c,
                               void (*visit)(void *user, const r2i_planned_tensor *tensor),
                               void *user) {
    visitor v = { c, visit, user, -1, false };
    put(&v, c->is_tied ? R2_PART_HEAD : R2_PART_EMBEDDING, "token_embd", c->n_vocab, c->d_model,
        false);
    if (!c->is_tied) put(&v, R2_PART_HEAD, "output", c->n_vocab, c->d_model, false);
    put_vector(&v, R2_PART_OTHER, "output_norm", c->d_model);
    for (v.layer = 0; v.layer < c->n_layers; v.layer++)
        visit_block(&v, &c->layers[v.layer]);
    visit_mtp(&v);
}

/* ---- tensors of files ---- */

/* The first word found decides, so what is special stands first. */
static const struct {
    const char *word;
    r2_part part;
} words[] = {
    { "norm", R2_PART_OTHER },
    { "_shexp", R2_PART_SHARED_EXPERTS },
    { ".shared_experts.", R2_PART_SHARED_EXPERTS },
    { "_exps", R2_PART_EXPERTS },
    { ".experts.", R2_PART_EXPERTS },
    { "ffn_gate_inp", R2_PART_ROUTER },
    { "exp_probs_b", R2_PART_ROUTER },
    { ".mlp.gate.", R2_PART_ROUTER },
    { ".attn_", R2_PART_ATTENTION },
    { ".self_attn.", R2_PART_ATTENTION },
    { ".ffn_", R2_PART_DENSE_FFN },
    { ".mlp.", R2_PART_DENSE_FFN },
    { "token_embd.", R2_PART_EMBEDDING },
    { "embed_tokens.", R2_PART_EMBEDDING },
    { "lm_head.", R2_PART_HEAD },
};

r2_part r2i_part_of_name(const char *name, int32_t n_layers) {
    static const char *const prefixes[] = { "blk.", "model.layers." };
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        const size_t n = strlen(prefixes[i]);
        if (strncmp(name, prefixes[i], n) == 0 && strtol(name + n, NULL, 10) >= n_layers)
            return R2_PART_MTP;
    }
    if (strncmp(name, "output.", 7) == 0) return R2_PART_HEAD;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strstr(name, words[i].word) != NULL) return words[i].part;
    }
    return R2_PART_OTHER;
}
