/* test_json_read.c - strict JSON with limits, and getters that say what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "files/json_read.h"

static r2_status read_text(json_t **out, const char *text, r2_error *err) {
    return r2i_json_read(out, "config.json", text, strlen(text), &r2i_json_config_limits, err);
}

static json_t *must_read(const char *text) {
    r2_error err = { 0 };
    json_t *root;
    if (read_text(&root, text, &err) != R2_OK) fail_msg("%s", err.text);
    return root;
}

static const struct {
    const char *text;
    r2_status code;
    const char *expected;
} bad_cases[] = {
    { "", R2_E_FORMAT, "not valid JSON" },
    { "7", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":1,\"a\":2}", R2_E_FORMAT, "duplicate" },
    { "{\"a\":1,\"\\u0061\":2}", R2_E_FORMAT, "duplicate" },
    { "{\"a\":{\"b\":1,\"b\":2}}", R2_E_FORMAT, "duplicate" },
    { "{\"a\":1} x", R2_E_FORMAT, "line 1" },
    { "{\"a\":1}{}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":NaN}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":Infinity}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":1e999}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":99999999999999999999}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":01}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":+1}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":.5}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":1,}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":1 /* no */}", R2_E_FORMAT, "not valid JSON" },
    { "{'a':1}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":\"\n\"}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":\"\\ud800\"}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":\"\\u0000\"}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":\"\xc0\xaf\"}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":\"\xed\xa0\x80\"}", R2_E_FORMAT, "not valid JSON" },
    { "\xef\xbb\xbf{}", R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":\"never closed", R2_E_FORMAT, "not valid JSON" },
    { "{\n\n\"a\": x}", R2_E_FORMAT, "config.json: line 3" },
    { "[12345678901234567890123456789012345678901234567890123456789012345]", R2_E_LIMIT,
      "byte 1: expected a number of at most 64 characters, found 65" },
};

static void test_malformed_text_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        r2_error err = { 0 };
        json_t *root = (json_t *)&err; /* must become NULL */
        const r2_status status = read_text(&root, bad_cases[i].text, &err);
        if (status != bad_cases[i].code || strstr(err.text, bad_cases[i].expected) == NULL) {
            fail_msg("%s: expected %d \"%s\", found %d \"%s\"", bad_cases[i].text,
                     bad_cases[i].code, bad_cases[i].expected, status, err.text);
        }
        assert_null(root);
    }
}

static void nest(char *text, int depth) {
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    text[2 * depth] = '\0';
}

static void test_limits(void **state) {
    (void)state;
    r2_error err = { 0 };
    json_t *root;
    char text[256];
    nest(text, 64);
    json_decref(must_read(text));
    nest(text, 65);
    assert_int_equal(read_text(&root, text, &err), R2_E_LIMIT);
    assert_string_equal(err.text,
                        "config.json: byte 64: expected nesting of at most 64, found more");

    const r2i_json_limits tight = { .max_bytes = 20, .max_values = 4, .max_depth = 8 };
    assert_int_equal(r2i_json_read(&root, "x", "[1,2,3]", 7, &tight, &err), R2_OK);
    json_decref(root);
    assert_int_equal(r2i_json_read(&root, "x", "[1,2,3,4,5]", 11, &tight, &err), R2_E_LIMIT);
    assert_string_equal(err.text, "x: expected at most 4 values, found more");
    assert_int_equal(r2i_json_read(&root, "x", "[                    ]", 22, &tight, &err),
                     R2_E_LIMIT);
    assert_string_equal(err.text, "x: expected at most 20 bytes, found 22");
    /* Brackets and commas inside strings are text. */
    assert_int_equal(r2i_json_read(&root, "x", "[\"[[[[,,,,\\\",[\"]", 16, &tight, &err), R2_OK);
    json_decref(root);

    const r2i_json_limits digits = {
        .max_bytes = 100, .max_values = 10, .max_depth = 2, .is_unsigned = true
    };
    assert_int_equal(r2i_json_read(&root, "x", "[-0]", 4, &digits, &err), R2_E_FORMAT);
    assert_int_equal(r2i_json_read(&root, "x", "[1.5]", 5, &digits, &err), R2_E_FORMAT);
    assert_int_equal(r2i_json_read(&root, "x", "[15]", 4, &digits, &err), R2_OK);
    json_decref(root);
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\": [1, -2.5e3, true, null, \"\\u00e9\\ud83d\\ude00\"], \"b\": {}}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        r2_error err = { 0 };
        json_t *root;
        char *copy = malloc(n == 0 ? 1 : n); /* exact, for AddressSanitizer */
        assert_non_null(copy);
        memcpy(copy, text, n);
        assert_int_equal(r2i_json_read(&root, "x", copy, n, &r2i_json_config_limits, &err),
                         R2_E_FORMAT);
        free(copy);
    }
    json_decref(must_read(text));
}

