/* Prepared activation rows: every level writes the bytes that act_rows.h defines. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"
#include "kernels/act_rows.h"

enum { MAX_COLS = 608 };

/* The definition, written down once more from the header's words; rintf rounds to nearest even. */
static void check_group(const r2i_int8_row *row, const float *x, int32_t g) {
    float max = 0.0F;
    bool is_finite = true;
    int32_t half[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
        if (!isfinite(x[i])) is_finite = false;
        if (fabsf(x[i]) > max) max = fabsf(x[i]);
    }
    const bool is_zero = max < R2I_ACT_TINY;
    const float inverse = is_zero ? 0.0F : 127.0F / max;
    const float scale = !is_finite ? NAN : is_zero ? 0.0F : max / 127.0F;
    for (int i = 0; i < 32; i++) {
        const int q = is_finite && !is_zero ? (int)rintf(x[i] * inverse) : 0;
        CHECK(row->q[32 * g + i] == q, "group %d, column %d: x %.9g, max %.9g: expected %d, found %d", (int)g, i,
              (double)x[i], (double)max, q, row->q[32 * g + i]);
        half[i / 16] += q;
    }
    const float ssum = scale * (float)(half[0] + half[1]);
    CHECK(check_same(row->scale[g], scale), "group %d: scale %.9g, found %.9g", (int)g, (double)scale,
          (double)row->scale[g]);
    CHECK(row->nsum[g] == -(half[0] + half[1]), "group %d: nsum %d", (int)g, (int)row->nsum[g]);
    CHECK(check_same(row->ssum[g], ssum), "group %d: ssum %.9g, found %.9g", (int)g, (double)ssum,
          (double)row->ssum[g]);
    for (int h = 0; h < 2; h++) {
        CHECK(row->nhalf[2 * g + h] == -half[h], "group %d: nhalf[%d] %d", (int)g, h, (int)row->nhalf[2 * g + h]);
        CHECK(check_same(row->shalf[2 * g + h], scale * (float)half[h]), "group %d: shalf[%d] %.9g", (int)g, h,
              (double)row->shalf[2 * g + h]);
    }
}

static void check_row(r2i_act_kind kind, const uint8_t *bytes, const float *x, int32_t n_cols) {
    if (kind == R2I_ACT_INT8) {
        const r2i_int8_row row = r2i_int8_row_at(bytes, n_cols);
        for (int32_t g = 0; g < n_cols / 32; g++) check_group(&row, x + 32 * g, g);
        return;
    }
    for (int32_t c = 0; c < n_cols; c++) {
        const float value = kind == R2I_ACT_F32 ? x[c] : r2i_f32_from_bf16(r2i_bf16_from_f32(x[c]));
        const float found = (float)check_act_value(kind, bytes, n_cols, c);
        CHECK(check_same(found, value), "column %d: expected %.9g, found %.9g", (int)c, (double)value, (double)found);
    }
    if (kind == R2I_ACT_BF16 && n_cols % 2 != 0) {
        CHECK(((const uint16_t *)(const void *)bytes)[n_cols] == 0, "pad is not 0");
    }
}

/* Values that meet every branch: ordinary, ties, zeros, tiny, huge, no numbers. */
static void fill_group(check_random *random, float *x, int32_t n, int kind) {
    static const float sizes[] = {1.0F, 1e-30F, 1e-37F, 1e-42F, 1e30F, 3e38F, 0x1p-120F, 0x1.fffffep-121F};
    for (int32_t i = 0; i < n; i++) {
        x[i] = check_normal(random);
        if (kind == 1) x[i] = 0.5F * (float)check_between(random, -253, 253), x[0] = 127.0F; /* ties */
        if (kind == 2) x[i] = check_below(random, 2) == 0 ? 0.0F : -0.0F;
        if (kind >= 3 && kind < 11) x[i] = sizes[kind - 3] * (1.0F - 2.0F * (float)check_below(random, 2));
    }
    if (kind == 11) x[check_below(random, n)] = NAN;
    if (kind == 12) x[check_below(random, n)] = INFINITY;
    if (kind == 13) x[check_below(random, n)] = -INFINITY;
}

static void run_row(const check_table *table, r2i_act_kind kind, int32_t n_cols, unsigned seed) {
    const size_t n_bytes = r2i_act_row_bytes(kind, n_cols);
    check_random random = {seed};
    float *x = check_take(4 * (size_t)n_cols, seed % 2 == 0);
    for (int32_t c = 0; c < n_cols; c += 32) {
        fill_group(&random, x + c, n_cols - c < 32 ? n_cols - c : 32, check_below(&random, 14));
    }
    check_case("%s: act %d, seed %u, cols %d", table->name, (int)kind, seed, (int)n_cols);
    uint8_t *whole = check_take(n_bytes, true), *parts = check_take(n_bytes, true);
    table->kernels.act[kind](whole, x, n_cols, 0, n_cols);
    check_row(kind, whole, x, n_cols);
    for (int32_t begin = 0, end; begin < n_cols; begin = end) {
        end = begin + 32 * check_between(&random, 1, 5);
        if (end > n_cols) end = n_cols;
        float *piece = check_take(4 * (size_t)(end - begin), true);
        memcpy(piece, x + begin, 4 * (size_t)(end - begin));
        table->kernels.act[kind](parts, piece, n_cols, begin, end);
    }
    check_case("%s: act %d in parts, seed %u, cols %d", table->name, (int)kind, seed, (int)n_cols);
    check_row(kind, parts, x, n_cols);
    check_release();
}

static void run_kind(r2i_act_kind kind) {
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = 0; i < n_tables; i++) {
        for (unsigned seed = 0; seed < 200; seed++) {
            check_random random = {seed};
            const int32_t n = (int32_t)seed + 1 < 200 ? (int32_t)seed + 1 : MAX_COLS;
            run_row(&tables[i], kind, kind == R2I_ACT_INT8 ? 32 * check_between(&random, 1, 19) : n, seed);
        }
    }
}

static void test_f32(void **state) {
    (void)state;
    run_kind(R2I_ACT_F32);
    check_table judge = {.name = "ref", .kernels = *check_ref()};
    run_row(&judge, R2I_ACT_F32, 77, 5);
}
static void test_bf16(void **state) {
    (void)state;
    run_kind(R2I_ACT_BF16);
}
static void test_int8(void **state) {
    (void)state;
    run_kind(R2I_ACT_INT8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_int8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
