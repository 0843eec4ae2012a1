/* Cache pages apart from attention: rows of the kinds that are stored smaller, and values taken from
 * latent keys. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"

/* Expected is what storing the value beside the key would have written; slots that were not asked
 * for keep what was there. */
static void check_latent(const char *name, const r2i_kernels *kernels, r2i_row_kind kind,
                         int32_t d_key, int32_t d_value, int32_t n_slots) {
    const size_t key_bytes = r2i_key_page_bytes(kind, d_key),
                 value_bytes = r2i_value_page_bytes(kind, d_value);
    uint8_t *keys = check_take(key_bytes, true), *found = check_take(value_bytes, true);
    uint8_t *expected = check_take(value_bytes, true), *unused = check_take(key_bytes, true);
    float *key = check_take(4 * (size_t)d_key, true);
    check_random random = { (uint64_t)(d_key * 1000 + n_slots) };
    const int32_t end = (n_slots + 31) / 32 * 32;
    check_case("%s: latent values, %s, d_key %d, d_value %d, slots %d", name,
               r2i_row_kind_name(kind), (int)d_key, (int)d_value, (int)n_slots);
    for (int32_t slot = 0; slot < R2I_PAGE_TOKENS; slot++) {
        check_fill(&random, key, (size_t)d_key, 1.0F);
        kernels->store_row(kind, keys, NULL, slot, key, NULL, d_key, 0);
        if (slot < end)
            check_ref()->store_row(kind, unused, expected, slot, key, key, d_key, d_value);
    }
    kernels->latent_values(kind, found, keys, n_slots, d_value);
    const size_t line = (size_t)d_value * (kind == R2I_ROWS_F32 ? 4 : 2);
    for (int32_t slot = 0; slot < R2I_PAGE_TOKENS; slot += 2) {
        const size_t at = (size_t)slot * line;
        CHECK(memcmp(found + at, expected + at, 2 * line) == 0, "slots %d, %d differ", (int)slot,
              (int)slot + 1);
    }
    check_release();
}

static void test_latent_values(void **state) {
    (void)state;
    static const int32_t widths[] = { 1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 20, 31, 33, 48, 64, 512 };
    static const int32_t counts[] = { 1, 31, 32, 33, 64, 100, 128 };
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = -1; i < n_tables; i++) {
        const r2i_kernels *kernels = i < 0 ? check_ref() : &tables[i].kernels;
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
                const int32_t d_key = widths[w] + (c % 3 == 0 ? 0 : c % 3 == 1 ? 1 : 64);
                for (int k = 0; k < 2; k++)
                    check_latent(i < 0 ? "ref" : tables[i].name, kernels,
                                 k == 0 ? R2I_ROWS_F32 : R2I_ROWS_BF16, d_key, widths[w],
                                 counts[c]);
            }
        }
    }
}

/* ---- F16 and Q8 rows ---- */

/* A page of stored rows and what it was made from. */
typedef struct {
    r2i_row_kind kind;
    int32_t d_key, d_value;
    uint8_t *keys, *values;
    float *x, *y; /* [128, d_key], [128, d_value] */
} stored_page;

static stored_page make_stored(r2i_row_kind kind, int32_t d_key, int32_t d_value) {
    const size_t n = (size_t)d_key * R2I_PAGE_TOKENS, m = (size_t)d_value * R2I_PAGE_TOKENS;
    stored_page s = { kind, d_key, d_value, NULL, NULL, NULL, NULL };
    check_random random = { (uint64_t)(d_key * 1000 + d_value) };
    s.keys = check_take(r2i_key_page_bytes(kind, d_key), true);
    s.values = check_take(r2i_value_page_bytes(kind, d_value), true);
    s.x = check_take(4 * n, true);
    s.y = check_take(4 * m, true);
    for (int32_t slot = 0; slot < R2I_PAGE_TOKENS; slot++) {
        float *key = s.x + (size_t)slot * (size_t)d_key,
              *value = s.y + (size_t)slot * (size_t)d_value;
        const float size = ldexpf(1.0F, check_between(&random, -12, 12));
        check_fill(&random, key, (size_t)d_key, size);
        check_fill(&random, value, (size_t)d_value, slot % 5 == 0 ? 0.0F : 1.0F);
        check_ref()->store_row(kind, s.keys, s.values, slot, key, value, d_key, d_value);
    }
    return s;
}

