/* Cache pages apart from attention: values taken from latent keys. */
#include <stdio.h>
#include <string.h>

#include "kernel_check.h"

static const char *kind_name(r2i_row_kind kind) {
    return kind == R2I_ROWS_F32 ? "F32" : "BF16";
}

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
    check_case("%s: latent values, %s, d_key %d, d_value %d, slots %d", name, kind_name(kind),
               (int)d_key, (int)d_value, (int)n_slots);
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

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_latent_values) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
