/* test_plan.c - plans against published figures, against the files of tiny models and against what
 * an engine takes. */
#define _GNU_SOURCE /* mkstemps */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine_runs.h"
#include "r2lm/convert.h"
#include "r2lm/engine.h"

static r2_plan_result plan(const char *path, const r2_plan_options *options) {
    r2_plan_result out;
    r2_error err;
    must(r2_plan(&out, path, options, &err), &err);
    return out;
}

static r2_status plan_text(const char *json, r2_plan_result *out, r2_error *err) {
    char path[] = "/tmp/r2lm-plan-XXXXXX.json";
    const int file = mkstemps(path, 5);
    assert_true(file >= 0);
    assert_int_equal(write(file, json, strlen(json)), (ssize_t)strlen(json));
    close(file);
    const r2_status status = r2_plan(out, path, NULL, err);
    unlink(path);
    return status;
}

static void assert_about(double found, double expected, double share) {
    if (found < expected * (1 - share) || found > expected * (1 + share))
        fail_msg("expected %g, found %g", expected, found);
}

/* DeepSeek's own figures: 671 billion parameters, 37 of them active, a module of 11.5 billion and two
 * copies of 0.9; 70,272 bytes of BF16 per token; the files hold 688.6 * 10^9 bytes. */
static void test_deepseek_r1(void **state) {
    (void)state;
    const r2_plan_result p = plan(golden_path("deepseek_r1_config.json"), NULL);
    assert_string_equal(p.architecture, "deepseek_v3");
    assert_int_equal(p.n_parameters / 1000000000, 671);
    assert_about((double)p.n_active_parameters, 37e9, 0.015);
    assert_about((double)p.parts[R2_PART_MTP].n_parameters, 11.5e9 + 2 * 0.927e9, 0.01);
    assert_int_equal(p.parts[R2_PART_EMBEDDING].n_parameters, 129280LL * 7168);
    assert_int_equal(p.parts[R2_PART_EXPERTS].n_parameters, 58LL * 256 * 3 * 7168 * 2048);
    assert_int_equal(p.parts[R2_PART_SHARED_EXPERTS].n_parameters, 58LL * 3 * 7168 * 2048);
    assert_int_equal(p.parts[R2_PART_DENSE_FFN].n_parameters, 3LL * 3 * 7168 * 18432);
    assert_int_equal(p.parts[R2_PART_ROUTER].n_parameters, 58LL * (256 * 7168 + 256));
    assert_int_equal(p.cache_bytes_per_token, 70272);
    assert_about((double)p.weight_bytes, 688.6e9, 0.002);
    assert_string_equal(p.main_type, "F8_E4M3");
    assert_true(p.is_assumed);
    assert_int_equal(p.n_dense_layers, 3);
    assert_int_equal(p.cache_bytes, 32768LL * 70272);
    assert_int_equal(p.fit, R2_FIT_UNKNOWN);
}

/* Files of this recipe that others made take 404.4 * 10^9 bytes, without the module. */
static void test_quantized_deepseek_r1(void **state) {
    (void)state;
    r2_plan_result p = plan(golden_path("deepseek_r1_config.json"),
                            &(r2_plan_options){ .type = "q4_k_m", .memory_bytes = 768000000000 });
    assert_about((double)(p.weight_bytes - p.parts[R2_PART_MTP].n_bytes), 404.4e9, 0.02);
    assert_int_equal(p.fit, R2_FIT_PACKED);
    assert_int_equal(p.longest_context, 163840);
    p = plan(golden_path("deepseek_r1_config.json"),
             &(r2_plan_options){ .type = "Q4_K_M", .memory_bytes = 24000000000 });
    assert_int_equal(p.fit, R2_FIT_NONE);
    assert_int_equal(p.longest_context, 0);
}

