/* test_tensor_roles.c - names that published files have, both ways, and sizes of a small model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/tensor_roles.h"

static const struct {
    r2i_role role;
    int32_t layer;
    const char *hf, *gguf;
} published[] = {
    { R2I_ROLE_EMBEDDING, -1, "model.embed_tokens.weight", "token_embd.weight" },
    { R2I_ROLE_OUTPUT, -1, "lm_head.weight", "output.weight" },
    { R2I_ROLE_OUTPUT_NORM, -1, "model.norm.weight", "output_norm.weight" },
    { R2I_ROLE_Q, 0, "model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight" },
    { R2I_ROLE_KV_A, 12, "model.layers.12.self_attn.kv_a_proj_with_mqa.weight",
      "blk.12.attn_kv_a_mqa.weight" },
    { R2I_ROLE_SHARED_DOWN, 60, "model.layers.60.mlp.shared_experts.down_proj.weight",
      "blk.60.ffn_down_shexp.weight" },
    { R2I_ROLE_MTP_OUTPUT, 61, "model.layers.61.shared_head.head.weight",
      "blk.61.nextn.shared_head_head.weight" },
};

static void check_one(r2i_name_kind kind, size_t i) {
    const char *expected = kind == R2I_NAMES_HF ? published[i].hf : published[i].gguf;
    char name[R2I_TENSOR_NAME_BYTES];
    int32_t layer = -2;
    r2i_role_name(name, kind, published[i].role, published[i].layer);
    assert_string_equal(name, expected);
    const size_t n = strlen(expected) - strlen(".weight");
    assert_int_equal(r2i_role_of(kind, expected, n, &layer), published[i].role);
    assert_int_equal(layer, published[i].layer);
}

static void names_go_both_ways(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        check_one(R2I_NAMES_HF, i);
        check_one(R2I_NAMES_GGUF, i);
    }
}

static void special_names(void **state) {
    char name[R2I_TENSOR_NAME_BYTES];
    (void)state;
    r2i_role_bias_name(name, R2I_NAMES_GGUF, R2I_ROLE_K, 3);
    assert_string_equal(name, "blk.3.attn_k.bias");
    r2i_role_name(name, R2I_NAMES_GGUF, R2I_ROLE_SCORE_BIAS, 3);
    assert_string_equal(name, "blk.3.exp_probs_b.bias");
    r2i_role_name(name, R2I_NAMES_HF, R2I_ROLE_SCORE_BIAS, 3);
    assert_string_equal(name, "model.layers.3.mlp.gate.e_score_correction_bias");
    r2i_role_expert_name(name, R2I_ROLE_EXPERT_UP, 3, 255);
    assert_string_equal(name, "model.layers.3.mlp.experts.255.up_proj.weight");
}

static void others_have_no_role(void **state) {
    static const char *const names[] = { "",
                                         "attn_q",
                                         "blk.0.output",
                                         "blk.0.",
                                         "blk.0",
                                         "blk.x.attn_q",
                                         "blk.-1.attn_q",
                                         "blk.0.attn_qq",
                                         "outputs",
                                         "blk.99999999999.attn_q" };
    int32_t layer;
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(r2i_role_of(R2I_NAMES_GGUF, names[i], strlen(names[i]), &layer),
                         R2I_ROLE_NONE);
    /* The part without ".weight" may end before the layer's dot. */
    assert_int_equal(r2i_role_of(R2I_NAMES_GGUF, "blk.0.weight", 5, &layer), R2I_ROLE_NONE);
    assert_int_equal(r2i_role_of(R2I_NAMES_HF, "model.layers.0.", 15, &layer), R2I_ROLE_NONE);
}

static void check_size(const r2i_config *c, r2i_role role, int32_t n_rows, int32_t n_cols) {
    const r2i_role_size size = r2i_role_get_size(c, role);
    assert_int_equal(size.n_rows, n_rows);
    assert_int_equal(size.n_cols, n_cols);
}

/* DeepSeek-V3's own sizes, as its checkpoint has them. */
static void sizes_of_deepseek_v3(void **state) {
    const r2i_config c = { .family = R2I_FAMILY_DEEPSEEK_V3,
                           .n_heads = 128,
                           .n_kv_heads = 128,
                           .d_head = 192,
                           .d_value = 128,
                           .d_model = 7168,
                           .kv_rank = 512,
                           .q_rank = 1536,
                           .n_vocab = 129280,
                           .d_expert = 2048,
                           .n_experts = 256,
                           .n_shared_experts = 1,
                           .rope.d = 64 };
    (void)state;
    check_size(&c, R2I_ROLE_Q_A, 1536, 7168);
    check_size(&c, R2I_ROLE_Q_B, 24576, 1536);
    check_size(&c, R2I_ROLE_KV_A, 576, 7168);
    check_size(&c, R2I_ROLE_KV_B, 32768, 512);
    check_size(&c, R2I_ROLE_K_B, 512, 128);
    check_size(&c, R2I_ROLE_V_B, 128, 512);
    check_size(&c, R2I_ROLE_O, 7168, 16384);
    check_size(&c, R2I_ROLE_ROUTER, 256, 7168);
    check_size(&c, R2I_ROLE_MTP_JOIN, 7168, 14336);
    check_size(&c, R2I_ROLE_OUTPUT, 129280, 7168);
    assert_true(r2i_role_is_vector(R2I_ROLE_SCORE_BIAS));
    assert_false(r2i_role_is_vector(R2I_ROLE_ROUTER));
    assert_int_equal(r2i_role_get_bias(&c, R2I_ROLE_Q), R2I_BIAS_NONE);
    assert_int_equal(r2i_role_get_bias(&c, R2I_ROLE_Q_A), R2I_BIAS_OPTIONAL);
    assert_int_equal(r2i_role_paired_heads(&c, R2I_ROLE_Q), 0);
}

static void biases_and_pairs_of_plain_attention(void **state) {
    const r2i_config qwen = { .family = R2I_FAMILY_QWEN2, .n_heads = 8, .needs_qkv_bias = true };
    const r2i_config llama = { .family = R2I_FAMILY_LLAMA, .n_heads = 8, .n_kv_heads = 2 };
    (void)state;
    assert_int_equal(r2i_role_get_bias(&qwen, R2I_ROLE_V), R2I_BIAS_NEEDED);
    assert_int_equal(r2i_role_get_bias(&qwen, R2I_ROLE_O), R2I_BIAS_OPTIONAL);
    assert_int_equal(r2i_role_get_bias(&qwen, R2I_ROLE_ROUTER), R2I_BIAS_NONE);
    assert_int_equal(r2i_role_paired_heads(&qwen, R2I_ROLE_Q), 0);
    assert_int_equal(r2i_role_paired_heads(&llama, R2I_ROLE_Q), 8);
    assert_int_equal(r2i_role_paired_heads(&llama, R2I_ROLE_K), 2);
    assert_int_equal(r2i_role_paired_heads(&llama, R2I_ROLE_V), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(special_names),
        cmocka_unit_test(others_have_no_role),
        cmocka_unit_test(sizes_of_deepseek_v3),
        cmocka_unit_test(biases_and_pairs_of_plain_attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
