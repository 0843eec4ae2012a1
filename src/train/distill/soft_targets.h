/* soft_targets.h - the loss of a row of logits against a teacher's distribution.
 *
 * Of the teacher the k likeliest tokens are known and what all others have together: k + 1 parts b with
 * p_b, the teacher's, and q_b, the student's, both at temperature T (z = logits / T):
 *
 *     beta 0      D = KL(p || q)                      Hinton et al., arXiv:1503.02531
 *     beta 1      D = KL(q || p)                      on the student's own texts: arXiv:2306.08543
 *     between     D = beta KL(p || m) + (1 - beta) KL(q || m),  m = beta p + (1 - beta) q
 *                                                     GKD, arXiv:2306.13649, section 2
 *
 * No D of parts is larger than that of whole distributions, and it is 0 where the student says of
 * the k tokens what the teacher does.  With h_b = q_b dD/dq_b (constants left out), H = sum h:
 *
 *     dD/dz_v = h_v - q_v H                    v one of the k tokens
 *             = q_v (h_rest / q_rest - H)      any other
 *
 * beta 0: h_b = -p_b, H = -1: softmax minus the target distribution, the rest's share spread as the
 * student spreads it. */
#ifndef R2I_SOFT_TARGETS_H
#define R2I_SOFT_TARGETS_H
#include "kernels/kernels.h"
#include "r2lm/train.h"

/* One row's targets. */
typedef struct {
    const int32_t *tokens;  /* [k] different ones */
    const float *log_probs; /* [k + 1] the last one of the rest; their sum is taken as 1 */
    int32_t k;              /* 1 to R2_MAX_SOFT_TOKENS, below n_vocab */
    float temperature, beta;
} r2i_soft_row;

static inline r2i_soft_row r2i_soft_row_at(const r2_soft_targets *soft, size_t row) {
    const size_t k = (size_t)soft->k;
    return (r2i_soft_row){ soft->tokens + row * k, soft->log_probs + row * (k + 1), soft->k,
                           soft->temperature > 0 ? soft->temperature : 1, soft->beta };
}

/* D of a row of logits [n_vocab]; g [n_vocab] becomes dD/dz, or scratch where that is not wanted.
 * Sums run in double, in order. */
double r2i_soft_loss(const r2i_soft_row *row, const r2i_kernels *kernels, const float *logits,
                     int32_t n_vocab, bool wants_gradient, float *g);
/* Best k of a row of logits as a row of targets, of tokens below n_known; logits [n_vocab] are
 * overwritten.  The rest has what all others have, those from n_known on included. */
void r2i_soft_targets_make(const r2i_kernels *kernels, float *logits, int32_t n_vocab,
                           int32_t n_known, int32_t k, float temperature, int32_t *tokens,
                           float *log_probs);
/* R2_E_ARGUMENT: numbers that make no loss, tokens out of range or twice in one of the rows that have a
 * target. */
R2_CHECKED r2_status r2i_soft_targets_check(const r2_soft_targets *soft, const int32_t *targets,
                                            int32_t n_rows, int32_t n_vocab, r2_error *err);
#endif
