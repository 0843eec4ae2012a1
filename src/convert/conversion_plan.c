/* conversion_plan.c - from the list of tensors and what lies in the file to recipes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/path_name.h"
#include "convert/adapter_merge.h"
#include "convert/conversion.h"

/* ---- what is stored ---- */

static r2_status fail_shape(const r2i_conversion *c, const char *name, int64_t rows, int64_t cols,
                            int64_t found_rows, int64_t found_cols, r2_error *err) {
    return r2i_fail(err, R2_E_MISMATCH, "%s: %s: expected [%lld, %lld], found [%lld, %lld]",
                    c->label, name, (long long)rows, (long long)cols, (long long)found_rows,
                    (long long)found_cols);
}

static r2_status fail_missing(const r2i_conversion *c, const char *name, r2_error *err) {
    int32_t layer = -1;
    if (sscanf(name, "model.layers.%d.", &layer) != 1) (void)sscanf(name, "blk.%d.", &layer);
    const bool is_of_module = c->has_mtp && layer >= c->config.n_layers;
    return r2i_fail(err, R2_E_NOT_FOUND, "%s: tensor %s%s is missing", c->label, name,
                    is_of_module ? " of the prediction module" : "");
}

static r2_status note_used(r2i_conversion *c, const char *name, r2_error *err) {
    if (c->n_used == c->cap_used) {
        const size_t cap = c->cap_used == 0 ? 1024 : 2 * c->cap_used;
        const char **used = R2I_ARENA_ARRAY(&c->arena, const char *, cap);
        if (used == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %zu names", cap);
        if (c->n_used > 0) memcpy(used, c->used, c->n_used * sizeof *used);
        c->used = used;
        c->cap_used = cap;
    }
    c->used[c->n_used++] = name;
    return R2_OK;
}

/* A file writes what it likes there, and one scale that is no number spoils 16,384 weights. */
static r2_status check_scales(const r2i_conversion *c, const r2i_safetensor *s, int64_t n_rows,
                              int64_t n_cols, r2_error *err) {
    for (int64_t i = 0; i < n_rows * n_cols; i++) {
        float scale;
        memcpy(&scale, s->bytes + 4 * i, sizeof scale);
        if (isfinite(scale)) continue;
        return r2i_fail(err, R2_E_FORMAT, "%s: %s[%lld,%lld]: expected a number, found %f",
                        c->label, s->name, (long long)(i / n_cols), (long long)(i % n_cols),
                        (double)scale);
    }
    return R2_OK;
}

/* X.weight of FP8 comes with X.weight_scale_inv, one F32 per block. */
static r2_status find_scales(r2i_conversion *c, const r2i_safetensor *t, r2i_stored_rows *out,
                             r2_error *err) {
    char name[R2I_TENSOR_NAME_BYTES + 16];
    (void)snprintf(name, sizeof name, "%.*s_scale_inv", R2I_TENSOR_NAME_BYTES, t->name);
    const r2i_safetensor *s = r2i_safetensors_find(c->folder.weights, name);
    if (s == NULL) return fail_missing(c, name, err);
    const int64_t n_rows = (out->n_rows + c->block_rows - 1) / c->block_rows,
                  n_cols = (out->n_cols + c->block_cols - 1) / c->block_cols;
    if (s->dtype != R2I_DTYPE_F32) {
        return r2i_fail(err, R2_E_UNSUPPORTED, "%s: %s: expected scales of F32, found %s", c->label,
                        name, r2i_dtype_name(s->dtype));
    }
    if (s->n_dims != 2) {
        return r2i_fail(err, R2_E_MISMATCH, "%s: %s: expected a matrix, found %d dimensions",
                        c->label, name, (int)s->n_dims);
    }
    if (s->shape[0] != n_rows || s->shape[1] != n_cols) {
        return fail_shape(c, name, n_rows, n_cols, s->shape[0], s->shape[1], err);
    }
    R2I_TRY(check_scales(c, s, n_rows, n_cols, err));
    out->is_fp8 = true;
    out->scales = s->bytes;
    out->block_rows = c->block_rows;
    out->block_cols = c->block_cols;
    return note_used(c, s->name, err);
}

static r2_status find_in_folder(r2i_conversion *c, const char *name, r2i_stored_rows *out,
                                r2_error *err) {
    const r2i_safetensor *t = r2i_safetensors_find(c->folder.weights, name);
    if (t == NULL) return fail_missing(c, name, err);
    if (t->n_dims < 1 || t->n_dims > 2 || t->n_bytes == 0) {
        return r2i_fail(err, R2_E_MISMATCH, "%s: %s: expected a vector or a matrix", c->label,
                        name);
    }
    *out = (r2i_stored_rows){ .bytes = t->bytes,
                              .n_rows = t->n_dims == 2 ? t->shape[0] : 1,
                              .n_cols = t->shape[t->n_dims - 1],
                              .shard = t->shard };
    out->row_bytes = t->n_bytes / (size_t)out->n_rows;
    R2I_TRY(note_used(c, t->name, err));
    if (t->dtype == R2I_DTYPE_F8_E4M3) return find_scales(c, t, out, err);
    if (t->dtype != R2I_DTYPE_F32 && t->dtype != R2I_DTYPE_F16 && t->dtype != R2I_DTYPE_BF16) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: %s: expected F32, F16, BF16 or F8_E4M3, found %s", c->label, name,
                        r2i_dtype_name(t->dtype));
    }
    out->type = t->dtype == R2I_DTYPE_F32   ? R2I_TYPE_F32
                : t->dtype == R2I_DTYPE_F16 ? R2I_TYPE_F16
                                            : R2I_TYPE_BF16;
    return R2_OK;
}

