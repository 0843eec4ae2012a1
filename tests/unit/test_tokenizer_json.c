/* tokenizer.json: what is read, what is refused and how the refusal reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "text/tokenizer.h"

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define VOCAB "{\"a\":0,\"b\":1,\"ab\":2,\"\\u0120\":3,\"\\\"\":4}"
#define ADDED                                                                                     \
    "[{\"id\":5,\"content\":\"<s>\",\"special\":true},{\"id\":6,\"content\":\"<t>\",\"special\":" \
    "false}]"

static r2i_heap heap;

static r2_status make(r2i_tokenizer **out, const char *json, const char *config, r2_error *err) {
    json_t *tree = config == NULL ? NULL : json_loads(config, 0, NULL);
    const r2i_tokenizer_files files = { .tokenizer_json = { json, strlen(json) },
                                        .tokenizer_config = tree };
    const r2_status status = r2i_tokenizer_create_from_json(out, &files, &heap, err);
    json_decref(tree);
    return status;
}

/* A file of these parts. */
static const char *compose(const char *added, const char *pre, const char *vocab,
                           const char *merges) {
    static char text[4096];
    snprintf(text, sizeof text,
             "{\"added_tokens\":%s,\"normalizer\":null,\"pre_tokenizer\":%s,\n \"model\": "
             "{\"type\":\"BPE\","
             "\"vocab\":%s,\"merges\":%s}}",
             added, pre, vocab, merges);
    return text;
}

static void expect_text(const r2i_tokenizer *t, const char *text, unsigned flags,
                        const int32_t *expected, size_t n_expected) {
    r2i_encoder *e;
    const int32_t *ids;
    size_t n;
    assert_int_equal(r2i_encoder_create(&e, t, &heap, NULL), R2_OK);
    assert_int_equal(r2i_encoder_run_text(e, text, strlen(text), flags, &ids, &n, NULL), R2_OK);
    assert_int_equal(n, n_expected);
    assert_memory_equal(ids, expected, n * sizeof *ids);
    r2i_encoder_destroy(e);
}

static void test_both_merge_spellings(void **state) {
    (void)state;
    const char *merges[] = { "[\"a b\"]", "[[\"a\",\"b\"]]" };
    for (size_t i = 0; i < 2; i++) {
        r2i_tokenizer *t;
        r2_error err = { 0 };
        if (make(&t, compose(ADDED, BYTE_LEVEL, VOCAB, merges[i]), NULL, &err) != R2_OK)
            fail_msg("%s", err.text);
        expect_text(t, "ab \"ba<s><t>", R2I_ENCODE_CONTROL,
                    (const int32_t[]){ 2, 3, 4, 1, 0, 5, 6 }, 7);
        assert_true(r2i_tokenizer_is_control(t, 5) && r2i_tokenizer_type(t, 6) == R2I_TOKEN_USER);
        r2i_tokenizer_destroy(t);
    }
}

static void test_config(void **state) {
    (void)state;
    r2i_tokenizer *t;
    const char *config =
        "{\"bos_token\":{\"content\":\"<s>\"},\"eos_token\":\"<t>\",\"add_bos_token\":true}";
    assert_int_equal(make(&t, compose(ADDED, BYTE_LEVEL, VOCAB, "[]"), config, NULL), R2_OK);
    assert_true(r2i_tokenizer_bos(t) == 5 && r2i_tokenizer_eos(t) == 6 &&
                r2i_tokenizer_adds_bos(t));
    assert_true(r2i_tokenizer_is_eog(t, 6));
    expect_text(t, "a", R2I_ENCODE_ENDS, (const int32_t[]){ 5, 0 }, 2);
    r2i_tokenizer_destroy(t);
}

static void test_strips(void **state) {
    (void)state;
    r2i_tokenizer *t;
    const char *added = "[{\"id\":5,\"content\":\"<s>\",\"special\":true,\"lstrip\":true},"
                        "{\"id\":6,\"content\":\"<t>\",\"special\":true,\"rstrip\":true}]";
    assert_int_equal(make(&t, compose(added, BYTE_LEVEL, VOCAB, "[]"), NULL, NULL), R2_OK);
    expect_text(t, "a  <s> b <t> \n a", R2I_ENCODE_CONTROL,
                (const int32_t[]){ 0, 5, 3, 1, 3, 6, 0 }, 7);
    r2i_tokenizer_destroy(t);
}

static void expect_refused(const char *json, r2_status expected, const char *part) {
    r2i_tokenizer *t;
    r2_error err = { 0 };
    const r2_status status = make(&t, json, NULL, &err);
    if (status != expected || strstr(err.text, part) == NULL) {
        fail_msg("expected %d '%s', found %d '%s'", expected, part, status, err.text);
    }
    assert_null(t);
    assert_int_equal(heap.used_bytes, 0);
}

