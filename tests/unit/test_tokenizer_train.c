/* test_tokenizer_train.c - learning a vocabulary: memory that runs out at every place, work that is
 * stopped, tokens that would get too long, pieces in any order. */
#define _GNU_SOURCE /* mkdtemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "r2lm/train.h"
#include "text/bpe_learn.h"

enum { PATH_BYTES = 512, MAX_ALLOCATIONS = 100000 };

static char folder[PATH_BYTES], text_path[PATH_BYTES], out_path[PATH_BYTES];

static int make_folder(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/r2lm_tokenizer_XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    (void)snprintf(text_path, sizeof text_path, "%.400s/in.txt", folder);
    (void)snprintf(out_path, sizeof out_path, "%.400s/out", folder);
    FILE *f = fopen(text_path, "w");
    if (f == NULL) return -1;
    for (int i = 0; i < 400; i++)
        fprintf(f, "word%d and words %d in the text <think>\n", i % 7, i * i % 97);
    return fclose(f);
}

static void remove_out(void) {
    char path[PATH_BYTES + 32];
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json" };
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", out_path, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(out_path);
}

static int remove_folder(void **state) {
    (void)state;
    (void)unlink(text_path);
    remove_out();
    return rmdir(folder); /* nothing half-written is left in it */
}

/* ---- memory and cancelling ---- */

typedef struct {
    int n_left, n_held; /* allocations that succeed from now on; not yet given back */
    int n_calls_left;   /* of the progress function, until it says stop */
} host_state;

static void *take(void *user, size_t n_bytes) {
    host_state *h = user;
    if (h->n_left-- <= 0) return NULL;
    h->n_held++;
    return malloc(n_bytes);
}

static void give(void *user, void *memory, size_t n_bytes) {
    host_state *h = user;
    (void)n_bytes;
    h->n_held -= memory != NULL;
    free(memory);
}

static bool on_progress(void *user, bool is_learning, int64_t n_done, int64_t n_all) {
    host_state *h = user;
    assert_true(n_done >= 0 && n_all >= 0 && (!is_learning || n_all > 0));
    return h->n_calls_left-- > 0;
}

static r2_status train(host_state *h, r2_tokenizer_result *result, r2_error *err) {
    const char *const inputs[] = { text_path };
    const r2_tokenizer_options options = { .inputs = inputs,
                                           .n_inputs = 1,
                                           .n_vocab = 420,
                                           .n_reserved = 64,
                                           .is_forced = true,
                                           .progress = on_progress,
                                           .host = {
                                               .allocate = take, .release = give, .user = h } };
    return r2_tokenizer_train(result, out_path, &options, err);
}

static void test_no_memory(void **state) {
    (void)state;
    r2_status status = R2_E_NOMEM;
    for (int k = 0; status != R2_OK; k++) {
        host_state h = { .n_left = k, .n_calls_left = MAX_ALLOCATIONS };
        r2_tokenizer_result result;
        r2_error err;
        status = train(&h, &result, &err);
        assert_true(status == R2_OK || status == R2_E_NOMEM);
        assert_int_equal(h.n_held, 0);
        assert_true(status == R2_OK ? result.n_vocab > 330 : access(out_path, F_OK) != 0);
        assert_true(k < MAX_ALLOCATIONS);
    }
    remove_out();
}

static void test_stopped(void **state) {
    (void)state;
    r2_status status = R2_E_CANCELED;
    int n_stopped = 0;
    for (int k = 0; status != R2_OK; k++, n_stopped++) {
        host_state h = { .n_left = MAX_ALLOCATIONS, .n_calls_left = k };
        r2_tokenizer_result result;
        r2_error err;
        status = train(&h, &result, &err);
        assert_true(status == R2_OK || status == R2_E_CANCELED);
        assert_true(h.n_held == 0 && (status == R2_OK || access(out_path, F_OK) != 0));
    }
    assert_true(n_stopped >= 2); /* while reading and while learning */
    remove_out();
}

/* ---- learning alone ---- */

static void learn(r2i_bpe *bpe, r2i_heap *heap, const char *const *pieces, const int64_t *counts,
                  int32_t n, const r2i_bpe_options *options) {
    r2i_text_index index;
    r2_error err = { 0 };
    r2i_text_index_init(&index, heap);
    for (int32_t i = 0; i < n; i++) {
        int32_t number;
        assert_int_equal(r2i_text_index_add(&index, pieces[i], strlen(pieces[i]), &number, &err),
                         R2_OK);
        assert_int_equal(number, i);
    }
    assert_int_equal(r2i_bpe_init(bpe, heap, &err), R2_OK);
    assert_int_equal(r2i_bpe_learn(bpe, &index, counts, options, &err), R2_OK);
    r2i_text_index_destroy(&index);
}

static void test_long_tokens_are_left_out(void **state) {
    char piece[1001];
    const char *const pieces[] = { piece };
    const int64_t counts[] = { 10 };
    const r2i_bpe_options options = { .n_tokens = 400, .min_count = 2, .cap_token_bytes = 8 };
    r2i_heap heap;
    r2i_bpe bpe;
    (void)state;
    memset(piece, 'x', 1000);
    piece[1000] = 0;
    r2i_heap_init(&heap);
    learn(&bpe, &heap, pieces, counts, 1, &options);
    size_t longest = 0;
    for (int32_t i = 0; i < bpe.tokens.n_texts; i++) {
        const size_t n = r2i_text_index_get(&bpe.tokens, i).n_bytes;
        longest = n > longest ? n : longest;
    }
    assert_int_equal(longest, 8);
    assert_int_equal(bpe.n_symbols, 10 * 1000 / 8);
    r2i_bpe_destroy(&bpe);
    assert_int_equal(heap.used_bytes, 0);
}

static void test_any_order_of_pieces(void **state) {
    const char *const one[] = { "abcab", "bcabc", "cab", "ab", "zzzz" };
    const char *const two[] = { "zzzz", "ab", "cab", "bcabc", "abcab" };
    const int64_t counts_one[] = { 5, 4, 3, 2, 3 }, counts_two[] = { 3, 2, 3, 4, 5 };
    const r2i_bpe_options options = { .n_tokens = 300, .min_count = 1, .cap_token_bytes = 64 };
    r2i_heap heap;
    r2i_bpe a, b;
    (void)state;
    r2i_heap_init(&heap);
    learn(&a, &heap, one, counts_one, 5, &options);
    learn(&b, &heap, two, counts_two, 5, &options);
    assert_true(a.n_merges == b.n_merges && a.n_merges > 5);
    assert_memory_equal(a.merges, b.merges, a.n_merges * sizeof *a.merges);
    /* ab: 5*2 + 4 + 3 + 2 times; bc, ca less often */
    const r2i_text_view first = r2i_text_index_get(&a.tokens, 256);
    assert_true(first.n_bytes == 2 && memcmp(first.bytes, "ab", 2) == 0);
    r2i_bpe_destroy(&a);
    r2i_bpe_destroy(&b);
    assert_int_equal(heap.used_bytes, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_long_tokens_are_left_out),
        cmocka_unit_test(test_any_order_of_pieces),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
