/* test_safetensors.c - safetensors files and Hugging Face folders, right, wrong and hostile. */
#define _GNU_SOURCE /* mkdtemp, symlink */
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

#include "files/model_folder.h"
#include "files/safetensors.h"
#include "files/safetensors_write.h"

#define OK(call)                                       \
    do {                                               \
        if ((call) != R2_OK) fail_msg("%s", err.text); \
    } while (0)

typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    uint8_t *copy;
    r2i_safetensors *file;
    r2_error err;
    r2_status status;
} opened;

/* Opens an exact copy of the bytes, so that AddressSanitizer sees every byte too far. */
static void open_bytes(opened *o, const void *bytes, size_t n) {
    memset(o, 0, sizeof *o);
    r2i_heap_init(&o->heap);
    o->heap.limit_bytes = 64 << 20;
    r2i_arena_init(&o->arena, &o->heap, 1 << 12, 0);
    o->copy = malloc(n == 0 ? 1 : n);
    assert_non_null(o->copy);
    memcpy(o->copy, bytes, n);
    o->status =
        r2i_safetensors_open_memory(&o->file, "toy.safetensors", o->copy, n, &o->arena, &o->err);
}

static void close_bytes(opened *o) {
    r2i_safetensors_close(o->file);
    r2i_arena_destroy(&o->arena);
    assert_int_equal(o->heap.used_bytes, 0);
    free(o->copy);
}

/* Length, header text and n_data bytes 0, 1, 2 ... */
static size_t make_file(uint8_t *out, const char *header, size_t n_data) {
    const uint64_t n = strlen(header);
    memcpy(out, &n, 8);
    memcpy(out + 8, header, n);
    for (size_t i = 0; i < n_data; i++)
        out[8 + n + i] = (uint8_t)i;
    return 8 + (size_t)n + n_data;
}

