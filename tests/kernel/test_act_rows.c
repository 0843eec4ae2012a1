/* Prepared activation rows: every level writes the bytes that act_rows.h defines. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"
#include "kernels/act_rows.h"

enum { MAX_COLS = 608 };

/* The levels of a group, from the header's words. */
typedef struct {
    float range, scale, inverse;
    int low;
    bool is_number, is_zero;
} group_levels;

static group_levels levels_of(const float *x) {
    float lo = 0.0F, hi = 0.0F;
    bool is_number = true;
    for (int i = 0; i < 32; i++) {
        if (!isfinite(x[i])) is_number = false;
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    const float range = hi - lo;
    if (!isfinite(range)) is_number = false;
    const bool is_zero = is_number && range < R2I_ACT_TINY, is_plain = is_number && !is_zero;
    const float inverse = is_plain ? 255.0F / range : 0.0F;
    return (group_levels){
        .range = range,
        .scale = !is_number ? NAN : is_zero ? 0.0F : range / 255.0F,
        .inverse = inverse,
        .low = is_plain ? (int)rintf(lo * inverse) : 0,
        .is_number = is_number,
        .is_zero = is_zero,
    };
}

static void check_start(int32_t start, int zero, int sum, float scale, int n, float found_sum, const char *what) {
    const float expected = scale * (float)(sum + n * zero);
    CHECK(start == (int32_t)((uint32_t)-sum << 16 | ((uint32_t)zero & 0xffffU)),
          "%s: zero %d, minus sum %d: found %08x", what, zero, -sum, (unsigned)start);
    CHECK(r2i_start_zero(start) == zero && r2i_start_minus_sum(start) == -sum, "%s: unpacked as %d and %d", what,
          (int)r2i_start_zero(start), (int)r2i_start_minus_sum(start));
    CHECK(check_same(found_sum, expected), "%s: sum %.9g, found %.9g", what, (double)expected, (double)found_sum);
}

/* The definition, written down once more from the header's words; rintf rounds to nearest even. */
static void check_group(const r2i_act_group *group, const float *x, int32_t g) {
    const group_levels levels = levels_of(x);
    const bool is_plain = levels.is_number && !levels.is_zero;
    const int zero = is_plain ? levels.low + 128 : 0;
    int half[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
        int level = is_plain ? (int)rintf(x[i] * levels.inverse) - levels.low : 128;
        level = level < 0 ? 0 : level > 255 ? 255 : level;
        const int q = level - 128, found = group->q[i];
        CHECK(found == q, "group %d, column %d: x %.9g, range %.9g: expected %d, found %d", (int)g, i, (double)x[i],
              (double)levels.range, q, found);
        const double error = (double)levels.scale * (found + zero) - (double)x[i];
        CHECK(!is_plain || fabs(error) <= (double)levels.range / 255.0 / 2.0 * 1.01,
              "group %d, column %d: x %.9g, range %.9g: off by %.9g", (int)g, i, (double)x[i], (double)levels.range,
              error);
        half[i / 16] += q;
    }
    CHECK(check_same(group->scale, levels.scale), "group %d: scale %.9g, found %.9g", (int)g, (double)levels.scale,
          (double)group->scale);
    check_start(group->start, zero, half[0] + half[1], levels.scale, 32, group->ssum, "group");
    CHECK(group->unused == 0, "group %d: unused is not 0", (int)g);
    for (int h = 0; h < 2; h++) {
        check_start(group->half_start[h], zero, half[h], levels.scale, 16, group->shalf[h],
                    h == 0 ? "first half" : "second half");
    }
}

static void check_row(r2i_act_kind kind, const uint8_t *bytes, const float *x, int32_t n_cols) {
    if (kind == R2I_ACT_INT8) {
        for (int32_t g = 0; g < n_cols / 32; g++) check_group(&r2i_act_groups(bytes)[g], x + 32 * g, g);
        return;
    }
    for (int32_t c = 0; c < n_cols; c++) {
        const float value = kind == R2I_ACT_F32 ? x[c] : r2i_f32_from_bf16(r2i_bf16_from_f32(x[c]));
        const float found = (float)check_act_value(kind, bytes, c);
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
    if (kind < 14) return;
    for (int32_t i = 0; i < n; i++) { /* one side of 0, small but for one value far out */
        x[i] = fabsf(x[i]) * (kind % 2 == 0 ? 0.01F : -0.01F);
    }
    if (kind >= 16) x[check_below(random, n)] *= 3000.0F;
    if (kind >= 18) x[check_below(random, n)] *= -3000.0F;
}
enum { N_FILLS = 20 };

static void run_row(const check_table *table, r2i_act_kind kind, int32_t n_cols, unsigned seed) {
    const size_t n_bytes = r2i_act_row_bytes(kind, n_cols);
    check_random random = {seed};
    float *x = check_take(4 * (size_t)n_cols, seed % 2 == 0);
    for (int32_t c = 0; c < n_cols; c += 32) {
        fill_group(&random, x + c, n_cols - c < 32 ? n_cols - c : 32, check_below(&random, N_FILLS));
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

/* Groups with known answers, independent of the definition above. */
static void check_known(const check_table *table, const char *name, float first, float rest, int q_first, int q_rest,
                        int zero, float scale) {
    float *x = check_take(4 * 32, true);
    uint8_t *bytes = check_take(r2i_act_row_bytes(R2I_ACT_INT8, 32), true);
    for (int i = 0; i < 32; i++) x[i] = i == 0 ? first : rest;
    check_case("%s: %s", table->name, name);
    table->kernels.act[R2I_ACT_INT8](bytes, x, 32, 0, 32);
    const r2i_act_group *group = r2i_act_groups(bytes);
    const int sum_first = q_first + 15 * q_rest, sum_second = 16 * q_rest;
    CHECK(check_same(group->scale, scale), "scale %.9g, found %.9g", (double)scale, (double)group->scale);
    for (int i = 0; i < 32; i++) {
        CHECK(group->q[i] == (i == 0 ? q_first : q_rest), "column %d: found %d", i, group->q[i]);
    }
    check_start(group->start, zero, sum_first + sum_second, scale, 32, group->ssum, "group");
    check_start(group->half_start[0], zero, sum_first, scale, 16, group->shalf[0], "first half");
    check_start(group->half_start[1], zero, sum_second, scale, 16, group->shalf[1], "second half");
    check_release();
}

static void test_known_groups(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = 0; i < n_tables; i++) {
        const check_table *t = &tables[i];
        check_known(t, "positive only", 255.0F, 3.0F, 127, -125, 128, 1.0F);
        check_known(t, "negative only", -255.0F, -3.0F, -128, 124, -127, 1.0F);
        check_known(t, "outlier above", 250.0F, -5.0F, 127, -128, 123, 1.0F);
        check_known(t, "outlier below", -250.0F, 5.0F, -128, 127, -122, 1.0F);
        check_known(t, "zeros beside an outlier", -510.0F, 0.0F, -128, 127, -127, 2.0F);
        check_known(t, "tie on both sides", 127.5F, -127.5F, 127, -128, 0, 1.0F);
        check_known(t, "all equal", 51.0F, 51.0F, 127, 127, 128, 51.0F / 255.0F);
        check_known(t, "zeros of both signs", -0.0F, 0.0F, 0, 0, 0, 0.0F);
        check_known(t, "tiny", 0x1.fffffep-121F, 0.0F, 0, 0, 0, 0.0F);
        check_known(t, "tiny on both sides", 0x1p-122F, -0x1p-122F, 0, 0, 0, 0.0F);
        check_known(t, "just not tiny", 0x1p-120F, 0.0F, 127, -128, 128, 0x1p-120F / 255.0F);
        check_known(t, "huge", 3e38F, 0.0F, 127, -128, 128, 3e38F / 255.0F);
        check_known(t, "huge and negative", 0.0F, -3e38F, 127, -128, -127, 3e38F / 255.0F);
        check_known(t, "range beyond F32", 3e38F, -3e38F, 0, 0, 0, NAN);
        check_known(t, "NaN", NAN, 1.0F, 0, 0, 0, NAN);
        check_known(t, "infinity", INFINITY, 1.0F, 0, 0, 0, NAN);
        check_known(t, "minus infinity", -INFINITY, -1.0F, 0, 0, 0, NAN);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_known_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
