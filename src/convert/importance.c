/* importance.c - entries of an r2_importance, and its files. */
#include "convert/importance.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "files/gguf_write.h"

enum { ARENA_BLOCK_BYTES = 1 << 20, MAX_VALUES = 1 << 28 };

static const char sums_end[] = ".in_sum2", counts_end[] = ".counts";

r2_status r2i_importance_create(r2_importance **out, const r2_host *host, size_t cap_entries,
                                r2_error *err) {
    r2i_heap heap;
    r2i_heap_init_host(&heap, host);
    *out = NULL;
    r2_importance *m = r2i_heap_take(&heap, sizeof *m);
    if (m == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for importance");
    memset(m, 0, sizeof *m);
    m->heap = heap;
    r2i_arena_init(&m->arena, &m->heap, ARENA_BLOCK_BYTES, 0);
    m->entries = R2I_ARENA_ARRAY(&m->arena, r2i_importance_entry, cap_entries + 1);
    if (m->entries == NULL) {
        r2_importance_destroy(m);
        return r2i_fail(err, R2_E_NOMEM, "no memory for importance of %zu matrices", cap_entries);
    }
    *out = m;
    return R2_OK;
}

void r2_importance_destroy(r2_importance *importance) {
    if (importance == NULL) return;
    r2i_arena_destroy(&importance->arena);
    r2i_heap heap = importance->heap;
    r2i_heap_give(&heap, importance, sizeof *importance);
}

r2_status r2i_importance_add(r2_importance *m, const char *name, size_t name_bytes, int64_t n_cols,
                             int64_t n_slices, r2_error *err) {
    size_t n;
    if (!r2i_mul_size((size_t)n_cols, (size_t)n_slices, &n) || n > MAX_VALUES)
        return r2i_fail(err, R2_E_LIMIT, "importance: %.64s: too many columns", name);
    r2i_importance_entry *e = &m->entries[m->n_entries];
    *e = (r2i_importance_entry){ .n_cols = n_cols, .n_slices = n_slices };
    e->name = r2i_arena_copy_text(&m->arena, name, name_bytes);
    e->sums = R2I_ARENA_ARRAY(&m->arena, double, n);
    e->counts = R2I_ARENA_ARRAY(&m->arena, double, (size_t)n_slices);
    e->means = R2I_ARENA_ARRAY(&m->arena, float, n);
    if (e->name == NULL || e->sums == NULL || e->counts == NULL || e->means == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for importance");
    m->n_entries++;
    return R2_OK;
}

/* Sums as a file keeps them, so that a file gives the same means. */
static void settle_slice(float *means, const double *sums, double count, int64_t n) {
    double mean = 0;
    for (int64_t i = 0; i < n && count > 0; i++)
        mean += (double)(float)sums[i] / count / (double)n;
    for (int64_t i = 0; i < n; i++)
        means[i] = mean > 0 ? (float)((double)(float)sums[i] / count + 1e-4 * mean) : 1.0F;
}

void r2i_importance_settle(r2_importance *m) {
    for (size_t k = 0; k < m->n_entries; k++) {
        const r2i_importance_entry *e = &m->entries[k];
        for (int64_t s = 0; s < e->n_slices; s++)
            settle_slice(e->means + s * e->n_cols, e->sums + s * e->n_cols, e->counts[s],
                         e->n_cols);
    }
}

const float *r2i_importance_find(const r2_importance *m, const char *name, int64_t n_cols,
                                 int64_t n_slices) {
    for (size_t k = 0; k < m->n_entries; k++) {
        const r2i_importance_entry *e = &m->entries[k];
        if (strcmp(e->name, name) == 0)
            return e->n_cols == n_cols && e->n_slices == n_slices ? e->means : NULL;
    }
    return NULL;
}

/* ---- files ---- */

/* NAME of NAME.in_sum2; 0: it is another tensor. */
static size_t stem_bytes(const char *name) {
    const size_t n = strlen(name), n_end = sizeof sums_end - 1;
    return n > n_end && strcmp(name + n - n_end, sums_end) == 0 ? n - n_end : 0;
}

static r2_status fail_tensor(const r2i_gguf *gguf, const char *name, r2_error *err) {
    return r2i_fail(err, R2_E_FORMAT,
                    "%s: %s: expected finite F32 sums with their counts, none below 0",
                    r2i_gguf_label(gguf), name);
}

/* F32 as stored; false when one is no number of a sum of squares. */
static bool read_values(double *out, const r2i_stored_tensor *t, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, t->bytes + 4 * (size_t)i, sizeof x);
        if (!isfinite(x) || x < 0) return false;
        out[i] = (double)x;
    }
    return true;
}