static const char good_header[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"w\":{\"dtype\":\"BF16\",\"shape\":[3,2],\"data_offsets\":[8,20]},"
    "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
    "\"scalar\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[20,22]},"
    "\"empty\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[22,22]},"
    "\"fp8\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[22,23]},"
    "\"other8\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[23,24]}}  ";

static void test_reads_what_is_there(void **state) {
    (void)state;
    uint8_t bytes[1024];
    opened o;
    r2i_stored_tensor t;
    open_bytes(&o, bytes, make_file(bytes, good_header, 24));
    assert_string_equal(o.err.text, "");
    assert_int_equal(o.status, R2_OK);
    assert_int_equal(r2i_safetensors_n_tensors(o.file), 6);
    assert_string_equal(r2i_safetensors_metadata(o.file, "format"), "pt");
    assert_null(r2i_safetensors_metadata(o.file, "other"));
    assert_int_equal(r2i_safetensors_get(o.file, "w", &t, &o.err), R2_OK);
    assert_int_equal(t.type, R2I_TYPE_BF16);
    assert_int_equal(t.n_dims, 2);
    assert_int_equal(t.ne[0], 2); /* innermost first */
    assert_int_equal(t.ne[1], 3);
    assert_int_equal(t.ne[2], 1);
    assert_int_equal(t.n_bytes, 12);
    assert_int_equal(t.bytes[0], 8);
    assert_int_equal(r2i_safetensors_get(o.file, "scalar", &t, &o.err), R2_OK);
    assert_int_equal(t.n_bytes, 2);
    assert_int_equal(r2i_safetensors_get(o.file, "fp8", &t, &o.err), R2_OK);
    assert_int_equal(t.type, R2I_TYPE_F8_E4M3);
    assert_int_equal(r2i_safetensors_find(o.file, "other8")->dtype, R2I_DTYPE_F8_E5M2);
    assert_int_equal(r2i_safetensors_get(o.file, "other8", &t, &o.err), R2_E_UNSUPPORTED);
    assert_string_equal(o.err.text, "toy.safetensors: other8: dtype: expected F32, F16, BF16 or "
                                    "F8_E4M3, found F8_E5M2");
    assert_int_equal(r2i_safetensors_get(o.file, "empty", &t, &o.err), R2_E_FORMAT);
    assert_int_equal(r2i_safetensors_get(o.file, "absent", &t, &o.err), R2_E_NOT_FOUND);
    close_bytes(&o);
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    uint8_t bytes[1024];
    opened o;
    const size_t n = make_file(bytes, good_header, 24);
    for (size_t k = 0; k < n; k++) {
        open_bytes(&o, bytes, k);
        assert_int_not_equal(o.status, R2_OK);
        assert_null(o.file);
        assert_non_null(strstr(o.err.text, "toy.safetensors: "));
        close_bytes(&o);
    }
}

#define T(dtype, shape, offsets) \
    "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
static const struct {
    const char *header;
    size_t n_data;
    r2_status code;
    const char *text;
} bad_cases[] = {
    { " {}", 0, R2_E_FORMAT, "header: expected {...} padded with spaces" },
    { "{}\n", 0, R2_E_FORMAT, "header: expected {...} padded with spaces" },
    { "[]", 0, R2_E_FORMAT, "header: expected {...} padded with spaces" },
    { "{} {}", 0, R2_E_FORMAT, "not valid JSON" },
    { "{\"a\":" T("\"F32\"", "[1]", "[0,4]") ",\"a\":" T("\"F32\"", "[1]", "[4,8]") "}", 8,
      R2_E_FORMAT, "duplicate" },
    { "{\"a\":" T("\"F32\"", "[1]", "[0,4]") ",\"\\u0061\":" T("\"F32\"", "[1]", "[4,8]") "}", 8,
      R2_E_FORMAT, "duplicate" },
    { "{\"__metadata__\":[]}", 0, R2_E_FORMAT, "__metadata__: expected an object" },
    { "{\"__metadata__\":{\"a\":1}}", 0, R2_E_FORMAT, "__metadata__: a: expected a string" },
    { "{\"\":" T("\"F32\"", "[1]", "[0,4]") "}", 4, R2_E_FORMAT,
      "a tensor name: expected 1..1024 bytes, found 0" },
    { "{\"a\":1}", 0, R2_E_FORMAT, "a: expected dtype, shape and data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, R2_E_FORMAT,
      "a: expected dtype, shape and data_offsets" },
    { "{\"a\":" T("\"F33\"", "[1]", "[0,4]") "}", 4, R2_E_FORMAT,
      "a: dtype: expected a known one such as \"F32\", found \"F33\"" },
    { "{\"a\":" T("7", "[1]", "[0,4]") "}", 4, R2_E_FORMAT, "a: dtype: expected a known one" },
    { "{\"a\":" T("\"F32\"", "[-1]", "[0,4]") "}", 4, R2_E_FORMAT,
      "expected a whole number of digits, found -1" },
    { "{\"a\":" T("\"F32\"", "[1.0]", "[0,4]") "}", 4, R2_E_FORMAT,
      "expected a whole number of digits, found 1.0" },
    { "{\"a\":" T("\"F32\"", "[1e0]", "[0,4]") "}", 4, R2_E_FORMAT,
      "expected a whole number of digits, found 1e0" },
    { "{\"a\":" T("\"F32\"", "[\"1\"]", "[0,4]") "}", 4, R2_E_FORMAT,
      "a: shape: expected at most 8 whole numbers" },
    { "{\"a\":" T("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, R2_E_FORMAT,
      "a: shape: expected at most 8" },
    { "{\"a\":" T("\"F32\"", "[4294967296,4294967296]", "[0,4]") "}", 4, R2_E_FORMAT,
      "a: shape: expected at most 8" },
    { "{\"a\":" T("\"F64\"", "[1099511627776,65536]", "[0,4]") "}", 4, R2_E_FORMAT,
      "a: data_offsets: expected 576460752303423488 bytes" },
    { "{\"a\":" T("\"F32\"", "[99999999999999999999]", "[0,4]") "}", 4, R2_E_FORMAT,
      "not valid JSON" },
    { "{\"a\":" T("\"F32\"", "[1]", "[4,0]") "}", 4, R2_E_FORMAT,
      "a: data_offsets: expected [begin, end]" },
    { "{\"a\":" T("\"F32\"", "[1]", "[0,4,4]") "}", 4, R2_E_FORMAT,
      "a: data_offsets: expected [begin, end]" },
    { "{\"a\":" T("\"F32\"", "[1]", "[0,8]") "}", 8, R2_E_FORMAT,
      "a: data_offsets: expected 4 bytes as shape and dtype say, found 8" },
    { "{\"a\":" T("\"F32\"", "[1]", "[4,8]") "}", 4, R2_E_FORMAT,
      "a: data_offsets: expected an end within the 4 bytes" },
    { "{\"a\":" T("\"F32\"", "[1]", "[4,8]") "}", 8, R2_E_FORMAT,
      "a: data_offsets: expected data to begin at 0, found 4 (hole)" },
    { "{\"a\":" T("\"F32\"", "[2]", "[0,8]") ",\"b\":" T("\"F32\"", "[1]", "[4,8]") "}", 8,
      R2_E_FORMAT, "found 4 (overlap)" },
    { "{\"a\":" T("\"F32\"", "[1]", "[0,4]") "}", 5, R2_E_FORMAT,
      "data: expected 4 bytes as the header says, found 5" },
    { "{\"a\":"
      "{\"b\":{\"c\":{\"d\":{\"e\":{\"f\":{\"g\":{\"h\":{}}}}}}}}"
      "}",
      0, R2_E_LIMIT, "expected nesting of at most 8" },
    { "{\"a\xff\":" T("\"F32\"", "[1]", "[0,4]") "}", 4, R2_E_FORMAT, "not valid JSON" },
};

static void test_malformed_files_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        uint8_t bytes[1024];
        opened o;
        open_bytes(&o, bytes, make_file(bytes, bad_cases[i].header, bad_cases[i].n_data));
        if (o.status != bad_cases[i].code || strstr(o.err.text, bad_cases[i].text) == NULL) {
            fail_msg("case %zu: expected %d \"%s\", found %d \"%s\"", i, bad_cases[i].code,
                     bad_cases[i].text, o.status, o.err.text);
        }
        close_bytes(&o);
    }
}

