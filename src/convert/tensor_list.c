#include "convert/tensor_list.h"

#include "base/failure.h"

typedef struct {
    r2i_tensor_list *list;
    size_t cap;
    const r2i_config *config;
} lister;

/* Most tensors that a layer, and the ends of a model, can have: see below. */
enum { LAYER_TENSORS = 48, END_TENSORS = 4 };

static r2i_listed_tensor *next(lister *l, const r2i_listed_tensor *start) {
    R2I_ASSERT(l->list->n < l->cap);
    r2i_listed_tensor *t = &l->list->tensors[l->list->n++];
    *t = *start;
    return t;
}

/* How the role's rows lie in GGUF files. */
static void set_form(r2i_listed_tensor *t, const r2i_config *c) {
    const int32_t n_paired = r2i_role_paired_heads(c, t->role);
    t->form = n_paired > 0 ? R2I_FORM_PAIRS : R2I_FORM_SAME;
    t->n_parts = n_paired > 0 ? n_paired : 1;
    if (t->role == R2I_ROLE_KV_B) {
        t->form = R2I_FORM_KV_B;
        t->n_parts = c->n_heads;
    }
    if (t->role == R2I_ROLE_EXPERT_GATE || t->role == R2I_ROLE_EXPERT_UP ||
        t->role == R2I_ROLE_EXPERT_DOWN) {
        t->form = R2I_FORM_EXPERTS;
        t->n_parts = c->n_experts;
    }
}

static void add_bias(lister *l, const r2i_listed_tensor *matrix, bool is_optional) {
    r2i_listed_tensor *t = next(l, matrix);
    t->n_rows = 1;
    t->n_cols = matrix->n_rows;
    t->is_vector = t->is_plain = true;
    t->is_optional = is_optional;
    r2i_role_bias_name(t->hf, R2I_NAMES_HF, t->role, t->layer);
    r2i_role_bias_name(t->gguf, R2I_NAMES_GGUF, t->role, t->layer);
}

/* A tensor, and its bias if it may have one. */
static void add(lister *l, r2i_role role, int32_t layer) {
    const r2i_role_size size = r2i_role_get_size(l->config, role);
    const r2i_bias_need bias = r2i_role_get_bias(l->config, role);
    const bool is_vector = r2i_role_is_vector(role);
    r2i_listed_tensor *t = next(l, &(r2i_listed_tensor){ .role = role,
                                                         .layer = layer,
                                                         .n_rows = size.n_rows,
                                                         .n_cols = size.n_cols,
                                                         .is_vector = is_vector });
    t->is_plain = is_vector || role == R2I_ROLE_ROUTER;
    t->is_optional = role == R2I_ROLE_MTP_OUTPUT || role == R2I_ROLE_MTP_EMBEDDING;
    r2i_role_name(t->hf, R2I_NAMES_HF, role, layer);
    r2i_role_name(t->gguf, R2I_NAMES_GGUF, role, layer);
    set_form(t, l->config);
    if (bias != R2I_BIAS_NONE) add_bias(l, t, bias == R2I_BIAS_OPTIONAL);
}

static void add_gqa(lister *l, int32_t i) {
    add(l, R2I_ROLE_Q, i);
    add(l, R2I_ROLE_K, i);
    add(l, R2I_ROLE_V, i);
    add(l, R2I_ROLE_O, i);
    if (!l->config->has_head_norms) return;
    add(l, R2I_ROLE_Q_NORM, i);
    add(l, R2I_ROLE_K_NORM, i);
}

static void add_mla(lister *l, int32_t i) {
    if (l->config->q_rank > 0) {
        add(l, R2I_ROLE_Q_A, i);
        add(l, R2I_ROLE_Q_A_NORM, i);
        add(l, R2I_ROLE_Q_B, i);
    } else {
        add(l, R2I_ROLE_Q, i);
    }
    add(l, R2I_ROLE_KV_A, i);
    add(l, R2I_ROLE_KV_A_NORM, i);
    add(l, R2I_ROLE_KV_B, i);
    add(l, R2I_ROLE_O, i);
}

static void add_dense(lister *l, int32_t i) {
    add(l, R2I_ROLE_GATE, i);
    add(l, R2I_ROLE_UP, i);
    add(l, R2I_ROLE_DOWN, i);
}

static void add_moe(lister *l, int32_t i) {
    add(l, R2I_ROLE_ROUTER, i);
    if (l->config->has_score_bias) add(l, R2I_ROLE_SCORE_BIAS, i);
    add(l, R2I_ROLE_EXPERT_GATE, i);
    add(l, R2I_ROLE_EXPERT_UP, i);
    add(l, R2I_ROLE_EXPERT_DOWN, i);
    if (l->config->n_shared_experts == 0) return;
    add(l, R2I_ROLE_SHARED_GATE, i);
    add(l, R2I_ROLE_SHARED_UP, i);
    add(l, R2I_ROLE_SHARED_DOWN, i);
}

static void add_layer(lister *l, int32_t i, const r2i_layer_config *kinds) {
    add(l, R2I_ROLE_ATTENTION_NORM, i);
    if (kinds->attention == R2I_ATTENTION_MLA)
        add_mla(l, i);
    else
        add_gqa(l, i);
    add(l, R2I_ROLE_FFN_NORM, i);
    if (kinds->ffn == R2I_FFN_MOE)
        add_moe(l, i);
    else
        add_dense(l, i);
}

/* A module predicts one token further: a block behind the last layer, and what joins it to them.
 * Its embedding and head are those of the model; a file may hold copies. */
static void add_mtp(lister *l, int32_t i) {
    const r2i_config *c = l->config;
    add_layer(l, i, &c->layers[c->n_layers - 1]);
    add(l, R2I_ROLE_MTP_EMBEDDING_NORM, i);
    add(l, R2I_ROLE_MTP_HIDDEN_NORM, i);
    add(l, R2I_ROLE_MTP_JOIN, i);
    add(l, R2I_ROLE_MTP_OUTPUT_NORM, i);
    add(l, R2I_ROLE_MTP_OUTPUT, i);
    add(l, R2I_ROLE_MTP_EMBEDDING, i);
}

r2_status r2i_tensor_list_make(r2i_tensor_list *out, const r2i_config *config, bool has_mtp,
                               r2i_arena *arena, r2_error *err) {
    const int32_t n_mtp = has_mtp ? config->n_mtp : 0;
    const size_t cap = ((size_t)config->n_layers + (size_t)n_mtp) * LAYER_TENSORS + END_TENSORS;
    *out = (r2i_tensor_list){ .tensors = R2I_ARENA_ARRAY(arena, r2i_listed_tensor, cap) };
    if (out->tensors == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %zu tensors", cap);
    lister l = { out, cap, config };
    add(&l, R2I_ROLE_EMBEDDING, -1);
    add(&l, R2I_ROLE_OUTPUT_NORM, -1);
    if (!config->is_tied) add(&l, R2I_ROLE_OUTPUT, -1);
    for (int32_t i = 0; i < config->n_layers; i++)
        add_layer(&l, i, &config->layers[i]);
    for (int32_t i = 0; i < n_mtp; i++)
        add_mtp(&l, config->n_layers + i);
    return R2_OK;
}
