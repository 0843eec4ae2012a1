/* outer_avx512.c - sums of outer products of few coefficients with long rows (gradients of adapters).
 *
 * A block of tokens stays in the first-level cache while all ranks pass over it, eight ranks by two
 * vectors of columns in registers.  Every output stays one chain over the tokens.
 *
 * Rows are long and lie far apart, which no prefetcher of the machine follows: without asking for
 * the next block's while this one is at work, loads wait and a core reads 5 GB/s instead of 20. */
#include <immintrin.h>

#include "kernels/avx512/exp_avx512.h"
#include "kernels/avx512/levels_avx512.h"

enum { TOKENS = 16, RANKS = 8, COLS = 32, WIDE_COLS = 256 };

/* n_ranks is a literal where this is called: the loops over it become registers. */
static inline void add_tile(const r2i_outer_job *job, int32_t token, int32_t n_tokens, int32_t rank,
                            int n_ranks, int32_t column) {
    const __mmask16 low = lanes_avx512(job->n_cols - column),
                    high = lanes_avx512(job->n_cols - column - 16);
    float *g = job->g + (size_t)rank * job->g_stride + (size_t)column;
    const float *c = job->c + (size_t)token * job->c_stride + (size_t)rank,
                *x = job->x + (size_t)token * job->x_stride + (size_t)column;
    __m512 a[RANKS], b[RANKS];
    UNROLL_AVX512
    for (int r = 0; r < n_ranks; r++) {
        a[r] = _mm512_maskz_loadu_ps(low, g + (size_t)r * job->g_stride);
        b[r] = _mm512_maskz_loadu_ps(high, g + (size_t)r * job->g_stride + 16);
    }
    const size_t ahead = job->n_tokens - token >= 2 * TOKENS ? TOKENS * job->x_stride : 0;
    for (int32_t t = 0; t < n_tokens; t++, c += job->c_stride, x += job->x_stride) {
        const __m512 first = _mm512_maskz_loadu_ps(low, x),
                     second = _mm512_maskz_loadu_ps(high, x + 16);
        _mm_prefetch((const char *)(x + ahead), _MM_HINT_T0);
        _mm_prefetch((const char *)(x + ahead + (high != 0 ? 16 : 0)), _MM_HINT_T0);
        UNROLL_AVX512
        for (int r = 0; r < n_ranks; r++) {
            const __m512 factor = _mm512_set1_ps(c[r]);
            a[r] = _mm512_fmadd_ps(factor, first, a[r]);
            b[r] = _mm512_fmadd_ps(factor, second, b[r]);
        }
    }
    UNROLL_AVX512
    for (int r = 0; r < n_ranks; r++) {
        _mm512_mask_storeu_ps(g + (size_t)r * job->g_stride, low, a[r]);
        _mm512_mask_storeu_ps(g + (size_t)r * job->g_stride + 16, high, b[r]);
    }
}

static void add_block(const r2i_outer_job *job, int32_t token, int32_t n_tokens, int32_t begin,
                      int32_t end) {
    for (int32_t column = begin; column < end; column += COLS) {
        int32_t rank = 0;
        for (; rank + RANKS <= job->n_ranks; rank += RANKS)
            add_tile(job, token, n_tokens, rank, RANKS, column);
        for (; rank < job->n_ranks; rank++)
            add_tile(job, token, n_tokens, rank, 1, column);
    }
}

static void add_outer(const r2i_outer_job *job) {
    for (int32_t column = 0; column < job->n_cols; column += WIDE_COLS) {
        const int32_t end = column + WIDE_COLS < job->n_cols ? column + WIDE_COLS : job->n_cols;
        for (int32_t token = 0; token < job->n_tokens; token += TOKENS)
            add_block(job, token, job->n_tokens - token < TOKENS ? job->n_tokens - token : TOKENS,
                      column, end);
    }
}

void r2i_avx512_add_outer(r2i_kernels *kernels) {
    kernels->add_outer = add_outer;
}
