#include "model/linear.h"

#include "base/checked.h"
#include "model/lora.h"

enum { PORTION_BYTES = 4 << 20 };

bool r2i_matrix_claim(r2i_linear_context *context, r2i_matrix *m) {
    const size_t n_bytes = (size_t)m->n_panels * m->panel_bytes;
    if (m->panels == NULL || context->pack_budget == 0) return false;
    int expected = R2I_PACK_NONE;
    if (!atomic_compare_exchange_strong(&m->pack_state, &expected, R2I_PACK_CLAIMED)) return false;
    context->pack_budget -=
        r2i_min_size(n_bytes, context->pack_budget); /* the last one may exceed it */
    return true;
}

void r2i_matrix_publish(const r2i_linear_context *context, r2i_matrix *m) {
    atomic_store_explicit(&m->pack_state, R2I_PACK_DONE, memory_order_release);
    if (context->packed != NULL) context->packed(context->packed_user, m, 0, m->n_rows);
}

/* Reports a large matrix in portions while it is being packed, so that stored rows and panels never
 * fill the memory both. */
static void report_portion(const r2i_linear_context *context, const r2i_matrix *m, int32_t begin,
                           int32_t end) {
    const size_t panel_bytes = R2I_PANEL_ROWS * m->row_bytes;
    const size_t portion = (size_t)begin * panel_bytes / PORTION_BYTES;
    if (context->packed == NULL || (size_t)end * panel_bytes / PORTION_BYTES == portion) return;
    const int32_t first_row = (int32_t)(portion * PORTION_BYTES / m->row_bytes);
    context->packed(context->packed_user, m, first_row,
                    r2i_min_i32(end * R2I_PANEL_ROWS, m->n_rows) - first_row);
}

const uint8_t *r2i_linear_panels(const r2i_linear_context *context, const r2i_matrix *m,
                                 int32_t begin, int32_t end, bool is_kept, uint8_t *scratch) {
    const size_t offset = (size_t)begin * m->panel_bytes;
    const bool is_packed =
        atomic_load_explicit(&m->pack_state, memory_order_acquire) == R2I_PACK_DONE;
    if (is_packed) return m->panels + offset;
    uint8_t *target = is_kept ? m->panels + offset : scratch;
    r2i_matrix_pack(m, context->kernels, begin, end, target);
    if (is_kept) report_portion(context, m, begin, end);
    return target;
}

void r2i_linear_rows(const r2i_linear_context *context, const r2i_linear_output *output,
                     const uint8_t *panels, const uint8_t *act, size_t act_stride, int32_t n_tokens,
                     int32_t begin, int32_t end) {
    const r2i_matrix *m = output->matrix;
    const int32_t first_row = begin * R2I_PANEL_ROWS;
    if (context->observe != NULL && begin == 0)
        context->observe(context->observe_user, m, act, act_stride, n_tokens);
    const r2i_matmul_job job = {
        .panels = panels,
        .n_panels = end - begin,
        .n_rows = r2i_min_i32(end * R2I_PANEL_ROWS, m->n_rows) - first_row,
        .n_cols = m->n_cols,
        .act = act,
        .act_stride = act_stride,
        .n_tokens = n_tokens,
        .bias = m->bias != NULL ? m->bias + first_row : NULL,
        .y = output->y + (first_row - output->first_row),
        .y_stride = output->y_stride,
        .is_added = output->is_added,
    };
    context->kernels->matmul[m->layout](&job);
}

void r2i_linear_tile(const r2i_linear_context *context, const r2i_linear_output *output,
                     const uint8_t *act, size_t act_stride, int32_t n_tokens, int32_t begin,
                     int32_t end, bool is_kept, int32_t worker) {
    const uint8_t *panels =
        r2i_linear_panels(context, output->matrix, begin, end, is_kept, context->scratch[worker]);
    r2i_linear_rows(context, output, panels, act, act_stride, n_tokens, begin, end);
}

/* The tiles of all outputs, one after the other. */
typedef struct {
    const r2i_linear_context *context;
    const r2i_linear_output *outputs;
    const r2i_prepared *x;
    int32_t n_tokens;
    int32_t first_tile[R2I_MAX_LINEAR + 1];
    bool is_kept[R2I_MAX_LINEAR];
} linear_region;