/* Pages that a level expands have the same bytes as ref's, and nothing beyond the slots asked for is
 * written (both began as 0xa5). */
static void check_expand(const char *name, const r2i_kernels *kernels, r2i_row_kind kind,
                         int32_t d_key, int32_t d_value, int32_t n_slots) {
    const stored_page s = make_stored(kind, d_key, d_value);
    const r2i_row_kind to = r2i_attended_rows(kind);
    const size_t key_bytes = r2i_key_page_bytes(to, d_key),
                 value_bytes = r2i_value_page_bytes(to, d_value);
    uint8_t *pages[2][2];
    check_case("%s: expand %s, d_key %d, d_value %d, slots %d", name, r2i_row_kind_name(kind),
               (int)d_key, (int)d_value, (int)n_slots);
    for (int i = 0; i < 2; i++) {
        const r2i_kernels *k = i == 0 ? check_ref() : kernels;
        pages[i][0] = check_take(key_bytes, true);
        pages[i][1] = check_take(value_bytes, true);
        k->expand_keys(kind, pages[i][0], s.keys, n_slots, d_key);
        k->expand_values(kind, pages[i][1], s.values, n_slots, d_value);
    }
    CHECK(memcmp(pages[0][0], pages[1][0], key_bytes) == 0, "keys differ");
    CHECK(memcmp(pages[0][1], pages[1][1], value_bytes) == 0, "values differ");
    check_release();
}

static void test_expand(void **state) {
    (void)state;
    static const int32_t widths[] = { 1, 2, 7, 10, 16, 31, 32, 33, 48, 64, 80, 128, 576 };
    static const int32_t counts[] = { 1, 32, 33, 100, 128 };
    enum { N_WIDTHS = sizeof widths / sizeof *widths, N_COUNTS = sizeof counts / sizeof *counts };
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = 0; i < n_tables; i++) {
        for (int k = 0; k < N_WIDTHS * N_COUNTS; k++) {
            const int32_t d_key = widths[k % N_WIDTHS], d_value = widths[(k * 5 + 3) % N_WIDTHS];
            check_expand(tables[i].name, &tables[i].kernels, R2I_ROWS_F16, d_key, d_value,
                         counts[k % N_COUNTS]);
            check_expand(tables[i].name, &tables[i].kernels, R2I_ROWS_Q8, d_key, d_value,
                         counts[k % N_COUNTS]);
        }
    }
}

/* Element of an expanded page, by the drawing in kernels.h alone. */
static float key_of(r2i_row_kind to, const uint8_t *page, int32_t c, int32_t slot) {
    if (to == R2I_ROWS_F32) return ((const float *)(const void *)page)[c * 128 + slot];
    return r2i_f32_from_bf16(
        ((const uint16_t *)(const void *)page)[c / 2 * 256 + 2 * slot + c % 2]);
}
static float value_of(r2i_row_kind to, const uint8_t *page, int32_t c, int32_t slot, int32_t d) {
    if (to == R2I_ROWS_F32) return ((const float *)(const void *)page)[slot * d + c];
    return r2i_f32_from_bf16(
        ((const uint16_t *)(const void *)page)[slot / 2 * 2 * d + 2 * c + slot % 2]);
}

/* How far a stored number may be off.  F16 keeps 11 bits, and 2^-25 below 2^-14.  Q8: half a step of
 * 1/127 of the group's greatest magnitude, the step itself up to 2^-8 wider, and the expanded number
 * rounded to 8 bits. */
static double error_bound(r2i_row_kind kind, const float *row, int32_t d, int32_t c) {
    if (kind == R2I_ROWS_F16) return fmax(fabs((double)row[c]) * 0x1p-11, 0x1p-25);
    double greatest = 0.0;
    for (int32_t i = c / 32 * 32; i < d && i < c / 32 * 32 + 32; i++)
        greatest = fmax(greatest, fabs((double)row[i]));
    return greatest / 127.0 * 0.5 * (1.0 + 0x1p-8) + fabs((double)row[c]) * 0x1p-8;
}

