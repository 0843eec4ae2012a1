/* moe.c - mixture of experts:  x += sum over chosen e of w_e expert_e(n) + shared(n),  n = RMSNorm(x).
 *
 * Which and how much: router.h.  Rows are grouped by expert, so that a batch costs one product per
 * expert and a single token reads only the experts it needs.  A row's results are added in the order
 * of its choices, whatever else is in the batch. */
#include <string.h>

#include "base/checked.h"
#include "model/forward_state.h"
#include "model/router.h"

enum { GRAIN_ROWS = 8 };

typedef struct {
    r2i_forward *f;
    r2i_layer *layer;
    int32_t index; /* of the layer */
    unsigned mask; /* forms that the experts need */
} expert_region;

/* Of a row in this layer; NULL: nobody asks, nobody says. */
static uint16_t *find_route(const expert_region *region, int32_t row) {
    const r2i_forward *f = region->f;
    const r2i_config *c = f->parts.config;
    if (f->routes == NULL || region->index >= c->n_layers) return NULL;
    return f->routes +
           ((size_t)row * (size_t)c->n_layers + (size_t)region->index) * (size_t)c->n_active;
}

static void choose_row(const expert_region *region, int32_t row) {
    const r2i_forward *f = region->f;
    const r2i_config *c = f->parts.config;
    const size_t first = (size_t)row * (size_t)c->n_active;
    float *scores = f->moe.scores + (size_t)row * (size_t)c->n_experts,
          *weights = f->moe.weights + first;
    int32_t *chosen = f->moe.chosen + first;
    uint16_t *route = find_route(region, row);
    if (route != NULL && f->has_given_routes) {
        for (int32_t k = 0; k < c->n_active; k++)
            chosen[k] = route[k];
        r2i_router_weigh(c, f->parts.kernels, scores, chosen, weights);
        return;
    }
    r2i_router_choose(c, f->parts.kernels, region->layer->score_bias, scores, chosen, weights);
    for (int32_t k = 0; route != NULL && k < c->n_active; k++)
        route[k] = (uint16_t)chosen[k];
}

static void choose_experts(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expert_region *region = argument;
    (void)worker;
    for (int32_t row = begin; row < end; row++)
        choose_row(region, row);
}

