/* weights_latent.c - latent attention's tensors (DeepSeek-V2, arXiv:2405.04434, 2.1).
 *
 * One matrix per head expands a latent row to a key, and its transpose absorbs a query instead.  Files
 * hold one of the two; the other is made from it here, where it is needed. */
#include "base/failure.h"
#include "model/weights_read.h"

/* out = transpose of m, as panels alone. */
static r2_status make_turned(const r2i_weight_reader *r, const r2i_matrix *m, float *scratch,
                             r2i_matrix *out) {
    const size_t n = (size_t)m->n_rows;
    float *row = scratch + n * (size_t)m->n_cols;
    for (int32_t i = 0; i < m->n_rows; i++) {
        r2i_matrix_read_row(m, r->rules->kernels, i, row);
        for (int32_t j = 0; j < m->n_cols; j++)
            scratch[(size_t)j * n + (size_t)i] = row[j];
    }
    const r2i_stored_tensor turned = { .type = R2I_TYPE_F32,
                                       .bytes = (const uint8_t *)scratch,
                                       .shard = R2I_SHARD_NONE };
    r2i_weights_set_matrix(out, &turned, r2i_weights_layout(r->rules, R2I_TYPE_F32),
                           (r2i_role_size){ m->n_cols, m->n_rows });
    out->panels = r2i_arena_push_array(r->arena, (size_t)out->n_panels, out->panel_bytes, 64);
    if (out->panels == NULL)
        return r2i_fail(r->err, R2_E_NOMEM, "no memory for %d attention heads", r->config->n_heads);
    r2i_matrix_pack(out, r->rules->kernels, 0, out->n_panels, out->panels);
    out->stored = NULL;
    atomic_init(&out->pack_state, R2I_PACK_DONE);
    return R2_OK;
}

static r2_status make_all_turned(const r2i_weight_reader *r, const r2i_matrix *matrices,
                                 r2i_matrix *out) {
    const size_t n_floats = ((size_t)matrices->n_rows + 1) * (size_t)matrices->n_cols;
    float *scratch = r2i_heap_take(r->arena->heap, n_floats * sizeof *scratch);
    if (scratch == NULL) return r2i_fail(r->err, R2_E_NOMEM, "no memory to turn a matrix");
    r2_status status = R2_OK;
    for (int32_t h = 0; status == R2_OK && h < r->config->n_heads; h++)
        status = make_turned(r, &matrices[h], scratch, &out[h]);
    r2i_heap_give(r->arena->heap, scratch, n_floats * sizeof *scratch);
    return status;
}

/* Rows [first, first + n) of a matrix as one of their own. */
static void set_part(r2i_matrix *part, const r2i_matrix *whole, int32_t first, int32_t n) {
    const r2i_stored_tensor t = { .type = whole->type,
                                  .bytes = whole->stored + (size_t)first * whole->row_bytes,
                                  .shard = whole->shard };
    r2i_weights_set_matrix(part, &t, whole->layout, (r2i_role_size){ n, whole->n_cols });
    part->scales = whole->scales;
    part->first_scale_row = first;
}

/* Each head of a whole kv_b has first the rows that expand its key, then those of its value. */
static r2_status read_whole_kv_b(const r2i_weight_reader *r, int32_t i, r2i_layer *layer) {
    const r2i_config *c = r->config;
    const int32_t d_nope = c->d_head - c->rope.d, d_head = d_nope + c->d_value;
    r2i_matrix whole = { 0 };
    R2I_TRY(r2i_weights_read_matrix(r, R2I_ROLE_KV_B, i, &whole));
    for (int32_t h = 0; h < c->n_heads; h++) {
        set_part(&layer->expand_k[h], &whole, h * d_head, d_nope);
        set_part(&layer->expand_v[h], &whole, h * d_head + d_nope, c->d_value);
    }
    return make_all_turned(r, layer->expand_k, layer->absorb_k);
}

/* GGUF's newer form has the parts on their own, that of the keys already turned. */
static r2_status read_kv_b(const r2i_weight_reader *r, int32_t i, r2i_layer *layer) {
    const int32_t n = r->config->n_heads;
    layer->absorb_k = R2I_ARENA_ARRAY(r->arena, r2i_matrix, (size_t)n);
    layer->expand_k = R2I_ARENA_ARRAY(r->arena, r2i_matrix, (size_t)n);
    layer->expand_v = R2I_ARENA_ARRAY(r->arena, r2i_matrix, (size_t)n);
    if (layer->absorb_k == NULL || layer->expand_k == NULL || layer->expand_v == NULL)
        return r2i_fail(r->err, R2_E_NOMEM, "no memory for %d attention heads", n);
    if (r->source->gguf == NULL || !r2i_weights_have(r, R2I_ROLE_K_B, i))
        return read_whole_kv_b(r, i, layer);
    R2I_TRY(r2i_weights_read_stacked(r, R2I_ROLE_K_B, i, n, layer->absorb_k));
    R2I_TRY(r2i_weights_read_stacked(r, R2I_ROLE_V_B, i, n, layer->expand_v));
    return r->rules->is_expanding ? make_all_turned(r, layer->absorb_k, layer->expand_k) : R2_OK;
}

r2_status r2i_weights_read_latent(const r2i_weight_reader *reader, int32_t layer, r2i_layer *out) {
    const r2i_weight_reader *r = reader;
    if (r->config->q_rank > 0) {
        R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_Q_A, layer, &out->q_a));
        R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_Q_A_NORM, layer, &out->q_a_norm));
        R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_Q_B, layer, &out->q));
    } else {
        R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_Q, layer, &out->q));
    }
    R2I_TRY(r2i_weights_read_linear(r, R2I_ROLE_KV_A, layer, &out->kv_a));
    R2I_TRY(r2i_weights_read_vector(r, R2I_ROLE_KV_A_NORM, layer, &out->kv_a_norm));
    R2I_TRY(read_kv_b(r, layer, out));
    return r2i_weights_read_linear(r, R2I_ROLE_O, layer, &out->o);
}
