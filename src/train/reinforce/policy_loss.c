#include "train/reinforce/policy_loss.h"

#include <math.h>

#include "base/failure.h"

bool r2_policy_is_clipped(const r2_policy_targets *p, double ratio, double advantage) {
    return (advantage > 0 && ratio > 1 + (double)p->clip_high) ||
           (advantage < 0 && ratio < 1 - (double)p->clip_low);
}

/* -min(r A, clip(r) A); the factor is A r where r counts. */
static double surrogate(const r2_policy_targets *p, double ratio, double advantage,
                        double *factor) {
    const bool is_clipped = r2_policy_is_clipped(p, ratio, advantage);
    const double bound = advantage > 0 ? 1 + (double)p->clip_high : 1 - (double)p->clip_low;
    *factor = is_clipped ? 0 : advantage * ratio;
    return -advantage * (is_clipped ? bound : ratio);
}

/* kl r (q - 1 - log q): its gradient by log p is kl r log(p / p_ref) (arXiv:2512.02556, section 3.1). */
static double divergence(const r2_policy_targets *p, size_t row, double logprob, double *factor) {
    if (p->reference == NULL || p->kl == 0) return 0;
    const double ratio = exp(logprob - (double)p->old_logprobs[row]),
                 log_q = (double)p->reference[row] - logprob;
    *factor += (double)p->kl * ratio * log_q;
    return (double)p->kl * ratio * (exp(log_q) - 1 - log_q);
}

double r2i_policy_row(const r2_policy_targets *p, size_t row, float logprob, float *factor) {
    double found = 1, loss = 0;
    if (r2i_policy_needs_documents(p)) {
        *factor = p->factors[row];
        return 0;
    }
    p->logprobs[row] = logprob;
    if (p->form == R2_POLICY_READ) {
        loss = -(double)logprob;
    } else {
        const double ratio = exp((double)logprob - (double)p->old_logprobs[row]);
        loss = surrogate(p, ratio, (double)p->advantages[row], &found);
        loss += divergence(p, row, (double)logprob, &found);
    }
    *factor = p->factors[row] = (float)found;
    return loss;
}

/* ---- documents ---- */

static double add_sequence(const r2i_policy_batch *b, size_t first, size_t n) {
    const r2_policy_targets *p = b->policy;
    double sum = 0, loss = 0;
    int32_t n_targets = 0;
    for (size_t row = first; row < first + n; row++) {
        if (b->weights[row] == 0) continue;
        sum += (double)p->logprobs[row] - (double)p->old_logprobs[row];
        n_targets++;
    }
    const double ratio = n_targets > 0 ? exp(sum / n_targets) : 1;
    for (size_t row = first; row < first + n; row++) {
        double factor;
        if (b->weights[row] == 0) continue;
        double one = surrogate(p, ratio, (double)p->advantages[row], &factor);
        one += divergence(p, row, (double)p->logprobs[row], &factor);
        loss += (double)b->weights[row] * one;
        p->factors[row] = (float)factor;
    }
    return loss;
}

/* Sum of log p - log p_ref; `weight` becomes that of the first target. */
static double above_reference(const r2i_policy_batch *b, size_t first, size_t n, double *weight) {
    const r2_policy_targets *p = b->policy;
    double sum = 0;
    for (size_t row = first + n; row-- > first;) {
        if (b->weights[row] == 0) continue;
        sum += (double)p->logprobs[row] - (double)p->reference[row];
        *weight = (double)b->weights[row];
    }
    return sum;
}

static void set_factors(const r2i_policy_batch *b, size_t first, size_t n, double factor) {
    for (size_t row = first; row < first + n; row++)
        b->policy->factors[row] = (float)factor;
}

static double add_pair(const r2i_policy_batch *b, size_t first, size_t n, size_t n_other) {
    const double beta = (double)b->policy->beta;
    double weight = 0, unused = 0;
    const double margin = beta * (above_reference(b, first, n, &weight) -
                                  above_reference(b, first + n, n_other, &unused));
    const double push = beta / (1 + exp(margin)); /* beta sigmoid(-margin) */
    set_factors(b, first, n, push);
    set_factors(b, first + n, n_other, -push);
    const double loss = margin > 0 ? log1p(exp(-margin)) : log1p(exp(margin)) - margin;
    return weight * loss;
}

double r2i_policy_documents(const r2i_policy_batch *b) {
    const bool is_pair = b->policy->form == R2_POLICY_PAIR;
    double loss = 0;
    size_t first = 0;
    for (int32_t i = 0; i < b->n_documents; i += 1 + is_pair) {
        const size_t n = (size_t)b->lengths[i], n_other = is_pair ? (size_t)b->lengths[i + 1] : 0;
        loss += is_pair ? add_pair(b, first, n, n_other) : add_sequence(b, first, n);
        first += n + n_other;
    }
    return loss;
}

r2_status r2i_policy_check(const r2_policy_targets *p, int32_t n_documents, r2_error *err) {
    const bool is_ratio = p->form == R2_POLICY_TOKEN || p->form == R2_POLICY_SEQUENCE,
               is_pair = p->form == R2_POLICY_PAIR;
    if (p->form > R2_POLICY_PAIR || p->logprobs == NULL || p->factors == NULL ||
        (is_ratio && (p->advantages == NULL || p->old_logprobs == NULL)) ||
        (is_pair && p->reference == NULL))
        return r2i_fail(err, R2_E_ARGUMENT, "policy: expected a form and the arrays that it needs");
    if (is_pair && n_documents % 2 != 0)
        return r2i_fail(err, R2_E_ARGUMENT, "policy: expected pairs of documents, found %d",
                        n_documents);
    if ((is_ratio && !(p->clip_low >= 0 && p->clip_high >= 0 && p->kl >= 0)) ||
        (is_pair && !(p->beta > 0)))
        return r2i_fail(err, R2_E_ARGUMENT,
                        "policy: expected clips and a weight from 0 on, a beta above 0");
    return R2_OK;
}
