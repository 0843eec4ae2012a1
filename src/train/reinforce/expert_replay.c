#include "train/reinforce/expert_replay.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

r2_status r2i_expert_replay_open(r2i_expert_replay *r, r2i_heap *heap, int32_t n_parts,
                                 size_t cap_rows, int32_t n_routes, r2_error *err) {
    size_t n;
    *r = (r2i_expert_replay){
        .heap = heap, .cap_rows = cap_rows, .n_routes = n_routes, .n_parts = n_parts
    };
    if (r2i_mul_size(cap_rows, (size_t)n_routes * sizeof *r->experts, &n)) {
        r->n_bytes = n;
        r->experts = r2i_memory_map(heap, n);
        r->first_row = r2i_heap_take(heap, (size_t)n_parts * sizeof *r->first_row);
    }
    if (r->experts != NULL && r->first_row != NULL) return R2_OK;
    r2i_expert_replay_close(r);
    return r2i_fail(err, R2_E_NOMEM, "no memory for the experts of answers");
}

void r2i_expert_replay_close(r2i_expert_replay *r) {
    if (r->experts != NULL) r2i_memory_unmap(r->heap, r->experts, r->n_bytes);
    if (r->first_row != NULL)
        r2i_heap_give(r->heap, r->first_row, (size_t)r->n_parts * sizeof *r->first_row);
    *r = (r2i_expert_replay){ 0 };
}

void r2i_expert_replay_clear(r2i_expert_replay *r) {
    r->n_rows = r->next_row = 0;
}

void r2i_expert_replay_begin(r2i_expert_replay *r, int32_t part, bool is_given) {
    if (!is_given) r->first_row[part] = r->n_rows;
    r->next_row = r->first_row[part];
    r->routes.is_given = is_given;
}

r2_status r2i_expert_replay_next(r2i_expert_replay *r, int32_t n_rows,
                                 const r2_expert_routes **routes, r2_error *err) {
    const size_t n = (size_t)n_rows, most = r->routes.is_given ? r->n_rows : r->cap_rows;
    if (n > most - r->next_row)
        return r2i_fail(err, R2_E_STATE,
                        "experts of answers: expected %zu rows at most, found %d more than %zu",
                        most, n_rows, r->next_row);
    r->routes.experts = r->experts + r->next_row * (size_t)r->n_routes;
    r->next_row += n;
    if (!r->routes.is_given) r->n_rows = r->next_row;
    *routes = &r->routes;
    return R2_OK;
}
