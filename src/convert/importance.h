/* importance.h - how much each column of a model's matrices counts: its input's mean square.
 *
 * Collected while a model reads a text; kept in files as llama.cpp does (a GGUF of general.type
 * "imatrix": NAME.in_sum2 [n_slices, n_cols] and NAME.counts [n_slices], both F32). */
#ifndef R2I_IMPORTANCE_H
#define R2I_IMPORTANCE_H
#include "base/arena.h"
#include "r2lm/convert.h"

typedef struct {
    char *name; /* of the matrix's tensor in GGUF */
    int64_t n_cols, n_slices;
    double *sums;   /* [n_slices, n_cols] of squares */
    double *counts; /* [n_slices] rows seen */
    float *means;   /* [n_slices, n_cols], none 0; made by r2i_importance_settle */
} r2i_importance_entry;

struct r2_importance {
    r2i_heap heap;
    r2i_arena arena;
    r2i_importance_entry *entries; /* [n_entries] */
    size_t n_entries;
    int64_t n_windows, n_window; /* text seen */
};

/* Empty, with room for cap_entries.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_importance_create(r2_importance **out, const r2_host *host,
                                           size_t cap_entries, r2_error *err);
/* An entry with sums of zero behind the others.  R2_E_NOMEM, R2_E_LIMIT. */
R2_CHECKED r2_status r2i_importance_add(r2_importance *importance, const char *name,
                                        size_t name_bytes, int64_t n_cols, int64_t n_slices,
                                        r2_error *err);
/* Makes the means.  A slice that saw nothing counts all its columns alike; a column that was always 0
 * counts a little. */
void r2i_importance_settle(r2_importance *importance);
/* Means [n_slices, n_cols], or NULL when the matrix was not seen or has another shape. */
const float *r2i_importance_find(const r2_importance *importance, const char *name, int64_t n_cols,
                                 int64_t n_slices);
#endif
