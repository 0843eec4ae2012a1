/* Tokens for filling a gap: by the ids of the file, by the names that models use, all of them or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "text/byte_letters.h"
#include "text/tokenizer.h"

enum { N_LETTERS = 256 };

static r2i_heap heap;
static r2i_byte_letters letters;

/* Ids 0..255: bytes, then `names`. */
static r2i_tokenizer *make(const char *const *names, int n_names, const int32_t ids[3]) {
    static r2i_text_view tokens[N_LETTERS + 8];
    static int32_t types[N_LETTERS + 8];
    r2i_tokenizer *tokenizer = NULL;
    r2i_vocabulary v;
    r2i_byte_letters_init(&letters);
    r2i_vocabulary_init(&v);
    for (int i = 0; i < N_LETTERS; i++) {
        tokens[i] = (r2i_text_view){ letters.letter[i], letters.n_bytes[i] };
        types[i] = R2I_TOKEN_NORMAL;
    }
    for (int i = 0; i < n_names; i++) {
        tokens[N_LETTERS + i] = (r2i_text_view){ names[i], strlen(names[i]) };
        types[N_LETTERS + i] = i % 2 == 0 ? R2I_TOKEN_CONTROL : R2I_TOKEN_USER;
    }
    v.model = (r2i_text_view){ "gpt2", 4 };
    v.tokens = (r2i_text_list){ .n = (size_t)(N_LETTERS + n_names), .views = tokens };
    v.types = types;
    if (ids != NULL) memcpy(v.fim_ids, ids, sizeof v.fim_ids);
    const r2_status status = r2i_tokenizer_create(&tokenizer, &v, &heap, NULL);
    assert_true((status == R2_OK) == (tokenizer != NULL));
    return tokenizer;
}

static void expect(const char *const *names, int n_names, const int32_t ids[3], int32_t first,
                   int32_t second, int32_t third) {
    r2i_tokenizer *tokenizer = make(names, n_names, ids);
    assert_non_null(tokenizer);
    const int32_t *found = r2i_tokenizer_fim(tokenizer);
    if (first < 0) {
        assert_null(found);
    } else {
        assert_non_null(found);
        assert_int_equal(found[0], first);
        assert_int_equal(found[1], second);
        assert_int_equal(found[2], third);
    }
    r2i_tokenizer_destroy(tokenizer);
    assert_int_equal(heap.used_bytes, 0);
}

static void test_by_name(void **state) {
    const char *const qwen[] = { "x", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>" };
    const char *const star[] = { "<fim_suffix>", "<fim_prefix>", "<fim_middle>" };
    const char *const deepseek[] = { "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581begin\uff5c>",
                                     "<\uff5cfim\u2581end\uff5c>" };
    (void)state;
    expect(qwen, 4, NULL, 257, 259, 258);
    expect(star, 3, NULL, 257, 256, 258);
    expect(deepseek, 3, NULL, 257, 256, 258);
    expect(qwen, 3, NULL, -1, -1, -1); /* one is missing */
    expect(NULL, 0, NULL, -1, -1, -1);
}

static void test_by_id(void **state) {
    const char *const names[] = { "<a>",          "<b>",          "<c>",
                                  "<fim_prefix>", "<fim_suffix>", "<fim_middle>" };
    (void)state;
    expect(names, 6, (const int32_t[]){ 258, 256, 257 }, 258, 256, 257);
    expect(names, 6, (const int32_t[]){ 258, -1, 257 }, 259, 260, 261); /* not all: by name */
    expect(names, 3, (const int32_t[]){ 258, -1, 257 }, -1, -1, -1);
    assert_null(make(names, 3, (const int32_t[]){ 256, 257, 259 })); /* outside the vocabulary */
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_by_name),
                                        cmocka_unit_test(test_by_id) };
    r2i_heap_init(&heap);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
