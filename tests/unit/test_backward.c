/* test_backward.c - backward twins at odd sizes: each formula against plain sums in double, or
 * against central differences of the function itself.
 *
 *   products      all sizes around panels, tiles and pieces, F32 and BF16, several at once
 *   norm          differences, element by element
 *   attention     differences of a plain attention in double: one token, tile and block edges, windows
 *   continued     a document that several continue, against each of them whole: loss, gradients, log p
 *   whole models  along each tensor's own gradient, documents of odd lengths (one token among them)
 *   threads       equal bits for one, two and three */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "base/hash.h"
#include "base/random.h"
#include "model/model.h"
#include "r2lm/reinforce.h"
#include "train/backward/attention_backward.h"
#include "train/backward/backward.h"
#include "train/backward/document_pages.h"
#include "train/backward/products.h"
#include "train/backward/rows_backward.h"

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

typedef struct {
    uint64_t seed, n_drawn;
} numbers;

static double next_unit(numbers *random) {
    return r2i_random_unit(random->seed, 0, random->n_drawn++);
}

/* Kernels, threads and memory of one test. */
typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    r2i_pool *pool;
    r2i_kernels kernels;
} bench;

static void bench_start(bench *t, r2i_level cap, int32_t n_threads) {
    r2_error err;
    r2i_cpu cpu;
    r2i_heap_init(&t->heap);
    r2i_arena_init(&t->arena, &t->heap, 1 << 20, 0);
    r2i_cpu_detect(&cpu);
    r2i_kernels_init(&t->kernels, &cpu, cap);
    must(r2i_pool_create(&t->pool, n_threads, &t->heap, &err), &err);
}

static void bench_end(bench *t) {
    r2i_pool_destroy(t->pool);
    r2i_arena_destroy(&t->arena);
}

static float *random_floats(bench *t, numbers *random, size_t n) {
    float *x = r2i_arena_push_array(&t->arena, n + 1, sizeof *x, 64);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(2 * next_unit(random) - 1);
    return x;
}

static float *copy_floats(bench *t, const float *x, size_t n) {
    float *copy = r2i_arena_push_array(&t->arena, n + 1, sizeof *copy, 64);
    assert_non_null(copy);
    memcpy(copy, x, n * sizeof *x);
    return copy;
}

/* ---- products ---- */

static double as_in(r2i_type layout, float x) {
    return (double)(layout == R2I_TYPE_F32 ? x : r2i_f32_from_bf16(r2i_bf16_from_f32(x)));
}

typedef struct {
    double sum, size; /* size: of |a b|, what rounding errors are measured by */
} dot;

static void add_product(dot *d, double a, double b) {
    d->sum += a * b;
    d->size += fabs(a * b);
}

static void expect_near(const char *what, float found, dot d, double before) {
    if (!(fabs((double)found - (d.sum + before)) <= 2e-6 * (d.size + fabs(before)) + 1e-9))
        fail_msg("%s: expected %.9g, found %.9g", what, d.sum + before, (double)found);
}

/* Results against plain sums; `before` holds what the three outputs held. */
static void check_product(const r2i_product *p, const float *g0, const float *dx0) {
    for (int32_t o = 0; p->gradient != NULL && o < p->n_out; o++) {
        for (int32_t i = 0; i < p->n_in; i++) {
            dot d = { 0, 0 };
            for (int32_t t = 0; t < p->n_rows; t++)
                add_product(&d, as_in(p->layout, p->dy[t * p->n_out + o]),
                            as_in(p->layout, p->x[t * p->n_in + i]));
            expect_near("dy^T x", p->gradient[o * p->n_in + i], d, (double)g0[o * p->n_in + i]);
        }
    }
    for (int32_t t = 0; t < p->n_rows; t++) {
        for (int32_t i = 0; i < p->n_in; i++) {
            dot d = { 0, 0 };
            for (int32_t o = 0; o < p->n_out; o++)
                add_product(&d, as_in(p->layout, p->dy[t * p->n_out + o]),
                            as_in(p->layout, p->weights[o * p->n_in + i]));
            expect_near("dy W", p->dx[t * p->n_in + i], d,
                        p->is_added ? (double)dx0[t * p->n_in + i] : 0);
        }
        for (int32_t o = 0; o < p->n_out; o++) {
            dot d = { 0, 0 };
            for (int32_t i = 0; i < p->n_in; i++)
                add_product(&d, as_in(p->layout, p->x[t * p->n_in + i]),
                            as_in(p->layout, p->weights[o * p->n_in + i]));
            expect_near("x W^T", p->y[t * p->n_out + o], d, 0);
        }
    }
}

