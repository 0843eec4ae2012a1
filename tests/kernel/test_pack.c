/* Panels: F32, F16 and BF16 hold the dequantized values, quantized ones the codes and scales of
 * panel_formats.h; every level writes the same bytes. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"

/* 16 stored rows that end at an unreadable page, some missing. */
static void take_rows(check_random *random, const uint8_t *rows[16], r2i_type type, int32_t n_cols) {
    const size_t row_bytes = r2i_type_row_bytes(type, (size_t)n_cols);
    uint8_t *all = check_take(16 * row_bytes, true);
    check_fill_stored(random, type, all, 16, n_cols);
    for (int r = 0; r < 16; r++) rows[r] = check_below(random, 8) == 0 ? NULL : all + (size_t)r * row_bytes;
}

/* Writes the panel into memory with unreadable pages around. */
static uint8_t *pack(const r2i_kernels *kernels, r2i_type layout, r2i_type type, const uint8_t *const rows[16],
                     int32_t n_cols) {
    const size_t n_bytes = r2i_panel_bytes(layout, n_cols);
    uint8_t *panel = check_take(n_bytes, n_bytes % 64 == 0); /* a panel is packed at an aligned place */
    kernels->pack[layout](panel, type, rows, n_cols);
    return panel;
}

static float panel_value(r2i_type layout, const uint8_t *panel, int32_t c, int r) {
    const uint16_t *h = (const uint16_t *)(const void *)panel;
    if (layout == R2I_TYPE_F32) return ((const float *)(const void *)panel)[c * 16 + r];
    if (layout == R2I_TYPE_F16) return r2i_f32_from_f16(h[c * 16 + r]);
    return r2i_f32_from_bf16(h[(c / 2 * 16 + r) * 2 + c % 2]);
}

static void check_values(r2i_type layout, r2i_type type, const uint8_t *panel, const uint8_t *const rows[16],
                         int32_t n_cols) {
    float value[1024];
    for (int r = 0; r < 16; r++) {
        memset(value, 0, sizeof value);
        if (rows[r] != NULL) check_ref()->dequantize[type](value, rows[r], n_cols);
        for (int32_t c = 0; c < n_cols; c++) {
            const float expected =
                layout == R2I_TYPE_BF16 ? r2i_f32_from_bf16(r2i_bf16_from_f32(value[c])) : value[c];
            const float found = panel_value(layout, panel, c, r);
            CHECK(check_same(found, expected), "row %d column %d: expected %.9g, found %.9g", r, (int)c,
                  (double)expected, (double)found);
        }
        if (layout == R2I_TYPE_BF16 && n_cols % 2 != 0) {
            CHECK(panel_value(layout, panel, n_cols, r) == 0.0F, "row %d: pad", r);
        }
    }
}

static void run_float_layout(r2i_type layout, r2i_type type, int32_t n_cols, unsigned seed) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = layout == R2I_TYPE_F32 ? -1 : 0; i < n_tables; i++) {
        const r2i_kernels *kernels = i < 0 ? check_ref() : &tables[i].kernels;
        const uint8_t *rows[16];
        check_random random = {seed};
        take_rows(&random, rows, type, n_cols);
        check_case("%s: layout %s, stored %s, cols %d, seed %u", i < 0 ? "ref" : tables[i].name,
                   r2i_type_get(layout)->name, r2i_type_get(type)->name, (int)n_cols, seed);
        check_values(layout, type, pack(kernels, layout, type, rows, n_cols), rows, n_cols);
        check_release();
    }
}

