/* Stored rows to floats: the golden blocks bit for bit, then every level against ref. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernel_check.h"

static json_t *load_golden(void) {
    char path[4096];
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, sizeof path, "%s/gguf_blocks.json", folder != NULL ? folder : R2LM_DEFAULT_GOLDEN_DIR);
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (root == NULL) check_failed("%s: %s", path, error.text);
    return root;
}

/* Hexadecimal text to guarded bytes. */
static uint8_t *bytes_of(const char *hex, size_t *n_bytes) {
    *n_bytes = strlen(hex) / 2;
    uint8_t *bytes = check_take(*n_bytes, true);
    for (size_t i = 0; i < *n_bytes; i++) {
        const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return bytes;
}

/* Numbers, or "inf", "-inf", "nan" as text. */
static float float_of(const json_t *value) {
    return json_is_string(value) ? strtof(json_string_value(value), NULL) : (float)json_number_value(value);
}

static void check_golden_case(const r2i_kernels *kernels, const json_t *one) {
    const r2i_type type = (r2i_type)json_integer_value(json_object_get(one, "id"));
    const json_t *values = json_object_get(one, "values");
    const size_t n = json_array_size(values);
    size_t n_bytes;
    const uint8_t *bytes = bytes_of(json_string_value(json_object_get(one, "hex")), &n_bytes);
    CHECK(r2i_type_row_bytes(type, n) == n_bytes, "%zu values, %zu bytes", n, n_bytes);
    float *y = check_take(4 * n, true);
    kernels->dequantize[type](y, bytes, (int32_t)n);
    for (size_t i = 0; i < n; i++) {
        /* The file writes nine digits, which name a float exactly; the sign of zero may be lost. */
        const float expected = float_of(json_array_get(values, i));
        CHECK(y[i] == expected || check_same(y[i], expected), "value %zu: expected %.9g, found %.9g", i,
              (double)expected, (double)y[i]);
    }
    check_release();
}

static void test_golden(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    json_t *root = load_golden();
    const json_t *cases = json_object_get(root, "dequantize");
    bool seen[R2I_TYPE_LIMIT] = {[R2I_TYPE_F32] = true}; /* nothing to test in a copy */
    size_t i;
    const json_t *one;
    json_array_foreach(cases, i, one) {
        seen[json_integer_value(json_object_get(one, "id"))] = true;
        for (int k = -1; k < n_tables; k++) {
            check_case("%s: %s", k < 0 ? "ref" : tables[k].name, json_string_value(json_object_get(one, "type")));
            check_golden_case(k < 0 ? check_ref() : &tables[k].kernels, one);
        }
    }
    r2i_type types[R2I_TYPE_LIMIT];
    const int n_types = check_types(types);
    for (int k = 0; k < n_types; k++) CHECK(seen[types[k]], "no golden block of %s", r2i_type_get(types[k])->name);
    json_decref(root);
}

/* Random bytes, scales included (subnormal, infinite, NaN), at every alignment. */
static void check_random_row(const check_table *table, r2i_type type, int32_t n, unsigned seed) {
    const size_t n_bytes = r2i_type_row_bytes(type, (size_t)n);
    check_random random = {seed};
    uint8_t *row = check_take(n_bytes, seed % 2 == 0);
    for (size_t i = 0; i < n_bytes; i++) row[i] = (uint8_t)check_bits(&random);
    float *y = check_take(4 * (size_t)n, seed % 3 == 0), *expected = check_take(4 * (size_t)n, true);
    check_case("%s: %s, n %d, seed %u", table->name, r2i_type_get(type)->name, (int)n, seed);
    check_ref()->dequantize[type](expected, row, n);
    table->kernels.dequantize[type](y, row, n);
    check_equal(y, expected, (size_t)n, "value");
    check_release();
}

static void test_random(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    r2i_type types[R2I_TYPE_LIMIT];
    const int n_types = check_types(types);
    for (int i = 0; i < n_tables; i++) {
        for (int k = 0; k < n_types; k++) {
            const int32_t block = r2i_type_get(types[k])->block_elements;
            const int32_t n_sizes = block == 1 ? 200 : block == 32 ? 12 : 5;
            for (int32_t n = 0; n <= n_sizes; n++) check_random_row(&tables[i], types[k], n * block, (unsigned)n);
        }
    }
}

/* All codes of F8_E4M3 by the words of its paper: bias 7, subnormals of 2^-6 / 8, no infinity. */
static void test_e4m3(void **state) {
    (void)state;
    const check_table *tables;
    const int n_tables = check_tables(&tables);
    uint8_t row[256];
    float y[256];
    for (int b = 0; b < 256; b++) row[b] = (uint8_t)b;
    for (int k = -1; k < n_tables; k++) {
        const r2i_kernels *kernels = k < 0 ? check_ref() : &tables[k].kernels;
        check_case("%s: F8_E4M3", k < 0 ? "ref" : tables[k].name);
        kernels->dequantize[R2I_TYPE_F8_E4M3](y, row, 256);
        for (int b = 0; b < 256; b++) {
            const int exponent = b >> 3 & 15, mantissa = b & 7;
            const double size = exponent == 0 ? ldexp(mantissa, -9) : ldexp(8 + mantissa, exponent - 10);
            const double value = b >= 128 ? -size : size;
            if ((b & 127) == 127)
                CHECK(isnan(y[b]), "code %d is no number, found %g", b, (double)y[b]);
            else
                CHECK((double)y[b] == value, "code %d: expected %g, found %g", b, value, (double)y[b]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_e4m3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
