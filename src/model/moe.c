/* moe.c - mixture of experts:  x += sum over chosen e of p_e expert_e(n),  n = RMSNorm(x).
 *
 * p = softmax(router n) over all experts in F32; the n_active likeliest are chosen (the lower index
 * on ties) and, if the model says so, divided by their sum.  Rows are grouped by expert, so that a
 * batch costs one product per expert and a single token reads only the experts it needs.  A row's
 * results are added in the order of its choices, whatever else is in the batch. */
#include <string.h>

#include "base/checked.h"
#include "model/forward_state.h"

enum { TAKEN = -1 }; /* below every probability */

static void choose_experts(r2i_forward *f, int32_t row) {
    const r2i_config *c = f->parts.config;
    float *p = f->moe.scores + (size_t)row * (size_t)c->n_experts;
    int32_t *chosen = f->moe.chosen + (size_t)row * (size_t)c->n_active;
    float *weights = f->moe.weights + (size_t)row * (size_t)c->n_active, sum = 0;
    f->parts.kernels->softmax(p, p, c->n_experts);
    for (int32_t k = 0; k < c->n_active; k++) {
        int32_t best = -1;
        for (int32_t e = 0; e < c->n_experts; e++) {
            /* Scores that are no numbers: any expert not taken yet, the result is no number either. */
            const bool is_free = p[e] != TAKEN;
            if (is_free && (best < 0 || p[e] > p[best])) best = e;
        }
        chosen[k] = best;
        weights[k] = p[best];
        sum += p[best];
        p[best] = TAKEN;
    }
    if (!c->is_renormalized) return;
    for (int32_t k = 0; k < c->n_active; k++)
        weights[k] /= sum;
}

/* Counting sort of all (row, choice) by expert. */
static void sort_entries(r2i_forward *f) {
    const r2i_config *c = f->parts.config;
    const int32_t n_entries = f->batch->n_rows * c->n_active;
    int32_t *first = f->moe.first_entry;
    memset(first, 0, ((size_t)c->n_experts + 1) * sizeof *first);
    for (int32_t i = 0; i < n_entries; i++)
        first[f->moe.chosen[i] + 1]++;
    for (int32_t e = 0; e < c->n_experts; e++)
        first[e + 1] += first[e];
    for (int32_t i = 0; i < n_entries; i++)
        f->moe.entry_of[i] = first[f->moe.chosen[i]]++;
    for (int32_t e = c->n_experts; e > 0; e--)
        first[e] = first[e - 1];
    first[0] = 0;
}

static void copy_entries(r2i_forward *f, unsigned mask) {
    const int32_t n_active = f->parts.config->n_active;
    for (int32_t i = 0; i < f->batch->n_rows * n_active; i++) {
        for (int kind = 0; kind < 3; kind++) {
            if ((mask >> kind & 1u) == 0) continue;
            const size_t stride = f->input.stride[kind];
            memcpy(f->moe.x.rows[kind] + (size_t)f->moe.entry_of[i] * stride,
                   f->input.rows[kind] + (size_t)(i / n_active) * stride, stride);
        }
    }
}

typedef struct {
    r2i_forward *f;
    r2i_layer *layer;
} expert_region;

/* Lays the tiles of all experts that have rows one after the other; returns how many there are. */
static int32_t plan_tiles(r2i_forward *f, const r2i_matrix *experts) {
    const int32_t n_experts = f->parts.config->n_experts;
    int32_t n_tiles = 0;
    for (int32_t e = 0; e < n_experts; e++) {
        f->moe.first_tile[e] = n_tiles;
        if (f->moe.first_entry[e + 1] > f->moe.first_entry[e]) {
            n_tiles += r2i_div_up_i32(experts[e].n_panels, R2I_TILE_PANELS);
        }
    }
    f->moe.first_tile[n_experts] = n_tiles;
    return n_tiles;
}

static int32_t find_expert(const r2i_forward *f, int32_t tile) {
    int32_t e = 0;
    while (tile >= f->moe.first_tile[e + 1])
        e++;
    return e;
}

static void run_expert_gated(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expert_region *region = argument;
    r2i_forward *f = region->f;
    const int32_t n_experts = f->parts.config->n_experts;
    int32_t e = find_expert(f, begin);
    for (int32_t tile = begin; tile < end; tile++) {
        while (tile >= f->moe.first_tile[e + 1])
            e++;
        r2i_matrix *gate = &region->layer->expert_gate[e];
        const r2i_gated_job job = { .gate = gate,
                                    .up = &region->layer->expert_up[e],
                                    .is_gate_kept = f->moe.is_kept[e],
                                    .is_up_kept = f->moe.is_kept[n_experts + e],
                                    .x = &f->moe.x,
                                    .inner = &f->moe.inner,
                                    .inner_kind =
                                        r2i_act_kind_of(region->layer->expert_down[e].layout),
                                    .first_row = f->moe.first_entry[e],
                                    .n_rows = f->moe.first_entry[e + 1] - f->moe.first_entry[e] };
        const int32_t panel = (tile - f->moe.first_tile[e]) * R2I_TILE_PANELS;
        r2i_gated_tile(f, &job, panel, r2i_min_i32(panel + R2I_TILE_PANELS, gate->n_panels),
                       worker);
    }
}

