/* quant_matmul_amx.c - quantized panels times int8 rows by tiles.
 *
 * The eight code vectors of 32 columns of a panel are a B tile as they are (8 rows of 64 bytes),
 * and 32 columns of up to 16 activation rows an A tile; the C tile is the exact int32 sums of 16
 * tokens x 16 rows.  Types with a scale per 16 columns use tiles of half that depth.  Sums leave
 * for L1, where AVX-512 adds them to the f32 chains exactly as every other level does.
 *
 *     stage   256 columns of one or two panels unpacked to codes, [W | offset], scales, minimums
 *     step    one or two tiles of tokens times these panels: up to four C tiles
 *
 * The sums of a part are added while the tiles of the next part multiply: two buffers.
 * Below MIN_TOKENS tiles would be mostly empty and AVX-512 is used: the same bits. */
#include "kernels/act_rows.h"
#include "kernels/amx/amx_parts.h"
#include "kernels/amx/panel_store_amx.h"
#include "kernels/amx/tile_ops.h"
#include "kernels/avx512/panel_avx512.h"
#include "kernels/avx512/panel_types_avx512.h"

enum {
    MIN_TOKENS = 9,
    STAGE_UNITS = 8, /* of 32 columns */
    STEP_PANELS = 2,
    STEP_TOKENS = 2 * TILE_MAX_ROWS,
    BLOCK_TOKENS = 96, /* tokens that share a stage: their chains fill 12 KiB of L1 */
    AHEAD_BYTES = 4096
};

typedef struct {
    _Alignas(64) uint8_t codes[STAGE_UNITS][UNIT_VECTORS][TILE_ROW_BYTES];
    __m512i pairs[STAGE_UNITS * HALVES_MAX]; /* [W | offset] */
    __m512 scale[STAGE_UNITS * HALVES_MAX], minimum[STAGE_UNITS * HALVES_MAX];
} panel_stage;

typedef int32_t tile_sums[STEP_PANELS][STEP_TOKENS][R2I_PANEL_ROWS];

/* One or two panels and a block of tokens. */
typedef struct {
    const r2i_matmul_job *job;
    panel_form form;
    int32_t first_panel, n_panels, first_token, n_tokens;
    int32_t first_unit, n_units; /* of the stage */
    panel_stage stage[STEP_PANELS];
    _Alignas(64) float acc[STEP_PANELS][BLOCK_TOKENS][R2I_PANEL_ROWS];
    _Alignas(64) tile_sums sums[2];
    tile_state tiles;
} amx_block;

/* Tokens of a step and where their rows keep what a part needs. */
typedef struct {
    int32_t first, n_low, n_high; /* tokens of the two tiles; n_high may be 0 */
    const uint8_t *rows;
    size_t group; /* byte distance of the stage's first group */
} step_tokens;

typedef void stage_function(panel_stage *stage, const uint8_t *block, int32_t n_units);

/* Half h (or all) of a unit's codes; returns its pairs. */
ALWAYS_INLINE __m512i stage_part(r2i_type type, uint8_t (*to)[TILE_ROW_BYTES], const uint8_t *unit,
                                 int h) {
    const int n_vectors = UNIT_VECTORS / form_of(type).n_halves;
    __m512i sum = _mm512_setzero_si512();
    UNROLL for (int i = 0; i < n_vectors; i++) {
        const __m512i codes = unit_codes(type, unit, h * n_vectors + i);
        _mm512_store_si512(to[h * n_vectors + i], codes);
        sum = add_codes(type, sum, codes);
    }
    return weight_pairs(type, sum);
}

ALWAYS_INLINE void stage_units(r2i_type type, panel_stage *stage, const uint8_t *block,
                               int32_t n_units) {
    const panel_form form = form_of(type);
    for (int32_t u = 0; u < n_units; u += form.n_units, block += form.block_bytes) {
        block_scales(type, block, stage->scale + u * form.n_halves,
                     stage->minimum + u * form.n_halves);
        for (int i = 0; i < form.n_units; i++) {
            UNROLL for (int h = 0; h < form.n_halves; h++) {
                stage->pairs[(u + i) * form.n_halves + h] =
                    stage_part(type, stage->codes[u + i], block + i * form.codes_bytes, h);
            }
        }
    }
}

/* C tiles 0..3 = [token tile][panel]; A tiles 4, 5; B tiles 6, 7. */
static void set_shapes(tile_shapes *shapes, const step_tokens *step, int n_halves) {
    const int depth = UNIT_VECTORS / n_halves;
    memset(shapes, 0, sizeof *shapes);
    for (int panel = 0; panel < 2; panel++) {
        tile_shape_set(shapes, panel, step->n_low, TILE_ROW_BYTES);
        if (step->n_high > 0) tile_shape_set(shapes, 2 + panel, step->n_high, TILE_ROW_BYTES);
        tile_shape_set(shapes, 6 + panel, depth, TILE_ROW_BYTES);
    }
    tile_shape_set(shapes, 4, step->n_low, 4 * depth);
    if (step->n_high > 0) tile_shape_set(shapes, 5, step->n_high, 4 * depth);
}

