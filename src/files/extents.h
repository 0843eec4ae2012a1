/* extents.h - byte ranges inside a file: do they overlap, do they leave holes. */
#ifndef R2I_EXTENTS_H
#define R2I_EXTENTS_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t begin, end; /* begin <= end */
    uint32_t index;      /* which item this is */
} r2i_extent;

/* Sorts by begin, then by end, in place.  Never worse than n log n, takes no memory. */
void r2i_extents_sort(r2i_extent *extents, size_t n);
#endif
