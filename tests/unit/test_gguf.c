/* test_gguf.c - GGUF files: what is right is read and written, what is wrong is named. */
#define _GNU_SOURCE /* mkdtemp, mkfifo, truncate */
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

#include "files/gguf.h"
#include "files/gguf_write.h"
#include "files/mapping.h"
#include "files/safetensors.h"

/* ---- a file in the making ---- */

enum { CAP_BYTES = 1 << 13 };
typedef struct {
    uint8_t bytes[CAP_BYTES];
    size_t n;
} image;

static void put(image *f, const void *bytes, size_t n) {
    assert_true(n <= CAP_BYTES - f->n);
    memcpy(f->bytes + f->n, bytes, n);
    f->n += n;
}
static void put_u8(image *f, uint8_t x) {
    put(f, &x, 1);
}
static void put_u32(image *f, uint32_t x) {
    put(f, &x, 4);
}
static void put_u64(image *f, uint64_t x) {
    put(f, &x, 8);
}
static void put_f32(image *f, float x) {
    put(f, &x, 4);
}
static void put_text(image *f, const char *text) {
    put_u64(f, strlen(text));
    put(f, text, strlen(text));
}
static void put_key(image *f, const char *key, uint32_t type) {
    put_text(f, key);
    put_u32(f, type);
}
static void put_array(image *f, const char *key, uint32_t element, uint64_t n) {
    put_key(f, key, R2I_GGUF_ARRAY);
    put_u32(f, element);
    put_u64(f, n);
}
static void put_tensor(image *f, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type,
                       uint64_t offset) {
    put_text(f, name);
    put_u32(f, 2);
    put_u64(f, ne0);
    put_u64(f, ne1);
    put_u32(f, type);
    put_u64(f, offset);
}
static void begin(image *f, uint32_t version, uint64_t n_tensors, uint64_t n_values) {
    f->n = 0;
    put(f, "GGUF", 4);
    put_u32(f, version);
    put_u64(f, n_tensors);
    put_u64(f, n_values);
}
static void put_zeros(image *f, size_t n) {
    while (n-- > 0)
        put_u8(f, 0);
}
static void pad(image *f, size_t unit) {
    put_zeros(f, (unit - f->n % unit) % unit);
}

/* Opens a copy that ends where the bytes end, so that AddressSanitizer sees every byte too far. */
typedef struct {
    r2i_heap heap;
    r2i_arena arena;
    uint8_t *copy;
    r2i_gguf *gguf;
    r2_error err;
    r2_status status;
} opened;

static void open_image(opened *o, const image *f, size_t n) {
    memset(o, 0, sizeof *o);
    r2i_heap_init(&o->heap);
    o->heap.limit_bytes = 64 << 20;
    r2i_arena_init(&o->arena, &o->heap, 1 << 12, 0);
    o->copy = malloc(n + 1);
    assert_non_null(o->copy);
    memcpy(o->copy, f->bytes, n);
    o->copy = realloc(o->copy, n == 0 ? 1 : n);
    o->status = r2i_gguf_open_memory(&o->gguf, "toy.gguf", o->copy, n, &o->arena, &o->err);
}

static void close_image(opened *o) {
    r2i_gguf_close(o->gguf);
    r2i_arena_destroy(&o->arena);
    assert_int_equal(o->heap.used_bytes, 0);
    free(o->copy);
}

static void make_good(image *f) {
    begin(f, 3, 2, 9);
    put_key(f, "general.architecture", R2I_GGUF_TEXT), put_text(f, "qwen2");
    put_key(f, "qwen2.block_count", R2I_GGUF_U32), put_u32(f, 24);
    put_key(f, "a.small", R2I_GGUF_I8), put_u8(f, 0xfe);
    put_key(f, "a.flag", R2I_GGUF_BOOL), put_u8(f, 1);
    put_key(f, "qwen2.rope.freq_base", R2I_GGUF_F32), put_f32(f, 10000.0f);
    put_key(f, "a.big", R2I_GGUF_U64), put_u64(f, UINT64_MAX);
    put_array(f, "tokenizer.ggml.tokens", R2I_GGUF_TEXT, 3), put_text(f, "<s>"), put_text(f, ""),
        put_text(f, "\xc3\xa9");
    put_array(f, "a.counts", R2I_GGUF_I32, 2), put_u32(f, 5), put_u32(f, (uint32_t)-6);
    put_array(f, "a.nested", R2I_GGUF_ARRAY, 1), put_u32(f, R2I_GGUF_BOOL), put_u64(f, 2),
        put_u8(f, 0), put_u8(f, 1);
    put_tensor(f, "one", 4, 3, R2I_TYPE_F32, 0);
    put_tensor(f, "two", 64, 2, R2I_TYPE_Q4_0, 64);
    pad(f, 32);
    for (int i = 0; i < 64 + 72; i++)
        put_u8(f, (uint8_t)i);
}

/* ---- reading ---- */