/* Sums of one part: half h of unit u, or the whole unit. */
ALWAYS_INLINE void multiply_part(amx_block *b, const step_tokens *step, int32_t u, int h,
                                 tile_sums sums) {
    const size_t stride = b->job->act_stride, depth = (size_t)(UNIT_VECTORS / b->form.n_halves);
    const uint8_t *a =
        step->rows + step->group + sizeof(r2i_act_group) * (size_t)u + 4 * depth * (size_t)h;
    const size_t g = depth * (size_t)h;
    tile_state *tiles = &b->tiles;
    tile_load(tiles, 6, b->stage[0].codes[u][g], TILE_ROW_BYTES);
    tile_load(tiles, 4, a, stride);
    tile_clear(tiles, 0);
    tile_dot_bytes(tiles, 0, 4, 6);
    if (b->n_panels > 1) {
        tile_load(tiles, 7, b->stage[1].codes[u][g], TILE_ROW_BYTES);
        tile_clear(tiles, 1);
        tile_dot_bytes(tiles, 1, 4, 7);
    }
    if (step->n_high > 0) {
        tile_load(tiles, 5, a + TILE_MAX_ROWS * stride, stride);
        tile_clear(tiles, 2);
        tile_dot_bytes(tiles, 2, 5, 6);
        if (b->n_panels > 1) {
            tile_clear(tiles, 3);
            tile_dot_bytes(tiles, 3, 5, 7);
        }
    }
    tile_store(tiles, 0, sums[0][0], TILE_ROW_BYTES);
    if (b->n_panels > 1) tile_store(tiles, 1, sums[1][0], TILE_ROW_BYTES);
    if (step->n_high > 0) {
        tile_store(tiles, 2, sums[0][TILE_MAX_ROWS], TILE_ROW_BYTES);
        if (b->n_panels > 1) tile_store(tiles, 3, sums[1][TILE_MAX_ROWS], TILE_ROW_BYTES);
    }
}

ALWAYS_INLINE __m512 repeated_f32(const uint8_t *p) {
    float x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_ps(x);
}
ALWAYS_INLINE __m512i repeated_i32(const uint8_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}

/* isum = tile's sum + [W | offset] . start; acc = fma(float(isum) * scale_w, scale_a, acc), then
 * the minimum (panel_formats.h). */
ALWAYS_INLINE void add_part(amx_block *b, const step_tokens *step, int32_t u, int h,
                            const tile_sums sums, const bool has_minimum) {
    const int32_t part = u * b->form.n_halves + h, n_tokens = step->n_low + step->n_high;
    const size_t at = step->group + sizeof(r2i_act_group) * (size_t)u, half = 4 * (size_t)h;
    const bool has_halves = b->form.n_halves == 2;
    const size_t scale_at = at + offsetof(r2i_act_group, scale);
    const size_t start_at = at + (has_halves ? offsetof(r2i_act_group, half_start) + half
                                             : offsetof(r2i_act_group, start));
    const size_t ssum_at =
        at + (has_halves ? offsetof(r2i_act_group, shalf) + half : offsetof(r2i_act_group, ssum));
    for (int32_t p = 0; p < b->n_panels; p++) {
        const __m512 w = b->stage[p].scale[part], m = b->stage[p].minimum[has_minimum ? part : 0];
        const __m512i pairs = b->stage[p].pairs[part];
        const uint8_t *row = step->rows;
        float *acc = b->acc[p][step->first - b->first_token];
        for (int32_t t = 0; t < n_tokens; t++, row += b->job->act_stride, acc += R2I_PANEL_ROWS) {
            const __m512i isum = _mm512_dpwssd_epi32(_mm512_load_si512(sums[p][t]), pairs,
                                                     repeated_i32(row + start_at));
            const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(isum), w);
            __m512 sum =
                _mm512_fmadd_ps(product, repeated_f32(row + scale_at), _mm512_load_ps(acc));
            if (has_minimum) sum = _mm512_fmadd_ps(m, repeated_f32(row + ssum_at), sum);
            _mm512_store_ps(acc, sum);
        }
    }
}

ALWAYS_INLINE void run_parts(amx_block *b, const step_tokens *step, const bool has_minimum) {
    const int n_halves = b->form.n_halves;
    const int32_t n_parts = b->n_units * n_halves;
    for (int32_t i = 0; i <= n_parts; i++) {
        if (i < n_parts) multiply_part(b, step, i / n_halves, i % n_halves, b->sums[i % 2]);
        if (i > 0) {
            const int32_t last = i - 1;
            add_part(b, step, last / n_halves, last % n_halves,
                     (const int32_t(*)[STEP_TOKENS][16])b->sums[last % 2], has_minimum);
        }
    }
}

