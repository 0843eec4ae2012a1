/* test_adapter.c - adapters in the engine: exactness in mixed batches, the prefix cache, saved
 * sequences, a change under way; and adapters that must be refused with one clear line. */
#define _GNU_SOURCE /* mkdtemp, mkstemp */
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
#include "r2lm/engine.h"

enum { N_PROMPT = 300, N_NEW = 24, CAP = 512, PATH_BYTES = 512 };

/* A model, two adapters for it, and an engine. */
typedef struct {
    r2_model *model;
    r2_adapter *a, *b;
    r2_engine *engine;
} rig;

static void open_rig(rig *t, const r2_engine_options *options) {
    r2_error err;
    must(r2_model_open(&t->model, golden_path("qwen2"), NULL, &err), &err);
    must(r2_adapter_open(&t->a, t->model, golden_path("lora_qwen2"), &err), &err);
    must(r2_adapter_open(&t->b, t->model, golden_path("lora_qwen2_rs"), &err), &err);
    must(r2_engine_create(&t->engine, t->model, options, &err), &err);
}

static void close_rig(rig *t) {
    r2_engine_destroy(t->engine);
    r2_adapter_close(t->a);
    r2_adapter_close(t->b);
    r2_model_close(t->model);
}

static r2_sequence_options with(const r2_adapter *adapter, float scale) {
    return (r2_sequence_options){ .sampling = { .temperature = 0.9f, .top_p = 0.95f, .seed = 7 },
                                  .max_new_tokens = N_NEW,
                                  .ignores_end = true,
                                  .adapter = adapter,
                                  .adapter_scale = scale };
}

static r2_sequence *start(r2_engine *engine, const r2_sequence_options *options, int32_t n_prompt) {
    r2_error err;
    r2_sequence *s;
    r2_token tokens[CAP];
    for (int32_t i = 0; i < n_prompt; i++)
        tokens[i] = (i * 37 + i * i % 23) % 120;
    must(r2_sequence_create(&s, engine, options, &err), &err);
    must(r2_sequence_append(s, tokens, n_prompt, &err), &err);
    return s;
}

typedef struct {
    int32_t n, n_cached;
    r2_generated items[CAP];
} output;

static void finish(r2_sequence *s, output *out) {
    r2_sequence_status status;
    r2_sequence_get_status(s, &status);
    out->n_cached = status.n_cached;
    out->n = r2_sequence_read(s, out->items, CAP);
    r2_sequence_destroy(s);
}

static void generate(r2_engine *engine, const r2_sequence_options *options, int32_t n_prompt,
                     output *out) {
    r2_sequence *s = start(engine, options, n_prompt);
    run_engine(engine);
    finish(s, out);
}

static bool is_same(const output *a, const output *b) {
    for (int32_t i = 0; i < a->n && a->n == b->n; i++) {
        if (a->items[i].token != b->items[i].token ||
            memcmp(&a->items[i].logprob, &b->items[i].logprob, sizeof(float)) != 0)
            return false;
    }
    return a->n == b->n && a->n > 0;
}

/* ---- exactness ---- */

/* Sequences with either adapter, two scales and none, together and one by one. */
static void test_mixed_batch(void **state) {
    (void)state;
    enum { N = 7 };
    rig t;
    open_rig(&t, &(r2_engine_options){
                     .n_threads = 2, .n_batch_tokens = 50, .has_no_prefix_cache = true });
    const r2_sequence_options options[N] = { with(t.a, 0), with(NULL, 0),   with(t.b, 0),
                                             with(t.b, 1), with(t.a, 0.5f), with(NULL, 0),
                                             with(t.a, 0) };
    static output alone[N], among;
    r2_sequence *s[N];
    for (int32_t i = 0; i < N; i++)
        generate(t.engine, &options[i], 20 + 31 * i, &alone[i]);
    for (int32_t i = 0; i < N; i++)
        s[i] = start(t.engine, &options[i], 20 + 31 * i);
    run_engine(t.engine);
    for (int32_t i = 0; i < N; i++) {
        finish(s[i], &among);
        assert_true(is_same(&alone[i], &among));
    }
    /* The adapters do something, each its own thing. */
    static output plain, first, second, half;
    generate(t.engine, &options[1], 100, &plain);
    generate(t.engine, &options[0], 100, &first);
    generate(t.engine, &options[2], 100, &second);
    generate(t.engine, &options[4], 100, &half);
    assert_false(is_same(&plain, &first) || is_same(&plain, &second) || is_same(&first, &second));
    assert_false(is_same(&first, &half) || is_same(&plain, &half));
    close_rig(&t);
}