static void test_header_length(void **state) {
    (void)state;
    static const uint64_t lengths[] = { 0, 1, 3, 100000001, UINT64_MAX };
    for (size_t i = 0; i < 5; i++) {
        uint8_t bytes[16] = { 0 };
        opened o;
        memcpy(bytes, &lengths[i], 8);
        memcpy(bytes + 8, "{}", 2);
        open_bytes(&o, bytes, 10);
        assert_int_equal(o.status, R2_E_FORMAT);
        assert_non_null(
            strstr(o.err.text, "header: expected 2..100000000 bytes within the file's 10"));
        close_bytes(&o);
    }
}

/* ---- folders ---- */

typedef struct {
    char folder[64];
    r2i_heap heap;
    r2i_arena arena;
} place;

static int set_up(void **state) {
    place *p = calloc(1, sizeof *p);
    memcpy(p->folder, "/tmp/r2lm-st-XXXXXX", 20);
    if (mkdtemp(p->folder) == NULL) return -1;
    r2i_heap_init(&p->heap);
    r2i_arena_init(&p->arena, &p->heap, 1 << 14, 0);
    *state = p;
    return 0;
}

static const char *path_in(const place *p, const char *name) {
    static char paths[2][256];
    static int next;
    char *path = paths[next++ & 1];
    (void)snprintf(path, 256, "%s/%s", p->folder, name);
    return path;
}

static int tear_down(void **state) {
    static const char *const entries[] = { "model.safetensors",
                                           "model.safetensors.index.json",
                                           "a.safetensors",
                                           "b.safetensors",
                                           "config.json",
                                           "tokenizer.json",
                                           "chat_template.jinja",
                                           "hub/snapshots/rev/config.json",
                                           "hub/snapshots/rev/model.safetensors",
                                           "hub/snapshots/rev",
                                           "hub/snapshots",
                                           "hub/blobs/0123abcd",
                                           "hub/blobs/4567",
                                           "hub/blobs",
                                           "hub" };
    place *p = *state;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        (void)remove(path_in(p, entries[i]));
    const int rc = rmdir(p->folder);
    r2i_arena_destroy(&p->arena);
    const size_t used = p->heap.used_bytes;
    free(p);
    return rc == 0 && used == 0 ? 0 : -1;
}

