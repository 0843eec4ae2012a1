/* lora_backward.c - backward twin of linear layers whose matrices are frozen (model/lora.h):
 *
 *     low = s A x,  y = W x + B low:     g_low = s B^T g_y,   gradient of B += g_y low^T,
 *                                        gradient of A += g_low x^T,   g_x = W^T g_y + A^T g_low
 */
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "train/backward/backward_state.h"
#include "train/lora/lora_parameters.h"

enum { COLUMNS = 256 /* of a gradient, made together */ };

typedef struct {
    int32_t rank;
    const float *a, *b, *low; /* low: of the forward pass, scaled */
    float *g_a, *g_b;
} pair_values;

static pair_values values_of(const r2i_backward *b, const r2i_adapted_matrix *adapted) {
    const r2i_parameters *p = b->parameters;
    const size_t a = p->list[adapted->parameter].first,
                 b_first = p->list[adapted->parameter + 1].first;
    return (pair_values){ p->lora->rules.rank, p->values + a,
                          p->values + b_first, p->lora->pairs[adapted->matrix->index].kept,
                          p->gradients + a,    p->gradients + b_first };
}

/* ---- g_low = s g_y B ---- */

static void find_g_low(r2i_backward *b, const pair_values *pair,
                       const r2i_frozen_product *product) {
    const r2i_matrix rows = { .n_rows = product->matrix->n_rows,
                              .n_cols = pair->rank,
                              .type = R2I_TYPE_F32,
                              .stored = (const uint8_t *)pair->b,
                              .row_bytes = (size_t)pair->rank * sizeof(float) };
    r2i_frozen_product low = *product;
    low.matrix = &rows;
    low.dx = b->lora.g_low;
    low.is_added = false;
    r2i_frozen_inputs(&b->frozen, &low);
    const float scale = b->parameters->lora->scale;
    const size_t n = (size_t)product->n_rows * (size_t)pair->rank;
    for (size_t i = 0; i < n; i++)
        b->lora.g_low[i] *= scale;
}

/* ---- gradients of A and B: item = 256 columns of either ---- */

typedef struct {
    r2i_backward *b;
    const pair_values *pair;
    const float *x, *g_y;
    int32_t n_rows, n_in, n_out;
} gradient_region;

static void add_to_a(const gradient_region *region, int32_t column) {
    const pair_values *pair = region->pair;
    const r2i_outer_job job = { .c = region->b->lora.g_low,
                                .x = region->x + column,
                                .g = pair->g_a + column,
                                .c_stride = (size_t)pair->rank,
                                .x_stride = (size_t)region->n_in,
                                .g_stride = (size_t)region->n_in,
                                .n_tokens = region->n_rows,
                                .n_ranks = pair->rank,
                                .n_cols = r2i_min_i32(COLUMNS, region->n_in - column) };
    region->b->kernels->add_outer(&job);
}

/* Rows [column, ...) of B's gradient, which come transposed. */
static void add_to_b(const gradient_region *region, int32_t column, float *turned) {
    const pair_values *pair = region->pair;
    const int32_t n = r2i_min_i32(COLUMNS, region->n_out - column);
    const size_t rank = (size_t)pair->rank;
    const r2i_outer_job job = { .c = pair->low,
                                .x = region->g_y + column,
                                .g = turned,
                                .c_stride = rank,
                                .x_stride = (size_t)region->n_out,
                                .g_stride = COLUMNS,
                                .n_tokens = region->n_rows,
                                .n_ranks = pair->rank,
                                .n_cols = n };
    memset(turned, 0, rank * COLUMNS * sizeof *turned);
    region->b->kernels->add_outer(&job);
    for (size_t o = 0; o < (size_t)n; o++) {
        float *g = pair->g_b + ((size_t)column + o) * rank;
        for (size_t r = 0; r < rank; r++)
            g[r] += turned[r * COLUMNS + o];
    }
}

static void add_gradients(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const gradient_region *region = argument;
    const int32_t n_of_a = r2i_div_up_i32(region->n_in, COLUMNS);
    for (int32_t item = begin; item < end; item++) {
        if (item < n_of_a)
            add_to_a(region, item * COLUMNS);
        else
            add_to_b(region, (item - n_of_a) * COLUMNS, region->b->lora.turned[worker]);
    }
}

/* ---- a layer's product ---- */

void r2i_lora_backward(r2i_backward *b, const r2i_matrix *m, const float *g_y, const float *x,
                       float *g_x, bool is_added, int32_t n_rows) {
    const r2i_adapted_matrix *adapted = r2i_lora_find(b->parameters, m);
    r2i_frozen_product frozen = { .matrix = m,
                                  .layout = m->layout == R2I_TYPE_F32 ? R2I_TYPE_F32 : b->layout,
                                  .n_rows = n_rows,
                                  .dy = g_y,
                                  .dx = g_x,
                                  .is_added = is_added };
    if (adapted != NULL) {
        const pair_values pair = values_of(b, adapted);
        gradient_region region = { b, &pair, x, g_y, n_rows, m->n_cols, m->n_rows };
        /* The way through `down` comes before its gradients: g_low is there already. */
        const bool is_there = b->lora.g_low_of == g_y && g_x == NULL;
        if (!is_there) find_g_low(b, &pair, &frozen);
        b->lora.g_low_of = x == NULL ? g_y : NULL;
        if (x != NULL)
            r2i_pool_run(b->pool,
                         r2i_div_up_i32(m->n_cols, COLUMNS) + r2i_div_up_i32(m->n_rows, COLUMNS), 1,
                         add_gradients, &region);
        frozen.is_prepared = true;
        frozen.rank = pair.rank;
        frozen.g_low = b->lora.g_low;
        frozen.a = pair.a;
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

static void widen(void *user, r2i_matrix *m) {
    int32_t *n = user;
    *n = r2i_max_i32(*n, m->n_cols);
}

/* Rows of a pair's low: those of a batch, or of a chunk of the head. */
static void take_kept(r2i_taker *t, r2i_backward *b) {
    const r2i_lora_parameters *lora = b->parameters->lora;
    for (int32_t i = 0; i < lora->n; i++) {
        const r2i_adapted_matrix *adapted = &lora->adapted[i];
        const int32_t n = adapted->layer < 0 ? b->limits.cap_logits : b->limits.cap_rows;
        lora->pairs[adapted->matrix->index].kept =
            r2i_take_floats(t, (size_t)n, (size_t)lora->rules.rank);
    }
}

r2_status r2i_lora_backward_create(r2i_backward *b, r2i_arena *arena, r2_error *err) {
    const int32_t rank = b->parameters->lora->rules.rank, n_threads = r2i_pool_threads(b->pool);
    int32_t n_wide = b->config->kv_rank;
    r2i_taker t = { arena, false };
    r2i_weights_visit(b->weights, b->config, widen, &n_wide);
    R2I_TRY(r2i_frozen_products_create(&b->frozen, &b->products, n_wide, arena, err));
    b->lora.g_low = r2i_take_floats(&t, (size_t)b->limits.cap_rows, (size_t)rank);
    b->lora.turned = r2i_take(&t, (size_t)n_threads, sizeof *b->lora.turned);
    for (int32_t i = 0; !t.has_failed && i < n_threads; i++)
        b->lora.turned[i] = r2i_take_floats(&t, (size_t)rank, COLUMNS);
    take_kept(&t, b);
    if (b->config->kv_rank > 0) take_kv_b(&t, b);
    return t.has_failed ? r2i_fail(err, R2_E_NOMEM, "no memory for the gradients of adapters")
                        : R2_OK;
}
