/* collect_importance.c - r2_importance_collect: a model reads a text, the squares of what its
 * matrices are multiplied with are added up column by column. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/half.h"
#include "convert/importance.h"
#include "convert/text_pass.h"
#include "kernels/act_rows.h"

enum { DEFAULT_WINDOW = 512, LOGITS_EVERY = 4 };

/* A tensor of the file and its entry. */
typedef struct {
    const r2i_stored_tensor *tensor;
    size_t entry;
} place;

typedef struct {
    r2_importance *importance;
    place *places; /* [n_places] by address */
    size_t n_places;
} collector;

static int compare_places(const void *a, const void *b) {
    const place *p = a, *q = b;
    const uintptr_t x = (uintptr_t)p->tensor->bytes, y = (uintptr_t)q->tensor->bytes;
    return x < y ? -1 : x > y;
}

/* The tensor whose bytes hold this address; NULL: none, the matrix was made while loading. */
static const place *find_place(const collector *c, const uint8_t *bytes) {
    size_t low = 0, high = c->n_places;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const r2i_stored_tensor *t = c->places[middle].tensor;
        if ((uintptr_t)bytes < (uintptr_t)t->bytes)
            high = middle;
        else if ((uintptr_t)bytes - (uintptr_t)t->bytes >= t->n_bytes)
            low = middle + 1;
        else
            return &c->places[middle];
    }
    return NULL;
}

static void add_f32(double *sums, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, row + 4 * (size_t)i, sizeof x);
        sums[i] += (double)x * (double)x;
    }
}

static void add_bf16(double *sums, const uint8_t *row, int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, row + 2 * (size_t)i, sizeof h);
        const double x = (double)r2i_f32_from_bf16(h);
        sums[i] += x * x;
    }
}

static void add_int8(double *sums, const uint8_t *row, int32_t n) {
    const r2i_act_group *groups = r2i_act_groups(row);
    for (int32_t i = 0; i < n; i++) {
        const r2i_act_group *g = &groups[i / R2I_GROUP];
        const double x = (double)g->scale * (g->q[i % R2I_GROUP] + r2i_start_zero(g->start));
        sums[i] += x * x;
    }
}

/* r2i_observe: runs on the workers, each matrix on one of them at a time. */
static void observe(void *user, const r2i_matrix *m, const uint8_t *act, size_t act_stride,
                    int32_t n_tokens) {
    const collector *c = user;
    const place *p = find_place(c, m->stored);
    if (p == NULL || p->tensor->ne[0] != m->n_cols) return;
    const r2i_importance_entry *e = &c->importance->entries[p->entry];
    const size_t slice_bytes = (size_t)p->tensor->ne[1] * m->row_bytes;
    const size_t slice = (size_t)(m->stored - p->tensor->bytes) / slice_bytes;
    double *sums = e->sums + slice * (size_t)m->n_cols;
    for (int32_t t = 0; t < n_tokens; t++) {
        const uint8_t *row = act + (size_t)t * act_stride;
        switch (r2i_act_kind_of(m->layout)) {
        case R2I_ACT_F32:
            add_f32(sums, row, m->n_cols);
            break;
        case R2I_ACT_BF16:
            add_bf16(sums, row, m->n_cols);
            break;
        case R2I_ACT_INT8:
            add_int8(sums, row, m->n_cols);
            break;
        }
    }
    e->counts[slice] += n_tokens;
}

static r2_status make_places(collector *c, const r2_model *model, r2_error *err) {
    const size_t n = r2i_gguf_n_tensors(model->gguf);
    R2I_TRY(r2i_importance_create(&c->importance, &model->host, n, err));
    c->places = R2I_ARENA_ARRAY(&c->importance->arena, place, n + 1);
    if (c->places == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for importance");
    for (size_t i = 0; i < n; i++) {
        const r2i_stored_tensor *t = r2i_gguf_tensor_at(model->gguf, i);
        if (t->n_dims < 2) continue;
        c->places[c->n_places++] = (place){ t, c->importance->n_entries };
        R2I_TRY(r2i_importance_add(c->importance, t->name, strlen(t->name), t->ne[0],
                                   t->ne[2] * t->ne[3], err));
    }
    qsort(c->places, c->n_places, sizeof *c->places, compare_places);
    return R2_OK;
}

/* Matrices that saw nothing (an embedding whose rows are only read) are left out. */
static void drop_unseen(r2_importance *m) {
    size_t n = 0;
    for (size_t k = 0; k < m->n_entries; k++) {
        const r2i_importance_entry *e = &m->entries[k];
        double seen = 0;
        for (int64_t s = 0; s < e->n_slices; s++)
            seen += e->counts[s];
        if (seen > 0) m->entries[n++] = *e;
    }
    m->n_entries = n;
}

static r2_status read_text(collector *c, r2i_text_pass *pass, const r2_token *tokens,
                           int32_t n_tokens, int32_t window, const r2_compare_options *o,
                           r2_error *err) {
    r2i_text_pass_observe(pass, observe, c);
    for (int32_t begin = 0; begin + window <= n_tokens; begin += window) {
        if (o->progress != NULL && !o->progress(o->user, begin, n_tokens))
            return r2i_fail(err, R2_E_CANCELED, "stopped");
        R2I_TRY(r2i_text_pass_run(pass, tokens + begin, window, err));
        /* The output matrix is the largest, and a part of the rows says enough about its input. */
        for (int32_t row = 0; row < window; row += LOGITS_EVERY * R2I_PASS_LOGITS)
            (void)r2i_text_pass_logits(pass, row, r2i_min_i32(R2I_PASS_LOGITS, window - row));
        c->importance->n_windows++;
    }
    return R2_OK;
}

static r2_status collect(collector *c, r2_model *model, const r2_token *tokens, int32_t n_tokens,
                         const r2_compare_options *o, r2_error *err) {
    const int32_t window = r2i_min_i32(o->n_window > 0 ? o->n_window : DEFAULT_WINDOW, n_tokens);
    r2i_text_pass *pass;
    if (model->gguf == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "importance: expected a GGUF file as the source");
    if (n_tokens < 4)
        return r2i_fail(err, R2_E_ARGUMENT, "text: expected at least 4 tokens, found %d", n_tokens);
    R2I_TRY(make_places(c, model, err));
    c->importance->n_window = window;
    R2I_TRY(r2i_text_pass_create(&pass, model, window, o->n_threads, err));
    const r2_status status = read_text(c, pass, tokens, n_tokens, window, o, err);
    r2i_text_pass_destroy(pass);
    if (status != R2_OK) return status;
    drop_unseen(c->importance);
    r2i_importance_settle(c->importance);
    return R2_OK;
}

r2_status r2_importance_collect(r2_importance **out, r2_model *model, const r2_token *tokens,
                                int32_t n_tokens, const r2_compare_options *options,
                                r2_error *err) {
    static const r2_compare_options defaults = { 0 };
    collector c = { 0 };
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *out = NULL;
    const r2_status status =
        collect(&c, model, tokens, n_tokens, options != NULL ? options : &defaults, err);
    if (status == R2_OK)
        *out = c.importance;
    else
        r2_importance_destroy(c.importance);
    return status;
}
