/* memory.h - where every byte of the library comes from.
 *
 * A heap is the allocator that the embedding program gave us (or malloc) plus a limit and counters.
 * Arenas take blocks from a heap; nothing else in the library calls malloc. */
#ifndef R2I_MEMORY_H
#define R2I_MEMORY_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include "r2lm/host.h"
#include "r2lm/status.h"

typedef struct {
    /* NULL functions mean malloc/free.  `allocate` returns memory aligned to 16 bytes or NULL. */
    void *(*allocate)(void *user, size_t n_bytes);
    void (*release)(void *user, void *memory, size_t n_bytes);
    void *user;
    size_t limit_bytes; /* 0: none */
    bool is_plan;       /* r2i_memory_map gives more than the machine has: nothing will be written */
    _Atomic size_t used_bytes;
    _Atomic size_t n_calls; /* allocations so far: tests hold it constant between two tokens */
} r2i_heap;

void r2i_heap_init(r2i_heap *heap);
/* With the allocator and the limit of the embedding program; NULL: malloc, no limit. */
void r2i_heap_init_host(r2i_heap *heap, const r2_host *host);
/* NULL when the limit or the allocator refuses; n_bytes == 0 gives a valid unique pointer.
 * Contents are unspecified.  Thread-safe when the user's functions are. */
void *r2i_heap_take(r2i_heap *heap, size_t n_bytes);
/* `memory` may be NULL; n_bytes must be what was asked for. */
void r2i_heap_give(r2i_heap *heap, void *memory, size_t n_bytes);
/* Grows or shrinks, keeping min(old, new) bytes.  On failure NULL and the old memory stays valid. */
void *r2i_heap_resize(r2i_heap *heap, void *memory, size_t old_bytes, size_t new_bytes);

/* Large zeroed memory straight from the kernel, aligned to 2 MiB and advised for huge pages:
 * weights and cache, where page-table misses would cost bandwidth.  Counted against the heap's
 * limit.  NULL on failure. */
void *r2i_memory_map(r2i_heap *heap, size_t n_bytes);
void r2i_memory_unmap(r2i_heap *heap, void *memory, size_t n_bytes);
#endif