static void test_reads_what_is_there(void **state) {
    (void)state;
    image f;
    opened o;
    make_good(&f);
    open_image(&o, &f, f.n);
    assert_string_equal(o.err.text, "");
    assert_int_equal(o.status, R2_OK);
    assert_string_equal(r2i_gguf_architecture(o.gguf), "qwen2");
    assert_int_equal(r2i_gguf_n_values(o.gguf), 9);
    assert_int_equal(r2i_gguf_n_tensors(o.gguf), 2);
    const r2i_stored_tensor *two = r2i_gguf_find_tensor(o.gguf, "two");
    assert_ptr_equal(two, r2i_gguf_tensor_at(o.gguf, 1));
    assert_int_equal(two->type, R2I_TYPE_Q4_0);
    assert_int_equal(two->n_dims, 2);
    assert_int_equal(two->ne[0], 64);
    assert_int_equal(two->ne[1], 2);
    assert_int_equal(two->ne[2], 1);
    assert_int_equal(two->n_bytes, 72);
    assert_int_equal(two->bytes[0], 64);
    assert_null(r2i_gguf_find_tensor(o.gguf, "three"));

    int32_t n = 0;
    float base = 0;
    bool flag = false;
    assert_int_equal(r2i_gguf_get_i32(o.gguf, ".block_count", 1, 1024, &n, &o.err), R2_OK);
    assert_int_equal(n, 24);
    assert_int_equal(r2i_gguf_get_i32(o.gguf, "a.small", -10, 10, &n, &o.err), R2_OK);
    assert_int_equal(n, -2);
    assert_int_equal(r2i_gguf_get_f32(o.gguf, ".rope.freq_base", 1.0f, 1e9f, &base, &o.err), R2_OK);
    assert_true(base == 10000.0f);
    assert_int_equal(r2i_gguf_try_bool(o.gguf, "a.flag", &flag, &o.err), R2_OK);
    assert_true(flag);
    assert_int_equal(r2i_gguf_integer_at(r2i_gguf_find(o.gguf, "a.big"), 0), INT64_MAX);
    assert_int_equal(r2i_gguf_integer_at(r2i_gguf_find(o.gguf, "a.counts"), 1), -6);

    const r2i_gguf_value *tokens = NULL;
    const uint8_t *at = NULL;
    r2i_gguf_text texts[3];
    assert_int_equal(
        r2i_gguf_get_array(o.gguf, "tokenizer.ggml.tokens", R2I_GGUF_TEXT, 1, 3, &tokens, &o.err),
        R2_OK);
    for (int i = 0; i < 3; i++)
        assert_true(r2i_gguf_next_text(tokens, &at, &texts[i]));
    assert_false(r2i_gguf_next_text(tokens, &at, &(r2i_gguf_text){ NULL, 0 }));
    assert_int_equal(texts[0].n_bytes, 3);
    assert_int_equal(texts[1].n_bytes, 0);
    assert_memory_equal(texts[2].bytes, "\xc3\xa9", 2);
    close_image(&o);
}

static void test_getters_say_what_is_wrong(void **state) {
    (void)state;
    image f;
    opened o;
    int32_t n = 7;
    float x;
    bool flag;
    r2i_gguf_text text;
    const r2i_gguf_value *array;
    make_good(&f);
    open_image(&o, &f, f.n);
    assert_int_equal(r2i_gguf_get_i32(o.gguf, ".head_count", 1, 9, &n, &o.err), R2_E_NOT_FOUND);
    assert_string_equal(o.err.text,
                        "toy.gguf: qwen2.head_count: expected an integer, found nothing");
    n = 7;
    assert_int_equal(r2i_gguf_try_i32(o.gguf, ".head_count", 1, 9, &n, &o.err), R2_OK);
    assert_int_equal(n, 7);
    assert_int_equal(r2i_gguf_get_i32(o.gguf, ".block_count", 1, 9, &n, &o.err), R2_E_RANGE);
    assert_string_equal(o.err.text,
                        "toy.gguf: qwen2.block_count: expected an integer in 1..9, found 24");
    assert_int_equal(r2i_gguf_get_i32(o.gguf, "a.flag", 0, 9, &n, &o.err), R2_E_FORMAT);
    assert_string_equal(o.err.text, "toy.gguf: a.flag: expected an integer, found bool");
    assert_int_equal(r2i_gguf_get_f32(o.gguf, ".rope.freq_base", 0.0f, 1.0f, &x, &o.err),
                     R2_E_RANGE);
    assert_non_null(strstr(o.err.text, "expected a float in 0..1, found 10000"));
    assert_int_equal(r2i_gguf_try_bool(o.gguf, "a.small", &flag, &o.err), R2_E_FORMAT);
    assert_int_equal(r2i_gguf_get_text(o.gguf, "a.counts", &text, &o.err), R2_E_FORMAT);
    assert_string_equal(o.err.text, "toy.gguf: a.counts: expected a text, found an array of i32");
    assert_int_equal(r2i_gguf_get_array(o.gguf, "a.counts", R2I_GGUF_TEXT, 0, 9, &array, &o.err),
                     R2_E_FORMAT);
    assert_int_equal(r2i_gguf_get_array(o.gguf, "a.counts", R2I_GGUF_I64, 3, 9, &array, &o.err),
                     R2_E_RANGE);
    assert_string_equal(o.err.text, "toy.gguf: a.counts: expected 3..9 elements, found 2");
    close_image(&o);
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    image f;
    opened o;
    make_good(&f);
    for (size_t n = 0; n < f.n; n++) {
        open_image(&o, &f, n);
        assert_int_not_equal(o.status, R2_OK);
        assert_null(o.gguf);
        assert_non_null(strstr(o.err.text, "toy.gguf: "));
        close_image(&o);
    }
}

