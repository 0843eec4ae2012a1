/* attend_avx2.c - attention over cache pages.
 *
 * For each page, query rows that see some of it are taken up to 5 at a time.  Scores are formed for
 * 16 or 32 keys and sums of values for 16 or 32 channels, as many as leave registers for the
 * operands (a sixth row spills); each is one chain of multiply-adds, so a row's bits do not depend
 * on its companions: keys that only others see enter with weight 0, which changes no sum. */
#include <math.h>

#include "base/half.h"
#include "kernels/avx2/avx2_parts.h"
#include "kernels/avx2/exp_avx2.h"

enum { SLOTS = R2I_PAGE_TOKENS, TILE_ROWS = 5, MAX_CHUNKS = 4, KEY_STEP = 32, FEW_ROWS = 2 };

typedef struct {
    int n_rows;
    int32_t row[TILE_ROWS];                   /* in the job */
    int32_t begin[TILE_ROWS], end[TILE_ROWS]; /* visible slots of the page */
    int32_t first, last;                      /* union of them, in whole steps of keys */
    _Alignas(64) float q[TILE_ROWS][R2I_MAX_HEAD + 1];
    _Alignas(64) float p[TILE_ROWS][SLOTS]; /* scores, then weights */
    _Alignas(64) float out[TILE_ROWS][R2I_MAX_HEAD];
} attend_tile;

/* Eight elements of even or odd partner in a pair (BF16), or plain floats. */
R2I_INLINE __m256 load_pairs(const uint8_t *p, r2i_row_kind kind, int odd, __m256i mask,
                             int is_full) {
    if (kind == R2I_ROWS_F32) {
        const float *x = (const float *)(const void *)p;
        return is_full ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, mask);
    }
    const __m256i v =
        is_full ? r2i_load_i8x32(p) : _mm256_maskload_epi32((const int *)(const void *)p, mask);
    return _mm256_castsi256_ps(odd ? _mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000u))
                                   : _mm256_slli_epi32(v, 16));
}

/* One step: the smaller operand stays in registers while the other passes through one. */
R2I_INLINE void add_step(__m256 acc[MAX_CHUNKS][TILE_ROWS], const uint8_t *m, const float *x,
                         size_t x_stride, const __m256i masks[MAX_CHUNKS], const int n_chunks,
                         const int n_rows, const r2i_row_kind kind, const int odd,
                         const int is_full) {
    __m256 kept[MAX_CHUNKS];
    if (n_chunks <= n_rows) {
        R2I_UNROLL
        for (int c = 0; c < n_chunks; c++) {
            kept[c] = load_pairs(m + 32 * c, kind, odd, masks[c], is_full);
        }
        R2I_UNROLL
        for (int t = 0; t < n_rows; t++) {
            const __m256 repeated = _mm256_broadcast_ss(x + (size_t)t * x_stride);
            R2I_UNROLL
            for (int c = 0; c < n_chunks; c++) {
                acc[c][t] = _mm256_fmadd_ps(repeated, kept[c], acc[c][t]);
            }
        }
        return;
    }
    R2I_UNROLL
    for (int t = 0; t < n_rows; t++)
        kept[t] = _mm256_broadcast_ss(x + (size_t)t * x_stride);
    R2I_UNROLL
    for (int c = 0; c < n_chunks; c++) {
        const __m256 v = load_pairs(m + 32 * c, kind, odd, masks[c], is_full);
        R2I_UNROLL
        for (int t = 0; t < n_rows; t++)
            acc[c][t] = _mm256_fmadd_ps(kept[t], v, acc[c][t]);
    }
}

/* acc[chunk][row] over n_steps steps: sum of x[row][step] * m[step][8 lanes of chunk].  A step is
 * one line of `line_bytes`; BF16 lines hold two steps. */