static void test_threads_and_batches(void **state) {
    (void)state;
    static const r2_engine_options all[] = { { .n_threads = 1 },
                                             { .n_threads = 3, .n_batch_tokens = 17 },
                                             { .n_threads = 2, .n_batch_tokens = 1 } };
    static output first, other;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        rig t;
        open_rig(&t, &all[i]);
        const r2_sequence_options options = with(t.a, 0);
        generate(t.engine, &options, N_PROMPT, i == 0 ? &first : &other);
        if (i > 0) assert_true(is_same(&first, &other));
        close_rig(&t);
    }
}

/* ---- what is remembered ---- */

static void test_prefixes_stay_apart(void **state) {
    (void)state;
    rig t;
    static output cold, cached, other;
    open_rig(&t, NULL);
    const r2_sequence_options plain = with(NULL, 0), a = with(t.a, 0), a1 = with(t.a, 1),
                              half = with(t.a, 0.5f), b = with(t.b, 0);
    generate(t.engine, &plain, N_PROMPT, &other);
    generate(t.engine, &a, N_PROMPT, &cold);
    assert_int_equal(cold.n_cached, 0); /* the model's own pages are not its pages */
    generate(t.engine, &a1, N_PROMPT, &cached);
    assert_int_equal(cached.n_cached, N_PROMPT - 1); /* scale 1 is the default */
    assert_true(is_same(&cold, &cached));
    generate(t.engine, &half, N_PROMPT, &other);
    assert_int_equal(other.n_cached, 0);
    generate(t.engine, &b, N_PROMPT, &other);
    assert_int_equal(other.n_cached, 0);
    generate(t.engine, &plain, N_PROMPT, &other);
    assert_int_equal(other.n_cached, N_PROMPT - 1);
    close_rig(&t);
}

/* A change of adapter, by options or by a fork, is as if the tokens had been read with the new one. */
static void test_change(void **state) {
    (void)state;
    r2_error err;
    rig t;
    static output fresh, changed, forked, kept;
    open_rig(&t, &(r2_engine_options){ .has_no_prefix_cache = true });
    const r2_sequence_options plain = with(NULL, 0), b = with(t.b, 0);
    r2_sequence_options manual = with(t.a, 0);
    manual.is_manual = true;
    generate(t.engine, &b, N_PROMPT, &fresh);
    r2_sequence *s = start(t.engine, &manual, N_PROMPT), *fork;
    run_engine(t.engine);
    assert_non_null(r2_sequence_logits(s));
    must(r2_sequence_fork(&fork, s, &b, &err), &err);
    must(r2_sequence_set_options(s, &b, &err), &err);
    assert_null(r2_sequence_logits(s)); /* those were the other adapter's */
    run_engine(t.engine);
    finish(s, &changed);
    finish(fork, &forked);
    assert_true(is_same(&fresh, &changed));
    assert_true(is_same(&fresh, &forked));
    /* The same adapter again keeps what is computed. */
    s = start(t.engine, &manual, N_PROMPT);
    run_engine(t.engine);
    must(r2_sequence_set_options(s, &manual, &err), &err);
    assert_non_null(r2_sequence_logits(s));
    must(r2_sequence_set_options(s, &plain, &err), &err);
    run_engine(t.engine);
    finish(s, &kept);
    generate(t.engine, &plain, N_PROMPT, &fresh);
    assert_true(is_same(&fresh, &kept));
    close_rig(&t);
}

