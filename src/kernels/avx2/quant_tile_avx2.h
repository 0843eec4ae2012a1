/* quant_tile_avx2.h - products of quantized panels with int8 rows, 256 bits wide.
 *
 * Included by two files that differ in one instruction: R2I_HAS_DOT 1 uses vpdpbusd, 0 the older
 * vpmaddubsw, whose 16-bit sums saturate.  Codes are unsigned and activations -128..127, so a
 * 16-bit sum stays exact over 8, 4 or 2 steps for codes of 4, 5 or 6 bits (2 * 128 * code * steps
 * <= 32256); codes of 8 bits are widened to 16 bits and multiplied with vpmaddwd.
 *
 * A tile is one panel times up to 6 tokens: 12 of the 16 registers are sums, 2 hold codes, 1 an
 * activation.  The f32 chains live in L1 and are touched once per group of 32 columns. */
#ifndef R2I_QUANT_TILE_AVX2_H
#define R2I_QUANT_TILE_AVX2_H
#include "kernels/act_rows.h"
#include "kernels/avx2/panel_store_avx2.h"
#include "kernels/avx2/quant_slab_avx2.h"
#include "kernels/kernels.h"

enum {
    TILE_TOKENS = 6,
    BLOCK_TOKENS = 96,    /* tokens that share an unpacked slab: their chains fill 6 KiB of L1 */
    PREFETCH_BYTES = 4096 /* how far ahead of the slab at hand panels are asked for */
};

/* What the loop must know of a type at compile time. */
typedef struct {
    int code_bits;   /* 4, 5, 6 or 8 */
    int half_groups; /* 1: a scale per 16 columns */
    int has_minimum;
} tile_kind;

/* Distances in an activation group. */
enum {
    SCALE_AT = offsetof(r2i_act_group, scale),
    START_AT = offsetof(r2i_act_group, start),
    SSUM_AT = offsetof(r2i_act_group, ssum),
    HALF_START_AT = offsetof(r2i_act_group, half_start),
    HALF_SSUM_AT = offsetof(r2i_act_group, shalf)
};

/* Rows of the tile's tokens, and the byte distance of their first group. */
typedef struct {
    const uint8_t *row[TILE_TOKENS];
    size_t group; /* of the slab's first group */
} tile_rows;

/* --- integer sums of `n_steps` groups of four columns, for all tokens of the tile ------------ */

#if R2I_HAS_DOT
R2I_INLINE void add_steps(__m256i sums[TILE_TOKENS][2], const uint8_t *codes, const tile_rows *rows,
                          size_t at, const int n_steps, const int n_tokens, const int code_bits) {
    (void)code_bits;
    R2I_UNROLL
    for (int step = 0; step < n_steps; step++) {
        const __m256i c0 = r2i_load_i8x32(codes + 64 * step),
                      c1 = r2i_load_i8x32(codes + 64 * step + 32);
        R2I_UNROLL
        for (int t = 0; t < n_tokens; t++) {
            const __m256i x = r2i_repeat_4_bytes(rows->row[t] + at + 4 * (size_t)step);
            sums[t][0] = _mm256_dpbusd_avx_epi32(sums[t][0], c0, x);
            sums[t][1] = _mm256_dpbusd_avx_epi32(sums[t][1], c1, x);
        }
    }
}
#else
/* Codes of 8 bits: a product pair fills more than 16 bits, so both factors are widened.  Words 0..7
 * of a half's two sums belong to rows 0 0 1 1 2 2 3 3 and 4 4 5 5 6 6 7 7. */
