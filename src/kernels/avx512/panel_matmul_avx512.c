/* panel_matmul_avx512.c - products of quantized panels with int8 activations.
 *
 * One tile does the arithmetic for every layout: P panels x T tokens, one f32 chain per output in
 * registers, per unit of 32 columns
 *     sum = sum_g vpdpbusd(codes of group g, 4 activations broadcast)
 *         + vpdpwssd([W | offset] of each row, start broadcast)
 *     acc = fma(float(sum) * scale_w, scale_a, acc)      acc = fma(minimum, ssum, acc)
 * It is used in two ways.
 *   Few tokens: 1 panel x T tokens straight from the packed bytes, which stream from memory once;
 *   W is summed on the way, once for all T.
 *   Many tokens: STAGE_UNITS units of 2 panels are decoded to plain bytes, W and f32 scales in
 *   the first-level cache, then all tokens of a block run over them, so that decoding and scales
 *   cost next to nothing whatever the layout is; the chains wait in acc[] between two stages.
 * The bound is vpdpbusd, vpdpwssd, vmulps and vfmadd, which share two pipes: 8 + 3 per unit (8 + 4
 * with a minimum, 8 + 6 with two scales), so 73, 67 and 57 % of the int8 peak. */
#include <string.h>

#include "kernels/act_rows.h"
#include "kernels/avx512/panel_avx512.h"
#include "kernels/avx512/panel_types_avx512.h"

enum {
    STAGE_UNITS = 8,    /* 2 panels x 8 x 896 bytes: half of the first-level cache */
    BLOCK_TOKENS = 192, /* activations of a block stay in the second-level cache */
    TILE_TOKENS = 6,    /* 2 x 6 chains hide the latency of vpdpbusd and fit in 32 registers */
    DIRECT_TILE = 8,    /* 1 x 8 straight from the packed bytes ... */
    DIRECT_TOKENS = 16, /* ... pays up to here */
    AHEAD_BYTES = 6144, /* prefetch distance when streaming */
};

/* A decoded unit of one panel. */
typedef struct {
    __m512i codes[UNIT_VECTORS];
    __m512i pairs[HALVES_MAX]; /* [W | offset] */
    __m512 scale[HALVES_MAX];
    __m512 minimum[HALVES_MAX];
} staged_unit;

/* Distances in an activation group. */
ALWAYS_INLINE size_t start_at(int n_halves, int h) {
    if (n_halves == 1) return offsetof(r2i_act_group, start);
    return offsetof(r2i_act_group, half_start) + 4 * (size_t)h;
}
ALWAYS_INLINE size_t ssum_at(int n_halves, int h) {
    if (n_halves == 1) return offsetof(r2i_act_group, ssum);
    return offsetof(r2i_act_group, shalf) + 4 * (size_t)h;
}

ALWAYS_INLINE __m512i broadcast_i32(const uint8_t *p) {
    int32_t x;
    memcpy(&x, p, sizeof x);
    return _mm512_set1_epi32(x);
}
ALWAYS_INLINE __m512 broadcast_f32(const uint8_t *p) {
    return _mm512_castsi512_ps(broadcast_i32(p));
}