static void test_saved_sequences(void **state) {
    (void)state;
    r2_error err;
    rig t;
    static output first, loaded;
    char path[] = "/tmp/r2lm_adapter_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    open_rig(&t, NULL);
    const r2_sequence_options a = with(t.a, 0), half = with(t.a, 0.5f), b = with(t.b, 0),
                              plain = with(NULL, 0);
    r2_sequence *s = start(t.engine, &a, N_PROMPT), *again = NULL;
    run_engine(t.engine);
    must(r2_sequence_rewind(s, N_PROMPT, &err), &err);
    must(r2_sequence_save(s, path, &err), &err);
    r2_sequence_destroy(s);
    generate(t.engine, &a, N_PROMPT, &first);
    must(r2_sequence_load(&again, t.engine, path, &a, &err), &err);
    run_engine(t.engine);
    finish(again, &loaded);
    assert_true(is_same(&first, &loaded));
    const r2_sequence_options *const others[] = { &half, &b, &plain };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r2_sequence_load(&again, t.engine, path, others[i], &err), R2_E_MISMATCH);
        assert_null(again);
        assert_non_null(strstr(err.text, "saved with adapter"));
    }
    unlink(path);
    close_rig(&t);
}

/* ---- memory ---- */

static int n_live, n_calls, refuse_at = -1;

static void *count_allocate(void *user, size_t n_bytes) {
    (void)user;
    if (n_calls++ == refuse_at) return NULL;
    void *memory = malloc(n_bytes);
    n_live += memory != NULL;
    return memory;
}

static void count_release(void *user, void *memory, size_t n_bytes) {
    (void)user;
    (void)n_bytes;
    n_live -= memory != NULL;
    free(memory);
}

static const r2_model_options counted = { .host = { .allocate = count_allocate,
                                                    .release = count_release } };

static void test_refused_allocations(void **state) {
    (void)state;
    static const char *const adapters[] = { "lora_llama", "lora_llama/adapter.gguf" };
    r2_error err;
    r2_model *model;
    must(r2_model_open(&model, golden_path("llama"), &counted, &err), &err);
    const int before = n_live;
    for (int i = 0; i < 2; i++) {
        r2_status status = R2_E_NOMEM;
        int k = 0;
        for (; status != R2_OK && k < 2000; k++) {
            r2_adapter *adapter;
            n_calls = 0;
            refuse_at = k;
            status = r2_adapter_open(&adapter, model, golden_path(adapters[i]), &err);
            if (status != R2_OK) assert_int_equal(status, R2_E_NOMEM);
            assert_true((adapter == NULL) == (status != R2_OK));
            r2_adapter_close(adapter);
            assert_int_equal(n_live, before);
        }
        assert_true(k > 2 && k < 2000);
    }
    refuse_at = -1;
    r2_model_close(model);
    assert_int_equal(n_live, 0);
}

static void test_no_allocation_between_tokens(void **state) {
    (void)state;
    r2_error err;
    r2_model *model;
    r2_adapter *adapter;
    r2_engine *engine;
    must(r2_model_open(&model, golden_path("qwen3_moe"), &counted, &err), &err);
    must(r2_adapter_open(&adapter, model, golden_path("lora_qwen3_moe"), &err), &err);
    must(r2_engine_create(&engine, model, NULL, &err), &err);
    const r2_sequence_options options = with(adapter, 0);
    r2_sequence *s = start(engine, &options, N_PROMPT);
    const int before = n_calls;
    run_engine(engine);
    assert_int_equal(n_calls, before);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_adapter_close(adapter);
    r2_model_close(model);
    assert_int_equal(n_live, 0);
}

/* ---- bad input ---- */

static void write_file(const char *folder, const char *name, const void *bytes, size_t n_bytes) {
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    fclose(file);
}

typedef struct {
    const char *name;
    int rows, cols;
    float value;
} tensor;

