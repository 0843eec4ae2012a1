/* policy_loss.h - losses of answers that were judged (reinforce.h), as factors of the cross entropy's gradient.
 *
 * With g = d(-log p(target))/d logits = softmax - [target], each of these losses has the gradient
 * weight * factor * g, where
 *
 *     token      factor = A r [not clipped] + kl r (log p_ref - log p)
 *     sequence   the same with r = exp of the mean of log p - log p_old over the document's targets; of the
 *                divergence each token's own ratio
 *     pair       factor = +-beta sigmoid(-beta (a - b)) of the preferred and the other one
 *
 * The last two need all log-probabilities of a document before its first gradient. */
#ifndef R2I_POLICY_LOSS_H
#define R2I_POLICY_LOSS_H
#include "r2lm/reinforce.h"

typedef struct {
    const r2_policy_targets *policy;
    const int32_t *targets, *lengths;
    const float *weights; /* [rows]; 0: no target */
    int32_t n_documents;
} r2i_policy_batch;

static inline bool r2i_policy_needs_documents(const r2_policy_targets *policy) {
    return policy != NULL && (policy->form == R2_POLICY_SEQUENCE || policy->form == R2_POLICY_PAIR);
}

/* Loss of a row, its weight left out, and its factor; both are kept in the policy's arrays.  Where documents
 * are needed the loss is 0 and the factor what r2i_policy_documents found. */
double r2i_policy_row(const r2_policy_targets *policy, size_t row, float logprob, float *factor);
/* Loss of all rows, weights included, and their factors, of policy->logprobs. */
double r2i_policy_documents(const r2i_policy_batch *batch);
/* R2_E_ARGUMENT: arrays or numbers that are missing, documents that make no pairs. */
R2_CHECKED r2_status r2i_policy_check(const r2_policy_targets *policy, int32_t n_documents,
                                      r2_error *err);
#endif
