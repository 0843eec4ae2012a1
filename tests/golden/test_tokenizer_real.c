/* Every case of tokenizer_*.json with the vocabularies of the two real models, as the GGUF file has
 * them and written as tokenizer.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cached_model.h"
#include "model/model_vocabulary.h"
#include "text/detokenizer.h"

typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf *gguf;
    r2i_tokenizer *tokenizer;
    r2i_encoder *encoder;
    json_t *golden;
} real_case;

static json_t *load_golden(const char *name) {
    char path[4096];
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, sizeof path, "%s/%s",
             folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    json_t *golden = json_load_file(path, JSON_ALLOW_NUL, NULL);
    if (golden == NULL) fail_msg("cannot read %s", path);
    return golden;
}

/* False: the model is not in the cache. */
static bool open_case(real_case *c, const char *model, const char *golden) {
    char path[4096];
    r2_error err = { 0 };
    memset(c, 0, sizeof *c);
    if (!find_cached_model(model, path, sizeof path)) {
        print_message("SKIPPED: %s is not there; fetch the test models first\n", path);
        return false;
    }
    r2i_heap_init(&c->heap);
    r2i_arena_init(&c->arena, &c->heap, 1 << 16, 0);
    if (r2i_gguf_open(&c->gguf, path, &c->arena, &err) != R2_OK) fail_msg("%s", err.text);
    if (r2i_tokenizer_from_gguf(&c->tokenizer, c->gguf, &c->heap, &err) != R2_OK)
        fail_msg("%s", err.text);
    if (r2i_encoder_create(&c->encoder, c->tokenizer, &c->heap, &err) != R2_OK)
        fail_msg("%s", err.text);
    c->golden = load_golden(golden);
    return true;
}

static void close_case(real_case *c) {
    json_decref(c->golden);
    r2i_encoder_destroy(c->encoder);
    r2i_tokenizer_destroy(c->tokenizer);
    r2i_gguf_close(c->gguf);
    r2i_arena_destroy(&c->arena);
    assert_int_equal(c->heap.used_bytes, 0);
}

/* ---- the same vocabulary written as tokenizer.json ---- */

static void put(r2i_buffer *out, const char *text) {
    assert_int_equal(r2i_buffer_append_text(out, text, NULL), R2_OK);
}

static void put_string(r2i_buffer *out, r2i_text_view text) {
    json_t *value = json_stringn(text.bytes, text.n_bytes);
    char *quoted = json_dumps(value, JSON_ENCODE_ANY);
    put(out, quoted);
    free(quoted);
    json_decref(value);
}

static void put_tokens(r2i_buffer *out, const r2i_tokenizer *t, bool is_added) {
    const char *gap = "";
    for (int32_t id = 0; id < r2i_tokenizer_size(t); id++) {
        const r2i_token_type type = r2i_tokenizer_type(t, id);
        if (type == R2I_TOKEN_UNUSED || (type != R2I_TOKEN_NORMAL) != is_added) continue;
        put(out, gap);
        if (is_added) put(out, "{\"content\":");
        put_string(out, r2i_tokenizer_text(t, id));
        assert_int_equal(
            r2i_buffer_append_format(out, NULL, is_added ? ",\"id\":%d,\"special\":%s}" : ":%d",
                                     (int)id, type == R2I_TOKEN_CONTROL ? "true" : "false"),
            R2_OK);
        gap = ",\n";
    }
}

static void put_merges(r2i_buffer *out, const r2i_gguf *gguf, bool as_pairs) {
    const r2i_gguf_value *merges = r2i_gguf_find(gguf, "tokenizer.ggml.merges");
    const uint8_t *at = NULL;
    const char *gap = "";
    r2i_gguf_text text;
    while (r2i_gguf_next_text(merges, &at, &text)) {
        const size_t n_left =
            (size_t)((const char *)memchr(text.bytes + 1, ' ', text.n_bytes - 1) - text.bytes);
        put(out, gap);
        if (as_pairs) put(out, "[");
        put_string(out, (r2i_text_view){ text.bytes, as_pairs ? n_left : text.n_bytes });
        if (as_pairs) put(out, ", ");
        if (as_pairs)
            put_string(out, (r2i_text_view){ text.bytes + n_left + 1, text.n_bytes - n_left - 1 });
        if (as_pairs) put(out, "]");
        gap = ",\n";
    }
}

/* Replaces the tokenizer by one made of its tokenizer.json. */
static void rewrite_as_json(real_case *c, const char *head, bool as_pairs) {
    r2i_buffer out;
    r2_error err = { 0 };
    r2i_buffer_init(&out, &c->heap, 64 << 20);
    put(&out, head);
    put(&out, ", \"added_tokens\": [");
    put_tokens(&out, c->tokenizer, true);
    put(&out, "], \"model\": {\"type\": \"BPE\", \"vocab\": {");
    put_tokens(&out, c->tokenizer, false);
    put(&out, "}, \"merges\": [");
    put_merges(&out, c->gguf, as_pairs);
    put(&out, "]}}");
    r2i_encoder_destroy(c->encoder);
    r2i_tokenizer_destroy(c->tokenizer);
    const r2i_tokenizer_files files = { .tokenizer_json = { out.bytes, out.n_bytes } };
    if (r2i_tokenizer_create_from_json(&c->tokenizer, &files, &c->heap, &err) != R2_OK)
        fail_msg("%s", err.text);
    if (r2i_encoder_create(&c->encoder, c->tokenizer, &c->heap, &err) != R2_OK)
        fail_msg("%s", err.text);
    r2i_buffer_destroy(&out);
}

/* ---- checks ---- */

