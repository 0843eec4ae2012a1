/* test_convert.c - tiny models of every family from one container to the other: against files that
 * gguf-py wrote, there and back, and by the logits that both containers give. */
#define _GNU_SOURCE /* mkdtemp, nftw, access */
#include <ftw.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "files/gguf_write.h"
#include "files/safetensors.h"
#include "files/safetensors_write.h"
#include "golden_cases.h"
#include "r2lm/convert.h"

enum { PATH_BYTES = 1024 };

static char room[64];
static r2i_heap heap;

static void case_path(char out[PATH_BYTES], const char *name, const char *file) {
    snprintf(out, PATH_BYTES, "%.700s/%.100s%s%.100s", golden_folder(), name,
             file[0] != '\0' ? "/" : "", file);
}

static void room_path(char out[PATH_BYTES], const char *name) {
    snprintf(out, PATH_BYTES, "%s/%.200s", room, name);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static int open_room(void **state) {
    (void)state;
    strcpy(room, "/tmp/r2lm-convert-XXXXXX");
    r2i_heap_init(&heap);
    return mkdtemp(room) != NULL ? 0 : -1;
}

static int close_room(void **state) {
    (void)state;
    return nftw(room, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void convert(const char *in, const char *out, const r2_convert_options *options) {
    r2_error err;
    r2_convert_options all = options != NULL ? *options : (r2_convert_options){ 0 };
    all.is_forced = true;
    if (all.n_threads == 0) all.n_threads = 2;
    must(r2_convert(in, out, &all, &err), &err);
}

/* ---- against gguf-py ---- */

static void compare_tensors(const r2i_gguf *found, const r2i_gguf *expected, const char *name) {
    assert_int_equal(r2i_gguf_n_tensors(found), r2i_gguf_n_tensors(expected));
    for (size_t i = 0; i < r2i_gguf_n_tensors(expected); i++) {
        const r2i_stored_tensor *e = r2i_gguf_tensor_at(expected, i),
                                *f = r2i_gguf_find_tensor(found, e->name);
        if (f == NULL) fail_msg("%s: %s is missing", name, e->name);
        if (f->type != e->type || f->n_dims != e->n_dims ||
            memcmp(f->ne, e->ne, sizeof f->ne) != 0 || f->n_bytes != e->n_bytes ||
            memcmp(f->bytes, e->bytes, e->n_bytes) != 0)
            fail_msg("%s: %s differs", name, e->name);
    }
}

static void compare_values(const r2i_gguf *found, const r2i_gguf *expected, const char *name) {
    for (size_t i = 0; i < r2i_gguf_n_values(expected); i++) {
        const r2i_gguf_value *e = r2i_gguf_value_at(expected, i), *f = r2i_gguf_find(found, e->key);
        if (f == NULL) fail_msg("%s: %s is missing", name, e->key);
        if (f->type != e->type || f->n_bytes != e->n_bytes ||
            memcmp(f->bytes, e->bytes, e->n_bytes) != 0)
            fail_msg("%s: %s differs", name, e->key);
    }
    /* general.type is all that those files do without. */
    assert_int_equal(r2i_gguf_n_values(found), r2i_gguf_n_values(expected) + 1);
}

static void test_twins_of_gguf_py(void **state) {
    (void)state;
    static const char *const names[] = { "llama", "qwen2", "qwen3", "deepseek_v2", "deepseek_v3" };
    const r2_convert_options options = { .drops_mtp = true };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char in[PATH_BYTES], out[PATH_BYTES], twin[PATH_BYTES];
        r2i_gguf *found, *expected;
        r2i_arena arena;
        r2_error err;
        case_path(in, names[i], "");
        case_path(twin, names[i], "model.gguf");
        room_path(out, "twin.gguf");
        convert(in, out, &options);
        r2i_arena_init(&arena, &heap, 1 << 16, 0);
        must(r2i_gguf_open(&found, out, &arena, &err), &err);
        must(r2i_gguf_open(&expected, twin, &arena, &err), &err);
        compare_tensors(found, expected, names[i]);
        compare_values(found, expected, names[i]);
        r2i_gguf_close(found);
        r2i_gguf_close(expected);
        r2i_arena_destroy(&arena);
    }
}

/* ---- cases that GGUF cannot say as they are, changed so that it can ---- */

static json_t *read_json(const char *path) {
    json_t *json = json_load_file(path, 0, NULL);
    if (json == NULL) fail_msg("cannot read %s", path);
    return json;
}

static void copy_file(const char *from, const char *to) {
    static char buffer[1 << 16];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, in)) > 0;)
        assert_int_equal(fwrite(buffer, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* A copy of a case with some fields of its configuration changed (an object to merge). */
static void make_case(char out[PATH_BYTES], const char *name, json_t *changes) {
    char from[PATH_BYTES], to[PATH_BYTES + 32];
    room_path(out, "changed");
    (void)nftw(out, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(mkdir(out, 0700), 0);
    case_path(from, name, "config.json");
    json_t *config = read_json(from);
    json_object_update(config, changes);
    snprintf(to, sizeof to, "%s/config.json", out);
    assert_int_equal(json_dump_file(config, to, 0), 0);
    json_decref(config);
    json_decref(changes);
    case_path(from, name, "model.safetensors");
    snprintf(to, sizeof to, "%s/model.safetensors", out);
    copy_file(from, to);
}

/* The dense layer of qwen3_moe becomes one with the experts of layer 0. */
static void make_all_experts(char out[PATH_BYTES]) {
    char path[PATH_BYTES + 32];
    r2i_safetensors *weights;
    r2i_safetensors_writer *w;
    r2i_arena arena;
    r2_error err;
    make_case(out, "qwen3_moe", json_pack("{s:[]}", "mlp_only_layers"));
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    must(r2i_safetensors_open(&weights, out, &arena, &err), &err);
    must(r2i_safetensors_writer_create(&w, &heap, &err), &err);
    for (size_t i = 0; i < r2i_safetensors_n_tensors(weights); i++) {
        const r2i_safetensor *t = r2i_safetensors_tensor_at(weights, i);
        char name[128];
        if (strncmp(t->name, "model.layers.1.mlp.", 19) == 0) continue;
        must(r2i_safetensors_writer_add_tensor(w, t->name, t->dtype, t->n_dims, t->shape, t->bytes,
                                               &err),
             &err);
        if (strncmp(t->name, "model.layers.0.mlp.", 19) != 0) continue;
        snprintf(name, sizeof name, "model.layers.1.mlp.%s", t->name + 19);
        must(r2i_safetensors_writer_add_tensor(w, name, t->dtype, t->n_dims, t->shape, t->bytes,
                                               &err),
             &err);
    }
    snprintf(path, sizeof path, "%s/model.safetensors", out);
    must(r2i_safetensors_writer_begin(w, path, &err), &err);
    must(r2i_safetensors_writer_finish(w, &err), &err);
    r2i_safetensors_writer_destroy(w);
    r2i_safetensors_close(weights);
    r2i_arena_destroy(&arena);
}

/* ---- logits ---- */

/* Logits behind the first prompt of a case; *n of them. */
static float *run_model(const char *path, const char *name, int32_t *n) {
    char expected_path[PATH_BYTES];
    r2_error err;
    r2_model *model;
    r2_engine *engine;
    r2_sequence *s;
    r2_model_info info;
    r2_token ids[512];
    int32_t n_active = 1;
    const r2_model_options options = { .cpu = "ref" };
    const r2_engine_options engine_options = { .n_threads = 1 };
    const r2_sequence_options manual = { .is_manual = true };
    case_path(expected_path, name, "expected.json");
    json_t *expected = read_json(expected_path);
    const json_t *list =
        json_object_get(json_array_get(json_object_get(expected, "prompts"), 0), "input_ids");
    const int32_t n_ids = (int32_t)json_array_size(list);
    assert_true(n_ids > 0 && n_ids <= 512);
    for (int32_t i = 0; i < n_ids; i++)
        ids[i] = (r2_token)json_integer_value(json_array_get(list, (size_t)i));
    json_decref(expected);
    must(r2_model_open(&model, path, &options, &err), &err);
    r2_model_get_info(model, &info);
    must(r2_engine_create(&engine, model, &engine_options, &err), &err);
    must(r2_sequence_create(&s, engine, &manual, &err), &err);
    must(r2_sequence_append(s, ids, n_ids, &err), &err);
    while (n_active > 0)
        must(r2_engine_step(engine, &n_active, &err), &err);
    *n = info.n_vocab;
    float *logits = malloc((size_t)*n * sizeof *logits);
    assert_non_null(logits);
    memcpy(logits, r2_sequence_logits(s), (size_t)*n * sizeof *logits);
    r2_sequence_destroy(s);
    r2_engine_destroy(engine);
    r2_model_close(model);
    return logits;
}

static double difference(const float *a, const float *b, int32_t n) {
    double worst = 0;
    for (int32_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (d > worst || isnan(d)) worst = d;
    }
    return worst;
}

/* Folder, GGUF and folder again.  Weights go through unchanged, so only what is stored otherwise may
 * differ: frequencies of Llama 3 as F32 divisors, YaRN's numbers as F32. */
static void check_both_ways(const char *folder, const char *name, r2_convert_type type,
                            double tolerance) {
    char gguf[PATH_BYTES], back[PATH_BYTES];
    int32_t n, n_gguf, n_back;
    const r2_convert_options options = { .type = type, .shard_bytes = 100000 };
    room_path(gguf, "there.gguf");
    room_path(back, "back");
    convert(folder, gguf, &options);
    convert(gguf, back, &options);
    float *direct = run_model(folder, name, &n), *there = run_model(gguf, name, &n_gguf),
          *again = run_model(back, name, &n_back);
    assert_int_equal(n, n_gguf);
    assert_int_equal(n, n_back);
    const double e = difference(direct, there, n), e_back = difference(direct, again, n);
    printf("%-18s GGUF within %.2g, folder again %.2g\n", name, e, e_back);
    if (!(e <= tolerance) || !(e_back <= tolerance))
        fail_msg("%s: expected at most %g", name, tolerance);
    free(direct);
    free(there);
    free(again);
}

static void test_logits_of_all_families(void **state) {
    (void)state;
    static const char *const names[] = { "llama",       "llama_rope3",    "qwen2",
                                         "qwen3",       "deepseek_v2",    "deepseek_v2_group",
                                         "deepseek_v3", "deepseek_v3_noq" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char folder[PATH_BYTES];
        case_path(folder, names[i], "");
        check_both_ways(folder, names[i], R2_CONVERT_KEEP, 1e-4);
    }
    char folder[PATH_BYTES];
    make_case(folder, "qwen2_yarn", json_pack("{s:b}", "use_sliding_window", 0));
    check_both_ways(folder, "qwen2_yarn", R2_CONVERT_KEEP, 1e-4);
    make_all_experts(folder);
    check_both_ways(folder, "qwen3_moe", R2_CONVERT_KEEP, 1e-4);
}

/* Values times scales fit F32 exactly; BF16 keeps 8 bits of them. */
static void test_fp8_becomes_numbers(void **state) {
    (void)state;
    char folder[PATH_BYTES];
    case_path(folder, "deepseek_v3_fp8", "");
    check_both_ways(folder, "deepseek_v3_fp8", R2_CONVERT_F32, 1e-4);
    check_both_ways(folder, "deepseek_v3_fp8", R2_CONVERT_KEEP, 0.5);
}

/* ---- there and back ---- */

static void compare_folders(const char *found_path, const char *expected_path, const char *name) {
    r2i_safetensors *found, *expected;
    r2i_arena arena;
    r2_error err;
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    must(r2i_safetensors_open(&found, found_path, &arena, &err), &err);
    must(r2i_safetensors_open(&expected, expected_path, &arena, &err), &err);
    assert_int_equal(r2i_safetensors_n_tensors(found), r2i_safetensors_n_tensors(expected));
    for (size_t i = 0; i < r2i_safetensors_n_tensors(expected); i++) {
        const r2i_safetensor *e = r2i_safetensors_tensor_at(expected, i),
                             *f = r2i_safetensors_find(found, e->name);
        if (f == NULL) fail_msg("%s: %s is missing", name, e->name);
        /* Vectors of BF16 models come back as F32. */
        if (e->dtype != R2I_DTYPE_F32) continue;
        if (f->dtype != e->dtype || f->n_dims != e->n_dims || f->n_bytes != e->n_bytes ||
            memcmp(f->shape, e->shape, (size_t)e->n_dims * sizeof *e->shape) != 0 ||
            memcmp(f->bytes, e->bytes, e->n_bytes) != 0)
            fail_msg("%s: %s differs", name, e->name);
    }
    r2i_safetensors_close(found);
    r2i_safetensors_close(expected);
    r2i_arena_destroy(&arena);
}

/* Prediction modules included, on one thread and on three, in one file and in many. */
static void test_there_and_back_is_the_same(void **state) {
    (void)state;
    static const char *const names[] = { "llama", "qwen2", "qwen3", "deepseek_v2", "deepseek_v3" };
    for (size_t i = 0; i < 2 * (sizeof names / sizeof *names); i++) {
        const char *name = names[i / 2];
        char folder[PATH_BYTES], gguf[PATH_BYTES], back[PATH_BYTES], file[PATH_BYTES + 32];
        const r2_convert_options options = { .n_threads = i % 2 == 0 ? 1 : 3,
                                             .shard_bytes = i % 2 == 0 ? 0 : 50000 };
        case_path(folder, name, "");
        room_path(gguf, "there.gguf");
        room_path(back, "back");
        convert(folder, gguf, &options);
        convert(gguf, back, &options);
        compare_folders(back, folder, name);
        snprintf(file, sizeof file, "%s/model.safetensors", back);
        assert_int_equal(access(file, F_OK) == 0, i % 2 == 0);
    }
}

static int32_t get_integer(const char *path, const char *key) {
    r2i_gguf *gguf;
    r2i_arena arena;
    r2_error err;
    int32_t x = -1;
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    must(r2i_gguf_open(&gguf, path, &arena, &err), &err);
    must(r2i_gguf_try_i32(gguf, key, 0, 1 << 20, &x, &err), &err);
    r2i_gguf_close(gguf);
    r2i_arena_destroy(&arena);
    return x;
}

static void test_prediction_module_is_the_last_block(void **state) {
    (void)state;
    char folder[PATH_BYTES], gguf[PATH_BYTES];
    const r2_convert_options dropping = { .drops_mtp = true };
    case_path(folder, "deepseek_v3", "");
    room_path(gguf, "mtp.gguf");
    convert(folder, gguf, NULL);
    assert_int_equal(get_integer(gguf, ".block_count"), 4);
    assert_int_equal(get_integer(gguf, ".nextn_predict_layers"), 1);
    convert(folder, gguf, &dropping);
    assert_int_equal(get_integer(gguf, ".block_count"), 3);
    assert_int_equal(get_integer(gguf, ".nextn_predict_layers"), -1);
}

/* The file as it was written before kv_b was split: one tensor, and the sizes of heads as plain
 * key_length and value_length. */
static void write_whole_kv_b(const char *to, const char *from, const char *folder) {
    r2i_gguf *gguf;
    r2i_safetensors *weights;
    r2i_gguf_writer *w;
    r2i_arena arena;
    r2_error err;
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    must(r2i_gguf_open(&gguf, from, &arena, &err), &err);
    must(r2i_safetensors_open(&weights, folder, &arena, &err), &err);
    must(r2i_gguf_writer_create(&w, &heap, &err), &err);
    for (size_t i = 0; i < r2i_gguf_n_values(gguf); i++) {
        const r2i_gguf_value *v = r2i_gguf_value_at(gguf, i);
        if (strstr(v->key, "key_length") != NULL || strstr(v->key, "value_length") != NULL)
            continue;
        must(r2i_gguf_writer_add_value(w, v, &err), &err);
    }
    must(r2i_gguf_writer_add_integer(w, "deepseek2.attention.key_length", R2I_GGUF_U32, 20, &err),
         &err);
    must(r2i_gguf_writer_add_integer(w, "deepseek2.attention.value_length", R2I_GGUF_U32, 10, &err),
         &err);
    for (size_t i = 0; i < r2i_gguf_n_tensors(gguf); i++) {
        const r2i_stored_tensor *t = r2i_gguf_tensor_at(gguf, i);
        if (strstr(t->name, "attn_k_b") != NULL || strstr(t->name, "attn_v_b") != NULL) continue;
        must(r2i_gguf_writer_add_tensor(w, t->name, t->type, t->n_dims, t->ne, t->bytes, &err),
             &err);
    }
    for (int layer = 0; layer < 3; layer++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.%d.self_attn.kv_b_proj.weight", layer);
        const r2i_safetensor *t = r2i_safetensors_find(weights, name);
        assert_non_null(t);
        const int64_t ne[] = { t->shape[1], t->shape[0] };
        snprintf(name, sizeof name, "blk.%d.attn_kv_b.weight", layer);
        must(r2i_gguf_writer_add_tensor(w, name, R2I_TYPE_F32, 2, ne, t->bytes, &err), &err);
    }
    must(r2i_gguf_writer_begin(w, to, &err), &err);
    must(r2i_gguf_writer_finish(w, &err), &err);
    r2i_gguf_writer_destroy(w);
    r2i_safetensors_close(weights);
    r2i_gguf_close(gguf);
    r2i_arena_destroy(&arena);
}

static void test_reads_whole_kv_b(void **state) {
    (void)state;
    char folder[PATH_BYTES], gguf[PATH_BYTES], old[PATH_BYTES], back[PATH_BYTES];
    char file[PATH_BYTES + 32];
    case_path(folder, "deepseek_v2", "");
    room_path(gguf, "split.gguf");
    room_path(old, "whole.gguf");
    room_path(back, "whole");
    convert(folder, gguf, NULL);
    write_whole_kv_b(old, gguf, folder);
    convert(old, back, NULL);
    compare_folders(back, folder, "deepseek_v2");
    snprintf(file, sizeof file, "%s/config.json", back);
    json_t *config = read_json(file);
    assert_string_equal(json_string_value(json_object_get(config, "model_type")), "deepseek_v2");
    assert_true(json_is_null(json_object_get(config, "q_lora_rank")));
    assert_int_equal(json_integer_value(json_object_get(config, "v_head_dim")), 10);
    json_decref(config);
}

/* ---- refusals ---- */

static void refuses(const char *in, r2_status status, const char *word) {
    char out[PATH_BYTES];
    r2_error err;
    room_path(out, "refused");
    const r2_status found = r2_convert(in, out, NULL, &err);
    if (found != status || strstr(err.text, word) == NULL)
        fail_msg("expected %s about %s, found %s: %s", r2_status_name(status), word,
                 r2_status_name(found), err.text);
    assert_int_equal(access(out, F_OK), -1);
}

static void test_refuses_what_gguf_cannot_say(void **state) {
    (void)state;
    char folder[PATH_BYTES];
    case_path(folder, "qwen2_yarn", "");
    refuses(folder, R2_E_UNSUPPORTED, "window");
    case_path(folder, "qwen3_moe", "");
    refuses(folder, R2_E_UNSUPPORTED, "dense layers");
    case_path(folder, "deepseek_v4", "");
    refuses(folder, R2_E_UNSUPPORTED, "model_type");
}

static void test_refuses_tensors_that_do_not_fit(void **state) {
    (void)state;
    char folder[PATH_BYTES];
    make_case(folder, "qwen2", json_pack("{s:i}", "num_hidden_layers", 5));
    refuses(folder, R2_E_NOT_FOUND, "model.layers.");
    make_case(folder, "qwen2", json_pack("{s:i}", "num_hidden_layers", 2));
    refuses(folder, R2_E_UNSUPPORTED, "has no place");
    make_case(folder, "qwen2", json_pack("{s:i}", "intermediate_size", 96));
    refuses(folder, R2_E_MISMATCH, "expected [96, 56]");
    make_case(folder, "deepseek_v3", json_pack("{s:i}", "n_routed_experts", 16));
    refuses(folder, R2_E_MISMATCH, "mlp.gate.weight");
    make_case(folder, "deepseek_v2", json_pack("{s:i}", "kv_lora_rank", 24));
    refuses(folder, R2_E_MISMATCH, "kv_a");
}

static bool stop_at_once(void *user, int64_t n_done, int64_t n_all) {
    *(int64_t *)user += n_all > 0 && n_done > 0;
    return false;
}

static void test_canceled_leaves_nothing(void **state) {
    (void)state;
    char folder[PATH_BYTES], out[PATH_BYTES], gguf[PATH_BYTES];
    r2_error err;
    int64_t n_calls = 0;
    const r2_convert_options options = { .progress = stop_at_once, .host = { .user = &n_calls } };
    case_path(folder, "llama", "");
    case_path(gguf, "llama", "model.gguf");
    room_path(out, "canceled");
    assert_int_equal(r2_convert(folder, out, &options, &err), R2_E_CANCELED);
    assert_int_equal(access(out, F_OK), -1);
    assert_int_equal(r2_convert(gguf, out, &options, &err), R2_E_CANCELED);
    assert_int_equal(access(out, F_OK), -1);
    assert_int_equal(n_calls, 2);
}

/* ---- memory ---- */

static int n_until_refusal;

static void *take_or_refuse(void *user, size_t n_bytes) {
    (void)user;
    return n_until_refusal-- > 0 ? malloc(n_bytes) : NULL;
}

static void give(void *user, void *memory, size_t n_bytes) {
    (void)user, (void)n_bytes;
    free(memory);
}

/* Every allocation fails once; each time nothing stays behind (leaks show under the sanitizer). */
static void check_refusals(const char *in) {
    char out[PATH_BYTES];
    r2_status status = R2_E_NOMEM;
    const r2_convert_options options = { .n_threads = 2,
                                         .host = { .allocate = take_or_refuse, .release = give } };
    room_path(out, "refused");
    for (int k = 0; status == R2_E_NOMEM; k++) {
        r2_error err;
        n_until_refusal = k;
        status = r2_convert(in, out, &options, &err);
        if (status == R2_OK) break;
        if (status != R2_E_NOMEM) fail_msg("allocation %d: %s", k, err.text);
        assert_int_equal(access(out, F_OK), -1);
        assert_true(k < 2000);
    }
    (void)nftw(out, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_every_allocation_fails_once(void **state) {
    (void)state;
    char path[PATH_BYTES];
    case_path(path, "deepseek_v3", "");
    check_refusals(path);
    case_path(path, "deepseek_v2", "model.gguf");
    check_refusals(path);
    snprintf(path, sizeof path, "%.900s/../e2e/toy.gguf", golden_folder()); /* has a vocabulary */
    if (access(path, R_OK) == 0) check_refusals(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twins_of_gguf_py),
        cmocka_unit_test(test_logits_of_all_families),
        cmocka_unit_test(test_fp8_becomes_numbers),
        cmocka_unit_test(test_there_and_back_is_the_same),
        cmocka_unit_test(test_prediction_module_is_the_last_block),
        cmocka_unit_test(test_reads_whole_kv_b),
        cmocka_unit_test(test_refuses_what_gguf_cannot_say),
        cmocka_unit_test(test_refuses_tensors_that_do_not_fit),
        cmocka_unit_test(test_canceled_leaves_nothing),
        cmocka_unit_test(test_every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, open_room, close_room);
}
