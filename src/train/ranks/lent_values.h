/* lent_values.h - values of experts that live on other ranks, for the rank that writes the model: it asks
 * for one parameter after the other, the others answer until it has all. */
#ifndef R2I_LENT_VALUES_H
#define R2I_LENT_VALUES_H
#include "train/ranks/partition.h"
#include "train/ranks/rank_messages.h"

typedef struct {
    r2_ranks *ranks; /* NULL: all values are here */
    const r2i_parameters *parameters;
    const r2i_partition *partition;
    r2i_heap *heap;
    float *values; /* of `parameter`, [cap] */
    size_t cap;
    int32_t parameter; /* -1: none yet */
} r2i_lent_values;

/* The first rank's.  R2_E_NOMEM: the others have been told that nothing is needed. */
R2_CHECKED r2_status r2i_lent_values_open(r2i_lent_values *out, r2_ranks *ranks,
                                          const r2i_parameters *parameters,
                                          const r2i_partition *partition, r2i_heap *heap,
                                          r2_error *err);
/* Values of a parameter, valid until the next call; what they are when the connection has failed, which
 * r2i_ranks_check tells, is not said. */
const float *r2i_lent_values_of(r2i_lent_values *lent, int32_t parameter);
void r2i_lent_values_close(r2i_lent_values *lent);
/* The others': returns when the first rank has closed. */
void r2i_lend_values(r2_ranks *ranks, const r2i_parameters *parameters);
#endif