static void check_roundtrip(r2i_row_kind kind, int32_t d_key, int32_t d_value) {
    const stored_page s = make_stored(kind, d_key, d_value);
    const r2i_row_kind to = r2i_attended_rows(kind);
    uint8_t *keys = check_take(r2i_key_page_bytes(to, d_key), true);
    uint8_t *values = check_take(r2i_value_page_bytes(to, d_value), true);
    check_case("%s rows, d_key %d, d_value %d", r2i_row_kind_name(kind), (int)d_key, (int)d_value);
    check_ref()->expand_keys(kind, keys, s.keys, R2I_PAGE_TOKENS, d_key);
    check_ref()->expand_values(kind, values, s.values, R2I_PAGE_TOKENS, d_value);
    for (int32_t slot = 0; slot < R2I_PAGE_TOKENS; slot++) {
        for (int side = 0; side < 2; side++) {
            const int32_t d = side == 0 ? d_key : d_value;
            const float *row = (side == 0 ? s.x : s.y) + (size_t)slot * (size_t)d;
            for (int32_t c = 0; c < d; c++) {
                const float found =
                    side == 0 ? key_of(to, keys, c, slot) : value_of(to, values, c, slot, d);
                CHECK(fabs((double)found - (double)row[c]) <= error_bound(kind, row, d, c),
                      "%s of slot %d, channel %d: stored %.9g, found %.9g",
                      side == 0 ? "key" : "value", (int)slot, (int)c, (double)row[c],
                      (double)found);
            }
        }
    }
    check_release();
}

static void test_roundtrip(void **state) {
    (void)state;
    check_roundtrip(R2I_ROWS_F16, 64, 33);
    check_roundtrip(R2I_ROWS_Q8, 64, 128);
    check_roundtrip(R2I_ROWS_Q8, 47, 33);
    check_roundtrip(R2I_ROWS_Q8, 576, 10);
}

/* What one number becomes in the company of a group. */
static float through(const r2i_kernels *kernels, r2i_row_kind kind, float x, float company) {
    enum { D = 40, SLOT = 37 };
    const r2i_row_kind to = r2i_attended_rows(kind);
    float key[D];
    for (int i = 0; i < D; i++)
        key[i] = company;
    key[35] = x;
    const size_t n = r2i_key_page_bytes(kind, D);
    uint8_t *stored = check_take(n, true), *page = check_take(r2i_key_page_bytes(to, D), true);
    memset(stored, 0, n);
    kernels->store_row(kind, stored, NULL, SLOT, key, NULL, D, 0);
    kernels->expand_keys(kind, page, stored, SLOT + 1, D);
    const float found = key_of(to, page, 35, SLOT), other = key_of(to, page, 3, SLOT);
    CHECK(fabsf(other - company) <= 0.01F * company, "another group: %g", (double)other);
    check_release();
    return found;
}

static void test_extremes(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    for (int i = -1; i < n_tables; i++) {
        const r2i_kernels *k = i < 0 ? check_ref() : &tables[i].kernels;
        check_case("%s: extremes", i < 0 ? "ref" : tables[i].name);
        CHECK(through(k, R2I_ROWS_F16, 1e6F, 1.0F) == 65504.0F, "beyond F16");
        CHECK(through(k, R2I_ROWS_F16, -INFINITY, 1.0F) == -65504.0F, "infinity in F16");
        CHECK(isnan(through(k, R2I_ROWS_F16, NAN, 1.0F)), "NaN in F16");
        CHECK(isnan(through(k, R2I_ROWS_Q8, NAN, 1.0F)), "NaN in Q8");
        CHECK(isnan(through(k, R2I_ROWS_Q8, INFINITY, 1.0F)), "infinity in Q8");
        CHECK(through(k, R2I_ROWS_Q8, 1e-35F, 0.0F) == 0.0F, "next to nothing in Q8");
        CHECK(fabsf(through(k, R2I_ROWS_Q8, 1e30F, 1.0F) * 1e-30F - 1.0F) < 0.01F, "large in Q8");
        CHECK(through(k, R2I_ROWS_Q8, 0.001F, 1.0F) == 0.0F, "small beside large in Q8");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_latent_values),
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_roundtrip),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
