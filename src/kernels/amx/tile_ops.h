/* tile_ops.h - the tile instructions, and a plain C twin of them.
 *
 * A function that uses tiles owns a `tile_state` and passes it to every operation.  On hardware the
 * state is empty; with R2I_AMX_EMULATE it holds the eight tiles, so that all code around the
 * instructions is tested on machines without them.  Tile numbers are literals 0..7.
 *
 * The twin traps where the processor would fault: shapes that do not fit. */
#ifndef R2I_TILE_OPS_H
#define R2I_TILE_OPS_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TILE_MAX_ROWS = 16, TILE_ROW_BYTES = 64, N_TILES = 8 };

/* What ldtilecfg reads. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t n_rows[16];
} tile_shapes;

static inline void tile_shape_set(tile_shapes *s, int tile, int n_rows, int row_bytes) {
    s->palette = 1;
    s->n_rows[tile] = (uint8_t)n_rows;
    s->row_bytes[tile] = (uint16_t)row_bytes;
}

#if !defined(R2I_AMX_EMULATE)
#include <immintrin.h>

typedef struct {
    char unused;
} tile_state;

/* gcc's tile loads do not say that they read memory behind the pointer: what was stored there must
 * be finished before, and what they store must not be thought unchanged. */
#define TILE_FENCE(base) __asm__ volatile("" : : "r"(base) : "memory")
#define TILE_STATEMENT(state, instruction) \
    do {                                   \
        (void)(state);                     \
        instruction;                       \
    } while (0)
#define TILE_MEMORY(state, base, instruction) \
    do {                                      \
        (void)(state);                        \
        TILE_FENCE(base);                     \
        instruction;                          \
        TILE_FENCE(base);                     \
    } while (0)

#define tile_configure(state, shapes) TILE_MEMORY(state, shapes, _tile_loadconfig(shapes))
#define tile_finish(state) TILE_STATEMENT(state, _tile_release())
#define tile_clear(state, tile) TILE_STATEMENT(state, _tile_zero(tile))
#define tile_load(state, tile, base, stride) \
    TILE_MEMORY(state, base, _tile_loadd(tile, base, stride))
#define tile_store(state, tile, base, stride) \
    TILE_MEMORY(state, base, _tile_stored(tile, base, stride))
/* c += a * b: signed bytes of a, unsigned bytes of b; and pairs of BF16. */
#define tile_dot_bytes(state, c, a, b) TILE_STATEMENT(state, _tile_dpbsud(c, a, b))
#define tile_dot_bf16(state, c, a, b) TILE_STATEMENT(state, _tile_dpbf16ps(c, a, b))

#else

typedef struct {
    tile_shapes shapes;
    uint8_t tile[N_TILES][TILE_MAX_ROWS][TILE_ROW_BYTES];
} tile_state;

static inline void tile_demand(int is_true) {
    if (!is_true) __builtin_trap();
}

static inline void tile_configure(tile_state *s, const tile_shapes *shapes) {
    memset(s, 0, sizeof *s);
    s->shapes = *shapes;
    tile_demand(shapes->palette == 1 && shapes->start_row == 0);
    for (int i = 0; i < 16; i++) {
        const int n_rows = shapes->n_rows[i], n_bytes = shapes->row_bytes[i];
        tile_demand((n_rows == 0) == (n_bytes == 0) && n_rows <= TILE_MAX_ROWS &&
                    n_bytes <= TILE_ROW_BYTES);
        tile_demand(i < N_TILES || n_rows == 0);
    }
}
static inline void tile_finish(tile_state *s) { memset(s, 0, sizeof *s); }

static inline void tile_clear(tile_state *s, int tile) {
    tile_demand(s->shapes.n_rows[tile] > 0);
    memset(s->tile[tile], 0, sizeof s->tile[tile]);
}
static inline void tile_load(tile_state *s, int tile, const void *base, size_t stride) {
    tile_clear(s, tile);
    for (size_t r = 0; r < s->shapes.n_rows[tile]; r++) {
        memcpy(s->tile[tile][r], (const uint8_t *)base + r * stride, s->shapes.row_bytes[tile]);
    }
}
static inline void tile_store(const tile_state *s, int tile, void *base, size_t stride) {
    tile_demand(s->shapes.n_rows[tile] > 0);
    for (size_t r = 0; r < s->shapes.n_rows[tile]; r++) {
        memcpy((uint8_t *)base + r * stride, s->tile[tile][r], s->shapes.row_bytes[tile]);
    }
}

static inline void tile_demand_fit(const tile_state *s, int c, int a, int b) {
    const uint8_t *rows = s->shapes.n_rows;
    const uint16_t *bytes = s->shapes.row_bytes;
    tile_demand(rows[c] > 0 && rows[c] == rows[a] && bytes[c] == bytes[b] &&
                bytes[a] == 4 * rows[b]);
    tile_demand(c != a && c != b && a != b);
}

static inline void tile_dot_bytes(tile_state *s, int c, int a, int b) {
    tile_demand_fit(s, c, a, b);
    for (int m = 0; m < s->shapes.n_rows[c]; m++) {
        for (int n = 0; n < s->shapes.row_bytes[c] / 4; n++) {
            int32_t sum;
            memcpy(&sum, s->tile[c][m] + 4 * n, 4);
            for (int k = 0; k < s->shapes.row_bytes[a]; k++) {
                sum += (int8_t)s->tile[a][m][k] * s->tile[b][k / 4][4 * n + k % 4];
            }
            memcpy(s->tile[c][m] + 4 * n, &sum, 4);
        }
    }
}

static inline float tile_bf16_at(const uint8_t *p) {
    const uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Even and odd members of pairs are summed apart over the whole tile, then added. */
static inline void tile_dot_bf16(tile_state *s, int c, int a, int b) {
    tile_demand_fit(s, c, a, b);
    for (int m = 0; m < s->shapes.n_rows[c]; m++) {
        for (int n = 0; n < s->shapes.row_bytes[c] / 4; n++) {
            float sum, part[2] = { 0.0F, 0.0F };
            memcpy(&sum, s->tile[c][m] + 4 * n, 4);
            for (int k = 0; k < s->shapes.row_bytes[a] / 2; k++) {
                const float x = tile_bf16_at(s->tile[a][m] + 2 * k);
                const float w = tile_bf16_at(s->tile[b][k / 2] + 4 * n + k % 2 * 2);
                part[k % 2] = __builtin_fmaf(x, w, part[k % 2]);
            }
            sum += part[0] + part[1];
            memcpy(s->tile[c][m] + 4 * n, &sum, 4);
        }
    }
}
#endif
#endif