/* Any single byte may be anything: an error or views that stay inside. */
static void test_every_flipped_byte_is_survived(void **state) {
    (void)state;
    static const uint8_t flips[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    image f;
    opened o;
    make_good(&f);
    for (size_t at = 0; at < f.n; at++) {
        for (size_t k = 0; k < sizeof flips; k++) {
            const uint8_t before = f.bytes[at];
            f.bytes[at] = flips[k];
            open_image(&o, &f, f.n);
            for (size_t i = 0; o.gguf != NULL && i < r2i_gguf_n_tensors(o.gguf); i++) {
                const r2i_stored_tensor *t = r2i_gguf_tensor_at(o.gguf, i);
                assert_true(t->bytes >= o.copy && t->bytes + t->n_bytes <= o.copy + f.n);
            }
            close_image(&o);
            f.bytes[at] = before;
        }
    }
}

/* ---- what must be refused, and how ---- */

static void bad_magic(image *f) {
    begin(f, 3, 0, 0), f->bytes[3] = 'X', put_zeros(f, 32);
}
static void bad_version_1(image *f) {
    begin(f, 1, 0, 0), put_zeros(f, 32);
}
static void bad_version_4(image *f) {
    begin(f, 4, 0, 0), put_zeros(f, 32);
}
static void bad_endian(image *f) {
    begin(f, 0x03000000, 0, 0), put_zeros(f, 32);
}
static void bad_many_values(image *f) {
    begin(f, 3, 0, 1000), put_zeros(f, 100);
}
static void bad_values_limit(image *f) {
    begin(f, 3, 0, 65537), put_zeros(f, 100);
}
static void bad_many_tensors(image *f) {
    begin(f, 3, UINT64_MAX, 0), put_zeros(f, 100);
}
static void bad_key_length(image *f) {
    begin(f, 3, 0, 1), put_u64(f, UINT64_MAX), put_zeros(f, 32);
}
static void one_value(image *f, const char *key, uint32_t type) {
    begin(f, 3, 0, 1), put_key(f, key, type);
}
static void bad_key_empty(image *f) {
    one_value(f, "", R2I_GGUF_U8), put_zeros(f, 32);
}
static void bad_key_case(image *f) {
    one_value(f, "General.Name", R2I_GGUF_U8), put_zeros(f, 32);
}
static void bad_key_dot(image *f) {
    one_value(f, ".name", R2I_GGUF_U8), put_zeros(f, 32);
}
static void bad_key_nul(image *f) {
    begin(f, 3, 0, 1), put_u64(f, 3), put(f, "a\0b", 3), put_u32(f, R2I_GGUF_U8), put_zeros(f, 32);
}
static void bad_key_long(image *f) {
    begin(f, 3, 0, 1), put_u64(f, 70000), put_zeros(f, 100);
}
static void bad_utf8(image *f) {
    one_value(f, "a", R2I_GGUF_TEXT), put_text(f, "\xc0\xaf");
}
static void bad_surrogate(image *f) {
    one_value(f, "a", R2I_GGUF_TEXT), put_text(f, "ab\xed\xa0\x80");
}
static void bad_type(image *f) {
    one_value(f, "a", 13), put_zeros(f, 32);
}
static void bad_bool(image *f) {
    one_value(f, "a", R2I_GGUF_BOOL), put_u8(f, 2), put_zeros(f, 8);
}
static void bad_bools(image *f) {
    begin(f, 3, 0, 1), put_array(f, "a", R2I_GGUF_BOOL, 2), put_u8(f, 1), put_u8(f, 7),
        put_zeros(f, 8);
}
static void bad_element(image *f) {
    begin(f, 3, 0, 1), put_array(f, "a", 99, 1), put_zeros(f, 32);
}
static void bad_array_size(image *f) {
    begin(f, 3, 0, 1), put_array(f, "a", R2I_GGUF_U64, 1 << 28), put_zeros(f, 32);
}
static void bad_array_count(image *f) {
    begin(f, 3, 0, 1), put_array(f, "a", R2I_GGUF_U64, (uint64_t)1 << 61), put_zeros(f, 32);
}
static void bad_nesting(image *f) {
    begin(f, 3, 0, 1), put_array(f, "a", R2I_GGUF_ARRAY, 1);
    for (int i = 0; i < 4; i++)
        put_u32(f, R2I_GGUF_ARRAY), put_u64(f, 1);
    put_zeros(f, 64);
}
static void bad_twice(image *f) {
    begin(f, 3, 0, 2);
    for (int i = 0; i < 2; i++)
        put_key(f, "a.b", R2I_GGUF_U8), put_u8(f, 0);
}
static void alignment(image *f, uint32_t x) {
    one_value(f, "general.alignment", R2I_GGUF_U32), put_u32(f, x), put_zeros(f, 64);
}
static void bad_alignment_3(image *f) {
    alignment(f, 48);
}
static void bad_alignment_0(image *f) {
    alignment(f, 0);
}
static void bad_alignment_4(image *f) {
    alignment(f, 4);
}
static void bad_alignment_big(image *f) {
    alignment(f, 131072);
}
static void bad_alignment_type(image *f) {
    one_value(f, "general.alignment", R2I_GGUF_U64), put_u64(f, 32), put_zeros(f, 64);
}
static void bad_architecture(image *f) {
    one_value(f, "general.architecture", R2I_GGUF_U32), put_u32(f, 1), put_zeros(f, 64);
}

/* One tensor and 256 bytes of data. */
static void tensor(image *f, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type,
                   uint64_t offset) {
    begin(f, 3, 1, 0), put_tensor(f, name, ne0, ne1, type, offset), pad(f, 32), put_zeros(f, 256);
}
static void bad_name_empty(image *f) {
    tensor(f, "", 4, 4, 0, 0);
}
static void bad_name_long(image *f) {
    tensor(f, "0123456789012345678901234567890123456789012345678901234567890123x", 4, 4, 0, 0);
}
static void bad_name_nul(image *f) {
    begin(f, 3, 1, 0), put_u64(f, 2), put(f, "a\0", 2), put_u32(f, 1), put_u64(f, 1), put_u32(f, 0),
        put_u64(f, 0);
    pad(f, 32), put_zeros(f, 64);
}
static void n_dims(image *f, uint32_t n) {
    begin(f, 3, 1, 0), put_text(f, "t"), put_u32(f, n);
    for (int i = 0; i < 5; i++)
        put_u64(f, 1);
    put_u32(f, 0), put_u64(f, 0), put_zeros(f, 64);
}
static void bad_dims_0(image *f) {
    n_dims(f, 0);
}
static void bad_dims_5(image *f) {
    n_dims(f, 5);
}
static void bad_dim_0(image *f) {
    tensor(f, "t", 4, 0, 0, 0);
}
static void bad_dim_big(image *f) {
    tensor(f, "t", ((uint64_t)1 << 40) + 1, 1, 0, 0);
}
static void bad_product(image *f) {
    tensor(f, "t", (uint64_t)1 << 40, (uint64_t)1 << 7, 0, 0);
}
static void bad_row(image *f) {
    tensor(f, "t", 33, 1, R2I_TYPE_Q4_0, 0);
}
static void bad_tensor_type(image *f) {
    tensor(f, "t", 4, 4, 31, 0);
}
static void bad_tensor_type_gap(image *f) {
    tensor(f, "t", 4, 4, 4, 0);
}
static void bad_offset(image *f) {
    tensor(f, "t", 4, 4, 0, 16);
}
static void bad_end(image *f) {
    tensor(f, "t", 4, 16, 0, 32);
}
static void bad_offset_wrap(image *f) {
    tensor(f, "t", 4, 4, 0, UINT64_MAX - 31);
}
static void bad_overlap(image *f) {
    begin(f, 3, 2, 0), put_tensor(f, "late", 4, 4, 0, 32), put_tensor(f, "early", 4, 4, 0, 0);
    pad(f, 32), put_zeros(f, 256);
}
static void bad_tensor_twice(image *f) {
    begin(f, 3, 2, 0), put_tensor(f, "t", 4, 2, 0, 32), put_tensor(f, "t", 4, 2, 0, 0);
    pad(f, 32), put_zeros(f, 256);
}
static void bad_shard(image *f) {
    one_value(f, "split.count", R2I_GGUF_U16), put(f, "\2\0", 2), put_zeros(f, 64);
}

static const struct {
    void (*make)(image *f);
    r2_status code;
    const char *text;
} bad_cases[] = {
    { bad_magic, R2_E_FORMAT, "magic: expected \"GGUF\", found 47 47 55 58" },
    { bad_version_1, R2_E_UNSUPPORTED, "version: expected 2 or 3, found 1" },
    { bad_version_4, R2_E_UNSUPPORTED, "version: expected 2 or 3, found 4" },
    { bad_endian, R2_E_UNSUPPORTED, "big-endian" },
    { bad_many_values, R2_E_FORMAT, "number of metadata values: expected at most 65536" },
    { bad_values_limit, R2_E_FORMAT, "found 65537" },
    { bad_many_tensors, R2_E_FORMAT, "number of tensors: expected at most 2^20" },
    { bad_key_length, R2_E_FORMAT,
      "a metadata key: expected 18446744073709551615 more bytes, found 32" },
    { bad_key_empty, R2_E_FORMAT, "metadata key 0: expected words of a-z" },
    { bad_key_case, R2_E_FORMAT, "found \"General.Name\"" },
    { bad_key_dot, R2_E_FORMAT, "found \".name\"" },
    { bad_key_nul, R2_E_FORMAT, "metadata key 0" },
    { bad_key_long, R2_E_FORMAT, "a metadata key: expected 70000 more bytes" },
    { bad_utf8, R2_E_FORMAT, "a: expected UTF-8 text" },
    { bad_surrogate, R2_E_FORMAT, "a: expected UTF-8 text" },
    { bad_type, R2_E_FORMAT, "a: expected a value type in 0..12, found 13" },
    { bad_bool, R2_E_FORMAT, "a: expected a bool of 0 or 1, found 2" },
    { bad_bools, R2_E_FORMAT, "a: expected a bool of 0 or 1, found 7" },
    { bad_element, R2_E_FORMAT, "a: expected an element type in 0..12, found 99" },
    { bad_array_size, R2_E_FORMAT, "a: expected an array inside the file" },
    { bad_array_count, R2_E_FORMAT, "a: expected at most 2^28 array elements" },
    { bad_nesting, R2_E_FORMAT, "a: expected arrays nested at most 4 deep, found 5" },
    { bad_twice, R2_E_FORMAT, "a.b: expected once, found twice" },
    { bad_alignment_3, R2_E_FORMAT,
      "general.alignment: expected a power of two in 8..65536, found 48" },
    { bad_alignment_0, R2_E_FORMAT, "found 0" },
    { bad_alignment_4, R2_E_FORMAT, "found 4" },
    { bad_alignment_big, R2_E_FORMAT, "found 131072" },
    { bad_alignment_type, R2_E_FORMAT, "general.alignment: expected type u32, found u64" },
    { bad_architecture, R2_E_FORMAT, "general.architecture: expected a text, found u32" },
    { bad_name_empty, R2_E_FORMAT, "name of tensor 0: expected 1..64 bytes without NUL, found 0" },
    { bad_name_long, R2_E_FORMAT, "found 65" },
    { bad_name_nul, R2_E_FORMAT, "name of tensor 0" },
    { bad_dims_0, R2_E_FORMAT, "t: expected 1..4 dimensions, found 0" },
    { bad_dims_5, R2_E_FORMAT, "t: expected 1..4 dimensions, found 5" },
    { bad_dim_0, R2_E_FORMAT, "t: expected a dimension in 1..2^40, found 0" },
    { bad_dim_big, R2_E_FORMAT, "t: expected a dimension in 1..2^40, found 1099511627777" },
    { bad_product, R2_E_FORMAT, "t: expected at most 2^46 elements" },
    { bad_row, R2_E_FORMAT, "t: expected rows of a multiple of 32 (Q4_0), found 33" },
    { bad_tensor_type, R2_E_UNSUPPORTED, "t: expected a supported element type, found type 31" },
    { bad_tensor_type_gap, R2_E_UNSUPPORTED, "found type 4" },
    { bad_offset, R2_E_FORMAT,
      "t: expected a data offset that is a multiple of general.alignment, found 16" },
    { bad_end, R2_E_FORMAT, "t: expected 256 bytes of data at offset 32, found 256" },
    { bad_offset_wrap, R2_E_FORMAT, "t: expected 64 bytes of data at offset 18446744073709551584" },
    { bad_overlap, R2_E_FORMAT,
      "late: expected data of its own, found data that overlap with early" },
    { bad_tensor_twice, R2_E_FORMAT, "tensor t: expected once, found twice" },
    { bad_shard, R2_E_UNSUPPORTED, "split.count: expected one whole file" },
};

static void test_malformed_files_are_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        image f;
        opened o;
        f.n = 0;
        bad_cases[i].make(&f);
        open_image(&o, &f, f.n);
        if (o.status != bad_cases[i].code || strstr(o.err.text, bad_cases[i].text) == NULL ||
            strncmp(o.err.text, "toy.gguf: ", 10) != 0) {
            fail_msg("case %zu: expected %d \"%s\", found %d \"%s\"", i, bad_cases[i].code,
                     bad_cases[i].text, o.status, o.err.text);
        }
        assert_null(o.gguf);
        close_image(&o);
    }
}