/* F32 tensors, all of one value. */
static void write_tensors(const char *folder, const tensor *tensors, int n, long cut) {
    static uint8_t bytes[1 << 16];
    char header[2048] = "{";
    size_t at = 1, data = 0;
    for (int i = 0; i < n; i++) {
        const size_t n_bytes = (size_t)tensors[i].rows * (size_t)tensors[i].cols * 4;
        at += (size_t)snprintf(
            header + at, sizeof header - at,
            "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}",
            i > 0 ? "," : "", tensors[i].name, tensors[i].rows, tensors[i].cols, data,
            data + n_bytes);
        data += n_bytes;
    }
    header[at++] = '}';
    const uint64_t n_header = at;
    memcpy(bytes, &n_header, 8);
    memcpy(bytes + 8, header, at);
    at += 8;
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < tensors[i].rows * tensors[i].cols; k++, at += 4)
            memcpy(bytes + at, &tensors[i].value, 4);
    }
    write_file(folder, "adapter_model.safetensors", bytes, at - (size_t)cut);
}

#define NAME(layer, module, half) \
    "base_model.model.model.layers." #layer "." module ".lora_" half ".weight"
#define Q_A NAME(0, "self_attn.q_proj", "A")
#define Q_B NAME(0, "self_attn.q_proj", "B")
#define CONFIG(more) "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8" more "}"

typedef struct {
    const char *config;
    tensor tensors[2];
    int n_tensors;
    long cut; /* bytes missing at the end */
    r2_status status;
    const char *said; /* part of the message; NULL: opens */
} bad_case;

/* The golden qwen2: d_model 56, 7 heads of 8, 3 layers. */
static const bad_case bad_cases[] = {
    { CONFIG(""), { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } }, 2, 0, R2_OK, NULL },
    { CONFIG(",\"bias\":\"none\",\"target_modules\":[\"q_proj\"],\"modules_to_save\":null"),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_OK,
      NULL },
    { CONFIG(""),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 5, 1 } },
      2,
      0,
      R2_E_MISMATCH,
      "layers.0.self_attn.q_proj: rank of lora_A is 4, of lora_B is 5" },
    { CONFIG(""),
      { { Q_A, 4, 56, 1 } },
      1,
      0,
      R2_E_FORMAT,
      "expected lora_A and lora_B, found lora_A" },
    { CONFIG(""), { { Q_B, 56, 4, 1 } }, 1, 0, R2_E_FORMAT, "found lora_B only" },
    { CONFIG(""),
      { { Q_A, 4, 48, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_E_MISMATCH,
      "expected 56 columns and 56 rows, found 48 and 56" },
    { CONFIG(""),
      { { NAME(3, "self_attn.q_proj", "A"), 4, 56, 1 },
        { NAME(3, "self_attn.q_proj", "B"), 56, 4, 1 } },
      2,
      0,
      R2_E_MISMATCH,
      "model.layers.3.self_attn.q_proj: the model has no such matrix" },
    { CONFIG(""),
      { { NAME(0, "mlp.experts.0.up_proj", "A"), 4, 56, 1 },
        { NAME(0, "mlp.experts.0.up_proj", "B"), 56, 4, 1 } },
      2,
      0,
      R2_E_UNSUPPORTED,
      "mlp.experts.0.up_proj: adapters of experts" },
    { CONFIG(""),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, (float)(0.0 / 0.0) } },
      2,
      0,
      R2_E_FORMAT,
      "lora_B: row 0 is not all numbers" },
    { CONFIG(""), { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } }, 2, 40, R2_E_FORMAT, "adapter_model" },
    { CONFIG(""),
      { { "base_model.model.model.embed_tokens.lora_embedding_A", 4, 56, 1 } },
      1,
      0,
      R2_E_UNSUPPORTED,
      "adapters of the embedding" },
    { CONFIG(""),
      { { NAME(0, "self_attn.q_proj", "magnitude_vector"), 4, 56, 1 } },
      1,
      0,
      R2_E_UNSUPPORTED,
      "DoRA" },
    { CONFIG(""),
      { { "model.norm.weight", 4, 56, 1 } },
      1,
      0,
      R2_E_UNSUPPORTED,
      "model.norm.weight" },
    { CONFIG(""), { { NULL, 0, 0, 0 } }, 0, 0, R2_E_FORMAT, "without tensors" },
    { CONFIG(",\"use_dora\":true"),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_E_UNSUPPORTED,
      "DoRA" },
    { CONFIG(",\"bias\":\"all\""),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_E_UNSUPPORTED,
      "bias: expected \"none\", found \"all\"" },
    { CONFIG(",\"modules_to_save\":[\"lm_head\"]"),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_E_UNSUPPORTED,
      "modules_to_save" },
    { CONFIG(",\"target_modules\":[\"q_proj\",\"k_proj\"]"),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_E_FORMAT,
      "k_proj: no tensor" },
    { CONFIG(",\"alpha_pattern\":{\"q_(a|b)*\":2}"),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_E_UNSUPPORTED,
      "alpha_pattern" },
    { CONFIG(",\"alpha_pattern\":{\"q_proj\":\"2\"}"),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_E_FORMAT,
      "expected a number" },
    { CONFIG(",\"init_lora_weights\":\"pissa_niter_4\""),
      { { Q_A, 4, 56, 1 }, { Q_B, 56, 4, 1 } },
      2,
      0,
      R2_E_UNSUPPORTED,
      "pissa" },
    { "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":NaN}",
      { { Q_A, 4, 56, 1 } },
      1,
      0,
      R2_E_FORMAT,
      "adapter_config.json" },
    { "{\"peft_type\":\"LORA\",\"r\":0}", { { Q_A, 4, 56, 1 } }, 1, 0, R2_E_FORMAT, "r: expected" },
    { "{\"peft_type\":\"IA3\",\"r\":4}", { { Q_A, 4, 56, 1 } }, 1, 0, R2_E_UNSUPPORTED, "IA3" },
    { "[]", { { Q_A, 4, 56, 1 } }, 1, 0, R2_E_FORMAT, "adapter_config.json" },
};