static void test_refused_parts(void **state) {
    (void)state;
    const struct {
        const char *added, *pre, *vocab, *merges;
        r2_status status;
        const char *part;
    } cases[] = {
        { "[]", "{\"type\":\"Whitespace\"}", VOCAB, "[]", R2_E_UNSUPPORTED,
          "pre_tokenizer: 'Whitespace'" },
        { "[]", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a+)+$\"},\"behavior\":\"Isolated\"}",
          VOCAB, "[]", R2_E_UNSUPPORTED, "(a+)+$" },
        { "[]", "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}", VOCAB, "[]", R2_E_UNSUPPORTED,
          "add_prefix_space" },
        { "[]", "null", VOCAB, "[]", R2_E_UNSUPPORTED, "found neither" },
        { "[]", "7", VOCAB, "[]", R2_E_FORMAT, "pre_tokenizer" },
        { "[]", BYTE_LEVEL, "{\"a\":0,\"b\":0}", "[]", R2_E_FORMAT, "id 0: expected once" },
        { "[]", BYTE_LEVEL, "{\"a\":0,\"a\":1}", "[]", R2_E_FORMAT, "twice" },
        { "[]", BYTE_LEVEL, "{\"a\":0,\"\\u0061\":1}", "[]", R2_E_FORMAT, "twice" },
        { "[]", BYTE_LEVEL, "{\"a\":0,\"b\":2}", "[]", R2_E_FORMAT, "highest id 2" },
        { "[]", BYTE_LEVEL, "{\"a\":-1}", "[]", R2_E_FORMAT, "whole number" },
        { "[]", BYTE_LEVEL, "{\"a\":0.5}", "[]", R2_E_FORMAT, "whole number" },
        { "[]", BYTE_LEVEL, "{\"a\":1048576}", "[]", R2_E_LIMIT, "1048576" },
        { "[]", BYTE_LEVEL, "{\"a\":99999999999}", "[]", R2_E_FORMAT, "whole number" },
        { "[]", BYTE_LEVEL, "{\"a\":0,}", "[]", R2_E_FORMAT, "comma" },
        { "[]", BYTE_LEVEL, "{\"\\ud800\":0}", "[]", R2_E_FORMAT, "escapes" },
        { "[]", BYTE_LEVEL, "{\"\xff\":0}", "[]", R2_E_FORMAT, "UTF-8" },
        { "[]", BYTE_LEVEL, "{\"a\nb\":0}", "[]", R2_E_FORMAT, "control characters" },
        { "[]", BYTE_LEVEL, VOCAB, "[\"a x\"]", R2_E_FORMAT, "merge 0" },
        { "[]", BYTE_LEVEL, VOCAB, "[[\"a\"]]", R2_E_FORMAT, "','" },
        { "[]", BYTE_LEVEL, VOCAB, "[\"a b\" \"a b\"]", R2_E_FORMAT, "','" },
        { "[{\"id\":5,\"content\":\"\"}]", BYTE_LEVEL, VOCAB, "[]", R2_E_FORMAT, "not empty" },
        { "[{\"id\":1,\"content\":\"x\"}]", BYTE_LEVEL, VOCAB, "[]", R2_E_FORMAT, "another text" },
        { "[{\"id\":9,\"content\":\"x\"}]", BYTE_LEVEL, VOCAB, "[]", R2_E_FORMAT, "highest id 9" },
        { "[{\"id\":5,\"content\":\"a\"}]", BYTE_LEVEL, VOCAB, "[]", R2_E_FORMAT, "twice" },
        { "[{\"id\":5,\"content\":\"x\",\"single_word\":true}]", BYTE_LEVEL, VOCAB, "[]",
          R2_E_UNSUPPORTED, "single_word" },
        { "[{\"id\":-3,\"content\":\"x\"}]", BYTE_LEVEL, VOCAB, "[]", R2_E_FORMAT,
          "added_tokens 0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_refused(compose(cases[i].added, cases[i].pre, cases[i].vocab, cases[i].merges),
                       cases[i].status, cases[i].part);
    }
}

static void test_refused_files(void **state) {
    (void)state;
    char deep[256];
    expect_refused("", R2_E_FORMAT, "'{'");
    expect_refused("[]", R2_E_FORMAT, "'{'");
    expect_refused("{}", R2_E_FORMAT, "vocab and merges");
    expect_refused("{\"model\":{\"vocab\":{},\"merges\":[]},\"model\":{}}", R2_E_FORMAT,
                   "found twice");
    expect_refused("{\"model\":{\"vocab\":{},\"vocab\":{},\"merges\":[]}}", R2_E_FORMAT, "once");
    expect_refused("{\"a\":1,\"a\":2}", R2_E_FORMAT, "found twice");
    expect_refused("{\"a\":{\"b\":1,\"b\":2}}", R2_E_FORMAT, "duplicate");
    expect_refused("{\"a\":NaN}", R2_E_FORMAT, "a: ");
    expect_refused("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{},\"merges\":[]}}",
                   R2_E_UNSUPPORTED, "WordPiece");
    expect_refused("{\"model\":{\"vocab\":{},\"merges\":[]}} x", R2_E_FORMAT, "nothing behind");
    memset(deep, '[', 200);
    memcpy(deep, "{\"a\":", 5);
    deep[200] = 0;
    expect_refused(deep, R2_E_FORMAT, "64 nested");
}

/* Cut off anywhere: refused, never read beyond. */
static void test_truncated(void **state) {
    (void)state;
    const char *whole = compose(ADDED, BYTE_LEVEL, VOCAB, "[\"a b\"]");
    const size_t n = strlen(whole);
    for (size_t cut = 0; cut < n; cut++) {
        r2i_tokenizer *t;
        const r2i_tokenizer_files files = { .tokenizer_json = { whole, cut } };
        assert_int_not_equal(r2i_tokenizer_create_from_json(&t, &files, &heap, NULL), R2_OK);
        assert_null(t);
    }
    assert_int_equal(heap.used_bytes, 0);
}

static int begin(void **state) {
    (void)state;
    r2i_heap_init(&heap);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_both_merge_spellings, begin),
        cmocka_unit_test_setup(test_config, begin),
        cmocka_unit_test_setup(test_strips, begin),
        cmocka_unit_test_setup(test_refused_parts, begin),
        cmocka_unit_test_setup(test_refused_files, begin),
        cmocka_unit_test_setup(test_truncated, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
