/* partition.h - which rank steps which numbers: each keeps the optimizer's moments of its part alone
 * (ZeRO stage 1, Rajbhandari et al. 2020).
 *
 *     bucket        embedding | layer 0 | layer 1 | ... | behind the layers     (in order of memory)
 *     spans         r0  r1      r0  r1    r0  r1          r0  r1
 *
 * A bucket's gradients are ready together in a backward pass; every rank owns a part of each, so that
 * all have as much to receive while the pass goes on.  Matrices of Muon belong to one rank as a whole.
 * A function of the parameters and the number of ranks: all ranks make the same one. */
#ifndef R2I_PARTITION_H
#define R2I_PARTITION_H
#include "train/parameters/parameters.h"

typedef struct {
    size_t first, n; /* in values and gradients */
    int32_t owner;
} r2i_span;

typedef struct {
    int32_t n_ranks, rank;
    r2i_span *spans; /* [n_spans] in order of `first`; numbers without a gradient are in none */
    int32_t n_spans;
    int32_t *first_span;  /* [n_buckets + 1] */
    int32_t n_buckets;    /* 2 + layers, a prediction module's not counted */
    bool has_own_experts; /* a routed expert is stepped where it lives, and its values stay there */
    size_t *own_begin, *own_end; /* [parameters] the part of a parameter that this rank steps */
} r2i_partition;

/* What decides the division. */
typedef struct {
    int32_t rank, n_ranks;
    bool is_whole;        /* hidden matrices are not divided */
    bool has_own_experts; /* as r2i_first_expert divides them (expert_ranks.h) */
} r2i_partition_rules;

/* R2_E_NOMEM. */
R2_CHECKED r2_status r2i_partition_create(r2i_partition *out, const r2i_parameters *parameters,
                                          const r2i_partition_rules *rules, r2i_arena *arena,
                                          r2_error *err);
/* Values of other ranks' experts are not here. */
bool r2i_partition_has_values(const r2i_partition *partition, const r2i_parameters *parameters,
                              int32_t i);
/* The bucket of a layer; -1: of the embedding, n_layers: of what lies behind the last one. */
static inline int32_t r2i_bucket_of(int32_t layer) {
    return layer + 1;
}
#endif
