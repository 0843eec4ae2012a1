/* The AMX level with its tile instructions replaced by a plain C twin (amx/tile_ops.h): all code
 * around the instructions runs on any machine with AVX-512.  Quantized products equal portable bit
 * for bit; BF16 products are near the sum in double and do not depend on the number of tokens.
 * Linked against amx/ compiled with R2I_AMX_EMULATE and its add functions renamed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"

void r2i_emulated_add_amx(r2i_kernels *kernels);

enum { SKIPPED = 77 };

static r2i_kernels emulated;

static const int32_t token_counts[] = { 1, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 97, 130 };
enum { N_COUNTS = sizeof token_counts / sizeof *token_counts };

typedef struct {
    r2i_matmul_job job;
    float *before;
} product;

/* Random panels of any layout, activations, bias and y, all ending at unreadable pages. */
static product make_product(check_random *random, r2i_type layout, int32_t n_tokens,
                            int32_t n_cols) {
    const int32_t n_panels = check_between(random, 1, 5);
    const int32_t n_rows =
        n_panels * R2I_PANEL_ROWS - (check_below(random, 2) == 0 ? 0 : check_below(random, 16));
    const r2i_act_kind kind = r2i_act_kind_of(layout);
    uint8_t *rows = check_take(r2i_type_row_bytes(layout, (size_t)n_cols) * (size_t)n_rows, true);
    float *x = check_take(4 * (size_t)n_tokens * (size_t)n_cols, true);
    float *bias = check_take(4 * (size_t)n_rows, true);
    float *before = check_take(4 * (size_t)n_tokens * (size_t)n_rows, true);
    check_fill_stored(random, layout, rows, n_rows, n_cols);
    check_fill(random, x, (size_t)n_tokens * (size_t)n_cols, 1.0F);
    check_fill(random, bias, (size_t)n_rows, 1.0F);
    check_fill(random, before, (size_t)n_tokens * (size_t)n_rows, 1.0F);
    return (product){
        .job = { .panels = check_pack(check_portable(), layout, layout, rows, n_rows, n_cols),
                 .n_panels = n_panels,
                 .n_rows = n_rows,
                 .n_cols = n_cols,
                 .act = check_act(check_portable(), kind, x, n_tokens, n_cols),
                 .act_stride = r2i_act_row_bytes(kind, n_cols),
                 .n_tokens = n_tokens,
                 .bias = check_below(random, 2) == 0 ? bias : NULL,
                 .y_stride = (size_t)n_rows,
                 .is_added = check_below(random, 2) == 0 },
        .before = before,
    };
}

static float *multiply(const r2i_kernels *kernels, r2i_type layout, const product *p, int32_t first,
                       int32_t n) {
    const size_t n_rows = (size_t)p->job.n_rows;
    float *y = check_take(4 * (size_t)n * n_rows, true);
    memcpy(y, p->before + (size_t)first * n_rows, 4 * (size_t)n * n_rows);
    r2i_matmul_job job = p->job;
    job.act += (size_t)first * job.act_stride;
    job.n_tokens = n;
    job.y = y;
    kernels->matmul[layout](&job);
    return y;
}

static void test_quantized(void **state) {
    (void)state;
    r2i_type types[R2I_TYPE_LIMIT];
    const int n_types = check_types(types);
    unsigned seed = 1;
    for (int i = 0; i < n_types; i++) {
        if (!check_is_quantized(types[i])) continue;
        for (int k = 0; k < N_COUNTS; k++, seed++) {
            check_random random = { seed };
            const int32_t n = token_counts[k], block = r2i_type_get(types[i])->block_elements;
            const int32_t n_cols = block == 32 ? 32 * check_between(&random, 1, 19)
                                               : 256 * check_between(&random, 1, 3);
            const product p = make_product(&random, types[i], n, n_cols);
            check_case("emulated: %s, seed %u, rows %d, cols %d, tokens %d",
                       r2i_type_get(types[i])->name, seed, (int)p.job.n_rows, (int)n_cols, (int)n);
            const float *expected = multiply(check_portable(), types[i], &p, 0, n);
            const float *found = multiply(&emulated, types[i], &p, 0, n);
            check_equal(found, expected, (size_t)n * (size_t)p.job.n_rows, "y");
            check_release();
        }
    }
}

/* Tolerance: one f32 rounding per pair of columns and two per 32 columns, against the sum of
 * magnitudes. */
static void check_bf16(const product *p, const float *y) {
    const size_t panel_bytes = r2i_panel_bytes(R2I_TYPE_BF16, p->job.n_cols);
    for (int32_t t = 0; t < p->job.n_tokens; t++) {
        for (int32_t r = 0; r < p->job.n_rows; r++) {
            const size_t at = (size_t)t * p->job.y_stride + (size_t)r;
            const uint8_t *panel = p->job.panels + (size_t)(r / 16) * panel_bytes;
            double sum = 0.0, size = 0.0;
            for (int32_t c = 0; c < p->job.n_cols; c++) {
                uint16_t w;
                memcpy(&w,
                       panel + 64 * (size_t)(c / 2) + 4 * (size_t)(r % 16) + 2 * (size_t)(c % 2),
                       2);
                const double x = check_act_value(
                    R2I_ACT_BF16, p->job.act + (size_t)t * p->job.act_stride, c);
                sum += (double)r2i_f32_from_bf16(w) * x;
                size += fabs((double)r2i_f32_from_bf16(w) * x);
            }
            if (p->job.bias != NULL)
                sum += (double)p->job.bias[r], size += fabs((double)p->job.bias[r]);
            if (p->job.is_added) sum += (double)p->before[at], size += fabs((double)p->before[at]);
            CHECK(check_near(y[at], sum, size, (double)(p->job.n_cols / 2 + 4) * 0x1p-24),
                  "row %d token %d: expected %.9g, found %.9g", (int)r, (int)t, sum, (double)y[at]);
        }
    }
}

static void test_bf16(void **state) {
    (void)state;
    static const int32_t widths[] = { 1, 2, 31, 32, 33, 64, 95, 256 };
    unsigned seed = 1000;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        for (int k = 0; k < N_COUNTS; k++, seed++) {
            check_random random = { seed };
            const int32_t n = token_counts[k];
            const product p = make_product(&random, R2I_TYPE_BF16, n, widths[w]);
            check_case("emulated: BF16, seed %u, rows %d, cols %d, tokens %d", seed,
                       (int)p.job.n_rows, (int)widths[w], (int)n);
            const float *y = multiply(&emulated, R2I_TYPE_BF16, &p, 0, n);
            check_bf16(&p, y);
            for (int i = 0; i < 4; i++) { /* one token and a run of tokens alone: the same bits */
                const int32_t first = check_below(&random, n);
                const int32_t m = i < 2 ? 1 : check_between(&random, 1, n - first);
                const float *z = multiply(&emulated, R2I_TYPE_BF16, &p, first, m);
                check_equal(z, y + (size_t)first * (size_t)p.job.n_rows,
                            (size_t)m * (size_t)p.job.n_rows, "run");
            }
            check_release();
        }
    }
}

int main(void) {
    r2i_cpu cpu;
    r2i_cpu_detect(&cpu);
    if (cpu.level < R2I_LEVEL_AVX512) {
        printf("the code around the tiles needs AVX-512: skipped\n");
        return SKIPPED;
    }
    r2i_kernels_init(&emulated, &cpu, R2I_LEVEL_AVX512);
    r2i_emulated_add_amx(&emulated);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantized),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