R2I_INLINE void product(__m256 acc[MAX_CHUNKS][TILE_ROWS], const uint8_t *m, size_t line_bytes,
                        const float *x, size_t x_stride, int32_t n_steps,
                        const __m256i masks[MAX_CHUNKS], const int n_chunks, const int n_rows,
                        const r2i_row_kind kind, const int is_full) {
    const int per_line = kind == R2I_ROWS_BF16 ? 2 : 1;
    R2I_UNROLL
    for (int c = 0; c < n_chunks; c++) {
        R2I_UNROLL
        for (int t = 0; t < n_rows; t++)
            acc[c][t] = _mm256_setzero_ps();
    }
    for (int32_t step = 0; step < n_steps; step += per_line, m += line_bytes) {
        R2I_UNROLL
        for (int odd = 0; odd < per_line; odd++) {
            add_step(acc, m, x + step + odd, x_stride, masks, n_chunks, n_rows, kind, odd, is_full);
            R2I_FORGET_LOADS();
        }
    }
}

/* y[row][lanes] of n_chunks chunks. */
R2I_INLINE void product_stored(float *y, size_t y_stride, const uint8_t *m, size_t line_bytes,
                               const float *x, size_t x_stride, int32_t n_steps,
                               const __m256i masks[MAX_CHUNKS], const int n_chunks,
                               const int n_rows, const r2i_row_kind kind, const int is_full) {
    __m256 acc[MAX_CHUNKS][TILE_ROWS];
    product(acc, m, line_bytes, x, x_stride, n_steps, masks, n_chunks, n_rows, kind, is_full);
    R2I_UNROLL
    for (int c = 0; c < n_chunks; c++) {
        R2I_UNROLL
        for (int t = 0; t < n_rows; t++)
            _mm256_storeu_ps(y + (size_t)t * y_stride + 8 * c, acc[c][t]);
    }
}

/* Literal sizes for the tile: n_rows x n_chunks is at most 10. */
R2I_INLINE void product_of(int n_rows, float *y, size_t y_stride, const uint8_t *m,
                           size_t line_bytes, const float *x, size_t x_stride, int32_t n_steps,
                           const int n_few_chunks, const r2i_row_kind kind, const int is_full,
                           int32_t n_lanes) {
    __m256i masks[MAX_CHUNKS];
    for (int c = 0; c < MAX_CHUNKS; c++)
        masks[c] = r2i_first_lanes(n_lanes - 8 * c);
#define R2I_PRODUCT(rows, chunks)                                                               \
    product_stored(y, y_stride, m, line_bytes, x, x_stride, n_steps, masks, chunks, rows, kind, \
                   is_full)
    switch (n_rows) {
    case 1: R2I_PRODUCT(1, n_few_chunks); return;
    case 2: R2I_PRODUCT(2, n_few_chunks); return;
    case 3: R2I_PRODUCT(3, 2); return;
    case 4: R2I_PRODUCT(4, 2); return;
    default: R2I_PRODUCT(5, 2); return;
    }
#undef R2I_PRODUCT
}

/* p[row][first..last) = q . k */
R2I_INLINE void form_scores(attend_tile *t, const uint8_t *page, int32_t d_key,
                            const r2i_row_kind kind) {
    const int32_t step = t->n_rows <= FEW_ROWS ? 32 : 16;
    for (int32_t j = t->first; j < t->last; j += step) {
        product_of(t->n_rows, t->p[0] + j, SLOTS, page + 4 * j, 4 * SLOTS, t->q[0],
                   R2I_MAX_HEAD + 1, d_key, 4, kind, 1, SLOTS);
    }
}

/* out[row] = sum over slots first..last of p v, d_value channels (lanes beyond them are scrap). */
R2I_INLINE void add_values(attend_tile *t, const uint8_t *page, int32_t d_value,
                           const r2i_row_kind kind) {
    const size_t line_bytes = 4 * (size_t)d_value;
    const size_t skipped = (size_t)t->first / (kind == R2I_ROWS_BF16 ? 2 : 1) * line_bytes;
    const float *p = t->p[0] + t->first;
    const int32_t n_steps = t->last - t->first;
    for (int32_t c = 0; c < d_value;) {
        const uint8_t *m = page + skipped + 4 * (size_t)c;
        const int32_t n_left = d_value - c;
        if (t->n_rows <= FEW_ROWS && n_left >= 32) {
            product_of(t->n_rows, t->out[0] + c, R2I_MAX_HEAD, m, line_bytes, p, SLOTS, n_steps, 4,
                       kind, 1, 32);
            c += 32;
        } else if (n_left >= 16) {
            product_of(t->n_rows, t->out[0] + c, R2I_MAX_HEAD, m, line_bytes, p, SLOTS, n_steps, 2,
                       kind, 1, 16);
            c += 16;
        } else {
            product_of(t->n_rows, t->out[0] + c, R2I_MAX_HEAD, m, line_bytes, p, SLOTS, n_steps, 2,
                       kind, 0, n_left);
            c += 16;
        }
    }
}

