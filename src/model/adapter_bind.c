/* adapter_bind.c - halves of an adapter into pairs: A with its B, both to a matrix of the model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "model/adapter.h"

enum { TARGETS_BYTES = 256 };

typedef struct {
    r2i_adapter_content *out;
    const r2i_adapter_source *source;
    const r2i_adapter_base *base;
    r2i_arena *arena;
    float *row; /* [widest] one row as F32, to look for what is no number */
    char *targets;
    r2_error *err;
} binder;

static int compare_halves(const void *a, const void *b) {
    const r2i_lora_half *x = a, *y = b;
    const int order = strcmp(x->matrix, y->matrix);
    return order != 0 ? order : (int)x->is_b - (int)y->is_b;
}

/* ---- the two halves alone ---- */

static const char *half_name(const r2i_adapter_source *source, bool is_b) {
    if (source->names == R2I_NAMES_HF) return is_b ? "lora_B" : "lora_A";
    return is_b ? "lora_b" : "lora_a";
}

static r2_status check_halves(const r2i_adapter_source *s, const r2i_lora_half *h, size_t n_left,
                              r2_error *err) {
    const bool is_pair = n_left >= 2 && strcmp(h[0].matrix, h[1].matrix) == 0;
    if (!is_pair || h[0].is_b == h[1].is_b) {
        return r2i_fail(err, R2_E_FORMAT, "%s: %.100s: expected %s and %s, found %s only", s->label,
                        h->matrix, half_name(s, false), half_name(s, true), half_name(s, h->is_b));
    }
    const r2i_stored_tensor *lower = &h[0].tensor, *upper = &h[1].tensor;
    for (int i = 0; i < 2; i++) {
        if (h[i].tensor.n_dims == 2) continue;
        return r2i_fail(err, R2_E_FORMAT, "%s: %.100s: %s: expected 2 dimensions, found %d",
                        s->label, h->matrix, half_name(s, i == 1), h[i].tensor.n_dims);
    }
    if (lower->ne[1] != upper->ne[0]) {
        return r2i_fail(err, R2_E_MISMATCH, "%s: %.100s: rank of %s is %lld, of %s is %lld",
                        s->label, h->matrix, half_name(s, false), (long long)lower->ne[1],
                        half_name(s, true), (long long)upper->ne[0]);
    }
    if (lower->ne[1] <= R2I_MAX_RANK) return R2_OK;
    return r2i_fail(err, R2_E_UNSUPPORTED, "%s: %.100s: rank: expected 1 to %d, found %lld",
                    s->label, h->matrix, R2I_MAX_RANK, (long long)lower->ne[1]);
}

/* Is `matrix` the module that a pattern names?  The whole name after "^", otherwise its end. */
static bool is_named(const char *matrix, const char *pattern) {
    if (pattern[0] == '^') return strcmp(matrix, pattern + 1) == 0;
    const size_t n = strlen(matrix), n_pattern = strlen(pattern);
    if (n < n_pattern || strcmp(matrix + n - n_pattern, pattern) != 0) return false;
    return n == n_pattern || matrix[n - n_pattern - 1] == '.';
}

float r2i_adapter_scale(const r2i_adapter_source *source, const r2i_lora_half *pair) {
    const r2i_adapter_source *s = source;
    const char *name, *matrix = pair->matrix;
    const int64_t rank = pair->tensor.ne[1];
    json_t *value;
    json_t *tree = (json_t *)(uintptr_t)s->alpha_pattern; /* jansson's macro does not know const */
    if (s->names == R2I_NAMES_GGUF) return s->alpha != 0 ? s->alpha / (float)rank : 1;
    double alpha = (double)s->alpha;
    json_object_foreach(tree, name, value) {
        if (!is_named(matrix, name)) continue;
        alpha = json_number_value(value);
        break;
    }
    return (float)(alpha / (s->has_root_scale ? sqrt((double)rank) : (double)rank));
}

/* Every module that the configuration names must be there: a cut file could lack one. */
static r2_status check_targets(const r2i_adapter_source *s, r2_error *err) {
    for (size_t i = 0; i < json_array_size(s->targets); i++) {
        const char *name = json_string_value(json_array_get(s->targets, i));
        bool is_there = false;
        for (size_t h = 0; name != NULL && h < s->n_halves && !is_there; h++)
            is_there = is_named(s->halves[h].matrix, name);
        if (is_there) continue;
        return r2i_fail(err, R2_E_FORMAT, "%s: target_modules: %.60s: no tensor of this module",
                        s->label, name != NULL ? name : "not a name");
    }
    return R2_OK;
}

