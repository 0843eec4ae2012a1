/* The table itself: sizes, what each cap leaves in it, and that ref does textbook arithmetic. */
#include <math.h>
#include <string.h>

#include "kernel_check.h"

static void test_sizes(void **state) {
    (void)state;
    check_case("sizes");
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_F32, 7), 7 * 16 * 4);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_F16, 7), 7 * 16 * 2);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_BF16, 7), 4 * 64);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_Q4_0, 64), 2 * 288);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_Q8_0, 32), 544);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_MXFP4, 32), 272);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_Q2_K, 256), 1344);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_Q3_K, 256), 1760);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_Q4_K, 256), 2304);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_Q5_K, 256), 2816);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_Q6_K, 512), 2 * 3360);
    assert_int_equal(r2i_panel_bytes(R2I_TYPE_IQ4_XS, 256), 2176);
    assert_int_equal(r2i_act_row_bytes(R2I_ACT_F32, 17), 128);
    assert_int_equal(r2i_act_row_bytes(R2I_ACT_BF16, 33), 128);
    assert_int_equal(r2i_act_row_bytes(R2I_ACT_INT8, 64), 128); /* two groups */
    assert_int_equal(r2i_act_kind_of(R2I_TYPE_F16), R2I_ACT_F32);
    assert_int_equal(r2i_act_kind_of(R2I_TYPE_BF16), R2I_ACT_BF16);
    assert_int_equal(r2i_act_kind_of(R2I_TYPE_Q6_K), R2I_ACT_INT8);
    assert_int_equal(r2i_key_page_bytes(R2I_ROWS_BF16, 33), 17 * 512);
    assert_int_equal(r2i_key_page_bytes(R2I_ROWS_F32, 33), 33 * 512);
    assert_int_equal(r2i_value_page_bytes(R2I_ROWS_BF16, 33), 64 * 33 * 4);
    assert_int_equal(r2i_value_page_bytes(R2I_ROWS_F32, 33), 128 * 33 * 4);
}

static void test_caps(void **state) {
    (void)state;
    r2i_cpu cpu;
    r2i_cpu_detect(&cpu);
    for (int cap = R2I_LEVEL_PORTABLE; cap < R2I_N_LEVELS; cap++) {
        r2i_kernels kernels;
        r2i_kernels_init(&kernels, &cpu, (r2i_level)cap);
        check_case("cap %s", r2i_level_name((r2i_level)cap));
        CHECK(kernels.level == (cpu.level < (r2i_level)cap ? cpu.level : (r2i_level)cap), "level %d",
              (int)kernels.level);
        CHECK(cap > R2I_LEVEL_PORTABLE || kernels.features == 0, "features without instructions");
        r2i_type types[R2I_TYPE_LIMIT];
        const int n_types = check_types(types);
        for (int k = 0; k < n_types; k++) {
            const r2i_type type = types[k];
            CHECK(kernels.pack[type] != NULL && kernels.dequantize[type] != NULL && kernels.matmul[type] != NULL,
                  "nothing for %s", r2i_type_get(type)->name);
        }
        for (int k = 0; k < 3; k++) CHECK(kernels.act[k] != NULL, "act %d", k);
        CHECK(kernels.rmsnorm != NULL && kernels.silu_mul != NULL && kernels.rope != NULL, "rows");
        CHECK(kernels.store_row != NULL && kernels.attend != NULL && kernels.attend_merge != NULL, "attention");
        CHECK(kernels.log_sum_exp != NULL && kernels.softmax != NULL, "softmax");
    }
}

static void test_ref(void **state) {
    (void)state;
    const r2i_kernels *ref = check_ref();
    assert_int_equal(ref->level, R2I_LEVEL_REF);
    for (int type = 0; type < R2I_TYPE_LIMIT; type++) {
        assert_true((ref->matmul[type] != NULL) == (type == R2I_TYPE_F32));
        assert_true((ref->dequantize[type] != NULL) == (r2i_type_get((r2i_type)type)->name != NULL));
    }
    /* W = [[1, 2, 3], [4, 5, 6]], x = [1, 10, 100]. */
    const float w[2][3] = {{1, 2, 3}, {4, 5, 6}}, x[3] = {1, 10, 100}, bias[2] = {0.5F, 0.25F};
    float y[2] = {1000, 2000};
    uint8_t *panel = check_take(r2i_panel_bytes(R2I_TYPE_F32, 3), true), *act = check_take(64, true);
    const uint8_t *rows[16] = {(const uint8_t *)w[0], (const uint8_t *)w[1]};
    ref->pack[R2I_TYPE_F32](panel, R2I_TYPE_F32, rows, 3);
    ref->act[R2I_ACT_F32](act, x, 3, 0, 3);
    const r2i_matmul_job job = {panel, 1, 2, 3, act, 64, 1, bias, y, 2, true};
    ref->matmul[R2I_TYPE_F32](&job);
    assert_true(y[0] == 1321.5F && y[1] == 2654.25F);
    check_release();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes), cmocka_unit_test(test_caps),
                                       cmocka_unit_test(test_ref)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
