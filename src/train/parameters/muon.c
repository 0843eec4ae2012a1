#include "train/parameters/muon.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum {
    N_ROUNDS = 5,
    SMALL_VALUES = 1 << 17, /* below, threads gain more by a matrix each than by sharing one */
    SUMS = 16
};
static const float round_a = 3.4445f, round_b = -4.7750f, round_c = 2.0315f;

/* ---- what is stepped how ---- */

static bool is_small(const r2i_parameter *p) {
    return r2i_parameter_size(p) <= SMALL_VALUES;
}

typedef struct {
    int32_t narrow, wide; /* the most rows and columns of matrices laid down */
    size_t values;
} room_size;

static void widen(room_size *size, const r2i_parameter *p) {
    const int32_t narrow = r2i_min_i32(p->n_rows, p->n_cols),
                  wide = r2i_max_i32(p->n_rows, p->n_cols);
    size->narrow = r2i_max_i32(size->narrow, narrow);
    size->wide = r2i_max_i32(size->wide, wide);
    size->values = r2i_max_size(size->values, r2i_parameter_size(p));
}

static r2_status make_room(r2i_muon_room *room, const room_size *size, const r2i_kernels *kernels,
                           r2i_pool *pool, r2i_arena *arena, r2_error *err) {
    const size_t n_square = (size_t)size->narrow * (size_t)size->narrow;
    if (size->values == 0) return R2_OK;
    R2I_TRY(r2i_products_create(&room->products, kernels, pool,
                                r2i_products_rows_bytes(1, size->narrow, size->wide), arena, err));
    room->x = r2i_arena_push_array(arena, size->values, sizeof(float), 64);
    room->next = r2i_arena_push_array(arena, size->values, sizeof(float), 64);
    room->a = r2i_arena_push_array(arena, n_square, sizeof(float), 64);
    room->polynomial = r2i_arena_push_array(arena, n_square, sizeof(float), 64);
    if (room->x != NULL && room->next != NULL && room->a != NULL && room->polynomial != NULL)
        return R2_OK;
    return r2i_fail(err, R2_E_NOMEM, "no memory for steps of matrices of %zu numbers",
                    size->values);
}

