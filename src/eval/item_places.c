#include "eval/item_places.h"

#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"

static uint64_t hash_of(const char *id) {
    return r2i_hash_mix(r2i_hash_bytes(R2I_HASH_SEED, id, strlen(id)));
}

static int compare(const void *a, const void *b) {
    const r2i_item_place *x = a, *y = b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

r2_status r2i_item_places_make(r2i_item_places *out, const r2i_eval_item *items, int32_t n_items,
                               r2i_arena *arena, r2_error *err) {
    *out = (r2i_item_places){ .items = items, .n_items = n_items };
    out->sorted = R2I_ARENA_ARRAY(arena, r2i_item_place, (size_t)n_items);
    if (out->sorted == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %d items", n_items);
    for (int32_t i = 0; i < n_items; i++)
        out->sorted[i] = (r2i_item_place){ hash_of(items[i].id), i };
    qsort(out->sorted, (size_t)n_items, sizeof *out->sorted, compare);
    return R2_OK;
}

int32_t r2i_item_place_of(const r2i_item_places *p, const json_t *line) {
    const char *id = json_string_value(json_object_get(line, "id"));
    const json_int_t number = json_integer_value(json_object_get(line, "item"));
    if (id == NULL) return -1;
    if (number >= 0 && number < p->n_items && strcmp(p->items[number].id, id) == 0)
        return (int32_t)number;
    const uint64_t hash = hash_of(id);
    int32_t low = 0, high = p->n_items;
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (p->sorted[middle].id < hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < p->n_items && p->sorted[low].id == hash; low++) {
        if (strcmp(p->items[p->sorted[low].item].id, id) == 0) return p->sorted[low].item;
    }
    return -1;
}
