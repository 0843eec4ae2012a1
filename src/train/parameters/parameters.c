#include "train/parameters/parameters.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/hash.h"
#include "model/weights_read.h"
#include "train/lora/lora_parameters.h"

enum { ALIGN_FLOATS = 16 };

/* Walks all tensors twice: counts first (values NULL), then copies and points the model there. */
typedef struct {
    r2i_parameters *p;
    const r2i_kernels *kernels;
    r2i_type layout;
    size_t n_values;
    int32_t n;
    int32_t layer;
    bool is_copying;
    int32_t first_expert, end_expert; /* that are copied */
} builder;

static bool is_counting(const builder *b) {
    return b->p->values == NULL;
}

/* Place for a parameter of the role, or for its bias; NULL while counting. */
static float *add(builder *b, r2i_role role, bool is_bias, int32_t expert, int32_t n_rows,
                  int32_t n_cols) {
    const size_t first = b->n_values, n = (size_t)n_rows * (size_t)n_cols;
    b->n_values += (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    b->n++;
    if (is_counting(b)) return NULL;
    r2i_parameter *out = &b->p->list[b->n - 1];
    const bool is_vector = is_bias || r2i_role_is_vector(role);
    *out = (r2i_parameter){ .n_rows = n_rows,
                            .n_cols = n_cols,
                            .is_vector = is_vector,
                            .is_fixed = role == R2I_ROLE_SCORE_BIAS,
                            .is_hidden = !is_vector && role != R2I_ROLE_SCORE_BIAS &&
                                         role != R2I_ROLE_EMBEDDING && role != R2I_ROLE_OUTPUT &&
                                         role != R2I_ROLE_ROUTER,
                            .layer = b->layer,
                            .expert = is_bias ? -1 : expert,
                            .first = first };
    if (is_bias)
        r2i_role_bias_name(out->name, R2I_NAMES_HF, role, b->layer);
    else if (expert >= 0)
        r2i_role_expert_name(out->name, role, b->layer, expert);
    else
        r2i_role_name(out->name, R2I_NAMES_HF, role, b->layer);
    return b->p->values + first;
}

static void add_vector(builder *b, r2i_role role, float **vector) {
    const int32_t n = r2i_role_get_size(b->p->config, role).n_cols;
    float *values = add(b, role, false, -1, 1, n);
    if (values == NULL) return;
    memcpy(values, *vector, (size_t)n * sizeof *values);
    *vector = values;
}

/* The matrix [n_rows, n_cols] computes with these F32 rows from now on. */
static void point_at(const builder *b, r2i_matrix *m, const float *rows, int32_t n_rows,
                     int32_t n_cols, r2i_type layout) {
    const float *bias = m->bias;
    const r2i_stored_tensor stored = { .type = R2I_TYPE_F32,
                                       .bytes = (const uint8_t *)rows,
                                       .shard = R2I_SHARD_NONE };
    const int32_t index = m->index;
    (void)b;
    memset(m, 0, sizeof *m);
    r2i_weights_set_matrix(m, &stored, layout, (r2i_role_size){ n_rows, n_cols });
    m->bias = bias;
    m->index = index;
}

static void read_rows(const r2i_kernels *kernels, const r2i_matrix *m, float *out) {
    for (int32_t r = 0; r < m->n_rows; r++)
        r2i_matrix_read_row(m, kernels, r, out + (size_t)r * (size_t)m->n_cols);
}

static void add_matrix(builder *b, r2i_role role, int32_t expert, r2i_matrix *m) {
    float *values = add(b, role, false, expert, m->n_rows, m->n_cols);
    if (values != NULL) {
        const bool is_here = expert < 0 || (expert >= b->first_expert && expert < b->end_expert);
        if (b->is_copying && is_here) read_rows(b->kernels, m, values);
        point_at(b, m, values, m->n_rows, m->n_cols,
                 role == R2I_ROLE_ROUTER ? R2I_TYPE_F32 : b->layout);
    }
    if (m->bias == NULL) return;
    float *bias = add(b, role, true, -1, 1, m->n_rows);
    if (bias == NULL) return;
    memcpy(bias, m->bias, (size_t)m->n_rows * sizeof *bias);
    m->bias = bias;
}

/* ---- latent attention ---- */

static void read_expand_k(const r2i_layer *layer, const r2i_kernels *kernels, int32_t h,
                          float *out) {
    const r2i_matrix *turned = &layer->absorb_k[h];
    float row[R2I_MAX_HEAD];
    if (layer->expand_k[h].stored != NULL) {
        read_rows(kernels, &layer->expand_k[h], out);
        return;
    }
    R2I_ASSERT(turned->n_cols <= R2I_MAX_HEAD);
    for (int32_t r = 0; r < turned->n_rows; r++) {
        r2i_matrix_read_row(turned, kernels, r, row);
        for (int32_t c = 0; c < turned->n_cols; c++)
            out[(size_t)c * (size_t)turned->n_rows + (size_t)r] = row[c];
    }
}

void r2i_latent_read_head(const r2i_config *c, const r2i_layer *layer, const r2i_kernels *kernels,
                          int32_t h, float *out) {
    const size_t d_nope = (size_t)(c->d_head - c->rope.d), rank = (size_t)c->kv_rank;
    read_expand_k(layer, kernels, h, out);
    read_rows(kernels, &layer->expand_v[h], out + d_nope * rank);
}

static size_t turned_floats(const r2i_config *c) {
    return (size_t)(c->d_head - c->rope.d) * (size_t)c->kv_rank * (size_t)c->n_heads;
}

static void add_kv_b(builder *b, r2i_layer *layer) {
    const r2i_config *c = b->p->config;
    const int32_t d_nope = c->d_head - c->rope.d, rank = c->kv_rank, d_both = d_nope + c->d_value;
    float *values = add(b, R2I_ROLE_KV_B, false, -1, c->n_heads * d_both, rank);
    if (values == NULL) return;
    const size_t n_turned = (size_t)d_nope * (size_t)rank;
    float *turned = b->p->turned + (size_t)b->layer * turned_floats(c);
    for (int32_t h = 0; h < c->n_heads; h++) {
        float *k = values + (size_t)(h * d_both) * (size_t)rank, *v = k + n_turned;
        if (b->is_copying) r2i_latent_read_head(c, layer, b->kernels, h, k);
        point_at(b, &layer->expand_k[h], k, d_nope, rank, b->layout);
        point_at(b, &layer->expand_v[h], v, c->d_value, rank, b->layout);
    }
    for (int32_t h = 0; h < c->n_heads; h++)
        point_at(b, &layer->absorb_k[h], turned + (size_t)h * n_turned, rank, d_nope, b->layout);
    point_at(b, &b->p->kv_b[b->layer], values, c->n_heads * d_both, rank, b->layout);
}

static void add_latent(builder *b, r2i_layer *layer) {
    if (b->p->config->q_rank > 0) {
        add_matrix(b, R2I_ROLE_Q_A, -1, &layer->q_a);
        add_vector(b, R2I_ROLE_Q_A_NORM, &layer->q_a_norm);
    }
    add_matrix(b, b->p->config->q_rank > 0 ? R2I_ROLE_Q_B : R2I_ROLE_Q, -1, &layer->q);
    add_matrix(b, R2I_ROLE_KV_A, -1, &layer->kv_a);
    add_vector(b, R2I_ROLE_KV_A_NORM, &layer->kv_a_norm);
    add_kv_b(b, layer);
}

/* ---- all tensors ---- */

static void add_attention(builder *b, r2i_layer *layer) {
    add_vector(b, R2I_ROLE_ATTENTION_NORM, &layer->attention_norm);
    if (b->p->config->layers[b->layer].attention == R2I_ATTENTION_MLA) {
        add_latent(b, layer);
    } else {
        add_matrix(b, R2I_ROLE_Q, -1, &layer->q);
        add_matrix(b, R2I_ROLE_K, -1, &layer->k);
        add_matrix(b, R2I_ROLE_V, -1, &layer->v);
        if (layer->q_norm != NULL) add_vector(b, R2I_ROLE_Q_NORM, &layer->q_norm);
        if (layer->k_norm != NULL) add_vector(b, R2I_ROLE_K_NORM, &layer->k_norm);
    }
    add_matrix(b, R2I_ROLE_O, -1, &layer->o);
}

static void add_experts(builder *b, r2i_layer *layer) {
    add_matrix(b, R2I_ROLE_ROUTER, -1, &layer->router);
    if (layer->score_bias != NULL) add_vector(b, R2I_ROLE_SCORE_BIAS, &layer->score_bias);
    for (int32_t e = 0; e < b->p->config->n_experts; e++) {
        add_matrix(b, R2I_ROLE_EXPERT_GATE, e, &layer->expert_gate[e]);
        add_matrix(b, R2I_ROLE_EXPERT_UP, e, &layer->expert_up[e]);
        add_matrix(b, R2I_ROLE_EXPERT_DOWN, e, &layer->expert_down[e]);
    }
    if (b->p->config->n_shared_experts == 0) return;
    add_matrix(b, R2I_ROLE_SHARED_GATE, -1, &layer->shared_gate);
    add_matrix(b, R2I_ROLE_SHARED_UP, -1, &layer->shared_up);
    add_matrix(b, R2I_ROLE_SHARED_DOWN, -1, &layer->shared_down);
}

static void add_layer(builder *b, int32_t i) {
    r2i_layer *layer = &b->p->weights->layers[i];
    b->layer = i;
    add_attention(b, layer);
    add_vector(b, R2I_ROLE_FFN_NORM, &layer->ffn_norm);
    if (b->p->config->layers[i].ffn == R2I_FFN_MOE) {
        add_experts(b, layer);
        return;
    }
    add_matrix(b, R2I_ROLE_GATE, -1, &layer->gate);
    add_matrix(b, R2I_ROLE_UP, -1, &layer->up);
    add_matrix(b, R2I_ROLE_DOWN, -1, &layer->down);
}

static void add_module(builder *b) {
    r2i_weights *w = b->p->weights;
    add_layer(b, b->p->config->n_layers);
    add_vector(b, R2I_ROLE_MTP_EMBEDDING_NORM, &w->mtp.embedding_norm);
    add_vector(b, R2I_ROLE_MTP_HIDDEN_NORM, &w->mtp.hidden_norm);
    add_matrix(b, R2I_ROLE_MTP_JOIN, -1, &w->mtp.join);
    add_vector(b, R2I_ROLE_MTP_OUTPUT_NORM, &w->mtp.output_norm);
    w->mtp.embedding = &w->embedding;
    w->mtp.head = &w->head;
}

static void add_all(builder *b) {
    r2i_weights *w = b->p->weights;
    b->n_values = 0;
    b->n = 0;
    b->layer = -1;
    add_matrix(b, R2I_ROLE_EMBEDDING, -1, &w->embedding);
    for (int32_t i = 0; i < b->p->config->n_layers; i++)
        add_layer(b, i);
    b->layer = b->p->config->n_layers;
    add_vector(b, R2I_ROLE_OUTPUT_NORM, &w->output_norm);
    if (!b->p->config->is_tied)
        add_matrix(b, R2I_ROLE_OUTPUT, -1, &w->head);
    else if (!is_counting(b))
        point_at(b, &w->head, b->p->values, w->head.n_rows, w->head.n_cols, b->layout);
    if (w->has_mtp) add_module(b);
}

r2_status r2i_parameters_create(r2i_parameters *out, const r2i_config *config, r2i_weights *weights,
                                const r2i_kernels *kernels, bool is_f32, bool is_copying,
                                r2i_arena *arena, r2_error *err) {
    return r2i_parameters_create_part(out, config, weights, kernels, is_f32, is_copying, 0,
                                      config->n_experts, arena, err);
}

r2_status r2i_parameters_create_part(r2i_parameters *out, const r2i_config *config,
                                     r2i_weights *weights, const r2i_kernels *kernels, bool is_f32,
                                     bool is_copying, int32_t first_expert, int32_t end_expert,
                                     r2i_arena *arena, r2_error *err) {
    *out = (r2i_parameters){ .config = config, .weights = weights };
    const size_t n_layers = (size_t)(config->n_layers + (weights->has_mtp ? 1 : 0));
    builder b = { .p = out,
                  .kernels = kernels,
                  .is_copying = is_copying,
                  .first_expert = first_expert,
                  .end_expert = end_expert,
                  .layout = is_f32 || kernels->matmul[R2I_TYPE_BF16] == NULL ? R2I_TYPE_F32
                                                                             : R2I_TYPE_BF16 };
    add_all(&b);
    float *values = r2i_arena_push_array(arena, b.n_values, sizeof *values, 64);
    out->gradients = r2i_arena_push_array(arena, b.n_values, sizeof *values, 64);
    out->list = R2I_ARENA_ARRAY(arena, r2i_parameter, (size_t)b.n);
    bool is_there = values != NULL && out->gradients != NULL && out->list != NULL;
    if (is_there && config->kv_rank > 0) {
        out->kv_b = R2I_ARENA_ARRAY(arena, r2i_matrix, n_layers);
        out->turned = R2I_ARENA_ARRAY(arena, float, n_layers *turned_floats(config));
        is_there = out->kv_b != NULL && out->turned != NULL;
    }
    if (!is_there) {
        return r2i_fail(err, R2_E_NOMEM, "no memory to train %zu numbers (8 bytes each)",
                        b.n_values);
    }
    out->n_values = b.n_values;
    out->n = b.n;
    out->values = values;
    add_all(&b);
    if (is_copying) r2i_parameters_refresh(out);
    return R2_OK;
}

/* ---- afterwards ---- */

void r2i_parameters_refresh(r2i_parameters *p) {
    const r2i_config *c = p->config;
    if (p->lora != NULL) {
        r2i_lora_parameters_refresh(p);
        return;
    }
    const int32_t n_layers = c->n_layers + (p->weights->has_mtp ? 1 : 0);
    const size_t rank = (size_t)c->kv_rank, d_nope = (size_t)(c->d_head - c->rope.d);
    for (int32_t i = 0; p->turned != NULL && i < n_layers; i++) {
        float *turned = p->turned + (size_t)i * turned_floats(c);
        for (int32_t h = 0; h < c->n_heads; h++, turned += d_nope * rank) {
            const float *k = (const float *)(const void *)p->weights->layers[i].expand_k[h].stored;
            for (size_t r = 0; r < d_nope; r++) {
                for (size_t col = 0; col < rank; col++)
                    turned[col * d_nope + r] = k[r * rank + col];
            }
        }
    }
}

float *r2i_gradient_of(const r2i_parameters *p, const void *value) {
    const uintptr_t at = (uintptr_t)value, first = (uintptr_t)p->values;
    if (value == NULL || at < first || at >= first + p->n_values * sizeof *p->values) return NULL;
    return p->gradients + (at - first) / sizeof *p->values;
}

uint64_t r2i_parameters_hash_layout(const r2i_parameters *p) {
    uint64_t hash = R2I_HASH_SEED;
    for (int32_t i = 0; i < p->n; i++) {
        const r2i_parameter *one = &p->list[i];
        const int32_t sizes[] = { one->n_rows, one->n_cols };
        hash = r2i_hash_bytes(hash, one->name, sizeof one->name);
        hash = r2i_hash_bytes(hash, sizes, sizeof sizes);
    }
    return hash;
}