static r2i_product random_product(bench *t, numbers *random, r2i_type layout, int32_t n_rows,
                                  int32_t n_out, int32_t n_in) {
    const size_t rows = (size_t)n_rows, out = (size_t)n_out, in = (size_t)n_in;
    return (r2i_product){ .layout = layout,
                          .n_rows = n_rows,
                          .n_out = n_out,
                          .n_in = n_in,
                          .dy = random_floats(t, random, rows * out),
                          .x = random_floats(t, random, rows * in),
                          .weights = random_floats(t, random, out * in),
                          .gradient = random_floats(t, random, out * in),
                          .dx = random_floats(t, random, rows * in),
                          .is_added = n_rows % 2 != 0,
                          .y = random_floats(t, random, rows * out) };
}

static const int32_t product_sizes[][3] = {
    { 1, 1, 1 },   { 3, 5, 7 },    { 33, 17, 15 },  { 64, 64, 64 }, { 31, 65, 129 },
    { 0, 20, 30 }, { 129, 1, 66 }, { 1030, 18, 5 }, { 7, 2051, 3 }, { 5, 40, 1027 },
};
enum { N_PRODUCTS = sizeof product_sizes / sizeof *product_sizes };

static void check_products(r2i_level cap, r2i_type layout, int32_t n_threads) {
    bench t;
    r2_error err;
    r2i_products context;
    r2i_product products[N_PRODUCTS];
    const float *g0[N_PRODUCTS], *dx0[N_PRODUCTS];
    numbers random;
    bench_start(&t, cap, n_threads);
    random = (numbers){ 7, 0 };
    for (int i = 0; i < N_PRODUCTS; i++) {
        const int32_t *n = product_sizes[i];
        products[i] = random_product(&t, &random, layout, n[0], n[1], n[2]);
        g0[i] = copy_floats(&t, products[i].gradient, (size_t)(n[1] * n[2]));
        dx0[i] = copy_floats(&t, products[i].dx, (size_t)(n[0] * n[2]));
    }
    must(r2i_products_create(&context, &t.kernels, t.pool,
                             r2i_products_rows_bytes(N_PRODUCTS, 1400, 2051), &t.arena, &err),
         &err);
    r2i_products_inputs(&context, products, N_PRODUCTS);
    r2i_product sharing[3] = { products[2], products[2], products[2] };
    sharing[0].n_sharing = 2;
    for (int i = 1; i < 3; i++) {
        const size_t n = (size_t)(sharing[i].n_out + i) * (size_t)sharing[i].n_in;
        sharing[i].n_sharing = R2I_SHARES_X;
        sharing[i].n_out += i; /* other sizes */
        sharing[i].dy =
            random_floats(&t, &random, (size_t)sharing[i].n_rows * (size_t)sharing[i].n_out);
        sharing[i].gradient = r2i_arena_push_array(&t.arena, n, sizeof(float), 64);
    }
    sharing[0].gradient =
        copy_floats(&t, products[2].gradient, (size_t)(products[2].n_out * products[2].n_in));
    r2i_products_weights(&context, products, N_PRODUCTS);
    r2i_products_weights(&context, sharing, 3);
    assert_memory_equal(sharing[0].gradient, products[2].gradient,
                        (size_t)(products[2].n_out * products[2].n_in) * sizeof(float));
    for (int i = 1; i < 3; i++) {
        r2i_product alone = sharing[i];
        const size_t n = (size_t)alone.n_out * (size_t)alone.n_in;
        alone.n_sharing = 0;
        alone.gradient = r2i_arena_push_array(&t.arena, n, sizeof(float), 64);
        r2i_products_weights(&context, &alone, 1);
        assert_memory_equal(alone.gradient, sharing[i].gradient, n * sizeof(float));
    }
    for (int i = 0; i < N_PRODUCTS; i++) {
        r2i_products_outputs(&context, &products[i]);
        check_product(&products[i], g0[i], dx0[i]);
    }
    bench_end(&t);
}

