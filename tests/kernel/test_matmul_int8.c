/* Quantized products: every level equals portable bit for bit, and portable is near the product of
 * the dequantized weights and activations in double. */
#include <math.h>
#include <string.h>

#include "kernel_check.h"
#include "kernels/act_rows.h"

enum { MAX_TOKENS = 97 };

typedef struct {
    r2i_type type;
    int32_t n_rows, n_panels, n_cols, n_tokens;
    bool has_bias, is_added;
    uint8_t *rows;  /* stored */
    float *x, *bias, *before;
} product_case;

static const int32_t token_counts[] = {1, 2, 3, 5, 6, 7, 8, 9, 13, 31, 32, 33, MAX_TOKENS};
enum { N_COUNTS = sizeof token_counts / sizeof *token_counts };

/* Groups whose zero lies anywhere: ordinary ones, all on one side of 0, and an outlier on one side. */
static void fill_groups(check_random *random, float *x, size_t n) {
    check_fill(random, x, n, 1.0F);
    for (size_t g = 0; g + R2I_GROUP <= n; g += R2I_GROUP) {
        const int32_t kind = check_below(random, 6);
        const float sign = kind % 2 == 0 ? 1.0F : -1.0F;
        for (size_t i = g; kind >= 2 && kind < 4 && i < g + R2I_GROUP; i++) x[i] = sign * fabsf(x[i]);
        if (kind >= 4) x[g + (size_t)check_below(random, R2I_GROUP)] = sign * 30.0F;
    }
}

static void make_case(product_case *pc, check_random *random, r2i_type type, int32_t n_tokens) {
    const int32_t block = r2i_type_get(type)->block_elements;
    pc->type = type;
    pc->n_tokens = n_tokens;
    pc->n_panels = check_between(random, 1, 5);
    pc->n_rows = pc->n_panels * R2I_PANEL_ROWS - (check_below(random, 2) == 0 ? 0 : check_below(random, 16));
    pc->n_cols = block == 32 ? 32 * check_between(random, 1, 17) : 256 * check_between(random, 1, 3);
    pc->has_bias = check_below(random, 2) == 0;
    pc->is_added = check_below(random, 2) == 0;
    const size_t n_x = (size_t)pc->n_tokens * (size_t)pc->n_cols, n_y = (size_t)pc->n_tokens * (size_t)pc->n_rows;
    pc->rows = check_take(r2i_type_row_bytes(type, (size_t)pc->n_cols) * (size_t)pc->n_rows, true);
    check_fill_stored(random, type, pc->rows, pc->n_rows, pc->n_cols);
    pc->x = check_take(4 * n_x, true);
    fill_groups(random, pc->x, n_x);
    pc->bias = check_take(4 * (size_t)pc->n_rows, true);
    check_fill(random, pc->bias, (size_t)pc->n_rows, 1.0F);
    pc->before = check_take(4 * n_y, true);
    check_fill(random, pc->before, n_y, 1.0F);
}

static void name_case(const product_case *pc, const char *table, unsigned seed) {
    check_case("%s: %s, seed %u, rows %d, cols %d, tokens %d, bias %d, added %d", table,
               r2i_type_get(pc->type)->name, seed, (int)pc->n_rows, (int)pc->n_cols, (int)pc->n_tokens,
               pc->has_bias, pc->is_added);
}

