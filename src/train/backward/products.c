#include "train/backward/products.h"

#include "base/checked.h"
#include "base/failure.h"

enum {
    /* Columns of the result computed at a time: eight panels, so that rows come from memory once for two
     * of the kernel's tiles. */
    TILE_COLS = 128,
    ROW_BLOCK = 1024, /* rows of the result that share one turned tile */
    PREPARE_ROWS = R2I_OPERAND_BLOCK
};

size_t r2i_products_rows_bytes(int32_t n_products, int64_t n_rows, int32_t n_wide) {
    /* Either n_rows prepared rows of n_wide columns or the other way round, each padded. */
    const size_t rows = (size_t)n_rows, out = (size_t)n_wide, pads = 128 * (size_t)n_products;
    return rows * out * sizeof(float) + pads * (rows + out) + 64;
}

r2_status r2i_products_create(r2i_products *out, const r2i_kernels *kernels, r2i_pool *pool,
                              size_t rows_bytes, r2i_arena *arena, r2_error *err) {
    const int32_t n_threads = r2i_pool_threads(pool);
    const size_t tile_bytes =
        TILE_COLS / R2I_PANEL_ROWS * r2i_panel_bytes(R2I_TYPE_F32, R2I_PRODUCT_PIECE);
    *out = (r2i_products){ .kernels = kernels, .pool = pool, .rows_bytes = rows_bytes };
    out->panels = R2I_ARENA_ARRAY(arena, uint8_t *, (size_t)n_threads);
    out->rows = r2i_arena_push_array(arena, rows_bytes, 1, 64);
    bool is_there = out->panels != NULL && out->rows != NULL;
    for (int32_t i = 0; is_there && i < n_threads; i++) {
        out->panels[i] = r2i_arena_push_array(arena, tile_bytes, 1, 64);
        is_there = out->panels[i] != NULL;
    }
    return is_there ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for backward products");
}

/* ---- items over several products ---- */

typedef struct {
    const r2i_products *context;
    const r2i_product *products;
    int32_t n;
    int32_t (*items_of)(const r2i_product *p);
    void (*run_item)(const r2i_products *context, const r2i_product *p, size_t first_byte,
                     int32_t item, int32_t worker);
    size_t (*bytes_of)(const r2i_product *p); /* of its prepared rows */
    size_t first_byte;                        /* of the first one's */
} product_region;

static void run_items(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const product_region *region = argument;
    size_t first_byte = region->first_byte;
    for (int32_t i = 0, first = 0; i < region->n && first < end; i++) {
        const r2i_product *p = &region->products[i];
        const int32_t n_items = region->items_of(p);
        for (int32_t item = r2i_max_i32(begin, first); item < r2i_min_i32(end, first + n_items);
             item++)
            region->run_item(region->context, p, first_byte, item - first, worker);
        first += n_items;
        first_byte += region->bytes_of(p);
    }
}

static void run_region(product_region *region) {
    int32_t n_items = 0;
    size_t n_bytes = region->first_byte;
    for (int32_t i = 0; i < region->n; i++) {
        n_items += region->items_of(&region->products[i]);
        n_bytes += region->bytes_of(&region->products[i]);
    }
    (void)n_bytes; /* without assertions */
    R2I_ASSERT(n_bytes <= region->context->rows_bytes);
    const int32_t n_threads = r2i_pool_threads(region->context->pool);
    const int32_t grain = r2i_max_i32(1, n_items / (n_threads * 8));
    if (n_items > 0) r2i_pool_run(region->context->pool, n_items, grain, run_items, region);
}

/* ---- dx (+)= dy W ---- */

static size_t stride_of(const r2i_product *p, int32_t n_cols) {
    return r2i_operand_stride(p->layout, n_cols);
}

static size_t element_bytes(const r2i_product *p) {
    return p->layout == R2I_TYPE_F32 ? 4 : 2;
}

static size_t input_bytes(const r2i_product *p) {
    return p->dy_made != NULL ? 0 : (size_t)p->n_rows * stride_of(p, p->n_out);
}

