#include "files/name_table.h"

#include <string.h>

#include "base/hash.h"

/* At load 1/4 and 2^20 names the longest run of a random hash is about 20. */
enum { MAX_PROBES = 128 };

bool r2i_name_table_init(r2i_name_table *table, r2i_arena *arena, size_t n_names) {
    size_t n_slots = 16;
    while (n_slots / 4 < n_names) n_slots *= 2;
    table->slots = R2I_ARENA_ARRAY(arena, r2i_name_slot, n_slots);
    table->mask = (uint32_t)(n_slots - 1);
    return table->slots != NULL;
}

static bool is_same(const r2i_name_slot *slot, const char *name, size_t n_bytes) {
    return slot->n_bytes == n_bytes && memcmp(slot->name, name, n_bytes) == 0;
}

r2i_name_result r2i_name_table_add(r2i_name_table *table, const char *name, size_t n_bytes,
                                   uint32_t index) {
    uint32_t at = (uint32_t)r2i_hash_bytes(R2I_HASH_SEED, name, n_bytes) & table->mask;
    for (int32_t i = 0; i < MAX_PROBES; i++, at = (at + 1) & table->mask) {
        r2i_name_slot *slot = &table->slots[at];
        if (slot->name == NULL) {
            *slot = (r2i_name_slot){ name, (uint32_t)n_bytes, index };
            return R2I_NAME_ADDED;
        }
        if (is_same(slot, name, n_bytes)) return R2I_NAME_DUPLICATE;
    }
    return R2I_NAME_CROWDED;
}

int64_t r2i_name_table_find(const r2i_name_table *table, const char *name, size_t n_bytes) {
    if (table->slots == NULL) return -1;
    uint32_t at = (uint32_t)r2i_hash_bytes(R2I_HASH_SEED, name, n_bytes) & table->mask;
    for (int32_t i = 0; i < MAX_PROBES; i++, at = (at + 1) & table->mask) {
        const r2i_name_slot *slot = &table->slots[at];
        if (slot->name == NULL) return -1;
        if (is_same(slot, name, n_bytes)) return slot->index;
    }
    return -1;
}
