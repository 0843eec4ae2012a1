#include "train/runs/trainer_state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"

enum { NAME_BYTES = R2I_TENSOR_NAME_BYTES + 16, N_KINDS = 3 };
static const char *const kinds[N_KINDS] = { "weights", "m", "v" };

static void set_name(char out[NAME_BYTES], int kind, const r2i_parameter *p) {
    (void)snprintf(out, NAME_BYTES, "%s/%s", kinds[kind], p->name);
}

/* The range of parameter i that is kept here of a kind; values: NULL without any. */
static r2i_state_range range_of(const r2i_adamw *a, int32_t i, int kind) {
    const r2i_parameter *p = &a->parameters->list[i];
    const bool is_first = a->partition == NULL || a->partition->rank == 0;
    r2i_state_range out = { .n_all = r2i_parameter_size(p) };
    size_t end;
    out.first = r2i_adamw_part(a, i, &end);
    if (p->is_fixed) { /* no moments, and no rank steps it */
        out.first = 0;
        end = kind == 0 && is_first ? out.n_all : 0;
    }
    out.n = end - out.first;
    if (kind == 0)
        out.values = a->parameters->values + p->first + out.first;
    else if (kind == 1)
        out.values = a->m + a->first_m[i];
    else if (!a->leaves_hidden || !p->is_hidden)
        out.values = a->v + a->first_v[i];
    else
        out.n = 0;
    return out;
}

r2_status r2i_trainer_ranges(const r2i_adamw *a, r2i_arena *arena, r2i_state_range **out, size_t *n,
                             r2_error *err) {
    const int32_t n_parameters = a->parameters->n;
    *n = 0;
    *out = R2I_ARENA_ARRAY(arena, r2i_state_range, (size_t)n_parameters * N_KINDS + 1);
    for (int32_t i = 0; *out != NULL && i < n_parameters; i++) {
        for (int kind = 0; kind < N_KINDS; kind++) {
            char name[NAME_BYTES];
            r2i_state_range range = range_of(a, i, kind);
            if (range.n == 0) continue;
            set_name(name, kind, &a->parameters->list[i]);
            range.name = r2i_arena_copy_text(arena, name, strlen(name));
            if (range.name == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a checkpoint");
            (*out)[(*n)++] = range;
        }
    }
    return *out != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for a checkpoint");
}

r2_status r2i_trainer_check_finite(const r2i_adamw *a, r2_error *err) {
    const r2i_parameters *p = a->parameters;
    for (size_t i = 0; i < p->n_values; i++) {
        if (!isfinite(p->values[i]))
            return r2i_fail(err, R2_E_RANGE, "a weight is no finite number");
    }
    return R2_OK;
}

static r2_status restore_moments(r2i_adamw *a, const r2i_state *state, int32_t i, r2_error *err) {
    for (int kind = 1; kind < N_KINDS; kind++) {
        char name[NAME_BYTES];
        const r2i_state_range r = range_of(a, i, kind);
        if (r.n == 0) continue;
        set_name(name, kind, &a->parameters->list[i]);
        float *values = kind == 1 ? a->m + a->first_m[i] : a->v + a->first_v[i];
        R2I_TRY(r2i_state_read(state, name, r.first, r.n, r.n_all, values, err));
    }
    return R2_OK;
}

r2_status r2i_trainer_restore(r2i_adamw *a, const r2i_state *state, r2_error *err) {
    const r2i_parameters *p = a->parameters;
    for (int32_t i = 0; i < p->n; i++) {
        char name[NAME_BYTES];
        const size_t n = r2i_parameter_size(&p->list[i]);
        if (a->partition != NULL && !r2i_partition_has_values(a->partition, p, i)) continue;
        set_name(name, 0, &p->list[i]);
        R2I_TRY(r2i_state_read(state, name, 0, n, n, p->values + p->list[i].first, err));
        R2I_TRY(restore_moments(a, state, i, err));
    }
    r2i_parameters_refresh(a->parameters);
    return R2_OK;
}
