/* statistics.c - intervals, estimators and a test for shares of right answers (r2lm/eval.h). */
#include <math.h>

#include "r2lm/eval.h"

static const double z_95 = 1.959963984540054; /* 97.5 % quantile of the normal distribution */

/* Wilson 1927, "Probable inference, the law of succession, and statistical inference". */
r2_eval_share r2_eval_wilson(double n_right, int64_t n) {
    if (n <= 0) return (r2_eval_share){ 0, 0, 1 };
    const double count = (double)n, p = n_right / count, z2 = z_95 * z_95;
    const double middle = (p + z2 / (2 * count)) / (1 + z2 / count);
    const double half =
        z_95 / (1 + z2 / count) * sqrt(p * (1 - p) / count + z2 / (4 * count * count));
    return (r2_eval_share){ p, n_right <= 0 ? 0 : fmax(0, middle - half),
                            n_right >= count ? 1 : fmin(1, middle + half) };
}

/* 1 - C(n - c, k) / C(n, k), as a product that cannot overflow. */
double r2_eval_pass_at_k(int32_t n, int32_t c, int32_t k) {
    double none = 1;
    if (k < 1 || n < k) return 0;
    if (n - c < k) return 1;
    for (int32_t i = n - c + 1; i <= n; i++)
        none *= 1 - (double)k / i;
    return 1 - none;
}

/* Twice the smaller tail of the binomial distribution with probability 1/2, at most 1. */
double r2_eval_mcnemar(int64_t n_first, int64_t n_second) {
    const int64_t n = n_first + n_second, fewer = n_first < n_second ? n_first : n_second;
    double tail = 0;
    for (int64_t i = 0; i <= fewer; i++)
        tail += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) -
                    (double)n * log(2));
    return fmin(1, 2 * tail);
}