static const char v2_lite[] =
    "{\"model_type\":\"deepseek_v2\",\"hidden_act\":\"silu\",\"vocab_size\":102400,"
    "\"hidden_size\":2048,\"intermediate_size\":10944,\"moe_intermediate_size\":1408,"
    "\"num_hidden_layers\":27,\"num_attention_heads\":16,\"num_key_value_heads\":16,"
    "\"n_shared_experts\":2,\"n_routed_experts\":64,\"num_experts_per_tok\":6,"
    "\"routed_scaling_factor\":1.0,\"kv_lora_rank\":512,\"q_lora_rank\":null,"
    "\"qk_rope_head_dim\":64,\"qk_nope_head_dim\":128,\"v_head_dim\":128,"
    "\"topk_method\":\"greedy\",\"n_group\":1,\"topk_group\":1,\"scoring_func\":\"softmax\","
    "\"norm_topk_prob\":false,\"first_k_dense_replace\":1,\"moe_layer_freq\":1,"
    "\"max_position_embeddings\":163840,\"rms_norm_eps\":1e-6,\"rope_theta\":10000,"
    "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":40,\"mscale\":0.707,\"mscale_all_dim\":0.707,"
    "\"original_max_position_embeddings\":4096,\"beta_fast\":32,\"beta_slow\":1},"
    "\"attention_bias\":false,\"tie_word_embeddings\":false,\"torch_dtype\":\"bfloat16\"}";
static const char qwen3_30b[] =
    "{\"model_type\":\"qwen3_moe\",\"hidden_act\":\"silu\",\"vocab_size\":151936,"
    "\"hidden_size\":2048,\"intermediate_size\":6144,\"moe_intermediate_size\":768,"
    "\"num_hidden_layers\":48,\"num_attention_heads\":32,\"num_key_value_heads\":4,"
    "\"head_dim\":128,\"num_experts\":128,\"num_experts_per_tok\":8,\"norm_topk_prob\":true,"
    "\"decoder_sparse_step\":1,\"mlp_only_layers\":[],\"max_position_embeddings\":40960,"
    "\"rms_norm_eps\":1e-6,\"rope_theta\":1000000,\"tie_word_embeddings\":false}";
static const char llama3_8b[] =
    "{\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"vocab_size\":128256,"
    "\"hidden_size\":4096,\"intermediate_size\":14336,\"num_hidden_layers\":32,"
    "\"num_attention_heads\":32,\"num_key_value_heads\":8,\"max_position_embeddings\":8192,"
    "\"rms_norm_eps\":1e-5,\"rope_theta\":500000,\"tie_word_embeddings\":false}";

/* Published: 15.7 / 2.4 billion; 30.5 / 3.3 (the embedding counted as active); 8.03. */
static void test_published_figures(void **state) {
    static const struct {
        const char *json;
        double n_all, n_active;
        int64_t cache_bytes;
    } cases[] = { { v2_lite, 15.71e9, 2.45e9, 27 * 576 * 2 },
                  { qwen3_30b, 30.53e9, 3.35e9 - 0.311e9, 48 * 2 * 4 * 128 * 2 },
                  { llama3_8b, 8.03e9, 8.03e9 - 0.525e9, 32 * 2 * 8 * 128 * 2 } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        r2_plan_result p;
        r2_error err;
        must(plan_text(cases[i].json, &p, &err), &err);
        assert_about((double)p.n_parameters, cases[i].n_all, 0.002);
        assert_about((double)p.n_active_parameters, cases[i].n_active, 0.003);
        assert_int_equal(p.cache_bytes_per_token, cases[i].cache_bytes);
        assert_int_equal(p.weight_bytes / p.n_parameters, 2); /* BF16, and norms in F32 */
    }
}

