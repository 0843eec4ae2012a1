/* portable_rows.c - norms, activation functions, rotary embedding and softmax of one row.
 *
 * Sums run in eight interleaved chains that are joined in a fixed order: vectors for the compiler,
 * the same bits on every call. */
#include <math.h>

#include "kernels/portable/fast_exp.h"
#include "kernels/portable/portable_parts.h"

enum { CHAINS = 8 };

static float join(const float part[CHAINS]) {
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

static float sum_of_squares(const float *x, int32_t n) {
    float part[CHAINS] = {0};
    int32_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS) {
        for (int k = 0; k < CHAINS; k++) part[k] += x[i + k] * x[i + k];
    }
    for (int k = 0; i < n; i++, k++) part[k] += x[i] * x[i];
    return join(part);
}

static void rmsnorm(float *y, const float *x, const float *w, int32_t n, float eps) {
    const float scale = 1.0F / sqrtf(sum_of_squares(x, n) / (float)n + eps);
    for (int32_t i = 0; i < n; i++) y[i] = w[i] * (x[i] * scale);
}

static void silu_mul(float *y, const float *gate, const float *up, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        const float g = gate[i];
        y[i] = g / (1.0F + fast_exp(-g)) * up[i];
    }
}

static void rope(float *x, const float *cosine, const float *sine, int32_t d, bool is_interleaved) {
    const int32_t step = is_interleaved ? 2 : 1, apart = is_interleaved ? 1 : d / 2;
    for (int32_t i = 0; i < d / 2; i++) {
        float *a = x + i * step, *b = a + apart;
        const float u = *a, v = *b;
        *a = u * cosine[i] - v * sine[i];
        *b = v * cosine[i] + u * sine[i];
    }
}

/* The maximum of a row, NaN if there is one; -INFINITY for an empty row. */
static float max_of(const float *x, int32_t n) {
    float max = -INFINITY;
    for (int32_t i = 0; i < n; i++) {
        if (x[i] > max || isnan(x[i])) max = x[i];
        if (isnan(max)) return max;
    }
    return max;
}

/* sum exp(x - max), the terms stored in p unless it is NULL. */
static float sum_exp(float *p, const float *x, int32_t n, float max) {
    float part[CHAINS] = {0};
    for (int32_t i = 0; i < n; i += CHAINS) {
        const int32_t m = n - i < CHAINS ? n - i : CHAINS;
        float e[CHAINS] = {0};
        for (int k = 0; k < m; k++) e[k] = x[i + k] - max;
        for (int k = 0; k < CHAINS; k++) e[k] = fast_exp(e[k]);
        for (int k = 0; k < m; k++) part[k] += e[k];
        for (int k = 0; k < m && p != NULL; k++) p[i + k] = e[k];
    }
    return join(part);
}

static float log_sum_exp(const float *x, int32_t n) {
    const float max = max_of(x, n);
    if (isinf(max) || isnan(max)) return max;
    return max + logf(sum_exp(NULL, x, n, max));
}

static void softmax(float *p, const float *x, int32_t n) {
    const float sum = sum_exp(p, x, n, max_of(x, n));
    for (int32_t i = 0; i < n; i++) p[i] /= sum;
}

void r2i_portable_add_rows(r2i_kernels *kernels) {
    kernels->rmsnorm = rmsnorm;
    kernels->silu_mul = silu_mul;
    kernels->rope = rope;
    kernels->log_sum_exp = log_sum_exp;
    kernels->softmax = softmax;
}