/* The allocation k fails, for every k: an error, nothing lost. */
static void test_no_memory(void **state) {
    (void)state;
    image f;
    size_t n_refused = 0;
    make_good(&f);
    for (size_t limit = 0;; limit += 64) {
        r2i_heap heap;
        r2i_arena arena;
        r2i_gguf *g;
        r2_error err;
        r2i_heap_init(&heap);
        heap.limit_bytes = limit + 1;
        r2i_arena_init(&arena, &heap, 64, 0);
        const r2_status status = r2i_gguf_open_memory(&g, "toy.gguf", f.bytes, f.n, &arena, &err);
        r2i_arena_destroy(&arena);
        assert_int_equal(heap.used_bytes, 0);
        if (status == R2_OK) break;
        assert_int_equal(status, R2_E_NOMEM);
        assert_null(g);
        n_refused++;
    }
    assert_true(n_refused > 10);
}

/* ---- files ---- */

typedef struct {
    char folder[64];
    r2i_heap heap;
    r2i_arena arena;
} place;

static int set_up(void **state) {
    place *p = calloc(1, sizeof *p);
    memcpy(p->folder, "/tmp/r2lm-gguf-XXXXXX", 22);
    if (mkdtemp(p->folder) == NULL) return -1;
    r2i_heap_init(&p->heap);
    r2i_arena_init(&p->arena, &p->heap, 1 << 14, 0);
    *state = p;
    return 0;
}

