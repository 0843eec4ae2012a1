/* router.h - which experts a token goes to, and with what weight.
 *
 *     s = softmax(z) or sigmoid(z)            z [n_experts], the router's products
 *     a = s + score_bias                      chooses, never weighs (arXiv:2408.15664)
 *     groups of consecutive experts are ranked by their best a (V2) or their two best (V3);
 *     the n_active best a within the n_active_groups best groups are chosen
 *     w = s of the chosen (/ (their sum + 1e-20) when renormalised) * routed_scale
 *
 * Experts may be given instead, as they were chosen before (routing replay): then w alone is new.
 *
 * On ties the lower index is taken; an a that is no number ranks last. */
#ifndef R2I_ROUTER_H
#define R2I_ROUTER_H
#include "kernels/kernels.h"
#include "model/config.h"

/* Turns z into s, in place; `chosen` and `weights` [n_active] are best first.  `score_bias`
 * [n_experts] or NULL. */
void r2i_router_choose(const r2i_config *config, const r2i_kernels *kernels,
                       const float *score_bias, float *z, int32_t *chosen, float *weights);
/* The same with `chosen` given. */
void r2i_router_weigh(const r2i_config *config, const r2i_kernels *kernels, float *z,
                      const int32_t *chosen, float *weights);
#endif
