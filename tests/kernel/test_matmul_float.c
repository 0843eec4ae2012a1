/* F32, F16 and BF16 panels: every level near the double sum, and one output's bits independent of
 * how many tokens and panels are computed beside it. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"

enum { MAX_COLS = 768 };

typedef struct {
    r2i_type layout, type;
    int32_t n_rows, n_panels, n_cols, n_tokens;
    bool has_bias, is_added;
    uint8_t *rows;
    float *x, *bias, *before;
} product_case;

static void make_case(product_case *pc, check_random *random, r2i_type layout, r2i_type type, int32_t n_tokens) {
    const int32_t block = r2i_type_get(type)->block_elements;
    pc->layout = layout;
    pc->type = type;
    pc->n_tokens = n_tokens;
    pc->n_panels = check_between(random, 1, 5);
    pc->n_rows = pc->n_panels * R2I_PANEL_ROWS - (check_below(random, 2) == 0 ? 0 : check_below(random, 16));
    pc->n_cols = block > 1 ? block * check_between(random, 1, MAX_COLS / block > 4 ? 4 : MAX_COLS / block)
                           : check_between(random, 1, 300);
    pc->has_bias = check_below(random, 2) == 0;
    pc->is_added = check_below(random, 2) == 0;
    const size_t n_x = (size_t)pc->n_tokens * (size_t)pc->n_cols, n_y = (size_t)pc->n_tokens * (size_t)pc->n_rows;
    pc->rows = check_take(r2i_type_row_bytes(type, (size_t)pc->n_cols) * (size_t)pc->n_rows, true);
    check_fill_stored(random, type, pc->rows, pc->n_rows, pc->n_cols);
    pc->x = check_take(4 * n_x, true);
    check_fill(random, pc->x, n_x, 1.0F);
    pc->bias = check_take(4 * (size_t)pc->n_rows, true);
    check_fill(random, pc->bias, (size_t)pc->n_rows, 1.0F);
    pc->before = check_take(4 * n_y, true);
    check_fill(random, pc->before, n_y, 1.0F);
}

static r2i_matmul_job job_of(const product_case *pc, const uint8_t *panels, const uint8_t *act, float *y) {
    return (r2i_matmul_job){
        .panels = panels,
        .n_panels = pc->n_panels,
        .n_rows = pc->n_rows,
        .n_cols = pc->n_cols,
        .act = act,
        .act_stride = r2i_act_row_bytes(r2i_act_kind_of(pc->layout), pc->n_cols),
        .n_tokens = pc->n_tokens,
        .bias = pc->has_bias ? pc->bias : NULL,
        .y = y,
        .y_stride = (size_t)pc->n_rows,
        .is_added = pc->is_added,
    };
}

static float *outputs_of(const product_case *pc, bool is_at_end) {
    const size_t n = (size_t)pc->n_tokens * (size_t)pc->n_rows;
    float *y = check_take(4 * n, is_at_end);
    memcpy(y, pc->before, 4 * n);
    return y;
}

/* Row r as the layout holds it. */
static void weights_of(float *w, const product_case *pc, int32_t r) {
    const size_t row_bytes = r2i_type_row_bytes(pc->type, (size_t)pc->n_cols);
    check_ref()->dequantize[pc->type](w, pc->rows + (size_t)r * row_bytes, pc->n_cols);
    for (int32_t c = 0; pc->layout == R2I_TYPE_BF16 && c < pc->n_cols; c++) {
        w[c] = r2i_f32_from_bf16(r2i_bf16_from_f32(w[c]));
    }
}

/* Tolerance: up to 300 roundings of 2^-24 against the sum of magnitudes. */
static void check_against_double(const product_case *pc, const uint8_t *act, const float *y) {
    const r2i_act_kind kind = r2i_act_kind_of(pc->layout);
    const size_t stride = r2i_act_row_bytes(kind, pc->n_cols);
    float w[MAX_COLS];
    for (int32_t r = 0; r < pc->n_rows; r++) {
        weights_of(w, pc, r);
        for (int32_t t = 0; t < pc->n_tokens; t++) {
            const size_t at = (size_t)t * (size_t)pc->n_rows + (size_t)r;
            double sum = 0.0, size = 0.0;
            for (int32_t c = 0; c < pc->n_cols; c++) {
                const double x = check_act_value(kind, act + (size_t)t * stride, c);
                sum += (double)w[c] * x;
                size += fabs((double)w[c] * x);
            }
            if (pc->has_bias) sum += (double)pc->bias[r], size += fabs((double)pc->bias[r]);
            if (pc->is_added) sum += (double)pc->before[at], size += fabs((double)pc->before[at]);
            CHECK(check_near(y[at], sum, size, 1e-5), "row %d token %d: expected %.9g, found %.9g", (int)r, (int)t,
                  sum, (double)y[at]);
        }
    }
}