static void run_step(amx_block *b, const step_tokens *step) {
    if (b->form.has_minimum) {
        run_parts(b, step, true);
    } else {
        run_parts(b, step, false);
    }
}

/* Token counts and field distances (act_rows.h) of the step that begins at `first`. */
static void aim_step(step_tokens *step, const amx_block *b, int32_t first) {
    const r2i_matmul_job *job = b->job;
    const int32_t n_left = b->first_token + b->n_tokens - first;
    const int32_t n_here = n_left < STEP_TOKENS ? n_left : STEP_TOKENS;
    step->first = first;
    step->n_low = n_here < TILE_MAX_ROWS ? n_here : TILE_MAX_ROWS;
    step->n_high = n_here - step->n_low;
    step->rows = job->act + (size_t)first * job->act_stride;
    step->group = sizeof(r2i_act_group) * (size_t)b->first_unit;
}

/* All steps over one stage.  Tiles are shaped anew only where the number of tokens changes. */
static void run_steps(amx_block *b) {
    step_tokens step, shaped = { .n_low = 0 };
    const int32_t end = b->first_token + b->n_tokens;
    for (int32_t t = b->first_token; t < end; t += STEP_TOKENS) {
        aim_step(&step, b, t);
        if (step.n_low != shaped.n_low || step.n_high != shaped.n_high) {
            tile_shapes shapes;
            set_shapes(&shapes, &step, b->form.n_halves);
            tile_configure(&b->tiles, &shapes);
            shaped = step;
        }
        run_step(b, &step);
    }
}

static void run_panels(amx_block *b, stage_function *stage_panel) {
    const r2i_matmul_job *job = b->job;
    const int32_t n_units = job->n_cols / UNIT_COLS;
    const size_t unit_bytes = (size_t)(b->form.block_bytes / b->form.n_units);
    const size_t panel_bytes = (size_t)n_units * unit_bytes;
    memset(b->acc, 0, sizeof b->acc);
    for (int32_t u = 0; u < n_units; u += STAGE_UNITS) {
        b->first_unit = u;
        b->n_units = n_units - u < STAGE_UNITS ? n_units - u : STAGE_UNITS;
        for (int32_t p = 0; p < b->n_panels; p++) {
            const uint8_t *from =
                job->panels + (size_t)(b->first_panel + p) * panel_bytes + (size_t)u * unit_bytes;
            for (size_t i = 0; i < (size_t)b->n_units * unit_bytes; i += 64) {
                _mm_prefetch((const char *)from + AHEAD_BYTES + i, _MM_HINT_T0);
            }
            stage_panel(&b->stage[p], from, b->n_units);
        }
        run_steps(b);
    }
    for (int32_t p = 0; p < b->n_panels; p++) {
        store_panel(job, b->acc[p][0], b->first_panel + p, b->first_token, b->n_tokens);
    }
}

static void multiply_job(const r2i_matmul_job *job, panel_form form, stage_function *stage_panel) {
    amx_block b;
    b.job = job;
    b.form = form;
    for (int32_t t = 0; t < job->n_tokens; t += BLOCK_TOKENS) {
        b.first_token = t;
        b.n_tokens = job->n_tokens - t < BLOCK_TOKENS ? job->n_tokens - t : BLOCK_TOKENS;
        for (int32_t p = 0; p < job->n_panels; p += STEP_PANELS) {
            b.first_panel = p;
            b.n_panels = job->n_panels - p < STEP_PANELS ? job->n_panels - p : STEP_PANELS;
            run_panels(&b, stage_panel);
        }
    }
    tile_finish(&b.tiles); /* tiles left in use make every context switch dearer */
}

/* The level below, looked up when needed: a table of its own would be mutable data at file scope.
 */
static void multiply_without_tiles(const r2i_matmul_job *job, r2i_type type) {
    r2i_kernels below;
    r2i_avx512_add_quantized(&below);
    below.matmul[type](job);
}

#define QUANTIZED(X) \
    X(Q4_0)          \
    X(Q4_1)          \
    X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS) X(MXFP4)

#define DEFINE_MATMUL(name)                                                               \
    static void stage_##name(panel_stage *stage, const uint8_t *block, int32_t n_units) { \
        stage_units(R2I_TYPE_##name, stage, block, n_units);                              \
    }                                                                                     \
    static void matmul_##name(const r2i_matmul_job *job) {                                \
        if (job->n_tokens < MIN_TOKENS) {                                                 \
            multiply_without_tiles(job, R2I_TYPE_##name);                                 \
        } else {                                                                          \
            multiply_job(job, form_of(R2I_TYPE_##name), stage_##name);                    \
        }                                                                                 \
    }
QUANTIZED(DEFINE_MATMUL)

void r2i_amx_add_quantized(r2i_kernels *kernels) {
#define ADD_MATMUL(name) kernels->matmul[R2I_TYPE_##name] = matmul_##name;
    QUANTIZED(ADD_MATMUL)
#undef ADD_MATMUL
}
