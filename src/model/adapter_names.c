/* adapter_names.c - matrices by the names that model files give them. */
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "model/adapter.h"

typedef enum { ALWAYS, WITH_Q_RANK, WITHOUT_Q_RANK } condition;

typedef struct {
    const char *hf, *gguf; /* behind "model.layers.N." or "blk.N." */
    size_t offset;         /* of the matrix in r2i_layer */
    condition when;
} target;

#define LAYER(field) offsetof(r2i_layer, field)

static const target targets[] = {
    { "self_attn.q_proj", "attn_q", LAYER(q), WITHOUT_Q_RANK },
    { "self_attn.q_b_proj", "attn_q_b", LAYER(q), WITH_Q_RANK },
    { "self_attn.q_a_proj", "attn_q_a", LAYER(q_a), ALWAYS },
    { "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", LAYER(kv_a), ALWAYS },
    { "self_attn.k_proj", "attn_k", LAYER(k), ALWAYS },
    { "self_attn.v_proj", "attn_v", LAYER(v), ALWAYS },
    { "self_attn.o_proj", "attn_output", LAYER(o), ALWAYS },
    { "mlp.gate_proj", "ffn_gate", LAYER(gate), ALWAYS },
    { "mlp.up_proj", "ffn_up", LAYER(up), ALWAYS },
    { "mlp.down_proj", "ffn_down", LAYER(down), ALWAYS },
    { "mlp.shared_experts.gate_proj", "ffn_gate_shexp", LAYER(shared_gate), ALWAYS },
    { "mlp.shared_experts.up_proj", "ffn_up_shexp", LAYER(shared_up), ALWAYS },
    { "mlp.shared_experts.down_proj", "ffn_down_shexp", LAYER(shared_down), ALWAYS },
};

/* The layer's number and the text behind it, or -1. */
static int32_t read_layer(const char *text, const char *prefix, const char **rest) {
    const size_t n = strlen(prefix);
    int64_t layer = 0;
    if (strncmp(text, prefix, n) != 0) return -1;
    const char *digit = text + n;
    if (*digit < '0' || *digit > '9') return -1;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        layer = layer * 10 + (*digit - '0');
        if (layer > INT_MAX) return -1;
    }
    if (*digit != '.') return -1;
    *rest = digit + 1;
    return (int32_t)layer;
}

static const target *find_target(const r2i_config *config, r2i_name_kind kind, const char *name) {
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        const target *t = &targets[i];
        if (strcmp(name, kind == R2I_NAMES_HF ? t->hf : t->gguf) != 0) continue;
        if (t->when != ALWAYS && (t->when == WITH_Q_RANK) != (config->q_rank > 0)) continue;
        return t;
    }
    return NULL;
}

const r2i_matrix *r2i_adapter_find_matrix(const r2i_weights *weights, const r2i_config *config,
                                          r2i_name_kind kind, const char *name) {
    const char *rest;
    const bool is_hf = kind == R2I_NAMES_HF;
    if (strcmp(name, is_hf ? "lm_head" : "output") == 0) return &weights->head;
    const int32_t layer = read_layer(name, is_hf ? "model.layers." : "blk.", &rest);
    if (layer < 0 || layer >= config->n_layers) return NULL;
    const target *t = find_target(config, kind, rest);
    if (t == NULL) return NULL;
    const r2i_matrix *m = (const void *)((const char *)&weights->layers[layer] + t->offset);
    return m->n_rows > 0 ? m : NULL;
}

int32_t r2i_adapter_swapped_heads(const r2i_config *config, r2i_name_kind kind, const char *name) {
    const char *rest;
    if (kind != R2I_NAMES_GGUF || config->family != R2I_FAMILY_LLAMA) return 0;
    if (read_layer(name, "blk.", &rest) < 0) return 0;
    if (strcmp(rest, "attn_q") == 0) return config->n_heads;
    return strcmp(rest, "attn_k") == 0 ? config->n_kv_heads : 0;
}