/* The list of tensors made from the configuration against the tensors that others wrote. */
static void test_configuration_against_files(void **state) {
    static const char *const names[] = {
        "llama",       "llama_rope3",     "qwen2",          "qwen2_yarn",
        "qwen3",       "qwen3_moe",       "deepseek_v2",    "deepseek_v2_group",
        "deepseek_v3", "deepseek_v3_noq", "deepseek_v3_fp8"
    };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[128];
        const r2_plan_result stored = plan(golden_path(names[i]), NULL);
        snprintf(name, sizeof name, "%s/config.json", names[i]);
        const r2_plan_result alone = plan(golden_path(name), NULL);
        snprintf(name, sizeof name, "%s/model.gguf", names[i]);
        if (access(golden_path(name), R_OK) == 0) {
            const r2_plan_result gguf = plan(golden_path(name), NULL);
            assert_false(gguf.is_assumed);
            assert_int_equal(gguf.n_parameters, stored.n_parameters);
        }
        assert_false(stored.is_assumed);
        assert_true(alone.is_assumed);
        for (int part = 0; part < R2_N_PARTS; part++) {
            if (alone.parts[part].n_parameters != stored.parts[part].n_parameters)
                fail_msg("%s: %s: expected %lld, found %lld", names[i], r2_part_name((r2_part)part),
                         (long long)stored.parts[part].n_parameters,
                         (long long)alone.parts[part].n_parameters);
        }
        assert_int_equal(alone.n_active_parameters, stored.n_active_parameters);
    }
}

/* Against the model and the engine themselves.  Scratch is about: its small arrays are left out. */
static void test_plan_against_engine(void **state) {
    static const char *const names[] = { "llama",       "qwen2",       "qwen3_moe",
                                         "deepseek_v2", "deepseek_v3", "deepseek_v3_fp8" };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        r2_error err;
        r2_model *model;
        r2_model_info info;
        const r2_plan_result p = plan(golden_path(names[i]), NULL);
        must(r2_model_open(&model, golden_path(names[i]), NULL, &err), &err);
        r2_model_get_info(model, &info);
        assert_int_equal(p.cache_bytes_per_token, info.cache_bytes_per_token);
        assert_int_equal(p.n_layers, info.n_layers);
        /* The model counts matrices alone. */
        assert_about((double)p.n_active_parameters, (double)info.n_active_parameters, 0.02);
        assert_about((double)p.bytes_per_token, (double)info.bytes_per_token, 0.02);
        r2_model_close(model);
    }
}

/* A rate and a size give a time. */
static void test_speed(void **state) {
    (void)state;
    const r2_plan_options o = {
        .type = "BF16", .n_sequences = 4, .read_bytes_per_s = 1e9, .products_per_s = 1e9
    };
    const r2_plan_result dense = plan(golden_path("llama"), &o),
                         moe = plan(golden_path("qwen3_moe"), &o);
    assert_about(dense.decode_tok_s, 1e9 / (double)dense.bytes_per_token, 0.001);
    assert_about(
        dense.full_decode_tok_s,
        1e9 / (double)(dense.bytes_per_token + dense.n_context * dense.cache_bytes_per_token),
        0.001);
    assert_about(dense.prefill_tok_s, 1e9 / (2 * (double)dense.n_active_parameters), 0.001);
    /* Four tokens share what is read, but in a mixture not the experts. */
    assert_about(dense.batch_decode_tok_s, dense.prefill_tok_s, 0.001);
    const r2_plan_options slow = { .type = "BF16", .n_sequences = 4, .read_bytes_per_s = 1e6 };
    const r2_plan_result dense4 = plan(golden_path("llama"), &slow),
                         moe4 = plan(golden_path("qwen3_moe"), &slow);
    assert_about(dense4.batch_decode_tok_s, 4 * dense4.decode_tok_s, 0.001);
    assert_true(moe4.batch_decode_tok_s < 3.5 * moe4.decode_tok_s &&
                moe4.batch_decode_tok_s > moe4.decode_tok_s);
    assert_true(moe.decode_tok_s > 0);
    assert_true(moe4.prefill_tok_s == 0); /* products were not measured */
}

