/* SentencePiece-style vocabularies against sentencepiece itself: from scores and from tokenizer.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "text/detokenizer.h"

enum { MAX_VOCABULARY = 2000 };

static r2i_heap heap;
static json_t *golden;

static int load_golden(void **state) {
    char path[4096];
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    (void)state;
    r2i_heap_init(&heap);
    snprintf(path, sizeof path, "%s/tokenizer_spm.json",
             folder != NULL ? folder : R2LM_DEFAULT_GOLDEN_DIR);
    golden = json_load_file(path, JSON_ALLOW_NUL, NULL);
    return 0;
}

static int drop_golden(void **state) {
    (void)state;
    json_decref(golden);
    return heap.used_bytes == 0 ? 0 : -1;
}

static r2i_tokenizer *make_from_scores(void) {
    static r2i_text_view texts[MAX_VOCABULARY];
    static int32_t types[MAX_VOCABULARY];
    static float scores[MAX_VOCABULARY];
    const json_t *tokens = json_object_get(golden, "tokens");
    const size_t n = json_array_size(tokens);
    r2i_vocabulary v;
    r2i_tokenizer *tokenizer;
    r2_error err = { 0 };
    assert_in_range(n, 500, MAX_VOCABULARY);
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(tokens, i);
        texts[i] = (r2i_text_view){ json_string_value(text), json_string_length(text) };
        types[i] = (int32_t)json_integer_value(json_array_get(json_object_get(golden, "types"), i));
        scores[i] = (float)json_number_value(json_array_get(json_object_get(golden, "scores"), i));
    }
    r2i_vocabulary_init(&v);
    v.model = (r2i_text_view){ "llama", 5 };
    v.tokens = (r2i_text_list){ .n = n, .views = texts };
    v.types = types;
    v.scores = scores;
    v.unk_id = (int32_t)json_integer_value(json_object_get(golden, "unk_id"));
    v.bos_id = (int32_t)json_integer_value(json_object_get(golden, "bos_id"));
    v.eos_id = (int32_t)json_integer_value(json_object_get(golden, "eos_id"));
    v.add_bos = true;
    if (r2i_tokenizer_create(&tokenizer, &v, &heap, &err) != R2_OK) fail_msg("%s", err.text);
    return tokenizer;
}

static r2i_tokenizer *make_from_json(void) {
    char *text = json_dumps(json_object_get(golden, "file"), JSON_INDENT(2));
    const r2i_tokenizer_files files = { .tokenizer_json = { text, strlen(text) } };
    r2i_tokenizer *tokenizer;
    r2_error err = { 0 };
    if (r2i_tokenizer_create_from_json(&tokenizer, &files, &heap, &err) != R2_OK)
        fail_msg("%s", err.text);
    free(text);
    return tokenizer;
}

static void check_case(const r2i_tokenizer *tokenizer, r2i_encoder *encoder, const json_t *one) {
    const json_t *text = json_object_get(one, "text"), *expected = json_object_get(one, "ids");
    const json_t *decoded =
        json_object_get(one, "decoded") != NULL ? json_object_get(one, "decoded") : text;
    const int32_t *ids;
    size_t n_ids;
    r2i_buffer out;
    assert_int_equal(r2i_encoder_run_text(encoder, json_string_value(text),
                                          json_string_length(text), 0, &ids, &n_ids, NULL),
                     R2_OK);
    bool is_equal = n_ids == json_array_size(expected);
    for (size_t i = 0; is_equal && i < n_ids; i++)
        is_equal = json_integer_value(json_array_get(expected, i)) == ids[i];
    if (!is_equal) {
        for (size_t i = 0; i < n_ids; i++)
            print_error("%d ", (int)ids[i]);
        fail_msg("text '%s'", json_string_value(text));
    }
    r2i_buffer_init(&out, &heap, 1 << 20);
    assert_int_equal(r2i_decode_text(tokenizer, ids, n_ids, 0, &out, NULL), R2_OK);
    assert_int_equal(out.n_bytes, json_string_length(decoded));
    if (out.n_bytes > 0) assert_memory_equal(out.bytes, json_string_value(decoded), out.n_bytes);
    r2i_buffer_destroy(&out);
}

static void check_all(r2i_tokenizer *tokenizer) {
    const json_t *cases = json_object_get(golden, "cases");
    r2i_encoder *encoder;
    assert_int_equal(r2i_encoder_create(&encoder, tokenizer, &heap, NULL), R2_OK);
    assert_true(json_array_size(cases) > 50);
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(tokenizer, encoder, json_array_get(cases, i));
    r2i_encoder_destroy(encoder);
    r2i_tokenizer_destroy(tokenizer);
}

static void test_scores(void **state) {
    (void)state;
    if (golden == NULL) skip();
    check_all(make_from_scores());
}

static void test_json(void **state) {
    (void)state;
    if (golden == NULL) skip();
    check_all(make_from_json());
}

static void test_start_token(void **state) {
    (void)state;
    if (golden == NULL) skip();
    r2i_tokenizer *tokenizer = make_from_scores();
    r2i_encoder *encoder;
    const int32_t *ids;
    size_t n;
    const int32_t bos = r2i_tokenizer_bos(tokenizer);
    assert_int_equal(r2i_encoder_create(&encoder, tokenizer, &heap, NULL), R2_OK);
    assert_int_equal(r2i_encoder_run_text(encoder, "a", 1, R2I_ENCODE_ENDS, &ids, &n, NULL), R2_OK);
    assert_true(n == 2 && ids[0] == bos && ids[1] != bos);
    assert_int_equal(r2i_encoder_run_text(encoder, "<s>a", 4, R2I_ENCODE_ENDS | R2I_ENCODE_CONTROL,
                                          &ids, &n, NULL),
                     R2_OK);
    assert_true(n == 2 && ids[0] == bos && ids[1] != bos);
    r2i_encoder_destroy(encoder);
    r2i_tokenizer_destroy(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_scores), cmocka_unit_test(test_json),
                                        cmocka_unit_test(test_start_token) };
    return cmocka_run_group_tests(tests, load_golden, drop_golden);
}