static int32_t prepare_items(const r2i_product *p) {
    return p->dy_made != NULL ? 0 : r2i_div_up_i32(p->n_rows, PREPARE_ROWS);
}

/* Rows [32 item, ..) of in [n_rows, n_cols], as the kernels take them. */
static void prepare_rows(const r2i_products *context, const r2i_product *p, const float *in,
                         int32_t n_cols, size_t first_byte, int32_t item) {
    const size_t stride = stride_of(p, n_cols);
    const int32_t first = item * PREPARE_ROWS, end = r2i_min_i32(first + PREPARE_ROWS, p->n_rows);
    for (int32_t row = first; row < end; row++)
        context->kernels->act[r2i_act_kind_of(p->layout)](
            context->rows + first_byte + (size_t)row * stride, in + (size_t)row * (size_t)n_cols,
            n_cols, 0, n_cols);
}

static void prepare_item(const r2i_products *context, const r2i_product *p, size_t first_byte,
                         int32_t item, int32_t worker) {
    (void)worker;
    prepare_rows(context, p, p->dy, p->n_out, first_byte, item);
}

static int32_t input_items(const r2i_product *p) {
    if (p->n_sharing == R2I_SHARES_X) return 0;
    return r2i_div_up_i32(p->n_in, TILE_COLS) * r2i_div_up_i32(p->n_rows, ROW_BLOCK);
}

/* A tile of dx (+)= one product, output features piece by piece. */
static void add_outputs(const r2i_products *context, const r2i_product *p, size_t first_byte,
                        int32_t row, int32_t column, bool is_added, uint8_t *panels) {
    const int32_t n_cols = r2i_min_i32(TILE_COLS, p->n_in - column);
    const size_t stride = stride_of(p, p->n_out), n_in = (size_t)p->n_in;
    const uint8_t *rows = p->dy_made != NULL ? p->dy_made->rows : context->rows + first_byte;
    for (int32_t o = 0; o < p->n_out; o += R2I_PRODUCT_PIECE) {
        const int32_t n = r2i_min_i32(R2I_PRODUCT_PIECE, p->n_out - o);
        context->kernels->turn_panels[p->layout](
            panels, p->weights + (size_t)o * n_in + (size_t)column, n_in, n, n_cols);
        const r2i_matmul_job job = { .panels = panels,
                                     .n_panels = r2i_div_up_i32(n_cols, R2I_PANEL_ROWS),
                                     .n_rows = n_cols,
                                     .n_cols = n,
                                     .act =
                                         rows + (size_t)row * stride + (size_t)o * element_bytes(p),
                                     .act_stride = stride,
                                     .n_tokens = r2i_min_i32(ROW_BLOCK, p->n_rows - row),
                                     .y = p->dx + (size_t)row * n_in + (size_t)column,
                                     .y_stride = n_in,
                                     .is_added = is_added || o > 0 };
        context->kernels->matmul[p->layout](&job);
    }
}

/* Columns [128 tile, ..) of dx for a block of rows, of all products that share it one after the other. */
static void input_item(const r2i_products *context, const r2i_product *p, size_t first_byte,
                       int32_t item, int32_t worker) {
    const int32_t n_tiles = r2i_div_up_i32(p->n_in, TILE_COLS);
    const int32_t column = item % n_tiles * TILE_COLS, row = item / n_tiles * ROW_BLOCK;
    for (int32_t i = 0; i <= p->n_sharing; first_byte += input_bytes(&p[i++]))
        add_outputs(context, &p[i], first_byte, row, column, p->is_added || i > 0,
                    context->panels[worker]);
}

void r2i_products_inputs(const r2i_products *context, const r2i_product *products, int32_t n) {
    product_region region = { .context = context,
                              .products = products,
                              .n = n,
                              .items_of = prepare_items,
                              .run_item = prepare_item,
                              .bytes_of = input_bytes };
    run_region(&region);
    region.items_of = input_items;
    region.run_item = input_item;
    run_region(&region);
}

/* ---- y = x W^T ---- */