static r2i_matmul_job job_of(const product_case *pc, const uint8_t *panels, const uint8_t *act, float *y) {
    return (r2i_matmul_job){
        .panels = panels,
        .n_panels = pc->n_panels,
        .n_rows = pc->n_rows,
        .n_cols = pc->n_cols,
        .act = act,
        .act_stride = r2i_act_row_bytes(R2I_ACT_INT8, pc->n_cols),
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

/* Double sums over dequantized weights and activations.  Tolerance: one f32 rounding per group and
 * one for its scales, against the sum of magnitudes. */
static void check_against_double(const product_case *pc, const uint8_t *act, const float *y) {
    const size_t row_bytes = r2i_type_row_bytes(pc->type, (size_t)pc->n_cols);
    const size_t stride = r2i_act_row_bytes(R2I_ACT_INT8, pc->n_cols);
    float w[17 * 256];
    for (int32_t r = 0; r < pc->n_rows; r++) {
        check_ref()->dequantize[pc->type](w, pc->rows + (size_t)r * row_bytes, pc->n_cols);
        for (int32_t t = 0; t < pc->n_tokens; t++) {
            const size_t at = (size_t)t * (size_t)pc->n_rows + (size_t)r;
            double sum = 0.0, size = 0.0;
            for (int32_t c = 0; c < pc->n_cols; c++) {
                const double x = check_act_value(R2I_ACT_INT8, act + (size_t)t * stride, c);
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

/* One token alone, a run of tokens, and one panel alone give the bits they have in the whole. */
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
        kernels->matmul[pc->type](&job);
        check_equal(y + (size_t)first * n_rows, expected + (size_t)first * n_rows, (size_t)n * n_rows, "run");
        float *z = outputs_of(pc, true);
        job = job_of(pc, panels + (size_t)p * r2i_panel_bytes(pc->type, pc->n_cols), act, z + 16 * p);
        job.n_panels = 1;
        job.n_rows = pc->n_rows - 16 * p < 16 ? pc->n_rows - 16 * p : 16;
        if (job.bias != NULL) job.bias += 16 * p;
        kernels->matmul[pc->type](&job);
        for (int32_t t = 0; t < pc->n_tokens; t++) {
            const size_t at = (size_t)t * n_rows + 16 * (size_t)p;
            check_equal(z + at, expected + at, (size_t)job.n_rows, "panel");
        }
    }
}

static void run_case(r2i_type type, int32_t n_tokens, unsigned seed) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    const r2i_kernels *portable = check_portable();
    check_random random = {seed};
    product_case pc;
    make_case(&pc, &random, type, n_tokens);
    const uint8_t *panels = check_pack(portable, type, type, pc.rows, pc.n_rows, pc.n_cols);
    const uint8_t *act = check_act(portable, R2I_ACT_INT8, pc.x, n_tokens, pc.n_cols);
    float *expected = outputs_of(&pc, true);
    const r2i_matmul_job job = job_of(&pc, panels, act, expected);
    name_case(&pc, "portable", seed);
    portable->matmul[type](&job);
    check_against_double(&pc, act, expected);
    for (int i = 0; i < n_tables; i++) {
        float *y = outputs_of(&pc, seed % 2 == 0);
        const r2i_matmul_job other = job_of(&pc, panels, act, y);
        name_case(&pc, tables[i].name, seed);
        tables[i].kernels.matmul[type](&other);
        check_equal(y, expected, (size_t)n_tokens * (size_t)pc.n_rows, "y");
        check_parts(&pc, &tables[i].kernels, panels, act, expected, &random);
    }
    check_release();
}

static void test_all_types(void **state) {
    (void)state;
    r2i_type types[R2I_TYPE_LIMIT];
    const int n = check_types(types);
    unsigned seed = 100;
    for (int i = 0; i < n; i++) {
        if (!check_is_quantized(types[i])) continue;
        for (int k = 0; k < N_COUNTS; k++) run_case(types[i], token_counts[k], seed++);
    }
}

/* Activations of every zero, of the least and of the greatest q: what the products above rest on. */
static void test_activations_spread(void **state) {
    (void)state;
    enum { N_TOKENS = 40, N_COLS = 256 };
    check_random random = {3};
    int32_t least = 0, greatest = 0, n_below = 0, n_above = 0;
    float *x = check_take(sizeof(float) * N_TOKENS * N_COLS, true);
    fill_groups(&random, x, (size_t)N_TOKENS * N_COLS);
    const uint8_t *act = check_act(check_portable(), R2I_ACT_INT8, x, N_TOKENS, N_COLS);
    for (int t = 0; t < N_TOKENS; t++) {
        const uint8_t *row = act + (size_t)t * r2i_act_row_bytes(R2I_ACT_INT8, N_COLS);
        for (int g = 0; g < N_COLS / R2I_GROUP; g++) {
            const int32_t zero = r2i_start_zero(r2i_act_groups(row)[g].start);
            least = zero < least ? zero : least;
            greatest = zero > greatest ? zero : greatest;
            n_below += zero < -16;
            n_above += zero > 16;
        }
    }
    check_case("zeros of activations");
    CHECK(least == -127 && greatest == 128, "zeros from %d to %d", (int)least, (int)greatest);
    CHECK(n_below > 50 && n_above > 50, "%d below -16, %d above 16", (int)n_below, (int)n_above);
    check_release();
}

/* One product at given stored bytes and activations of full magnitude, all of one sign or mixed. */
static void run_extreme(r2i_type type, int byte) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    check_random random = {(uint64_t)byte};
    product_case pc;
    make_case(&pc, &random, type, 9);
    check_fill_codes(&random, type, pc.rows, pc.n_rows, pc.n_cols, byte);
    for (int32_t i = 0; i < 9 * pc.n_cols; i++) {
        const int32_t t = i / pc.n_cols;
        pc.x[i] = t % 3 == 0 ? 1.0F : t % 3 == 1 ? -1.0F : pc.x[i] > 0.0F ? 2.0F : -2.0F;
    }
    const uint8_t *panels = check_pack(check_portable(), type, type, pc.rows, pc.n_rows, pc.n_cols);
    const uint8_t *act = check_act(check_portable(), R2I_ACT_INT8, pc.x, 9, pc.n_cols);
    const float *first = NULL;
    for (int i = 0; i < n_tables; i++) {
        float *y = outputs_of(&pc, true);
        const r2i_matmul_job job = job_of(&pc, panels, act, y);
        name_case(&pc, tables[i].name, (unsigned)byte);
        tables[i].kernels.matmul[type](&job);
        check_against_double(&pc, act, y);
        if (i == 0) first = y;
        check_equal(y, first, (size_t)9 * (size_t)pc.n_rows, "y");
    }
    check_release();
}

/* The largest sums that a group can have, of both signs: nothing may saturate. */
static void test_extreme_codes(void **state) {
    (void)state;
    static const int bytes[] = {0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0};
    r2i_type types[R2I_TYPE_LIMIT];
    const int n_types = check_types(types);
    for (int k = 0; k < n_types; k++) {
        if (!check_is_quantized(types[k])) continue;
        for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) run_extreme(types[k], bytes[i]);
    }
}

/* A group that holds a NaN makes its own token NaN and no other. */
static void test_nan(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    r2i_type types[R2I_TYPE_LIMIT];
    const int n_types = check_types(types);
    for (int k = 0; k < n_types; k++) {
        if (!check_is_quantized(types[k])) continue;
        check_random random = {7};
        product_case pc;
        make_case(&pc, &random, types[k], 7);
        pc.x[3 * pc.n_cols + 17] = k % 2 == 0 ? NAN : -INFINITY;
        const uint8_t *panels = check_pack(check_portable(), types[k], types[k], pc.rows, pc.n_rows, pc.n_cols);
        const uint8_t *act = check_act(check_portable(), R2I_ACT_INT8, pc.x, 7, pc.n_cols);
        for (int i = 0; i < n_tables; i++) {
            float *y = outputs_of(&pc, true);
            const r2i_matmul_job job = job_of(&pc, panels, act, y);
            name_case(&pc, tables[i].name, 7);
            tables[i].kernels.matmul[types[k]](&job);
            for (int32_t j = 0; j < 7 * pc.n_rows; j++) {
                CHECK(isnan(y[j]) == (j / pc.n_rows == 3), "token %d: %g", (int)(j / pc.n_rows), (double)y[j]);
            }
        }
        check_release();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations_spread),
        cmocka_unit_test(test_all_types),
        cmocka_unit_test(test_extreme_codes),
        cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