static void write_text(const place *p, const char *name, const char *text) {
    FILE *file = fopen(path_in(p, name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* A file with two tensors, one of them streamed. */
static void write_model(place *p, const char *name, const char *first, const char *second) {
    r2_error err = { 0 };
    r2i_safetensors_writer *w;
    const int64_t shape[] = { 2, 3 }, empty[] = { 0 };
    const float x[6] = { 0, 1, 2, 3, 4, 5 };
    const uint16_t h[6] = { 0x3f80, 1, 2, 3, 4, 5 };
    OK(r2i_safetensors_writer_create(&w, &p->heap, &err));
    OK(r2i_safetensors_writer_add_metadata(w, "format", "pt", &err));
    OK(r2i_safetensors_writer_add_tensor(w, first, R2I_DTYPE_F32, 2, shape, x, &err));
    OK(r2i_safetensors_writer_add_tensor(w, second, R2I_DTYPE_BF16, 2, shape, NULL, &err));
    OK(r2i_safetensors_writer_add_tensor(w, "none", R2I_DTYPE_F32, 1, empty, NULL, &err));
    OK(r2i_safetensors_writer_begin(w, path_in(p, name), &err));
    OK(r2i_safetensors_writer_write(w, h, 5, &err));
    OK(r2i_safetensors_writer_write(w, (const uint8_t *)h + 5, 7, &err));
    OK(r2i_safetensors_writer_finish(w, &err));
    r2i_safetensors_writer_destroy(w);
}

static void test_writes_what_it_reads(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_safetensors *s;
    r2i_stored_tensor t;
    write_model(p, "model.safetensors", "a \"quoted\" \xc3\xa9", "b");
    OK(r2i_safetensors_open(&s, p->folder, &p->arena, &err));
    assert_int_equal(r2i_safetensors_n_tensors(s), 3);
    OK(r2i_safetensors_get(s, "a \"quoted\" \xc3\xa9", &t, &err));
    const float five = 5.0f;
    assert_memory_equal(t.bytes + 20, &five, 4);
    assert_int_equal((uintptr_t)t.bytes % 8, 0);
    OK(r2i_safetensors_get(s, "b", &t, &err));
    assert_int_equal(t.ne[0], 3);
    const uint16_t one = 0x3f80;
    assert_memory_equal(t.bytes, &one, 2);
    assert_string_equal(r2i_safetensors_metadata(s, "format"), "pt");
    r2i_safetensors_close(s);
}

static void test_writer_refuses(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_safetensors_writer *w;
    const int64_t bad[] = { -1 }, two[] = { 2 };
    const float x[2] = { 0 };
    OK(r2i_safetensors_writer_create(&w, &p->heap, &err));
    OK(r2i_safetensors_writer_add_tensor(w, "a", R2I_DTYPE_F32, 1, two, x, &err));
    assert_int_equal(r2i_safetensors_writer_add_tensor(w, "a", R2I_DTYPE_F32, 1, two, x, &err),
                     R2_E_ARGUMENT);
    r2i_safetensors_writer_destroy(w);
    OK(r2i_safetensors_writer_create(&w, &p->heap, &err));
    assert_int_equal(r2i_safetensors_writer_add_tensor(w, "a", R2I_DTYPE_F32, 1, bad, x, &err),
                     R2_E_ARGUMENT);
    r2i_safetensors_writer_destroy(w);
    OK(r2i_safetensors_writer_create(&w, &p->heap, &err));
    OK(r2i_safetensors_writer_add_tensor(w, "a", R2I_DTYPE_F32, 1, two, NULL, &err));
    OK(r2i_safetensors_writer_begin(w, path_in(p, "model.safetensors"), &err));
    assert_int_equal(r2i_safetensors_writer_write(w, good_header, 9, &err), R2_E_ARGUMENT);
    assert_int_equal(r2i_safetensors_writer_finish(w, &err), R2_E_ARGUMENT);
    r2i_safetensors_writer_destroy(w);
    assert_int_equal(access(path_in(p, "model.safetensors"), F_OK), -1);
}

static void expect_refused(place *p, const char *index, r2_status code, const char *text) {
    r2_error err = { 0 };
    r2i_safetensors *s;
    write_text(p, "model.safetensors.index.json", index);
    const r2_status status = r2i_safetensors_open(&s, p->folder, &p->arena, &err);
    if (status != code || strstr(err.text, text) == NULL) {
        fail_msg("%s: expected %d \"%s\", found %d \"%s\"", index, code, text, status, err.text);
    }
    assert_null(s);
}

static void test_shards(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_safetensors *s;
    write_model(p, "a.safetensors", "one", "two");
    write_model(p, "b.safetensors", "three", "two"); /* the index says whose "two" counts */
    write_text(p, "model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"three\":\"b.safetensors\","
               "\"one\":\"a.safetensors\",\"two\":\"a.safetensors\"}}");
    OK(r2i_safetensors_open(&s, p->folder, &p->arena, &err));
    assert_int_equal(r2i_safetensors_n_shards(s), 2);
    assert_int_equal(r2i_safetensors_n_tensors(s), 3);
    assert_int_equal(r2i_safetensors_find(s, "two")->shard, r2i_safetensors_find(s, "one")->shard);
    assert_int_not_equal(r2i_safetensors_find(s, "two")->shard,
                         r2i_safetensors_find(s, "three")->shard);
    r2i_safetensors_close(s);
    OK(r2i_safetensors_open(&s, path_in(p, "model.safetensors.index.json"), &p->arena, &err));
    r2i_safetensors_close(s);

    expect_refused(p, "{\"weight_map\":{\"four\":\"a.safetensors\"}}", R2_E_MISMATCH,
                   "weight_map: four: expected in a.safetensors, found nothing");
    expect_refused(
        p, "{\"weight_map\":{\"one\":\"../a.safetensors\"}}", R2_E_FORMAT,
        "weight_map: one: expected a file name of A-Z a-z 0-9 . _ -, found \"../a.safetensors\"");
    expect_refused(p, "{\"weight_map\":{\"one\":\"/etc/passwd\"}}", R2_E_FORMAT,
                   "found \"/etc/passwd\"");
    expect_refused(p, "{\"weight_map\":{\"one\":\"..\"}}", R2_E_FORMAT, "found \"..\"");
    expect_refused(p, "{\"weight_map\":{\"one\":7}}", R2_E_FORMAT,
                   "weight_map: one: expected a file name");
    expect_refused(p, "{\"weight_map\":[]}", R2_E_FORMAT,
                   "weight_map: expected an object, found an array");
    expect_refused(p, "{}", R2_E_NOT_FOUND, "weight_map: expected an object, found nothing");
    expect_refused(p, "{\"weight_map\":{\"one\":\"c.safetensors\"}}", R2_E_NOT_FOUND,
                   "c.safetensors: cannot open");
    assert_int_equal(unlink(path_in(p, "b.safetensors")), 0);
    assert_int_equal(symlink("/etc/passwd", path_in(p, "b.safetensors")), 0);
    expect_refused(p, "{\"weight_map\":{\"one\":\"b.safetensors\"}}", R2_E_FORMAT,
                   "found a link to /etc/passwd");
    assert_int_equal(unlink(path_in(p, "b.safetensors")), 0);
    assert_int_equal(mkfifo(path_in(p, "b.safetensors"), 0600), 0);
    expect_refused(p, "{\"weight_map\":{\"one\":\"b.safetensors\"}}", R2_E_FORMAT,
                   "expected a regular file");
}

/* The layout of the download cache: snapshots/<revision>/NAME -> ../../blobs/<hash>. */
static void test_hub_cache_in_place(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_model_folder f;
    static const char *const folders[] = { "hub", "hub/blobs", "hub/snapshots",
                                           "hub/snapshots/rev" };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(mkdir(path_in(p, folders[i]), 0700), 0);
    write_model(p, "hub/blobs/0123abcd", "one", "two");
    write_text(p, "hub/blobs/4567", "{\"hidden_size\": 64}");
    assert_int_equal(
        symlink("../../blobs/0123abcd", path_in(p, "hub/snapshots/rev/model.safetensors")), 0);
    assert_int_equal(symlink("../../blobs/4567", path_in(p, "hub/snapshots/rev/config.json")), 0);
    OK(r2i_model_folder_open(&f, path_in(p, "hub/snapshots/rev/"), R2I_FOLDER_WEIGHTS, &p->arena,
                             &err));
    assert_string_equal(f.label, "rev");
    assert_int_equal(r2i_safetensors_n_tensors(f.weights), 3);
    assert_int_equal(json_integer_value(json_object_get(f.config, "hidden_size")), 64);
    assert_null(f.tokenizer.bytes);
    assert_null(f.tokenizer_config);
    r2i_model_folder_close(&f);
    r2i_model_folder_close(&f); /* harmless */

    /* blobs being a link itself leads elsewhere: refused. */
    assert_int_equal(rename(path_in(p, "hub/blobs"), path_in(p, "moved")), 0);
    assert_int_equal(symlink("../moved", path_in(p, "hub/blobs")), 0);
    assert_int_not_equal(r2i_model_folder_open(&f, path_in(p, "hub/snapshots/rev"),
                                               R2I_FOLDER_WEIGHTS, &p->arena, &err),
                         R2_OK);
    assert_int_equal(unlink(path_in(p, "hub/blobs")), 0);
    assert_int_equal(rename(path_in(p, "moved"), path_in(p, "hub/blobs")), 0);
}

static void test_model_folder(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_model_folder f;
    assert_int_equal(
        r2i_model_folder_open(&f, path_in(p, "absent"), R2I_FOLDER_WEIGHTS, &p->arena, &err),
        R2_E_NOT_FOUND);
    assert_int_equal(r2i_model_folder_open(&f, p->folder, R2I_FOLDER_WEIGHTS, &p->arena, &err),
                     R2_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "expected config.json in the folder, found none"));
    write_text(p, "config.json", "{\"a\": 1}");
    assert_int_equal(r2i_model_folder_open(&f, p->folder, R2I_FOLDER_WEIGHTS, &p->arena, &err),
                     R2_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "model.safetensors.index.json in the folder, found neither"));
    write_text(p, "tokenizer.json", "{}");
    write_text(p, "chat_template.jinja", "{{ x }}");
    OK(r2i_model_folder_open(&f, p->folder, false, &p->arena, &err));
    assert_null(f.weights);
    assert_int_equal(f.tokenizer.n_bytes, 2);
    assert_memory_equal(f.chat_template.bytes, "{{ x }}", 7);
    r2i_model_folder_close(&f);
    write_text(p, "config.json", "{\"a\": 1,}");
    assert_int_equal(r2i_model_folder_open(&f, p->folder, false, &p->arena, &err), R2_E_FORMAT);
    assert_non_null(strstr(err.text, "config.json: line 1"));
}

static void test_golden_folders_open(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    static const char *const cases[] = { "llama", "qwen3_moe", "deepseek_v3_fp8",
                                         "deepseek_v4_fp4" };
    const char *golden = getenv("R2LM_GOLDEN_DIR");
    for (size_t i = 0; i < 4; i++) {
        char path[512];
        r2i_model_folder f;
        (void)snprintf(path, sizeof path, "%s/%s",
                       golden != NULL ? golden : R2LM_DEFAULT_GOLDEN_DIR, cases[i]);
        OK(r2i_model_folder_open(&f, path, R2I_FOLDER_WEIGHTS, &p->arena, &err));
        assert_true(r2i_safetensors_n_tensors(f.weights) > 30);
        assert_true(json_is_string(json_object_get(f.config, "model_type")));
        r2i_model_folder_close(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_is_there),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_malformed_files_are_named),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test_setup_teardown(test_writes_what_it_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_writer_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hub_cache_in_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_model_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_golden_folders_open, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
