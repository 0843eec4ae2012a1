/* Tokenizers with small vocabularies: trust, limits, hostile input, merging at every length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/random.h"
#include "text/byte_letters.h"
#include "text/detokenizer.h"
#include "text/merge_piece.h"
#include "text/normalizer.h"

enum { N_LETTERS = 256, CAP_TOKENS = 400 };

/* Ids 0..255 are the bytes; the merges and added tokens of a test follow. */
typedef struct {
    r2i_heap heap;
    r2i_byte_letters letters;
    r2i_text_view tokens[CAP_TOKENS], merges[64];
    int32_t types[CAP_TOKENS];
    r2i_vocabulary vocabulary;
    r2i_tokenizer *tokenizer;
    r2i_encoder *encoder;
} fixture;

static void begin(fixture *f) {
    memset(f, 0, sizeof *f);
    r2i_heap_init(&f->heap);
    r2i_byte_letters_init(&f->letters);
    r2i_vocabulary_init(&f->vocabulary);
    for (int i = 0; i < N_LETTERS; i++) {
        f->tokens[i] = (r2i_text_view){ f->letters.letter[i], f->letters.n_bytes[i] };
        f->types[i] = R2I_TOKEN_NORMAL;
    }
    f->vocabulary.model = (r2i_text_view){ "gpt2", 4 };
    f->vocabulary.pre = (r2i_text_view){ "gpt-2", 5 };
    f->vocabulary.tokens = (r2i_text_list){ .n = N_LETTERS, .views = f->tokens };
    f->vocabulary.merges = (r2i_text_list){ .n = 0, .views = f->merges };
    f->vocabulary.types = f->types;
}

static int32_t add_token(fixture *f, const char *text, r2i_token_type type) {
    const size_t id = f->vocabulary.tokens.n++;
    f->tokens[id] = (r2i_text_view){ text, strlen(text) };
    f->types[id] = (int32_t)type;
    return (int32_t)id;
}

static void add_merge(fixture *f, const char *merge) {
    f->merges[f->vocabulary.merges.n++] = (r2i_text_view){ merge, strlen(merge) };
}

static r2_status create(fixture *f, r2_error *err) {
    const r2_status status = r2i_tokenizer_create(&f->tokenizer, &f->vocabulary, &f->heap, err);
    if (status != R2_OK) return status;
    return r2i_encoder_create(&f->encoder, f->tokenizer, &f->heap, err);
}

static void end(fixture *f) {
    r2i_encoder_destroy(f->encoder);
    r2i_tokenizer_destroy(f->tokenizer);
    assert_int_equal(f->heap.used_bytes, 0);
}

static void expect_ids(fixture *f, const r2i_encode_text *text, const int32_t *expected,
                       size_t n_expected) {
    const int32_t *ids;
    size_t n;
    assert_int_equal(r2i_encoder_run(f->encoder, text, &ids, &n, NULL), R2_OK);
    assert_int_equal(n, n_expected);
    assert_memory_equal(ids, expected, n * sizeof *ids);
}

static void expect_text(fixture *f, const char *text, unsigned flags, const int32_t *expected,
                        size_t n) {
    expect_ids(f, &(r2i_encode_text){ text, strlen(text), flags, NULL, 0 }, expected, n);
}

/* ---- trust ---- */

static void make_chat(fixture *f, int32_t *start, int32_t *end_id, int32_t *tool) {
    begin(f);
    *start = add_token(f, "<|s|>", R2I_TOKEN_CONTROL);
    *end_id = add_token(f, "<|s|>x", R2I_TOKEN_CONTROL);
    *tool = add_token(f, "<t>", R2I_TOKEN_USER);
    assert_int_equal(create(f, NULL), R2_OK);
}

