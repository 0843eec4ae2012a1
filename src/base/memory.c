#define _GNU_SOURCE /* MADV_HUGEPAGE, MAP_ANONYMOUS */
#include "base/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"

enum { HUGE_PAGE_BYTES = 2 << 20 };

void r2i_heap_init(r2i_heap *heap) {
    memset(heap, 0, sizeof *heap);
}

void r2i_heap_init_host(r2i_heap *heap, const r2_host *host) {
    r2i_heap_init(heap);
    if (host == NULL) return;
    heap->allocate = host->allocate;
    heap->release = host->release;
    heap->limit_bytes = host->limit_bytes;
    heap->user = host->user;
}

/* Reserves room under the limit before asking the allocator, so that two threads cannot both pass. */
static bool reserve(r2i_heap *heap, size_t n_bytes) {
    size_t used = atomic_fetch_add(&heap->used_bytes, n_bytes);
    if (used + n_bytes < used || (heap->limit_bytes != 0 && used + n_bytes > heap->limit_bytes)) {
        atomic_fetch_sub(&heap->used_bytes, n_bytes);
        return false;
    }
    atomic_fetch_add(&heap->n_calls, 1);
    return true;
}

void *r2i_heap_take(r2i_heap *heap, size_t n_bytes) {
    if (!reserve(heap, n_bytes)) return NULL;
    const size_t n = n_bytes == 0 ? 1 : n_bytes;
    void *memory = heap->allocate != NULL ? heap->allocate(heap->user, n) : malloc(n);
    if (memory == NULL) atomic_fetch_sub(&heap->used_bytes, n_bytes);
    return memory;
}

void r2i_heap_give(r2i_heap *heap, void *memory, size_t n_bytes) {
    if (memory == NULL) return;
    const size_t n = n_bytes == 0 ? 1 : n_bytes;
    if (heap->release != NULL)
        heap->release(heap->user, memory, n);
    else
        free(memory);
    atomic_fetch_sub(&heap->used_bytes, n_bytes);
}

void *r2i_heap_resize(r2i_heap *heap, void *memory, size_t old_bytes, size_t new_bytes) {
    void *fresh = r2i_heap_take(heap, new_bytes);
    if (fresh == NULL) return NULL;
    if (memory != NULL) memcpy(fresh, memory, r2i_min_size(old_bytes, new_bytes));
    r2i_heap_give(heap, memory, old_bytes);
    return fresh;
}

/* Bytes mapped for a request: whole huge pages once it is worth one, else whole small pages. */
static size_t mapped_bytes(size_t n_bytes) {
    const size_t unit = n_bytes >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : 4096;
    size_t rounded;
    if (!r2i_round_up_size(n_bytes == 0 ? 1 : n_bytes, unit, &rounded)) return 0;
    return rounded;
}

void *r2i_memory_map(r2i_heap *heap, size_t n_bytes) {
    const size_t n = mapped_bytes(n_bytes);
    size_t span;
    if (n == 0 || !r2i_add_size(n, HUGE_PAGE_BYTES, &span) || !reserve(heap, n)) return NULL;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (heap->is_plan ? MAP_NORESERVE : 0);
    uint8_t *base = mmap(NULL, span, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (base == MAP_FAILED) {
        atomic_fetch_sub(&heap->used_bytes, n);
        return NULL;
    }
    const size_t lead = (HUGE_PAGE_BYTES - (uintptr_t)base % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    if (lead != 0) munmap(base, lead);
    if (span - lead - n != 0) munmap(base + lead + n, span - lead - n);
#ifdef MADV_HUGEPAGE
    if (n >= HUGE_PAGE_BYTES) (void)madvise(base + lead, n, MADV_HUGEPAGE);
#endif
    return base + lead;
}

void r2i_memory_unmap(r2i_heap *heap, void *memory, size_t n_bytes) {
    if (memory == NULL) return;
    const size_t n = mapped_bytes(n_bytes);
    munmap(memory, n);
    atomic_fetch_sub(&heap->used_bytes, n);
}
