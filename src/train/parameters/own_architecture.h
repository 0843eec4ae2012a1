/* own_architecture.h - the shapes of r2, our own models: latent attention, fine-grained experts, one
 * prediction module, all following from the number of layers. */
#ifndef R2I_OWN_ARCHITECTURE_H
#define R2I_OWN_ARCHITECTURE_H
#include <jansson.h>
#include <stdint.h>

#include "r2lm/status.h"

enum { R2I_MIN_DEPTH = 2, R2I_MAX_DEPTH = 32 };

typedef struct {
    int32_t depth;   /* layers, R2I_MIN_DEPTH to R2I_MAX_DEPTH */
    int32_t n_vocab; /* 0: as the depth has it */
    int32_t eos_id;  /* -1: none */
} r2i_own_shape;

/* config.json of the model, as DeepSeek-V3's are written; the caller's.  R2_E_ARGUMENT: depth;
 * R2_E_NOMEM. */
R2_CHECKED r2_status r2i_own_config_make(json_t **out, const r2i_own_shape *shape, r2_error *err);
#endif
