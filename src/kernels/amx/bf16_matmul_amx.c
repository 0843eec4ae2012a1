/* bf16_matmul_amx.c - BF16 panels times BF16 rows by tiles.
 *
 * 32 columns of a panel are a B tile as they lie (16 pairs of 64 bytes), 32 columns of up to 16
 * activation rows an A tile, and the sums stay in C tiles over all columns.  The instruction rounds
 * in its own order (even and odd members of pairs apart, over 32 columns at a time), so tiles serve
 * every number of tokens, 1 too: that order depends on columns alone.  The last columns of a row
 * whose length is not a multiple of 32 are filled up with zeros. */
#include "kernels/amx/amx_parts.h"
#include "kernels/amx/panel_store_amx.h"
#include "kernels/amx/tile_ops.h"

enum {
    TILE_COLUMNS = 32,
    STEP_TOKENS = 2 * TILE_MAX_ROWS,
    BLOCK_TOKENS = 128, /* rows of activations that stay in L2 */
    TILE_BYTES = TILE_MAX_ROWS * TILE_ROW_BYTES,
    AHEAD_BYTES = 4096
};

/* One or two panels times one or two tiles of tokens. */
typedef struct {
    const uint8_t *panel[2]; /* the second may equal the first: its sums are not stored */
    const uint8_t *rows[2];
    size_t row_stride;
    int32_t n_panels, n_low, n_high;
    int32_t n_pairs; /* of columns */
    bool is_first;   /* the panels come from memory */
} bf16_step;

typedef struct {
    const uint8_t *b[2], *a[2];
    size_t a_stride;
} bf16_operands;

/* C tiles 0..3 = [token tile][panel] += A tiles 4, 5 times B tiles 6, 7. */
static inline void multiply_tiles(tile_state *tiles, const bf16_operands *at, const bf16_step *s) {
    tile_load(tiles, 6, at->b[0], TILE_ROW_BYTES);
    tile_load(tiles, 4, at->a[0], at->a_stride);
    tile_dot_bf16(tiles, 0, 4, 6);
    if (s->n_panels > 1) {
        tile_load(tiles, 7, at->b[1], TILE_ROW_BYTES);
        tile_dot_bf16(tiles, 1, 4, 7);
    }
    if (s->n_high > 0) {
        tile_load(tiles, 5, at->a[1], at->a_stride);
        tile_dot_bf16(tiles, 2, 5, 6);
        if (s->n_panels > 1) tile_dot_bf16(tiles, 3, 5, 7);
    }
}

/* The last n_pairs < 16 pairs, filled up with zeros. */
static void multiply_rest(tile_state *tiles, const bf16_operands *at, const bf16_step *s,
                          int32_t n_pairs) {
    _Alignas(64) uint8_t b[2][TILE_BYTES] = { { 0 } }, a[2][TILE_BYTES] = { { 0 } };
    const bf16_operands rest = { { b[0], b[1] }, { a[0], a[1] }, TILE_ROW_BYTES };
    const int32_t n_tokens[2] = { s->n_low, s->n_high };
    for (int32_t p = 0; p < s->n_panels; p++)
        memcpy(b[p], at->b[p], TILE_ROW_BYTES * (size_t)n_pairs);
    for (int i = 0; i < 2; i++) {
        for (int32_t t = 0; t < n_tokens[i]; t++) {
            memcpy(a[i] + TILE_ROW_BYTES * t, at->a[i] + (size_t)t * at->a_stride,
                   4 * (size_t)n_pairs);
        }
    }
    multiply_tiles(tiles, &rest, s);
}