static void test_products(void **state) {
    (void)state;
    check_products(R2I_LEVEL_REF, R2I_TYPE_F32, 1);
    for (int32_t n_threads = 1; n_threads <= 3; n_threads++) {
        check_products(R2I_LEVEL_PORTABLE, R2I_TYPE_F32, n_threads);
        check_products(R2I_LEVEL_AMX, R2I_TYPE_F32, n_threads);
        check_products(R2I_LEVEL_PORTABLE, R2I_TYPE_BF16, n_threads);
        check_products(R2I_LEVEL_AMX, R2I_TYPE_BF16, n_threads);
    }
}

/* ---- rows ---- */

enum { NORM_ROWS = 5, NORM_COLS = 37, NORM_STRIDE = 41 };

/* sum over rows of g . RMSNorm(x). */
static double norm_value(const float *x, const float *w, const float *g, double eps) {
    double value = 0;
    for (int r = 0; r < NORM_ROWS; r++) {
        double square = 0;
        for (int i = 0; i < NORM_COLS; i++)
            square += (double)x[r * NORM_STRIDE + i] * (double)x[r * NORM_STRIDE + i];
        for (int i = 0; i < NORM_COLS; i++)
            value += (double)g[r * NORM_STRIDE + i] * (double)w[i] *
                     (double)x[r * NORM_STRIDE + i] / sqrt(square / NORM_COLS + eps);
    }
    return value;
}

/* Slope of value(x) where *at moves. */
static double norm_slope(float *at, const float *x, const float *w, const float *g, double eps) {
    const float middle = *at, h = 1e-3f;
    *at = middle + h;
    const double above = norm_value(x, w, g, eps), high = (double)*at;
    *at = middle - h;
    const double below = norm_value(x, w, g, eps), low = (double)*at;
    *at = middle;
    return (above - below) / (high - low);
}

static void test_norm(void **state) {
    bench t;
    numbers random;
    const float eps = 1e-3f;
    (void)state;
    bench_start(&t, R2I_LEVEL_AMX, 2);
    random = (numbers){ 11, 0 };
    float *x = random_floats(&t, &random, NORM_ROWS * NORM_STRIDE),
          *w = random_floats(&t, &random, NORM_COLS),
          *g = random_floats(&t, &random, NORM_ROWS * NORM_STRIDE);
    float *g_x = random_floats(&t, &random, NORM_ROWS * NORM_STRIDE),
          *g_w = random_floats(&t, &random, NORM_COLS);
    const float *g_x0 = copy_floats(&t, g_x, NORM_ROWS * NORM_STRIDE),
                *g_w0 = copy_floats(&t, g_w, NORM_COLS);
    float scales[NORM_ROWS];
    r2i_norm_backward norm = { .n_rows = NORM_ROWS,
                               .n_cols = NORM_COLS,
                               .eps = eps,
                               .weight = w,
                               .x = x,
                               .g_y = g,
                               .g_x = g_x,
                               .x_stride = NORM_STRIDE,
                               .g_y_stride = NORM_STRIDE,
                               .g_x_stride = NORM_STRIDE,
                               .is_added = true,
                               .g_weight = g_w,
                               .row_scales = scales };
    r2i_norm_run_backward(t.pool, &norm);
    for (int r = 0; r < NORM_ROWS; r++) {
        for (int i = 0; i < NORM_STRIDE; i++) {
            const int at = r * NORM_STRIDE + i;
            const double slope =
                i < NORM_COLS ? norm_slope(&x[at], x, w, g, (double)eps) : 0; /* gaps stay */
            assert_true(fabs((double)g_x[at] - (double)g_x0[at] - slope) <= 2e-5);
        }
    }
    for (int i = 0; i < NORM_COLS; i++)
        assert_true(fabs((double)g_w[i] - (double)g_w0[i] -
                         norm_slope(&w[i], x, w, g, (double)eps)) <= 2e-5);
    /* In place, frozen. */
    float *same = copy_floats(&t, g, NORM_ROWS * NORM_STRIDE);
    norm.g_y = norm.g_x = same;
    norm.is_added = false;
    norm.g_weight = NULL;
    r2i_norm_run_backward(t.pool, &norm);
    for (int at = 0; at < NORM_ROWS * NORM_STRIDE; at++) {
        if (at % NORM_STRIDE < NORM_COLS)
            assert_true(fabsf(same[at] - (g_x[at] - g_x0[at])) <= 1e-5f);
        else
            assert_true(same[at] == g[at]);
    }
    bench_end(&t);
}

