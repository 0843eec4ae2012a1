/* Prepared data: shards that notice every change, copies and evaluation sets told apart, and a stream
 * that gives the same batches from any place it is resumed at. */
#define _POSIX_C_SOURCE 200809L /* mkdtemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "train/data/data_stream.h"
#include "train/data/held_out.h"
#include "train/data/near_copies.h"
#include "train/data/training_tokens.h"
#include "train/data/word_hashes.h"

enum { N_VOCAB = 1000, LONGEST = 90 };

static r2i_heap heap;
static r2i_arena arena;

static void ok(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s", err->text);
}

/* Document d has 2 + 7 d mod 89 tokens, which are d, d + 1, ...; every third one is not learnt. */
static size_t make_document(uint32_t d, uint32_t tokens[LONGEST]) {
    const size_t n = 2 + 7 * (size_t)d % 89;
    for (size_t i = 0; i < n; i++)
        tokens[i] = (d + (uint32_t)i) % N_VOCAB | (i % 3 == 2 ? R2I_NO_TARGET : 0);
    return n;
}

/* A folder with two shards of documents first, first + 1, ... */
static void make_folder(char *folder, uint32_t first, uint32_t n, bool has_chats) {
    r2_error err;
    r2i_shard_entry entries[2];
    r2i_data_manifest m = { .n_vocab = N_VOCAB, .has_chats = has_chats, .shards = entries };
    assert_non_null(mkdtemp(strcpy(folder, "/tmp/r2lm-data-XXXXXX")));
    for (uint32_t half = 0; half < 2; half++) {
        char path[64];
        r2i_shard_writer w;
        r2i_shard_entry *e = &entries[m.n_shards++];
        *e = (r2i_shard_entry){ .split = R2I_SPLIT_TRAIN };
        snprintf(e->name, sizeof e->name, "train-%u.tokens", half);
        snprintf(path, sizeof path, "%s/%s", folder, e->name);
        ok(r2i_shard_begin(&w, path, &heap, &err), &err);
        for (uint32_t d = half * (n / 2); d < (half == 0 ? n / 2 : n); d++) {
            uint32_t tokens[LONGEST];
            const size_t n_tokens = make_document(first + d, tokens);
            ok(r2i_shard_add(&w, tokens, n_tokens, &err), &err);
        }
        ok(r2i_shard_finish(&w, &err), &err);
        e->n_documents = w.n_documents;
        e->n_tokens = w.n_tokens;
        e->checksum = w.checksum;
    }
    ok(r2i_manifest_write(&m, folder, &heap, &err), &err);
}

static void remove_folder(const char *folder) {
    static const char *const names[] = { "train-0.tokens", "train-1.tokens", R2I_MANIFEST_NAME };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[64];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0);
}

/* ---- shards ---- */

static void test_every_changed_byte_is_seen(void **state) {
    (void)state;
    char folder[32], path[64];
    r2_error err;
    r2i_data_set set;
    make_folder(folder, 6, 8, false); /* an odd number of tokens in the second */
    snprintf(path, sizeof path, "%s/train-1.tokens", folder);
    ok(r2i_data_set_open(&set, folder, NULL, &arena, &err), &err);
    assert_int_equal(set.n_documents[R2I_SPLIT_TRAIN], 8);
    r2i_data_set_close(&set);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    struct stat info;
    assert_int_equal(fstat(fileno(file), &info), 0);
    for (long at = 0; at < info.st_size; at++) {
        int byte;
        fseek(file, at, SEEK_SET);
        byte = fgetc(file);
        fseek(file, at, SEEK_SET);
        fputc(byte ^ 0x10, file);
        fflush(file);
        const r2_status status = r2i_data_set_open(&set, folder, NULL, &arena, &err);
        if (status != R2_E_CHECKSUM && status != R2_E_FORMAT)
            fail_msg("byte %ld of %ld: status %d", at, (long)info.st_size, (int)status);
        assert_non_null(strstr(err.text, "train-1.tokens"));
        fseek(file, at, SEEK_SET);
        fputc(byte, file);
        fflush(file);
    }
    fclose(file);
    ok(r2i_data_set_open(&set, folder, NULL, &arena, &err), &err);
    r2i_data_set_close(&set);
    assert_int_equal(truncate(path, info.st_size - 8), 0);
    assert_int_equal(r2i_data_set_open(&set, folder, NULL, &arena, &err), R2_E_FORMAT);
    remove_folder(folder);
}

