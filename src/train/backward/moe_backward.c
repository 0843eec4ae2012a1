/* moe_backward.c - backward twin of the mixture of experts (model/moe.c, model/router.c).
 *
 *     y_t = sum_k w_k expert_k(n_t) + shared(n_t):      g_expert_k = w_k g_y_t,  g_w_k = g_y_t . expert_k
 *
 * Which experts were chosen is a constant; how much they count is not (expert_backward.c has the
 * experts themselves).  Renormalised weights are w_k = c s_k / D,
 * D = sum s + 1e-20:     g_s_k = c / D (g_w_k - sum_j g_w_j s_j / D).
 *
 * The balance loss of a document of T rows (DeepSeek-V3, arXiv:2412.19437, 2.1.2) is
 *     sum_e f_e P_e,   f_e = n_experts / (n_active T) rows that chose e,   P_e = 1/T sum_t s_te / sum_j s_tj
 * whose f is a constant too. */
#include <string.h>

#include "base/checked.h"
#include "model/attention.h"
#include "train/backward/backward_state.h"

enum { GRAIN_ROWS = 8 };

typedef struct {
    r2i_backward *b;
    const r2i_moe_saved *saved;
} moe_region;

/* g_normed of a row: its choices' in their order. */
static void collect_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const moe_region *region = argument;
    r2i_backward *b = region->b;
    const size_t d = (size_t)b->config->d_model, n_active = (size_t)b->config->n_active;
    (void)worker;
    for (size_t row = (size_t)begin; row < (size_t)end; row++) {
        float *out = b->g_normed + row * d;
        memset(out, 0, d * sizeof *out);
        for (size_t k = 0; k < n_active; k++) {
            const size_t entry = (size_t)region->saved->entry_of[row * n_active + k];
            const float *g = b->moe.g_x + entry * d;
            for (size_t i = 0; i < d; i++)
                out[i] += g[i];
        }
    }
}

/* ---- the balance loss ---- */

/* f of a run, and its part of the loss. */
static void balance_run(r2i_backward *b, const r2i_moe_saved *saved, int32_t r) {
    const r2i_config *c = b->config;
    const r2i_run *run = &b->batch.runs[r];
    const size_t n = (size_t)c->n_experts, first = (size_t)run->first_row,
                 rows = (size_t)run->n_rows;
    float *f = b->moe.fractions + (size_t)r * n;
    const float each = (float)c->n_experts / ((float)c->n_active * (float)run->n_rows);
    double loss = 0;
    memset(f, 0, n * sizeof *f);
    for (size_t i = first * (size_t)c->n_active; i < (first + rows) * (size_t)c->n_active; i++)
        f[saved->chosen[i]] += each;
    for (size_t row = first; row < first + rows; row++) {
        const float *s = saved->scores + row * n;
        double sum = 0, weighted = 0;
        for (size_t e = 0; e < n; e++) {
            sum += (double)s[e];
            weighted += (double)f[e] * (double)s[e];
        }
        loss += weighted / sum;
    }
    b->moe.losses[r] = (double)b->balance_weight * loss;
}

static void balance_runs(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const moe_region *region = argument;
    (void)worker;
    for (int32_t r = begin; r < end; r++)
        balance_run(region->b, region->saved, r);
}

static void add_balance_loss(r2i_backward *b, moe_region *region) {
    if (b->balance_weight == 0) return;
    r2i_pool_run(b->pool, b->batch.n_runs, 1, balance_runs, region);
    for (int32_t r = 0; r < b->batch.n_runs; r++)
        b->balance_loss += b->moe.losses[r];
}

/* g_s += of the balance loss, of a row of run r; *outward += sum g_s s. */
static void add_balance_gradient(const r2i_backward *b, const float *s, int32_t r, float *g_s,
                                 double *outward) {
    const size_t n = (size_t)b->config->n_experts;
    const float *f = b->moe.fractions + (size_t)r * n;
    double sum = 0, mean = 0;
    for (size_t e = 0; e < n; e++) {
        sum += (double)s[e];
        mean += (double)f[e] * (double)s[e];
    }
    mean /= sum;
    for (size_t e = 0; e < n; e++) {
        const double g = (double)b->balance_weight * ((double)f[e] - mean) / sum;
        g_s[e] += (float)g;
        *outward += g * (double)s[e];
    }
}

static int32_t find_run(const r2i_batch *batch, int32_t row) {
    return (int32_t)(r2i_batch_find_run(batch, row) - batch->runs);
}