static void test_column_sums(void **state) {
    bench t;
    numbers random;
    enum { ROWS = 77, COLS = 45 };
    (void)state;
    bench_start(&t, R2I_LEVEL_AMX, 2);
    random = (numbers){ 3, 0 };
    const float *x = random_floats(&t, &random, ROWS * COLS);
    float sums[COLS];
    for (int c = 0; c < COLS; c++)
        sums[c] = (float)c;
    r2i_add_column_sums(t.pool, sums, x, ROWS, COLS);
    for (int c = 0; c < COLS; c++) {
        double expected = c;
        for (int r = 0; r < ROWS; r++)
            expected += (double)x[r * COLS + c];
        assert_true(fabs((double)sums[c] - expected) <= 1e-5);
    }
    bench_end(&t);
}

/* ---- attention ---- */

enum { MAX_TOKENS = 300, MAX_RUNS = 4 };

typedef struct {
    int32_t n_kv_heads, group, d_key, d_value, window, n_runs, lengths[MAX_RUNS];
} attention_case;

static const attention_case attention_cases[] = {
    { 1, 1, 2, 1, 0, 1, { 1 } },        { 2, 3, 6, 5, 0, 3, { 1, 13, 2 } },
    { 1, 7, 10, 10, 0, 2, { 64, 65 } }, { 3, 1, 20, 14, 0, 2, { 127, 130 } },
    { 2, 2, 8, 18, 9, 2, { 29, 131 } }, { 1, 2, 34, 16, 1, 1, { 70 } },
    { 1, 1, 16, 16, 128, 1, { 290 } },
};

/* Gradients of sum g_out . attention(q, k, v) for one head of one run, in double, straightforwardly. */
static void plain_head(const attention_case *c, const r2i_attention_backward *a, int32_t first,
                       int32_t n, int32_t head, double *g_q, double *g_k, double *g_v) {
    const int32_t heads = c->n_kv_heads * c->group, kv = head / c->group;
    for (int32_t t = 0; t < n; t++) {
        static double p[MAX_TOKENS], g_p[MAX_TOKENS];
        const float *q = a->q + ((first + t) * heads + head) * c->d_key,
                    *g_out = a->g_out + ((first + t) * heads + head) * c->d_value;
        const int32_t begin = c->window > 0 && t + 1 > c->window ? t + 1 - c->window : 0;
        double max = -INFINITY, sum = 0, inward = 0;
        for (int32_t j = begin; j <= t; j++) {
            p[j] = 0;
            for (int32_t i = 0; i < c->d_key; i++)
                p[j] +=
                    (double)q[i] * (double)a->k[((first + j) * c->n_kv_heads + kv) * c->d_key + i];
            p[j] *= (double)a->scale;
            max = fmax(max, p[j]);
        }
        for (int32_t j = begin; j <= t; j++)
            sum += p[j] = exp(p[j] - max);
        for (int32_t j = begin; j <= t; j++) {
            p[j] /= sum;
            g_p[j] = 0;
            for (int32_t i = 0; i < c->d_value; i++) {
                const int32_t at = ((first + j) * c->n_kv_heads + kv) * c->d_value + i;
                g_p[j] += (double)g_out[i] * (double)a->v[at];
                g_v[at] += p[j] * (double)g_out[i];
            }
            inward += p[j] * g_p[j];
        }
        for (int32_t j = begin; j <= t; j++) {
            const double g_s = p[j] * (g_p[j] - inward) * (double)a->scale;
            for (int32_t i = 0; i < c->d_key; i++) {
                const int32_t at = ((first + j) * c->n_kv_heads + kv) * c->d_key + i;
                g_q[((first + t) * heads + head) * c->d_key + i] += g_s * (double)a->k[at];
                g_k[at] += g_s * (double)q[i];
            }
        }
    }
}

static double *zeros(bench *t, size_t n) {
    double *x = R2I_ARENA_ARRAY(&t->arena, double, n);
    assert_non_null(x);
    return x;
}

