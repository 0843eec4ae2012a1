/* dense_matmul_avx2.c - products of F32, F16 and BF16 panels.
 *
 * One chain per output, columns ascending, BF16 pairs even column first.  A tile is up to 6 tokens
 * of one panel, or up to 3 of two: 12 registers of sums either way, so the same loop hides the
 * latency of the multiply-adds for one token and for many. */
#include "kernels/avx2/avx2_parts.h"
#include "kernels/avx2/panel_store_avx2.h"

enum { TILE_TOKENS = 6, PAIR_TOKENS = 3, PREFETCH_BYTES = 4096 };

typedef enum { DENSE_F32, DENSE_F16, DENSE_BF16 } dense_kind;

typedef struct {
    const uint8_t *panel;
    size_t panel_bytes;
    const uint8_t *row[TILE_TOKENS];
} dense_tile;

R2I_INLINE __m256 bf16_even(__m256i pairs) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
}
R2I_INLINE __m256 bf16_odd(__m256i pairs) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
}

/* Eight weights of one column; BF16 columns come in pairs, `odd` tells which of the two. */
R2I_INLINE __m256 weights(const uint8_t *p, dense_kind kind, int odd) {
    if (kind == DENSE_F32) return _mm256_loadu_ps((const float *)(const void *)p);
    if (kind == DENSE_F16) return r2i_f32x8_from_f16(p);
    return odd ? bf16_odd(r2i_load_i8x32(p)) : bf16_even(r2i_load_i8x32(p));
}

R2I_INLINE __m256 activation(const uint8_t *p, dense_kind kind, int odd) {
    if (kind != DENSE_BF16) return r2i_repeat_f32(p);
    return odd ? bf16_odd(r2i_repeat_4_bytes(p)) : bf16_even(r2i_repeat_4_bytes(p));
}

/* acc [panels * tokens][2 halves] += one column. */
R2I_INLINE void add_column(__m256 acc[TILE_TOKENS][2], const dense_tile *tile, size_t weight_at,
                           size_t x_at, const int n_panels, const int n_tokens,
                           const dense_kind kind, const int odd) {
    const size_t half_bytes = kind == DENSE_F16 ? 16 : 32;
    R2I_UNROLL
    for (int p = 0; p < n_panels; p++) {
        const uint8_t *w = tile->panel + (size_t)p * tile->panel_bytes + weight_at;
        const __m256 w0 = weights(w, kind, odd), w1 = weights(w + half_bytes, kind, odd);
        R2I_UNROLL
        for (int t = 0; t < n_tokens; t++) {
            const __m256 x = activation(tile->row[t] + x_at, kind, odd);
            __m256 *sum = acc[p * n_tokens + t];
            sum[0] = _mm256_fmadd_ps(x, w0, sum[0]);
            sum[1] = _mm256_fmadd_ps(x, w1, sum[1]);
        }
    }
}

/* out [panels][tokens][16] */
R2I_INLINE void tile_body(float *out, const dense_tile *aimed, int32_t n_cols, const int n_panels,
                          const int n_tokens, const dense_kind kind) {
    const size_t step_bytes = kind == DENSE_F16 ? 32 : 64;
    const int32_t n_steps = kind == DENSE_BF16 ? (n_cols + 1) / 2 : n_cols;
    const dense_tile tile = *aimed;
    __m256 acc[TILE_TOKENS][2];
    R2I_UNROLL
    for (int i = 0; i < n_panels * n_tokens; i++)
        acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (int32_t step = 0; step < n_steps; step++) {
        const size_t w_at = (size_t)step * step_bytes, x_at = 4 * (size_t)step;
        if (n_panels > 1) { /* few tokens: the panels come from memory */
            _mm_prefetch((const char *)tile.panel + w_at + PREFETCH_BYTES, _MM_HINT_T0);
            _mm_prefetch((const char *)tile.panel + tile.panel_bytes + w_at + PREFETCH_BYTES,
                         _MM_HINT_T0);
        }
        add_column(acc, &tile, w_at, x_at, n_panels, n_tokens, kind, 0);
        if (kind == DENSE_BF16) R2I_FORGET_LOADS();
        if (kind == DENSE_BF16) add_column(acc, &tile, w_at, x_at, n_panels, n_tokens, kind, 1);
    }
    R2I_UNROLL
    for (int i = 0; i < n_panels * n_tokens; i++) {
        _mm256_store_ps(out + 16 * i, acc[i][0]);
        _mm256_store_ps(out + 16 * i + 8, acc[i][1]);
    }
}

R2I_INLINE void tile_of(float *out, const dense_tile *tile, int32_t n_cols, int n_panels,
                        int n_tokens, const dense_kind kind) {
    switch (10 * n_panels + n_tokens) {
    case 11: tile_body(out, tile, n_cols, 1, 1, kind); return;
    case 12: tile_body(out, tile, n_cols, 1, 2, kind); return;
    case 13: tile_body(out, tile, n_cols, 1, 3, kind); return;
    case 14: tile_body(out, tile, n_cols, 1, 4, kind); return;
    case 15: tile_body(out, tile, n_cols, 1, 5, kind); return;
    case 16: tile_body(out, tile, n_cols, 1, 6, kind); return;
    case 21: tile_body(out, tile, n_cols, 2, 1, kind); return;
    case 22: tile_body(out, tile, n_cols, 2, 2, kind); return;
    default: tile_body(out, tile, n_cols, 2, 3, kind); return;
    }
}

R2I_INLINE void multiply(const r2i_matmul_job *job, r2i_type layout, const dense_kind kind) {
    _Alignas(64) float out[TILE_TOKENS * R2I_PANEL_ROWS];
    const int32_t panel_step = job->n_tokens <= PAIR_TOKENS ? 2 : 1;
    dense_tile tile = { .panel = job->panels, .panel_bytes = r2i_panel_bytes(layout, job->n_cols) };
    for (int32_t p = 0; p < job->n_panels; p += panel_step) {
        const int n_panels = job->n_panels - p < panel_step ? 1 : panel_step;
        int32_t n_tiles = (job->n_tokens + TILE_TOKENS - 1) / TILE_TOKENS;
        for (int32_t t = 0; t < job->n_tokens; n_tiles--) { /* evenly sized: 8 tokens are 4 + 4 */
            const int n = (job->n_tokens - t + n_tiles - 1) / n_tiles;
            for (int i = 0; i < n; i++)
                tile.row[i] = job->act + (size_t)(t + i) * job->act_stride;
            tile_of(out, &tile, job->n_cols, n_panels, n, kind);
            for (int i = 0; i < n_panels; i++)
                store_panel(job, out + 16 * n * i, p + i, t, n);
            t += n;
        }
        tile.panel += (size_t)panel_step * tile.panel_bytes;
    }
}

static void matmul_f32(const r2i_matmul_job *job) { multiply(job, R2I_TYPE_F32, DENSE_F32); }
static void matmul_f16(const r2i_matmul_job *job) { multiply(job, R2I_TYPE_F16, DENSE_F16); }
static void matmul_bf16(const r2i_matmul_job *job) { multiply(job, R2I_TYPE_BF16, DENSE_BF16); }

void r2i_avx2_add_dense(r2i_kernels *kernels) {
    kernels->matmul[R2I_TYPE_F32] = matmul_f32;
    kernels->matmul[R2I_TYPE_F16] = matmul_f16;
    kernels->matmul[R2I_TYPE_BF16] = matmul_bf16;
}
