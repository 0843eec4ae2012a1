#include "train/data/held_out.h"

#include "train/data/word_hashes.h"

#include "base/failure.h"

enum { RUN_WORDS = 13, LEAST_WORDS = 8 };

void r2i_held_out_init(r2i_held_out *set, r2i_heap *heap) {
    *set = (r2i_held_out){ .n_items = 0 };
    r2i_number_map_init(&set->runs, heap);
}

void r2i_held_out_destroy(r2i_held_out *set) {
    r2i_number_map_destroy(&set->runs);
}

r2_status r2i_held_out_add(r2i_held_out *set, const uint64_t *words, size_t n, r2_error *err) {
    const size_t length = n < RUN_WORDS ? n : RUN_WORDS;
    uint32_t first;
    if (n < LEAST_WORDS) return R2_OK;
    for (size_t i = 0; i + length <= n; i++) {
        const uint64_t run = r2i_word_hashes_join(words + i, length);
        R2I_TRY(r2i_number_map_add(&set->runs, run, (uint32_t)length, &first, err));
    }
    set->lengths |= 1u << length;
    set->n_items++;
    return R2_OK;
}

bool r2i_held_out_taints(const r2i_held_out *set, const uint64_t *words, size_t n) {
    for (size_t length = LEAST_WORDS; length <= RUN_WORDS; length++) {
        if ((set->lengths >> length & 1u) == 0) continue;
        for (size_t i = 0; i + length <= n; i++) {
            const r2i_number_entry *e =
                r2i_number_map_find(&set->runs, r2i_word_hashes_join(words + i, length));
            if (e != NULL && e->value == length) return true;
        }
    }
    return false;
}
