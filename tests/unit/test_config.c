/* test_config.c - DeepSeek configurations: the goldens', R1's as published, GGUF twins, bad ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/config_read.h"

enum { PATH_BYTES = 1024 };

typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    r2i_config config;
    r2_error err;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    r2i_heap_init(&f->heap);
    r2i_arena_init(&f->arena, &f->heap, 1 << 16, 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    r2i_arena_destroy(&f->arena);
    free(f);
    return 0;
}

static const char *golden_path(char path[PATH_BYTES], const char *name) {
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    if (folder == NULL || folder[0] == '\0') folder = R2LM_DEFAULT_GOLDEN_DIR;
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    return path;
}

static json_t *golden_json(const char *name) {
    char path[PATH_BYTES];
    json_t *json = json_load_file(golden_path(path, name), 0, NULL);
    if (json == NULL) fail_msg("cannot read %s", path);
    return json;
}

static r2_status parse(fixture *f, const json_t *json) {
    return r2i_config_from_json(&f->config, json, "config.json", &f->arena, &f->err);
}

static const r2i_config *must_parse(fixture *f, const char *name) {
    json_t *json = golden_json(name);
    if (parse(f, json) != R2_OK) fail_msg("%s: %s", name, f->err.text);
    json_decref(json);
    return &f->config;
}

static void test_r1(void **state) {
    const r2i_config *c = must_parse(*state, "deepseek_r1_config.json");
    assert_int_equal(c->family, R2I_FAMILY_DEEPSEEK_V3);
    assert_int_equal(c->n_layers, 61);
    assert_int_equal(c->n_heads, 128);
    assert_int_equal(c->n_kv_heads, 1);
    assert_int_equal(c->d_head, 192);
    assert_int_equal(c->d_value, 128);
    assert_int_equal(c->kv_rank, 512);
    assert_int_equal(c->q_rank, 1536);
    assert_int_equal(c->rope.d, 64);
    assert_true(c->rope.is_interleaved);
    assert_int_equal(c->n_vocab, 129280);
    assert_int_equal(c->n_context, 163840);
    assert_int_equal(c->n_experts, 256);
    assert_int_equal(c->n_active, 8);
    assert_int_equal(c->n_groups, 8);
    assert_int_equal(c->n_active_groups, 4);
    assert_int_equal(c->n_shared_experts, 1);
    assert_int_equal(c->score, R2I_SCORE_SIGMOID);
    assert_int_equal(c->group, R2I_GROUP_TWO_BEST);
    assert_true(c->is_renormalized && c->has_score_bias);
    assert_int_equal(c->n_mtp, 1);
    /* The technical figures of the released model: m^2 = 1.8738542 on the scale, A = 1. */
    assert_true(fabs((double)c->attention_scale * sqrt(192) - 1.8738542) < 1e-6);
    assert_true(fabs(c->rope.attention_factor - 1) < 1e-9);
    for (int32_t i = 0; i < 61; i++) {
        assert_int_equal(c->layers[i].attention, R2I_ATTENTION_MLA);
        assert_int_equal(c->layers[i].ffn, i < 3 ? R2I_FFN_DENSE : R2I_FFN_MOE);
    }
}

static void test_goldens(void **state) {
    const r2i_config *c = must_parse(*state, "deepseek_v2/config.json");
    assert_int_equal(c->score, R2I_SCORE_SOFTMAX);
    assert_int_equal(c->n_groups, 1);
    assert_int_equal(c->q_rank, 0);
    assert_false(c->is_renormalized || c->has_score_bias);
    assert_true(fabs((double)c->latent_norm_eps - 1e-6) < 1e-12);
    assert_true(fabs((double)c->norm_eps - 1e-5) < 1e-12);
    c = must_parse(*state, "deepseek_v2_group/config.json");
    assert_int_equal(c->n_groups, 4);
    assert_int_equal(c->n_active_groups, 2);
    assert_int_equal(c->group, R2I_GROUP_BEST);
    assert_true(c->routed_scale == 16);
    assert_true(c->needs_qkv_bias && c->needs_o_bias);
    /* mscale 1.3, mscale_all_dim 0.8, factor 8. */
    const double m = 0.08 * log(8) + 1, a = (0.13 * log(8) + 1) / m;
    assert_true(fabs((double)c->attention_scale - m * m / sqrt(22)) < 1e-7);
    assert_true(fabs(c->rope.attention_factor - a) < 1e-6);
    c = must_parse(*state, "deepseek_v3_noq/config.json");
    assert_int_equal(c->rope.kind, R2I_ROPE_PLAIN);
    assert_true(fabs((double)c->attention_scale - 1 / sqrt(20)) < 1e-7);
    assert_int_equal(c->n_mtp, 0);
    assert_true(c->is_tied);
    c = must_parse(*state, "deepseek_v3_fp8/config.json");
    assert_int_equal(c->d_model, 152);
    c = must_parse(*state, "qwen3_moe/config.json");
    assert_int_equal(c->layers[0].attention, R2I_ATTENTION_GQA);
    assert_int_equal(c->n_groups, 1);
    assert_int_equal(c->d_value, c->d_head);
    assert_true(c->routed_scale == 1 && c->is_renormalized && !c->rope.is_interleaved);
}

