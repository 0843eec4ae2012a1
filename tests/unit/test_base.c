/* test_base.c - the cellar: arenas, buffers, 16-bit floats, failures, folders emptied. */
#define _XOPEN_SOURCE 700 /* mkdtemp, symlink */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
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

#include "base/arena.h"
#include "base/buffer.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/flat_folder.h"
#include "base/half.h"
#include "base/hash.h"

static void test_arena(void **state) {
    r2i_heap heap;
    r2i_arena arena;
    (void)state;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 1024, 100000);
    char *first = r2i_arena_push(&arena, 100, 1);
    assert_non_null(first);
    memset(first, 'x', 100);
    const r2i_arena_mark mark = r2i_arena_get_mark(&arena);
    for (size_t i = 0; i < 50; i++) {
        uint8_t *p = r2i_arena_push(&arena, 900, 64);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t j = 0; j < 900; j++)
            assert_int_equal(p[j], 0);
        memset(p, 0xff, 900);
    }
    assert_null(r2i_arena_push(&arena, 100000, 1)); /* beyond max_bytes */
    assert_null(r2i_arena_push_array(&arena, SIZE_MAX / 2, 8, 1));
    const size_t used = heap.used_bytes;
    r2i_arena_rewind(&arena, mark);
    assert_true(heap.used_bytes < used);
    assert_int_equal(first[99], 'x');
    const char *text = r2i_arena_copy_text(&arena, "abc", 2);
    assert_string_equal(text, "ab");
    r2i_arena_destroy(&arena);
    assert_int_equal(heap.used_bytes, 0);
}

/* Memory of the kernel is zero without being touched; what has been written to is cleared again. */
static void test_mapped_arena(void **state) {
    enum { N_BYTES = 3 << 20, N_SMALL = 1000 };
    r2i_heap heap;
    r2i_arena arena;
    (void)state;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 1024, 0);
    arena.is_mapped = true;
    uint8_t *large = r2i_arena_push(&arena, N_BYTES, 64);
    assert_non_null(large);
    assert_true(r2i_arena_spare_bytes(&arena) > 0);
    const r2i_arena_mark mark = r2i_arena_get_mark(&arena);
    for (int round = 0; round < 2; round++) {
        uint8_t *p = r2i_arena_push(&arena, N_SMALL, 64);
        assert_ptr_equal(p, large + N_BYTES);
        for (size_t i = 0; i < N_SMALL; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, N_SMALL);
        r2i_arena_rewind(&arena, mark);
    }
    uint8_t *more = r2i_arena_push(&arena, 2 * N_SMALL, 64);
    for (size_t i = 0; i < (size_t)2 * N_SMALL; i++)
        assert_int_equal(more[i], 0);
    r2i_arena_destroy(&arena);
    assert_int_equal(heap.used_bytes, 0);
}

static void test_heap_limit(void **state) {
    r2i_heap heap;
    (void)state;
    r2i_heap_init(&heap);
    heap.limit_bytes = 1000;
    void *a = r2i_heap_take(&heap, 600);
    assert_non_null(a);
    assert_null(r2i_heap_take(&heap, 600));
    assert_null(r2i_heap_take(&heap, SIZE_MAX));
    assert_null(r2i_memory_map(&heap, 4096));
    r2i_heap_give(&heap, a, 600);
    assert_int_equal(heap.used_bytes, 0);
}

static void test_buffer(void **state) {
    r2i_heap heap;
    r2i_buffer buffer;
    r2_error err;
    (void)state;
    r2i_heap_init(&heap);
    r2i_buffer_init(&buffer, &heap, 200);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(r2i_buffer_append_format(&buffer, &err, "%03d;", i), R2_OK);
    }
    assert_int_equal(buffer.n_bytes, 160);
    assert_int_equal(r2i_buffer_append(&buffer, buffer.bytes, 41, &err), R2_E_LIMIT);
    assert_int_equal(buffer.n_bytes, 160);
    assert_int_equal(strlen(buffer.bytes), 160);
    assert_string_equal(buffer.bytes + 156, "039;");
    r2i_buffer_clear(&buffer);
    assert_int_equal(r2i_buffer_append_text(&buffer, "again", &err), R2_OK);
    assert_string_equal(buffer.bytes, "again");
    r2i_buffer_destroy(&buffer);
    assert_int_equal(heap.used_bytes, 0);
}

