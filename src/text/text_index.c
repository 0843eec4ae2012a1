#include "text/text_index.h"

#include <limits.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/hash.h"

enum { FIRST_SLOTS = 1024, FIRST_ELEMENTS = 64 };

bool r2i_array_reserve(r2i_heap *heap, void **array, size_t *cap, size_t n, size_t element_bytes) {
    size_t more = *cap == 0 ? FIRST_ELEMENTS : *cap, old_bytes, new_bytes;
    if (n <= *cap) return true;
    while (more < n) {
        if (!r2i_mul_size(more, 2, &more)) return false;
    }
    if (!r2i_mul_size(*cap, element_bytes, &old_bytes) ||
        !r2i_mul_size(more, element_bytes, &new_bytes))
        return false;
    void *grown = r2i_heap_resize(heap, *array, old_bytes, new_bytes);
    if (grown == NULL) return false;
    *array = grown;
    *cap = more;
    return true;
}

void r2i_text_index_init(r2i_text_index *index, r2i_heap *heap) {
    *index = (r2i_text_index){ .heap = heap };
}

void r2i_text_index_destroy(r2i_text_index *index) {
    r2i_heap_give(index->heap, index->bytes, index->cap_bytes);
    r2i_heap_give(index->heap, index->begins, index->cap_begins * sizeof *index->begins);
    r2i_heap_give(index->heap, index->slots, index->n_slots * sizeof *index->slots);
    r2i_text_index_init(index, index->heap);
}

static r2_status fail_memory(r2_error *err) {
    return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for the pieces of the texts");
}

/* At most half of the slots are taken. */
static r2_status grow_slots(r2i_text_index *index, r2_error *err) {
    const size_t n = index->n_slots == 0 ? FIRST_SLOTS : 2 * index->n_slots;
    r2i_text_slot *slots =
        n > SIZE_MAX / sizeof *slots ? NULL : r2i_heap_take(index->heap, n * sizeof *slots);
    if (slots == NULL) return fail_memory(err);
    for (size_t s = 0; s < n; s++)
        slots[s] = (r2i_text_slot){ 0, -1 };
    for (size_t s = 0; s < index->n_slots; s++) {
        size_t at = index->slots[s].hash & (n - 1);
        if (index->slots[s].number < 0) continue;
        while (slots[at].number >= 0)
            at = (at + 1) & (n - 1);
        slots[at] = index->slots[s];
    }
    r2i_heap_give(index->heap, index->slots, index->n_slots * sizeof *slots);
    index->slots = slots;
    index->n_slots = n;
    return R2_OK;
}

static r2_status append(r2i_text_index *index, const char *text, size_t n_bytes, r2_error *err) {
    const size_t end = index->n_bytes + n_bytes, n = (size_t)index->n_texts;
    if (index->n_texts == INT_MAX - 1)
        return r2i_fail(err, R2_E_LIMIT, "tokenizer: expected fewer than 2^31 different pieces");
    if (!r2i_array_reserve(index->heap, (void **)&index->bytes, &index->cap_bytes, end, 1) ||
        !r2i_array_reserve(index->heap, (void **)&index->begins, &index->cap_begins, n + 2,
                           sizeof *index->begins))
        return fail_memory(err);
    if (n_bytes > 0) memcpy(index->bytes + index->n_bytes, text, n_bytes);
    index->begins[n] = index->n_bytes;
    index->begins[n + 1] = index->n_bytes = end;
    index->n_texts++;
    return R2_OK;
}

r2_status r2i_text_index_add(r2i_text_index *index, const char *text, size_t n_bytes,
                             int32_t *number, r2_error *err) {
    const uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, text, n_bytes);
    if (2 * ((size_t)index->n_texts + 1) > index->n_slots) R2I_TRY(grow_slots(index, err));
    size_t at = hash & (index->n_slots - 1);
    for (; index->slots[at].number >= 0; at = (at + 1) & (index->n_slots - 1)) {
        if (index->slots[at].hash != hash) continue;
        const r2i_text_view known = r2i_text_index_get(index, index->slots[at].number);
        if (known.n_bytes != n_bytes || memcmp(known.bytes, text, n_bytes) != 0) continue;
        *number = index->slots[at].number;
        return R2_OK;
    }
    R2I_TRY(append(index, text, n_bytes, err));
    *number = index->n_texts - 1;
    index->slots[at] = (r2i_text_slot){ hash, *number };
    return R2_OK;
}