R2I_INLINE void add_wide_half(__m256i sums[TILE_TOKENS][2], const uint8_t *codes,
                              const tile_rows *rows, size_t at, const int n_steps,
                              const int n_tokens, const int half) {
    __m256i wide[TILE_TOKENS][2];
    R2I_UNROLL
    for (int step = 0; step < n_steps; step++) {
        const uint8_t *code = codes + 64 * step + 32 * half;
        const __m256i w0 = _mm256_cvtepu8_epi16(r2i_load_i8x16(code)),
                      w1 = _mm256_cvtepu8_epi16(r2i_load_i8x16(code + 16));
        R2I_UNROLL
        for (int t = 0; t < n_tokens; t++) {
            const uint8_t *from = rows->row[t] + at + 4 * (size_t)step;
            const __m256i x =
                _mm256_cvtepi8_epi16(_mm256_castsi256_si128(r2i_repeat_4_bytes(from)));
            const __m256i p0 = _mm256_madd_epi16(w0, x), p1 = _mm256_madd_epi16(w1, x);
            wide[t][0] = step == 0 ? p0 : _mm256_add_epi32(wide[t][0], p0);
            wide[t][1] = step == 0 ? p1 : _mm256_add_epi32(wide[t][1], p1);
            R2I_SETTLE(wide[t][0]);
            R2I_SETTLE(wide[t][1]);
        }
    }
    R2I_UNROLL
    for (int t = 0; t < n_tokens; t++) {
        const __m256i mixed = _mm256_hadd_epi32(wide[t][0], wide[t][1]); /* 0 1 4 5 2 3 6 7 */
        sums[t][half] = _mm256_add_epi32(sums[t][half], _mm256_permute4x64_epi64(mixed, 0xd8));
    }
}

/* Up to 8 / 4 / 2 steps in 16 bits, then one widening. */
R2I_INLINE void add_short_sums(__m256i sums[TILE_TOKENS][2], const uint8_t *codes,
                               const tile_rows *rows, size_t at, const int n_steps,
                               const int n_tokens) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i pairs[TILE_TOKENS][2];
    R2I_UNROLL
    for (int step = 0; step < n_steps; step++) {
        const __m256i c0 = r2i_load_i8x32(codes + 64 * step),
                      c1 = r2i_load_i8x32(codes + 64 * step + 32);
        R2I_UNROLL
        for (int t = 0; t < n_tokens; t++) {
            const __m256i x = r2i_repeat_4_bytes(rows->row[t] + at + 4 * (size_t)step);
            const __m256i p0 = _mm256_maddubs_epi16(c0, x), p1 = _mm256_maddubs_epi16(c1, x);
            pairs[t][0] = step == 0 ? p0 : _mm256_add_epi16(pairs[t][0], p0);
            pairs[t][1] = step == 0 ? p1 : _mm256_add_epi16(pairs[t][1], p1);
            R2I_SETTLE(pairs[t][0]);
            R2I_SETTLE(pairs[t][1]);
        }
    }
    R2I_UNROLL
    for (int t = 0; t < n_tokens; t++) {
        sums[t][0] = _mm256_add_epi32(sums[t][0], _mm256_madd_epi16(pairs[t][0], ones));
        sums[t][1] = _mm256_add_epi32(sums[t][1], _mm256_madd_epi16(pairs[t][1], ones));
    }
}

R2I_INLINE void add_steps(__m256i sums[TILE_TOKENS][2], const uint8_t *codes, const tile_rows *rows,
                          size_t at, const int n_steps, const int n_tokens, const int code_bits) {
    if (code_bits == 8) {
        add_wide_half(sums, codes, rows, at, n_steps, n_tokens, 0);
        add_wide_half(sums, codes, rows, at, n_steps, n_tokens, 1);
        return;
    }
    const int exact_steps = code_bits == 4 ? 8 : code_bits == 5 ? 4 : 2;
    const int stride = n_steps < exact_steps ? n_steps : exact_steps;
    R2I_UNROLL
    for (int done = 0; done < n_steps; done += stride) {
        add_short_sums(sums, codes + 64 * done, rows, at + 4 * (size_t)done, stride, n_tokens);
    }
}
#endif

/* --- one tile --------------------------------------------------------------------------------- */