static const char *path_in(const place *p, const char *name) {
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", p->folder, name);
    return path;
}

static int tear_down(void **state) {
    static const char *const names[] = { "a.gguf", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf",
                                         "fifo" };
    place *p = *state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unlink(path_in(p, names[i]));
    const int rc = rmdir(p->folder); /* fails when a temporary file was left behind */
    r2i_arena_destroy(&p->arena);
    const size_t used = p->heap.used_bytes;
    free(p);
    return rc == 0 && used == 0 ? 0 : -1;
}

#define OK(call)                                       \
    do {                                               \
        if ((call) != R2_OK) fail_msg("%s", err.text); \
    } while (0)

static void test_writes_what_it_reads(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_gguf_writer *w;
    r2i_gguf *g;
    static const int32_t counts[] = { 3, -1 };
    const double doubles[] = { -1, 0.1 };
    const r2i_gguf_text tokens[] = { { "<s>", 3 }, { "", 0 }, { "\xe4\xbd\xa0", 3 } };
    const int64_t ne[] = { 4, 3 }, ne_q[] = { 32, 1, 2 }, ne_1[] = { 5 };
    float x[12];
    uint8_t q[36];
    for (int i = 0; i < 12; i++)
        x[i] = (float)i;
    for (int i = 0; i < 36; i++)
        q[i] = (uint8_t)(7 * i);
    OK(r2i_gguf_writer_create(&w, &p->heap, &err));
    OK(r2i_gguf_writer_add_integer(w, "general.alignment", R2I_GGUF_U32, 64, &err));
    OK(r2i_gguf_writer_add_text(w, "general.architecture", "llama", 5, &err));
    OK(r2i_gguf_writer_add_integer(w, "a.i64", R2I_GGUF_I64, INT64_MIN, &err));
    OK(r2i_gguf_writer_add_integer(w, "a.u8", R2I_GGUF_U8, 255, &err));
    OK(r2i_gguf_writer_add_f32(w, "llama.eps", 1e-5f, &err));
    OK(r2i_gguf_writer_add_array(w, "a.doubles", R2I_GGUF_F64, doubles, 2, &err));
    OK(r2i_gguf_writer_add_bool(w, "a.bool", true, &err));
    OK(r2i_gguf_writer_add_array(w, "a.counts", R2I_GGUF_I32, counts, 2, &err));
    OK(r2i_gguf_writer_add_texts(w, "a.tokens", tokens, 3, &err));
    OK(r2i_gguf_writer_add_tensor(w, "f32", R2I_TYPE_F32, 2, ne, x, &err));
    OK(r2i_gguf_writer_add_tensor(w, "streamed", R2I_TYPE_Q4_0, 3, ne_q, NULL, &err));
    OK(r2i_gguf_writer_add_tensor(w, "last", R2I_TYPE_F16, 1, ne_1, x, &err));
    OK(r2i_gguf_writer_begin(w, path_in(p, "a.gguf"), &err));
    OK(r2i_gguf_writer_write(w, q, 10, &err));
    assert_int_equal(access(path_in(p, "a.gguf"), F_OK), -1); /* nothing there until finish */
    OK(r2i_gguf_writer_write(w, q + 10, 26, &err));
    OK(r2i_gguf_writer_finish(w, &err));
    assert_int_equal(r2i_gguf_writer_finish(w, &err), R2_E_STATE);
    r2i_gguf_writer_destroy(w);

    OK(r2i_gguf_open(&g, path_in(p, "a.gguf"), &p->arena, &err));
    float eps = 0;
    OK(r2i_gguf_get_f32(g, ".eps", 0.0f, 1.0f, &eps, &err));
    assert_true(eps == 1e-5f);
    assert_int_equal(r2i_gguf_integer_at(r2i_gguf_find(g, "a.i64"), 0), INT64_MIN);
    assert_int_equal(r2i_gguf_integer_at(r2i_gguf_find(g, "a.u8"), 0), 255);
    assert_true(r2i_gguf_float_at(r2i_gguf_find(g, "a.doubles"), 1) == 0.1);
    assert_memory_equal(r2i_gguf_find(g, "a.counts")->bytes, counts, sizeof counts);
    assert_int_equal(r2i_gguf_find(g, "a.tokens")->n_elements, 3);
    const r2i_stored_tensor *f32 = r2i_gguf_find_tensor(g, "f32"),
                            *streamed = r2i_gguf_find_tensor(g, "streamed");
    assert_memory_equal(f32->bytes, x, sizeof x);
    assert_int_equal(streamed->n_bytes, 36);
    assert_memory_equal(streamed->bytes, q, 36);
    assert_int_equal((uintptr_t)streamed->bytes % 64, 0);
    assert_int_equal(r2i_gguf_find_tensor(g, "last")->n_bytes, 10);
    r2i_gguf_forget(g, streamed);
    assert_memory_equal(streamed->bytes, q, 36);
    r2i_gguf_close(g);
}