static int32_t tiles_of(const r2i_matrix *m) {
    return r2i_div_up_i32(m->n_panels, R2I_TILE_PANELS);
}

static void run_tiles(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const linear_region *region = argument;
    int32_t o = 0;
    for (int32_t tile = begin; tile < end; tile++) {
        while (tile >= region->first_tile[o + 1])
            o++;
        const r2i_linear_output *output = &region->outputs[o];
        const r2i_act_kind kind = r2i_act_kind_of(output->matrix->layout);
        const int32_t panel = (tile - region->first_tile[o]) * R2I_TILE_PANELS;
        const int32_t panel_end = r2i_min_i32(panel + R2I_TILE_PANELS, output->matrix->n_panels);
        r2i_linear_tile(region->context, output, region->x->rows[kind], region->x->stride[kind],
                        region->n_tokens, panel, panel_end, region->is_kept[o], worker);
        r2i_lora_raise(region->context, o, output, panel, panel_end);
    }
}

void r2i_linear(r2i_linear_context *context, const r2i_linear_output *outputs, int32_t n_outputs,
                const r2i_prepared *x, int32_t n_tokens) {
    linear_region region = { .context = context, .outputs = outputs, .x = x, .n_tokens = n_tokens };
    const r2i_matrix *matrices[R2I_MAX_LINEAR] = { NULL };
    for (int32_t o = 0; o < n_outputs; o++) {
        matrices[o] = outputs[o].matrix;
        region.first_tile[o + 1] = region.first_tile[o] + tiles_of(outputs[o].matrix);
        region.is_kept[o] = r2i_matrix_claim(context, outputs[o].matrix);
    }
    r2i_lora_lower(context, matrices, n_outputs, x);
    const int32_t n_tiles = region.first_tile[n_outputs];
    /* Several pieces per worker, so that one that is slow for a while does not hold up the rest. */
    const int32_t grain = r2i_max_i32(1, n_tiles / (r2i_pool_threads(context->pool) * 8));
    r2i_pool_run(context->pool, n_tiles, grain, run_tiles, &region);
    for (int32_t o = 0; o < n_outputs; o++) {
        if (region.is_kept[o]) r2i_matrix_publish(context, outputs[o].matrix);
    }
}

/* ---- one product per head ---- */

typedef struct {
    const r2i_linear_context *context;
    const r2i_linear_each *each;
    bool is_kept; /* every matrix is packed for good by this region */
} each_region;

static void run_each_tiles(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const each_region *region = argument;
    const r2i_linear_each *each = region->each;
    const int32_t n_tiles = tiles_of(each->matrices);
    const r2i_act_kind kind = r2i_act_kind_of(each->matrices->layout);
    const size_t stride = each->x->stride[kind], n = (size_t)each->n;
    const size_t matrix_step = each->is_shared ? 0 : stride,
                 token_step = each->is_shared ? stride : n * stride;
    for (int32_t item = begin; item < end; item++) {
        const size_t g = (size_t)(item / n_tiles);
        const int32_t panel = item % n_tiles * R2I_TILE_PANELS;
        const r2i_linear_output output = { .matrix = &each->matrices[g],
                                           .y = each->y + g * each->y_stride,
                                           .y_stride = n * each->y_stride };
        r2i_linear_tile(region->context, &output, each->x->rows[kind] + g * matrix_step, token_step,
                        each->n_tokens, panel,
                        r2i_min_i32(panel + R2I_TILE_PANELS, each->matrices->n_panels),
                        region->is_kept, worker);
    }
}

/* The first matrix stands for all: they are claimed, packed and published together. */
void r2i_linear_run_each(r2i_linear_context *context, const r2i_linear_each *each) {
    each_region region = { context, each, r2i_matrix_claim(context, each->matrices) };
    const int32_t n_items = each->n * tiles_of(each->matrices);
    const int32_t grain = r2i_max_i32(1, n_items / (r2i_pool_threads(context->pool) * 8));
    if (region.is_kept) {
        const size_t others =
            (size_t)(each->n - 1) * (size_t)each->matrices->n_panels * each->matrices->panel_bytes;
        context->pack_budget -= r2i_min_size(others, context->pack_budget);
    }
    r2i_pool_run(context->pool, n_items, grain, run_each_tiles, &region);
    for (int32_t g = 0; region.is_kept && g < each->n; g++)
        r2i_matrix_publish(context, &each->matrices[g]);
}
