/* mlp.c - the dense feed-forward block:  x += down( silu(gate n) * up n ),  n = RMSNorm(x).
 *
 * gate, up, the product and its rounding for `down` are one region: a tile of 64 columns of the
 * inner layer is finished while it is in the worker's cache. */
#include <string.h>

#include "base/checked.h"
#include "model/forward_state.h"

enum { PART_ROWS = 256 };

/* Forms in which `down`, and its adapter, want a row. */
static unsigned inner_mask(const r2i_forward *f, const r2i_gated_job *job, int32_t row) {
    const bool has_lora = job->has_lora && r2i_lora_has_row(&f->lora, row);
    return 1u << job->inner_kind | (has_lora ? 1u << r2i_act_kind_of(f->lora.layout) : 0);
}

/* Columns [begin, end) of both products of a row. */
static void keep_gated(const r2i_forward *f, const r2i_gated_job *job, const float *gate,
                       const float *up, int32_t i, int32_t begin, int32_t end) {
    const size_t n_bytes = (size_t)(end - begin) * sizeof *gate, row = (size_t)(job->first_row + i);
    const int32_t width = job->gate->n_rows;
    if (job->saved->gate == NULL) return;
    if (job->saved->is_rounded) {
        const size_t stride = r2i_act_row_bytes(R2I_ACT_BF16, width);
        const r2i_kernels *kernels = f->parts.kernels;
        kernels->act[R2I_ACT_BF16]((uint8_t *)job->saved->gate + row * stride, gate, width, begin,
                                   end);
        kernels->act[R2I_ACT_BF16]((uint8_t *)job->saved->up + row * stride, up, width, begin, end);
        return;
    }
    const size_t at = row * (size_t)width + (size_t)begin;
    memcpy(job->saved->gate + at, gate, n_bytes);
    memcpy(job->saved->up + at, up, n_bytes);
}

/* Rows [first, first + n) of a tile whose panels are there. */
typedef struct {
    int32_t begin, end; /* panels */
    int32_t first, n, worker;
    const uint8_t *gate_panels, *up_panels;
} gated_part;

static void multiply_part(const r2i_forward *f, const r2i_gated_job *job, const gated_part *at) {
    const r2i_worker_scratch *scratch = &f->workers[at->worker];
    const int32_t width = R2I_TILE_PANELS * R2I_PANEL_ROWS;
    const r2i_act_kind gate_kind = r2i_act_kind_of(job->gate->layout),
                       up_kind = r2i_act_kind_of(job->up->layout);
    const r2i_linear_output gate = { .matrix = job->gate,
                                     .y = scratch->gate,
                                     .y_stride = (size_t)width,
                                     .first_row = at->begin * R2I_PANEL_ROWS },
                            up = { .matrix = job->up,
                                   .y = scratch->up,
                                   .y_stride = (size_t)width,
                                   .first_row = at->begin * R2I_PANEL_ROWS };
    const size_t gate_stride = job->x->stride[gate_kind], up_stride = job->x->stride[up_kind],
                 row = (size_t)(job->first_x_row + at->first);
    r2i_linear_rows(&f->linear, &gate, at->gate_panels, job->x->rows[gate_kind] + row * gate_stride,
                    gate_stride, at->n, at->begin, at->end);
    r2i_linear_rows(&f->linear, &up, at->up_panels, job->x->rows[up_kind] + row * up_stride,
                    up_stride, at->n, at->begin, at->end);
    if (job->has_lora) {
        r2i_lora_raise(&f->linear, 0, &gate, at->begin, at->end);
        r2i_lora_raise(&f->linear, 1, &up, at->begin, at->end);
    }
}

static void finish_part(const r2i_forward *f, const r2i_gated_job *job, const gated_part *at) {
    const r2i_worker_scratch *scratch = &f->workers[at->worker];
    const r2i_kernels *kernels = f->parts.kernels;
    const size_t width = R2I_TILE_PANELS * R2I_PANEL_ROWS;
    const int32_t column = at->begin * R2I_PANEL_ROWS,
                  column_end = r2i_min_i32(at->end * R2I_PANEL_ROWS, job->gate->n_rows);
    for (int32_t i = 0; i < at->n; i++) {
        float *g = scratch->gate + (size_t)i * width, *u = scratch->up + (size_t)i * width;
        const int32_t row = at->first + i;
        if (job->saved != NULL) keep_gated(f, job, g, u, row, column, column_end);
        kernels->silu_mul(g, g, u, column_end - column);
        const unsigned mask = inner_mask(f, job, row);
        for (int kind = 0; kind < 3; kind++) {
            if ((mask >> kind & 1u) == 0) continue;
            uint8_t *to =
                job->inner->rows[kind] + (size_t)(job->first_row + row) * job->inner->stride[kind];
            kernels->act[kind](to, g, job->gate->n_rows, column, column_end);
        }
    }
}

