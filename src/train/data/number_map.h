/* number_map.h - 64-bit keys to 32-bit values: which hash was seen, and where.
 *
 * Open addressing, grows by doubling, never shrinks.  Keys are hashes already. */
#ifndef R2I_NUMBER_MAP_H
#define R2I_NUMBER_MAP_H
#include <stdbool.h>
#include <stdint.h>
#include "base/memory.h"

typedef struct {
    uint64_t key;
    uint32_t value;
    uint32_t is_used;
} r2i_number_entry;

typedef struct {
    r2i_heap *heap;
    r2i_number_entry *entries; /* [cap], a power of two */
    size_t n, cap;
} r2i_number_map;

void r2i_number_map_init(r2i_number_map *map, r2i_heap *heap);
void r2i_number_map_destroy(r2i_number_map *map);
/* The entry of a key, or NULL. */
const r2i_number_entry *r2i_number_map_find(const r2i_number_map *map, uint64_t key);
/* Adds the key unless it is there; *found: the value that stands there now.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_number_map_add(r2i_number_map *map, uint64_t key, uint32_t value,
                                        uint32_t *found, r2_error *err);
#endif