/* sums [panel][token][16] */
static void run_step(tile_state *tiles, const bf16_step *s,
                     float sums[2][STEP_TOKENS][R2I_PANEL_ROWS]) {
    bf16_operands at = { { s->panel[0], s->panel[1] }, { s->rows[0], s->rows[1] }, s->row_stride };
    tile_clear(tiles, 0);
    tile_clear(tiles, 1);
    if (s->n_high > 0) {
        tile_clear(tiles, 2);
        tile_clear(tiles, 3);
    }
    int32_t pair = 0;
    for (; pair + TILE_MAX_ROWS <= s->n_pairs; pair += TILE_MAX_ROWS) {
        for (int i = 0; s->is_first && i < TILE_BYTES; i += TILE_ROW_BYTES) {
            _mm_prefetch((const char *)at.b[0] + AHEAD_BYTES + i, _MM_HINT_T0);
            _mm_prefetch((const char *)at.b[1] + AHEAD_BYTES + i, _MM_HINT_T0);
        }
        multiply_tiles(tiles, &at, s);
        for (int i = 0; i < 2; i++) {
            at.b[i] += TILE_BYTES;
            at.a[i] += TILE_ROW_BYTES;
        }
    }
    if (pair < s->n_pairs) multiply_rest(tiles, &at, s, s->n_pairs - pair);
    tile_store(tiles, 0, sums[0][0], TILE_ROW_BYTES);
    tile_store(tiles, 1, sums[1][0], TILE_ROW_BYTES);
    if (s->n_high > 0) {
        tile_store(tiles, 2, sums[0][TILE_MAX_ROWS], TILE_ROW_BYTES);
        tile_store(tiles, 3, sums[1][TILE_MAX_ROWS], TILE_ROW_BYTES);
    }
}

static void shape_tiles(tile_state *tiles, const bf16_step *s) {
    tile_shapes shapes = { .palette = 1 };
    for (int i = 0; i < 2; i++) {
        tile_shape_set(&shapes, i, s->n_low, TILE_ROW_BYTES);
        if (s->n_high > 0) tile_shape_set(&shapes, 2 + i, s->n_high, TILE_ROW_BYTES);
        tile_shape_set(&shapes, 6 + i, TILE_MAX_ROWS, TILE_ROW_BYTES);
    }
    tile_shape_set(&shapes, 4, s->n_low, TILE_ROW_BYTES);
    if (s->n_high > 0) tile_shape_set(&shapes, 5, s->n_high, TILE_ROW_BYTES);
    tile_configure(tiles, &shapes);
}

/* Tokens [first, end) times one or two panels; `shaped` remembers what the tiles are shaped for. */
static void run_tokens(const r2i_matmul_job *job, bf16_step *s, int32_t panel, int32_t first,
                       int32_t end, tile_state *tiles, bf16_step *shaped) {
    _Alignas(64) float sums[2][STEP_TOKENS][R2I_PANEL_ROWS];
    for (int32_t t = first; t < end; t += STEP_TOKENS) {
        const int32_t n = end - t < STEP_TOKENS ? end - t : STEP_TOKENS;
        s->n_low = n < TILE_MAX_ROWS ? n : TILE_MAX_ROWS;
        s->n_high = n - s->n_low;
        s->rows[0] = job->act + (size_t)t * job->act_stride;
        s->rows[1] = s->n_high > 0 ? s->rows[0] + TILE_MAX_ROWS * job->act_stride : s->rows[0];
        s->is_first = t == 0;
        if (s->n_low != shaped->n_low || s->n_high != shaped->n_high) {
            shape_tiles(tiles, s);
            *shaped = *s;
        }
        run_step(tiles, s, sums);
        for (int32_t p = 0; p < s->n_panels; p++)
            store_panel(job, sums[p][0], panel + p, t, n);
    }
}

static void matmul_bf16(const r2i_matmul_job *job) {
    const size_t panel_bytes = r2i_panel_bytes(R2I_TYPE_BF16, job->n_cols);
    bf16_step s = { .row_stride = job->act_stride, .n_pairs = (job->n_cols + 1) / 2 },
              shaped = { .n_low = 0 };
    tile_state tiles;
    for (int32_t t = 0; t < job->n_tokens; t += BLOCK_TOKENS) {
        const int32_t end = job->n_tokens - t < BLOCK_TOKENS ? job->n_tokens : t + BLOCK_TOKENS;
        for (int32_t p = 0; p < job->n_panels; p += 2) {
            s.n_panels = job->n_panels - p < 2 ? 1 : 2;
            s.panel[0] = job->panels + (size_t)p * panel_bytes;
            s.panel[1] = s.n_panels > 1 ? s.panel[0] + panel_bytes : s.panel[0];
            run_tokens(job, &s, p, t, end, &tiles, &shaped);
        }
    }
    if (job->n_tokens > 0) tile_finish(&tiles);
}

void r2i_amx_add_bf16(r2i_kernels *kernels) { kernels->matmul[R2I_TYPE_BF16] = matmul_bf16; }