static inline int32_t smaller(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* One unit of n_panels panels for n_tokens rows.  n_panels, n_tokens, type and form are constants;
 * at: distance of the unit's group
 * in a row; acc [n_tokens][2]; pairs, scale, minimum: [panel][half].  Without pairs they are found here, so
 * that the start comes last: first, it needs fewer registers. */
ALWAYS_INLINE void add_unit(r2i_type type, panel_form form, int n_panels, int n_tokens,
                            const uint8_t *const codes[2], const __m512i *const pairs[2],
                            const __m512 *const scale[2], const __m512 *const minimum[2],
                            const uint8_t *const rows[], size_t at, __m512 acc[][2]) {
    const int n_groups = UNIT_VECTORS / form.n_halves;
    UNROLL
    for (int h = 0; h < form.n_halves; h++) {
        __m512i sum[DIRECT_TILE][2], code_sum[2];
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            code_sum[p] = _mm512_setzero_si512();
            UNROLL
            for (int t = 0; t < n_tokens; t++) {
                sum[t][p] = _mm512_setzero_si512();
                if (pairs[p] != NULL) {
                    const __m512i start = broadcast_i32(rows[t] + at + start_at(form.n_halves, h));
                    sum[t][p] = _mm512_dpwssd_epi32(sum[t][p], pairs[p][h], start);
                }
            }
        }
        UNROLL
        for (int i = 0; i < n_groups; i++) {
            const int g = h * n_groups + i;
            __m512i w[2];
            UNROLL
            for (int p = 0; p < n_panels; p++) {
                w[p] = unit_codes(type, codes[p], g);
                if (pairs[p] == NULL) code_sum[p] = add_codes(type, code_sum[p], w[p]);
            }
            UNROLL
            for (int t = 0; t < n_tokens; t++) {
                const __m512i a = broadcast_i32(rows[t] + at + 4 * (size_t)g);
                UNROLL
                for (int p = 0; p < n_panels; p++) {
                    sum[t][p] = _mm512_dpbusd_epi32(sum[t][p], w[p], a);
                }
            }
        }
        __m512i found[2];
        UNROLL
        for (int p = 0; p < n_panels; p++) {
            if (pairs[p] == NULL) found[p] = weight_pairs(type, code_sum[p]);
        }
        UNROLL
        for (int t = 0; t < n_tokens; t++) {
            const __m512 scale_a = broadcast_f32(rows[t] + at + offsetof(r2i_act_group, scale));
            UNROLL
            for (int p = 0; p < n_panels; p++) {
                if (pairs[p] == NULL) {
                    const __m512i start = broadcast_i32(rows[t] + at + start_at(form.n_halves, h));
                    sum[t][p] = _mm512_dpwssd_epi32(sum[t][p], found[p], start);
                }
                const __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(sum[t][p]), scale[p][h]);
                acc[t][p] = _mm512_fmadd_ps(x, scale_a, acc[t][p]);
                if (form.has_minimum) {
                    const __m512 ssum = broadcast_f32(rows[t] + at + ssum_at(form.n_halves, h));
                    acc[t][p] = _mm512_fmadd_ps(minimum[p][h], ssum, acc[t][p]);
                }
            }
        }
    }
}

/* y of one panel and token: the finished sum, bias, what was there. */
ALWAYS_INLINE void store_rows(const r2i_matmul_job *job, int32_t panel, int32_t token, __m512 sum) {
    const int32_t row = panel * R2I_PANEL_ROWS, n_left = job->n_rows - row;
    const __mmask16 mask = (__mmask16)(n_left >= R2I_PANEL_ROWS ? 0xffffu : (1u << n_left) - 1u);
    float *y = job->y + (size_t)token * job->y_stride + row;
    if (job->bias != NULL) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, job->bias + row));
    if (job->is_added) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, y));
    _mm512_mask_storeu_ps(y, mask, sum);
}

/* A hint only: `p` may lie beyond the panels. */
ALWAYS_INLINE void prefetch_bytes(const uint8_t *p, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += 64) {
        _mm_prefetch((const char *)((uintptr_t)p + i), _MM_HINT_T0);
    }
}

/* ---- Few tokens: one panel after the other, from the packed bytes. ---- */

/* Tokens [first, last] of one panel.  Rows of the tile beyond `last` repeat it, unstored. */
ALWAYS_INLINE void direct_tile(r2i_type type, int tile_tokens, const r2i_matmul_job *job,
                               int32_t panel, int32_t first, int32_t last) {
    const panel_form form = form_of(type);
    const int32_t n_blocks = job->n_cols / (UNIT_COLS * form.n_units);
    const uint8_t *block =
        job->panels + (size_t)panel * (size_t)n_blocks * (size_t)form.block_bytes;
    const uint8_t *rows[DIRECT_TILE];
    __m512 acc[DIRECT_TILE][2];
    UNROLL
    for (int t = 0; t < tile_tokens; t++) {
        rows[t] = job->act + (size_t)smaller(first + t, last) * job->act_stride;
        acc[t][0] = _mm512_setzero_ps();
    }
    size_t at = 0;
    for (int32_t b = 0; b < n_blocks; b++) {
        __m512 scale[BLOCK_UNITS_MAX * HALVES_MAX], minimum[BLOCK_UNITS_MAX * HALVES_MAX];
        block_scales(type, block, scale, minimum);
        for (int u = 0; u < form.n_units; u++) {
            const uint8_t *codes = block + u * form.codes_bytes;
            prefetch_bytes(codes + AHEAD_BYTES, (size_t)(form.block_bytes / form.n_units));
            add_unit(type, form, 1, tile_tokens, (const uint8_t *const[2]){ codes, NULL },
                     (const __m512i *const[2]){ NULL, NULL },
                     (const __m512 *const[2]){ scale + u * form.n_halves, NULL },
                     (const __m512 *const[2]){ minimum + u * form.n_halves, NULL }, rows, at, acc);
            at += sizeof(r2i_act_group);
        }
        block += form.block_bytes;
    }
    UNROLL
    for (int t = 0; t < tile_tokens; t++) {
        if (first + t <= last) store_rows(job, panel, first + t, acc[t][0]);
    }
}

