/* tile_avx512.h - the inner loop of every dense product: C [rows, 16 vectors] = A * B.
 *
 * A step takes one f32 (or one pair of BF16) of each row of A, broadcasts it and multiplies it
 * with vectors of 16 columns of B.  6 rows x 4 vectors fill 24 registers, so that a step costs
 * 12 cycles of multiplying and 10 loads.  Each element of C is one chain over the steps whatever
 * the tile's size, so rows and columns may be grouped in any way without changing a bit.
 *
 * Compiled with -mavx512bf16 the pairs use vdpbf16ps; without it they are widened to f32 and
 * multiplied one after the other, even column first. */
#ifndef R2I_TILE_AVX512_H
#define R2I_TILE_AVX512_H
#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/avx512/exp_avx512.h"

enum { TILE_ROWS = 6, TILE_VECTORS = 4, TILE_COLUMNS = 16 * TILE_VECTORS };

/* What a vector of B holds: 16 pairs of BF16, 16 f32, or 16 f16 (multiplied with f32 of A).  PAIRED: A
 * lies as B does, its rows beside each other and 64 bytes from step to step. */
typedef enum { TILE_BF16, TILE_F32, TILE_F16, TILE_BF16_PAIRED, TILE_F32_PAIRED } tile_kind;

typedef struct {
    const uint8_t *a; /* row r at a + r * a_stride, 4 bytes per step; PAIRED: see above */
    size_t a_stride;
    const uint8_t *b; /* vector v of step k at b + k * b_step + v * b_vector */
    size_t b_step, b_vector;
    int32_t n_steps;
    __mmask16 last; /* lanes of the last vector that may be read */
    /* During the first n_fetch_steps, with vector v of step k the line at
     * fetch + k * fetch_step + v * fetch_vector is prefetched. */
    int32_t n_fetch_steps;
    const uint8_t *fetch;
    size_t fetch_step, fetch_vector;
    float *c; /* row r at c + r * c_stride: all lanes of the vectors are written */
    size_t c_stride;
} tile_job;

#define TILE_INLINE static inline __attribute__((always_inline))

TILE_INLINE __m512 tile_load(const uint8_t *b, const __mmask16 mask, const tile_kind kind) {
    if (kind == TILE_F16) return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, b));
    return _mm512_maskz_loadu_ps(mask, b);
}

TILE_INLINE __m512 tile_broadcast(const uint8_t *a) {
    int32_t bits;
    memcpy(&bits, a, sizeof bits);
    return _mm512_castsi512_ps(_mm512_set1_epi32(bits));
}

#if !defined(__AVX512BF16__)
/* The even or the odd BF16 of each pair as f32. */
TILE_INLINE __m512 tile_widen(__m512 pairs, const int is_odd) {
    const __m512i bits = _mm512_castps_si512(pairs);
    return _mm512_castsi512_ps(is_odd ? _mm512_and_si512(bits, _mm512_set1_epi32((int)0xffff0000u))
                                      : _mm512_slli_epi32(bits, 16));
}
#endif

TILE_INLINE __m512 tile_multiply(__m512 acc, __m512 w, __m512 x, const tile_kind kind) {
#if defined(__AVX512BF16__)
    if (kind == TILE_BF16 || kind == TILE_BF16_PAIRED)
        return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)x);
#else
    if (kind == TILE_BF16 || kind == TILE_BF16_PAIRED) {
        acc = _mm512_fmadd_ps(tile_widen(w, 0), tile_widen(x, 0), acc);
        return _mm512_fmadd_ps(tile_widen(w, 1), tile_widen(x, 1), acc);
    }
#endif
    return _mm512_fmadd_ps(w, x, acc);
}

/* Steps from *a and *b up to `end`.  The last four parameters are literals at every call, so
 * that acc lives in registers. */
