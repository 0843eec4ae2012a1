#include "train/distill/soft_targets.h"

#include <math.h>

#include "base/failure.h"
#include "sampler/sampler.h"

enum { MAX_BUCKETS = R2_MAX_SOFT_TOKENS + 1 };

/* A student or teacher that rules out what the other expects: the loss stays a number. */
static const double least_log = -60;

/* ---- divergence of two distributions over parts ---- */

typedef struct {
    double log_p[MAX_BUCKETS], log_q[MAX_BUCKETS];
    double h[MAX_BUCKETS]; /* q dD/dq */
    int32_t n;
} parts;

static void read_teacher(parts *b, const r2i_soft_row *row) {
    double sum = 0;
    for (int32_t i = 0; i < b->n; i++)
        sum += exp((double)row->log_probs[i]);
    const double log_sum = log(sum);
    for (int32_t i = 0; i < b->n; i++) {
        const double log_p = (double)row->log_probs[i] - log_sum;
        b->log_p[i] = log_p < least_log ? least_log : log_p; /* no number stays none */
    }
}

static double forward_divergence(parts *b) {
    double d = 0;
    for (int32_t i = 0; i < b->n; i++) {
        const double p = exp(b->log_p[i]);
        d += p * (b->log_p[i] - b->log_q[i]);
        b->h[i] = -p;
    }
    return d;
}

static double reverse_divergence(parts *b) {
    double d = 0;
    for (int32_t i = 0; i < b->n; i++) {
        b->h[i] = exp(b->log_q[i]) * (b->log_q[i] - b->log_p[i]);
        d += b->h[i];
    }
    return d;
}

static double middle_divergence(parts *b, double beta) {
    double d = 0;
    for (int32_t i = 0; i < b->n; i++) {
        const double p = exp(b->log_p[i]), q = exp(b->log_q[i]);
        const double log_m = log(beta * p + (1 - beta) * q);
        b->h[i] = (1 - beta) * q * (b->log_q[i] - log_m);
        d += beta * p * (b->log_p[i] - log_m) + b->h[i];
    }
    return d;
}

static double divergence(parts *b, double beta) {
    if (beta <= 0) return forward_divergence(b);
    return beta >= 1 ? reverse_divergence(b) : middle_divergence(b, beta);
}

/* ---- a row ---- */

/* What is left of probabilities [n_vocab] whose best ones were set to 0. */
static double sum_of(const float *p, int32_t n_vocab) {
    double sums[4] = { 0 };
    for (int32_t v = 0; v < n_vocab; v++)
        sums[v & 3] += (double)p[v];
    return sums[0] + sums[1] + sums[2] + sums[3];
}

/* log of what tokens have, whose logits are given, and of the rest; q becomes the rest's
 * probabilities.  `scaled` are the logits at the temperature and may be q itself. */
static double split_row(const r2i_kernels *kernels, const float *scaled, int32_t n_vocab,
                        const int32_t *tokens, int32_t k, float *q, double *log_q) {
    const double total = (double)kernels->log_sum_exp(scaled, n_vocab);
    for (int32_t i = 0; i < k; i++)
        log_q[i] = (double)scaled[tokens[i]] - total;
    kernels->softmax(q, scaled, n_vocab);
    for (int32_t i = 0; i < k; i++)
        q[tokens[i]] = 0;
    const double rest = sum_of(q, n_vocab);
    log_q[k] = rest > 0 ? log(rest) : -INFINITY;
    return rest;
}

static const float *at_temperature(const float *logits, int32_t n_vocab, float temperature,
                                   float *room) {
    if (temperature == 1) return logits;
    for (int32_t v = 0; v < n_vocab; v++)
        room[v] = logits[v] / temperature;
    return room;
}

double r2i_soft_loss(const r2i_soft_row *row, const r2i_kernels *kernels, const float *logits,
                     int32_t n_vocab, bool wants_gradient, float *g) {
    const int32_t k = row->k;
    parts b = { .n = k + 1 };
    double sum_h = 0;
    const float *scaled = at_temperature(logits, n_vocab, row->temperature, g);
    const double rest = split_row(kernels, scaled, n_vocab, row->tokens, k, g, b.log_q);
    for (int32_t i = 0; i <= k; i++)
        b.log_q[i] = b.log_q[i] < least_log ? least_log : b.log_q[i];
    read_teacher(&b, row);
    const double d = divergence(&b, (double)row->beta);
    if (!wants_gradient) return d;
    for (int32_t i = 0; i <= k; i++)
        sum_h += b.h[i];
    const float factor = rest > 0 ? (float)(b.h[k] / rest - sum_h) : 0;
    for (int32_t v = 0; v < n_vocab; v++)
        g[v] *= factor;
    for (int32_t i = 0; i < k; i++)
        g[row->tokens[i]] = (float)(b.h[i] - exp(b.log_q[i]) * sum_h);
    return d;
}

void r2i_soft_targets_make(const r2i_kernels *kernels, float *logits, int32_t n_vocab,
                           int32_t n_known, int32_t k, float temperature, int32_t *tokens,
                           float *log_probs) {
    r2i_candidate best[R2_MAX_SOFT_TOKENS];
    double log_p[MAX_BUCKETS];
    const int32_t n = r2i_top_logits(logits, n_known, best, k);
    for (int32_t i = 0; i < k; i++)
        tokens[i] = i < n ? best[i].token : 0; /* fewer numbers than that: all will be none */
    const float *scaled = at_temperature(logits, n_vocab, temperature, logits);
    (void)split_row(kernels, scaled, n_vocab, tokens, k, logits, log_p);
    for (int32_t i = 0; i <= k; i++)
        log_probs[i] = (float)log_p[i];
}

/* ---- checks ---- */

static r2_status check_row(const r2_soft_targets *soft, int32_t row, int32_t n_vocab,
                           r2_error *err) {
    const int32_t *tokens = soft->tokens + (size_t)row * (size_t)soft->k;
    for (int32_t i = 0; i < soft->k; i++) {
        bool is_good = tokens[i] >= 0 && tokens[i] < n_vocab;
        for (int32_t j = 0; j < i; j++)
            is_good &= tokens[j] != tokens[i];
        if (!is_good)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "soft targets: position %d: expected different tokens below %d, found "
                            "%d",
                            row, n_vocab, tokens[i]);
    }
    return R2_OK;
}

r2_status r2i_soft_targets_check(const r2_soft_targets *soft, const int32_t *targets,
                                 int32_t n_rows, int32_t n_vocab, r2_error *err) {
    if (soft->k < 1 || soft->k > R2_MAX_SOFT_TOKENS || soft->k >= n_vocab)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "soft targets: expected 1 to %d tokens, fewer than the model's %d, found "
                        "%d",
                        R2_MAX_SOFT_TOKENS, n_vocab, soft->k);
    if (!(soft->share >= 0 && soft->share <= 1) || !(soft->beta >= 0 && soft->beta <= 1) ||
        !(soft->temperature >= 0) || !isfinite(soft->temperature))
        return r2i_fail(err, R2_E_ARGUMENT,
                        "soft targets: expected a share and a beta from 0 to 1 and a temperature "
                        "above 0");
    for (int32_t row = 0; row < n_rows; row++) {
        if (targets[row] >= 0) R2I_TRY(check_row(soft, row, n_vocab, err));
    }
    return R2_OK;
}