/* Lanes of slots j..j+7 that lie in [begin, end). */
R2I_INLINE __m256 visible_lanes(int32_t j, int32_t begin, int32_t end) {
    const __m256i from_begin = r2i_first_lanes(begin - j), to_end = r2i_first_lanes(end - j);
    return _mm256_castsi256_ps(_mm256_andnot_si256(from_begin, to_end));
}

/* One row's scores to weights; its maximum and sum leave. */
static void weigh(float *p, const attend_tile *t, int i, float scale, r2i_row_kind kind,
                  float *out_max, float *out_sum) {
    const __m256 hidden = _mm256_set1_ps(-INFINITY), factor = _mm256_set1_ps(scale);
    __m256 max = hidden, unordered = _mm256_setzero_ps(), sum = _mm256_setzero_ps();
    for (int32_t j = t->first; j < t->last; j += 8) {
        const __m256 is_visible = visible_lanes(j, t->begin[i], t->end[i]);
        const __m256 s =
            _mm256_blendv_ps(hidden, _mm256_mul_ps(_mm256_load_ps(p + j), factor), is_visible);
        max = _mm256_max_ps(max, s);
        unordered = _mm256_or_ps(unordered, _mm256_cmp_ps(s, s, _CMP_UNORD_Q));
        _mm256_store_ps(p + j, s);
    }
    const float top = r2i_has_nan(unordered) ? NAN : r2i_max_f32x8(max);
    for (int32_t j = t->first; j < t->last; j += 8) {
        const __m256 is_visible = visible_lanes(j, t->begin[i], t->end[i]);
        __m256 e = r2i_exp_f32x8(_mm256_sub_ps(_mm256_load_ps(p + j), _mm256_set1_ps(top)));
        if (kind == R2I_ROWS_BF16) e = r2i_round_to_bf16(e);
        e = _mm256_and_ps(e, is_visible);
        sum = _mm256_add_ps(sum, e);
        _mm256_store_ps(p + j, e);
    }
    *out_max = top;
    *out_sum = r2i_sum_f32x8(sum);
}

/* exp(max - new_max); a part without keys weighs nothing. */
static float weight(float max, float new_max) {
    if (max == -INFINITY) return 0.0F;
    return _mm256_cvtss_f32(r2i_exp_f32x8(_mm256_set1_ps(max - new_max)));
}

static void attend_merge(float *max_a, float *sum_a, float *out_a, float max_b, float sum_b,
                         const float *out_b, int32_t d) {
    const float max = max_b < *max_a || isnan(*max_a) ? *max_a : max_b; /* NaN wins */
    const __m256 a = _mm256_set1_ps(weight(*max_a, max)), b = _mm256_set1_ps(weight(max_b, max));
    for (int32_t c = 0; c < d; c += 8) {
        const __m256 scaled = _mm256_mul_ps(b, r2i_load_f32_part(out_b + c, d - c, 0.0F));
        const __m256 old = r2i_load_f32_part(out_a + c, d - c, 0.0F);
        r2i_store_f32_part(out_a + c, d - c, _mm256_fmadd_ps(a, old, scaled));
    }
    *sum_a = _mm256_cvtss_f32(a) * *sum_a + _mm256_cvtss_f32(b) * sum_b;
    *max_a = max;
}

