/* Every case of tokenizer_*.json with the vocabularies of the two real models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "gguf_vocabulary.h"
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
    snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    json_t *golden = json_load_file(path, JSON_ALLOW_NUL, NULL);
    if (golden == NULL) fail_msg("cannot read %s", path);
    return golden;
}

/* False: the model is not in the cache. */
static bool open_case(real_case *c, const char *model, const char *golden) {
    char path[4096];
    r2_error err = { 0 };
    r2i_vocabulary vocabulary;
    memset(c, 0, sizeof *c);
    if (!find_cached_model(model, path, sizeof path)) {
        print_message("SKIPPED: %s is not there; fetch the test models first\n", path);
        return false;
    }
    r2i_heap_init(&c->heap);
    r2i_arena_init(&c->arena, &c->heap, 1 << 16, 0);
    if (r2i_gguf_open(&c->gguf, path, &c->arena, &err) != R2_OK) fail_msg("%s", err.text);
    assert_true(read_vocabulary(c->gguf, &vocabulary));
    if (r2i_tokenizer_create(&c->tokenizer, &vocabulary, &c->heap, &err) != R2_OK) fail_msg("%s", err.text);
    if (r2i_encoder_create(&c->encoder, c->tokenizer, &c->heap, &err) != R2_OK) fail_msg("%s", err.text);
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

static void check_ids(const char *text, const json_t *expected, const int32_t *ids, size_t n_ids) {
    bool is_equal = n_ids == json_array_size(expected);
    for (size_t i = 0; is_equal && i < n_ids; i++) is_equal = json_integer_value(json_array_get(expected, i)) == ids[i];
    if (is_equal) return;
    print_error("text: %s\nfound:", text);
    for (size_t i = 0; i < n_ids; i++) print_error(" %d", (int)ids[i]);
    char *dump = json_dumps(expected, JSON_COMPACT);
    print_error("\nexpected: %s\n", dump);
    free(dump);
    fail();
}

static void check_decoded(const real_case *c, const json_t *expected, const int32_t *ids, size_t n_ids) {
    r2i_buffer out;
    r2i_heap heap;
    r2i_heap_init(&heap);
    r2i_buffer_init(&out, &heap, 1 << 20);
    assert_int_equal(r2i_decode_text(c->tokenizer, ids, n_ids, R2I_DECODE_SHOW_CONTROL, &out, NULL), R2_OK);
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
        assert_int_equal(r2i_encoder_run_text(c->encoder, json_string_value(text), json_string_length(text),
                                              R2I_ENCODE_CONTROL, &ids, &n_ids, NULL), R2_OK);
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
        assert_int_equal(r2i_encoder_run_text(c->encoder, json_string_value(text), json_string_length(text),
                                              R2I_ENCODE_CONTROL, &ids, &n_ids, NULL), R2_OK);
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
        for (size_t i = 0; i < n_ids; i++) assert_false(r2i_tokenizer_is_control(c->tokenizer, ids[i]));
    }
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *text = json_object_get(json_array_get(cases, i), "text");
        const int32_t *ids;
        size_t n_ids;
        assert_int_equal(r2i_encoder_run_text(c->encoder, json_string_value(text), json_string_length(text), 0, &ids,
                                              &n_ids, NULL), R2_OK);
        for (size_t k = 0; k < n_ids; k++) assert_false(r2i_tokenizer_is_control(c->tokenizer, ids[k]));
    }
}

static void run_model(const char *model, const char *golden, const char *end_text) {
    real_case c;
    if (!open_case(&c, model, golden)) skip();
    check_strings(&c);
    check_chats(&c);
    check_untrusted(&c);
    assert_true(r2i_tokenizer_is_eog(c.tokenizer, r2i_tokenizer_find_added(c.tokenizer, end_text)));
    close_case(&c);
}

static void test_qwen2(void **state) {
    (void)state;
    run_model("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "tokenizer_qwen2.json", "<|endoftext|>");
}

static void test_smollm(void **state) {
    (void)state;
    run_model("smollm2-135m-instruct-q4_1.gguf", "tokenizer_smollm.json", "<|im_end|>");
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_qwen2), cmocka_unit_test(test_smollm) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