static r2_status find_in_gguf(r2i_conversion *c, const char *name, r2i_stored_rows *out,
                              r2_error *err) {
    const r2i_stored_tensor *t = r2i_gguf_find_tensor(c->gguf, name);
    if (t == NULL) return fail_missing(c, name, err);
    *out = (r2i_stored_rows){ .bytes = t->bytes,
                              .n_rows = t->ne[1] * t->ne[2] * t->ne[3],
                              .n_cols = t->ne[0],
                              .row_bytes = r2i_type_row_bytes(t->type, (size_t)t->ne[0]),
                              .type = t->type,
                              .shard = t->shard };
    return note_used(c, t->name, err);
}

/* A stored tensor of exactly this shape. */
static r2_status find_rows(r2i_conversion *c, const char *name, int64_t n_rows, int64_t n_cols,
                           r2i_stored_rows *out, r2_error *err) {
    R2I_TRY(c->gguf != NULL ? find_in_gguf(c, name, out, err) : find_in_folder(c, name, out, err));
    if (out->n_rows == n_rows && out->n_cols == n_cols) return R2_OK;
    return fail_shape(c, name, n_rows, n_cols, out->n_rows, out->n_cols, err);
}

static bool is_stored(const r2i_conversion *c, const char *name) {
    return c->gguf != NULL ? r2i_gguf_find_tensor(c->gguf, name) != NULL
                           : r2i_safetensors_find(c->folder.weights, name) != NULL;
}

/* ---- what is written ---- */

static r2i_type choose_type(const r2i_conversion *c, const r2i_stored_rows *s, bool is_plain) {
    const bool is_float = !s->is_fp8 && (s->type == R2I_TYPE_F32 || s->type == R2I_TYPE_F16 ||
                                         s->type == R2I_TYPE_BF16);
    if (is_plain && c->gguf == NULL) return R2I_TYPE_F32;
    if (!is_plain && c->options->type == R2_CONVERT_F32) return R2I_TYPE_F32;
    if (!is_plain && c->options->type == R2_CONVERT_F16) return R2I_TYPE_F16;
    if (!is_plain && c->options->type == R2_CONVERT_BF16) return R2I_TYPE_BF16;
    return is_float ? s->type : R2I_TYPE_BF16;
}

