/* rows_avx2.c - norms, activation function, rotary embedding and softmax of one row.
 *
 * Sums run in 8 or 16 lanes that are joined in a fixed order: same bits on every call. */
#include <math.h>

#include "kernels/avx2/avx2_parts.h"
#include "kernels/avx2/exp_avx2.h"

static float sum_of_squares(const float *x, int32_t n) {
    __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
    for (int32_t i = 0; i < n; i += 16) {
        const __m256 a = r2i_load_f32_part(x + i, n - i, 0.0F);
        even = _mm256_fmadd_ps(a, a, even);
        if (n - i <= 8) break;
        const __m256 b = r2i_load_f32_part(x + i + 8, n - i - 8, 0.0F);
        odd = _mm256_fmadd_ps(b, b, odd);
    }
    return r2i_sum_f32x8(_mm256_add_ps(even, odd));
}

static void rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps) {
    const __m256 scale = _mm256_set1_ps(1.0F / sqrtf(sum_of_squares(x, n) / (float)n + eps));
    for (int32_t i = 0; i < n; i += 8) {
        const __m256 scaled = _mm256_mul_ps(r2i_load_f32_part(x + i, n - i, 0.0F), scale);
        r2i_store_f32_part(y + i, n - i,
                           _mm256_mul_ps(r2i_load_f32_part(w + i, n - i, 0.0F), scaled));
    }
}

static void silu_mul(float *y, const float *gate, const float *up, int32_t n) {
    const __m256 one = _mm256_set1_ps(1.0F), sign = _mm256_set1_ps(-0.0F);
    for (int32_t i = 0; i < n; i += 8) {
        const __m256 g = r2i_load_f32_part(gate + i, n - i, 0.0F),
                     u = r2i_load_f32_part(up + i, n - i, 0.0F);
        const __m256 below = _mm256_add_ps(one, r2i_exp_f32x8(_mm256_xor_ps(g, sign)));
        r2i_store_f32_part(y + i, n - i, _mm256_mul_ps(_mm256_div_ps(g, below), u));
    }
}

static void rope_split(float *x, const float *cosine, const float *sine, int32_t n_pairs) {
    float *upper = x + n_pairs;
    for (int32_t i = 0; i < n_pairs; i += 8) {
        const int32_t n = n_pairs - i;
        const __m256 a = r2i_load_f32_part(x + i, n, 0.0F),
                     b = r2i_load_f32_part(upper + i, n, 0.0F);
        const __m256 c = r2i_load_f32_part(cosine + i, n, 0.0F),
                     s = r2i_load_f32_part(sine + i, n, 0.0F);
        r2i_store_f32_part(x + i, n, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        r2i_store_f32_part(upper + i, n, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
    }
}

/* Four factors, each for both members of a pair. */
R2I_INLINE __m256 doubled(__m256 v) {
    return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
}

static void rope_interleaved(float *x, const float *cosine, const float *sine, int32_t n_pairs) {
    for (int32_t i = 0; i < n_pairs; i += 4) {
        const int32_t n = n_pairs - i < 4 ? n_pairs - i : 4;
        const __m256 both = r2i_load_f32_part(x + 2 * i, 2 * n, 0.0F);
        const __m256 c = doubled(r2i_load_f32_part(cosine + i, n, 0.0F));
        const __m256 s = doubled(r2i_load_f32_part(sine + i, n, 0.0F));
        const __m256 swapped = _mm256_permute_ps(both, 0xb1);
        r2i_store_f32_part(x + 2 * i, 2 * n,
                           _mm256_fmaddsub_ps(both, c, _mm256_mul_ps(swapped, s)));
    }
}

static void rope(float *x, const float *cosine, const float *sine, int32_t d, bool is_interleaved) {
    if (is_interleaved) {
        rope_interleaved(x, cosine, sine, d / 2);
    } else {
        rope_split(x, cosine, sine, d / 2);
    }
}

/* The maximum of a row, NaN if there is one; -INFINITY for an empty row. */
static float max_of(const float *x, int32_t n) {
    __m256 max = _mm256_set1_ps(-INFINITY), unordered = _mm256_setzero_ps();
    for (int32_t i = 0; i < n; i += 8) {
        const __m256 v = r2i_load_f32_part(x + i, n - i, -INFINITY);
        max = _mm256_max_ps(max, v);
        unordered = _mm256_or_ps(unordered, _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    return r2i_has_nan(unordered) ? NAN : r2i_max_f32x8(max);
}

/* sum exp(x - max), the terms stored in p unless it is NULL.  NaN minus anything stays NaN. */
R2I_INLINE float sum_exp(float *p, const float *x, int32_t n, float max) {
    const __m256 m = _mm256_set1_ps(max);
    __m256 sum = _mm256_setzero_ps();
    for (int32_t i = 0; i < n; i += 8) {
        __m256 e = r2i_exp_f32x8(_mm256_sub_ps(r2i_load_f32_part(x + i, n - i, 0.0F), m));
        if (p != NULL) r2i_store_f32_part(p + i, n - i, e);
        if (n - i < 8) e = _mm256_and_ps(e, _mm256_castsi256_ps(r2i_first_lanes(n - i)));
        sum = _mm256_add_ps(sum, e);
    }
    return r2i_sum_f32x8(sum);
}

static float log_sum_exp(const float *x, int32_t n) {
    const float max = max_of(x, n);
    if (isinf(max) || isnan(max)) return max;
    return max + logf(sum_exp(NULL, x, n, max));
}

static void softmax(float *p, const float *x, int32_t n) {
    const __m256 sum = _mm256_set1_ps(sum_exp(p, x, n, max_of(x, n)));
    for (int32_t i = 0; i < n; i += 8) {
        r2i_store_f32_part(p + i, n - i, _mm256_div_ps(r2i_load_f32_part(p + i, n - i, 0.0F), sum));
    }
}

void r2i_avx2_add_rows(r2i_kernels *kernels) {
    kernels->rmsnorm = rmsnorm;
    kernels->silu_mul = silu_mul;
    kernels->rope = rope;
    kernels->log_sum_exp = log_sum_exp;
    kernels->softmax = softmax;
}