static void expect_rows(const char *what, const float *found, const double *expected, size_t n,
                        double allowed) {
    double size = 0;
    for (size_t i = 0; i < n; i++)
        size += expected[i] * expected[i];
    size = sqrt(size / (double)n);
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)found[i] - expected[i]) <= allowed * (size + fabs(expected[i])) + 1e-7))
            fail_msg("%s[%zu]: expected %.9g, found %.9g (of size %.3g)", what, i, expected[i],
                     (double)found[i], size);
    }
}

/* Returns a hash of all results. */
static uint64_t check_attention(const attention_case *c, r2i_level cap, r2i_type layout,
                                int32_t n_threads, double allowed) {
    bench t;
    r2_error err;
    numbers random;
    r2i_attention_workspace ws;
    r2i_run runs[MAX_RUNS] = { 0 };
    int32_t n_rows = 0;
    bench_start(&t, cap, n_threads);
    random = (numbers){ 5, 0 };
    for (int32_t r = 0; r < c->n_runs; r++) {
        runs[r] = (r2i_run){ .first_row = n_rows, .n_rows = c->lengths[r] };
        n_rows += c->lengths[r];
    }
    const size_t heads = (size_t)(n_rows * c->n_kv_heads * c->group),
                 kv_heads = (size_t)(n_rows * c->n_kv_heads), d_key = (size_t)c->d_key,
                 d_value = (size_t)c->d_value;
    const r2i_attention_backward a = {
        .n_kv_heads = c->n_kv_heads,
        .group = c->group,
        .d_key = c->d_key,
        .d_value = c->d_value,
        .window = c->window,
        .scale = 1.3f,
        .q = random_floats(&t, &random, heads * d_key),
        .k = random_floats(&t, &random, kv_heads * d_key),
        .v = random_floats(&t, &random, kv_heads * d_value),
        .g_out = random_floats(&t, &random, heads * d_value),
        .g_q = random_floats(&t, &random, heads * d_key),
        .g_k = random_floats(&t, &random, kv_heads * d_key),
        .g_v = random_floats(&t, &random, kv_heads * d_value),
    };
    double *g_q = zeros(&t, heads * d_key), *g_k = zeros(&t, kv_heads * d_key),
           *g_v = zeros(&t, kv_heads * d_value);
    must(r2i_attention_workspace_create(&ws, &t.kernels, t.pool, layout, MAX_TOKENS, c->d_key,
                                        c->d_value, &t.arena, &err),
         &err);
    r2i_attention_run_backward(&ws, &a, runs, c->n_runs);
    for (int32_t r = 0; r < c->n_runs; r++) {
        for (int32_t h = 0; h < c->n_kv_heads * c->group; h++)
            plain_head(c, &a, runs[r].first_row, runs[r].n_rows, h, g_q, g_k, g_v);
    }
    expect_rows("g_q", a.g_q, g_q, heads * d_key, allowed);
    expect_rows("g_k", a.g_k, g_k, kv_heads * d_key, allowed);
    expect_rows("g_v", a.g_v, g_v, kv_heads * d_value, allowed);
    uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, a.g_q, heads * d_key * sizeof(float));
    hash = r2i_hash_bytes(hash, a.g_k, kv_heads * d_key * sizeof(float));
    hash = r2i_hash_bytes(hash, a.g_v, kv_heads * d_value * sizeof(float));
    bench_end(&t);
    return hash;
}

static void test_attention(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof attention_cases / sizeof *attention_cases; i++) {
        const attention_case *c = &attention_cases[i];
        (void)check_attention(c, R2I_LEVEL_REF, R2I_TYPE_F32, 1, 1e-5);
        const uint64_t one = check_attention(c, R2I_LEVEL_AMX, R2I_TYPE_F32, 1, 1e-5);
        assert_true(one == check_attention(c, R2I_LEVEL_AMX, R2I_TYPE_F32, 2, 1e-5));
        assert_true(one == check_attention(c, R2I_LEVEL_AMX, R2I_TYPE_F32, 3, 1e-5));
        /* Operands have 8 bits: a few units of 2^-8 of the typical size. */
        (void)check_attention(c, R2I_LEVEL_AMX, R2I_TYPE_BF16, 2, 0.05);
    }
}

/* ---- whole models ---- */

