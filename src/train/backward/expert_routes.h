/* expert_routes.h - choices of experts that a batch comes with: how many, and whether they can be. */
#ifndef R2I_EXPERT_ROUTES_H
#define R2I_EXPERT_ROUTES_H
#include "model/config.h"
#include "r2lm/train.h"

/* Choices of one token, over all layers; 0: the model has no experts. */
int32_t r2i_expert_routes_count(const r2i_config *config);
/* `routes` may be NULL.  R2_E_ARGUMENT: a model without experts; of those given one that does not exist, or the
 * same one twice for a token in a layer. */
R2_CHECKED r2_status r2i_expert_routes_check(const r2_expert_routes *routes,
                                             const r2i_config *config, int32_t n_tokens,
                                             r2_error *err);
#endif
