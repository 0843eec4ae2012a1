#include "model/router.h"

#include <math.h>

/* The k greatest of n by one pass: a new one moves up from the end of the list.  Past the first few,
 * nearly every candidate costs one comparison. */
static void take_best(const float *rank, int32_t n, int32_t k, int32_t *best) {
    int32_t n_taken = 0;
    for (int32_t e = 0; e < n; e++) {
        if (n_taken == k && !(rank[e] > rank[best[k - 1]])) continue;
        int32_t i = n_taken < k ? n_taken++ : k - 1;
        for (; i > 0 && rank[e] > rank[best[i - 1]]; i--)
            best[i] = best[i - 1];
        best[i] = e;
    }
}

static float group_rank(const float *rank, int32_t n, r2i_group_kind kind) {
    float first = -INFINITY, second = -INFINITY;
    for (int32_t e = 0; e < n; e++) {
        if (rank[e] > first) {
            second = first;
            first = rank[e];
        } else if (rank[e] > second) {
            second = rank[e];
        }
    }
    return kind == R2I_GROUP_BEST ? first : first + second;
}

/* Leaves only the experts of the best groups in the race. */
static void limit_to_groups(const r2i_config *c, float *rank) {
    const int32_t n = c->n_experts / c->n_groups;
    float group[R2I_MAX_EXPERTS];
    int32_t best[R2I_MAX_EXPERTS];
    bool is_open[R2I_MAX_EXPERTS] = { false };
    for (int32_t g = 0; g < c->n_groups; g++)
        group[g] = group_rank(rank + g * n, n, c->group);
    take_best(group, c->n_groups, c->n_active_groups, best);
    for (int32_t i = 0; i < c->n_active_groups; i++)
        is_open[best[i]] = true;
    for (int32_t e = 0; e < c->n_experts; e++) {
        if (!is_open[e / n]) rank[e] = -INFINITY;
    }
}

static void score(const r2i_config *c, const r2i_kernels *kernels, float *z) {
    if (c->score == R2I_SCORE_SOFTMAX) {
        kernels->softmax(z, z, c->n_experts);
        return;
    }
    for (int32_t e = 0; e < c->n_experts; e++)
        z[e] = 1.0f / (1.0f + expf(-z[e]));
}

static void weigh(const r2i_config *c, const float *s, const int32_t *chosen, float *weights) {
    float sum = 0;
    for (int32_t k = 0; k < c->n_active; k++) {
        weights[k] = s[chosen[k]];
        sum += weights[k];
    }
    const float divisor = c->is_renormalized ? sum + 1e-20f : 1.0f;
    for (int32_t k = 0; k < c->n_active; k++)
        weights[k] = weights[k] / divisor * c->routed_scale;
}

void r2i_router_weigh(const r2i_config *c, const r2i_kernels *kernels, float *z,
                      const int32_t *chosen, float *weights) {
    score(c, kernels, z);
    weigh(c, z, chosen, weights);
}

void r2i_router_choose(const r2i_config *c, const r2i_kernels *kernels, const float *score_bias,
                       float *z, int32_t *chosen, float *weights) {
    float rank[R2I_MAX_EXPERTS];
    score(c, kernels, z);
    for (int32_t e = 0; e < c->n_experts; e++) {
        const float a = score_bias != NULL ? z[e] + score_bias[e] : z[e];
        rank[e] = isnan(a) ? -INFINITY : a;
    }
    if (c->n_groups > 1) limit_to_groups(c, rank);
    take_best(rank, c->n_experts, c->n_active, chosen);
    weigh(c, z, chosen, weights);
}
