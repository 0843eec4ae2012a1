/* Transposes for products backward, and SwiGLU backward, of every level: bytes as they are defined,
 * buffers ending at unreadable pages. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"

static const int32_t sizes[] = { 1, 2, 3, 15, 16, 17, 31, 32, 33, 47, 64, 65, 127, 129, 200 };
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static float element(const float *x, size_t x_stride, int32_t n_rows, int32_t n_cols, int32_t r,
                     int32_t c) {
    return r < n_rows && c < n_cols ? x[(size_t)r * x_stride + (size_t)c] : 0.0F;
}

/* Rows that end at an unreadable page, with numbers that round, that are none, and infinities. */
static float *take_matrix(check_random *random, size_t x_stride, int32_t n_rows, int32_t n_cols) {
    const size_t n = (size_t)(n_rows - 1) * x_stride + (size_t)n_cols;
    float *x = check_take(4 * n, true);
    check_fill(random, x, n, 3.0F);
    for (size_t i = 0; i < n; i++) {
        if (check_below(random, 40) == 0) x[i] = check_below(random, 2) == 0 ? NAN : -INFINITY;
    }
    return x;
}

static void check_panels(const r2i_kernels *k, r2i_type layout, const float *x, size_t x_stride,
                         int32_t n_rows, int32_t n_cols) {
    const size_t panel_bytes = r2i_panel_bytes(layout, n_rows);
    const int32_t n_panels = (n_cols + 15) / 16;
    uint8_t *panels = check_take((size_t)n_panels * panel_bytes, true);
    k->turn_panels[layout](panels, x, x_stride, n_rows, n_cols);
    for (int32_t c = 0; c < 16 * n_panels; c++) {
        const uint8_t *panel = panels + (size_t)(c / 16) * panel_bytes;
        for (int32_t r = 0; r < n_rows + (layout == R2I_TYPE_BF16 ? n_rows % 2 : 0); r++) {
            const float expected = element(x, x_stride, n_rows, n_cols, r, c);
            if (layout == R2I_TYPE_F32) {
                float found;
                memcpy(&found, panel + 4 * (size_t)(r * 16 + c % 16), 4);
                CHECK(check_same(found, expected), "F32 panel: row %d, column %d", (int)c, (int)r);
                continue;
            }
            uint16_t found;
            memcpy(&found, panel + 4 * (size_t)(r / 2 * 16 + c % 16) + 2 * (size_t)(r % 2), 2);
            CHECK(found == r2i_bf16_from_f32(expected), "BF16 panel: row %d, column %d", (int)c,
                  (int)r);
        }
    }
}

static void check_rows(const r2i_kernels *k, r2i_act_kind kind, const float *x, size_t x_stride,
                       int32_t n_rows, int32_t n_cols) {
    const size_t n_bytes = r2i_act_row_bytes(kind, n_rows), stride = n_bytes + 64;
    const size_t n_all = (size_t)(n_cols - 1) * stride + n_bytes;
    uint8_t *rows = check_take(n_all, true);
    k->turn_rows[kind](rows, stride, x, x_stride, n_rows, n_cols);
    for (int32_t c = 0; c < n_cols; c++) {
        const uint8_t *row = rows + (size_t)c * stride;
        for (int32_t r = 0; r < n_rows + (kind == R2I_ACT_BF16 ? n_rows % 2 : 0); r++) {
            const float expected = element(x, x_stride, n_rows, n_cols, r, c);
            if (kind == R2I_ACT_F32) {
                float found;
                memcpy(&found, row + 4 * (size_t)r, 4);
                CHECK(check_same(found, expected), "F32 row %d, column %d", (int)c, (int)r);
                continue;
            }
            uint16_t found;
            memcpy(&found, row + 2 * (size_t)r, 2);
            CHECK(found == r2i_bf16_from_f32(expected), "BF16 row %d, column %d", (int)c, (int)r);
        }
        for (size_t i = n_bytes; c + 1 < n_cols && i < stride; i++)
            CHECK(row[i] == 0xa5, "written behind row %d", (int)c);
    }
}