enum { MODEL_ROWS = 512 };
/* Experts are chosen by comparison: with many tokens some choice always flips between two losses, and
 * differences then see jumps that the gradient, rightly, does not. */
static const int32_t long_documents[] = { 1, 7, 133, 2, 41, 0 }, few_tokens[] = { 1, 9, 4, 0 };

typedef struct {
    r2_model *model;
    r2i_pool *pool;
    r2i_parameters parameters;
    r2i_backward *backward;
    int32_t tokens[MODEL_ROWS], targets[MODEL_ROWS];
    float weights[MODEL_ROWS];
    r2i_train_batch batch;
} model_rig;

static void model_start(model_rig *t, const char *name, const int32_t *lengths, int32_t n_threads) {
    char path[1024];
    r2_error err;
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    const r2_model_options options = { .arithmetic = R2_ARITHMETIC_F32, .is_unpacked = true };
    const r2i_backward_limits limits = {

        .cap_rows = MODEL_ROWS,
        .cap_document = 150,
        .cap_logits = 31,
        .is_f32 = true,
        .has_continuations = true

    };
    snprintf(path, sizeof path, "%.900s/%s",
             folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    must(r2_model_open(&t->model, path, &options, &err), &err);
    r2_model *m = t->model;
    must(r2i_pool_create(&t->pool, n_threads, &m->heap, &err), &err);
    must(r2i_parameters_create(&t->parameters, &m->config, &m->weights, &m->kernels, true, true,
                               &m->arena, &err),
         &err);
    must(r2i_backward_create(&t->backward, &t->parameters, &m->kernels, t->pool, &limits, &m->arena,
                             &err),
         &err);
    numbers random;
    random = (numbers){ 99, 0 };
    int32_t n = 0, n_documents = 0;
    for (; lengths[n_documents] > 0; n_documents++)
        n += lengths[n_documents];
    for (int32_t i = 0; i < n; i++) {
        const double u = next_unit(&random);
        t->tokens[i] = (int32_t)(next_unit(&random) * m->config.n_vocab);
        t->targets[i] = (int32_t)(next_unit(&random) * m->config.n_vocab);
        t->weights[i] = u < 0.2 ? 0 : (float)(u / n); /* some do not count, the others differ */
    }
    t->batch = (r2i_train_batch){ .tokens = t->tokens,
                                  .n_rows = n,
                                  .lengths = lengths,
                                  .n_documents = n_documents,
                                  .targets = t->targets,
                                  .weights = t->weights,
                                  .mtp_weight = 0.3f };
}

static void model_end(model_rig *t) {
    r2i_pool_destroy(t->pool);
    r2_model_close(t->model);
}

static double model_loss(model_rig *t) {
    r2i_parameters_refresh(&t->parameters);
    /* The balance loss is found on the way back. */
    const r2i_train_loss loss = t->batch.balance_weight > 0
                                    ? r2i_backward_run(t->backward, &t->batch)
                                    : r2i_backward_evaluate(t->backward, &t->batch);
    return loss.loss + loss.balance_loss + (double)t->batch.mtp_weight * loss.mtp_loss;
}

/* Along a tensor's gradient the loss rises by its norm.  A choice of experts may flip on the way: such
 * a tensor is tried with a smaller step. */
static double tensor_error(model_rig *t, const r2i_parameter *p, const float *gradient) {
    const size_t n = r2i_parameter_size(p);
    float *w = t->parameters.values + p->first, *before = test_malloc(n * sizeof *w);
    double norm = 0, best = INFINITY;
    memcpy(before, w, n * sizeof *w);
    for (size_t i = 0; i < n; i++)
        norm += (double)gradient[i] * (double)gradient[i];
    norm = sqrt(norm);
    for (double h = 2e-2; norm > 1e-4 && h > 2e-4; h /= 2) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            for (size_t i = 0; i < n; i++)
                w[i] = before[i] + (float)((side == 0 ? h : -h) * (double)gradient[i] / norm);
            loss[side] = model_loss(t);
        }
        best = fmin(best, fabs((loss[0] - loss[1]) / (2 * h) - norm) / norm);
        if (best < 2e-3) break;
    }
    memcpy(w, before, n * sizeof *w);
    test_free(before);
    return norm > 1e-4 ? best : 0;
}

