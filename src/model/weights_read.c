#include "model/weights_read.h"

#include <stdio.h>

#include "base/checked.h"
#include "base/failure.h"

/* ---- tensors ---- */

static const char *source_label(const r2i_weight_reader *r) {
    return r->source->gguf != NULL ? r2i_gguf_label(r->source->gguf)
                                   : r2i_safetensors_label(r->source->safetensors);
}

static r2i_name_kind name_kind(const r2i_weight_reader *r) {
    return r->source->gguf != NULL ? R2I_NAMES_GGUF : R2I_NAMES_HF;
}

static bool has_tensor(const r2i_weight_reader *r, const char *name) {
    if (r->source->gguf != NULL) return r2i_gguf_find_tensor(r->source->gguf, name) != NULL;
    return r2i_safetensors_find(r->source->safetensors, name) != NULL;
}

static r2_status get_tensor(const r2i_weight_reader *r, const char *name, r2i_stored_tensor *out) {
    if (r->source->gguf == NULL)
        return r2i_safetensors_get(r->source->safetensors, name, out, r->err);
    const r2i_stored_tensor *found = r2i_gguf_find_tensor(r->source->gguf, name);
    if (found == NULL) {
        return r2i_fail(r->err, R2_E_NOT_FOUND, "%s: tensor %s is missing", source_label(r), name);
    }
    *out = *found;
    return R2_OK;
}

static r2_status check_shape(const r2i_weight_reader *r, const char *name,
                             const r2i_stored_tensor *t, r2i_role_size size, int64_t n_stacked) {
    if (t->ne[0] == size.n_cols && t->ne[1] == size.n_rows && t->ne[2] == n_stacked &&
        t->ne[3] == 1)
        return R2_OK;
    return r2i_fail(r->err, R2_E_MISMATCH,
                    "%s: %s: expected [%lld, %d, %d], found [%lld, %lld, %lld]", source_label(r),
                    name, (long long)n_stacked, size.n_rows, size.n_cols, (long long)t->ne[2],
                    (long long)t->ne[1], (long long)t->ne[0]);
}

bool r2i_weights_have(const r2i_weight_reader *reader, r2i_role role, int32_t layer) {
    char name[R2I_TENSOR_NAME_BYTES];
    r2i_role_name(name, name_kind(reader), role, layer);
    return has_tensor(reader, name);
}

/* ---- vectors ---- */

static r2_status read_vector(const r2i_weight_reader *r, const char *name, int32_t n, float **out) {
    r2i_stored_tensor t;
    R2I_TRY(get_tensor(r, name, &t));
    R2I_TRY(check_shape(r, name, &t, (r2i_role_size){ 1, n }, 1));
    if (t.type == R2I_TYPE_F8_E4M3) {
        return r2i_fail(r->err, R2_E_UNSUPPORTED,
                        "%s: %s: expected F32, F16 or BF16, found F8_E4M3", source_label(r), name);
    }
    float *copy = r2i_arena_push_array(r->arena, (size_t)n, sizeof *copy, 64);
    if (copy == NULL) return r2i_fail(r->err, R2_E_NOMEM, "no memory for %s", name);
    r->rules->kernels->dequantize[t.type](copy, t.bytes, n);
    *out = copy;
    return R2_OK;
}

r2_status r2i_weights_read_vector(const r2i_weight_reader *reader, r2i_role role, int32_t layer,
                                  float **out) {
    char name[R2I_TENSOR_NAME_BYTES];
    r2i_role_name(name, name_kind(reader), role, layer);
    return read_vector(reader, name, r2i_role_get_size(reader->config, role).n_cols, out);
}

/* ---- matrices ---- */

r2i_type r2i_weights_layout(const r2i_weight_rules *rules, r2i_type stored) {
    if (rules->is_f32) return R2I_TYPE_F32;
    const bool is_widened = stored == R2I_TYPE_F32 || stored == R2I_TYPE_F8_E4M3;
    const r2i_type layout = is_widened ? R2I_TYPE_BF16 : stored;
    return rules->kernels->matmul[layout] != NULL ? layout : R2I_TYPE_F32;
}

void r2i_weights_set_matrix(r2i_matrix *m, const r2i_stored_tensor *rows, r2i_type layout,
                            r2i_role_size size) {
    m->n_rows = size.n_rows;
    m->n_cols = size.n_cols;
    m->n_panels = r2i_div_up_i32(size.n_rows, R2I_PANEL_ROWS);
    m->type = rows->type;
    m->layout = layout;
    m->stored = rows->bytes;
    m->shard = rows->shard;
    m->row_bytes = r2i_type_row_bytes(rows->type, (size_t)size.n_cols);
    m->panel_bytes = r2i_panel_bytes(layout, size.n_cols);
}