/* acc = fma(float(isum) * scale_w, scale_a, acc), then the minimum (panel_formats.h). */
R2I_INLINE void add_to_chains(float *acc, const __m256i sums[TILE_TOKENS][2], const float *scale,
                              const float *minimum, const tile_rows *rows, size_t scale_at,
                              size_t ssum_at, const int n_tokens, const tile_kind kind) {
    R2I_UNROLL
    for (int h = 0; h < 2; h++) {
        const __m256 w = _mm256_load_ps(scale + 8 * h);
        R2I_UNROLL
        for (int t = 0; t < n_tokens; t++) {
            float *chain = acc + 16 * t + 8 * h;
            const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[t][h]), w);
            __m256 sum = _mm256_fmadd_ps(scaled, r2i_repeat_f32(rows->row[t] + scale_at),
                                         _mm256_load_ps(chain));
            if (kind.has_minimum) {
                const __m256 m = _mm256_load_ps(minimum + 8 * h);
                sum = _mm256_fmadd_ps(m, r2i_repeat_f32(rows->row[t] + ssum_at), sum);
            }
            _mm256_store_ps(chain, sum);
        }
    }
}

/* offset * -(sum q) + zero * weight, for all rows. */
R2I_INLINE void start_sums(__m256i sums[TILE_TOKENS][2], const int32_t pairs[16],
                           const tile_rows *rows, size_t start_at, const int n_tokens) {
    R2I_UNROLL
    for (int t = 0; t < n_tokens; t++) {
        const __m256i start = r2i_repeat_4_bytes(rows->row[t] + start_at);
        sums[t][0] = _mm256_madd_epi16(r2i_load_i8x32(pairs), start);
        sums[t][1] = _mm256_madd_epi16(r2i_load_i8x32(pairs + 8), start);
    }
}

R2I_INLINE void tile_body(float *acc, const slab *s, int n_groups, const tile_rows *aimed,
                          const int n_tokens, const tile_kind kind) {
    const int n_halves = kind.half_groups ? 2 : 1, n_steps = 8 / n_halves;
    const tile_rows rows = *aimed; /* a copy: stores to acc must not make its pointers reload */
    for (int g = 0; g < n_groups; g++) {
        const uint8_t *codes = s->codes + (size_t)g * s->group_bytes;
        R2I_UNROLL
        for (int h = 0; h < n_halves; h++) {
            const int part = n_halves * g + h;
            const size_t at = rows.group + sizeof(r2i_act_group) * (size_t)g, half = 4 * (size_t)h;
            const size_t start_at = kind.half_groups ? HALF_START_AT + half : START_AT;
            const size_t ssum_at = kind.half_groups ? HALF_SSUM_AT + half : SSUM_AT;
            __m256i sums[TILE_TOKENS][2];
            start_sums(sums, s->pairs[part], &rows, at + start_at, n_tokens);
            add_steps(sums, codes + 256 * h, &rows, at + 16 * (size_t)h, n_steps, n_tokens,
                      kind.code_bits);
            add_to_chains(acc, (const __m256i(*)[2])sums, s->scale[part], s->minimum[part], &rows,
                          at + SCALE_AT, at + ssum_at, n_tokens, kind);
            /* Chains stay in memory: without this gcc keeps a second copy of each on the stack. */
            R2I_FORGET_LOADS();
        }
    }
}

R2I_INLINE void tile_of(int n_tokens, float *acc, const slab *s, int n_groups,
                        const tile_rows *rows, const tile_kind kind) {
    switch (n_tokens) {
    case 1:
        tile_body(acc, s, n_groups, rows, 1, kind);
        return;
    case 2:
        tile_body(acc, s, n_groups, rows, 2, kind);
        return;
    case 3:
        tile_body(acc, s, n_groups, rows, 3, kind);
        return;
    case 4:
        tile_body(acc, s, n_groups, rows, 4, kind);
        return;
    case 5:
        tile_body(acc, s, n_groups, rows, 5, kind);
        return;
    default:
        tile_body(acc, s, n_groups, rows, 6, kind);
        return;
    }
}