/* Every half, there and back; and rounding against the exact neighbours. */
static void test_halves(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float f = r2i_f32_from_f16((uint16_t)h), b = r2i_f32_from_bf16((uint16_t)h);
        if (isnan(f))
            assert_true(isnan(r2i_f32_from_f16(r2i_f16_from_f32(f))));
        else
            assert_int_equal(r2i_f16_from_f32(f), h);
        if (isnan(b))
            assert_true(isnan(r2i_f32_from_bf16(r2i_bf16_from_f32(b))));
        else
            assert_int_equal(r2i_bf16_from_f32(b), h);
    }
    assert_int_equal(r2i_f16_from_f32(1.0f + 0x1p-11f), 0x3c00); /* tie to even */
    assert_int_equal(r2i_f16_from_f32(1.0f + 0x3p-11f), 0x3c02); /* tie to even */
    assert_int_equal(r2i_f16_from_f32(65519.99f), 0x7bff);
    assert_int_equal(r2i_f16_from_f32(65520.0f), 0x7c00); /* beyond the largest */
    assert_int_equal(r2i_f16_from_f32(0x1p-25f), 0);      /* half the smallest */
    assert_int_equal(r2i_f16_from_f32(0x1.8p-25f), 1);
    assert_int_equal(r2i_bf16_from_f32(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(r2i_bf16_from_f32(1.0f + 0x3p-8f), 0x3f82);
}

static void test_failures(void **state) {
    r2_error err;
    (void)state;
    assert_int_equal(r2i_fail(&err, R2_E_FORMAT, "x: expected %d, found %s", 3, "a\033[2Jb\n"),
                     R2_E_FORMAT);
    assert_string_equal(err.text, "x: expected 3, found a?[2Jb?");
    assert_int_equal(r2i_fail_at(&err, R2_E_FORMAT, "file"), R2_E_FORMAT);
    assert_string_equal(err.text, "file: x: expected 3, found a?[2Jb?");
    char long_text[400];
    memset(long_text, 'y', sizeof long_text);
    memcpy(long_text + 237, "\xe2\x82\xac", 3); /* a character across the end of the text */
    long_text[399] = '\0';
    (void)r2i_fail(&err, R2_E_IO, "%s", long_text);
    assert_int_equal(strlen(err.text), 237);
    assert_int_equal(r2i_fail(NULL, R2_E_IO, "nobody listens"), R2_E_IO);
    assert_string_equal(r2_status_name(R2_E_CHECKSUM), "R2_E_CHECKSUM");
    assert_string_equal(r2_status_text((r2_status)-999), "unknown status");
}

static void test_checked(void **state) {
    size_t n;
    (void)state;
    assert_false(r2i_add_size(SIZE_MAX, 1, &n));
    assert_false(r2i_mul_size(SIZE_MAX / 2, 3, &n));
    assert_false(r2i_round_up_size(SIZE_MAX - 3, 64, &n));
    assert_true(r2i_round_up_size(65, 64, &n) && n == 128);
}

static void test_hash_finds_flips(void **state) {
    uint8_t bytes[100] = { 0 };
    (void)state;
    const uint64_t before = r2i_hash_bytes(R2I_HASH_SEED, bytes, sizeof bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(r2i_hash_bytes(R2I_HASH_SEED, bytes, sizeof bytes) != before);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(r2i_hash_bytes(R2I_HASH_SEED, bytes, 99) != before);
}

/* A folder inside stays and is told of; behind a link nothing is touched. */
static void test_flat_folder(void **state) {
    char folder[] = "/tmp/r2lm-flat-XXXXXX", names[4][64];
    static const char *const ends[] = { "a", ".hidden", "inside", "link" };
    (void)state;
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 4; i++)
        (void)snprintf(names[i], sizeof names[i], "%s/%s", folder, ends[i]);
    for (int i = 0; i < 2; i++)
        assert_int_equal(close(open(names[i], O_WRONLY | O_CREAT, 0600)), 0);
    assert_int_equal(mkdir(names[2], 0700), 0);
    assert_int_equal(symlink(".", names[3]), 0);
    assert_int_equal(r2i_flat_folder_empty(names[3], NULL), -1);
    assert_int_equal(access(names[0], F_OK), 0);
    assert_int_equal(r2i_flat_folder_empty(folder, "a"), -1);
    assert_int_equal(access(names[2], F_OK), 0);
    assert_int_equal(rmdir(names[2]), 0);
    assert_int_equal(r2i_flat_folder_empty(folder, "a"), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing is left */
    assert_int_equal(r2i_flat_folder_empty(folder, NULL), -1);
    assert_int_equal(errno, ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena),       cmocka_unit_test(test_mapped_arena),
        cmocka_unit_test(test_heap_limit),  cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_halves),      cmocka_unit_test(test_failures),
        cmocka_unit_test(test_checked),     cmocka_unit_test(test_hash_finds_flips),
        cmocka_unit_test(test_flat_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