/* Panels of prepared rows are those of the rows, also when they are a part of longer ones. */
static void check_pairs(const r2i_kernels *k, r2i_type layout, const float *x, size_t x_stride,
                        int32_t n_rows, int32_t n_cols) {
    const r2i_act_kind kind = r2i_act_kind_of(layout);
    const size_t stride = r2i_act_row_bytes(kind, n_cols), n = r2i_panel_bytes(layout, n_rows),
                 far = n + 64, n_panels = (size_t)(n_cols + 15) / 16;
    uint8_t *rows = check_take((size_t)n_rows * stride, true),
            *one = check_take(n_panels * n, true),
            *parts = check_take((n_panels - 1) * far + n, true);
    for (int32_t r = 0; r < n_rows; r++)
        k->act[kind](rows + (size_t)r * stride, x + (size_t)r * x_stride, n_cols, 0, n_cols);
    k->turn_panels[layout](one, x, x_stride, n_rows, n_cols);
    k->pair_rows[kind](parts, far, rows, stride, n_rows, n_cols);
    for (size_t p = 0; p < n_panels; p++) {
        CHECK(memcmp(parts + p * far, one + p * n, n) == 0, "panel %d of prepared rows", (int)p);
        if (p + 1 < n_panels) CHECK(parts[p * far + n] == 0xa5, "written behind panel %d", (int)p);
    }
}

/* The sum over rows of two operands of the same rows, against sums in double; added to what is there. */
static void check_paired(const r2i_kernels *k, r2i_type layout, check_random *random,
                         int32_t n_steps, int32_t n_rows, int32_t n_cols) {
    const size_t a_stride = r2i_panel_bytes(layout, n_steps) + 64, b_stride = a_stride + 64;
    const size_t rows = (size_t)n_rows, cols = (size_t)n_cols, steps = (size_t)n_steps,
                 y_stride = cols + 3;
    float *x = check_take(4 * steps * rows, true), *z = check_take(4 * steps * cols, true),
          *y = check_take(4 * (rows * y_stride - 3), true), *first;
    uint8_t *panels[2];
    const r2i_act_kind kind = r2i_act_kind_of(layout);
    check_fill(random, x, steps * rows, 1.0F);
    check_fill(random, z, steps * cols, 1.0F);
    check_fill(random, y, rows * y_stride - 3, 1.0F);
    first = check_take(4 * (rows * y_stride - 3), true);
    memcpy(first, y, 4 * (rows * y_stride - 3));
    for (int i = 0; i < 2; i++) {
        const int32_t n = i == 0 ? n_rows : n_cols;
        const size_t stride = r2i_act_row_bytes(kind, n),
                     panel_stride = i == 0 ? a_stride : b_stride;
        uint8_t *prepared = check_take(steps * stride, true);
        panels[i] = check_take((size_t)((n + 15) / 16) * panel_stride, false);
        for (size_t t = 0; t < steps; t++)
            k->act[kind](prepared + t * stride, (i == 0 ? x : z) + t * (size_t)n, n, 0, n);
        k->pair_rows[kind](panels[i], panel_stride, prepared, stride, n_steps, n);
    }
    const r2i_paired_job job = { panels[0], panels[1], a_stride, b_stride, n_rows,
                                 n_cols,    n_steps,   y,        y_stride, true };
    k->matmul_paired[layout](&job);
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < y_stride && r * y_stride + c < rows * y_stride - 3; c++) {
            double sum = (double)first[r * y_stride + c], size = fabs(sum);
            for (size_t t = 0; c < cols && t < steps; t++) {
                const float u = x[t * rows + r], v = z[t * cols + c];
                const bool is_f32 = layout == R2I_TYPE_F32;
                const double one = is_f32 ? (double)u * (double)v
                                          : (double)r2i_f32_from_bf16(r2i_bf16_from_f32(u)) *
                                                (double)r2i_f32_from_bf16(r2i_bf16_from_f32(v));
                sum += one;
                size += fabs(one);
            }
            CHECK(check_near(y[r * y_stride + c], sum, size, 1e-6), "row %d, column %d", (int)r,
                  (int)c);
        }
    }
}

