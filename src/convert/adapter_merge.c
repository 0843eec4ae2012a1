#include "convert/adapter_merge.h"

#include <string.h>

#include "base/failure.h"
#include "model/adapter.h"

struct r2i_merged_matrix {
    const r2i_listed_tensor *tensor;
    r2i_row_addition addition;
};

typedef struct {
    r2i_conversion *conversion;
    const r2i_tensor_list *list;
    const r2i_adapter_source *source;
    r2_error *err;
} merge;

/* Those that an engine changes too: others an adapter cannot be tried on before it is merged. */
static bool may_change(const r2i_conversion *c, const r2i_listed_tensor *t) {
    const bool is_matrix = !t->is_plain && !t->is_vector && t->role != R2I_ROLE_EMBEDDING;
    return is_matrix && t->layer < c->config.n_layers &&
           (t->form == R2I_FORM_SAME || t->form == R2I_FORM_PAIRS);
}

static const r2i_listed_tensor *find_tensor(const merge *m, const char *matrix) {
    int32_t layer;
    const r2i_role role = r2i_role_of(m->source->names, matrix, strlen(matrix), &layer);
    for (size_t i = 0; i < m->list->n && role != R2I_ROLE_NONE; i++) {
        const r2i_listed_tensor *t = &m->list->tensors[i];
        if (t->role == role && t->layer == layer && may_change(m->conversion, t)) return t;
    }
    return NULL;
}

/* Row of B that belongs to row `row` of the stored matrix: of the two, only one may have the halves
 * of its heads interleaved (tensor_list.h). */
static int32_t row_of_b(const merge *m, const r2i_listed_tensor *t, int32_t row) {
    const bool is_paired = m->conversion->gguf != NULL,
               is_b_paired = m->source->names == R2I_NAMES_GGUF;
    if (t->form != R2I_FORM_PAIRS || is_paired == is_b_paired) return row;
    const int32_t n = (int32_t)(t->n_rows / t->n_parts), half = n / 2, first = row / n * n,
                  i = row % n;
    if (is_paired) return first + i / 2 + i % 2 * half;
    return first + (i < half ? 2 * i : 2 * (i - half) + 1);
}

static r2_status read_pair(const merge *m, const r2i_lora_half *h, const r2i_listed_tensor *t,
                           r2i_row_addition *out) {
    r2i_conversion *c = m->conversion;
    const int32_t rank = (int32_t)h[0].tensor.ne[1];
    const float user_scale = c->options->adapter.scale != 0 ? c->options->adapter.scale : 1,
                scale = user_scale * r2i_adapter_scale(m->source, &h[0]);
    float *a = R2I_ARENA_ARRAY(&c->arena, float, (size_t)rank *(size_t)t->n_cols),
          *b = R2I_ARENA_ARRAY(&c->arena, float, (size_t)t->n_rows *(size_t)rank);
    if (a == NULL || b == NULL)
        return r2i_fail(m->err, R2_E_NOMEM, "%s: no memory for its pairs", m->source->label);
    *out = (r2i_row_addition){ .rank = rank, .a = a, .b = b };
    for (int32_t r = 0; r < rank; r++, a += t->n_cols)
        R2I_TRY(r2i_adapter_read_row(m->source, &h[0], r, &c->kernels, a, m->err));
    for (int32_t r = 0; r < t->n_rows; r++, b += rank) {
        R2I_TRY(r2i_adapter_read_row(m->source, &h[1], row_of_b(m, t, r), &c->kernels, b, m->err));
        for (int32_t i = 0; i < rank; i++)
            b[i] *= scale;
    }
    return R2_OK;
}

static r2_status add_pair(const merge *m, const r2i_lora_half *h) {
    r2i_conversion *c = m->conversion;
    const r2i_listed_tensor *t = find_tensor(m, h->matrix);
    int32_t layer;
    if (t == NULL && c->config.is_tied &&
        r2i_role_of(m->source->names, h->matrix, strlen(h->matrix), &layer) == R2I_ROLE_OUTPUT) {
        return r2i_fail(m->err, R2_E_UNSUPPORTED,
                        "%s: %.100s: this model's head is its embedding: what changes one alone "
                        "cannot be merged",
                        m->source->label, h->matrix);
    }
    R2I_TRY(r2i_adapter_check_fit(m->source, h, t != NULL ? t->n_rows : 0,
                                  t != NULL ? t->n_cols : 0, m->err));
    r2i_merged_matrix *merged = &c->merged[c->n_merged];
    merged->tensor = t;
    R2I_TRY(read_pair(m, h, t, &merged->addition));
    c->n_merged++;
    return R2_OK;
}

static r2_status read_pairs(r2i_conversion *c, const r2i_tensor_list *list,
                            r2i_adapter_source *source, r2_error *err) {
    const merge m = { c, list, source, err };
    R2I_TRY(r2i_adapter_pair_up(source, err));
    c->merged = R2I_ARENA_ARRAY(&c->arena, r2i_merged_matrix, source->n_halves / 2);
    if (c->merged == NULL) return r2i_fail(err, R2_E_NOMEM, "%s: no memory", source->label);
    for (size_t i = 0; i < source->n_halves; i += 2)
        R2I_TRY(add_pair(&m, &source->halves[i]));
    r2i_conversion_note(c, "%.100s: added to %zu matrices", source->label, c->n_merged);
    return R2_OK;
}

r2_status r2i_merge_open(r2i_conversion *conversion, const r2i_tensor_list *list, r2_error *err) {
    r2i_conversion *c = conversion;
    const r2i_adapter_base base = { .config = &c->config };
    r2i_adapter_file file;
    r2_status status =
        r2i_adapter_file_open(&file, c->options->adapter.path, &base, &c->arena, err);
    if (status == R2_OK) status = read_pairs(c, list, &file.source, err);
    r2i_adapter_file_close(&file);
    return r2i_fail_file(status, err);
}

const r2i_row_addition *r2i_merge_find(const r2i_conversion *conversion,
                                       const r2i_listed_tensor *tensor) {
    const r2i_conversion *c = conversion;
    for (size_t i = 0; i < c->n_merged && !tensor->is_vector; i++) {
        if (c->merged[i].tensor == tensor) return &c->merged[i].addition;
    }
    return NULL;
}
