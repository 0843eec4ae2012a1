/* name_table.h - names from a file, found in constant time and known to be unique.
 *
 * Open addressing over at most a quarter-filled table.  A probe sequence longer than any honest
 * file produces means names chosen to collide: adding fails then, so building stays linear. */
#ifndef R2I_NAME_TABLE_H
#define R2I_NAME_TABLE_H
#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"

typedef struct {
    const char *name; /* NULL: free */
    uint32_t n_bytes, index;
} r2i_name_slot;
typedef struct {
    r2i_name_slot *slots;
    uint32_t mask;
} r2i_name_table;

typedef enum { R2I_NAME_ADDED, R2I_NAME_DUPLICATE, R2I_NAME_CROWDED } r2i_name_result;

/* Room for n_names; false when the arena has none.  n_names <= 2^28. */
bool r2i_name_table_init(r2i_name_table *table, r2i_arena *arena, size_t n_names);
/* Borrows the name for the life of the table. */
r2i_name_result r2i_name_table_add(r2i_name_table *table, const char *name, size_t n_bytes,
                                   uint32_t index);
/* Index of the name, or -1. */
int64_t r2i_name_table_find(const r2i_name_table *table, const char *name, size_t n_bytes);
#endif
