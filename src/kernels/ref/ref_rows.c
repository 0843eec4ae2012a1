/* ref_rows.c - norms, activation functions, rotary embedding and softmax of one row. */
#include <math.h>

#include "kernels/ref/ref_parts.h"

static void rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps) {
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    const double scale = 1.0 / sqrt(sum / (double)n + (double)eps);
    for (int32_t i = 0; i < n; i++) y[i] = (float)((double)w[i] * ((double)x[i] * scale));
}

static void silu_mul(float *y, const float *gate, const float *up, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        const double g = (double)gate[i];
        y[i] = (float)(g / (1.0 + exp(-g)) * (double)up[i]);
    }
}

static void rope(float *x, const float *cosine, const float *sine, int32_t d, bool is_interleaved) {
    for (int32_t i = 0; i < d / 2; i++) {
        float *a = is_interleaved ? x + 2 * i : x + i;
        float *b = is_interleaved ? x + 2 * i + 1 : x + i + d / 2;
        const double u = (double)*a, v = (double)*b, c = (double)cosine[i], s = (double)sine[i];
        *a = (float)(u * c - v * s);
        *b = (float)(v * c + u * s);
    }
}

/* The maximum of a row, NaN if there is one; -INFINITY for an empty row. */
static double max_of(const float *x, int32_t n) {
    double max = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        if (isnan(x[i])) return NAN;
        if ((double)x[i] > max) max = (double)x[i];
    }
    return max;
}

static float log_sum_exp(const float *x, int32_t n) {
    const double max = max_of(x, n);
    if (isinf(max) || isnan(max)) return (float)max;
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    return (float)(max + log(sum));
}

static void softmax(float *p, const float *x, int32_t n) {
    const double max = max_of(x, n);
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    for (int32_t i = 0; i < n; i++) p[i] = (float)(exp((double)x[i] - max) / sum);
}

void r2i_ref_add_rows(r2i_kernels *kernels) {
    kernels->rmsnorm = rmsnorm;
    kernels->silu_mul = silu_mul;
    kernels->rope = rope;
    kernels->log_sum_exp = log_sum_exp;
    kernels->softmax = softmax;
}