static size_t output_bytes(const r2i_product *p) {
    return (size_t)p->n_rows * stride_of(p, p->n_in);
}

static void prepare_output_item(const r2i_products *context, const r2i_product *p,
                                size_t first_byte, int32_t item, int32_t worker) {
    (void)worker;
    prepare_rows(context, p, p->x, p->n_in, first_byte, item);
}

static int32_t output_items(const r2i_product *p) {
    return r2i_div_up_i32(p->n_out, TILE_COLS);
}

/* Panels of rows [first, first + n) of W, columns [column, column + n_cols). */
static void pack_rows(const r2i_products *context, const r2i_product *p, int32_t first, int32_t n,
                      int32_t column, int32_t n_cols, uint8_t *panels) {
    for (int32_t r = 0; r < n; r += R2I_PANEL_ROWS) {
        const uint8_t *rows[R2I_PANEL_ROWS] = { NULL };
        for (int32_t i = 0; i < R2I_PANEL_ROWS && r + i < n; i++)
            rows[i] = (const uint8_t *)(p->weights + (size_t)(first + r + i) * (size_t)p->n_in +
                                        (size_t)column);
        context->kernels->pack[p->layout](panels + (size_t)(r / R2I_PANEL_ROWS) *
                                                       r2i_panel_bytes(p->layout, n_cols),
                                          R2I_TYPE_F32, rows, n_cols);
    }
}

static void output_item(const r2i_products *context, const r2i_product *p, size_t first_byte,
                        int32_t item, int32_t worker) {
    const int32_t row = item * TILE_COLS, n_rows = r2i_min_i32(TILE_COLS, p->n_out - row);
    const size_t stride = stride_of(p, p->n_in);
    for (int32_t c = 0; c < p->n_in; c += R2I_PRODUCT_PIECE) {
        const int32_t n = r2i_min_i32(R2I_PRODUCT_PIECE, p->n_in - c);
        pack_rows(context, p, row, n_rows, c, n, context->panels[worker]);
        const r2i_matmul_job job = { .panels = context->panels[worker],
                                     .n_panels = r2i_div_up_i32(n_rows, R2I_PANEL_ROWS),
                                     .n_rows = n_rows,
                                     .n_cols = n,
                                     .act =
                                         context->rows + first_byte + (size_t)c * element_bytes(p),
                                     .act_stride = stride,
                                     .n_tokens = p->n_rows,
                                     .y = p->y + row,
                                     .y_stride = (size_t)p->n_out,
                                     .is_added = c > 0 };
        context->kernels->matmul[p->layout](&job);
    }
}

void r2i_products_outputs(const r2i_products *context, const r2i_product *product) {
    product_region region = { .context = context,
                              .products = product,
                              .n = 1,
                              .items_of = prepare_items,
                              .run_item = prepare_output_item,
                              .bytes_of = output_bytes };
    run_region(&region);
    region.items_of = output_items;
    region.run_item = output_item;
    run_region(&region);
}

/* ---- gradient += dy^T x ---- */

static bool is_wanted(const r2i_product *p) {
    return p->n_rows > 0 && p->gradient != NULL;
}

static size_t weight_bytes(const r2i_product *p) {
    return is_wanted(p) && p->dy_made == NULL ? (size_t)p->n_out * stride_of(p, p->n_rows) : 0;
}

static int32_t turn_items(const r2i_product *p) {
    return weight_bytes(p) == 0 ? 0 : r2i_div_up_i32(p->n_out, PREPARE_ROWS);
}

static void turn_item(const r2i_products *context, const r2i_product *p, size_t first_byte,
                      int32_t item, int32_t worker) {
    const size_t stride = stride_of(p, p->n_rows);
    const int32_t first = item * PREPARE_ROWS;
    (void)worker;
    context->kernels->turn_rows[r2i_act_kind_of(p->layout)](
        context->rows + first_byte + (size_t)first * stride, stride, p->dy + first,
        (size_t)p->n_out, p->n_rows, r2i_min_i32(PREPARE_ROWS, p->n_out - first));
}

