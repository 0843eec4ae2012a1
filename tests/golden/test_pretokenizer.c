/* Pieces of every built-in scheme against those of the published pre-tokenizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "text/pretokenizer.h"

static json_t *load_golden(const char *name) {
    char path[4096];
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    json_t *golden = json_load_file(path, JSON_ALLOW_NUL, NULL);
    return golden;
}

typedef struct {
    const json_t *expected; /* texts of the pieces */
    size_t n_seen;
    const char *text;
} piece_check;

static r2_status check_piece(void *context, const char *piece, size_t n_bytes, r2_error *err) {
    piece_check *c = context;
    const json_t *expected = json_array_get(c->expected, c->n_seen++);
    (void)err;
    if (json_string_length(expected) != n_bytes ||
        memcmp(json_string_value(expected), piece, n_bytes) != 0) {
        fail_msg("text '%s': piece %zu: expected '%s', found '%.*s'", c->text, c->n_seen - 1,
                 expected == NULL ? "none" : json_string_value(expected), (int)n_bytes, piece);
    }
    return R2_OK;
}

static void check_text(const r2i_pretokenizer *p, r2i_pretokenizer_state *state, const json_t *text,
                       const json_t *expected) {
    piece_check c = { expected, 0, json_string_value(text) };
    assert_int_equal(r2i_pretokenizer_cut(p, state, json_string_value(text),
                                          json_string_length(text), check_piece, &c, NULL),
                     R2_OK);
    assert_int_equal(c.n_seen, json_array_size(expected));
}

typedef struct {
    r2i_heap heap;
    r2i_pretokenizer *pretokenizer;
    r2i_pretokenizer_state *state;
} cutter;

static void open_cutter(cutter *c, const char *name) {
    r2i_scheme scheme;
    r2i_heap_init(&c->heap);
    assert_true(r2i_scheme_find(&scheme, (r2i_text_view){ name, strlen(name) }));
    assert_int_equal(r2i_pretokenizer_create(&c->pretokenizer, &scheme, &c->heap, NULL), R2_OK);
    assert_int_equal(r2i_pretokenizer_state_create(&c->state, &c->heap, NULL), R2_OK);
}

static void close_cutter(cutter *c) {
    r2i_pretokenizer_state_destroy(c->state);
    r2i_pretokenizer_destroy(c->pretokenizer);
    assert_int_equal(c->heap.used_bytes, 0);
}

static void test_deepseek3(void **state) {
    (void)state;
    cutter c;
    json_t *golden = load_golden("pretok_deepseek3.json");
    const json_t *cases = json_object_get(golden, "cases");
    assert_true(json_array_size(cases) > 100);
    open_cutter(&c, "deepseek-v3");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i);
        check_text(c.pretokenizer, c.state, json_object_get(one, "text"),
                   json_object_get(one, "pieces"));
    }
    close_cutter(&c);
    json_decref(golden);
}

static void test_schemes(void **state) {
    (void)state;
    json_t *golden = load_golden("pretok_schemes.json");
    if (golden == NULL) skip(); /* ours, not among the goldens every folder must have */
    const json_t *texts = json_object_get(golden, "texts"),
                 *schemes = json_object_get(golden, "schemes");
    assert_true(json_array_size(texts) >= 100 && json_array_size(schemes) >= 6);
    for (size_t i = 0; i < json_array_size(schemes); i++) {
        const json_t *one = json_array_get(schemes, i);
        cutter c;
        open_cutter(&c, json_string_value(json_object_get(one, "scheme")));
        for (size_t k = 0; k < json_array_size(texts); k++) {
            check_text(c.pretokenizer, c.state, json_array_get(texts, k),
                       json_array_get(json_object_get(one, "pieces"), k));
        }
        close_cutter(&c);
    }
    json_decref(golden);
}

/* The patterns as tokenizer.json files spell them are found by their text. */
static void test_published_patterns(void **state) {
    (void)state;
    json_t *golden = load_golden("pretok_deepseek3.json");
    const json_t *regexes = json_object_get(golden, "regexes");
    const r2i_pattern expected[] = { R2I_PATTERN_DIGITS_3, R2I_PATTERN_CJK, R2I_PATTERN_DEEPSEEK3 };
    assert_int_equal(json_array_size(regexes), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *text = json_array_get(regexes, i);
        assert_int_equal(
            r2i_pattern_find((r2i_text_view){ json_string_value(text), json_string_length(text) }),
            expected[i]);
    }
    assert_int_equal(r2i_pattern_find((r2i_text_view){ "(a+)+$", 6 }), -1);
    json_decref(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_deepseek3),
                                        cmocka_unit_test(test_schemes),
                                        cmocka_unit_test(test_published_patterns) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
