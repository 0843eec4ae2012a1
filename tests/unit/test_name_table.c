/* test_name_table.c - unique names in constant time, also when they are chosen to collide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "files/extents.h"
#include "files/name_table.h"

enum { N_NAMES = 20000, N_CROWD = 1024 };

static void test_finds_what_was_added(void **state) {
    (void)state;
    static char names[N_NAMES][16];
    r2i_heap heap;
    r2i_arena arena;
    r2i_name_table table;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    assert_true(r2i_name_table_init(&table, &arena, N_NAMES));
    for (uint32_t i = 0; i < N_NAMES; i++) {
        (void)snprintf(names[i], sizeof names[i], "blk.%u", i);
        assert_int_equal(r2i_name_table_add(&table, names[i], strlen(names[i]), i), R2I_NAME_ADDED);
    }
    for (uint32_t i = 0; i < N_NAMES; i++) {
        assert_int_equal(r2i_name_table_find(&table, names[i], strlen(names[i])), i);
        assert_int_equal(r2i_name_table_add(&table, names[i], strlen(names[i]), 0),
                         R2I_NAME_DUPLICATE);
    }
    assert_int_equal(r2i_name_table_find(&table, "blk.", 4), -1);
    assert_int_equal(r2i_name_table_find(&table, "blk.20000", 9), -1);
    r2i_arena_destroy(&arena);
}

/* Names that all hash to one slot: refused long before the work becomes quadratic. */
static void test_crafted_names_are_refused(void **state) {
    (void)state;
    static char names[N_CROWD][16];
    r2i_heap heap;
    r2i_arena arena;
    r2i_name_table table;
    r2i_name_result result = R2I_NAME_ADDED;
    uint32_t n = 0;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    assert_true(r2i_name_table_init(&table, &arena, N_CROWD));
    for (uint32_t i = 0; n < N_CROWD && result == R2I_NAME_ADDED; i++) {
        (void)snprintf(names[n], sizeof names[n], "t%u", i);
        const size_t n_bytes = strlen(names[n]);
        if ((r2i_hash_bytes(R2I_HASH_SEED, names[n], n_bytes) & table.mask) != 7) continue;
        result = r2i_name_table_add(&table, names[n], n_bytes, n);
        n++;
    }
    assert_int_equal(result, R2I_NAME_CROWDED);
    assert_true(n > 64 && n < 512);
    r2i_arena_destroy(&arena);
}

static void test_extents_are_sorted(void **state) {
    (void)state;
    enum { N = 1000 };
    static r2i_extent e[N];
    uint32_t seed = 3;
    for (size_t n = 0; n <= N; n = n < 8 ? n + 1 : n * 2 + 1) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            e[i] = (r2i_extent){ .begin = seed >> 24,
                                 .end = (seed >> 24) + (seed >> 8) % 16,
                                 .index = i };
            sum += e[i].end;
        }
        r2i_extents_sort(e, n);
        for (size_t i = 0; i < n; i++) {
            sum -= e[i].end;
            if (i == 0) continue;
            assert_true(e[i - 1].begin < e[i].begin ||
                        (e[i - 1].begin == e[i].begin && e[i - 1].end <= e[i].end));
        }
        assert_int_equal(sum, 0); /* the same items */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finds_what_was_added),
        cmocka_unit_test(test_crafted_names_are_refused),
        cmocka_unit_test(test_extents_are_sorted),
    };
    return cmocka_run_group_tests_name("name_table", tests, NULL, NULL);
}