/* Rows of all gradients that share x; none of one that shares another's. */
static int32_t sharing_rows(const r2i_product *p) {
    int32_t n = 0;
    for (int32_t i = 0; i <= p->n_sharing; i++)
        n += is_wanted(&p[i]) ? p[i].n_out : 0;
    return n;
}

static int32_t weight_items(const r2i_product *p) {
    return r2i_div_up_i32(p->n_in, TILE_COLS) * r2i_div_up_i32(sharing_rows(p), ROW_BLOCK);
}

/* Part of the rows of a gradient, columns [column, column + n_cols). */
typedef struct {
    int32_t row, n_rows, column, n_cols;
} gradient_tile;

/* A tile += tokens [t, t + n), whose panels are there. */
static void add_tokens(const r2i_products *context, const r2i_product *p, const uint8_t *panels,
                       size_t first_byte, const gradient_tile *tile, int32_t t, int32_t n) {
    const size_t stride = stride_of(p, p->n_rows), n_in = (size_t)p->n_in;
    const uint8_t *turned = p->dy_made != NULL ? p->dy_made->turned : context->rows + first_byte;
    const r2i_matmul_job job = { .panels = panels,
                                 .n_panels = r2i_div_up_i32(tile->n_cols, R2I_PANEL_ROWS),
                                 .n_rows = tile->n_cols,
                                 .n_cols = n,
                                 .act = turned + (size_t)tile->row * stride +
                                        (size_t)t * element_bytes(p),
                                 .act_stride = stride,
                                 .n_tokens = tile->n_rows,
                                 .y = p->gradient + (size_t)tile->row * n_in + tile->column,
                                 .y_stride = n_in,
                                 .is_added = true };
    context->kernels->matmul[p->layout](&job);
}

/* Panels of a tile's columns of x, tokens [t, t + n). */
static const uint8_t *x_panels(const r2i_products *context, const r2i_product *p,
                               const gradient_tile *tile, int32_t t, int32_t n, int32_t worker) {
    if (p->x_made != NULL) return r2i_operand_panels(p->x_made, t, n, tile->column);
    context->kernels->turn_panels[p->layout](
        context->panels[worker], p->x + (size_t)t * (size_t)p->n_in + (size_t)tile->column,
        (size_t)p->n_in, n, tile->n_cols);
    return context->panels[worker];
}

/* A tile of columns of a block of rows of the gradients that share x, one below the other; tokens piece
 * by piece. */
static void weight_item(const r2i_products *context, const r2i_product *p, size_t first_byte,
                        int32_t item, int32_t worker) {
    const int32_t n_tiles = r2i_div_up_i32(p->n_in, TILE_COLS), begin = item / n_tiles * ROW_BLOCK;
    gradient_tile tile = { .column = item % n_tiles * TILE_COLS };
    tile.n_cols = r2i_min_i32(TILE_COLS, p->n_in - tile.column);
    for (int32_t t = 0; t < p->n_rows; t += R2I_PRODUCT_PIECE) {
        const int32_t n = r2i_min_i32(R2I_PRODUCT_PIECE, p->n_rows - t);
        const uint8_t *panels = x_panels(context, p, &tile, t, n, worker);
        size_t at = first_byte;
        for (int32_t i = 0, first = 0; i <= p->n_sharing; at += weight_bytes(&p[i++])) {
            if (!is_wanted(&p[i])) continue;
            tile.row = r2i_max_i32(0, begin - first);
            tile.n_rows = r2i_min_i32(p[i].n_out, begin + ROW_BLOCK - first) - tile.row;
            if (tile.n_rows > 0) add_tokens(context, &p[i], panels, at, &tile, t, n);
            first += p[i].n_out;
        }
    }
}

void r2i_products_weights(const r2i_products *context, const r2i_product *products, int32_t n) {
    product_region region = { .context = context,
                              .products = products,
                              .n = n,
                              .items_of = turn_items,
                              .run_item = turn_item,
                              .bytes_of = weight_bytes };
    run_region(&region);
    region.items_of = weight_items;
    region.run_item = weight_item;
    run_region(&region);
}

/* ---- both, of one dy ---- */

