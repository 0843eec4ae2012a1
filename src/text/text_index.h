/* text_index.h - numbers texts in the order in which they are first seen.
 *
 * An open-addressing table of 64-bit hashes over one growing block of bytes.  Training a tokenizer
 * numbers the pieces of its data with one and its tokens with another. */
#ifndef R2I_TEXT_INDEX_H
#define R2I_TEXT_INDEX_H
#include "text/tokenizer.h"

typedef struct {
    uint64_t hash;
    int32_t number; /* -1: free */
} r2i_text_slot;

typedef struct {
    r2i_heap *heap;
    char *bytes; /* all texts one behind the other */
    size_t n_bytes, cap_bytes;
    size_t *begins; /* [n_texts + 1] */
    size_t cap_begins;
    int32_t n_texts;
    r2i_text_slot *slots;
    size_t n_slots; /* power of two */
} r2i_text_index;

/* Takes no memory yet. */
void r2i_text_index_init(r2i_text_index *index, r2i_heap *heap);
void r2i_text_index_destroy(r2i_text_index *index);
/* Number of the text, which is added if it is new (the next number then).  R2_E_NOMEM; R2_E_LIMIT
 * beyond 2^31 - 1 texts. */
R2_CHECKED r2_status r2i_text_index_add(r2i_text_index *index, const char *text, size_t n_bytes,
                                        int32_t *number, r2_error *err);
/* 0 <= number < n_texts; valid until the next add. */
static inline r2i_text_view r2i_text_index_get(const r2i_text_index *index, int32_t number) {
    const size_t begin = index->begins[number];
    return (r2i_text_view){ index->bytes + begin, index->begins[number + 1] - begin };
}

/* Doubles an array until it holds n elements; false: no memory, nothing changed. */
bool r2i_array_reserve(r2i_heap *heap, void **array, size_t *cap, size_t n, size_t element_bytes);
#endif
