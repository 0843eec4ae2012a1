#include "train/lora/frozen_products.h"

#include "base/checked.h"
#include "base/failure.h"

enum {
    TILE_COLS = 64,   /* columns of dx computed at a time: four panels */
    ROW_BLOCK = 2048, /* rows of dx that share a tile's panels, or where tiles are few: */
    FEW_TILES = 4,
    FEW_ROWS = 128,
    PREPARE_ROWS = 32, /* rows of dy, or of W, made ready at a time */
    PART_COLS = 256,   /* columns of W turned at a time: whole blocks of every type */
    ROOM_BYTES = 16 << 20
};

r2_status r2i_frozen_products_create(r2i_frozen_products *out, const r2i_products *products,
                                     int32_t n_wide, r2i_arena *arena, r2_error *err) {
    const int32_t n_threads = r2i_pool_threads(products->pool);
    const size_t piece_bytes = (size_t)r2i_div_up_i32(n_wide, R2I_PANEL_ROWS) *
                               r2i_panel_bytes(R2I_TYPE_F32, R2I_PRODUCT_PIECE);
    r2i_taker t = { arena, false };
    *out = (r2i_frozen_products){ .products = products,
                                  .panels_bytes = r2i_max_size(ROOM_BYTES, piece_bytes) };
    out->panels = r2i_take(&t, out->panels_bytes, 1);
    out->values = r2i_take(&t, (size_t)n_threads, sizeof *out->values);
    for (int32_t i = 0; !t.has_failed && i < n_threads; i++)
        out->values[i] = r2i_take_floats(&t, PREPARE_ROWS, PART_COLS);
    return t.has_failed ? r2i_fail(err, R2_E_NOMEM, "no memory for panels of frozen matrices")
                        : R2_OK;
}

/* One product, some of its pieces. */
typedef struct {
    const r2i_frozen_products *context;
    const r2i_frozen_product *p;
    size_t dy_stride, low_stride; /* of prepared rows */
    uint8_t *dy, *low;            /* prepared rows [n_rows] */
    int32_t first, end;           /* rows of W whose panels are in the room */
    int32_t row_block;            /* rows of a tile of dx */
} frozen_region;

static int32_t n_panels_of(const r2i_frozen_product *p) {
    return r2i_div_up_i32(p->matrix->n_cols, R2I_PANEL_ROWS);
}

/* ---- rows of dy and of the pair ---- */

static void prepare_rows(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const frozen_region *region = argument;
    const r2i_frozen_product *p = region->p;
    const int32_t n_out = p->matrix->n_rows;
    const r2i_act_kind kind = r2i_act_kind_of(p->layout);
    const r2i_kernels *kernels = region->context->products->kernels;
    (void)worker;
    for (size_t row = (size_t)begin; row < (size_t)end; row++) {
        if (!p->is_prepared)
            kernels->act[kind](region->dy + row * region->dy_stride, p->dy + row * (size_t)n_out,
                               n_out, 0, n_out);
        if (p->rank > 0)
            kernels->act[kind](region->low + row * region->low_stride,
                               p->g_low + row * (size_t)p->rank, p->rank, 0, p->rank);
    }
}

/* ---- panels of W transposed: item = rows x columns ---- */

/* Panels of a piece lie one behind the other, pieces too. */
static uint8_t *panel_at(const frozen_region *region, int32_t row, int32_t column) {
    const r2i_frozen_product *p = region->p;
    const int32_t piece = (row - region->first) / R2I_PRODUCT_PIECE * R2I_PRODUCT_PIECE,
                  n = r2i_min_i32(R2I_PRODUCT_PIECE, region->end - region->first - piece);
    return region->context->panels + (size_t)n_panels_of(p) * r2i_panel_bytes(p->layout, piece) +
           (size_t)(column / R2I_PANEL_ROWS) * r2i_panel_bytes(p->layout, n) +
           r2i_panel_bytes(p->layout, row - region->first - piece);
}

static void turn_part(const frozen_region *region, int32_t row, int32_t column, float *values) {
    const r2i_frozen_product *p = region->p;
    const r2i_kernels *kernels = region->context->products->kernels;
    const int32_t n_rows = r2i_min_i32(PREPARE_ROWS, region->end - row),
                  n_cols = r2i_min_i32(PART_COLS, p->matrix->n_cols - column);
    for (int32_t r = 0; r < n_rows; r++)
        r2i_matrix_read_part(p->matrix, kernels, row + r, column, n_cols,
                             values + (size_t)r * PART_COLS);
    for (int32_t c = 0; c < n_cols; c += R2I_PANEL_ROWS)
        kernels->turn_panels[p->layout](panel_at(region, row, column + c), values + c, PART_COLS,
                                        n_rows, r2i_min_i32(R2I_PANEL_ROWS, n_cols - c));
}

static void turn_parts(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const frozen_region *region = argument;
    const int32_t n_across = r2i_div_up_i32(region->p->matrix->n_cols, PART_COLS);
    for (int32_t item = begin; item < end; item++)
        turn_part(region, region->first + item / n_across * PREPARE_ROWS,
                  item % n_across * PART_COLS, region->context->values[worker]);
}