typedef void (*direct_function)(const r2i_matmul_job *job, int32_t panel, int32_t first,
                                int32_t last);

/* Every panel is read from memory once, for more than DIRECT_TILE tokens then from the cache.
 * by_pairs: tiles of 2, 4, 6, 8 tokens. */
static void direct_matmul(const r2i_matmul_job *job,
                          const direct_function by_pairs[DIRECT_TILE / 2]) {
    const int32_t n_tiles = (job->n_tokens + DIRECT_TILE - 1) / DIRECT_TILE;
    for (int32_t p = 0; p < job->n_panels; p++) {
        for (int32_t i = 0, t = 0; i < n_tiles; i++) {
            const int32_t n = (job->n_tokens - t + n_tiles - i - 1) / (n_tiles - i);
            by_pairs[(n - 1) / 2](job, p, t, t + n - 1);
            t += n;
        }
    }
}

/* ---- Many tokens: stage, then tiles. ---- */

typedef void (*stage_function)(staged_unit *units, const uint8_t *blocks, int32_t n_units);
typedef struct {
    const staged_unit *units; /* [n_panels][STAGE_UNITS] */
    int32_t n_units;
    bool is_first;                    /* chains begin at 0 */
    size_t at;                        /* byte distance of the first unit's group in a row */
    const uint8_t *ahead;             /* where the next stage's packed bytes are, per panel ... */
    size_t ahead_bytes, ahead_stride; /* ... how many, and the way to the second panel */
} panel_stage;

typedef void (*tile_function)(const panel_stage *stage, const uint8_t *act, size_t act_stride,
                              __m512 saved[][2]);

/* Half h (or all) of a unit's codes; returns its pairs. */
ALWAYS_INLINE __m512i decode_part(r2i_type type, __m512i codes[UNIT_VECTORS], const uint8_t *unit,
                                  int h) {
    const int n_vectors = UNIT_VECTORS / form_of(type).n_halves;
    __m512i sum = _mm512_setzero_si512();
    UNROLL
    for (int i = 0; i < n_vectors; i++) {
        const int g = h * n_vectors + i;
        codes[g] = unit_codes(type, unit, g);
        sum = add_codes(type, sum, codes[g]);
    }
    return weight_pairs(type, sum);
}

/* Decodes n_units units (whole blocks) of one panel. */
ALWAYS_INLINE void stage_units(r2i_type type, staged_unit *units, const uint8_t *block,
                               int32_t n_units) {
    const panel_form form = form_of(type);
    for (int32_t done = 0; done < n_units; done += form.n_units) {
        __m512 scale[BLOCK_UNITS_MAX * HALVES_MAX], minimum[BLOCK_UNITS_MAX * HALVES_MAX];
        block_scales(type, block, scale, minimum);
        for (int u = 0; u < form.n_units; u++, units++) {
            UNROLL
            for (int h = 0; h < form.n_halves; h++) {
                units->pairs[h] = decode_part(type, units->codes, block + u * form.codes_bytes, h);
                units->scale[h] = scale[u * form.n_halves + h];
                if (form.has_minimum) units->minimum[h] = minimum[u * form.n_halves + h];
            }
        }
        block += form.block_bytes;
    }
}

ALWAYS_INLINE void staged_tile(panel_form form, int n_panels, int n_tokens,
                               const panel_stage *stage, const uint8_t *act, size_t act_stride,
                               __m512 saved[][2]) {
    const uint8_t *rows[TILE_TOKENS];
    __m512 acc[TILE_TOKENS][2];
    const __mmask16 is_kept = stage->is_first ? 0 : 0xffff;
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        rows[t] = act + (size_t)t * act_stride;
        UNROLL
        for (int p = 0; p < n_panels; p++)
            acc[t][p] = _mm512_maskz_mov_ps(is_kept, saved[t][p]);
    }
    size_t at = stage->at;
    for (int32_t u = 0; u < stage->n_units; u++) {
        const staged_unit *first = stage->units + u, *second = first + STAGE_UNITS;
        add_unit(R2I_TYPE_Q8_0, form, n_panels, n_tokens,
                 (const uint8_t *const[2]){ (const uint8_t *)first, (const uint8_t *)second },
                 (const __m512i *const[2]){ first->pairs, second->pairs },
                 (const __m512 *const[2]){ first->scale, second->scale },
                 (const __m512 *const[2]){ first->minimum, second->minimum }, rows, at, acc);
        at += sizeof(r2i_act_group);
    }
    UNROLL
    for (int t = 0; t < n_tokens; t++) {
        UNROLL
        for (int p = 0; p < n_panels; p++)
            saved[t][p] = acc[t][p];
    }
}