static r2_status read_entry(r2_importance *m, const r2i_gguf *gguf, const r2i_stored_tensor *sums,
                            size_t n_stem, r2_error *err) {
    char name[128];
    if (n_stem + sizeof counts_end > sizeof name) return fail_tensor(gguf, sums->name, err);
    memcpy(name, sums->name, n_stem);
    memcpy(name + n_stem, counts_end, sizeof counts_end);
    const r2i_stored_tensor *counts = r2i_gguf_find_tensor(gguf, name);
    const int64_t n_slices = sums->ne[1] * sums->ne[2] * sums->ne[3];
    if (sums->type != R2I_TYPE_F32 || counts == NULL || counts->type != R2I_TYPE_F32 ||
        counts->n_bytes != 4 * (size_t)n_slices)
        return fail_tensor(gguf, sums->name, err);
    R2I_TRY(r2i_importance_add(m, sums->name, n_stem, sums->ne[0], n_slices, err));
    const r2i_importance_entry *e = &m->entries[m->n_entries - 1];
    if (!read_values(e->sums, sums, e->n_cols * n_slices) ||
        !read_values(e->counts, counts, n_slices))
        return fail_tensor(gguf, sums->name, err);
    return R2_OK;
}

static r2_status read_all(r2_importance **out, const char *path, r2i_arena *arena, r2i_gguf **gguf,
                          r2_error *err) {
    R2I_TRY(r2i_gguf_open(gguf, path, arena, err));
    const size_t n = r2i_gguf_n_tensors(*gguf);
    R2I_TRY(r2i_importance_create(out, NULL, n, err));
    for (size_t i = 0; i < n; i++) {
        const r2i_stored_tensor *t = r2i_gguf_tensor_at(*gguf, i);
        const size_t n_stem = stem_bytes(t->name);
        if (n_stem > 0) R2I_TRY(read_entry(*out, *gguf, t, n_stem, err));
    }
    if ((*out)->n_entries == 0)
        return r2i_fail(err, R2_E_FORMAT, "%s: expected tensors NAME%s, found none",
                        r2i_gguf_label(*gguf), sums_end);
    r2i_importance_settle(*out);
    return R2_OK;
}

r2_status r2_importance_load(r2_importance **out, const char *path, r2_error *err) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf *gguf = NULL;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *out = NULL;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, ARENA_BLOCK_BYTES, 0);
    const r2_status status = read_all(out, path, &arena, &gguf, err);
    r2i_gguf_close(gguf);
    r2i_arena_destroy(&arena);
    if (status != R2_OK) {
        r2_importance_destroy(*out);
        *out = NULL;
    }
    return status;
}

/* n doubles as F32, in the arena. */
static const float *to_floats(r2i_arena *arena, const double *x, int64_t n) {
    float *y = R2I_ARENA_ARRAY(arena, float, (size_t)n);
    for (int64_t i = 0; y != NULL && i < n; i++)
        y[i] = (float)x[i];
    return y;
}

static r2_status write_tensor(r2i_gguf_writer *w, r2i_arena *arena, const char *stem,
                              const char *end, const int64_t ne[2], const double *values,
                              r2_error *err) {
    char name[128];
    const size_t n = strlen(stem), n_end = strlen(end) + 1;
    const float *floats = to_floats(arena, values, ne[0] * ne[1]);
    if (n + n_end > sizeof name || floats == NULL)
        return r2i_fail(err, R2_E_NOMEM, "%s: no memory to write its importance", stem);
    memcpy(name, stem, n);
    memcpy(name + n, end, n_end);
    return r2i_gguf_writer_add_tensor(w, name, R2I_TYPE_F32, 2, ne, floats, err);
}

static r2_status write_all(const r2_importance *m, const char *path, r2i_gguf_writer *w,
                           r2i_arena *arena, r2_error *err) {
    static const char type[] = "imatrix", set[] = "text";
    const r2i_gguf_text sets[1] = { { set, sizeof set - 1 } };
    R2I_TRY(r2i_gguf_writer_add_text(w, "general.type", type, sizeof type - 1, err));
    R2I_TRY(r2i_gguf_writer_add_texts(w, "imatrix.datasets", sets, 1, err));
    R2I_TRY(r2i_gguf_writer_add_integer(w, "imatrix.chunk_count", R2I_GGUF_U32, m->n_windows, err));
    R2I_TRY(r2i_gguf_writer_add_integer(w, "imatrix.chunk_size", R2I_GGUF_U32, m->n_window, err));
    for (size_t k = 0; k < m->n_entries; k++) {
        const r2i_importance_entry *e = &m->entries[k];
        const int64_t sums[2] = { e->n_cols, e->n_slices }, counts[2] = { 1, e->n_slices };
        R2I_TRY(write_tensor(w, arena, e->name, sums_end, sums, e->sums, err));
        R2I_TRY(write_tensor(w, arena, e->name, counts_end, counts, e->counts, err));
    }
    R2I_TRY(r2i_gguf_writer_begin(w, path, err));
    return r2i_gguf_writer_finish(w, err);
}

r2_status r2_importance_save(const r2_importance *importance, const char *path, r2_error *err) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf_writer *w = NULL;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, ARENA_BLOCK_BYTES, 0);
    r2_status status = r2i_gguf_writer_create(&w, &heap, err);
    if (status == R2_OK) status = write_all(importance, path, w, &arena, err);
    r2i_gguf_writer_destroy(w);
    r2i_arena_destroy(&arena);
    return status;
}