static void check_ids(const char *text, const json_t *expected, const int32_t *ids, size_t n_ids) {
    bool is_equal = n_ids == json_array_size(expected);
    for (size_t i = 0; is_equal && i < n_ids; i++)
        is_equal = json_integer_value(json_array_get(expected, i)) == ids[i];
    if (is_equal) return;
    print_error("text: %s\nfound:", text);
    for (size_t i = 0; i < n_ids; i++)
        print_error(" %d", (int)ids[i]);
    char *dump = json_dumps(expected, JSON_COMPACT);
    print_error("\nexpected: %s\n", dump);
    free(dump);
    fail();
}

static void check_decoded(const real_case *c, const json_t *expected, const int32_t *ids,
                          size_t n_ids) {
    r2i_buffer out;
    r2i_heap heap;
    r2i_heap_init(&heap);
    r2i_buffer_init(&out, &heap, 1 << 20);
    assert_int_equal(r2i_decode_text(c->tokenizer, ids, n_ids, R2I_DECODE_SHOW_CONTROL, &out, NULL),
                     R2_OK);
    assert_int_equal(out.n_bytes, json_string_length(expected));
    if (out.n_bytes > 0) assert_memory_equal(out.bytes, json_string_value(expected), out.n_bytes);
    r2i_buffer_destroy(&out);
}

static void check_strings(const real_case *c) {
    const json_t *cases = json_object_get(c->golden, "cases");
    assert_true(json_array_size(cases) >= 50);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i), *text = json_object_get(one, "text");
        const json_t *decoded = json_object_get(one, "decoded");
        const int32_t *ids;
        size_t n_ids;
        assert_int_equal(r2i_encoder_run_text(c->encoder, json_string_value(text),
                                              json_string_length(text), R2I_ENCODE_CONTROL, &ids,
                                              &n_ids, NULL),
                         R2_OK);
        check_ids(json_string_value(text), json_object_get(one, "ids"), ids, n_ids);
        check_decoded(c, decoded != NULL ? decoded : text, ids, n_ids);
    }
}

/* Chat prompts: the whole text at once, and with the users' words marked as untrusted. */
static void check_chats(const real_case *c) {
    const json_t *chats = json_object_get(c->golden, "chat");
    assert_true(json_array_size(chats) > 0);
    for (size_t i = 0; i < json_array_size(chats); i++) {
        const json_t *one = json_array_get(chats, i), *text = json_object_get(one, "rendered");
        const int32_t *ids;
        size_t n_ids;
        assert_int_equal(r2i_encoder_run_text(c->encoder, json_string_value(text),
                                              json_string_length(text), R2I_ENCODE_CONTROL, &ids,
                                              &n_ids, NULL),
                         R2_OK);
        check_ids(json_string_value(text), json_object_get(one, "ids"), ids, n_ids);
    }
}

/* With every byte untrusted no control token comes out, and the bytes survive. */
static void check_untrusted(const real_case *c) {
    const json_t *cases = json_object_get(c->golden, "cases");
    const char *name;
    json_t *id;
    json_object_foreach(json_object_get(c->golden, "special"), name, id) {
        const r2i_text_range all = { 0, strlen(name) };
        const r2i_encode_text text = { name, strlen(name), R2I_ENCODE_CONTROL, &all, 1 };
        const int32_t *ids;
        size_t n_ids;
        assert_int_equal(r2i_tokenizer_find_added(c->tokenizer, name), json_integer_value(id));
        assert_true(r2i_tokenizer_is_control(c->tokenizer, (int32_t)json_integer_value(id)));
        assert_int_equal(r2i_encoder_run(c->encoder, &text, &ids, &n_ids, NULL), R2_OK);
        assert_true(n_ids > 1);
        for (size_t i = 0; i < n_ids; i++)
            assert_false(r2i_tokenizer_is_control(c->tokenizer, ids[i]));
    }
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *text = json_object_get(json_array_get(cases, i), "text");
        const int32_t *ids;
        size_t n_ids;
        assert_int_equal(r2i_encoder_run_text(c->encoder, json_string_value(text),
                                              json_string_length(text), 0, &ids, &n_ids, NULL),
                         R2_OK);
        for (size_t k = 0; k < n_ids; k++)
            assert_false(r2i_tokenizer_is_control(c->tokenizer, ids[k]));
    }
}

static void check_all(const real_case *c, const char *end_text) {
    check_strings(c);
    check_chats(c);
    check_untrusted(c);
    assert_true(
        r2i_tokenizer_is_eog(c->tokenizer, r2i_tokenizer_find_added(c->tokenizer, end_text)));
}

static void run_model(const char *model, const char *golden, const char *end_text,
                      const char *json_head, bool as_pairs) {
    real_case c;
    if (!open_case(&c, model, golden)) skip();
    check_all(&c, end_text);
    rewrite_as_json(&c, json_head, as_pairs);
    check_all(&c, end_text);
    close_case(&c);
}

static void test_qwen2(void **state) {
    (void)state;
    static const char head[] =
        "{\"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": \"Sequence\", "
        "\"pretokenizers\": ["
        "{\"type\": \"Split\", \"pattern\": {\"Regex\": "
        "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"
        "\\\\p{N}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, "
        "\"behavior\": \"Isolated\", \"invert\": false}, "
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}";
    run_model("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "tokenizer_qwen2.json", "<|endoftext|>",
              head, false);
}

static void test_smollm(void **state) {
    (void)state;
    static const char head[] =
        "{\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
        "{\"type\": \"Digits\", \"individual_digits\": true}, "
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}]}";
    run_model("smollm2-135m-instruct-q4_1.gguf", "tokenizer_smollm.json", "<|im_end|>", head, true);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_qwen2),
                                        cmocka_unit_test(test_smollm) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