static void test_bad_folders(void **state) {
    (void)state;
    r2_error err;
    r2_model *model;
    char folder[] = "/tmp/r2lm_adapter_XXXXXX", path[PATH_BYTES];
    assert_non_null(mkdtemp(folder));
    must(r2_model_open(&model, golden_path("qwen2"), NULL, &err), &err);
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        const bad_case *c = &bad_cases[i];
        r2_adapter *adapter;
        write_file(folder, "adapter_config.json", c->config, strlen(c->config));
        write_tensors(folder, c->tensors, c->n_tensors, c->cut);
        const r2_status status = r2_adapter_open(&adapter, model, folder, &err);
        if (status != c->status || (c->said != NULL && strstr(err.text, c->said) == NULL))
            fail_msg("case %zu: %s: %s", i, r2_status_name(status), err.text);
        assert_true((adapter == NULL) == (status != R2_OK));
        r2_adapter_close(adapter);
    }
    static const char *const names[] = { "adapter_config.json", "adapter_model.safetensors" };
    for (int i = 1; i >= 0; i--) {
        r2_adapter *adapter;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
        assert_int_equal(r2_adapter_open(&adapter, model, folder, &err), R2_E_NOT_FOUND);
    }
    rmdir(folder);
    r2_model_close(model);
}

/* An adapter of another model, a model as an adapter, an adapter as a model. */
static void test_wrong_files(void **state) {
    (void)state;
    r2_error err;
    r2_adapter *adapter;
    r2_sequence *s;
    r2_model *other;
    rig t;
    open_rig(&t, NULL);
    assert_int_equal(r2_adapter_open(&adapter, t.model, golden_path("lora_llama"), &err),
                     R2_E_MISMATCH);
    assert_int_equal(
        r2_adapter_open(&adapter, t.model, golden_path("lora_llama/adapter.gguf"), &err),
        R2_E_MISMATCH);
    assert_non_null(strstr(err.text, "made for architecture llama, the model is qwen2"));
    assert_int_equal(r2_adapter_open(&adapter, t.model, golden_path("qwen2/model.gguf"), &err),
                     R2_E_FORMAT);
    assert_int_equal(r2_adapter_open(&adapter, t.model, golden_path("qwen2"), &err),
                     R2_E_NOT_FOUND);
    assert_int_equal(r2_model_open(&other, golden_path("lora_llama"), NULL, &err),
                     R2_E_UNSUPPORTED);
    assert_int_equal(r2_model_open(&other, golden_path("lora_llama/adapter.gguf"), NULL, &err),
                     R2_E_UNSUPPORTED);
    must(r2_model_open(&other, golden_path("qwen2"), NULL, &err), &err);
    must(r2_adapter_open(&adapter, other, golden_path("lora_qwen2"), &err), &err);
    r2_sequence_options options = with(adapter, 0);
    assert_int_equal(r2_sequence_create(&s, t.engine, &options, &err), R2_E_ARGUMENT);
    r2_adapter_close(adapter);
    must(r2_adapter_open(&adapter, NULL, golden_path("lora_qwen2"), &err), &err);
    options = with(adapter, 0); /* opened to be looked at only */
    assert_int_equal(r2_sequence_create(&s, t.engine, &options, &err), R2_E_ARGUMENT);
    r2_adapter_close(adapter);
    options = with(t.a, (float)(0.0 / 0.0));
    assert_int_equal(r2_sequence_create(&s, t.engine, &options, &err), R2_E_RANGE);
    r2_model_close(other);
    close_rig(&t);
}

