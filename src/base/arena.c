#include "base/arena.h"

#include <stdint.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum { MAX_ALIGN = 64, MIN_MAPPED_BYTES = 2 << 20 };

struct r2i_arena_block {
    r2i_arena_block *older;
    size_t total_bytes; /* of the block, this header included */
    size_t used_bytes;  /* from the block's start */
    size_t zero_bytes;  /* behind here nothing has been written: zeros of the kernel */
    bool is_mapped;
};

void r2i_arena_init(r2i_arena *arena, r2i_heap *heap, size_t block_bytes, size_t max_bytes) {
    *arena = (r2i_arena){ .heap = heap, .block_bytes = block_bytes, .max_bytes = max_bytes };
}

/* Offset from the block's start at which n bytes fit, or SIZE_MAX. */
static size_t place_in(const r2i_arena_block *block, size_t n_bytes, size_t align) {
    if (block == NULL) return SIZE_MAX;
    const uintptr_t base = (uintptr_t)block;
    const size_t start =
        (size_t)(((base + block->used_bytes + align - 1) & ~(uintptr_t)(align - 1)) - base);
    if (start > block->total_bytes || n_bytes > block->total_bytes - start) return SIZE_MAX;
    return start;
}

static r2i_arena_block *add_block(r2i_arena *arena, size_t n_bytes) {
    size_t total;
    if (!r2i_add_size(n_bytes, sizeof(r2i_arena_block) + MAX_ALIGN, &total)) return NULL;
    total = r2i_max_size(total, arena->block_bytes);
    const bool is_mapped =
        arena->is_mapped && arena->heap->allocate == NULL && n_bytes >= MIN_MAPPED_BYTES;
    /* Few large blocks: the last huge page of each is used in part only. */
    if (is_mapped) total = r2i_max_size(total, arena->used_bytes / 8);
    if (is_mapped && !r2i_round_up_size(total, MIN_MAPPED_BYTES, &total)) return NULL;
    r2i_arena_block *block =
        is_mapped ? r2i_memory_map(arena->heap, total) : r2i_heap_take(arena->heap, total);
    if (block == NULL) return NULL;
    *block = (r2i_arena_block){ .older = arena->last,
                                .total_bytes = total,
                                .used_bytes = sizeof *block,
                                .zero_bytes = is_mapped ? sizeof *block : total,
                                .is_mapped = is_mapped };
    arena->last = block;
    return block;
}

static void free_block(r2i_arena *arena, r2i_arena_block *block) {
    if (block->is_mapped)
        r2i_memory_unmap(arena->heap, block, block->total_bytes);
    else
        r2i_heap_give(arena->heap, block, block->total_bytes);
}

size_t r2i_arena_spare_bytes(const r2i_arena *arena) {
    size_t n_bytes = 0;
    for (const r2i_arena_block *b = arena->last; b != NULL; b = b->older)
        n_bytes += b->is_mapped ? b->total_bytes - b->zero_bytes : 0;
    return n_bytes;
}

/* Zeros at [start, end) of a block; what the kernel gave is not touched. */
static void *clear(r2i_arena_block *block, size_t start, size_t end) {
    uint8_t *memory = (uint8_t *)block + start;
    if (start < block->zero_bytes) memset(memory, 0, r2i_min_size(end, block->zero_bytes) - start);
    block->zero_bytes = r2i_max_size(block->zero_bytes, end);
    return memory;
}

void *r2i_arena_push(r2i_arena *arena, size_t n_bytes, size_t align) {
    R2I_ASSERT(align != 0 && align <= MAX_ALIGN && (align & (align - 1)) == 0);
    size_t used;
    if (!r2i_add_size(arena->used_bytes, n_bytes, &used)) return NULL;
    if (arena->max_bytes != 0 && used > arena->max_bytes) return NULL;
    r2i_arena_block *block = arena->last;
    size_t start = place_in(block, n_bytes, align);
    if (start == SIZE_MAX) {
        block = add_block(arena, n_bytes);
        start = place_in(block, n_bytes, align);
        if (start == SIZE_MAX) return NULL;
    }
    block->used_bytes = start + n_bytes;
    arena->used_bytes = used;
    arena->peak_bytes = r2i_max_size(arena->peak_bytes, used);
    return clear(block, start, start + n_bytes);
}

void *r2i_arena_push_array(r2i_arena *arena, size_t n, size_t element_bytes, size_t align) {
    size_t n_bytes;
    if (!r2i_mul_size(n, element_bytes, &n_bytes)) return NULL;
    return r2i_arena_push(arena, n_bytes, align);
}

char *r2i_arena_copy_text(r2i_arena *arena, const char *text, size_t n_bytes) {
    size_t total;
    if (!r2i_add_size(n_bytes, 1, &total)) return NULL;
    char *copy = r2i_arena_push(arena, total, 1);
    if (copy != NULL && n_bytes != 0) memcpy(copy, text, n_bytes);
    return copy;
}

r2i_arena_mark r2i_arena_get_mark(const r2i_arena *arena) {
    const size_t block_used = arena->last != NULL ? arena->last->used_bytes : 0;
    return (r2i_arena_mark){ arena->last, block_used, arena->used_bytes };
}

void r2i_arena_rewind(r2i_arena *arena, r2i_arena_mark mark) {
    while (arena->last != mark.block) {
        r2i_arena_block *block = arena->last;
        arena->last = block->older;
        free_block(arena, block);
    }
    if (mark.block != NULL) mark.block->used_bytes = mark.block_used;
    arena->used_bytes = mark.used_bytes;
}

void r2i_arena_destroy(r2i_arena *arena) {
    r2i_arena_rewind(arena, (r2i_arena_mark){ 0 });
}

void *r2i_take(r2i_taker *taker, size_t n, size_t element_bytes) {
    void *memory = r2i_arena_push_array(taker->arena, n, element_bytes, 64);
    if (memory == NULL) taker->has_failed = true;
    return memory;
}

float *r2i_take_floats(r2i_taker *taker, size_t n_rows, size_t n_cols) {
    size_t n;
    if (r2i_mul_size(n_rows, n_cols, &n)) return r2i_take(taker, n, sizeof(float));
    taker->has_failed = true;
    return NULL;
}
