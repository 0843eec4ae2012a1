/* adapter_names.c - matrices by the names that model files give them. */
#include <string.h>

#include "model/adapter.h"

static const r2i_matrix *layer_matrix(const r2i_layer *layer, const r2i_config *config,
                                      r2i_role role) {
    switch (role) {
    case R2I_ROLE_Q:
        return config->q_rank == 0 ? &layer->q : NULL;
    case R2I_ROLE_Q_B:
        return config->q_rank > 0 ? &layer->q : NULL;
    case R2I_ROLE_Q_A:
        return &layer->q_a;
    case R2I_ROLE_KV_A:
        return &layer->kv_a;
    case R2I_ROLE_K:
        return &layer->k;
    case R2I_ROLE_V:
        return &layer->v;
    case R2I_ROLE_O:
        return &layer->o;
    case R2I_ROLE_GATE:
        return &layer->gate;
    case R2I_ROLE_UP:
        return &layer->up;
    case R2I_ROLE_DOWN:
        return &layer->down;
    case R2I_ROLE_SHARED_GATE:
        return &layer->shared_gate;
    case R2I_ROLE_SHARED_UP:
        return &layer->shared_up;
    case R2I_ROLE_SHARED_DOWN:
        return &layer->shared_down;
    default:
        return NULL;
    }
}

const r2i_matrix *r2i_adapter_find_matrix(const r2i_weights *weights, const r2i_config *config,
                                          r2i_name_kind kind, const char *name) {
    int32_t layer;
    const r2i_role role = r2i_role_of(kind, name, strlen(name), &layer);
    if (role == R2I_ROLE_OUTPUT) return &weights->head;
    if (layer < 0 || layer >= config->n_layers) return NULL;
    const r2i_matrix *m = layer_matrix(&weights->layers[layer], config, role);
    return m != NULL && m->n_rows > 0 ? m : NULL;
}

int32_t r2i_adapter_swapped_heads(const r2i_config *config, r2i_name_kind kind, const char *name) {
    int32_t layer;
    if (kind != R2I_NAMES_GGUF) return 0;
    return r2i_role_paired_heads(config, r2i_role_of(kind, name, strlen(name), &layer));
}
