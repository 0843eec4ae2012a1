/* test_recipes.c - which type a tensor takes: by its name, by its layer, by its width, by request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "convert/recipes.h"

static void test_roles_of_names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        r2i_role role;
        int32_t layer;
    } cases[] = {
        { "token_embd.weight", R2I_ROLE_EMBEDDING, -1 },
        { "output.weight", R2I_ROLE_OUTPUT, -1 },
        { "output_norm.weight", R2I_ROLE_NONE, -1 },
        { "blk.0.attn_q.weight", R2I_ROLE_Q, 0 },
        { "blk.0.attn_q.bias", R2I_ROLE_NONE, 0 },
        { "blk.17.attn_norm.weight", R2I_ROLE_NONE, 17 },
        { "blk.60.attn_kv_a_mqa.weight", R2I_ROLE_KV_A, 60 },
        { "blk.60.attn_kv_a_norm.weight", R2I_ROLE_NONE, 60 },
        { "blk.3.attn_k_b.weight", R2I_ROLE_K_B, 3 },
        { "blk.3.ffn_gate_inp.weight", R2I_ROLE_NONE, 3 },
        { "blk.3.exp_probs_b.bias", R2I_ROLE_NONE, 3 },
        { "blk.3.ffn_down_exps.weight", R2I_ROLE_EXPERT_DOWN, 3 },
        { "blk.3.ffn_up_shexp.weight", R2I_ROLE_SHARED_UP, 3 },
        { "blk.61.nextn.eh_proj.weight", R2I_ROLE_MTP_JOIN, 61 },
        { "blk.61.nextn.shared_head_head.weight", R2I_ROLE_OUTPUT, 61 },
        { "blk.61.nextn.embed_tokens.weight", R2I_ROLE_EMBEDDING, 61 },
        { "blk..attn_q.weight", R2I_ROLE_NONE, -1 },
        { ".weight", R2I_ROLE_NONE, -1 },
        { "", R2I_ROLE_NONE, -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t layer = 99;
        const r2i_role role = r2i_recipe_role_of(cases[i].name, &layer);
        if (role != cases[i].role || layer != cases[i].layer)
            fail_msg("%s: role %d, layer %d", cases[i].name, (int)role, (int)layer);
    }
}

static const r2i_recipe *recipe(const char *name) {
    const r2i_recipe *out;
    r2_error err;
    if (r2i_recipe_find(&out, name, &err) != R2_OK) fail_msg("%s", err.text);
    return out;
}

/* The layers in which llama.cpp's tool gives values and down projections of 24 layers Q6_K. */
static void test_finer_layers(void **state) {
    (void)state;
    static const char finer[] = "111001001001001001001111";
    for (int32_t layer = 0; layer < 24; layer++) {
        const r2i_type expected = finer[layer] == '1' ? R2I_TYPE_Q6_K : R2I_TYPE_Q4_K;
        assert_int_equal(r2i_recipe_type(recipe("q4_k_m"), R2I_ROLE_V, layer, 24), expected);
        assert_int_equal(r2i_recipe_type(recipe("Q4_K"), R2I_ROLE_EXPERT_DOWN, layer, 24),
                         expected);
        assert_int_equal(r2i_recipe_type(recipe("Q4_K_M"), R2I_ROLE_UP, layer, 24), R2I_TYPE_Q4_K);
        assert_int_equal(r2i_recipe_type(recipe("Q4_K_S"), R2I_ROLE_DOWN, layer, 24),
                         layer < 3 ? R2I_TYPE_Q5_K : R2I_TYPE_Q4_K);
    }
    assert_int_equal(r2i_recipe_type(recipe("Q4_K_M"), R2I_ROLE_OUTPUT, -1, 24), R2I_TYPE_Q6_K);
    assert_int_equal(r2i_recipe_type(recipe("Q4_K_M"), R2I_ROLE_V, 0, 0), R2I_TYPE_Q6_K);
    assert_int_equal(r2i_recipe_type(recipe("MXFP4_MOE"), R2I_ROLE_EXPERT_UP, 1, 24),
                     R2I_TYPE_MXFP4);
    assert_int_equal(r2i_recipe_type(recipe("MXFP4_MOE"), R2I_ROLE_UP, 1, 24), R2I_TYPE_Q8_0);
}

static void test_widths(void **state) {
    (void)state;
    static const struct {
        r2i_type wanted, at_896, at_100;
    } cases[] = {
        { R2I_TYPE_Q4_K, R2I_TYPE_Q5_0, R2I_TYPE_F16 },
        { R2I_TYPE_Q5_K, R2I_TYPE_Q5_1, R2I_TYPE_F16 },
        { R2I_TYPE_Q6_K, R2I_TYPE_Q8_0, R2I_TYPE_F16 },
        { R2I_TYPE_IQ4_XS, R2I_TYPE_IQ4_NL, R2I_TYPE_F16 },
        { R2I_TYPE_Q4_0, R2I_TYPE_Q4_0, R2I_TYPE_F16 },
        { R2I_TYPE_BF16, R2I_TYPE_BF16, R2I_TYPE_BF16 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(r2i_type_for_width(cases[i].wanted, 4864), cases[i].wanted);
        assert_int_equal(r2i_type_for_width(cases[i].wanted, 896), cases[i].at_896);
        assert_int_equal(r2i_type_for_width(cases[i].wanted, 100), cases[i].at_100);
    }
}

static void test_requests(void **state) {
    (void)state;
    r2i_role_types types = { { false }, { R2I_TYPE_F32 } };
    r2_error err;
    assert_int_equal(r2i_role_types_add(&types, "attention=Q5_0,v=q6_k", &err), R2_OK);
    assert_int_equal(r2i_role_types_add(&types, "o=f16", &err), R2_OK);
    assert_int_equal(types.type[R2I_ROLE_Q], R2I_TYPE_Q5_0);
    assert_int_equal(types.type[R2I_ROLE_V], R2I_TYPE_Q6_K);
    assert_int_equal(types.type[R2I_ROLE_O], R2I_TYPE_F16);
    assert_false(types.is_set[R2I_ROLE_UP]);
    static const char *const bad[] = {
        "v", "v=", "=Q8_0", "router=Q8_0", "v=Q3_K", "v=Q8", "V=Q8_0"
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (r2i_role_types_add(&types, bad[i], &err) != R2_E_ARGUMENT) fail_msg("%s", bad[i]);
        assert_non_null(strstr(err.text, "role: expected"));
    }
    const r2i_recipe *found;
    assert_int_equal(r2i_recipe_find(&found, "Q4", &err), R2_E_ARGUMENT);
    assert_non_null(strstr(err.text, "IQ4_XS"));
    assert_null(found);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_roles_of_names),
                                        cmocka_unit_test(test_finer_layers),
                                        cmocka_unit_test(test_widths),
                                        cmocka_unit_test(test_requests) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
