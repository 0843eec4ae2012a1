/* vector_avx512.c - norms, rotations, activations and softmax over one row. */
#include "kernels/avx512/exp_avx512.h"
#include "kernels/avx512/levels_avx512.h"

/* Sums of 64 interleaved parts, added up in a fixed tree. */
static float sum_of_squares(const float *x, int32_t n) {
    __m512 a[4] = { _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                    _mm512_setzero_ps() };
    int32_t i = 0;
    for (; i + 64 <= n; i += 64) {
        UNROLL_AVX512
        for (int j = 0; j < 4; j++) {
            const __m512 v = _mm512_loadu_ps(x + i + 16 * j);
            a[j] = _mm512_fmadd_ps(v, v, a[j]);
        }
    }
    for (; i < n; i += 16) {
        const __m512 v = _mm512_maskz_loadu_ps(lanes_avx512(n - i), x + i);
        a[0] = _mm512_fmadd_ps(v, v, a[0]);
    }
    return _mm512_reduce_add_ps(
        _mm512_add_ps(_mm512_add_ps(a[0], a[1]), _mm512_add_ps(a[2], a[3])));
}

static void rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps) {
    const float inverse = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps);
    const __m512 factor = _mm512_set1_ps(inverse);
    for (int32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lanes_avx512(n - i);
        const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), factor);
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(m, w + i)));
    }
}

static void silu_mul(float *y, const float *gate, const float *up, int32_t n) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lanes_avx512(n - i);
        const __m512 g = _mm512_maskz_loadu_ps(m, gate + i), u = _mm512_maskz_loadu_ps(m, up + i);
        const __m512 below = _mm512_add_ps(one, exp_avx512(_mm512_sub_ps(_mm512_setzero_ps(), g)));
        _mm512_mask_storeu_ps(y + i, m, _mm512_mul_ps(_mm512_div_ps(g, below), u));
    }
}

static void rope_halves(float *x, const float *cosine, const float *sine, int32_t half) {
    for (int32_t i = 0; i < half; i += 16) {
        const __mmask16 m = lanes_avx512(half - i);
        const __m512 c = _mm512_maskz_loadu_ps(m, cosine + i),
                     s = _mm512_maskz_loadu_ps(m, sine + i);
        const __m512 a = _mm512_maskz_loadu_ps(m, x + i),
                     b = _mm512_maskz_loadu_ps(m, x + half + i);
        _mm512_mask_storeu_ps(x + i, m, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(x + half + i, m, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
    }
}

static void rope_pairs(float *x, const float *cosine, const float *sine, int32_t half) {
    const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    for (int32_t i = 0; i < half; i += 8) {
        const __mmask16 m = lanes_avx512(2 * (half - i)),
                        m_half = lanes_avx512(half - i) & (__mmask16)0xff;
        const __m512 v = _mm512_maskz_loadu_ps(m, x + 2 * i), swapped = _mm512_permute_ps(v, 0xb1);
        const __m512 c = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(m_half, cosine + i));
        const __m512 s = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(m_half, sine + i));
        _mm512_mask_storeu_ps(x + 2 * i, m, _mm512_fmaddsub_ps(v, c, _mm512_mul_ps(swapped, s)));
    }
}

static void rope(float *x, const float *cosine, const float *sine, int32_t d, bool is_interleaved) {
    (is_interleaved ? rope_pairs : rope_halves)(x, cosine, sine, d / 2);
}

/* NaN if there is one; -INFINITY of nothing. */
static float max_of(const float *x, int32_t n) {
    const __m512 least = _mm512_set1_ps(-INFINITY);
    __m512 a = least;
    unsigned has_nan = 0;
    for (int32_t i = 0; i < n; i += 16) {
        const __m512 v = _mm512_mask_loadu_ps(least, lanes_avx512(n - i), x + i);
        has_nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        a = _mm512_max_ps(a, v);
    }
    return has_nan != 0 ? NAN : _mm512_reduce_max_ps(a);
}

/* Sum of exp(x - maximum), stored in p too unless p is NULL. */
static float exp_all(float *p, const float *x, int32_t n, float maximum) {
    const __m512 m = _mm512_set1_ps(maximum);
    __m512 sum[2] = { _mm512_setzero_ps(), _mm512_setzero_ps() };
    for (int32_t i = 0; i < n; i += 16) {
        const __mmask16 lanes = lanes_avx512(n - i);
        const __m512 e = exp_avx512(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), m));
        sum[i / 16 % 2] = _mm512_mask_add_ps(sum[i / 16 % 2], lanes, sum[i / 16 % 2], e);
        if (p != NULL) _mm512_mask_storeu_ps(p + i, lanes, e);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(sum[0], sum[1]));
}

static float log_sum_exp(const float *x, int32_t n) {
    const float m = max_of(x, n);
    if (isinf(m)) return m;
    return (float)((double)m + log((double)exp_all(NULL, x, n, m)));
}

static void softmax(float *p, const float *x, int32_t n) {
    const __m512 factor = _mm512_set1_ps(1.0f / exp_all(p, x, n, max_of(x, n)));
    for (int32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lanes_avx512(n - i);
        _mm512_mask_storeu_ps(p + i, m, _mm512_mul_ps(_mm512_maskz_loadu_ps(m, p + i), factor));
    }
}

static void dequantize_f16(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lanes_avx512(n - i);
        _mm512_mask_storeu_ps(y + i, m,
                              _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, row + 2 * (size_t)i)));
    }
}

static void dequantize_bf16(float *y, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i += 16) {
        const __mmask16 m = lanes_avx512(n - i);
        const __m512i wide =
            _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, row + 2 * (size_t)i));
        _mm512_mask_storeu_ps(y + i, m, _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
    }
}

void r2i_avx512_add_vector(r2i_kernels *kernels) {
    kernels->rmsnorm = rmsnorm;
    kernels->silu_mul = silu_mul;
    kernels->rope = rope;
    kernels->log_sum_exp = log_sum_exp;
    kernels->softmax = softmax;
    kernels->dequantize[R2I_TYPE_F16] = dequantize_f16;
    kernels->dequantize[R2I_TYPE_BF16] = dequantize_bf16;
}