static void test_control_only_when_asked(void **state) {
    (void)state;
    fixture f;
    int32_t start, longer, tool;
    make_chat(&f, &start, &longer, &tool);
    expect_text(&f, "<|s|>", R2I_ENCODE_CONTROL, &start, 1);
    expect_text(&f, "<|s|>x", R2I_ENCODE_CONTROL, &longer, 1); /* the longest at a place */
    expect_text(&f, "<|s|>", 0, (const int32_t[]){ '<', '|', 's', '|', '>' }, 5);
    expect_text(&f, "<t>", 0, &tool, 1);
    expect_text(&f, "a<t>b", 0, (const int32_t[]){ 'a', tool, 'b' }, 3);
    end(&f);
}

static void test_untrusted_ranges(void **state) {
    (void)state;
    fixture f;
    int32_t start, longer, tool;
    make_chat(&f, &start, &longer, &tool);
    const char *text = "<|s|><|s|>x<|s|>";
    const struct {
        r2i_text_range range;
        int32_t ids[16];
        size_t n;
    } cases[] = {
        { { 5, 11 }, { start, '<', '|', 's', '|', '>', 'x', start }, 8 },
        { { 10, 11 }, { start, start, 'x', start }, 4 }, /* the shorter one is trusted */
        { { 4, 5 }, { '<', '|', 's', '|', '>', longer, start }, 7 }, /* one byte spoils it */
        { { 5, 5 }, { start, longer, start }, 3 },                   /* nothing is untrusted */
        { { 0, 16 },
          { '<', '|', 's', '|', '>', '<', '|', 's', '|', '>', 'x', '<', '|', 's', '|', '>' },
          16 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_ids(&f, &(r2i_encode_text){ text, 16, R2I_ENCODE_CONTROL, &cases[i].range, 1 },
                   cases[i].ids, cases[i].n);
    }
    end(&f);
}

/* A border of trust is no border of pieces: ordinary text merges across it. */
static void test_borders_do_not_cut(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const int32_t ab = add_token(&f, "ab", R2I_TOKEN_NORMAL);
    add_merge(&f, "a b");
    assert_int_equal(create(&f, NULL), R2_OK);
    const r2i_text_range range = { 1, 2 };
    expect_ids(&f, &(r2i_encode_text){ "ab", 2, R2I_ENCODE_CONTROL, &range, 1 }, &ab, 1);
    end(&f);
}

static void test_bad_ranges(void **state) {
    (void)state;
    fixture f;
    int32_t start, longer, tool;
    make_chat(&f, &start, &longer, &tool);
    const r2i_text_range cases[][2] = { { { 0, 4 }, { 3, 5 } },
                                        { { 2, 1 }, { 3, 4 } },
                                        { { 0, 1 }, { 2, 6 } } };
    for (size_t i = 0; i < 3; i++) {
        const int32_t *ids;
        size_t n;
        const r2i_encode_text text = { "hello", 5, R2I_ENCODE_CONTROL, cases[i], 2 };
        assert_int_equal(r2i_encoder_run(f.encoder, &text, &ids, &n, NULL), R2_E_ARGUMENT);
        assert_true(ids == NULL && n == 0);
    }
    end(&f);
}

/* No merge may lead to a control token, whatever the vocabulary says. */
static void test_merges_never_make_control(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    add_token(&f, "<x", R2I_TOKEN_CONTROL);
    add_merge(&f, "< x");
    assert_int_equal(create(&f, NULL), R2_OK);
    expect_text(&f, "<x", 0, (const int32_t[]){ '<', 'x' }, 2);
    end(&f);
}

static void test_lookups(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const int32_t turn_end = add_token(&f, "<|im_end|>", R2I_TOKEN_CONTROL);
    const int32_t think = add_token(&f, "<think>", R2I_TOKEN_USER);
    f.vocabulary.eos_id = 'e';
    f.vocabulary.eog_ids = (const int32_t[]){ 'g', 'e' };
    f.vocabulary.n_eog_ids = 2;
    assert_int_equal(create(&f, NULL), R2_OK);
    const r2i_tokenizer *t = f.tokenizer;
    size_t n;
    const int32_t *eog = r2i_tokenizer_eog(t, &n);
    assert_int_equal(n, 3);
    assert_true(eog[0] == 'e' && eog[1] == 'g' && eog[2] == turn_end);
    assert_true(r2i_tokenizer_is_eog(t, turn_end) && !r2i_tokenizer_is_eog(t, think) &&
                !r2i_tokenizer_is_eog(t, -1));
    assert_int_equal(r2i_tokenizer_find_added(t, "<think>"), think);
    assert_int_equal(r2i_tokenizer_find_added(t, "a"), -1);
    assert_int_equal(r2i_tokenizer_find(t, "a", 1), 'a');
    assert_true(r2i_tokenizer_is_control(t, turn_end) && !r2i_tokenizer_is_control(t, think));
    assert_int_equal(r2i_tokenizer_size(t), 258);
    assert_int_equal(r2i_tokenizer_text(t, 258).n_bytes, 0);
    assert_int_equal(r2i_tokenizer_token_bytes(t, 999999, NULL, 0), 0);
    assert_int_equal(r2i_tokenizer_type(t, -5), R2I_TOKEN_UNUSED);
    end(&f);
}

/* ---- bytes ---- */

/* Every byte string comes back, valid UTF-8 or not. */
static void test_any_bytes_round_trip(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    add_token(&f, "ab", R2I_TOKEN_NORMAL);
    add_merge(&f, "a b");
    assert_int_equal(create(&f, NULL), R2_OK);
    for (uint64_t round = 0; round < 300; round++) {
        char text[64], back[128];
        const size_t n = (size_t)(r2i_random_u64(1, round, 0) % 64);
        for (size_t i = 0; i < n; i++) {
            const uint64_t draw = r2i_random_u64(1, round, i + 1);
            text[i] = draw % 3 == 0 ? "ab \n"[draw / 3 % 4] : (char)(draw >> 8);
        }
        const int32_t *ids;
        size_t n_ids, n_back = 0;
        assert_int_equal(r2i_encoder_run_text(f.encoder, text, n, 0, &ids, &n_ids, NULL), R2_OK);
        for (size_t i = 0; i < n_ids; i++)
            n_back += r2i_tokenizer_token_bytes(f.tokenizer, ids[i], back + n_back, 128 - n_back);
        assert_int_equal(n_back, n);
        if (n > 0) assert_memory_equal(back, text, n);
    }
    end(&f);
}

static void test_missing_bytes_are_dropped(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    f.tokens['b'] = (r2i_text_view){ "unused", 6 };
    const int32_t ac = add_token(&f, "ac", R2I_TOKEN_NORMAL);
    add_merge(&f, "a c");
    assert_int_equal(create(&f, NULL), R2_OK);
    expect_text(&f, "abc", 0, &ac,
                1); /* neighbours after the drop merge, as in the published tokenizers */
    end(&f);
}

/* ---- merging ---- */

/* Straight from the definition: lowest rank, leftmost; one merge at a time. */
static size_t merge_plainly(const r2i_merge_table *table, int32_t *ids, size_t n) {
    for (;;) {
        r2i_merge_slot best = { 0, R2I_NO_RANK, -1 };
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const r2i_merge_slot slot = r2i_merge_find(table, ids[i], ids[i + 1]);
            if (slot.rank < best.rank) {
                best = slot;
                at = i;
            }
        }
        if (best.rank == R2I_NO_RANK) return n;
        ids[at] = best.merged;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static const char *const MERGES[] = { "a a",   "b a",   "aa a",  "a b",
                                      "ab ab", "aa ba", "aaa b", "ba ba" };
static const char *const MERGED[] = { "aa", "ba", "aaa", "ab", "abab", "aaba", "aaab", "baba" };

static void make_table(fixture *f, r2i_arena *arena, r2i_token_store *store,
                       r2i_merge_table *table) {
    begin(f);
    for (size_t i = 0; i < 8; i++) {
        add_token(f, MERGED[i], R2I_TOKEN_NORMAL);
        add_merge(f, MERGES[i]);
    }
    r2i_arena_init(arena, &f->heap, 1 << 12, 0);
    assert_int_equal(r2i_token_store_init(store, &f->vocabulary, arena, NULL), R2_OK);
    assert_int_equal(r2i_merge_table_init(table, &f->vocabulary, store, &f->heap, NULL), R2_OK);
}

static void test_short_and_long_pieces_agree(void **state) {
    (void)state;
    fixture f;
    r2i_arena arena;
    r2i_token_store store;
    r2i_merge_table table;
    r2i_merge_scratch scratch;
    int32_t ids[200], expected[200];
    make_table(&f, &arena, &store, &table);
    r2i_merge_scratch_init(&scratch, &f.heap);
    for (uint64_t round = 0; round < 400; round++) {
        const size_t n = 1 + (size_t)(round % 200);
        size_t n_merged = 0;
        for (size_t i = 0; i < n; i++)
            expected[i] = ids[i] = "aab"[r2i_random_u64(2, round, i) % 3];
        const size_t n_expected = merge_plainly(&table, expected, n);
        assert_int_equal(r2i_merge_piece(&table, ids, n, &n_merged, &scratch, NULL), R2_OK);
        assert_int_equal(n_merged, n_expected);
        assert_memory_equal(ids, expected, n_merged * sizeof *ids);
    }
    r2i_merge_scratch_destroy(&scratch);
    r2i_merge_table_destroy(&table);
    r2i_token_store_destroy(&store);
    r2i_arena_destroy(&arena);
    assert_int_equal(f.heap.used_bytes, 0);
}

/* Bytes of 1 to 4 repeated to half a megabyte, an x behind them. */
static void check_long(fixture *f, const char *unit, char *text, size_t n) {
    const size_t n_unit = strlen(unit), n_whole = (n - 1) / n_unit * n_unit;
    const int32_t *ids;
    size_t n_ids;
    r2_error err = { 0 };
    for (size_t i = 0; i < n_whole; i++)
        text[i] = unit[i % n_unit];
    text[n_whole] = 'x';
    if (r2i_encoder_run_text(f->encoder, text, n_whole + 1, 0, &ids, &n_ids, &err) != R2_OK) {
        fail_msg("%s: %s", unit, err.text);
    }
    assert_true(n_ids > 0 && ids[n_ids - 1] == 'x');
}

/* A text without a border inside takes a moment, not an hour: quadratic time would be 10^11 steps.
 * Nor may any pattern run out of stack or into its limit. */
static void test_long_texts_are_fast(void **state) {
    (void)state;
    enum { N = 1 << 19 };
    static const char *const pres[] = { "gpt-2",  "qwen2",       "llama-bpe",
                                        "smollm", "deepseek-v3", "deepseek-coder" };
    static const char *const units[] = { "a",       " ",  "\n",        " \n",    "\xff",
                                         "<",       "1",  "\u4f60",    "\u0301", "\u3000",
                                         "a\u0301", "' ", "\xc2\x85 ", "!a",     "\r\n\t" };
    char *text = malloc(N);
    assert_non_null(text);
    const clock_t start = clock(); /* of this process alone: others may be busy */
    for (size_t k = 0; k < sizeof pres / sizeof *pres; k++) {
        fixture f;
        begin(&f);
        for (size_t i = 0; i < 8; i++) {
            add_token(&f, MERGED[i], R2I_TOKEN_NORMAL);
            add_merge(&f, MERGES[i]);
        }
        f.vocabulary.pre = (r2i_text_view){ pres[k], strlen(pres[k]) };
        assert_int_equal(create(&f, NULL), R2_OK);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            check_long(&f, units[i], text, N);
        end(&f);
    }
    free(text);
    assert_true((clock() - start) / CLOCKS_PER_SEC < 120); /* about 2 s, emulated 20 */
}

/* ---- NFC ---- */

static void expect_nfc(const char *text, const char *expected) {
    r2i_heap heap;
    r2i_buffer out;
    r2i_heap_init(&heap);
    r2i_buffer_init(&out, &heap, 1 << 20);
    assert_int_equal(r2i_nfc_append(&out, text, strlen(text), NULL), R2_OK);
    assert_int_equal(out.n_bytes, strlen(expected));
    assert_memory_equal(out.bytes, expected, out.n_bytes);
    r2i_buffer_destroy(&out);
}

static void test_nfc(void **state) {
    (void)state;
    expect_nfc("plain", "plain");
    expect_nfc("e\u0301", "\u00e9");
    expect_nfc("xe\u0301y\u212b", "x\u00e9y\u00c5");
    expect_nfc("q\u0307\u0323", "q\u0323\u0307");
    expect_nfc("\u1112\u1161\u11ab", "\ud55c");
    expect_nfc("\ud558\u11ab", "\ud55c"); /* a safe syllable and a final consonant */
    expect_nfc("\u0301a", "\u0301a");
    expect_nfc("\u0958", "\u0915\u093c"); /* excluded from composition */
    assert_true(r2i_nfc_is_certain("caf\u00e9 \u4f60\u597d", strlen("caf\u00e9 \u4f60\u597d")));
    assert_false(r2i_nfc_is_certain("e\u0301", 3));
}

/* ---- vocabularies that lie ---- */

static void expect_refused(fixture *f, r2_status expected, const char *part) {
    r2_error err = { 0 };
    assert_int_equal(create(f, &err), expected);
    if (strstr(err.text, part) == NULL) fail_msg("expected '%s' in '%s'", part, err.text);
    assert_null(f->tokenizer);
    end(f);
}

static void test_refused_vocabularies(void **state) {
    (void)state;
    static char long_text[R2I_MAX_TOKEN_BYTES + 2];
    fixture f;
    memset(long_text, 'a', R2I_MAX_TOKEN_BYTES + 1);
    begin(&f), add_merge(&f, "a b"),
        expect_refused(&f, R2_E_FORMAT, "merge 0: the joined text is not a token");
    begin(&f), add_merge(&f, "a zz"), expect_refused(&f, R2_E_FORMAT, "unknown token");
    begin(&f), add_merge(&f, "ab"), expect_refused(&f, R2_E_FORMAT, "expected two tokens");
    begin(&f), add_merge(&f, "a "), expect_refused(&f, R2_E_FORMAT, "expected two tokens");
    begin(&f), add_merge(&f, ""), expect_refused(&f, R2_E_FORMAT, "expected two tokens");
    begin(&f), add_token(&f, long_text, R2I_TOKEN_NORMAL),
        expect_refused(&f, R2_E_LIMIT, "token 256");
    begin(&f), add_token(&f, long_text + R2I_MAX_TOKEN_BYTES - 600, R2I_TOKEN_CONTROL),
        expect_refused(&f, R2_E_LIMIT, "added token 256");
    begin(&f), f.vocabulary.eos_id = 256, expect_refused(&f, R2_E_FORMAT, "eos_token_id");
    begin(&f), f.vocabulary.bos_id = -2, expect_refused(&f, R2_E_FORMAT, "bos_token_id");
    begin(&f), f.types[7] = 9, expect_refused(&f, R2_E_FORMAT, "token_type 7");
    begin(&f), f.vocabulary.tokens.n = 0, expect_refused(&f, R2_E_RANGE, "tokens");
    begin(&f), f.vocabulary.pre = (r2i_text_view){ "dbrx", 4 },
               expect_refused(&f, R2_E_UNSUPPORTED, "dbrx");
    begin(&f), f.vocabulary.model = (r2i_text_view){ "t5", 2 },
               expect_refused(&f, R2_E_UNSUPPORTED, "t5");
}

static void test_packed_lists(void **state) {
    (void)state;
    static const uint8_t good[] = "\1\0\0\0\0\0\0\0a\0\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0bc";
    fixture f;
    begin(&f);
    f.vocabulary.types = NULL;
    f.vocabulary.tokens = (r2i_text_list){ 3, NULL, good, sizeof good - 1 };
    assert_int_equal(create(&f, NULL), R2_OK);
    assert_int_equal(r2i_tokenizer_find(f.tokenizer, "bc", 2), 2);
    end(&f);
    for (size_t n = 0; n + 1 < sizeof good; n++) { /* cut off anywhere */
        begin(&f);
        f.vocabulary.types = NULL;
        f.vocabulary.tokens = (r2i_text_list){ 3, NULL, good, n };
        expect_refused(&f, R2_E_FORMAT, "cut off");
    }
    static const uint8_t huge[] = "\xff\xff\xff\xff\xff\xff\xff\xff"
                                  "a";
    begin(&f);
    f.vocabulary.types = NULL;
    f.vocabulary.tokens = (r2i_text_list){ 1, NULL, huge, sizeof huge - 1 };
    expect_refused(&f, R2_E_FORMAT, "cut off");
}

static void test_byte_tokens(void **state) {
    (void)state;
    static const char *const bad[] = {
        "<0x-1>", "<0x1>", "<0x001>", "<0xGG>", "<0xaa>", "0x41", ""
    };
    fixture f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        static float scores[CAP_TOKENS];
        begin(&f);
        f.vocabulary.model = (r2i_text_view){ "llama", 5 };
        f.vocabulary.scores = scores;
        add_token(&f, bad[i], R2I_TOKEN_BYTE);
        expect_refused(&f, R2_E_FORMAT, "byte token 256");
    }
    begin(&f);
    f.vocabulary.model = (r2i_text_view){ "llama", 5 };
    expect_refused(&f, R2_E_FORMAT, "scores");
}

/* Merges that lead in circles end, because each takes a symbol away; the first of equal texts wins. */
static void test_harmless_oddities(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    const int32_t twice = add_token(&f, "aa", R2I_TOKEN_NORMAL);
    add_token(&f, "aa", R2I_TOKEN_NORMAL);
    add_token(&f, "", R2I_TOKEN_CONTROL);
    add_merge(&f, "a a");
    add_merge(&f, "a a");
    assert_int_equal(create(&f, NULL), R2_OK);
    expect_text(&f, "aaaa", R2I_ENCODE_CONTROL, (const int32_t[]){ twice, twice }, 2);
    end(&f);
}

/* Every allocation refused in turn: an error, nothing kept. */
static void test_no_memory(void **state) {
    (void)state;
    fixture f;
    begin(&f);
    assert_int_equal(create(&f, NULL), R2_OK);
    const size_t needed = f.heap.used_bytes;
    end(&f);
    for (size_t limit = 1; limit < needed; limit += needed / 50) {
        begin(&f);
        f.heap.limit_bytes = limit;
        r2_error err = { 0 };
        assert_int_equal(create(&f, &err), R2_E_NOMEM);
        end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_control_only_when_asked),
        cmocka_unit_test(test_untrusted_ranges),
        cmocka_unit_test(test_borders_do_not_cut),
        cmocka_unit_test(test_bad_ranges),
        cmocka_unit_test(test_merges_never_make_control),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_any_bytes_round_trip),
        cmocka_unit_test(test_missing_bytes_are_dropped),
        cmocka_unit_test(test_short_and_long_pieces_agree),
        cmocka_unit_test(test_long_texts_are_fast),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_refused_vocabularies),
        cmocka_unit_test(test_packed_lists),
        cmocka_unit_test(test_byte_tokens),
        cmocka_unit_test(test_harmless_oddities),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
