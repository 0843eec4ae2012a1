/* lora_backward.c - backward twin of linear layers whose matrices are frozen (model/lora.h):
 *
 *     low = s A x,  y = W x + B low:     g_low = s B^T g_y,   gradient of B += g_y low^T,
 *                                        gradient of A += g_low x^T,   g_x = W^T g_y + A^T g_low
 */
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "train/backward_state.h"
#include "train/lora_parameters.h"

enum { GRAIN_ROWS = 64 };

/* Rows [n] of `rank` numbers times the pairs' scale. */
static void scale_rows(const r2i_backward *b, float *rows, int32_t n) {
    const float scale = b->parameters->lora->scale;
    const size_t n_floats = (size_t)n * (size_t)b->parameters->lora->rules.rank;
    for (size_t i = 0; i < n_floats; i++)
        rows[i] *= scale;
}

typedef struct {
    const float *a, *b;
    float *g_a, *g_b;
} pair_values;

static pair_values values_of(const r2i_backward *b, const r2i_adapted_matrix *adapted) {
    const r2i_parameters *p = b->parameters;
    const size_t a = p->list[adapted->parameter].first,
                 b_first = p->list[adapted->parameter + 1].first;
    return (pair_values){ p->values + a, p->values + b_first, p->gradients + a,
                          p->gradients + b_first };
}

static void find_g_low(r2i_backward *b, const r2i_adapted_matrix *adapted, const float *g_y,
                       int32_t n_rows) {
    const pair_values pair = values_of(b, adapted);
    const r2i_product product = { .layout = b->layout,
                                  .n_rows = n_rows,
                                  .n_out = adapted->matrix->n_rows,
                                  .n_in = b->parameters->lora->rules.rank,
                                  .dy = g_y,
                                  .weights = pair.b,
                                  .dx = b->lora.g_low };
    r2i_products_inputs(&b->products, &product, 1);
    scale_rows(b, b->lora.g_low, n_rows);
}

/* The gradient of B comes transposed out of the product, whose rows are few then. */
static void pair_gradients(r2i_backward *b, const r2i_adapted_matrix *adapted, const float *g_y,
                           const float *x, int32_t n_rows) {
    const int32_t rank = b->parameters->lora->rules.rank, n_out = adapted->matrix->n_rows,
                  n_in = adapted->matrix->n_cols;
    const pair_values pair = values_of(b, adapted);
    const r2i_product low = { .layout = b->layout,
                              .n_rows = n_rows,
                              .n_out = rank,
                              .n_in = n_in,
                              .x = x,
                              .weights = pair.a,
                              .y = b->lora.low };
    r2i_products_outputs(&b->products, &low);
    scale_rows(b, b->lora.low, n_rows);
    const r2i_product of_a = { .layout = b->layout,
                               .n_rows = n_rows,
                               .n_out = rank,
                               .n_in = n_in,
                               .dy = b->lora.g_low,
                               .x = x,
                               .gradient = pair.g_a };
    r2i_products_weights(&b->products, &of_a, 1);
    const r2i_product of_b = { .layout = b->layout,
                               .n_rows = n_rows,
                               .n_out = rank,
                               .n_in = n_out,
                               .dy = b->lora.low,
                               .x = g_y,
                               .gradient = b->lora.turned };
    memset(b->lora.turned, 0, (size_t)rank * (size_t)n_out * sizeof(float));
    r2i_products_weights(&b->products, &of_b, 1);
    for (int32_t o = 0; o < n_out; o++) {
        for (int32_t r = 0; r < rank; r++)
            pair.g_b[(size_t)o * (size_t)rank + (size_t)r] +=
                b->lora.turned[(size_t)r * (size_t)n_out + (size_t)o];
    }
}

