/* merge_table.h - which two neighbouring tokens become one, and in which order.
 *
 * {left id, right id} -> {rank, merged id} in an open-addressing table.  The pair of lowest rank is
 * merged first, the leftmost on ties. */
#ifndef R2I_MERGE_TABLE_H
#define R2I_MERGE_TABLE_H
#include "text/token_store.h"

enum { R2I_NO_RANK = 0x7fffffff };

typedef struct {
    uint64_t key; /* left << 32 | right, plus one; 0: free */
    int32_t rank, merged;
} r2i_merge_slot;

/* The filter has a bit for every stored key's hash and is an eighth full or less.  It stays in the
 * second-level cache, the slots do not, and most pairs asked for do not merge. */
typedef struct {
    r2i_heap *heap;
    r2i_merge_slot *slots; /* [n_slots], from r2i_pages */
    size_t n_slots;        /* power of two */
    unsigned shift;        /* 64 - log2(n_slots) */
    uint64_t *filter;      /* [n_slots / 16], behind the slots */
} r2i_merge_table;

enum { R2I_FILTER_BITS = 2 }; /* the filter has 2^2 bits per slot */

/* Plus one, because 0 marks a free slot and (0, 0) is a pair. */
static inline uint64_t r2i_merge_key(int32_t left, int32_t right) {
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) + 1;
}
static inline uint64_t r2i_merge_hash(uint64_t key) {
    key ^= key >> 29;
    return key * 0x9e3779b97f4a7c15u;
}

/* {R2I_NO_RANK, -1} when the two do not merge.  Ids may be any numbers. */
static inline r2i_merge_slot r2i_merge_find(const r2i_merge_table *table, int32_t left,
                                            int32_t right) {
    const uint64_t key = r2i_merge_key(left, right), hash = r2i_merge_hash(key);
    const uint64_t bit = hash >> (table->shift - R2I_FILTER_BITS);
    const size_t mask = table->n_slots - 1;
    const r2i_merge_slot none = { 0, R2I_NO_RANK, -1 };
    if ((table->filter[bit / 64] >> bit % 64 & 1) == 0) return none;
    for (size_t s = (size_t)(hash >> table->shift);; s = (s + 1) & mask) {
        const r2i_merge_slot slot = table->slots[s];
        if (slot.key == key) return slot;
        if (slot.key == 0) return none;
    }
}

/* From the vocabulary's merge list: rank is the place in the list.  R2_E_FORMAT: an entry that is
 * not two known tokens whose joined text is a token. */
R2_CHECKED r2_status r2i_merge_table_init(r2i_merge_table *table, const r2i_vocabulary *vocabulary,
                                          const r2i_token_store *store, r2i_heap *heap,
                                          r2_error *err);
/* From scores, as SentencePiece merges: any two normal tokens whose joined text is a normal token;
 * the best score of the joined token goes first, equal scores have equal rank. */
R2_CHECKED r2_status r2i_merge_table_init_scores(r2i_merge_table *table, const void *scores,
                                                 const r2i_token_store *store, r2i_heap *heap,
                                                 r2_error *err);
void r2i_merge_table_destroy(r2i_merge_table *table);
#endif