static r2_status sort_parameters(r2i_muon *muon, room_size sizes[2], r2i_arena *arena,
                                 r2_error *err) {
    const r2i_parameters *p = muon->adamw.parameters;
    muon->small = R2I_ARENA_ARRAY(arena, int32_t, (size_t)p->n);
    muon->large = R2I_ARENA_ARRAY(arena, int32_t, (size_t)p->n);
    if (muon->small == NULL || muon->large == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for a list of %d matrices", p->n);
    for (int32_t i = 0; i < p->n; i++) {
        size_t end;
        if (!p->list[i].is_hidden || r2i_adamw_part(&muon->adamw, i, &end) == end) continue;
        const bool small = is_small(&p->list[i]);
        widen(&sizes[small], &p->list[i]);
        if (small)
            muon->small[muon->n_small++] = i;
        else
            muon->large[muon->n_large++] = i;
    }
    return R2_OK;
}

r2_status r2i_muon_create(r2i_muon *out, r2i_parameters *parameters, const r2i_partition *partition,
                          const r2i_kernels *kernels, r2i_type layout, r2i_pool *pool,
                          r2i_arena *arena, r2_error *err) {
    const int32_t n_threads = r2i_pool_threads(pool);
    room_size sizes[2] = { { 0 } };
    *out = (r2i_muon){ .layout = layout };
    R2I_TRY(r2i_adamw_create(&out->adamw, parameters, partition, true, arena, err));
    R2I_TRY(sort_parameters(out, sizes, arena, err));
    out->rooms = R2I_ARENA_ARRAY(arena, r2i_muon_room, (size_t)n_threads);
    if (out->rooms == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for an optimizer");
    R2I_TRY(r2i_pool_create(&out->alone, 1, arena->heap, err));
    r2_status status = make_room(&out->large_room, &sizes[0], kernels, pool, arena, err);
    for (int32_t i = 0; i < n_threads && status == R2_OK; i++)
        status = make_room(&out->rooms[i], &sizes[1], kernels, out->alone, arena, err);
    if (status != R2_OK) r2i_muon_destroy(out);
    return status;
}

void r2i_muon_destroy(r2i_muon *muon) {
    r2i_pool_destroy(muon->alone);
    muon->alone = NULL;
}

/* ---- Newton-Schulz ---- */

static double norm_of(const float *x, size_t n) {
    double part[SUMS] = { 0 };
    for (size_t i = 0; i < n; i++)
        part[i % SUMS] += (double)x[i] * (double)x[i];
    double sum = 0;
    for (int i = 0; i < SUMS; i++)
        sum += part[i];
    return sqrt(sum);
}

/* C = A B^T, B [n_out, n_in]. */
static void multiply(const r2i_muon *muon, const r2i_muon_room *room, const float *a, int32_t n,
                     const float *b, int32_t n_out, int32_t n_in, float *c) {
    const r2i_product product = { .layout = muon->layout,
                                  .n_rows = n,
                                  .n_out = n_out,
                                  .n_in = n_in,
                                  .x = a,
                                  .weights = b,
                                  .y = c };
    r2i_products_outputs(&room->products, &product);
}

/* X = a X + (b A + c A^2) X for X [n, m] in room->x. */
static void one_round(const r2i_muon *muon, r2i_muon_room *room, int32_t n, int32_t m) {
    const size_t n_square = (size_t)n * (size_t)n, n_all = (size_t)n * (size_t)m;
    multiply(muon, room, room->x, n, room->x, n, m, room->a);
    multiply(muon, room, room->a, n, room->a, n, n, room->polynomial); /* A is its own transpose */
    for (size_t i = 0; i < n_square; i++)
        room->polynomial[i] = round_b * room->a[i] + round_c * room->polynomial[i];
    for (size_t i = 0; i < n_all; i++)
        room->next[i] = round_a * room->x[i];
    const r2i_product product = { .layout = muon->layout,
                                  .n_rows = n,
                                  .n_out = n,
                                  .n_in = m,
                                  .dy = room->polynomial,
                                  .weights = room->x,
                                  .dx = room->next,
                                  .is_added = true };
    r2i_products_inputs(&room->products, &product, 1);
    float *x = room->x;
    room->x = room->next;
    room->next = x;
}

/* ---- one matrix ---- */

typedef struct {
    r2i_muon *muon;
    float scale, momentum; /* of the gradient */
    double lr, decay;
} step_region;

static void transpose(const float *in, int32_t n_rows, int32_t n_cols, float *out) {
    for (int32_t r = 0; r < n_rows; r++) {
        for (int32_t c = 0; c < n_cols; c++)
            out[(size_t)c * (size_t)n_rows + (size_t)r] =
                in[(size_t)r * (size_t)n_cols + (size_t)c];
    }
}

/* Momentum forward, the update into room->x laid down, the gradient cleared. */
static void take_momentum(const step_region *region, r2i_muon_room *room, int32_t i_parameter) {
    const r2i_adamw *a = &region->muon->adamw;
    const r2i_parameter *p = &a->parameters->list[i_parameter];
    float *g = a->parameters->gradients + p->first, *m = a->m + a->first_m[i_parameter];
    const float keep = region->momentum, rest = 1 - keep;
    const size_t n = r2i_parameter_size(p);
    const bool is_tall = p->n_rows > p->n_cols;
    float *u = is_tall ? room->next : room->x;
    for (size_t i = 0; i < n; i++) {
        const float d = g[i] * region->scale;
        m[i] = keep * m[i] + rest * d;
        u[i] = rest * d + keep * m[i];
        g[i] = 0;
    }
    if (is_tall) transpose(u, p->n_rows, p->n_cols, room->x);
}

static void step_matrix(const step_region *region, r2i_muon_room *room, int32_t i_parameter) {
    const r2i_parameter *p = &region->muon->adamw.parameters->list[i_parameter];
    const int32_t n = r2i_min_i32(p->n_rows, p->n_cols), m = r2i_max_i32(p->n_rows, p->n_cols);
    const size_t n_all = r2i_parameter_size(p);
    float *w = region->muon->adamw.parameters->values + p->first;
    take_momentum(region, room, i_parameter);
    const float shrink = (float)(1 / (norm_of(room->x, n_all) + 1e-7));
    for (size_t i = 0; i < n_all; i++)
        room->x[i] *= shrink;
    for (int i = 0; i < N_ROUNDS; i++)
        one_round(region->muon, room, n, m);
    const float *x = room->x;
    if (p->n_rows > p->n_cols) {
        transpose(room->x, n, m, room->next);
        x = room->next;
    }
    const float rate = (float)(region->lr * 0.2 * sqrt((double)m)),
                keep = (float)(1 - region->lr * region->decay);
    for (size_t i = 0; i < n_all; i++)
        w[i] = w[i] * keep - rate * x[i];
}

static void step_small(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const step_region *region = argument;
    const r2i_muon *muon = region->muon;
    for (int32_t i = begin; i < end; i++)
        step_matrix(region, &muon->rooms[worker], muon->small[i]);
}

void r2i_muon_apply(r2i_muon *muon, r2i_pool *pool, const r2i_muon_options *options, double norm) {
    step_region region = { .muon = muon,
                           .scale = (float)r2i_adamw_scale(&options->rest, norm),
                           .momentum = (float)options->momentum,
                           .lr = options->rest.lr,
                           .decay = options->rest.weight_decay };
    r2i_adamw_apply(&muon->adamw, pool, &options->rest, norm);
    r2i_pool_run(pool, muon->n_small, 1, step_small, &region);
    for (int32_t i = 0; i < muon->n_large; i++)
        step_matrix(&region, &muon->large_room, muon->large[i]);
}