static void test_getters(void **state) {
    (void)state;
    r2_error err = { 0 };
    int64_t wide = 0;
    int32_t n = 0;
    float x = 0;
    bool flag = false;
    const char *text = NULL;
    const json_t *tree = NULL;
    json_t *c = must_read(
        "{\"hidden_size\": \"abc\", \"layers\": 28, \"big\": 4294967296, \"eps\": 1e-6, \"one\": 1,"
        " \"tied\": true, \"type\": \"qwen2\", \"scaling\": null, \"list\": [1], \"whole\": 2.0}");
    assert_int_equal(r2i_json_get_i32(c, "config.json", "layers", 1, 1024, &n, &err), R2_OK);
    assert_int_equal(n, 28);
    assert_int_equal(r2i_json_get_i32(c, "config.json", "hidden_size", 1, 65536, &n, &err),
                     R2_E_FORMAT);
    assert_string_equal(err.text,
                        "config.json: hidden_size: expected an integer 1..65536, found \"abc\"");
    assert_int_equal(r2i_json_get_i32(c, "config.json", "layers", 1, 27, &n, &err), R2_E_RANGE);
    assert_string_equal(err.text, "config.json: layers: expected an integer 1..27, found 28");
    assert_int_equal(r2i_json_get_i32(c, "config.json", "whole", 1, 9, &n, &err), R2_E_FORMAT);
    assert_string_equal(err.text, "config.json: whole: expected an integer 1..9, found 2");
    assert_int_equal(r2i_json_get_i32(c, "config.json", "big", INT32_MIN, INT32_MAX, &n, &err),
                     R2_E_RANGE);
    assert_int_equal(r2i_json_get_i64(c, "config.json", "big", 0, INT64_MAX, &wide, &err), R2_OK);
    assert_int_equal(wide, 4294967296);
    assert_int_equal(r2i_json_get_i32(c, "config.json", "absent", 0, 9, &n, &err), R2_E_NOT_FOUND);
    assert_string_equal(err.text, "config.json: absent: expected an integer, found nothing");
    assert_int_equal(r2i_json_get_i32(c, "config.json", "scaling", 0, 9, &n, &err), R2_E_NOT_FOUND);
    n = 5;
    assert_int_equal(r2i_json_try_i32(c, "config.json", "absent", 0, 9, &n, &err), R2_OK);
    assert_int_equal(r2i_json_try_i32(c, "config.json", "scaling", 0, 9, &n, &err), R2_OK);
    assert_int_equal(n, 5);
    assert_int_equal(r2i_json_try_f32(c, "config.json", "eps", 0.0f, 1.0f, &x, &err), R2_OK);
    assert_true(x == 1e-6f);
    assert_int_equal(r2i_json_try_f32(c, "config.json", "one", 0.0f, 1.0f, &x, &err), R2_OK);
    assert_int_equal(r2i_json_try_f32(c, "config.json", "layers", 0.0f, 1.0f, &x, &err),
                     R2_E_RANGE);
    assert_string_equal(err.text, "config.json: layers: expected a number 0..1, found 28");
    assert_int_equal(r2i_json_get_bool(c, "config.json", "tied", &flag, &err), R2_OK);
    assert_true(flag);
    assert_int_equal(r2i_json_get_bool(c, "config.json", "one", &flag, &err), R2_E_FORMAT);
    assert_int_equal(r2i_json_get_text(c, "config.json", "type", &text, &err), R2_OK);
    assert_string_equal(text, "qwen2");
    assert_int_equal(r2i_json_get_text(c, "config.json", "list", &text, &err), R2_E_FORMAT);
    assert_string_equal(err.text, "config.json: list: expected a string, found an array");
    assert_int_equal(r2i_json_get_tree(c, "config.json", "list", JSON_ARRAY, &tree, &err), R2_OK);
    assert_int_equal(json_array_size(tree), 1);
    assert_int_equal(r2i_json_get_tree(c, "config.json", "list", JSON_OBJECT, &tree, &err),
                     R2_E_FORMAT);
    assert_int_equal(r2i_json_try_tree(c, "config.json", "scaling", JSON_OBJECT, &tree, &err),
                     R2_OK);
    json_decref(c);
}

/* A long text is cut between characters, never inside one. */
static void test_hashes_and_formats(void **state) {
    (void)state;
    static const char *const bad[] = { "x0123456789abcde",  "+123456789abcdef",
                                       "0123456789abcde",   "0123456789ABCDEF",
                                       "0x23456789abcdef",  " 123456789abcdef",
                                       "0123456789abcdef0", "" };
    json_t *root =
        must_read("{\"h\": \"f123456789abcdef\", \"format\": \"a kind\", \"version\": 2}");
    r2_error err = { 0 };
    uint64_t hash = 0;
    assert_int_equal(r2i_json_get_hash(root, "f", "h", &hash, &err), R2_OK);
    assert_true(hash == 0xf123456789abcdef);
    assert_int_equal(r2i_json_get_hash(root, "f", "none", &hash, &err), R2_E_NOT_FOUND);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(json_object_set_new(root, "h", json_string(bad[i])), 0);
        assert_int_equal(r2i_json_get_hash(root, "f", "h", &hash, &err), R2_E_FORMAT);
        assert_non_null(strstr(err.text, "f: h: expected 16 hexadecimal digits"));
    }
    assert_int_equal(r2i_json_check_format(root, "f", "a kind", 2, &err), R2_OK);
    assert_int_equal(r2i_json_check_format(root, "f", "a kind", 1, &err), R2_E_RANGE);
    assert_int_equal(r2i_json_check_format(root, "f", "another", 2, &err), R2_E_FORMAT);
    assert_non_null(strstr(err.text, "format: expected \"another\", found \"a kind\""));
    json_decref(root);
}

static void test_describe_cuts_long_texts(void **state) {
    (void)state;
    char room[64];
    json_t *value = json_string("0123456789012345678901234567890123456789"
                                "\xe4\xbd\xa0");
    assert_string_equal(r2i_json_describe(value, room),
                        "\"0123456789012345678901234567890123456789...\"");
    json_decref(value);
    value = json_string("012345678901234567890123456789012345678\xe4\xbd\xa0xyz");
    assert_string_equal(r2i_json_describe(value, room),
                        "\"012345678901234567890123456789012345678...\"");
    json_decref(value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_text_is_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_describe_cuts_long_texts),
        cmocka_unit_test(test_hashes_and_formats),
    };
    return cmocka_run_group_tests_name("json_read", tests, NULL, NULL);
}