int64_t *r2i_backward_counts(r2i_backward *b, int32_t *n) {
    *n = b->config->n_experts * (b->config->n_layers + (b->weights->has_mtp ? 1 : 0));
    return *n > 0 ? b->moe.counts : NULL;
}

double r2i_backward_balance(r2i_backward *b, double rate) {
    const r2i_config *c = b->config;
    const int32_t n_layers = c->n_layers + (b->weights->has_mtp ? 1 : 0);
    double worst = 0;
    for (int32_t i = 0; c->n_experts > 0 && i < n_layers; i++) {
        int64_t *counts = b->moe.counts + (size_t)i * (size_t)c->n_experts, sum = 0;
        float *bias = b->weights->layers[i].score_bias;
        for (int32_t e = 0; e < c->n_experts; e++)
            sum += counts[e];
        for (int32_t e = 0; sum > 0 && e < c->n_experts; e++) {
            const double load = (double)counts[e] * c->n_experts / (double)sum;
            worst = load > worst ? load : worst;
            if (bias != NULL && rate > 0 && load != 1) bias[e] += (float)(load < 1 ? rate : -rate);
            counts[e] = 0;
        }
    }
    return worst;
}

/* ---- the router ---- */

/* g_s of the chosen, g_z of all: through the weights and the score function. */
static void router_row(const r2i_backward *b, const r2i_moe_saved *saved, size_t row) {
    const r2i_config *c = b->config;
    const size_t n_active = (size_t)c->n_active, n_experts = (size_t)c->n_experts;
    const float *s = saved->scores + row * n_experts;
    const int32_t *chosen = saved->chosen + row * n_active;
    float *g_z = b->moe.g_scores + row * n_experts;
    double sum = 0, inward = 0, outward = 0;
    for (size_t k = 0; k < n_active; k++) {
        const double g_w = (double)b->moe.g_weights[saved->entry_of[row * n_active + k]];
        sum += (double)s[chosen[k]];
        inward += g_w * (double)s[chosen[k]];
    }
    const double divisor = c->is_renormalized ? sum + 1e-20 : 1;
    memset(g_z, 0, n_experts * sizeof *g_z);
    for (size_t k = 0; k < n_active; k++) {
        const double g_w = (double)b->moe.g_weights[saved->entry_of[row * n_active + k]];
        const double g_s =
            (double)c->routed_scale / divisor * (g_w - (c->is_renormalized ? inward / divisor : 0));
        g_z[chosen[k]] = (float)g_s;
        outward += g_s * (double)s[chosen[k]];
    }
    if (b->balance_weight != 0)
        add_balance_gradient(b, s, find_run(&b->batch, (int32_t)row), g_z, &outward);
    for (size_t e = 0; e < n_experts; e++) {
        const double p = (double)s[e];
        g_z[e] = (float)(c->score == R2I_SCORE_SOFTMAX ? p * ((double)g_z[e] - outward)
                                                       : p * (1 - p) * (double)g_z[e]);
    }
}

static void router_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const moe_region *region = argument;
    (void)worker;
    for (int32_t row = begin; row < end; row++)
        router_row(region->b, region->saved, (size_t)row);
}

void r2i_moe_backward(r2i_backward *b, int32_t layer, const r2i_layer_saved *saved) {
    const r2i_layer *l = &b->weights->layers[layer];
    const int32_t n_rows = b->batch.n_rows;
    moe_region region = { b, &saved->moe };
    r2i_norm_again(b, b->normed, saved->x_ffn, l->ffn_norm, b->config->norm_eps, n_rows,
                   b->config->d_model);
    r2i_experts_backward(b, l, &saved->moe);
    for (int32_t e = 0; e < b->config->n_experts; e++)
        b->moe.counts[(size_t)layer * (size_t)b->config->n_experts + (size_t)e] +=
            saved->moe.first_entry[e + 1] - saved->moe.first_entry[e];
    add_balance_loss(b, &region);
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, collect_rows, &region);
    r2i_pool_run(b->pool, n_rows, GRAIN_ROWS, router_rows, &region);
    r2i_linear_backward(b, &l->router, b->moe.g_scores, b->normed, b->g_normed, true, n_rows);
    if (b->config->n_shared_experts > 0)
        r2i_gated_backward(b, &(r2i_gated_gradient){ .gate = &l->shared_gate,
                                                     .up = &l->shared_up,
                                                     .down = &l->shared_down,
                                                     .saved = &saved->moe.shared,
                                                     .x = b->normed,
                                                     .g_y = b->g_x,
                                                     .is_added = true });
    r2i_block_norm_backward(b, saved->x_ffn, l->ffn_norm, b->g_normed, b->g_x, n_rows);
}