/* What a model computes must not depend on the container. */
static void check_twin(fixture *f, const char *folder) {
    char name[64], path[PATH_BYTES];
    snprintf(name, sizeof name, "%s/config.json", folder);
    const r2i_config json = *must_parse(f, name);
    r2i_gguf *gguf;
    r2i_config twin;
    snprintf(name, sizeof name, "%s/model.gguf", folder);
    if (r2i_gguf_open(&gguf, golden_path(path, name), &f->arena, &f->err) != R2_OK ||
        r2i_config_from_gguf(&twin, gguf, &f->arena, &f->err) != R2_OK)
        fail_msg("%s", f->err.text);
    const int64_t numbers[][2] = {
        { twin.family, json.family },
        { twin.n_layers, json.n_layers },
        { twin.d_model, json.d_model },
        { twin.n_heads, json.n_heads },
        { twin.n_kv_heads, json.n_kv_heads },
        { twin.d_ffn, json.d_ffn },
        { twin.d_head, json.d_head },
        { twin.d_value, json.d_value },
        { twin.kv_rank, json.kv_rank },
        { twin.q_rank, json.q_rank },
        { twin.n_vocab, json.n_vocab },
        { twin.n_context, json.n_context },
        { twin.is_tied, json.is_tied },
        { twin.n_experts, json.n_experts },
        { twin.n_active, json.n_active },
        { twin.d_expert, json.d_expert },
        { twin.n_shared_experts, json.n_shared_experts },
        { twin.score, json.score },
        { twin.has_score_bias, json.has_score_bias },
        { twin.n_groups, json.n_groups },
        { twin.n_active_groups, json.n_active_groups },
        { twin.group, json.group },
        { twin.is_renormalized, json.is_renormalized },
        { twin.rope.kind, json.rope.kind },
        { twin.rope.d, json.rope.d },
        { twin.rope.is_interleaved, json.rope.is_interleaved },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i][0] != numbers[i][1]) fail_msg("%s: number %zu differs", folder, i);
    }
    for (int32_t i = 0; i < json.n_layers; i++) {
        assert_int_equal(twin.layers[i].ffn, json.layers[i].ffn);
        assert_int_equal(twin.layers[i].attention, json.layers[i].attention);
    }
    assert_true(fabs((double)(twin.attention_scale - json.attention_scale)) < 1e-6);
    assert_true(fabs(twin.rope.attention_factor - json.rope.attention_factor) < 1e-6);
    assert_true(twin.latent_norm_eps == json.latent_norm_eps && twin.norm_eps == json.norm_eps);
    assert_true(twin.routed_scale == json.routed_scale);
    r2i_gguf_close(gguf);
}

static void test_twins(void **state) {
    check_twin(*state, "deepseek_v2");
    check_twin(*state, "deepseek_v3");
}

/* R1's configuration with one value changed must be refused with these words. */
static const struct {
    const char *key, *value, *expected;
} bad_cases[] = {
    { "n_group", "7", "256 experts do not divide into 7 groups" },
    { "n_group", "256", "two experts in each" },
    { "n_group", "0", "groups of experts" },
    { "topk_group", "9", "groups used: expected 1 to 8, found 9" },
    { "topk_group", "0", "groups used" },
    { "num_experts_per_tok", "257", "experts used: expected 1 to 256, found 257" },
    { "num_experts_per_tok", "129", "at most 128, all of 4 groups" },
    { "n_routed_experts", "null", "n_routed_experts" },
    { "n_routed_experts", "0", "n_routed_experts" },
    { "moe_intermediate_size", "0", "moe_intermediate_size" },
    { "n_shared_experts", "1024", "size of the shared experts" },
    { "kv_lora_rank", "null", "kv_lora_rank" },
    { "kv_lora_rank", "100000", "key/value rank" },
    { "kv_lora_rank", "640", "latent row: expected 0 to 640, found 704" },
    { "q_lora_rank", "-1", "q_lora_rank" },
    { "qk_rope_head_dim", "63", "rotated dimensions" },
    { "qk_nope_head_dim", "0", "qk_nope_head_dim" },
    { "qk_nope_head_dim", "2147483647", "qk_nope_head_dim" },
    { "v_head_dim", "0", "v_head_dim" },
    { "v_head_dim", "4096", "value head size" },
    { "scoring_func", "\"tanh\"", "scoring_func: expected softmax or sigmoid, found \"tanh\"" },
    { "topk_method", "\"greedy\"", "topk_method: expected noaux_tc" },
    { "routed_scaling_factor", "0", "scale of the routed experts" },
    { "intermediate_size", "0", "intermediate_size" },
    { "quantization_config", "{\"quant_method\": \"gptq\"}", "expected fp8" },
    { "quantization_config",
      "{\"quant_method\": \"fp8\", \"fmt\": \"e5m2\", \"weight_block_size\": [128, 128]}", "e5m2" },
    { "quantization_config",
      "{\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", \"weight_block_size\": [64, 128]}",
      "[128, 128]" },
    { "quantization_config", "{\"quant_method\": \"fp8\", \"fmt\": \"e4m3\"}", "[128, 128]" },
    { "model_type", "\"deepseek_v9\"", "deepseek_v9" },
};

static void test_bad(void **state) {
    fixture *f = *state;
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        json_t *json = golden_json("deepseek_r1_config.json");
        json_t *value = json_loads(bad_cases[i].value, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        json_object_set_new(json, bad_cases[i].key, value);
        if (parse(f, json) == R2_OK) fail_msg("case %zu was accepted", i);
        if (strstr(f->err.text, bad_cases[i].expected) == NULL)
            fail_msg("case %zu: %s", i, f->err.text);
        json_decref(json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_r1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_goldens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_twins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