static r2_status add_written(r2i_conversion *c, const char *name, const r2i_row_recipe *recipe,
                             int32_t n_dims, int64_t ne1, int64_t ne2, r2_error *err) {
    if (c->n_tensors == c->cap_tensors) {
        const size_t cap = c->cap_tensors == 0 ? 1024 : 2 * c->cap_tensors;
        r2i_written_tensor *tensors = R2I_ARENA_ARRAY(&c->arena, r2i_written_tensor, cap);
        if (tensors == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %zu tensors", cap);
        if (c->n_tensors > 0) memcpy(tensors, c->tensors, c->n_tensors * sizeof *tensors);
        c->tensors = tensors;
        c->cap_tensors = cap;
    }
    r2i_written_tensor *t = &c->tensors[c->n_tensors];
    const char *copy = r2i_arena_copy_text(&c->arena, name, strlen(name));
    if (copy == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a name");
    *t = (r2i_written_tensor){ .name = copy, .n_dims = n_dims, .recipe = *recipe };
    const int64_t n_all = recipe->n_rows * recipe->n_cols;
    t->ne[0] = n_all / ne1 / ne2;
    t->ne[1] = ne1;
    t->ne[2] = ne2;
    t->ne[3] = 1;
    t->n_bytes = (size_t)recipe->n_rows * r2i_type_row_bytes(recipe->type, (size_t)recipe->n_cols);
    c->n_bytes_all += (int64_t)t->n_bytes;
    c->n_tensors++;
    return R2_OK;
}

static r2i_stored_rows *new_sources(r2i_conversion *c, size_t n, r2_error *err) {
    r2i_stored_rows *sources = R2I_ARENA_ARRAY(&c->arena, r2i_stored_rows, n);
    if (sources == NULL) (void)r2i_fail(err, R2_E_NOMEM, "no memory for %zu tensors", n);
    return sources;
}

/* One tensor here, one there. */
static r2_status plan_single(r2i_conversion *c, const r2i_listed_tensor *l, r2_error *err) {
    const bool to_gguf = c->gguf == NULL;
    const char *from = to_gguf ? l->hf : l->gguf, *to = to_gguf ? l->gguf : l->hf;
    r2i_stored_rows *source = new_sources(c, 1, err);
    if (source == NULL) return R2_E_NOMEM;
    R2I_TRY(find_rows(c, from, l->n_rows, l->n_cols, source, err));
    source->addition = r2i_merge_find(c, l);
    r2i_row_recipe recipe = { .order = R2I_ROWS_JOIN,
                              .sources = source,
                              .n_sources = 1,
                              .n_parts = 1,
                              .n_rows = l->n_rows,
                              .n_cols = l->n_cols,
                              .type = choose_type(c, source, l->is_plain) };
    if (l->form == R2I_FORM_PAIRS) {
        recipe.order = to_gguf ? R2I_ROWS_PAIR : R2I_ROWS_UNPAIR;
        recipe.n_parts = l->n_parts;
        if (l->is_vector) { /* its elements move as rows do */
            source->row_bytes /= (size_t)l->n_cols;
            source->n_rows = recipe.n_rows = l->n_cols;
            source->n_cols = recipe.n_cols = 1;
        }
    }
    return add_written(c, to, &recipe, l->is_vector ? 1 : 2, l->is_vector ? 1 : l->n_rows, 1, err);
}

static r2_status stack_experts(r2i_conversion *c, const r2i_listed_tensor *l, r2_error *err) {
    char name[R2I_TENSOR_NAME_BYTES];
    r2i_stored_rows *sources = new_sources(c, (size_t)l->n_parts, err);
    if (sources == NULL) return R2_E_NOMEM;
    for (int32_t e = 0; e < l->n_parts; e++) {
        r2i_role_expert_name(name, l->role, l->layer, e);
        R2I_TRY(find_rows(c, name, l->n_rows, l->n_cols, &sources[e], err));
    }
    const r2i_row_recipe recipe = { .order = R2I_ROWS_JOIN,
                                    .sources = sources,
                                    .n_sources = l->n_parts,
                                    .n_parts = 1,
                                    .n_rows = l->n_rows * l->n_parts,
                                    .n_cols = l->n_cols,
                                    .type = choose_type(c, sources, false) };
    return add_written(c, l->gguf, &recipe, 3, l->n_rows, l->n_parts, err);
}

static r2_status split_experts(r2i_conversion *c, const r2i_listed_tensor *l, r2_error *err) {
    char name[R2I_TENSOR_NAME_BYTES];
    r2i_stored_rows all;
    R2I_TRY(find_rows(c, l->gguf, l->n_rows * l->n_parts, l->n_cols, &all, err));
    r2i_stored_rows *sources = new_sources(c, (size_t)l->n_parts, err);
    if (sources == NULL) return R2_E_NOMEM;
    for (int32_t e = 0; e < l->n_parts; e++) {
        sources[e] = all;
        sources[e].n_rows = l->n_rows;
        sources[e].bytes += (size_t)e * (size_t)l->n_rows * all.row_bytes;
        const r2i_row_recipe recipe = { .order = R2I_ROWS_JOIN,
                                        .sources = &sources[e],
                                        .n_sources = 1,
                                        .n_parts = 1,
                                        .n_rows = l->n_rows,
                                        .n_cols = l->n_cols,
                                        .type = choose_type(c, &all, false) };
        r2i_role_expert_name(name, l->role, l->layer, e);
        R2I_TRY(add_written(c, name, &recipe, 2, l->n_rows, 1, err));
    }
    return R2_OK;
}

static r2_status split_kv_b(r2i_conversion *c, const r2i_listed_tensor *l, r2_error *err) {
    const int64_t n_heads = l->n_parts, d_nope = c->config.d_head - c->config.rope.d,
                  d_value = c->config.d_value, rank = l->n_cols;
    char k_name[R2I_TENSOR_NAME_BYTES], v_name[R2I_TENSOR_NAME_BYTES];
    r2i_role_name(k_name, R2I_NAMES_GGUF, R2I_ROLE_K_B, l->layer);
    r2i_role_name(v_name, R2I_NAMES_GGUF, R2I_ROLE_V_B, l->layer);
    r2i_stored_rows *source = new_sources(c, 1, err);
    if (source == NULL) return R2_E_NOMEM;
    R2I_TRY(find_rows(c, l->hf, l->n_rows, rank, source, err));
    r2i_row_recipe recipe = { .order = R2I_ROWS_KEYS,
                              .sources = source,
                              .n_sources = 1,
                              .n_parts = l->n_parts,
                              .d_nope = d_nope,
                              .n_rows = n_heads * rank,
                              .n_cols = d_nope,
                              .type = choose_type(c, source, false) };
    R2I_TRY(add_written(c, k_name, &recipe, 3, rank, n_heads, err));
    recipe.order = R2I_ROWS_VALUES;
    recipe.n_rows = n_heads * d_value;
    recipe.n_cols = rank;
    return add_written(c, v_name, &recipe, 3, d_value, n_heads, err);
}

static r2_status join_kv_b(r2i_conversion *c, const r2i_listed_tensor *l, r2_error *err) {
    const int64_t n_heads = l->n_parts, d_nope = c->config.d_head - c->config.rope.d,
                  d_value = c->config.d_value, rank = l->n_cols;
    char k_name[R2I_TENSOR_NAME_BYTES], v_name[R2I_TENSOR_NAME_BYTES];
    r2i_role_name(k_name, R2I_NAMES_GGUF, R2I_ROLE_K_B, l->layer);
    r2i_role_name(v_name, R2I_NAMES_GGUF, R2I_ROLE_V_B, l->layer);
    if (!is_stored(c, k_name) && is_stored(c, l->gguf)) return plan_single(c, l, err);
    r2i_stored_rows *sources = new_sources(c, 2, err);
    if (sources == NULL) return R2_E_NOMEM;
    R2I_TRY(find_rows(c, k_name, n_heads * rank, d_nope, &sources[0], err));
    R2I_TRY(find_rows(c, v_name, n_heads * d_value, rank, &sources[1], err));
    const r2i_row_recipe recipe = { .order = R2I_ROWS_KEYS_VALUES,
                                    .sources = sources,
                                    .n_sources = 2,
                                    .n_parts = l->n_parts,
                                    .d_nope = d_nope,
                                    .n_rows = l->n_rows,
                                    .n_cols = rank,
                                    .type = choose_type(c, sources, false) };
    return add_written(c, l->hf, &recipe, 2, l->n_rows, 1, err);
}

static r2_status plan_tensor(r2i_conversion *c, const r2i_listed_tensor *l, r2_error *err) {
    const bool to_gguf = c->gguf == NULL;
    if (l->is_optional && !is_stored(c, to_gguf ? l->hf : l->gguf)) return R2_OK;
    switch (l->form) {
    case R2I_FORM_EXPERTS:
        return to_gguf ? stack_experts(c, l, err) : split_experts(c, l, err);
    case R2I_FORM_KV_B:
        return to_gguf ? split_kv_b(c, l, err) : join_kv_b(c, l, err);
    default:
        return plan_single(c, l, err);
    }
}

/* ---- nothing is left out ---- */

static int compare_names(const void *a, const void *b) {
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

/* What follows from other tensors or from the configuration, or was not asked for. */
static bool may_be_left(const r2i_conversion *c, const char *name) {
    const r2i_name_kind kind = c->gguf != NULL ? R2I_NAMES_GGUF : R2I_NAMES_HF;
    const char *rest;
    if (c->options->drops_mtp && c->config.kv_rank > 0 &&
        r2i_role_layer(kind, name, &rest) >= c->config.n_layers)
        return true;
    if (c->gguf != NULL)
        return strcmp(name, "rope_freqs.weight") == 0 ||
               r2i_name_ends_with(name, ".attn_kv_b.weight");
    return r2i_name_ends_with(name, ".rotary_emb.inv_freq") ||
           (c->config.is_tied && strcmp(name, "lm_head.weight") == 0);
}

static const char *stored_name(const r2i_conversion *c, size_t i) {
    return c->gguf != NULL ? r2i_gguf_tensor_at(c->gguf, i)->name
                           : r2i_safetensors_tensor_at(c->folder.weights, i)->name;
}

static r2_status check_all_used(const r2i_conversion *c, r2_error *err) {
    const size_t n = c->gguf != NULL ? r2i_gguf_n_tensors(c->gguf)
                                     : r2i_safetensors_n_tensors(c->folder.weights);
    qsort(c->used, c->n_used, sizeof *c->used, compare_names);
    for (size_t i = 0; i < n; i++) {
        const char *name = stored_name(c, i);
        if (may_be_left(c, name)) continue;
        if (bsearch(&name, c->used, c->n_used, sizeof *c->used, compare_names) != NULL) continue;
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: tensor %.100s has no place in a model of architecture %s", c->label,
                        name, c->config.architecture);
    }
    return R2_OK;
}

static void find_main_type(r2i_conversion *c) {
    size_t bytes[R2I_TYPE_LIMIT] = { 0 };
    c->main_type = R2I_TYPE_F32;
    for (size_t i = 0; i < c->n_tensors; i++) {
        if (c->tensors[i].n_dims > 1) bytes[c->tensors[i].recipe.type] += c->tensors[i].n_bytes;
    }
    for (int t = 0; t < R2I_TYPE_LIMIT; t++) {
        if (bytes[t] > bytes[c->main_type]) c->main_type = (r2i_type)t;
    }
}

r2_status r2i_conversion_plan(r2i_conversion *conversion, r2_error *err) {
    r2i_conversion *c = conversion;
    r2i_tensor_list list;
    R2I_TRY(r2i_tensor_list_make(&list, &c->config, c->has_mtp, &c->arena, err));
    if (c->options->adapter.path != NULL) R2I_TRY(r2i_merge_open(c, &list, err));
    for (size_t i = 0; i < list.n; i++)
        R2I_TRY(plan_tensor(c, &list.tensors[i], err));
    find_main_type(c);
    return check_all_used(c, err);
}
