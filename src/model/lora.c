#include "model/lora.h"

#include <string.h>

#include "base/checked.h"

enum {
    LOW_ROWS = 32, /* rows and ranks of one piece of A x */
    LOW_RANKS = 32 /* a multiple of 32, as activation rows are prepared in pieces */
};

size_t r2i_lora_low_bytes(r2i_type layout, int32_t cap_rows) {
    return (size_t)cap_rows * r2i_act_row_bytes(r2i_act_kind_of(layout), R2I_MAX_RANK);
}

/* ---- low = s A x: item = matrix x rows x ranks ---- */

typedef struct {
    const r2i_linear_context *context;
    const r2i_matrix *const *matrices;
    const r2i_prepared *x;
    int32_t first_chunk, n_chunks; /* of LOW_ROWS rows */
    int32_t n_blocks;              /* of LOW_RANKS ranks */
} lower_region;

/* Rows [row, row + n_rows) of a span, ranks [rank, rank + LOW_RANKS) of its pair. */
static void lower_piece(const lower_region *region, int32_t i, const r2i_lora_span *span,
                        int32_t row, int32_t n_rows, int32_t rank) {
    const r2i_lora_work *work = region->context->lora;
    const r2i_kernels *kernels = region->context->kernels;
    const r2i_lora_pair *pair = &span->pairs[region->matrices[i]->index];
    const r2i_act_kind kind = r2i_act_kind_of(work->layout);
    const int32_t n_ranks = r2i_min_i32(LOW_RANKS, pair->rank - rank);
    const float scale = span->scale * pair->scale;
    float y[LOW_ROWS * LOW_RANKS];
    const r2i_matmul_job job = {
        .panels =
            pair->a + (size_t)(rank / R2I_PANEL_ROWS) * r2i_panel_bytes(work->layout, pair->n_cols),
        .n_panels = r2i_div_up_i32(n_ranks, R2I_PANEL_ROWS),
        .n_rows = n_ranks,
        .n_cols = pair->n_cols,
        .act = region->x->rows[kind] + (size_t)row * region->x->stride[kind],
        .act_stride = region->x->stride[kind],
        .n_tokens = n_rows,
        .y = y,
        .y_stride = LOW_RANKS,
    };
    kernels->matmul[work->layout](&job);
    for (int32_t t = 0; t < n_rows; t++) {
        float *low = y + (size_t)t * LOW_RANKS;
        for (int32_t r = 0; r < n_ranks; r++)
            low[r] *= scale;
        if (pair->kept != NULL)
            memcpy(pair->kept + (size_t)(row + t) * (size_t)pair->rank + rank, low,
                   (size_t)n_ranks * sizeof *low);
        kernels->act[kind](work->low[i] + (size_t)(row + t) * work->stride[i], low, pair->rank,
                           rank, rank + n_ranks);
    }
}

static void lower_items(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const lower_region *region = argument;
    const r2i_lora_work *work = region->context->lora;
    (void)worker;
    for (int32_t item = begin; item < end; item++) {
        const int32_t rank = item % region->n_blocks * LOW_RANKS, rest = item / region->n_blocks,
                      chunk = region->first_chunk + rest % region->n_chunks,
                      i = rest / region->n_chunks;
        for (int32_t s = 0; s < work->n_spans; s++) {
            const r2i_lora_span *span = &work->spans[s];
            const int32_t first = r2i_max_i32(span->first_row, chunk * LOW_ROWS),
                          last =
                              r2i_min_i32(span->first_row + span->n_rows, (chunk + 1) * LOW_ROWS);
            if (first >= last || span->pairs[region->matrices[i]->index].rank <= rank) continue;
            lower_piece(region, i, span, first, last - first, rank);
        }
    }
}

static int32_t max_rank(const r2i_lora_work *work, const r2i_matrix *m) {
    int32_t rank = 0;
    for (int32_t s = 0; s < work->n_spans; s++)
        rank = r2i_max_i32(rank, work->spans[s].pairs[m->index].rank);
    return rank;
}

void r2i_lora_lower(const r2i_linear_context *context, const r2i_matrix *const *matrices, int32_t n,
                    const r2i_prepared *x) {
    r2i_lora_work *work = context->lora;
    int32_t rank = 0;
    if (work == NULL || work->n_spans == 0) return;
    for (int32_t i = 0; i < n; i++) {
        const int32_t own = max_rank(work, matrices[i]);
        work->stride[i] = own > 0 ? r2i_act_row_bytes(r2i_act_kind_of(work->layout), own) : 0;
        rank = r2i_max_i32(rank, own);
    }
    if (rank == 0) return;
    const r2i_lora_span *last = &work->spans[work->n_spans - 1];
    const int32_t first_chunk = work->spans[0].first_row / LOW_ROWS,
                  end_chunk = r2i_div_up_i32(last->first_row + last->n_rows, LOW_ROWS);
    lower_region region = {
        context, matrices, x, first_chunk, end_chunk - first_chunk, r2i_div_up_i32(rank, LOW_RANKS)
    };
    r2i_pool_run(context->pool, n * region.n_chunks * region.n_blocks, 1, lower_items, &region);
}

/* ---- y += B low ---- */

void r2i_lora_raise(const r2i_linear_context *context, int32_t i, const r2i_linear_output *output,
                    int32_t begin, int32_t end) {
    const r2i_lora_work *work = context->lora;
    const r2i_matrix *m = output->matrix;
    const int32_t first_row = begin * R2I_PANEL_ROWS;
    if (work == NULL || work->n_spans == 0 || work->stride[i] == 0) return;
    for (int32_t s = 0; s < work->n_spans; s++) {
        const r2i_lora_span *span = &work->spans[s];
        const r2i_lora_pair *pair = &span->pairs[m->index];
        if (pair->rank == 0) continue;
        const r2i_matmul_job job = {
            .panels = pair->b + (size_t)begin * r2i_panel_bytes(work->layout, pair->rank),
            .n_panels = end - begin,
            .n_rows = r2i_min_i32(end * R2I_PANEL_ROWS, m->n_rows) - first_row,
            .n_cols = pair->rank,
            .act = work->low[i] + (size_t)span->first_row * work->stride[i],
            .act_stride = work->stride[i],
            .n_tokens = span->n_rows,
            .y = output->y + (size_t)span->first_row * output->y_stride +
                 (first_row - output->first_row),
            .y_stride = output->y_stride,
            .is_added = true,
        };
        context->kernels->matmul[work->layout](&job);
    }
}