static void test_info(void **state) {
    (void)state;
    r2_error err;
    r2_adapter *adapter;
    r2_adapter_info info;
    must(r2_adapter_open(&adapter, NULL, golden_path("lora_llama/adapter.gguf"), &err), &err);
    r2_adapter_get_info(adapter, &info);
    assert_string_equal(info.name, "adapter.gguf");
    assert_string_equal(info.base_name, "llama");
    assert_int_equal(info.rank, 6);
    assert_int_equal(info.n_matrices, 28); /* 7 in each of 4 layers */
    assert_true(info.alpha == 9 && info.n_parameters > 0 && info.memory_bytes == 0);
    assert_non_null(strstr(info.targets, "attn_q"));
    r2_adapter_close(adapter);
    assert_true(r2_adapter_is_at(golden_path("lora_llama")));
    assert_true(r2_adapter_is_at(golden_path("lora_llama/adapter.gguf")));
    assert_false(r2_adapter_is_at(golden_path("llama")));
    assert_false(r2_adapter_is_at(golden_path("llama/model.gguf")));
    assert_false(r2_adapter_is_at("/nowhere/at/all"));
}

/* A GGUF adapter cut anywhere or with a NaN as its scale. */
static void test_bad_gguf(void **state) {
    (void)state;
    static uint8_t bytes[1 << 17];
    static const char key[] = "adapter.lora.alpha";
    r2_error err;
    r2_model *model;
    r2_adapter *adapter;
    char folder[] = "/tmp/r2lm_adapter_XXXXXX", path[PATH_BYTES];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.gguf", folder);
    FILE *file = fopen(golden_path("lora_llama/adapter.gguf"), "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_true(n > 1000 && n < sizeof bytes);
    must(r2_model_open(&model, golden_path("llama"), NULL, &err), &err);
    for (size_t cut = 0; cut < n; cut += 1 + n / 40) {
        write_file(folder, "a.gguf", bytes, cut);
        assert_int_not_equal(r2_adapter_open(&adapter, model, path, &err), R2_OK);
        assert_null(adapter);
        assert_true(err.text[0] != '\0');
    }
    const float not_a_number = (float)(0.0 / 0.0);
    uint8_t *at = memmem(bytes, n, key, sizeof key - 1);
    assert_non_null(at);
    memcpy(at + sizeof key - 1 + 4, &not_a_number, 4); /* behind the value's type */
    write_file(folder, "a.gguf", bytes, n);
    assert_int_not_equal(r2_adapter_open(&adapter, model, path, &err), R2_OK);
    assert_non_null(strstr(err.text, key));
    unlink(path);
    rmdir(folder);
    r2_model_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed_batch),
        cmocka_unit_test(test_threads_and_batches),
        cmocka_unit_test(test_prefixes_stay_apart),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_saved_sequences),
        cmocka_unit_test(test_refused_allocations),
        cmocka_unit_test(test_no_allocation_between_tokens),
        cmocka_unit_test(test_bad_folders),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_bad_gguf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