static void check_parts(const product_case *pc, const r2i_kernels *kernels, const uint8_t *panels,
                        const uint8_t *act, const float *expected, check_random *random) {
    const size_t n_rows = (size_t)pc->n_rows;
    for (int i = 0; i < 4; i++) {
        const int32_t first = check_below(random, pc->n_tokens);
        const int32_t n = i < 2 ? 1 : check_between(random, 1, pc->n_tokens - first);
        const int32_t p = check_below(random, pc->n_panels);
        float *y = outputs_of(pc, true);
        r2i_matmul_job job = job_of(pc, panels, act, y);
        job.n_tokens = n;
        job.act += (size_t)first * job.act_stride;
        job.y += (size_t)first * n_rows;
        kernels->matmul[pc->layout](&job);
        check_equal(y + (size_t)first * n_rows, expected + (size_t)first * n_rows, (size_t)n * n_rows, "run");
        float *z = outputs_of(pc, true);
        job = job_of(pc, panels + (size_t)p * r2i_panel_bytes(pc->layout, pc->n_cols), act, z + 16 * p);
        job.n_panels = 1;
        job.n_rows = pc->n_rows - 16 * p < 16 ? pc->n_rows - 16 * p : 16;
        if (job.bias != NULL) job.bias += 16 * p;
        kernels->matmul[pc->layout](&job);
        for (int32_t t = 0; t < pc->n_tokens; t++) {
            const size_t at = (size_t)t * n_rows + 16 * (size_t)p;
            check_equal(z + at, expected + at, (size_t)job.n_rows, "panel");
        }
    }
}

static void run_table(const check_table *table, const product_case *pc, unsigned seed) {
    check_random random = {seed};
    const r2i_kernels *kernels = &table->kernels;
    check_case("%s: layout %s, stored %s, seed %u, rows %d, cols %d, tokens %d, bias %d, added %d", table->name,
               r2i_type_get(pc->layout)->name, r2i_type_get(pc->type)->name, seed, (int)pc->n_rows,
               (int)pc->n_cols, (int)pc->n_tokens, pc->has_bias, pc->is_added);
    const uint8_t *panels = check_pack(kernels, pc->layout, pc->type, pc->rows, pc->n_rows, pc->n_cols);
    const uint8_t *act = check_act(kernels, r2i_act_kind_of(pc->layout), pc->x, pc->n_tokens, pc->n_cols);
    float *y = outputs_of(pc, seed % 2 == 0);
    const r2i_matmul_job job = job_of(pc, panels, act, y);
    kernels->matmul[pc->layout](&job);
    check_against_double(pc, act, y);
    check_parts(pc, kernels, panels, act, y, &random);
}

static void run_case(r2i_type layout, r2i_type type, int32_t n_tokens, unsigned seed) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    check_random random = {seed};
    product_case pc;
    make_case(&pc, &random, layout, type, n_tokens);
    for (int i = 0; i < n_tables; i++) run_table(&tables[i], &pc, seed);
    if (layout == R2I_TYPE_F32) {
        check_table judge = {.name = "ref", .kernels = *check_ref()};
        run_table(&judge, &pc, seed);
    }
    check_release();
}

static void test_token_counts(void **state) {
    (void)state;
    static const int32_t counts[] = {1, 2, 3, 5, 6, 7, 8, 9, 13, 31, 32, 33, 97};
    static const r2i_type layouts[] = {R2I_TYPE_F32, R2I_TYPE_F16, R2I_TYPE_BF16};
    unsigned seed = 1;
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            run_case(layouts[i], layouts[i], counts[k], seed++);
        }
    }
}

/* F32 and BF16 layouts take every stored type: packing and multiplying is multiplying the values. */
static void test_every_stored_type(void **state) {
    (void)state;
    r2i_type types[R2I_TYPE_LIMIT];
    const int n = check_types(types);
    unsigned seed = 1000;
    for (int i = 0; i < n; i++) {
        run_case(R2I_TYPE_F32, types[i], 4, seed++);
        run_case(R2I_TYPE_BF16, types[i], 4, seed++);
    }
}

/* NaN and infinity reach the outputs of their own token and row, and no others. */
static void test_nan_and_infinity(void **state) {
    (void)state;
    static const r2i_type layouts[] = {R2I_TYPE_F32, R2I_TYPE_F16, R2I_TYPE_BF16};
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int k = 0; k < 6; k++) {
        check_random random = {(uint64_t)k};
        product_case pc;
        make_case(&pc, &random, layouts[k / 2], layouts[k / 2], 7);
        pc.x[4 * pc.n_cols + pc.n_cols / 2] = k % 2 == 0 ? NAN : INFINITY;
        for (int i = 0; i < n_tables; i++) {
            const r2i_kernels *kernels = &tables[i].kernels;
            check_case("%s: layout %s, cols %d, %s", tables[i].name, r2i_type_get(pc.layout)->name, (int)pc.n_cols,
                       k % 2 == 0 ? "NaN" : "infinity");
            const uint8_t *panels = check_pack(kernels, pc.layout, pc.type, pc.rows, pc.n_rows, pc.n_cols);
            const uint8_t *act = check_act(kernels, r2i_act_kind_of(pc.layout), pc.x, 7, pc.n_cols);
            float *y = outputs_of(&pc, true);
            const r2i_matmul_job job = job_of(&pc, panels, act, y);
            kernels->matmul[pc.layout](&job);
            for (int32_t j = 0; j < 7 * pc.n_rows; j++) {
                CHECK((!isfinite(y[j])) == (j / pc.n_rows == 4), "token %d row %d: %g", (int)(j / pc.n_rows),
                      (int)(j % pc.n_rows), (double)y[j]);
            }
        }
        check_release();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token_counts),
        cmocka_unit_test(test_every_stored_type),
        cmocka_unit_test(test_nan_and_infinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
