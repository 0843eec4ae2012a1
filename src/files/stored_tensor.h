/* stored_tensor.h - one tensor as it lies in a file, whatever the container.
 *
 * ne counts elements per dimension, innermost (contiguous) first, as GGUF does: a matrix that maps
 * d_in to d_out has ne = { d_in, d_out, 1, 1 }; Hugging Face would call its shape [d_out, d_in]. */
#ifndef R2I_STORED_TENSOR_H
#define R2I_STORED_TENSOR_H
#include <stddef.h>
#include <stdint.h>
#include "base/types.h"

enum { R2I_TENSOR_DIMS = 4 };

typedef struct {
    const char *name; /* terminated; in the arena of the file that holds it */
    r2i_type type;
    int32_t n_dims;              /* as stored: 1..4 (0 for a scalar of safetensors) */
    int64_t ne[R2I_TENSOR_DIMS]; /* every one >= 1; 1 beyond n_dims */
    const uint8_t *bytes;        /* in the mapping.  GGUF: aligned to general.alignment;
                                   * safetensors: no alignment is promised, use memcpy */
    size_t n_bytes;
    int32_t shard; /* which file of a sharded model, from 0 */
} r2i_stored_tensor;
#endif