typedef void tile_function(int n_tokens, float *acc, const slab *s, int n_groups,
                           const tile_rows *rows);
#define R2I_TILE(name, bits, halves, minimum)                               \
    static void name(int n_tokens, float *acc, const slab *s, int n_groups, \
                     const tile_rows *rows) {                               \
        const tile_kind kind = { bits, halves, minimum };                   \
        tile_of(n_tokens, acc, s, n_groups, rows, kind);                    \
    }
#if R2I_HAS_DOT /* the width of the code does not matter */
R2I_TILE(tile_offset, 8, 0, 0)
R2I_TILE(tile_minimum, 8, 0, 1)
R2I_TILE(tile_half_offset, 8, 1, 0)
R2I_TILE(tile_half_minimum, 8, 1, 1)
#define tile_offset_4 tile_offset
#define tile_offset_5 tile_offset
#define tile_offset_8 tile_offset
#define tile_minimum_4 tile_minimum
#define tile_minimum_5 tile_minimum
#define tile_half_offset_4 tile_half_offset
#define tile_half_offset_6 tile_half_offset
#define tile_half_minimum_4 tile_half_minimum
#else
R2I_TILE(tile_offset_4, 4, 0, 0)
R2I_TILE(tile_offset_5, 5, 0, 0)
R2I_TILE(tile_offset_8, 8, 0, 0)
R2I_TILE(tile_minimum_4, 4, 0, 1)
R2I_TILE(tile_minimum_5, 5, 0, 1)
R2I_TILE(tile_half_offset_4, 4, 1, 0)
R2I_TILE(tile_half_offset_6, 6, 1, 0)
R2I_TILE(tile_half_minimum_4, 4, 1, 1)
#endif
#undef R2I_TILE

/* --- a whole job ------------------------------------------------------------------------------ */

typedef struct {
    int32_t block_columns, block_bytes; /* of a panel */
    int offset;                         /* of the codes */
    int has_half_groups;
    tile_function *tile;
    void (*unpack)(slab *s, const uint8_t *block, int n_groups);
} quant_format;

/* Token t of the block as byte distances: the fields of act_rows.h. */
R2I_INLINE void aim_rows(tile_rows *rows, const r2i_matmul_job *job, int32_t first_token,
                         int n_tokens, int32_t first_group) {
    for (int t = 0; t < n_tokens; t++) {
        rows->row[t] = job->act + (size_t)(first_token + t) * job->act_stride;
    }
    rows->group = sizeof(r2i_act_group) * (size_t)first_group;
}

R2I_INLINE void prefetch_slab(const uint8_t *block, ptrdiff_t n_bytes) {
    for (ptrdiff_t i = 0; i < n_bytes; i += 64) {
        _mm_prefetch((const char *)block + PREFETCH_BYTES + i, _MM_HINT_T0);
    }
}