R2I_INLINE void load_queries(attend_tile *t, const r2i_attend_job *job, const r2i_row_kind kind) {
    for (int i = 0; i < t->n_rows; i++) {
        const float *q = job->q + (size_t)t->row[i] * job->q_stride;
        for (int32_t c = 0; c < job->d_key; c += 8) {
            __m256 v = r2i_load_f32_part(q + c, job->d_key - c, 0.0F);
            if (kind == R2I_ROWS_BF16) v = r2i_round_to_bf16(v);
            r2i_store_f32_part(t->q[i] + c, job->d_key - c, v);
        }
        t->q[i][job->d_key] = 0.0F; /* partner of an odd last channel */
    }
}

R2I_INLINE void attend_rows(attend_tile *t, const r2i_attend_job *job, int32_t page,
                            const r2i_row_kind kind) {
    load_queries(t, job, kind);
    form_scores(t, job->key_pages[page], job->d_key, kind);
    float max[TILE_ROWS], sum[TILE_ROWS];
    for (int i = 0; i < t->n_rows; i++)
        weigh(t->p[i], t, i, job->scale, kind, &max[i], &sum[i]);
    add_values(t, job->value_pages[page], job->d_value, kind);
    for (int i = 0; i < t->n_rows; i++) {
        const size_t row = (size_t)t->row[i];
        attend_merge(&job->out_max[row], &job->out_sum[row], job->out + row * (size_t)job->d_value,
                     max[i], sum[i], t->out[i], job->d_value);
    }
}

/* Adds a row to the tile if it sees any of the page. */
static void gather_row(attend_tile *t, const r2i_attend_job *job, int32_t row, int32_t page) {
    const int32_t first = job->first_position + page * SLOTS;
    const int32_t begin = job->first_key[row] > first ? job->first_key[row] - first : 0;
    const int32_t end = job->end_key[row] - first < SLOTS ? job->end_key[row] - first : SLOTS;
    if (begin >= end) return;
    const int i = t->n_rows++;
    t->row[i] = row;
    t->begin[i] = begin;
    t->end[i] = end;
    const int32_t down = begin / KEY_STEP * KEY_STEP,
                  up = (end + KEY_STEP - 1) / KEY_STEP * KEY_STEP;
    if (i == 0 || down < t->first) t->first = down;
    if (i == 0 || up > t->last) t->last = up;
}

static void prefetch_page(const uint8_t *page, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += 64)
        _mm_prefetch((const char *)page + i, _MM_HINT_T1);
}

R2I_INLINE void attend_page(const r2i_attend_job *job, int32_t page, const r2i_row_kind kind) {
    const int32_t n_tiles = (job->n_rows + TILE_ROWS - 1) / TILE_ROWS;
    const int32_t rows_per_tile =
        n_tiles > 0 ? (job->n_rows + n_tiles - 1) / n_tiles : 0; /* even */
    attend_tile t;
    t.n_rows = 0;
    for (int32_t row = 0; row < job->n_rows; row++) {
        gather_row(&t, job, row, page);
        if (t.n_rows == rows_per_tile || (row + 1 == job->n_rows && t.n_rows > 0)) {
            attend_rows(&t, job, page, kind);
            t.n_rows = 0;
        }
    }
}

static void attend(const r2i_attend_job *job) {
    for (int32_t row = 0; row < job->n_rows; row++) {
        job->out_max[row] = -INFINITY;
        job->out_sum[row] = 0.0F;
    }
    memset(job->out, 0, sizeof(float) * (size_t)job->n_rows * (size_t)job->d_value);
    for (int32_t page = 0; page < job->n_pages; page++) {
        if (page + 1 <
            job->n_pages) { /* pages lie anywhere: no hardware prefetcher finds the next */
            prefetch_page(job->key_pages[page + 1], r2i_key_page_bytes(job->rows, job->d_key));
            prefetch_page(job->value_pages[page + 1],
                          r2i_value_page_bytes(job->rows, job->d_value));
        }
        if (job->rows == R2I_ROWS_BF16) {
            attend_page(job, page, R2I_ROWS_BF16);
        } else {
            attend_page(job, page, R2I_ROWS_F32);
        }
    }
}

void r2i_avx2_add_attend(r2i_kernels *kernels) {
    kernels->attend = attend;
    kernels->attend_merge = attend_merge;
}