static void test_paired_products(void **state) {
    static const int32_t many[] = { 1, 2, 5, 16, 17, 33, 48, 64, 70 };
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    (void)state;
    for (int i = 0; i < n_tables; i++) {
        for (int s = 0; s < 9 * 9 * 9; s++) {
            const r2i_kernels *k = &tables[i].kernels;
            check_random random = { (uint64_t)s };
            check_case("%s: %d steps, %d x %d", tables[i].name, (int)many[s % 9],
                       (int)many[s / 9 % 9], (int)many[s / 81]);
            for (int l = 0; l < 2; l++) {
                const r2i_type layout = l == 0 ? R2I_TYPE_F32 : R2I_TYPE_BF16;
                if (k->matmul_paired[layout] != NULL)
                    check_paired(k, layout, &random, many[s % 9], many[s / 9 % 9], many[s / 81]);
            }
            check_release();
        }
    }
}

static void check_turns(const char *name, const r2i_kernels *k) {
    for (int i = 0; i < N_SIZES * N_SIZES; i++) {
        check_random random = { (uint64_t)i };
        const int32_t n_rows = sizes[i / N_SIZES], n_cols = sizes[i % N_SIZES];
        const size_t x_stride = (size_t)(n_cols + check_below(&random, 9));
        check_case("%s: %d rows, %d columns, stride %d", name, (int)n_rows, (int)n_cols,
                   (int)x_stride);
        const float *x = take_matrix(&random, x_stride, n_rows, n_cols);
        check_panels(k, R2I_TYPE_F32, x, x_stride, n_rows, n_cols);
        check_rows(k, R2I_ACT_F32, x, x_stride, n_rows, n_cols);
        check_pairs(k, R2I_TYPE_F32, x, x_stride, n_rows, n_cols);
        if (k->turn_panels[R2I_TYPE_BF16] != NULL) {
            check_panels(k, R2I_TYPE_BF16, x, x_stride, n_rows, n_cols);
            check_rows(k, R2I_ACT_BF16, x, x_stride, n_rows, n_cols);
            check_pairs(k, R2I_TYPE_BF16, x, x_stride, n_rows, n_cols);
        }
        check_release();
    }
}

static void test_turns(void **state) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    (void)state;
    check_turns("ref", check_ref());
    for (int i = 0; i < n_tables; i++) {
        CHECK(tables[i].kernels.turn_panels[R2I_TYPE_BF16] != NULL, "no BF16 panels");
        check_turns(tables[i].name, &tables[i].kernels);
    }
}

static double silu_mul(double gate, double up) {
    return gate / (1.0 + exp(-gate)) * up;
}

static void check_silu(const char *name, const r2i_kernels *k, int32_t n) {
    check_random random = { (uint64_t)n };
    const size_t n_bytes = 4 * (size_t)n;
    float *gate = check_take(n_bytes, true), *up = check_take(n_bytes, true),
          *g = check_take(n_bytes, true), *inner = check_take(n_bytes, true),
          *g_gate = check_take(n_bytes, true), *g_up = check_take(n_bytes, true);
    check_case("%s: SwiGLU backward, n and seed %d", name, (int)n);
    check_fill(&random, gate, (size_t)n, n % 3 == 0 ? 40.0F : 2.0F);
    check_fill(&random, up, (size_t)n, 1.0F);
    check_fill(&random, g, (size_t)n, 1.0F);
    k->silu_mul_backward(inner, g_gate, g_up, gate, up, g, n);
    for (int32_t i = 0; i < n; i++) {
        const double a = (double)gate[i], b = (double)up[i], d = (double)g[i], h = 1e-5;
        const double slope = (silu_mul(a + h, b) - silu_mul(a - h, b)) / (2 * h);
        CHECK(check_near(inner[i], silu_mul(a, b), fabs(a * b), 1e-6), "inner %d", (int)i);
        CHECK(check_near(g_up[i], d * silu_mul(a, 1), fabs(a * d), 1e-6), "g_up %d", (int)i);
        /* What cancels in 1 + g (1 - s) is of the size of g. */
        CHECK(check_near(g_gate[i], d * slope, fabs(d * b) * (1 + fabs(a)), 1e-6), "g_gate %d",
              (int)i);
    }
    k->silu_mul_backward(inner, g, g_up, gate, up, g, n); /* the gradient in place */
    CHECK(n == 0 || memcmp(g, g_gate, n_bytes) == 0, "in place");
    check_release();
}

