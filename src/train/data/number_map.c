#include "train/data/number_map.h"

#include <string.h>

#include "base/failure.h"

enum { FIRST_CAP = 1024 };

void r2i_number_map_init(r2i_number_map *map, r2i_heap *heap) {
    *map = (r2i_number_map){ .heap = heap };
}

void r2i_number_map_destroy(r2i_number_map *map) {
    if (map->entries != NULL)
        r2i_heap_give(map->heap, map->entries, map->cap * sizeof *map->entries);
    map->entries = NULL;
    map->n = map->cap = 0;
}

/* Where the key stands or would stand; there is always a free entry. */
static size_t place_of(const r2i_number_map *map, uint64_t key) {
    size_t i = (size_t)key & (map->cap - 1);
    while (map->entries[i].is_used && map->entries[i].key != key)
        i = (i + 1) & (map->cap - 1);
    return i;
}

const r2i_number_entry *r2i_number_map_find(const r2i_number_map *map, uint64_t key) {
    if (map->cap == 0) return NULL;
    const r2i_number_entry *e = &map->entries[place_of(map, key)];
    return e->is_used ? e : NULL;
}

static r2_status grow(r2i_number_map *map, r2_error *err) {
    r2i_number_map larger = { .heap = map->heap, .cap = map->cap > 0 ? 2 * map->cap : FIRST_CAP };
    larger.entries = r2i_heap_take(map->heap, larger.cap * sizeof *larger.entries);
    if (larger.entries == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for a table of %zu hashes", larger.cap);
    memset(larger.entries, 0, larger.cap * sizeof *larger.entries);
    for (size_t i = 0; i < map->cap; i++) {
        if (map->entries[i].is_used)
            larger.entries[place_of(&larger, map->entries[i].key)] = map->entries[i];
    }
    larger.n = map->n;
    r2i_number_map_destroy(map);
    *map = larger;
    return R2_OK;
}

r2_status r2i_number_map_add(r2i_number_map *map, uint64_t key, uint32_t value, uint32_t *found,
                             r2_error *err) {
    if (map->n >= map->cap / 2) R2I_TRY(grow(map, err));
    r2i_number_entry *e = &map->entries[place_of(map, key)];
    if (!e->is_used) {
        *e = (r2i_number_entry){ key, value, 1 };
        map->n++;
    }
    *found = e->value;
    return R2_OK;
}