static void test_tokens_outside_the_vocabulary(void **state) {
    (void)state;
    r2_error err;
    r2i_shard_writer w;
    r2i_shard shard;
    char path[] = "/tmp/r2lm-shard-XXXXXX";
    const uint32_t tokens[] = { 1, 999, 1000 };
    assert_true(close(mkstemp(path)) == 0);
    ok(r2i_shard_begin(&w, path, &heap, &err), &err);
    ok(r2i_shard_add(&w, tokens, 3, &err), &err);
    ok(r2i_shard_finish(&w, &err), &err);
    assert_int_equal(r2i_shard_open(&shard, path, 1000, &err), R2_E_RANGE);
    assert_non_null(strstr(err.text, "token 2: expected 0 to 999, found 1000"));
    ok(r2i_shard_open(&shard, path, 1001, &err), &err);
    r2i_shard_close(&shard);
    unlink(path);
}

/* ---- the stream ---- */

enum { BATCH = 200, HELD = 3, RUN = 40 };

static r2i_data_stream *open_stream(const r2i_data_source *sources, int32_t n, bool is_once,
                                    const r2i_data_place *place) {
    r2_error err;
    r2i_data_stream *out;
    const r2i_data_stream_options options = { .sources = sources,
                                              .n_sources = n,
                                              .run_tokens = RUN,
                                              .batch_tokens = BATCH,
                                              .seed = 7,
                                              .is_once = is_once,
                                              .n_held = HELD };
    ok(r2i_data_stream_open(&out, &options, place, &heap, &err), &err);
    return out;
}

/* A run of document tokens: each follows the one before, and targets are what follows. */
static void check_runs(const r2i_batch_data *b) {
    int32_t n_targets = 0;
    assert_int_equal(b->run_begins[0], 0);
    assert_int_equal(b->run_begins[b->n_runs], b->n_tokens);
    for (int32_t r = 0; r < b->n_runs; r++) {
        const int32_t begin = b->run_begins[r], end = b->run_begins[r + 1];
        assert_in_range(end - begin, 1, RUN);
        for (int32_t i = begin; i < end; i++) {
            const int32_t next = (b->tokens[i] + 1) % N_VOCAB;
            if (i + 1 < end) assert_int_equal(b->tokens[i + 1], next);
            if (b->targets[i] >= 0) assert_int_equal(b->targets[i], next);
            n_targets += b->targets[i] >= 0;
        }
    }
    assert_int_equal(n_targets, b->n_targets);
}

static uint64_t hash_of(const r2i_batch_data *b) {
    uint64_t h = (uint64_t)b->n_tokens;
    for (int32_t i = 0; i < b->n_tokens; i++)
        h = h * 31 + (uint64_t)b->tokens[i] * 7 + (uint64_t)b->targets[i];
    for (int32_t i = 0; i < b->n_runs; i++)
        h = h * 31 + (uint64_t)b->run_begins[i];
    return h;
}

static void test_one_epoch_holds_everything_once(void **state) {
    (void)state;
    for (int has_chats = 0; has_chats < 2; has_chats++) {
        char folder[32];
        r2_error err;
        r2i_data_set set;
        int64_t n_targets = 0, n_expected = 0;
        make_folder(folder, 0, 37, has_chats == 1);
        ok(r2i_data_set_open(&set, folder, NULL, &arena, &err), &err);
        const r2i_data_source source = { &set, R2I_SPLIT_TRAIN, 1 };
        r2i_data_stream *s = open_stream(&source, 1, true, NULL);
        for (const r2i_batch_data *b; (b = r2i_data_stream_next(s))->n_tokens > 0;) {
            check_runs(b);
            n_targets += b->n_targets;
        }
        for (uint32_t d = 0; d < 37; d++) { /* a chat beyond the length of a run is cut there */
            uint32_t tokens[LONGEST];
            const size_t n = make_document(d, tokens);
            for (size_t i = 1; i < n && !(has_chats == 1 && i > RUN); i++)
                n_expected += (tokens[i] & R2I_NO_TARGET) == 0;
        }
        assert_int_equal(n_targets, n_expected);
        r2i_data_stream_close(s);
        r2i_data_set_close(&set);
        remove_folder(folder);
    }
}