static void test_memory(void **state) {
    (void)state;
    r2_plan_options o = { .n_context = 1000, .n_sequences = 3, .cache_type = "f32" };
    r2_plan_result p = plan(golden_path("llama"), &o);
    assert_int_equal(p.cache_bytes, 3 * 1024 * p.cache_bytes_per_token);
    o.memory_bytes = p.packed_bytes;
    assert_int_equal(plan(golden_path("llama"), &o).fit, R2_FIT_PACKED);
    /* One byte less: a page less for each sequence. */
    o.memory_bytes = p.packed_bytes < p.unpacked_bytes ? p.packed_bytes - 1 : p.unpacked_bytes - 1;
    p = plan(golden_path("llama"), &o);
    assert_int_equal(p.fit, R2_FIT_NONE);
    assert_true(p.longest_context == 896 || p.longest_context == p.n_context_made_for);
}

static void test_bad_input(void **state) {
    r2_plan_result p;
    r2_error err;
    (void)state;
    const char *path = golden_path("llama");
    assert_int_equal(r2_plan(&p, path, &(r2_plan_options){ .type = "Q9_Z" }, &err), R2_E_ARGUMENT);
    assert_non_null(strstr(err.text, "Q9_Z"));
    assert_int_equal(r2_plan(&p, path, &(r2_plan_options){ .cache_type = "x" }, &err),
                     R2_E_ARGUMENT);
    assert_int_equal(r2_plan(&p, path, &(r2_plan_options){ .n_context = -1 }, &err), R2_E_RANGE);
    assert_int_equal(r2_plan(&p, path, &(r2_plan_options){ .n_sequences = 1 << 20 }, &err),
                     R2_E_RANGE);
    assert_int_equal(r2_plan(&p, golden_path("none.json"), NULL, &err), R2_E_NOT_FOUND);
    assert_int_equal(r2_plan(&p, golden_path("perplexity.json"), NULL, &err), R2_E_NOT_FOUND);
    assert_int_equal(p.n_parameters, 0);
    assert_int_equal(plan_text("{\"model_type\":\"zebra\"}", &p, &err), R2_E_UNSUPPORTED);
    /* The largest sizes that a configuration may claim overflow nothing. */
    assert_int_equal(
        plan_text("{\"model_type\":\"qwen3_moe\",\"vocab_size\":4194304,\"hidden_size\":1048576,"
                  "\"intermediate_size\":1048576,\"moe_intermediate_size\":1048576,"
                  "\"num_hidden_layers\":1024,\"num_attention_heads\":1024,"
                  "\"num_key_value_heads\":1024,\"head_dim\":512,\"num_experts\":1024,"
                  "\"num_experts_per_tok\":1024,\"max_position_embeddings\":16777216}",
                  &p, &err),
        R2_OK);
    assert_true(p.n_parameters > 0 && p.weight_bytes > 0 && p.packed_bytes > 0);
}

static void test_products(void **state) {
    double rate;
    r2_error err;
    (void)state;
    must(r2_measure_products(&rate, "Q8_0", 1, 0.01, &err), &err);
    assert_true(rate > 1e6);
    must(r2_measure_products(&rate, NULL, 2, 0.01, &err), &err);
    assert_true(rate > 1e6);
    assert_int_equal(r2_measure_products(&rate, "nothing", 1, 0.01, &err), R2_E_ARGUMENT);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_deepseek_r1),
                                        cmocka_unit_test(test_quantized_deepseek_r1),
                                        cmocka_unit_test(test_published_figures),
                                        cmocka_unit_test(test_configuration_against_files),
                                        cmocka_unit_test(test_plan_against_engine),
                                        cmocka_unit_test(test_speed),
                                        cmocka_unit_test(test_memory),
                                        cmocka_unit_test(test_bad_input),
                                        cmocka_unit_test(test_products) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