/* ---- dx: item = tile of columns x rows ---- */

static void add_pair(const frozen_region *region, int32_t row, int32_t n_rows, int32_t column,
                     int32_t n_cols, int32_t worker) {
    const r2i_frozen_product *p = region->p;
    const r2i_products *products = region->context->products;
    const size_t n_in = (size_t)p->matrix->n_cols;
    uint8_t *panels = products->panels[worker];
    products->kernels->turn_panels[p->layout](panels, p->a + column, n_in, p->rank, n_cols);
    const r2i_matmul_job job = { .panels = panels,
                                 .n_panels = r2i_div_up_i32(n_cols, R2I_PANEL_ROWS),
                                 .n_rows = n_cols,
                                 .n_cols = p->rank,
                                 .act = region->low + (size_t)row * region->low_stride,
                                 .act_stride = region->low_stride,
                                 .n_tokens = n_rows,
                                 .y = p->dx + (size_t)row * n_in + (size_t)column,
                                 .y_stride = n_in,
                                 .is_added = true };
    products->kernels->matmul[p->layout](&job);
}

static void multiply_tile(const frozen_region *region, int32_t row, int32_t column,
                          int32_t worker) {
    const r2i_frozen_product *p = region->p;
    const size_t n_in = (size_t)p->matrix->n_cols, element = p->layout == R2I_TYPE_F32 ? 4 : 2;
    const int32_t n_cols = r2i_min_i32(TILE_COLS, p->matrix->n_cols - column),
                  n_rows = r2i_min_i32(region->row_block, p->n_rows - row);
    for (int32_t o = region->first; o < region->end; o += R2I_PRODUCT_PIECE) {
        const r2i_matmul_job job = { .panels = panel_at(region, o, column),
                                     .n_panels = r2i_div_up_i32(n_cols, R2I_PANEL_ROWS),
                                     .n_rows = n_cols,
                                     .n_cols = r2i_min_i32(R2I_PRODUCT_PIECE, region->end - o),
                                     .act = region->dy + (size_t)row * region->dy_stride +
                                            (size_t)o * element,
                                     .act_stride = region->dy_stride,
                                     .n_tokens = n_rows,
                                     .y = p->dx + (size_t)row * n_in + (size_t)column,
                                     .y_stride = n_in,
                                     .is_added = p->is_added || o > 0 };
        region->context->products->kernels->matmul[p->layout](&job);
    }
    if (p->rank > 0 && region->end == p->matrix->n_rows)
        add_pair(region, row, n_rows, column, n_cols, worker);
}

static void multiply_tiles(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const frozen_region *region = argument;
    const int32_t n_tiles = r2i_div_up_i32(region->p->matrix->n_cols, TILE_COLS);
    for (int32_t item = begin; item < end; item++)
        multiply_tile(region, item / n_tiles * region->row_block, item % n_tiles * TILE_COLS,
                      worker);
}

/* ---- all of it ---- */

void r2i_frozen_inputs(const r2i_frozen_products *context, const r2i_frozen_product *p) {
    const r2i_products *products = context->products;
    const r2i_act_kind kind = r2i_act_kind_of(p->layout);
    const r2i_matrix *m = p->matrix;
    const size_t dy_stride = r2i_act_row_bytes(kind, m->n_rows), n_rows = (size_t)p->n_rows;
    frozen_region region = { .context = context,
                             .p = p,
                             .dy_stride = dy_stride,
                             .low_stride = r2i_act_row_bytes(kind, p->rank),
                             .dy = products->rows,
                             .low = products->rows + n_rows * dy_stride };
    if (p->n_rows == 0) return;
    R2I_ASSERT(n_rows * (dy_stride + region.low_stride) <= products->rows_bytes);
    if (!p->is_prepared || p->rank > 0)
        r2i_pool_run(products->pool, p->n_rows, PREPARE_ROWS, prepare_rows, &region);
    const size_t piece_bytes =
        (size_t)n_panels_of(p) * r2i_panel_bytes(p->layout, R2I_PRODUCT_PIECE);
    const int32_t group = (int32_t)(context->panels_bytes / piece_bytes) * R2I_PRODUCT_PIECE;
    const int32_t n_across = r2i_div_up_i32(m->n_cols, TILE_COLS);
    region.row_block = n_across < FEW_TILES ? FEW_ROWS : ROW_BLOCK;
    const int32_t n_tiles = n_across * r2i_div_up_i32(p->n_rows, region.row_block);
    for (region.first = 0; region.first < m->n_rows; region.first = region.end) {
        region.end = r2i_min_i32(region.first + group, m->n_rows);
        r2i_pool_run(products->pool,
                     r2i_div_up_i32(region.end - region.first, PREPARE_ROWS) *
                         r2i_div_up_i32(m->n_cols, PART_COLS),
                     1, turn_parts, &region);
        r2i_pool_run(products->pool, n_tiles, 1, multiply_tiles, &region);
    }
}