/* A document longer than a batch does not fill one by itself: its parts are drawn among all. */
static void test_long_documents_are_mixed(void **state) {
    (void)state;
    char folder[32];
    r2_error err;
    r2i_data_set set;
    r2i_data_parts parts;
    make_folder(folder, 0, 37, false);
    ok(r2i_data_set_open(&set, folder, NULL, &arena, &err), &err);
    ok(r2i_data_parts_open(&parts, &set, R2I_SPLIT_TRAIN, RUN, &heap, &err), &err);
    uint64_t i = 0;
    for (uint64_t d = 0; d < set.n_documents[R2I_SPLIT_TRAIN]; d++) {
        size_t n_all, n, n_seen = 0;
        const uint32_t *all = r2i_data_set_document(&set, R2I_SPLIT_TRAIN, d, &n_all);
        for (bool has_next = true; has_next; n_seen += n) {
            assert_ptr_equal(r2i_data_part(&parts, i++, &n, &has_next), all + n_seen);
            assert_true(n >= 1 && n <= RUN);
            if (n_seen + n + 1 >= n_all) break; /* nothing but a last token is left */
        }
        assert_true(n_seen + RUN + 1 >= n_all);
    }
    assert_int_equal(i, parts.n);
    r2i_data_parts_close(&parts);
    const r2i_data_source source = { &set, R2I_SPLIT_TRAIN, 1 };
    r2i_data_stream *s = open_stream(&source, 1, true, NULL);
    const r2i_batch_data *b = r2i_data_stream_next(s);
    int32_t n_breaks = 0; /* runs that do not go on where the last one ended */
    for (int32_t r = 1; r < b->n_runs; r++)
        n_breaks += b->tokens[b->run_begins[r]] != b->targets[b->run_begins[r] - 1];
    assert_true(n_breaks * 2 > b->n_runs);
    r2i_data_stream_close(s);
    r2i_data_set_close(&set);
    remove_folder(folder);
}

static void test_resumed_anywhere(void **state) {
    (void)state;
    enum { N_BATCHES = 60 };
    char folders[2][32];
    r2_error err;
    r2i_data_set sets[2];
    r2i_data_source sources[2];
    uint64_t hashes[N_BATCHES];
    r2i_data_place places[N_BATCHES];
    for (int i = 0; i < 2; i++) {
        make_folder(folders[i], (uint32_t)(500 * i), (uint32_t)(20 + 9 * i), i == 1);
        ok(r2i_data_set_open(&sets[i], folders[i], NULL, &arena, &err), &err);
        sources[i] = (r2i_data_source){ &sets[i], R2I_SPLIT_TRAIN, 1 + i };
    }
    r2i_data_stream *s = open_stream(sources, 2, false, NULL);
    for (int i = 0; i < N_BATCHES; i++) {
        const r2i_batch_data *b = r2i_data_stream_next(s);
        hashes[i] = hash_of(b);
        places[i] = b->after;
    }
    r2i_data_stream_close(s);
    assert_true(hashes[0] != hashes[1]);
    for (int from = 0; from + 1 < N_BATCHES; from += 7) {
        s = open_stream(sources, 2, false, &places[from]);
        const r2i_batch_data *held[HELD] = { NULL };
        for (int i = from + 1; i < N_BATCHES; i++) {
            held[i % HELD] = r2i_data_stream_next(s);
            for (int k = 0; k < HELD && i - k > from; k++)
                assert_true(hash_of(held[(i - k) % HELD]) == hashes[i - k]);
        }
        r2i_data_stream_close(s);
    }
    /* Documents come from the sources as 1 : 2; an epoch is over before a document comes again. */
    const double share =
        (double)places[N_BATCHES - 1].at[1] / (double)places[N_BATCHES - 1].n_drawn;
    assert_true(share > 0.55 && share < 0.78);
    for (int i = 0; i < 2; i++) {
        r2i_data_set_close(&sets[i]);
        remove_folder(folders[i]);
    }
}

static void test_bad_options(void **state) {
    (void)state;
    char folder[32];
    r2_error err;
    r2i_data_set set;
    r2i_data_stream *s;
    make_folder(folder, 0, 4, false);
    ok(r2i_data_set_open(&set, folder, NULL, &arena, &err), &err);
    const r2i_data_source none = { &set, R2I_SPLIT_VALIDATION, 1 },
                          weightless = { &set, R2I_SPLIT_TRAIN, 0 },
                          good = { &set, R2I_SPLIT_TRAIN, 1 };
    const r2i_data_stream_options options[] = { { &none, 1, 4, 8, 0, false, 0 },
                                                { &weightless, 1, 4, 8, 0, false, 0 },
                                                { &good, 1, 1, 8, 0, false, 0 },
                                                { &good, 1, 9, 8, 0, false, 0 },
                                                { &good, 0, 4, 8, 0, false, 0 } };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_int_equal(r2i_data_stream_open(&s, &options[i], NULL, &heap, &err), R2_E_ARGUMENT);
    const r2i_data_place wrong = { .source = 3 };
    const r2i_data_stream_options fine = { &good, 1, 4, 8, 0, false, 0 };
    assert_int_equal(r2i_data_stream_open(&s, &fine, &wrong, &heap, &err), R2_E_ARGUMENT);
    r2i_data_set_close(&set);
    remove_folder(folder);
}