/* The factors of a matrix of F8_E4M3, one for each block of 128 x 128. */
static r2_status read_scales(const r2i_weight_reader *r, const char *name, r2i_matrix *m) {
    char text[R2I_TENSOR_NAME_BYTES + 16];
    r2i_stored_tensor t;
    const r2i_role_size size = { r2i_div_up_i32(m->n_rows, R2I_SCALE_BLOCK),
                                 r2i_div_up_i32(m->n_cols, R2I_SCALE_BLOCK) };
    (void)snprintf(text, sizeof text, "%s_scale_inv", name);
    R2I_TRY(get_tensor(r, text, &t));
    R2I_TRY(check_shape(r, text, &t, size, 1));
    if (t.type != R2I_TYPE_F32) {
        return r2i_fail(r->err, R2_E_UNSUPPORTED, "%s: %s: expected F32, found %s", source_label(r),
                        text, r2i_type_get(t.type)->name);
    }
    m->scales = t.bytes;
    return R2_OK;
}

static r2_status read_matrix(const r2i_weight_reader *r, const char *name, r2i_role_size size,
                             r2i_matrix *out) {
    r2i_stored_tensor t;
    R2I_TRY(get_tensor(r, name, &t));
    R2I_TRY(check_shape(r, name, &t, size, 1));
    r2i_weights_set_matrix(out, &t, r2i_weights_layout(r->rules, t.type), size);
    return t.type == R2I_TYPE_F8_E4M3 ? read_scales(r, name, out) : R2_OK;
}

r2_status r2i_weights_read_matrix(const r2i_weight_reader *reader, r2i_role role, int32_t layer,
                                  r2i_matrix *out) {
    char name[R2I_TENSOR_NAME_BYTES];
    r2i_role_name(name, name_kind(reader), role, layer);
    return read_matrix(reader, name, r2i_role_get_size(reader->config, role), out);
}

/* GGUF stores the biases of llama's q and k in the same swapped order as their rows. */
static r2_status unswap_bias(const r2i_weight_reader *r, r2i_matrix *m) {
    if (m->n_swapped_heads == 0 || m->bias == NULL) return R2_OK;
    float *copy = R2I_ARENA_ARRAY(r->arena, float, (size_t)m->n_rows);
    if (copy == NULL) return r2i_fail(r->err, R2_E_NOMEM, "no memory for a bias");
    for (int32_t row = 0; row < m->n_rows; row++)
        copy[row] = m->bias[r2i_matrix_stored_row(m, row)];
    m->bias = copy;
    return R2_OK;
}

r2_status r2i_weights_read_linear(const r2i_weight_reader *reader, r2i_role role, int32_t layer,
                                  r2i_matrix *out) {
    const r2i_weight_reader *r = reader;
    const r2i_config *c = r->config;
    char name[R2I_TENSOR_NAME_BYTES];
    R2I_TRY(r2i_weights_read_matrix(r, role, layer, out));
    if (r->source->gguf != NULL && c->rope.d == c->d_head)
        out->n_swapped_heads = r2i_role_paired_heads(c, role);
    r2i_role_bias_name(name, name_kind(r), role, layer);
    if (r2i_role_get_bias(c, role) != R2I_BIAS_NEEDED && !has_tensor(r, name)) return R2_OK;
    float *bias = NULL;
    R2I_TRY(read_vector(r, name, out->n_rows, &bias));
    out->bias = bias;
    return unswap_bias(r, out);
}

r2_status r2i_weights_read_stacked(const r2i_weight_reader *reader, r2i_role role, int32_t layer,
                                   int32_t n, r2i_matrix *matrices) {
    const r2i_role_size size = r2i_role_get_size(reader->config, role);
    char name[R2I_TENSOR_NAME_BYTES];
    r2i_stored_tensor t;
    r2i_role_name(name, R2I_NAMES_GGUF, role, layer);
    R2I_TRY(get_tensor(reader, name, &t));
    R2I_TRY(check_shape(reader, name, &t, size, n));
    const r2i_type layout = r2i_weights_layout(reader->rules, t.type);
    for (int32_t m = 0; m < n; m++) {
        r2i_weights_set_matrix(&matrices[m], &t, layout, size);
        matrices[m].stored += (size_t)m * (size_t)size.n_rows * matrices[m].row_bytes;
    }
    return R2_OK;
}

r2_status r2i_weights_read_experts(const r2i_weight_reader *reader, r2i_role role, int32_t layer,
                                   r2i_matrix **out) {
    const r2i_weight_reader *r = reader;
    const int32_t n = r->config->n_experts;
    r2i_matrix *all = *out = R2I_ARENA_ARRAY(r->arena, r2i_matrix, (size_t)n);
    if (all == NULL) return r2i_fail(r->err, R2_E_NOMEM, "no memory for %d experts", n);
    if (r->source->gguf != NULL) return r2i_weights_read_stacked(r, role, layer, n, all);
    for (int32_t e = 0; e < n; e++) {
        char name[R2I_TENSOR_NAME_BYTES];
        r2i_role_expert_name(name, role, layer, e);
        R2I_TRY(read_matrix(r, name, r2i_role_get_size(r->config, role), &all[e]));
        /* The rows of a layer's input are prepared for all of its experts at once. */
        if (r2i_act_kind_of(all[e].layout) == r2i_act_kind_of(all[0].layout)) continue;
        return r2i_fail(r->err, R2_E_UNSUPPORTED, "%s: %s: expected the type of expert 0, found %s",
                        source_label(r), name, r2i_type_get(all[e].type)->name);
    }
    return R2_OK;
}