r2_status r2i_adapter_pair_up(r2i_adapter_source *source, r2_error *err) {
    const r2i_adapter_source *s = source;
    if (s->n_halves == 0)
        return r2i_fail(err, R2_E_FORMAT, "%s: an adapter without tensors", s->label);
    qsort(s->halves, s->n_halves, sizeof *s->halves, compare_halves);
    R2I_TRY(check_targets(s, err));
    for (size_t i = 0; i < s->n_halves; i += 2)
        R2I_TRY(check_halves(s, &s->halves[i], s->n_halves - i, err));
    return R2_OK;
}

r2_status r2i_adapter_read_row(const r2i_adapter_source *source, const r2i_lora_half *half,
                               int32_t row, const r2i_kernels *kernels, float *out, r2_error *err) {
    const r2i_stored_tensor *t = &half->tensor;
    const int32_t n_cols = (int32_t)t->ne[0];
    const size_t row_bytes = r2i_type_row_bytes(t->type, (size_t)n_cols);
    kernels->dequantize[t->type](out, t->bytes + (size_t)row * row_bytes, n_cols);
    for (int32_t c = 0; c < n_cols; c++) {
        if (isfinite(out[c])) continue;
        return r2i_fail(err, R2_E_FORMAT, "%s: %.100s: %s: row %d is not all numbers",
                        source->label, half->matrix, half_name(source, half->is_b), row);
    }
    return R2_OK;
}

/* ---- with the model ---- */

/* What cannot be changed by adapters is told apart from what is not there. */
static r2_status fail_unknown(const r2i_adapter_source *s, const char *matrix, r2_error *err) {
    static const struct {
        const char *part, *what;
    } known[] = {
        { ".experts.", "experts" },
        { "_exps", "experts" },
        { "kv_b", "kv_b, which is never formed as one matrix," },
        { "embed", "the embedding" },
        { "token_embd", "the embedding" },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strstr(matrix, known[i].part) == NULL) continue;
        return r2i_fail(err, R2_E_UNSUPPORTED, "%s: %.100s: adapters of %s are not supported",
                        s->label, matrix, known[i].what);
    }
    return r2i_fail(err, R2_E_MISMATCH, "%s: %.120s: the model has no such matrix", s->label,
                    matrix);
}

r2_status r2i_adapter_check_fit(const r2i_adapter_source *source, const r2i_lora_half *pair,
                                int64_t n_rows, int64_t n_cols, r2_error *err) {
    if (n_rows == 0) return fail_unknown(source, pair->matrix, err);
    if (pair[0].tensor.ne[0] == n_cols && pair[1].tensor.ne[1] == n_rows) return R2_OK;
    return r2i_fail(err, R2_E_MISMATCH,
                    "%s: %.100s: expected %lld columns and %lld rows, found %lld and %lld",
                    source->label, pair->matrix, (long long)n_cols, (long long)n_rows,
                    (long long)pair[0].tensor.ne[0], (long long)pair[1].tensor.ne[1]);
}

/* A tensor as panels. */
static r2_status pack_half(const binder *b, const r2i_lora_half *h, int32_t n_swapped_heads,
                           const uint8_t **out) {
    const r2i_stored_tensor *t = &h->tensor;
    const int32_t n_cols = (int32_t)t->ne[0], n_rows = (int32_t)t->ne[1];
    const r2i_matrix m = { .n_rows = n_rows,
                           .n_cols = n_cols,
                           .n_panels = (n_rows + R2I_PANEL_ROWS - 1) / R2I_PANEL_ROWS,
                           .type = t->type,
                           .layout = b->base->weights->lora_layout,
                           .stored = t->bytes,
                           .row_bytes = r2i_type_row_bytes(t->type, (size_t)n_cols),
                           .panel_bytes = r2i_panel_bytes(b->base->weights->lora_layout, n_cols),
                           .n_swapped_heads = n_swapped_heads };
    for (int32_t r = 0; r < n_rows; r++)
        R2I_TRY(r2i_adapter_read_row(b->source, h, r, b->base->kernels, b->row, b->err));
    uint8_t *panels = r2i_arena_push_array(b->arena, (size_t)m.n_panels, m.panel_bytes, 64);
    if (panels == NULL)
        return r2i_fail(b->err, R2_E_NOMEM, "%s: no memory for its panels", b->source->label);
    r2i_matrix_pack(&m, b->base->kernels, 0, m.n_panels, panels);
    b->out->panel_bytes += (size_t)m.n_panels * m.panel_bytes;
    *out = panels;
    return R2_OK;
}

