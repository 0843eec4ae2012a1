#include "files/extents.h"

#include <stdbool.h>

static bool is_before(const r2i_extent *a, const r2i_extent *b) {
    return a->begin != b->begin ? a->begin < b->begin : a->end < b->end;
}

/* Lets the item at `root` sink until no child of it is larger. */
static void sift_down(r2i_extent *heap, size_t root, size_t n) {
    const r2i_extent item = heap[root];
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && is_before(&heap[child], &heap[child + 1])) child++;
        if (!is_before(&item, &heap[child])) break;
        heap[root] = heap[child];
    }
    heap[root] = item;
}

void r2i_extents_sort(r2i_extent *extents, size_t n) {
    bool is_sorted = true; /* as every honest writer leaves them */
    for (size_t i = 1; i < n && is_sorted; i++)
        is_sorted = !is_before(&extents[i], &extents[i - 1]);
    if (is_sorted) return;
    for (size_t i = n / 2; i-- > 0;) sift_down(extents, i, n);
    for (size_t i = n; i-- > 1;) {
        const r2i_extent largest = extents[0];
        extents[0] = extents[i];
        extents[i] = largest;
        sift_down(extents, 0, i);
    }
}
