/* merge_piece.h - merging the symbols of one piece of text.
 *
 * Short pieces: look through all neighbours for the lowest rank, again and again.  Long pieces: a
 * heap of candidate pairs over a linked list, O(n log n), so that a megabyte of one letter is no
 * attack.  Both give the same ids: lowest rank first, leftmost on ties. */
#ifndef R2I_MERGE_PIECE_H
#define R2I_MERGE_PIECE_H
#include "text/merge_table.h"

/* Memory for long pieces; grows when needed and is kept. */
typedef struct {
    r2i_heap *heap;
    void *memory;
    size_t n_bytes;
} r2i_merge_scratch;

void r2i_merge_scratch_init(r2i_merge_scratch *scratch, r2i_heap *heap);
void r2i_merge_scratch_destroy(r2i_merge_scratch *scratch);

/* Merges ids[0, n) in place; *n_merged of them remain.  Negative ids never merge.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_merge_piece(const r2i_merge_table *table, int32_t *ids, size_t n,
                                     size_t *n_merged, r2i_merge_scratch *scratch, r2_error *err);
#endif
