#include "train/backward/expert_routes.h"

#include "base/failure.h"

int32_t r2i_expert_routes_count(const r2i_config *c) {
    return c->n_experts > 0 ? c->n_layers * c->n_active : 0;
}

/* Experts that exist, each once: what is added to a gradient is one term for each. */
static bool is_good(const uint16_t *route, const r2i_config *c) {
    for (int32_t k = 0; k < c->n_active; k++) {
        if (route[k] >= c->n_experts) return false;
        for (int32_t j = 0; j < k; j++) {
            if (route[j] == route[k]) return false;
        }
    }
    return true;
}

r2_status r2i_expert_routes_check(const r2_expert_routes *routes, const r2i_config *c,
                                  int32_t n_tokens, r2_error *err) {
    if (routes == NULL) return R2_OK;
    if (c->n_experts == 0)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "batch: expected no choices of experts: the model has none");
    const uint16_t *route = routes->experts;
    for (int32_t i = 0; routes->is_given && i < n_tokens; i++) {
        for (int32_t layer = 0; layer < c->n_layers; layer++, route += c->n_active) {
            if (c->layers[layer].ffn != R2I_FFN_MOE || is_good(route, c)) continue;
            return r2i_fail(err, R2_E_ARGUMENT,
                            "batch: position %d, layer %d: expected %d different experts below %d",
                            i, layer, c->n_active, c->n_experts);
        }
    }
    return R2_OK;
}