static void test_writer_refuses(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_gguf_writer *w;
    const int64_t ne[] = { 33 };
    static const char *const bad_keys[] = { "", "Upper", "sp ace", ".dot" };
    for (size_t i = 0; i < 4; i++) {
        OK(r2i_gguf_writer_create(&w, &p->heap, &err));
        assert_int_equal(r2i_gguf_writer_add_bool(w, bad_keys[i], true, &err), R2_E_ARGUMENT);
        assert_int_equal(r2i_gguf_writer_add_bool(w, "good", true, &err),
                         R2_E_ARGUMENT); /* sticks */
        r2i_gguf_writer_destroy(w);
    }
    OK(r2i_gguf_writer_create(&w, &p->heap, &err));
    assert_int_equal(r2i_gguf_writer_add_integer(w, "a", R2I_GGUF_U8, 256, &err), R2_E_RANGE);
    r2i_gguf_writer_destroy(w);
    OK(r2i_gguf_writer_create(&w, &p->heap, &err));
    assert_int_equal(r2i_gguf_writer_add_tensor(w, "t", R2I_TYPE_Q8_0, 1, ne, ne, &err),
                     R2_E_ARGUMENT);
    r2i_gguf_writer_destroy(w);
    OK(r2i_gguf_writer_create(&w, &p->heap, &err));
    OK(r2i_gguf_writer_add_bool(w, "a", true, &err));
    OK(r2i_gguf_writer_add_bool(w, "a", true, &err));
    assert_int_equal(r2i_gguf_writer_begin(w, path_in(p, "a.gguf"), &err), R2_E_FORMAT);
    assert_string_equal(err.text, "GGUF writer: key a: expected once, found twice");
    r2i_gguf_writer_destroy(w);
    OK(r2i_gguf_writer_create(&w, &p->heap, &err));
    OK(r2i_gguf_writer_add_tensor(w, "t", R2I_TYPE_F32, 1, ne, NULL, &err));
    OK(r2i_gguf_writer_begin(w, path_in(p, "a.gguf"), &err));
    assert_int_equal(r2i_gguf_writer_finish(w, &err), R2_E_STATE); /* data missing */
    r2i_gguf_writer_destroy(w);
    assert_int_equal(access(path_in(p, "a.gguf"), F_OK), -1);
}

