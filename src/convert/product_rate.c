/* product_rate.c - how fast this machine multiplies: the limit of reading a prompt. */
#include <math.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/failure.h"
#include "base/pool.h"
#include "convert/plan_types.h"
#include "kernels/kernels.h"

enum {
    N_ROWS = 4096,
    N_COLS = 2048,
    N_TOKENS = 256,
    N_PANELS = N_ROWS / R2I_PANEL_ROWS,
    TILE_PANELS = 4
};

typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    r2i_kernels kernels;
    r2i_type layout;
    size_t panel_bytes, act_stride;
    uint8_t *panels, *act;
    float *y; /* [N_TOKENS, N_ROWS] */
} product;

static void multiply(void *context, int32_t begin, int32_t end, int32_t worker) {
    const product *p = context;
    (void)worker;
    for (int32_t tile = begin; tile < end; tile++) {
        const r2i_matmul_job job = { .panels =
                                         p->panels + (size_t)(tile * TILE_PANELS) * p->panel_bytes,
                                     .n_panels = TILE_PANELS,
                                     .n_rows = TILE_PANELS * R2I_PANEL_ROWS,
                                     .n_cols = N_COLS,
                                     .act = p->act,
                                     .act_stride = p->act_stride,
                                     .n_tokens = N_TOKENS,
                                     .y = p->y + (size_t)tile * TILE_PANELS * R2I_PANEL_ROWS,
                                     .y_stride = N_ROWS };
        p->kernels.matmul[p->layout](&job);
    }
}

/* Zeros everywhere: products take the same time whatever is multiplied. */
static r2_status take(product *p, r2_error *err) {
    static const float zeros[N_COLS];
    p->panel_bytes = r2i_panel_bytes(p->layout, N_COLS);
    const r2i_act_kind kind = r2i_act_kind_of(p->layout);
    p->act_stride = r2i_act_row_bytes(kind, N_COLS);
    p->panels = r2i_arena_push_array(&p->arena, N_PANELS, p->panel_bytes, 64);
    p->act = r2i_arena_push_array(&p->arena, N_TOKENS, p->act_stride, 64);
    p->y = r2i_arena_push_array(&p->arena, (size_t)N_TOKENS * N_ROWS, sizeof(float), 64);
    if (p->panels == NULL || p->act == NULL || p->y == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory to measure products");
    for (int32_t t = 0; t < N_TOKENS; t++)
        p->kernels.act[kind](p->act + (size_t)t * p->act_stride, zeros, N_COLS, 0, N_COLS);
    return R2_OK;
}

static double rate_of(product *p, r2i_pool *pool, int32_t n_tiles) {
    const double products = 2.0 * TILE_PANELS * R2I_PANEL_ROWS * N_COLS * N_TOKENS * n_tiles;
    const int64_t start = r2i_clock_ns();
    r2i_pool_run(pool, n_tiles, 1, multiply, p);
    return products / ((double)(r2i_clock_ns() - start) * 1e-9);
}

/* A few tiles first: where they take all the time that is given, they are the measurement. */
static double best_rate(product *p, r2i_pool *pool, double seconds) {
    const int64_t start = r2i_clock_ns(), stop = start + (int64_t)(seconds * 1e9);
    const int32_t n_all = N_PANELS / TILE_PANELS;
    double best = rate_of(p, pool, r2i_min_i32(n_all, 2 * r2i_pool_threads(pool)));
    if (r2i_clock_ns() >= stop) return best;
    for (int pass = 0; pass < 2 || r2i_clock_ns() < stop; pass++)
        best = fmax(best, rate_of(p, pool, n_all));
    return best;
}

r2_status r2_measure_products(double *out, const char *type, int32_t n_threads, double seconds,
                              r2_error *err) {
    product p = { .layout = R2I_TYPE_BF16 };
    int32_t as;
    r2i_pool *pool = NULL;
    r2i_cpu cpu;
    *out = 0;
    R2I_TRY(r2i_stored_as_find(&as, type != NULL ? type : "BF16", err));
    if (as != R2I_TYPE_F8_E4M3 && as != R2I_TYPE_F32) p.layout = (r2i_type)as;
    r2i_cpu_detect(&cpu);
    r2i_kernels_init(&p.kernels, &cpu, R2I_LEVEL_AMX);
    if (p.kernels.matmul[p.layout] == NULL) p.layout = R2I_TYPE_BF16;
    r2i_heap_init(&p.heap);
    r2i_arena_init(&p.arena, &p.heap, 1 << 20, 0);
    r2_status status = take(&p, err);
    if (status == R2_OK) {
        status = r2i_pool_create(
            &pool, n_threads > 0 ? n_threads : r2i_min_i32(r2i_cpu_count(), 256), &p.heap, err);
    }
    if (status == R2_OK) *out = best_rate(&p, pool, seconds);
    r2i_pool_destroy(pool);
    r2i_arena_destroy(&p.arena);
    return status;
}
