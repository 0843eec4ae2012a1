/* Streams of tokens that cut characters apart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "text/byte_letters.h"
#include "text/detokenizer.h"
#include "text/utf8_scan.h"

static r2i_heap heap;
static r2i_byte_letters letters;
static r2i_text_view tokens[258];
static int32_t types[258];
static r2i_tokenizer *tokenizer;
static r2i_buffer out;

/* Ids 0..255: bytes; 256: a control token. */
static int make(void **state) {
    r2i_vocabulary v;
    (void)state;
    r2i_heap_init(&heap);
    r2i_byte_letters_init(&letters);
    r2i_vocabulary_init(&v);
    for (int i = 0; i < 256; i++)
        tokens[i] = (r2i_text_view){ letters.letter[i], letters.n_bytes[i] };
    for (int i = 0; i < 256; i++)
        types[i] = R2I_TOKEN_NORMAL;
    tokens[256] = (r2i_text_view){ "<|end|>", 7 };
    types[256] = R2I_TOKEN_CONTROL;
    tokens[257] = (r2i_text_view){ "\xc4\xa0word", 6 }; /* the letter of a space, then "word" */
    types[257] = R2I_TOKEN_NORMAL;
    v.model = (r2i_text_view){ "gpt2", 4 };
    v.tokens = (r2i_text_list){ .n = 258, .views = tokens };
    v.types = types;
    r2i_buffer_init(&out, &heap, 1 << 16);
    return r2i_tokenizer_create(&tokenizer, &v, &heap, NULL);
}

static int unmake(void **state) {
    (void)state;
    r2i_buffer_destroy(&out);
    r2i_tokenizer_destroy(tokenizer);
    return heap.used_bytes == 0 ? 0 : -1;
}

/* Feeds bytes one token each; after every token the text so far must be valid UTF-8. */
static void expect(const char *bytes, size_t n, const char *expected) {
    r2i_detokenizer d;
    r2i_detokenizer_init(&d, tokenizer, 0);
    r2i_buffer_clear(&out);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(r2i_detokenizer_push(&d, (uint8_t)bytes[i], &out, NULL), R2_OK);
        if (out.n_bytes > 0)
            assert_int_equal(r2i_utf8_valid_prefix(out.bytes, out.n_bytes), out.n_bytes);
    }
    assert_int_equal(r2i_detokenizer_finish(&d, &out, NULL), R2_OK);
    assert_int_equal(out.n_bytes, strlen(expected));
    if (out.n_bytes > 0) assert_memory_equal(out.bytes, expected, out.n_bytes);
}

static void test_whole_characters(void **state) {
    (void)state;
    expect("abc", 3, "abc");
    expect("\xc3\xa9", 2, "\u00e9");
    expect("x\xe4\xbd\xa0y", 5, "x\u4f60y");
    expect("\xf0\x9f\x98\x80", 4, "\U0001F600");
}

/* U+FFFD per maximal subpart, as Unicode recommends and browsers do. */
static void test_broken_characters(void **state) {
    (void)state;
    expect("\xff", 1, "\ufffd");
    expect("\x80\x80", 2, "\ufffd\ufffd");
    expect("\xe4\xbd", 2, "\ufffd");
    expect("\xe4\xbdz", 3, "\ufffdz");
    expect("\xf0\x9f\x98\xe4\xbd\xa0", 6, "\ufffd\u4f60");
    expect("\xed\xa0\x80", 3, "\ufffd\ufffd\ufffd");           /* a surrogate */
    expect("\xc0\xaf", 2, "\ufffd\ufffd");                     /* overlong */
    expect("\xf4\x90\x80\x80", 4, "\ufffd\ufffd\ufffd\ufffd"); /* above 10FFFF */
    expect("", 0, "");
}

static void test_held_back_until_complete(void **state) {
    (void)state;
    r2i_detokenizer d;
    r2i_detokenizer_init(&d, tokenizer, 0);
    r2i_buffer_clear(&out);
    const uint8_t bytes[] = { 0xf0, 0x9f, 0x98 };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(r2i_detokenizer_push(&d, bytes[i], &out, NULL), R2_OK);
        assert_int_equal(out.n_bytes, 0);
    }
    assert_int_equal(r2i_detokenizer_push(&d, 0x80, &out, NULL), R2_OK);
    assert_int_equal(out.n_bytes, 4);
}

static void test_control_tokens(void **state) {
    (void)state;
    const int32_t ids[] = { 'a', 256, 257, 100000, -1, 'b' };
    r2i_buffer_clear(&out);
    assert_int_equal(r2i_decode_text(tokenizer, ids, 6, 0, &out, NULL), R2_OK);
    assert_string_equal(out.bytes, "a wordb");
    r2i_buffer_clear(&out);
    assert_int_equal(r2i_decode_text(tokenizer, ids, 6, R2I_DECODE_SHOW_CONTROL, &out, NULL),
                     R2_OK);
    assert_string_equal(out.bytes, "a<|end|> wordb");
}

static void test_full_buffer(void **state) {
    (void)state;
    r2i_buffer tiny;
    const int32_t ids[] = { 'a', 'b', 'c' };
    r2i_buffer_init(&tiny, &heap, 2);
    assert_int_equal(r2i_decode_text(tokenizer, ids, 3, 0, &tiny, NULL), R2_E_LIMIT);
    assert_int_equal(tiny.n_bytes, 2);
    r2i_buffer_destroy(&tiny);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_characters),
        cmocka_unit_test(test_broken_characters),
        cmocka_unit_test(test_held_back_until_complete),
        cmocka_unit_test(test_control_tokens),
        cmocka_unit_test(test_full_buffer),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