static r2_status bind_pair(const binder *b, const r2i_lora_half *h, float scale) {
    const r2i_adapter_base *base = b->base;
    const r2i_name_kind names = b->source->names;
    const r2i_matrix *m = r2i_adapter_find_matrix(base->weights, base->config, names, h->matrix);
    R2I_TRY(r2i_adapter_check_fit(b->source, h, m != NULL ? m->n_rows : 0,
                                  m != NULL ? m->n_cols : 0, b->err));
    r2i_lora_pair *pair = &b->out->pairs[m->index];
    const int32_t n_swapped = r2i_adapter_swapped_heads(base->config, names, h->matrix);
    R2I_TRY(pack_half(b, &h[0], 0, &pair->a));
    R2I_TRY(pack_half(b, &h[1], n_swapped, &pair->b));
    pair->rank = (int32_t)h[0].tensor.ne[1];
    pair->n_rows = m->n_rows;
    pair->n_cols = m->n_cols;
    pair->scale = scale;
    return R2_OK;
}

/* ---- all of them ---- */

/* Notes the last part of a name ("q_proj", "attn_q") unless it is there already. */
static void note_target(const binder *b, const char *matrix) {
    const char *dot = strrchr(matrix, '.'), *name = dot != NULL ? dot + 1 : matrix;
    const size_t n = strlen(name), used = strlen(b->targets);
    for (const char *at = b->targets; (at = strstr(at, name)) != NULL; at++) {
        const bool is_start = at == b->targets || at[-1] == ' ';
        if (is_start && (at[n] == ',' || at[n] == '\0')) return;
    }
    if (used + n + 3 > TARGETS_BYTES) return;
    (void)snprintf(b->targets + used, TARGETS_BYTES - used, "%s%s", used > 0 ? ", " : "", name);
}

static void count_pair(const binder *b, const r2i_lora_half *h, float scale) {
    r2i_adapter_content *out = b->out;
    const int32_t rank = (int32_t)h[0].tensor.ne[1];
    out->n_pairs++;
    out->rank = rank > out->rank ? rank : out->rank;
    uint64_t hash = r2i_hash_bytes(out->fingerprint, &scale, sizeof scale);
    for (int i = 0; i < 2; i++) {
        const r2i_stored_tensor *t = &h[i].tensor;
        out->n_parameters += t->ne[0] * t->ne[1];
        hash = r2i_hash_bytes(hash, h[i].matrix, strlen(h[i].matrix));
        hash = r2i_hash_bytes(hash, t->ne, sizeof t->ne);
        hash = r2i_hash_bytes(hash, t->bytes, t->n_bytes);
    }
    out->fingerprint = hash;
    note_target(b, h->matrix);
}

static r2_status prepare(binder *b) {
    const r2i_adapter_source *s = b->source;
    int64_t widest = 1;
    for (size_t i = 0; i < s->n_halves; i++)
        widest = s->halves[i].tensor.ne[0] > widest ? s->halves[i].tensor.ne[0] : widest;
    b->targets = r2i_arena_push(b->arena, TARGETS_BYTES, 1);
    bool is_complete = b->targets != NULL;
    if (b->base->weights != NULL) {
        b->row = R2I_ARENA_ARRAY(b->arena, float, (size_t)widest);
        b->out->pairs =
            R2I_ARENA_ARRAY(b->arena, r2i_lora_pair, (size_t)b->base->weights->n_matrices);
        is_complete = is_complete && b->row != NULL && b->out->pairs != NULL;
    }
    return is_complete ? R2_OK : r2i_fail(b->err, R2_E_NOMEM, "%s: no memory", s->label);
}

r2_status r2i_adapter_bind(r2i_adapter_content *out, r2i_adapter_source *source,
                           const r2i_adapter_base *base, r2i_arena *arena, r2_error *err) {
    binder b = { out, source, base, arena, NULL, NULL, err };
    *out = (r2i_adapter_content){ .base_name = source->base_name,
                                  .alpha = source->alpha,
                                  .fingerprint = R2I_HASH_SEED };
    R2I_TRY(r2i_adapter_pair_up(source, err));
    R2I_TRY(prepare(&b));
    for (size_t i = 0; i < source->n_halves; i += 2) {
        const r2i_lora_half *h = &source->halves[i];
        const float scale = r2i_adapter_scale(source, h);
        if (base->weights != NULL) R2I_TRY(bind_pair(&b, h, scale));
        count_pair(&b, h, scale);
    }
    out->targets = b.targets;
    return R2_OK;
}