static void check_model(const char *name, const int32_t *lengths, float balance_weight) {
    model_rig t = { 0 };
    double worst = 0;
    int32_t n_checked = 0;
    model_start(&t, name, lengths, 2);
    t.batch.balance_weight = balance_weight;
    (void)r2i_backward_run(t.backward, &t.batch);
    float *gradients = test_malloc(t.parameters.n_values * sizeof *gradients);
    memcpy(gradients, t.parameters.gradients, t.parameters.n_values * sizeof *gradients);
    for (int32_t i = 0; i < t.parameters.n; i++) {
        const r2i_parameter *p = &t.parameters.list[i];
        if (p->is_fixed) continue;
        const double e = tensor_error(&t, p, gradients + p->first);
        if (e > 0) n_checked++;
        if (!(e <= 5e-3)) fail_msg("%s: %s: off by %.3g", name, p->name, e);
        worst = fmax(worst, e);
    }
    printf("%-16s %d tensors, differences within %.2g\n", name, n_checked, worst);
    test_free(gradients);
    assert_true(n_checked > t.parameters.n / 3); /* experts that nobody chose have no gradient */
    model_end(&t);
}

static void test_models(void **state) {
    (void)state;
    check_model("qwen2_yarn", long_documents, 0); /* windows, biases, tied */
    check_model("qwen3_moe", few_tokens, 0);
    check_model("qwen3_moe", few_tokens, 0.05f);
    /* Low-rank queries, groups, a shared expert, the prediction module. */
    check_model("deepseek_v3", few_tokens, 0.05f);
}

/* ---- documents that continue another one ---- */

enum { TRUNK = 131, N_BRANCHES = 3, BRANCH = 17, PLAIN = 9 };

static double next_int(numbers *random, int32_t n) {
    return floor(next_unit(random) * n);
}

/* A trunk, branches and a document of its own, with the branches going on from the trunk or, otherwise,
 * each with a copy of it that counts for nothing.  Returns the loss; log p of the branches' rows. */
static double run_branches(model_rig *t, const char *name, bool is_shared, int32_t n_threads,
                           float logprobs[N_BRANCHES * BRANCH]) {
    static float read[MODEL_ROWS], factors[MODEL_ROWS];
    static int32_t lengths[N_BRANCHES + 2], parents[N_BRANCHES + 2];
    int32_t tokens[TRUNK + N_BRANCHES * BRANCH + PLAIN], targets[sizeof tokens / sizeof *tokens];
    numbers random = { 7, 0 };
    int32_t n = 0, n_documents = 0;
    model_start(t, name, few_tokens, n_threads);
    const int32_t n_vocab = t->model->config.n_vocab, n_all = sizeof tokens / sizeof *tokens;
    for (int32_t i = 0; i < n_all; i++) {
        tokens[i] = (int32_t)next_int(&random, n_vocab);
        targets[i] = (int32_t)next_int(&random, n_vocab);
    }
    for (int32_t b = 0; b <= N_BRANCHES; b++) { /* the last one is on its own */
        const bool is_plain = b == N_BRANCHES;
        const int32_t n_own = is_plain ? PLAIN : BRANCH, from = TRUNK + b * BRANCH;
        const bool has_trunk = is_shared ? b == 0 : !is_plain;
        const int32_t n_before = has_trunk ? TRUNK : 0;
        memcpy(t->tokens + n, tokens, (size_t)n_before * sizeof *tokens);
        for (int32_t i = 0; i < n_before; i++) { /* of the trunk the first rows count, once */
            t->targets[n + i] = targets[i];
            t->weights[n + i] = b == 0 && i < 20 ? 0.01f : 0;
        }
        n += n_before;
        if (is_shared && has_trunk) {
            parents[n_documents] = -1;
            lengths[n_documents++] = TRUNK;
        }
        for (int32_t i = 0; i < n_own; i++) {
            t->tokens[n + i] = tokens[from + i];
            t->targets[n + i] = targets[from + i];
            t->weights[n + i] = 0.01f * (float)(1 + (i + b) % 3);
        }
        n += n_own;
        parents[n_documents] = is_shared && !is_plain ? 0 : -1;
        lengths[n_documents++] = is_shared ? n_own : n_before + n_own;
    }
    t->batch = (r2i_train_batch){ .tokens = t->tokens,
                                  .n_rows = n,
                                  .lengths = lengths,
                                  .parents = is_shared ? parents : NULL,
                                  .n_documents = n_documents,
                                  .targets = t->targets,
                                  .weights = t->weights };
    const double loss = r2i_backward_run(t->backward, &t->batch).loss;
    const r2_policy_targets policy = { .form = R2_POLICY_READ,
                                       .logprobs = read,
                                       .factors = factors };
    t->batch.policy = &policy;
    (void)r2i_backward_evaluate(t->backward, &t->batch);
    for (int32_t b = 0; b < N_BRANCHES; b++) {
        const int32_t first = is_shared ? TRUNK + b * BRANCH : (b + 1) * TRUNK + b * BRANCH;
        memcpy(logprobs + b * BRANCH, read + first, BRANCH * sizeof *read);
    }
    return loss;
}