/* Counting sort of all (row, choice) by expert. */
static void sort_entries(r2i_forward *f) {
    const r2i_config *c = f->parts.config;
    const int32_t n_entries = f->batch.n_rows * c->n_active;
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

static void copy_entries(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expert_region *region = argument;
    r2i_forward *f = region->f;
    const int32_t n_active = f->parts.config->n_active;
    (void)worker;
    for (int32_t i = begin * n_active; i < end * n_active; i++) {
        for (int kind = 0; kind < 3; kind++) {
            if ((region->mask >> kind & 1u) == 0) continue;
            const size_t stride = f->input.stride[kind];
            memcpy(f->moe.x.rows[kind] + (size_t)f->moe.entry_of[i] * stride,
                   f->input.rows[kind] + (size_t)(i / n_active) * stride, stride);
        }
    }
}

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

/* A single row goes to its experts from where it is. */
static bool is_in_place(const r2i_forward *f) {
    return f->batch.n_rows == 1 && f->parts.exchange == NULL;
}

static void run_expert_gated(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const expert_region *region = argument;
    r2i_forward *f = region->f;
    const int32_t n_experts = f->parts.config->n_experts;
    const bool is_single = is_in_place(f);
    int32_t e = find_expert(f, begin);
    for (int32_t tile = begin; tile < end; tile++) {
        while (tile >= f->moe.first_tile[e + 1])
            e++;
        r2i_matrix *gate = &region->layer->expert_gate[e];
        const r2i_gated_job job = { .gate = gate,
                                    .up = &region->layer->expert_up[e],
                                    .is_gate_kept = f->moe.is_kept[e],
                                    .is_up_kept = f->moe.is_kept[n_experts + e],
                                    .x = is_single ? &f->input : &f->moe.x,
                                    .inner = &f->moe.inner,
                                    .inner_kind =
                                        r2i_act_kind_of(region->layer->expert_down[e].layout),
                                    .first_x_row = is_single ? 0 : f->moe.first_entry[e],
                                    .first_row = f->moe.first_entry[e],
                                    .n_rows = f->moe.first_entry[e + 1] - f->moe.first_entry[e],
                                    .saved = f->saved != NULL ? &f->saved->moe.experts : NULL };
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

static void run_region(expert_region *region, const r2i_matrix *experts, r2i_pool_work work) {
    r2i_forward *f = region->f;
    const int32_t n_tiles = plan_tiles(f, experts);
    r2i_pool_run(f->parts.pool, n_tiles, r2i_max_i32(1, n_tiles / (f->n_workers * 8)), work,
                 region);
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

static void keep_routes(r2i_forward *f, const r2i_moe_saved *saved) {
    const r2i_config *c = f->parts.config;
    const size_t n_rows = (size_t)f->batch.n_rows, n = n_rows * (size_t)c->n_active;
    r2i_forward_keep(f, saved->scores, f->moe.scores, (size_t)c->n_experts);
    memcpy(saved->chosen, f->moe.chosen, n * sizeof *saved->chosen);
    memcpy(saved->weights, f->moe.weights, n * sizeof *saved->weights);
    memcpy(saved->entry_of, f->moe.entry_of, n * sizeof *saved->entry_of);
    memcpy(saved->first_entry, f->moe.first_entry,
           ((size_t)c->n_experts + 1) * sizeof *saved->first_entry);
}

/* Normed rows in all forms needed, scores, choices, and the rows in the experts' order. */
static void route(expert_region *region) {
    r2i_forward *f = region->f;
    r2i_layer *layer = region->layer;
    const r2i_config *c = f->parts.config;
    const int32_t n_rows = f->batch.n_rows, d = c->d_model;
    unsigned mask = region->mask | r2i_matrix_act_mask(&layer->router);
    if (c->n_shared_experts > 0) {
        mask |= r2i_matrix_act_mask(&layer->shared_gate) | r2i_matrix_act_mask(&layer->shared_up);
    }
    const r2i_row_norm norm = { layer->ffn_norm, c->norm_eps };
    r2i_forward_prepare(f, &f->input, f->x, (size_t)d, &norm, n_rows, d, mask);
    const r2i_linear_output router = { .matrix = &layer->router,
                                       .y = f->moe.scores,
                                       .y_stride = (size_t)c->n_experts };
    r2i_linear(&f->linear, &router, 1, &f->input, n_rows);
    r2i_pool_run(f->parts.pool, n_rows, GRAIN_ROWS, choose_experts, region);
    sort_entries(f);
    if (f->saved != NULL && f->saved->moe.scores != NULL) keep_routes(f, &f->saved->moe);
    if (!is_in_place(f)) r2i_pool_run(f->parts.pool, n_rows, GRAIN_ROWS, copy_entries, region);
}

static void run_experts(expert_region *region) {
    r2i_forward *f = region->f;
    r2i_layer *layer = region->layer;
    claim_all(f, layer->expert_gate, 0);
    claim_all(f, layer->expert_up, 1);
    run_region(region, layer->expert_gate, run_expert_gated);
    publish_all(f, layer->expert_gate, 0);
    publish_all(f, layer->expert_up, 1);
    claim_all(f, layer->expert_down, 2);
    run_region(region, layer->expert_down, run_expert_down);
    publish_all(f, layer->expert_down, 2);
}

/* The experts compute with all rows that come to them, and give the results back. */
static void run_experts_elsewhere(expert_region *region) {
    r2i_forward *f = region->f;
    const r2i_expert_exchange *exchange = f->parts.exchange;
    const r2i_moe_scratch own = f->moe;
    const int32_t *first_here = exchange->plan(exchange->user, own.first_entry);
    for (int kind = 0; kind < 3; kind++) {
        if ((region->mask >> kind & 1u) != 0)
            exchange->give(exchange->user, own.x.rows[kind], own.x.stride[kind],
                           own.here.x.rows[kind]);
    }
    /* Read alone while the experts run. */
    f->moe.first_entry = (int32_t *)(uintptr_t)first_here;
    f->moe.x = own.here.x;
    f->moe.y = own.here.y;
    run_experts(region);
    f->moe = own;
    exchange->take_back(exchange->user, own.here.y,
                        (size_t)f->parts.config->d_model * sizeof *own.y, own.y);
}

void r2i_moe_run(r2i_forward *f, int32_t i) {
    r2i_layer *layer = &f->parts.weights->layers[i];
    expert_region region = { f, layer, i,
                             r2i_matrix_act_mask(&layer->expert_gate[0]) |
                                 r2i_matrix_act_mask(&layer->expert_up[0]) };
    route(&region);
    if (f->parts.exchange != NULL)
        run_experts_elsewhere(&region);
    else
        run_experts(&region);
    r2i_pool_run(f->parts.pool, f->batch.n_rows, GRAIN_ROWS, add_results, f);
    if (f->parts.config->n_shared_experts > 0)
        r2i_mlp(f, &layer->shared_gate, &layer->shared_up, &layer->shared_down,
                f->saved != NULL ? &f->saved->moe.shared : NULL);
}