static void write_shard(place *p, const char *name, const char *tensor_name, int32_t number,
                        int32_t count, int32_t total) {
    r2_error err = { 0 };
    r2i_gguf_writer *w;
    const int64_t ne[] = { 2 };
    const float x[] = { (float)number, 1.0f };
    OK(r2i_gguf_writer_create(&w, &p->heap, &err));
    OK(r2i_gguf_writer_add_integer(w, "split.no", R2I_GGUF_U16, number, &err));
    OK(r2i_gguf_writer_add_integer(w, "split.count", R2I_GGUF_U16, count, &err));
    OK(r2i_gguf_writer_add_integer(w, "split.tensors.count", R2I_GGUF_I32, total, &err));
    OK(r2i_gguf_writer_add_tensor(w, tensor_name, R2I_TYPE_F32, 1, ne, x, &err));
    OK(r2i_gguf_writer_begin(w, path_in(p, name), &err));
    OK(r2i_gguf_writer_finish(w, &err));
    r2i_gguf_writer_destroy(w);
}

static const char *const shards[] = { "m-00001-of-00002.gguf", "m-00002-of-00002.gguf" };

static void expect_shards_refused(place *p, const char *name, r2_status code, const char *text) {
    r2_error err = { 0 };
    r2i_gguf *g;
    assert_int_equal(r2i_gguf_open(&g, path_in(p, name), &p->arena, &err), code);
    if (strstr(err.text, text) == NULL) fail_msg("expected \"%s\", found \"%s\"", text, err.text);
}

