/* gradient_exchange.h - gradients to the ranks that own them, new values back.
 *
 *     backward pass     a bucket is ready: its foreign spans leave; they arrive while the pass goes on
 *     gradients         what is still on its way, then  own span = rank 0's + rank 1's + ...
 *     (optimizer)       steps the own part
 *     values            own spans to all, all others' from their owners
 *
 * Sums are taken in the order of the ranks, whatever arrives first: the same bits in every run.  All
 * messages are known in advance (partition.h); none is packed or copied on the way out.  Messages get
 * on when r2i_exchange_poll is called, which the pool does between chunks. */
#ifndef R2I_GRADIENT_EXCHANGE_H
#define R2I_GRADIENT_EXCHANGE_H
#include "base/pool.h"
#include "train/ranks/partition.h"
#include "train/ranks/rank_messages.h"

typedef struct {
    r2_ranks *ranks;
    const r2i_parameters *parameters;
    const r2i_partition *partition;
    r2i_pool *pool;
    float *received;       /* [n_ranks - 1, n_own] own spans of the others */
    size_t n_own;          /* in floats, all own spans behind each other */
    size_t *place;         /* [n_spans] of an own one there */
    r2i_message *messages; /* [n_spans * n_ranks] */
    int32_t n_messages;
    int32_t n_done; /* of the first ones, as far as polling found */
    bool is_open;   /* receives of this step are waiting */
    bool *has_left; /* [n_buckets] */
} r2i_exchange;

/* All parts are borrowed.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_exchange_create(r2i_exchange *out, r2_ranks *ranks,
                                         const r2i_parameters *parameters,
                                         const r2i_partition *partition, r2i_pool *pool,
                                         r2i_arena *arena, r2_error *err);
/* From here on gradients of the step may leave. */
void r2i_exchange_begin(r2i_exchange *x);
/* The gradients of a bucket are final.  Before r2i_exchange_begin: nothing happens. */
void r2i_exchange_bucket(r2i_exchange *x, int32_t bucket);
/* A little progress; cheap when there is nothing on its way. */
void r2i_exchange_poll(void *exchange);
/* All gradients are final: waits for the others' and adds them up in the own spans. */
void r2i_exchange_gradients(r2i_exchange *x);
/* Own values have been stepped: gives and takes values; clears foreign gradients. */
void r2i_exchange_values(r2i_exchange *x);
/* All ranks give a step up: what was sent is taken, so that all can leave. */
void r2i_exchange_drain(r2i_exchange *x);
#endif