void r2i_lora_backward(r2i_backward *b, const r2i_matrix *m, const float *g_y, const float *x,
                       float *g_x, bool is_added, int32_t n_rows) {
    const r2i_adapted_matrix *adapted = r2i_lora_find(b->parameters, m);
    r2i_frozen_product frozen = { .matrix = m,
                                  .layout = m->layout == R2I_TYPE_F32 ? R2I_TYPE_F32 : b->layout,
                                  .n_rows = n_rows,
                                  .dy = g_y,
                                  .dx = g_x,
                                  .is_added = is_added };
    if (adapted != NULL && n_rows > 0) {
        find_g_low(b, adapted, g_y, n_rows);
        if (x != NULL) pair_gradients(b, adapted, g_y, x, n_rows);
        frozen.rank = b->parameters->lora->rules.rank;
        frozen.g_low = b->lora.g_low;
        frozen.a = values_of(b, adapted).a;
    }
    if (g_x != NULL) r2i_frozen_inputs(&b->frozen, &frozen);
}

/* ---- frozen latent expansions ---- */

typedef struct {
    r2i_backward *b;
    int32_t layer;
} latent_region;

static void read_heads(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const latent_region *region = argument;
    r2i_backward *b = region->b;
    const r2i_config *c = b->config;
    const size_t head = (size_t)(c->d_head - c->rope.d + c->d_value) * (size_t)c->kv_rank;
    (void)worker;
    for (int32_t h = begin; h < end; h++)
        r2i_latent_read_head(c, &b->weights->layers[region->layer], b->kernels, h,
                             b->lora.kv_b_values + (size_t)h * head);
}

const r2i_matrix *r2i_lora_kv_b(r2i_backward *b, int32_t layer) {
    latent_region region = { b, layer };
    r2i_pool_run(b->pool, b->config->n_heads, 1, read_heads, &region);
    return &b->lora.kv_b;
}

/* ---- memory ---- */

static void take_kv_b(r2i_taker *t, r2i_backward *b) {
    const r2i_config *c = b->config;
    const r2i_role_size size = r2i_role_get_size(c, R2I_ROLE_KV_B);
    b->lora.kv_b_values = r2i_take_floats(t, (size_t)size.n_rows, (size_t)size.n_cols);
    b->lora.kv_b = (r2i_matrix){ .n_rows = size.n_rows,
                                 .n_cols = size.n_cols,
                                 .type = R2I_TYPE_F32,
                                 .layout = b->layout,
                                 .stored = (const uint8_t *)b->lora.kv_b_values,
                                 .row_bytes = (size_t)size.n_cols * sizeof(float),
                                 .index = -1 };
}

static int32_t widest_output(const r2i_parameters *p) {
    int32_t n = 1;
    for (int32_t i = 0; i < p->lora->n; i++)
        n = r2i_max_i32(n, p->lora->adapted[i].matrix->n_rows);
    return n;
}

static void widen(void *user, r2i_matrix *m) {
    int32_t *n = user;
    *n = r2i_max_i32(*n, m->n_cols);
}

r2_status r2i_lora_backward_create(r2i_backward *b, r2i_arena *arena, r2_error *err) {
    const r2i_parameters *p = b->parameters;
    const int32_t rank = p->lora->rules.rank;
    int32_t n_wide = b->config->kv_rank;
    r2i_taker t = { arena, false };
    r2i_weights_visit(b->weights, b->config, widen, &n_wide);
    R2I_TRY(r2i_frozen_products_create(&b->frozen, &b->products, n_wide, arena, err));
    b->lora.low = r2i_take_floats(&t, (size_t)b->limits.cap_rows, (size_t)rank);
    b->lora.g_low = r2i_take_floats(&t, (size_t)b->limits.cap_rows, (size_t)rank);
    b->lora.turned = r2i_take_floats(&t, (size_t)rank, (size_t)widest_output(p));
    if (b->config->kv_rank > 0) take_kv_b(&t, b);
    return t.has_failed ? r2i_fail(err, R2_E_NOMEM, "no memory for the gradients of adapters")
                        : R2_OK;
}
