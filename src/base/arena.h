/* arena.h - memory that dies together: model, session and step each own one.
 *
 * An arena is a list of blocks taken from a heap; pushing bumps a pointer.  Nothing is freed alone:
 * either the arena is rewound to a mark or destroyed.  One writer at a time. */
#ifndef R2I_ARENA_H
#define R2I_ARENA_H
#include <stdbool.h>
#include <stddef.h>
#include "base/memory.h"

typedef struct r2i_arena_block r2i_arena_block;
typedef struct {
    r2i_heap *heap;
    r2i_arena_block *last; /* newest block; older ones behind it */
    size_t block_bytes;    /* usual size of a new block */
    size_t max_bytes;      /* 0: only the heap's limit */
    /* From now on large blocks come zeroed from the kernel, in huge pages where it has them, and exist only
     * as far as they are written to.  Not with a host's own allocator. */
    bool is_mapped;
    size_t used_bytes, peak_bytes;
} r2i_arena;

/* A position to rewind to. */
typedef struct {
    r2i_arena_block *block;
    size_t block_used, used_bytes;
} r2i_arena_mark;

void r2i_arena_init(r2i_arena *arena, r2i_heap *heap, size_t block_bytes, size_t max_bytes);
/* Zeroed memory of n_bytes aligned to `align` (a power of two, at most 64), or NULL: the heap or
 * max_bytes refused, the arena is unchanged. */
void *r2i_arena_push(r2i_arena *arena, size_t n_bytes, size_t align);
/* n elements of element_bytes; NULL on overflow as well. */
void *r2i_arena_push_array(r2i_arena *arena, size_t n, size_t element_bytes, size_t align);
/* Of what was taken from the heap, mapped memory that was never pushed and so does not exist yet. */
size_t r2i_arena_spare_bytes(const r2i_arena *arena);
/* A terminated copy of n bytes. */
char *r2i_arena_copy_text(r2i_arena *arena, const char *text, size_t n_bytes);
r2i_arena_mark r2i_arena_get_mark(const r2i_arena *arena);
/* Frees all that was pushed since the mark. */
void r2i_arena_rewind(r2i_arena *arena, r2i_arena_mark mark);
void r2i_arena_destroy(r2i_arena *arena);

/* For lists of allocations: remembers the first failure, which is asked for once at the end. */
typedef struct {
    r2i_arena *arena;
    bool has_failed;
} r2i_taker;

/* n elements aligned to 64 bytes; NULL: has_failed is set. */
void *r2i_take(r2i_taker *taker, size_t n, size_t element_bytes);
/* A matrix of floats, likewise. */
float *r2i_take_floats(r2i_taker *taker, size_t n_rows, size_t n_cols);

/* One object of a type, zeroed. */
#define R2I_ARENA_NEW(arena, type) ((type *)r2i_arena_push((arena), sizeof(type), _Alignof(type)))
#define R2I_ARENA_ARRAY(arena, type, n) \
    ((type *)r2i_arena_push_array((arena), (n), sizeof(type), _Alignof(type)))
#endif