/* ---- copies and evaluation sets ---- */

static r2i_buffer words;

static const uint64_t *words_of(const char *text, size_t *n) {
    r2i_buffer_clear(&words);
    assert_int_equal(r2i_word_hashes_append(&words, text, strlen(text), NULL), R2_OK);
    return r2i_word_hashes_of(&words, n);
}

static void test_words(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } cases[] = { { "", 0 },
                  { "...  \n", 0 },
                  { "One, two; THREE-four 5", 5 },
                  { "\xc3\x89t\xc3\xa9 \xe4\xb8\xad\xe6\x96\x87 x", 4 },
                  { "a\xff"
                    "b",
                    2 } };
    size_t n;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        (void)words_of(cases[i].text, &n);
        assert_int_equal(n, cases[i].n);
    }
    const uint64_t first = *words_of("\xc3\x89T\xc3\x89", &n);
    assert_true(first == *words_of("(\xc3\xa9t\xc3\xa9)", &n));
}

/* n words numbered from `first`, of which every `changed`-th is another one (0: none). */
static const char *make_text(int first, int n, int changed) {
    static char text[8192];
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        const bool is_other = changed > 0 && i % changed == changed / 2;
        used += (size_t)snprintf(text + used, sizeof text - used, "%sw%d ", is_other ? "x" : "",
                                 first + i);
    }
    return text;
}

static r2i_copy_kind add_copy(r2i_near_copies *c, const char *text) {
    size_t n;
    r2i_copy_kind kind;
    const uint64_t *w = words_of(text, &n);
    assert_int_equal(r2i_near_copies_add(c, w, n, &kind, NULL), R2_OK);
    return kind;
}

static void test_copies(void **state) {
    (void)state;
    r2i_near_copies c;
    r2i_near_copies_init(&c, &heap);
    assert_int_equal(add_copy(&c, make_text(0, 500, 0)), R2I_COPY_NONE);
    assert_int_equal(add_copy(&c, make_text(0, 500, 0)), R2I_COPY_EXACT);
    /* 2 words of 500 changed: 10 of 496 runs, alike by 0.96.  25 of 500: 125 runs, alike by 0.6. */
    assert_int_equal(add_copy(&c, make_text(0, 500, 250)), R2I_COPY_NEAR);
    assert_int_equal(add_copy(&c, make_text(0, 500, 20)), R2I_COPY_NONE);
    assert_int_equal(add_copy(&c, make_text(1000, 500, 0)), R2I_COPY_NONE);
    assert_int_equal(add_copy(&c, "Yes."), R2I_COPY_NONE);
    assert_int_equal(add_copy(&c, "yes!"), R2I_COPY_EXACT);
    r2i_near_copies_destroy(&c);
}

static void test_held_out(void **state) {
    (void)state;
    r2i_held_out set;
    size_t n;
    r2i_held_out_init(&set, &heap);
    const uint64_t *w = words_of(make_text(100, 40, 0), &n);
    assert_int_equal(r2i_held_out_add(&set, w, n, NULL), R2_OK);
    w = words_of(make_text(900, 9, 0), &n);
    assert_int_equal(r2i_held_out_add(&set, w, n, NULL), R2_OK);
    w = words_of("too short to tell", &n);
    assert_int_equal(r2i_held_out_add(&set, w, n, NULL), R2_OK);
    assert_int_equal(set.n_items, 2);
    static const struct {
        int first, n;
        bool is_tainted;
    } cases[] = { { 127, 13, true }, { 128, 13, false }, { 60, 60, true },  { 88, 24, false },
                  { 897, 12, true }, { 901, 12, false }, { 300, 90, false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        w = words_of(make_text(cases[i].first, cases[i].n, 0), &n);
        assert_int_equal(r2i_held_out_taints(&set, w, n), cases[i].is_tainted);
    }
    r2i_held_out_destroy(&set);
}

int main(void) {
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    r2i_buffer_init(&words, &heap, 1 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_changed_byte_is_seen),
        cmocka_unit_test(test_tokens_outside_the_vocabulary),
        cmocka_unit_test(test_one_epoch_holds_everything_once),
        cmocka_unit_test(test_long_documents_are_mixed),
        cmocka_unit_test(test_resumed_anywhere),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_held_out),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    r2i_buffer_destroy(&words);
    r2i_arena_destroy(&arena);
    return failed;
}