enum { SCRATCH_FLOATS = TILE_COLS * R2I_PRODUCT_PIECE }; /* of context->panels[worker], F32 */

/* A few rows at a time: as many as the worker's memory takes, in pairs as panels do. */
void r2i_products_take_x(const r2i_products *context, const r2i_operand *operand, const float *x,
                         const float *norm, float eps, int32_t row, int32_t n, int32_t worker) {
    const int32_t n_cols = operand->n_cols;
    const size_t stride = (size_t)n_cols;
    const int32_t n_fitting = r2i_min_i32(n, SCRATCH_FLOATS / n_cols / 2 * 2);
    float *normed = (float *)(void *)context->panels[worker];
    if (norm == NULL) {
        r2i_operand_fill(context->kernels, operand, x + (size_t)row * stride, stride, row, n, 0,
                         n_cols);
        return;
    }
    for (int32_t first = 0; first < n; first += n_fitting) {
        const int32_t m = r2i_min_i32(n_fitting, n - first);
        for (int32_t i = 0; i < m; i++)
            context->kernels->rmsnorm(normed + (size_t)i * stride,
                                      x + (size_t)(row + first + i) * stride, norm, n_cols, eps);
        r2i_operand_fill(context->kernels, operand, normed, stride, row + first, m, 0, n_cols);
    }
}

typedef struct {
    const r2i_products *context;
    const r2i_product *products;
    int32_t n;
    const r2i_operand *dy; /* [n] */
    const r2i_operand *x;
    const float *norm;
    float eps;
} both_region;

static void take_blocks(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const both_region *region = argument;
    for (int32_t block = begin; block < end; block++) {
        const r2i_product *p = region->products;
        const int32_t row = block * R2I_OPERAND_BLOCK,
                      n = r2i_min_i32(R2I_OPERAND_BLOCK, p->n_rows - row);
        for (int32_t i = 0; i < region->n; i++) {
            const size_t n_out = (size_t)p[i].n_out;
            r2i_operand_fill(region->context->kernels, &region->dy[i],
                             p[i].dy + (size_t)row * n_out, n_out, row, n, 0, p[i].n_out);
        }
        if (region->x->panels != NULL)
            r2i_products_take_x(region->context, region->x, p->x, region->norm, region->eps, row, n,
                                worker);
    }
}

static void backward_plain(const r2i_products *context, const r2i_product *products, int32_t n) {
    r2i_products_weights(context, products, n);
    if (products->dx != NULL) r2i_products_inputs(context, products, n);
}

void r2i_products_backward(const r2i_products *context, const r2i_product *products, int32_t n,
                           const float *norm, float eps) {
    r2i_product made[R2I_MAX_PRODUCTS];
    r2i_operand dy[R2I_MAX_PRODUCTS], x;
    uint8_t *at = context->rows;
    bool has_weights = false;
    R2I_ASSERT(n <= R2I_MAX_PRODUCTS && (norm == NULL || products->layout == R2I_TYPE_BF16));
    if (products->layout != R2I_TYPE_BF16) {
        backward_plain(context, products, n);
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        const r2i_product *p = &products[i];
        const unsigned forms =
            (p->dx != NULL ? R2I_OPERAND_ROWS : 0u) | (is_wanted(p) ? R2I_OPERAND_TURNED : 0u);
        dy[i] = r2i_operand_place(&at, p->n_rows, p->n_out, forms);
        has_weights = has_weights || is_wanted(p);
        made[i] = *p;
        made[i].dy_made = &dy[i];
        made[i].x_made = &x;
    }
    x = r2i_operand_place(&at, products->n_rows, products->n_in,
                          has_weights ? R2I_OPERAND_PANELS : 0u);
    R2I_ASSERT((size_t)(at - context->rows) <= context->rows_bytes);
    both_region both = { context, products, n, dy, &x, norm, eps };
    r2i_pool_run(context->pool, r2i_div_up_i32(products->n_rows, R2I_OPERAND_BLOCK), 1, take_blocks,
                 &both);
    backward_plain(context, made, n);
}