static void test_shards(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_gguf *g;
    write_shard(p, shards[0], "a", 0, 2, 2);
    expect_shards_refused(p, shards[0], R2_E_NOT_FOUND, "m-00002-of-00002.gguf: cannot open");
    write_shard(p, shards[1], "b", 1, 2, 2);
    OK(r2i_gguf_open(&g, path_in(p, shards[0]), &p->arena, &err));
    assert_int_equal(r2i_gguf_n_shards(g), 2);
    assert_int_equal(r2i_gguf_n_tensors(g), 2);
    const r2i_stored_tensor *b = r2i_gguf_find_tensor(g, "b");
    assert_int_equal(b->shard, 1);
    const float one = 1.0f;
    assert_memory_equal(b->bytes, &one, 4);
    assert_true(r2i_gguf_is_intact(g));
    assert_int_equal(truncate(path_in(p, shards[1]), 40), 0);
    assert_false(r2i_gguf_is_intact(g));
    r2i_gguf_close(g);

    write_shard(p, shards[1], "a", 1, 2, 2);
    expect_shards_refused(p, shards[0], R2_E_FORMAT, "tensor a: expected once, found twice");
    write_shard(p, shards[1], "b", 0, 2, 2);
    expect_shards_refused(p, shards[0], R2_E_MISMATCH, "expected shard 2 of 2, found shard 1 of 2");
    write_shard(p, shards[1], "b", 1, 2, 3);
    expect_shards_refused(p, shards[1], R2_E_MISMATCH, "expected shard 1 of 2, found shard 2 of 2");
    write_shard(p, shards[0], "a", 0, 2, 3);
    expect_shards_refused(p, shards[0], R2_E_MISMATCH,
                          "split.tensors.count: expected 2 as in the 2 shards, found 3");
    write_shard(p, "a.gguf", "a", 0, 2, 2);
    expect_shards_refused(
        p, "a.gguf", R2_E_MISMATCH,
        "file name: expected the first of 2 shards to end in -00001-of-00002.gguf");
}

static void test_only_regular_files(void **state) {
    place *p = *state;
    r2i_mapping m;
    r2_error err = { 0 };
    assert_int_equal(r2i_mapping_open(&m, p->folder, &err), R2_E_FORMAT);
    assert_non_null(strstr(err.text, "expected a regular file, found a folder"));
    assert_int_equal(mkfifo(path_in(p, "fifo"), 0600), 0);
    assert_int_equal(r2i_mapping_open(&m, path_in(p, "fifo"), &err), R2_E_FORMAT);
    assert_int_equal(r2i_mapping_open(&m, "/dev/null", &err), R2_E_FORMAT);
    assert_int_equal(r2i_mapping_open(&m, path_in(p, "absent"), &err), R2_E_NOT_FOUND);
    assert_null(m.bytes);
    r2i_mapping_close(&m);
}

/* The GGUF twin holds the bytes of the safetensors file. */
static void test_golden_twins_agree(void **state) {
    place *p = *state;
    r2_error err = { 0 };
    r2i_gguf *g;
    r2i_safetensors *s;
    char path[512];
    const char *golden = getenv("R2LM_GOLDEN_DIR");
    if (golden == NULL) golden = R2LM_DEFAULT_GOLDEN_DIR;
    static const struct {
        const char *gguf, *hf;
    } names[] = { { "token_embd.weight", "model.embed_tokens.weight" },
                  { "output_norm.weight", "model.norm.weight" },
                  { "blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight" },
                  { "blk.0.attn_q.bias", "model.layers.0.self_attn.q_proj.bias" } };
    (void)snprintf(path, sizeof path, "%s/qwen2/model.gguf", golden);
    OK(r2i_gguf_open(&g, path, &p->arena, &err));
    (void)snprintf(path, sizeof path, "%s/qwen2", golden);
    OK(r2i_safetensors_open(&s, path, &p->arena, &err));
    for (size_t i = 0; i < 4; i++) {
        const r2i_stored_tensor *a = r2i_gguf_find_tensor(g, names[i].gguf);
        r2i_stored_tensor b;
        OK(r2i_safetensors_get(s, names[i].hf, &b, &err));
        assert_non_null(a);
        assert_memory_equal(a->ne, b.ne, sizeof a->ne);
        assert_int_equal(a->n_bytes, b.n_bytes);
        assert_memory_equal(a->bytes, b.bytes, a->n_bytes);
    }
    r2i_safetensors_close(s);
    r2i_gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_what_is_there),
        cmocka_unit_test(test_getters_say_what_is_wrong),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_flipped_byte_is_survived),
        cmocka_unit_test(test_malformed_files_are_named),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test_setup_teardown(test_writes_what_it_reads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_writer_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shards, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_regular_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_golden_twins_agree, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