/* Evenly sized tiles: 8 tokens are 4 + 4, not 6 + 2. */
R2I_INLINE void multiply_slab(const r2i_matmul_job *job, float *acc, const slab *s,
                              int32_t first_group, int n_groups, int32_t first_token,
                              int32_t n_tokens, const quant_format *f) {
    int32_t n_tiles = (n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    tile_rows rows;
    for (int32_t t = 0; t < n_tokens; n_tiles--) {
        const int32_t n = (n_tokens - t + n_tiles - 1) / n_tiles;
        aim_rows(&rows, job, first_token + t, n, first_group);
        f->tile(n, acc + 16 * t, s, n_groups, &rows);
        t += n;
    }
}

static void multiply_panel(const r2i_matmul_job *job, const uint8_t *panel, float *acc,
                           int32_t first_token, int32_t n_tokens, const quant_format *f) {
    const int32_t n_groups = job->n_cols / R2I_GROUP,
                  groups_per_block = f->block_columns / R2I_GROUP;
    slab s;
    memset(acc, 0, sizeof(float) * 16 * (size_t)n_tokens);
    for (int32_t g = 0; g < n_groups; g += SLAB_GROUPS) {
        const int n = n_groups - g < SLAB_GROUPS ? n_groups - g : SLAB_GROUPS;
        const ptrdiff_t n_bytes = (ptrdiff_t)(n / groups_per_block) * f->block_bytes;
        if (first_token == 0) prefetch_slab(panel, n_bytes);
        f->unpack(&s, panel, n);
        weigh_slab(&s, n, f->has_half_groups, f->offset);
        multiply_slab(job, acc, &s, g, n, first_token, n_tokens, f);
        panel += n_bytes;
    }
}

static void multiply_job(const r2i_matmul_job *job, const quant_format *f) {
    _Alignas(64) float acc[BLOCK_TOKENS * R2I_PANEL_ROWS];
    const size_t panel_bytes = (size_t)(job->n_cols / f->block_columns) * (size_t)f->block_bytes;
    for (int32_t t = 0; t < job->n_tokens; t += BLOCK_TOKENS) {
        const int32_t n = job->n_tokens - t < BLOCK_TOKENS ? job->n_tokens - t : BLOCK_TOKENS;
        for (int32_t p = 0; p < job->n_panels; p++) {
            multiply_panel(job, job->panels + (size_t)p * panel_bytes, acc, t, n, f);
            store_panel(job, acc, p, t, n);
        }
    }
}

/* X(name, columns and bytes of a block, offset, half groups, tile) */
#define R2I_QUANT_FORMATS(X)                            \
    X(Q4_0, q4_0, 32, 288, 8, 0, tile_offset_4)         \
    X(Q4_1, q4_1, 32, 320, 0, 0, tile_minimum_4)        \
    X(Q5_0, q5_0, 32, 352, 16, 0, tile_offset_5)        \
    X(Q5_1, q5_1, 32, 384, 0, 0, tile_minimum_5)        \
    X(Q8_0, q8_0, 32, 544, 128, 0, tile_offset_8)       \
    X(IQ4_NL, iq4_nl, 32, 288, 128, 0, tile_offset_8)   \
    X(MXFP4, mxfp4, 32, 272, 16, 0, tile_offset_5)      \
    X(Q2_K, q2_k, 256, 1344, 0, 1, tile_half_minimum_4) \
    X(Q3_K, q3_k, 256, 1760, 4, 1, tile_half_offset_4)  \
    X(Q4_K, q4_k, 256, 2304, 0, 0, tile_minimum_4)      \
    X(Q5_K, q5_k, 256, 2816, 0, 0, tile_minimum_5)      \
    X(Q6_K, q6_k, 256, 3360, 32, 1, tile_half_offset_6) \
    X(IQ4_XS, iq4_xs, 256, 2176, 128, 0, tile_offset_8)

#define R2I_QUANT_MATMUL(type, name, columns, bytes, offset, halves, tile) \
    static void matmul_##name(const r2i_matmul_job *job) {                 \
        static const quant_format format = {                               \
            columns, bytes, offset, halves, tile, unpack_##name            \
        };                                                                 \
        multiply_job(job, &format);                                        \
    }
R2I_QUANT_FORMATS(R2I_QUANT_MATMUL)
#undef R2I_QUANT_MATMUL

static inline void set_quant_matmul(r2i_kernels *k) {
#define R2I_QUANT_SET(type, name, columns, bytes, offset, halves, tile) \
    k->matmul[R2I_TYPE_##type] = matmul_##name;
    R2I_QUANT_FORMATS(R2I_QUANT_SET)
#undef R2I_QUANT_SET
}
#endif
