/* dense_product_avx512.h - the product of dense panels: tiles over tokens and panels.
 * Each file that includes it instantiates it for its kinds of panel. */
#ifndef R2I_DENSE_PRODUCT_AVX512_H
#define R2I_DENSE_PRODUCT_AVX512_H
#include "kernels/avx512/exp_avx512.h"
#include "kernels/avx512/tile_avx512.h"
#include "kernels/kernels.h"

enum {
    DENSE_TOKENS = 192,         /* rows of activations that stay in L2 beside four panels */
    DENSE_NEAR_BYTES = 4096,    /* prefetch distance inside long panels */
    DENSE_GROUP_BYTES = 1 << 17 /* shorter groups of panels prefetch the next group as a whole */
};

/* Adds bias and y to the sums c [n_tokens, TILE_COLUMNS] of rows row..row+n and stores them. */
static inline void dense_finish(const r2i_matmul_job *job, const float *c, int32_t token,
                                int32_t n_tokens, int32_t row, int32_t n) {
    for (int32_t t = 0; t < n_tokens; t++, c += TILE_COLUMNS) {
        float *y = job->y + (size_t)(token + t) * job->y_stride + row;
        for (int32_t i = 0; i < n; i += 16) {
            const __mmask16 m = lanes_avx512(n - i);
            __m512 sum = _mm512_loadu_ps(c + i);
            if (job->bias != NULL)
                sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(m, job->bias + row + i));
            if (job->is_added) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(m, y + i));
            _mm512_mask_storeu_ps(y + i, m, sum);
        }
    }
}

/* Outputs of a tile are asked for before its products, which take longer than the memory does. */
static inline void dense_fetch_outputs(const float *y, size_t y_stride, int32_t n_tokens,
                                       int32_t n) {
    for (int32_t t = 0; t < n_tokens; t++, y += y_stride) {
        for (int32_t i = 0; i < n; i += 16)
            __builtin_prefetch(y + i, 1);
    }
}

/* Products of n_panels panels from `panel` on with tokens [token, token + n_tokens). */
static inline void dense_group(const r2i_matmul_job *job, const tile_function *tiles, tile_job t,
                               int32_t panel, int32_t n_panels, int32_t token, int32_t n_tokens) {
    const int32_t row = panel * R2I_PANEL_ROWS, width = n_panels * R2I_PANEL_ROWS;
    const int32_t n = job->n_rows - row < width ? job->n_rows - row : width;
    const bool is_direct = n == width && job->bias == NULL && !job->is_added;
    float c[TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
    t.a_stride = job->act_stride;
    while (n_tokens > 0) {
        const int32_t height = tile_height(n_tokens);
        dense_fetch_outputs(job->y + (size_t)token * job->y_stride + row, job->y_stride, height, n);
        t.a = job->act + (size_t)token * job->act_stride;
        t.c = is_direct ? job->y + (size_t)token * job->y_stride + row : c;
        t.c_stride = is_direct ? job->y_stride : TILE_COLUMNS;
        tiles[height](&t);
        if (!is_direct) dense_finish(job, c, token, height, row, n);
        t.n_fetch_steps = 0; /* the first tile has brought the panels into the cache */
        token += height;
        n_tokens -= height;
    }
}

/* tiles: the table of one kind; `step_bytes` of a panel are read per step. */
static inline void dense_product(const r2i_matmul_job *job,
                                 const tile_function tiles[][TILE_ROWS + 1], int32_t n_steps,
                                 size_t step_bytes) {
    const size_t panel_bytes = (size_t)n_steps * step_bytes;
    for (int32_t token = 0; token < job->n_tokens; token += DENSE_TOKENS) {
        const int32_t left = job->n_tokens - token,
                      n_tokens = left < DENSE_TOKENS ? left : DENSE_TOKENS;
        for (int32_t panel = 0; panel < job->n_panels;) {
            const int32_t width = tile_width(job->n_panels - panel);
            const size_t group_bytes = panel_bytes * (size_t)width;
            const size_t ahead = group_bytes < DENSE_GROUP_BYTES ? group_bytes : DENSE_NEAR_BYTES;
            const uint8_t *b = job->panels + (size_t)panel * panel_bytes;
            const tile_job t = { .b = b,
                                 .b_step = step_bytes,
                                 .b_vector = panel_bytes,
                                 .n_steps = n_steps,
                                 .last = 0xffff,
                                 .n_fetch_steps = n_steps,
                                 .fetch = b + ahead,
                                 .fetch_step = step_bytes,
                                 .fetch_vector = panel_bytes };
            dense_group(job, tiles[width], t, panel, width, token, n_tokens);
            panel += width;
        }
    }
}

/* ---- both operands as panels ---- */

/* Rows [row, row + height) of one panel of A, `width` panels of B from column `column` on. */
static inline void paired_tile(const r2i_paired_job *job, tile_function tile, tile_job t,
                               int32_t row, int32_t height, int32_t column, int32_t width) {
    const int32_t n = job->n_cols - column < 16 * width ? job->n_cols - column : 16 * width;
    const bool is_direct = n == 16 * width && !job->is_added;
    float c[TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
    float *y = job->y + (size_t)row * job->y_stride + column;
    t.a = job->a + (size_t)(row / 16) * job->a_stride + 4 * (size_t)(row % 16);
    t.c = is_direct ? y : c;
    t.c_stride = is_direct ? job->y_stride : TILE_COLUMNS;
    tile(&t);
    if (is_direct) return;
    const r2i_matmul_job finish = { .y = job->y + column,
                                    .y_stride = job->y_stride,
                                    .is_added = job->is_added };
    dense_finish(&finish, c, row, height, 0, n);
}

static inline void paired_product(const r2i_paired_job *job,
                                  const tile_function tiles[][TILE_ROWS + 1], int32_t n_steps) {
    const int32_t n_panels = (job->n_cols + 15) / 16;
    for (int32_t panel = 0, width; panel < n_panels; panel += width) {
        width = tile_width(n_panels - panel);
        const tile_job t = { .b = job->b + (size_t)panel * job->b_stride,
                             .b_step = 64,
                             .b_vector = job->b_stride,
                             .n_steps = n_steps,
                             .last = 0xffff,
                             .fetch = job->b };
        for (int32_t row = 0, height; row < job->n_rows; row += height) {
            const int32_t left = job->n_rows - row, rest = 16 - row % 16;
            height = tile_height(left < rest ? left : rest);
            paired_tile(job, tiles[width][height], t, row, height, 16 * panel, width);
        }
    }
}
#endif