/* Few rows at a time, whose products stay in the cache; with adapters, whose rows are not parted, all. */
void r2i_gated_tile(const r2i_forward *f, const r2i_gated_job *job, int32_t begin, int32_t end,
                    int32_t worker) {
    const r2i_worker_scratch *scratch = &f->workers[worker];
    const bool is_whole = job->has_lora && f->linear.lora != NULL && f->linear.lora->n_spans > 0;
    const int32_t most = is_whole ? job->n_rows : PART_ROWS;
    gated_part at = { .begin = begin,
                      .end = end,
                      .worker = worker,
                      .gate_panels = r2i_linear_panels(&f->linear, job->gate, begin, end,
                                                       job->is_gate_kept, scratch->panels),
                      .up_panels = r2i_linear_panels(&f->linear, job->up, begin, end,
                                                     job->is_up_kept, scratch->panels2) };
    for (at.first = 0; at.first < job->n_rows; at.first += at.n) {
        at.n = r2i_min_i32(most, job->n_rows - at.first);
        multiply_part(f, job, &at);
        finish_part(f, job, &at);
    }
}

typedef struct {
    const r2i_forward *f;
    r2i_gated_job job;
} gated_region;

static void run_gated(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const gated_region *region = argument;
    for (int32_t tile = begin; tile < end; tile++) {
        const int32_t panel = tile * R2I_TILE_PANELS;
        const int32_t panel_end = r2i_min_i32(panel + R2I_TILE_PANELS, region->job.gate->n_panels);
        r2i_gated_tile(region->f, &region->job, panel, panel_end, worker);
    }
}

void r2i_mlp(r2i_forward *f, r2i_matrix *gate, r2i_matrix *up, r2i_matrix *down,
             const r2i_gated_saved *saved) {
    const int32_t n_rows = f->batch.n_rows;
    gated_region region = { .f = f,
                            .job = { .gate = gate,
                                     .up = up,
                                     .is_gate_kept = r2i_matrix_claim(&f->linear, gate),
                                     .is_up_kept = r2i_matrix_claim(&f->linear, up),
                                     .x = &f->input,
                                     .inner = &f->inner,
                                     .inner_kind = r2i_act_kind_of(down->layout),
                                     .n_rows = n_rows,
                                     .has_lora = true,
                                     .saved = saved } };
    const r2i_matrix *const gated[] = { gate, up };
    r2i_lora_lower(&f->linear, gated, 2, &f->input);
    const int32_t n_tiles = r2i_div_up_i32(gate->n_panels, R2I_TILE_PANELS);
    const int32_t grain = r2i_max_i32(1, n_tiles / (f->n_workers * 8));
    r2i_pool_run(f->parts.pool, n_tiles, grain, run_gated, &region);
    if (region.job.is_gate_kept) r2i_matrix_publish(&f->linear, gate);
    if (region.job.is_up_kept) r2i_matrix_publish(&f->linear, up);
    const r2i_linear_output output = {
        .matrix = down, .y = f->x, .y_stride = (size_t)f->parts.config->d_model, .is_added = true
    };
    r2i_linear(&f->linear, &output, 1, &f->inner, n_rows);
}

void r2i_mlp_run(r2i_forward *f, int32_t i) {
    r2i_layer *layer = &f->parts.weights->layers[i];
    const int32_t d = f->parts.config->d_model;
    const unsigned mask = r2i_matrix_act_mask(&layer->gate) | r2i_matrix_act_mask(&layer->up);
    const r2i_row_norm norm = { layer->ffn_norm, f->parts.config->norm_eps };
    r2i_forward_prepare(f, &f->input, f->x, (size_t)d, &norm, f->batch.n_rows, d, mask);
    r2i_mlp(f, &layer->gate, &layer->up, &layer->down, f->saved != NULL ? &f->saved->mlp : NULL);
}