TILE_INLINE void tile_steps(const tile_job *t, __m512 acc[TILE_ROWS][TILE_VECTORS],
                            const uint8_t **a_next, const uint8_t **b_next,
                            const uint8_t *const end, const tile_kind kind, const bool is_fetching,
                            const int n_rows, const int n_vectors) {
    const uint8_t *a = *a_next, *b = *b_next;
    const bool is_paired = kind == TILE_BF16_PAIRED || kind == TILE_F32_PAIRED;
    const size_t a_stride = is_paired ? 4 : t->a_stride, a_step = is_paired ? 64 : 4;
    const size_t b_step = is_paired ? 64 : t->b_step, b_vector = t->b_vector;
    const char *fetch = (const char *)t->fetch;
    const size_t fetch_step = t->fetch_step, fetch_vector = t->fetch_vector;
    const __mmask16 last = t->last;
    for (; b != end; b += b_step, a += a_step, fetch += fetch_step) {
        __m512 w[TILE_VECTORS];
        UNROLL_AVX512
        for (int v = 0; v < n_vectors; v++) {
            if (is_fetching) _mm_prefetch(fetch + (size_t)v * fetch_vector, _MM_HINT_T0);
            w[v] = tile_load(b + (size_t)v * b_vector,
                             v == n_vectors - 1 ? last : (__mmask16)0xffff, kind);
        }
        UNROLL_AVX512
        for (int r = 0; r < n_rows; r++) {
            const __m512 x = tile_broadcast(a + (size_t)r * a_stride);
            UNROLL_AVX512
            for (int v = 0; v < n_vectors; v++)
                acc[r][v] = tile_multiply(acc[r][v], w[v], x, kind);
        }
    }
    *a_next = a;
    *b_next = b;
}

TILE_INLINE void tile_run(const tile_job *t, const tile_kind kind, const int n_rows,
                          const int n_vectors) {
    __m512 acc[TILE_ROWS][TILE_VECTORS];
    const uint8_t *a = t->a, *b = t->b;
    const uint8_t *const rest = b + (size_t)t->n_fetch_steps * t->b_step;
    const uint8_t *const end = b + (size_t)t->n_steps * t->b_step;
    UNROLL_AVX512
    for (int r = 0; r < n_rows; r++) {
        UNROLL_AVX512
        for (int v = 0; v < n_vectors; v++)
            acc[r][v] = _mm512_setzero_ps();
    }
    tile_steps(t, acc, &a, &b, rest, kind, true, n_rows, n_vectors);
    tile_steps(t, acc, &a, &b, end, kind, false, n_rows, n_vectors);
    UNROLL_AVX512
    for (int r = 0; r < n_rows; r++) {
        float *const c = t->c + (size_t)r * t->c_stride;
        UNROLL_AVX512
        for (int v = 0; v < n_vectors; v++)
            _mm512_storeu_ps(c + 16 * v, acc[r][v]);
    }
}

typedef void (*tile_function)(const tile_job *t);

/* clang-format off */
/* Defines name[n_vectors][n_rows], for 1, 2 and 4 vectors and 1..6 rows. */
#define TILE_SIZES(X, name, kind)                                                                  \
    X(name, kind, 1, 1) X(name, kind, 2, 1) X(name, kind, 3, 1) X(name, kind, 4, 1)                \
    X(name, kind, 5, 1) X(name, kind, 6, 1) X(name, kind, 1, 2) X(name, kind, 2, 2)                \
    X(name, kind, 3, 2) X(name, kind, 4, 2) X(name, kind, 5, 2) X(name, kind, 6, 2)                \
    X(name, kind, 1, 4) X(name, kind, 2, 4) X(name, kind, 3, 4) X(name, kind, 4, 4)                \
    X(name, kind, 5, 4) X(name, kind, 6, 4)
#define TILE_DEFINE(name, kind, n_rows, n_vectors)                                                 \
    static void name##_##n_rows##x##n_vectors(const tile_job *t) {                                 \
        tile_run(t, kind, n_rows, n_vectors);                                                      \
    }
#define TILE_ENTRY(name, kind, n_rows, n_vectors)                                                  \
    [n_vectors][n_rows] = name##_##n_rows##x##n_vectors,
#define TILE_TABLE(name, kind)                                                                     \
    TILE_SIZES(TILE_DEFINE, name, kind)                                                            \
    static const tile_function name[TILE_VECTORS + 1][TILE_ROWS + 1] = {                           \
        TILE_SIZES(TILE_ENTRY, name, kind)                                                         \
    };
/* clang-format on */

/* Widest tile for the vectors left. */
static inline int32_t tile_width(int32_t n_vectors) {
    return n_vectors >= 4 ? 4 : n_vectors >= 2 ? 2 : 1;
}

/* Rows of the next tile: n_rows split into the fewest tiles of nearly the same height, because a
 * tile of one or two rows waits for its own sums. */
static inline int32_t tile_height(int32_t n_rows) {
    const int32_t n_tiles = (n_rows + TILE_ROWS - 1) / TILE_ROWS;
    return (n_rows + n_tiles - 1) / n_tiles;
}
#endif