static void test_float_layouts(void **state) {
    (void)state;
    r2i_type types[R2I_TYPE_LIMIT];
    const int n_types = check_types(types);
    for (int k = 0; k < n_types; k++) {
        const int32_t block = r2i_type_get(types[k])->block_elements;
        const int32_t n_sizes = block == 1 ? 70 : block == 32 ? 5 : 3;
        for (int32_t n = 1; n <= n_sizes; n++) {
            run_float_layout(R2I_TYPE_F32, types[k], n * block, (unsigned)n);
            run_float_layout(R2I_TYPE_BF16, types[k], n * block, (unsigned)n);
            if (types[k] == R2I_TYPE_F16) run_float_layout(R2I_TYPE_F16, types[k], n, (unsigned)n);
        }
    }
    run_float_layout(R2I_TYPE_F32, R2I_TYPE_F32, 777, 1);
    run_float_layout(R2I_TYPE_BF16, R2I_TYPE_F32, 777, 1);
    run_float_layout(R2I_TYPE_F16, R2I_TYPE_F16, 777, 1);
}

/* Row r, column c of a product with an identity: with x = 127 at column c and 0 elsewhere a group
 * has q = 127 there and scale 1, so y / 127 is the weight up to f32 rounding. */
static void check_columns(r2i_type type, const uint8_t *panel, const uint8_t *const rows[16], int32_t n_cols) {
    float value[16][1024], x[1024], y[16];
    const r2i_kernels *portable = check_portable();
    uint8_t *act = check_take(r2i_act_row_bytes(R2I_ACT_INT8, n_cols), true);
    memset(value, 0, sizeof value);
    for (int r = 0; r < 16; r++) {
        if (rows[r] != NULL) check_ref()->dequantize[type](value[r], rows[r], n_cols);
    }
    for (int32_t c = 0; c < n_cols; c++) {
        memset(x, 0, sizeof x);
        x[c] = 127.0F;
        portable->act[R2I_ACT_INT8](act, x, n_cols, 0, n_cols);
        const r2i_matmul_job job = {panel, 1, 16, n_cols, act, r2i_act_row_bytes(R2I_ACT_INT8, n_cols), 1, NULL,
                                    y, 16, false};
        portable->matmul[type](&job);
        for (int r = 0; r < 16; r++) {
            /* Roundings of d * scale * code, up to 40 in size, whatever is left after the minimum. */
            CHECK(check_near(y[r] / 127.0F, (double)value[r][c], 10.0, 1e-6), "row %d column %d: %.9g, found %.9g", r,
                  (int)c, (double)value[r][c], (double)(y[r] / 127.0F));
        }
    }
}

/* Portable's panels hold the stored values at the right places; all others are equal to them. */
static void run_quantized(r2i_type type, int32_t n_cols, unsigned seed) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    const uint8_t *rows[16];
    check_random random = {seed};
    take_rows(&random, rows, type, n_cols);
    check_case("portable: %s, cols %d, seed %u", r2i_type_get(type)->name, (int)n_cols, seed);
    const uint8_t *expected = pack(check_portable(), type, type, rows, n_cols);
    if (n_cols <= 512) check_columns(type, expected, rows, n_cols);
    for (int i = 0; i < n_tables; i++) {
        check_case("%s: %s, cols %d, seed %u", tables[i].name, r2i_type_get(type)->name, (int)n_cols, seed);
        const uint8_t *panel = pack(&tables[i].kernels, type, type, rows, n_cols);
        for (size_t k = 0; k < r2i_panel_bytes(type, n_cols); k++) {
            CHECK(panel[k] == expected[k], "byte %zu: expected %02x, found %02x", k, expected[k], panel[k]);
        }
    }
    check_release();
}

static void test_quantized_layouts(void **state) {
    (void)state;
    r2i_type types[R2I_TYPE_LIMIT];
    const int n_types = check_types(types);
    for (int k = 0; k < n_types; k++) {
        if (!check_is_quantized(types[k])) continue;
        const int32_t block = r2i_type_get(types[k])->block_elements;
        for (int32_t n = 1; n <= (block == 32 ? 9 : 4); n++) run_quantized(types[k], n * block, (unsigned)n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_float_layouts),
                                       cmocka_unit_test(test_quantized_layouts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
