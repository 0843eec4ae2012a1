#include "train/parameters/adamw.h"

#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum { PIECE = 4096 /* values of one parameter that are summed and changed together */ };

static bool is_left(const r2i_adamw *a, int32_t i) {
    return a->leaves_hidden && a->parameters->list[i].is_hidden;
}

size_t r2i_adamw_part(const r2i_adamw *a, int32_t i, size_t *end) {
    *end = a->partition != NULL ? a->partition->own_end[i]
                                : r2i_parameter_size(&a->parameters->list[i]);
    return a->partition != NULL ? a->partition->own_begin[i] : 0;
}

static size_t part_size(const r2i_adamw *a, int32_t i) {
    size_t end;
    const size_t begin = r2i_adamw_part(a, i, &end);
    return end - begin;
}

/* Moments lie one behind the other, parameters that have none left out. */
static void place_moments(r2i_adamw *a) {
    const r2i_parameters *p = a->parameters;
    for (int32_t i = 0; i < p->n; i++) {
        const size_t n = (part_size(a, i) + 15) / 16 * 16;
        a->first_m[i] = a->n_m;
        a->first_v[i] = a->n_v;
        a->n_m += n;
        if (!is_left(a, i)) a->n_v += n;
    }
}

static void place_pieces(r2i_adamw *a) {
    for (int32_t i = 0; i < a->parameters->n; i++) {
        const size_t n = a->parameters->list[i].is_fixed ? 0 : part_size(a, i);
        a->n_pieces += (int32_t)((n + PIECE - 1) / PIECE);
        a->first_piece[i + 1] = a->n_pieces;
    }
}

r2_status r2i_adamw_create(r2i_adamw *out, r2i_parameters *parameters,
                           const r2i_partition *partition, bool leaves_hidden, r2i_arena *arena,
                           r2_error *err) {
    const size_t n = (size_t)parameters->n;
    r2i_taker t = { arena, false };
    *out = (r2i_adamw){ .parameters = parameters,
                        .partition = partition,
                        .leaves_hidden = leaves_hidden };
    out->first_m = r2i_take(&t, n, sizeof *out->first_m);
    out->first_v = r2i_take(&t, n, sizeof *out->first_v);
    out->first_piece = r2i_take(&t, n + 1, sizeof *out->first_piece);
    if (!t.has_failed) {
        place_moments(out);
        place_pieces(out);
        out->m = r2i_take(&t, out->n_m, sizeof *out->m);
        out->v = r2i_take(&t, out->n_v, sizeof *out->v);
        out->sums = r2i_take(&t, (size_t)out->n_pieces, sizeof *out->sums);
    }
    if (!t.has_failed) return R2_OK;
    return r2i_fail(err, R2_E_NOMEM, "no memory for the moments of %zu numbers (8 bytes each)",
                    parameters->n_values);
}

/* ---- pieces ---- */

typedef struct {
    const r2i_adamw *a;
    float lr, decay; /* decay: what a matrix is multiplied with */
    float beta1, beta2, eps;
    float scale;        /* of the gradient */
    float step1, step2; /* 1 / (1 - beta1^t), 1 / sqrt(1 - beta2^t) */
} piece_region;

/* Parameter of a piece, from the one of the piece before on. */
static int32_t parameter_of(const r2i_adamw *a, int32_t piece, int32_t i) {
    while (piece >= a->first_piece[i + 1])
        i++;
    return i;
}

/* Numbers [*first, *first + returned) of what is stepped here of parameter i. */
static size_t piece_range(const r2i_adamw *a, int32_t i, int32_t piece, size_t *first) {
    *first = (size_t)(piece - a->first_piece[i]) * PIECE;
    return r2i_min_size(PIECE, part_size(a, i) - *first);
}

/* Where these numbers lie in values and gradients. */
static size_t part_first(const r2i_adamw *a, int32_t i) {
    size_t end;
    return a->parameters->list[i].first + r2i_adamw_part(a, i, &end);
}

static void sum_pieces(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const piece_region *region = argument;
    const r2i_adamw *a = region->a;
    (void)worker;
    for (int32_t piece = begin, i = 0; piece < end; piece++) {
        size_t first;
        i = parameter_of(a, piece, i);
        const size_t n = piece_range(a, i, piece, &first);
        const float *g = a->parameters->gradients + part_first(a, i) + first;
        double part[8] = { 0 };
        for (size_t j = 0; j < n; j++)
            part[j % 8] += (double)g[j] * (double)g[j];
        a->sums[piece] = ((part[0] + part[4]) + (part[1] + part[5])) +
                         ((part[2] + part[6]) + (part[3] + part[7]));
    }
}

double r2i_adamw_squares(const r2i_adamw *adamw, r2i_pool *pool) {
    piece_region region = { .a = adamw };
    double sum = 0;
    r2i_pool_run(pool, adamw->n_pieces, 4, sum_pieces, &region);
    for (int32_t i = 0; i < adamw->n_pieces; i++)
        sum += adamw->sums[i];
    return sum;
}

static void change_values(const piece_region *r, float *w, float *g, float *m, float *v, size_t n,
                          float decay) {
    const float rest1 = 1 - r->beta1, rest2 = 1 - r->beta2;
    for (size_t j = 0; j < n; j++) {
        const float d = g[j] * r->scale;
        m[j] = r->beta1 * m[j] + rest1 * d;
        v[j] = r->beta2 * v[j] + rest2 * d * d;
        w[j] = w[j] * decay - r->lr * (m[j] * r->step1) / (sqrtf(v[j]) * r->step2 + r->eps);
        g[j] = 0;
    }
}

static void step_pieces(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const piece_region *region = argument;
    const r2i_adamw *a = region->a;
    (void)worker;
    for (int32_t piece = begin, i = 0; piece < end; piece++) {
        size_t at;
        i = parameter_of(a, piece, i);
        const size_t n = piece_range(a, i, piece, &at);
        if (is_left(a, i)) continue;
        const size_t first = part_first(a, i) + at;
        change_values(region, a->parameters->values + first, a->parameters->gradients + first,
                      a->m + a->first_m[i] + at, a->v + a->first_v[i] + at, n,
                      a->parameters->list[i].is_vector ? 1 : region->decay);
    }
}

double r2i_adamw_scale(const r2i_adamw_options *options, double norm) {
    return options->clip > 0 ? fmin(1, options->clip / (norm + 1e-6)) : 1;
}

void r2i_adamw_apply(r2i_adamw *adamw, r2i_pool *pool, const r2i_adamw_options *options,
                     double norm) {
    const double t = (double)++adamw->n_steps;
    piece_region region = { .a = adamw,
                            .lr = (float)options->lr,
                            .decay = (float)(1 - options->lr * options->weight_decay),
                            .beta1 = (float)options->beta1,
                            .beta2 = (float)options->beta2,
                            .eps = (float)options->eps,
                            .scale = (float)r2i_adamw_scale(options, norm),
                            .step1 = (float)(1 / (1 - pow(options->beta1, t))),
                            .step2 = (float)(1 / sqrt(1 - pow(options->beta2, t))) };
    r2i_pool_run(pool, adamw->n_pieces, 4, step_pieces, &region);
}