static void run_expert_down(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expert_region *region = argument;
    r2i_forward *f = region->f;
    const int32_t n_experts = f->parts.config->n_experts, d = f->parts.config->d_model;
    int32_t e = find_expert(f, begin);
    for (int32_t tile = begin; tile < end; tile++) {
        while (tile >= f->moe.first_tile[e + 1])
            e++;
        r2i_matrix *down = &region->layer->expert_down[e];
        const r2i_act_kind kind = r2i_act_kind_of(down->layout);
        const int32_t first = f->moe.first_entry[e], n_rows = f->moe.first_entry[e + 1] - first;
        const r2i_linear_output output = { .matrix = down,
                                           .y = f->moe.y + (size_t)first * (size_t)d,
                                           .y_stride = (size_t)d };
        const int32_t panel = (tile - f->moe.first_tile[e]) * R2I_TILE_PANELS;
        r2i_linear_tile(&f->linear, &output,
                        f->moe.inner.rows[kind] + (size_t)first * f->moe.inner.stride[kind],
                        f->moe.inner.stride[kind], n_rows, panel,
                        r2i_min_i32(panel + R2I_TILE_PANELS, down->n_panels),
                        f->moe.is_kept[2 * n_experts + e], worker);
    }
}

static void claim_all(r2i_forward *f, r2i_matrix *experts, int32_t kind) {
    const int32_t n = f->parts.config->n_experts;
    for (int32_t e = 0; e < n; e++) {
        const bool has_rows = f->moe.first_entry[e + 1] > f->moe.first_entry[e];
        f->moe.is_kept[kind * n + e] = has_rows && r2i_matrix_claim(&f->linear, &experts[e]);
    }
}

static void publish_all(r2i_forward *f, r2i_matrix *experts, int32_t kind) {
    const int32_t n = f->parts.config->n_experts;
    for (int32_t e = 0; e < n; e++) {
        if (f->moe.is_kept[kind * n + e]) r2i_matrix_publish(&f->linear, &experts[e]);
    }
}

static void run_region(r2i_forward *f, r2i_layer *layer, const r2i_matrix *experts,
                       r2i_pool_work work) {
    expert_region region = { f, layer };
    const int32_t n_tiles = plan_tiles(f, experts);
    r2i_pool_run(f->parts.pool, n_tiles, r2i_max_i32(1, n_tiles / (f->n_workers * 8)), work,
                 &region);
}

static void add_results(void *argument, int32_t begin, int32_t end, int32_t worker) {
    r2i_forward *f = argument;
    const int32_t d = f->parts.config->d_model, n_active = f->parts.config->n_active;
    (void)worker;
    for (int32_t i = begin * n_active; i < end * n_active; i++) {
        const float weight = f->moe.weights[i];
        const float *y = f->moe.y + (size_t)f->moe.entry_of[i] * (size_t)d;
        float *x = f->x + (size_t)(i / n_active) * (size_t)d;
        for (int32_t j = 0; j < d; j++)
            x[j] += weight * y[j];
    }
}

void r2i_moe_run(r2i_forward *f, int32_t i) {
    const r2i_config *c = f->parts.config;
    r2i_layer *layer = &f->parts.weights->layers[i];
    const int32_t n_rows = f->batch->n_rows, d = c->d_model;
    const unsigned mask =
        r2i_matrix_act_mask(&layer->expert_gate[0]) | r2i_matrix_act_mask(&layer->expert_up[0]);
    const unsigned router_mask = r2i_matrix_act_mask(&layer->router);
    const r2i_row_norm norm = { layer->ffn_norm, c->norm_eps };
    r2i_forward_prepare(f, &f->input, f->x, (size_t)d, &norm, n_rows, d,
                        mask | router_mask);
    const r2i_linear_output router = { .matrix = &layer->router,
                                       .y = f->moe.scores,
                                       .y_stride = (size_t)c->n_experts };
    r2i_linear(&f->linear, &router, 1, &f->input, n_rows);
    for (int32_t row = 0; row < n_rows; row++)
        choose_experts(f, row);
    sort_entries(f);
    copy_entries(f, mask);
    claim_all(f, layer->expert_gate, 0);
    claim_all(f, layer->expert_up, 1);
    run_region(f, layer, layer->expert_gate, run_expert_gated);
    publish_all(f, layer->expert_gate, 0);
    publish_all(f, layer->expert_up, 1);
    claim_all(f, layer->expert_down, 2);
    run_region(f, layer, layer->expert_down, run_expert_down);
    publish_all(f, layer->expert_down, 2);
    r2i_pool_run(f->parts.pool, n_rows, 8, add_results, f);
}
