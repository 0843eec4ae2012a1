/* item_places.h - which item a line of answers belongs to: told by its id, since numbers change where a limit
 * counts for each group. */
#ifndef R2I_ITEM_PLACES_H
#define R2I_ITEM_PLACES_H
#include <jansson.h>

#include "eval/eval_suite.h"

typedef struct {
    uint64_t id; /* hash */
    int32_t item;
} r2i_item_place;

typedef struct {
    const r2i_eval_item *items; /* borrowed */
    r2i_item_place *sorted;     /* [n_items], the arena's */
    int32_t n_items;
} r2i_item_places;

R2_CHECKED r2_status r2i_item_places_make(r2i_item_places *out, const r2i_eval_item *items,
                                          int32_t n_items, r2i_arena *arena, r2_error *err);
/* -1: of no item here.  Of items with one id it is the one whose number the line has. */
int32_t r2i_item_place_of(const r2i_item_places *places, const json_t *line);
#endif