/* The four forms of a staged unit, for every tile size. */
ALWAYS_INLINE panel_form staged_form(int n_halves, bool has_minimum) {
    return (panel_form){ .n_halves = n_halves, .has_minimum = has_minimum };
}

#define DEFINE_TILE(name, n_halves, has_minimum, P, T)                                        \
    static void tile_##name##_##P##x##T(const panel_stage *stage, const uint8_t *act,         \
                                        size_t act_stride, __m512 saved[][2]) {               \
        staged_tile(staged_form(n_halves, has_minimum), P, T, stage, act, act_stride, saved); \
    }
/* clang-format off */
#define DEFINE_TILES(name, h, m)                                                                 \
    DEFINE_TILE(name, h, m, 1, 1) DEFINE_TILE(name, h, m, 1, 2) DEFINE_TILE(name, h, m, 1, 3)    \
    DEFINE_TILE(name, h, m, 1, 4) DEFINE_TILE(name, h, m, 1, 5) DEFINE_TILE(name, h, m, 1, 6)    \
    DEFINE_TILE(name, h, m, 2, 1) DEFINE_TILE(name, h, m, 2, 2) DEFINE_TILE(name, h, m, 2, 3)    \
    DEFINE_TILE(name, h, m, 2, 4) DEFINE_TILE(name, h, m, 2, 5) DEFINE_TILE(name, h, m, 2, 6)