static void test_silu(void **state) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    (void)state;
    for (int32_t n = 0; n <= 200; n++) {
        check_silu("ref", check_ref(), n);
        for (int i = 0; i < n_tables; i++)
            check_silu(tables[i].name, &tables[i].kernels, n);
    }
}

static void check_outer(const char *name, const r2i_kernels *k, int32_t n_tokens, int32_t n_ranks,
                        int32_t n_cols) {
    check_random random = { (uint64_t)(n_tokens * 1000 + n_ranks * 10 + n_cols) };
    const size_t c_stride = (size_t)n_ranks + 3, x_stride = (size_t)n_cols + 5,
                 g_stride = (size_t)n_cols + 1, tokens = (size_t)n_tokens;
    const size_t n_g = (size_t)(n_ranks - 1) * g_stride + (size_t)n_cols;
    float *c = check_take(4 * ((tokens - 1) * c_stride + (size_t)n_ranks), true),
          *x = check_take(4 * ((tokens - 1) * x_stride + (size_t)n_cols), true),
          *g = check_take(4 * n_g, true), *before = check_take(4 * n_g, true);
    check_case("%s: outer products, %d tokens, %d ranks, %d columns", name, (int)n_tokens,
               (int)n_ranks, (int)n_cols);
    check_fill(&random, c, (tokens - 1) * c_stride + (size_t)n_ranks, 1.0F);
    check_fill(&random, x, (tokens - 1) * x_stride + (size_t)n_cols, 1.0F);
    check_fill(&random, g, n_g, 1.0F);
    memcpy(before, g, 4 * n_g);
    const r2i_outer_job job = { c, x, g, c_stride, x_stride, g_stride, n_tokens, n_ranks, n_cols };
    k->add_outer(&job);
    for (size_t i = 0; i < n_g; i++) {
        const size_t r = i / g_stride, j = i % g_stride;
        double sum = (double)before[i], size = fabs(sum);
        for (size_t t = 0; t < tokens && j < (size_t)n_cols; t++) {
            const double part = (double)c[t * c_stride + r] * (double)x[t * x_stride + j];
            sum += part;
            size += fabs(part);
        }
        CHECK(check_near(g[i], sum, size, 1e-5), "rank %d, column %d", (int)r, (int)j);
    }
    check_release();
}

static void test_outer(void **state) {
    static const int32_t ranks[] = { 1, 5, 8, 11, 24 };
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    (void)state;
    for (int a = 0; a < N_SIZES; a++) {
        for (int b = 0; b < 5; b++) {
            const int32_t n_cols = sizes[(3 * a + b) % N_SIZES] + (a == 7 ? 250 : 0);
            check_outer("ref", check_ref(), sizes[a], ranks[b], n_cols);
            for (int i = 0; i < n_tables; i++)
                check_outer(tables[i].name, &tables[i].kernels, sizes[a], ranks[b], n_cols);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_turns),
                                        cmocka_unit_test(test_paired_products),
                                        cmocka_unit_test(test_silu),
                                        cmocka_unit_test(test_outer) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