static void check_branches(const char *name) {
    float one[N_BRANCHES * BRANCH], other[N_BRANCHES * BRANCH];
    model_rig whole = { 0 }, shared = { 0 }, again = { 0 };
    const double expected = run_branches(&whole, name, false, 2, one),
                 found = run_branches(&shared, name, true, 2, other);
    const size_t n = whole.parameters.n_values;
    double square = 0, off = 0;
    assert_true(memcmp(one, other, sizeof one) == 0);
    assert_true(fabs(expected - found) <= 1e-6 * fabs(expected));
    for (size_t i = 0; i < n; i++) {
        const double g = (double)whole.parameters.gradients[i],
                     d = (double)shared.parameters.gradients[i] - g;
        square += g * g;
        off += d * d;
    }
    printf("%-16s continued documents: gradients within %.2g\n", name, sqrt(off / square));
    if (!(sqrt(off / square) <= 2e-6)) fail_msg("%s: off by %.3g", name, sqrt(off / square));
    (void)run_branches(&again, name, true, 3, other);
    assert_memory_equal(again.parameters.gradients, shared.parameters.gradients, n * sizeof(float));
    model_end(&whole);
    model_end(&shared);
    model_end(&again);
}

static void test_continued(void **state) {
    (void)state;
    check_branches("qwen2_yarn"); /* a window that reaches into the trunk */
    check_branches("qwen3_moe");
    check_branches("deepseek_v3");
}

/* Lists of pages are counted beyond 2^31 of them; no memory is there for so many. */
static void test_many_pages(void **state) {
    enum { ROWS = 1 << 22, DOCUMENTS = (1 << 17) + 1, DOCUMENT = 1 << 22 };
    static const r2i_document_limits limits = { ROWS, DOCUMENTS, DOCUMENT, true };
    static const r2i_config config = { .n_kv_heads = 1, .d_head = 16, .d_value = 16 };
    r2i_document_pages pages = { 0 };
    r2i_arena arena;
    r2i_heap heap;
    (void)state;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 4096, 1 << 20);
    r2i_taker taker = { &arena, false };
    r2i_document_pages_take(&pages, &taker, &config, 1, R2I_ROWS_F32, &limits);
    assert_true(taker.has_failed);
    const size_t n = ROWS / R2I_PAGE_TOKENS + 2 * DOCUMENTS;
    assert_true((size_t)pages.n == n);
    assert_true(pages.n_lists == n + (size_t)DOCUMENTS * (DOCUMENT / R2I_PAGE_TOKENS + 1));
    r2i_arena_destroy(&arena);
}

static void test_threads(void **state) {
    uint64_t bits[3];
    (void)state;
    for (int32_t n_threads = 1; n_threads <= 3; n_threads++) {
        model_rig t = { 0 };
        model_start(&t, "deepseek_v3", long_documents, n_threads);
        (void)r2i_backward_run(t.backward, &t.batch);
        bits[n_threads - 1] = r2i_hash_bytes(R2I_HASH_SEED, t.parameters.gradients,
                                             t.parameters.n_values * sizeof(float));
        model_end(&t);
    }
    assert_true(bits[0] == bits[1] && bits[0] == bits[2]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),    cmocka_unit_test(test_norm),
        cmocka_unit_test(test_column_sums), cmocka_unit_test(test_attention),
        cmocka_unit_test(test_models),      cmocka_unit_test(test_continued),
        cmocka_unit_test(test_many_pages),  cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