#define TILES_OF(name)                                                                           \
    {{ tile_##name##_1x1, tile_##name##_1x2, tile_##name##_1x3,                                  \
       tile_##name##_1x4, tile_##name##_1x5, tile_##name##_1x6 },                                \
     { tile_##name##_2x1, tile_##name##_2x2, tile_##name##_2x3,                                  \
       tile_##name##_2x4, tile_##name##_2x5, tile_##name##_2x6 }}
/* clang-format on */
DEFINE_TILES(plain, 1, false)
DEFINE_TILES(minimum, 1, true)
DEFINE_TILES(halves, 2, false)
DEFINE_TILES(halves_minimum, 2, true)

/* [n_halves - 1][has_minimum][n_panels - 1][n_tokens - 1] */
static const tile_function tiles[2][2][2][TILE_TOKENS] = {
    { TILES_OF(plain), TILES_OF(minimum) },
    { TILES_OF(halves), TILES_OF(halves_minimum) },
};

/* One or two panels and the tokens of a block. */
typedef struct {
    const r2i_matmul_job *job;
    const tile_function *by_tokens; /* [TILE_TOKENS] */
    int32_t panel, n_panels, first_token, n_tokens;
    __m512 acc[BLOCK_TOKENS][2]; /* chains between two stages */
} panel_block;

/* All tokens over one stage, in tiles of nearly equal size.  Meanwhile the next stage's bytes are
 * fetched, a slice per tile; after the last stage rows are stored while the next tile runs. */
static void run_tiles(panel_block *block, const panel_stage *stage, bool is_last) {
    const r2i_matmul_job *job = block->job;
    const int32_t n_tiles = (block->n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    const size_t slice = stage->ahead_bytes / (size_t)n_tiles + 1;
    for (int32_t i = 0, t = 0; i < n_tiles; i++) {
        const int32_t n = (block->n_tokens - t + n_tiles - i - 1) / (n_tiles - i);
        for (int32_t p = 0; p < block->n_panels; p++) {
            prefetch_bytes(stage->ahead + (size_t)p * stage->ahead_stride + (size_t)i * slice,
                           slice);
        }
        block->by_tokens[n - 1](stage,
                                job->act + (size_t)(block->first_token + t) * job->act_stride,
                                job->act_stride, block->acc + t);
        for (const int32_t end = t + n; t < end; t++) {
            for (int32_t p = 0; is_last && p < block->n_panels; p++) {
                store_rows(job, block->panel + p, block->first_token + t, block->acc[t][p]);
            }
        }
    }
}

static void run_stages(panel_block *block, panel_form form, stage_function stage_panel) {
    staged_unit units[2][STAGE_UNITS];
    const int32_t n_units = block->job->n_cols / UNIT_COLS, n_panels = block->n_panels;
    const size_t unit_bytes = (size_t)(form.block_bytes / form.n_units);
    const size_t panel_bytes = (size_t)n_units * unit_bytes;
    const uint8_t *panels = block->job->panels + (size_t)block->panel * panel_bytes;
    for (int32_t u = 0; u < n_units; u += STAGE_UNITS) {
        const int32_t n = smaller(STAGE_UNITS, n_units - u);
        const bool is_last = u + n == n_units;
        for (int32_t p = 0; p < n_panels; p++) {
            stage_panel(units[p], panels + (size_t)p * panel_bytes + (size_t)u * unit_bytes, n);
        }
        const panel_stage stage = {
            .units = units[0],
            .n_units = n,
            .is_first = u == 0,
            .at = sizeof(r2i_act_group) * (size_t)u,
            .ahead =
                panels + (is_last ? (size_t)n_panels * panel_bytes : (size_t)(u + n) * unit_bytes),
            .ahead_bytes =
                (size_t)smaller(STAGE_UNITS, is_last ? n_units : n_units - u - n) * unit_bytes,
            .ahead_stride = panel_bytes,
        };
        run_tiles(block, &stage, is_last);
    }
}

static void staged_matmul(const r2i_matmul_job *job, panel_form form, stage_function stage_panel) {
    panel_block block;
    block.job = job;
    for (int32_t t = 0; t < job->n_tokens; t += block.n_tokens) {
        /* Blocks of nearly equal size, whole tiles where possible. */
        const int32_t n_left = job->n_tokens - t,
                      n_blocks = (n_left + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
        const int32_t n_tiles =
            ((n_left + n_blocks - 1) / n_blocks + TILE_TOKENS - 1) / TILE_TOKENS;
        block.first_token = t;
        block.n_tokens = smaller(n_left, n_tiles * TILE_TOKENS);
        for (int32_t p = 0; p < job->n_panels; p += 2) {
            block.panel = p;
            block.n_panels = smaller(2, job->n_panels - p);
            block.by_tokens = tiles[form.n_halves - 1][form.has_minimum][block.n_panels - 1];
            run_stages(&block, form, stage_panel);
        }
    }
}

/* ---- One matmul per layout. ---- */

/* clang-format off */
#define QUANTIZED(X)                                                                             \
    X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(IQ4_NL) X(MXFP4)                                   \
    X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_XS)
/* clang-format on */

#define DEFINE_DIRECT(name, T)                                                               \
    static void direct_##name##_##T(const r2i_matmul_job *job, int32_t panel, int32_t first, \
                                    int32_t last) {                                          \
        direct_tile(R2I_TYPE_##name, T, job, panel, first, last);                            \
    }
#define DEFINE_MATMUL(name)                                                                \
    static void direct_##name##_1(const r2i_matmul_job *job) {                             \
        for (int32_t p = 0; p < job->n_panels; p++)                                        \
            direct_tile(R2I_TYPE_##name, 1, job, p, 0, 0);                                 \
    }                                                                                      \
    DEFINE_DIRECT(name, 2)                                                                 \
    DEFINE_DIRECT(name, 4)                                                                 \
    DEFINE_DIRECT(name, 6)                                                                 \
    DEFINE_DIRECT(name, 8)                                                                 \
    static void stage_##name(staged_unit *units, const uint8_t *blocks, int32_t n_units) { \
        stage_units(R2I_TYPE_##name, units, blocks, n_units);                              \
    }                                                                                      \
    static void matmul_##name(const r2i_matmul_job *job) {                                 \
        static const direct_function by_pairs[DIRECT_TILE / 2] = {                         \
            direct_##name##_2, direct_##name##_4, direct_##name##_6, direct_##name##_8     \
        };                                                                                 \
        if (job->n_tokens == 1) {                                                          \
            direct_##name##_1(job);                                                        \
        } else if (job->n_tokens <= DIRECT_TOKENS) {                                       \
            direct_matmul(job, by_pairs);                                                  \
        } else {                                                                           \
            staged_matmul(job, form_of(R2I_TYPE_##name), stage_##name);                    \
        }                                                                                  \
    }
QUANTIZED(DEFINE_MATMUL)

void r2i_avx512_add_quantized(r2i_kernels *kernels) {
#define ADD_MATMUL(name) kernels->matmul[R2I_TYPE_##name] = matmul_##name;
    QUANTIZED(ADD_MATMUL)
#undef ADD_MATMUL
    r2i_avx512_add_panel_pack(kernels);
    r2i_avx512_add_act(kernels);
}
