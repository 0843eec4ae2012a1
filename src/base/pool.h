/* pool.h - worker threads for short parallel regions.
 *
 * A region is a number of chunks and a function.  Every worker owns a contiguous share of the
 * chunks (the same share every time, so the memory behind it stays near it), works through its own
 * share first and then takes chunks from the others.  A worker that has not arrived when the work
 * runs out is left out of the region; one that keeps arriving late, because another process holds
 * its core, is left out for a while.  Which thread runs a chunk never changes what it computes.
 *
 * Between regions workers spin shortly and then sleep.  A pool belongs to whoever created it; only
 * one thread at a time may run regions on it. */
#ifndef R2I_POOL_H
#define R2I_POOL_H
#include <stdint.h>
#include "base/memory.h"

typedef struct r2i_pool r2i_pool;

/* Computes chunks [begin, end) as member `worker` of the pool: 0 <= worker < n_threads, unique
 * among the threads inside a region at any moment, so it may index scratch memory. */
typedef void (*r2i_pool_work)(void *context, int32_t begin, int32_t end, int32_t worker);

/* n_threads includes the calling thread; 1 starts no thread.  R2_E_RANGE outside 1..256,
 * R2_E_NOMEM, R2_E_IO when a thread cannot be started.  `heap` must outlive the pool. */
R2_CHECKED r2_status r2i_pool_create(r2i_pool **out, int32_t n_threads, r2i_heap *heap,
                                     r2_error *err);
/* Stops and joins the workers.  NULL is allowed. */
void r2i_pool_destroy(r2i_pool *pool);
int32_t r2i_pool_threads(const r2i_pool *pool);
/* From now on the calling thread calls `poll` between its chunks (NULL: no longer): for messages that
 * need a hand to get on.  It must be short and run no region. */
void r2i_pool_set_poll(r2i_pool *pool, void (*poll)(void *user), void *user);
/* Runs work over [0, n_chunks) in pieces of at least `grain` chunks and returns when all are done. */
void r2i_pool_run(r2i_pool *pool, int32_t n_chunks, int32_t grain, r2i_pool_work work,
                  void *context);
#endif
