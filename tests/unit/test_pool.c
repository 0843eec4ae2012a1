/* test_pool.c - every chunk exactly once, whatever the threads do. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/pool.h"

enum { MAX_CHUNKS = 5000, MAX_WORKERS = 16 };

typedef struct {
    atomic_int visits[MAX_CHUNKS];
    atomic_int inside[MAX_WORKERS]; /* one thread per worker index at a time */
    atomic_int n_clashes;
    int32_t n_workers;
    bool is_slow;
} record;

static void visit(void *context, int32_t begin, int32_t end, int32_t worker) {
    record *r = context;
    if (worker < 0 || worker >= r->n_workers || atomic_fetch_add(&r->inside[worker], 1) != 0) {
        atomic_fetch_add(&r->n_clashes, 1);
        return;
    }
    for (int32_t i = begin; i < end; i++)
        atomic_fetch_add(&r->visits[i], 1);
    if (r->is_slow && worker != 0) {
        const struct timespec pause = { 0, 300000 };
        nanosleep(&pause, NULL); /* looks like a core that was taken away */
    }
    atomic_fetch_sub(&r->inside[worker], 1);
}

static void check(r2i_pool *pool, int32_t n_chunks, int32_t grain, bool is_slow) {
    static record r;
    memset(&r, 0, sizeof r);
    r.n_workers = r2i_pool_threads(pool);
    r.is_slow = is_slow;
    r2i_pool_run(pool, n_chunks, grain, visit, &r);
    for (int32_t i = 0; i < n_chunks; i++)
        assert_int_equal(atomic_load(&r.visits[i]), 1);
    assert_int_equal(atomic_load(&r.n_clashes), 0);
}

static void test_every_chunk_once(void **state) {
    static const int32_t sizes[] = { 0, 1, 2, 3, 7, 16, 17, 100, 999, MAX_CHUNKS };
    r2i_heap heap;
    r2_error err;
    (void)state;
    r2i_heap_init(&heap);
    for (int32_t n_threads = 1; n_threads <= 5; n_threads++) {
        r2i_pool *pool;
        assert_int_equal(r2i_pool_create(&pool, n_threads, &heap, &err), R2_OK);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (int32_t grain = 0; grain < 40; grain += 13)
                check(pool, sizes[s], grain, false);
        }
        r2i_pool_destroy(pool);
        assert_int_equal(heap.used_bytes, 0);
    }
}

/* Many short regions with pauses between them: workers fall asleep, wake up late, find it closed. */
static void test_short_regions(void **state) {
    r2i_heap heap;
    r2_error err;
    r2i_pool *pool;
    (void)state;
    r2i_heap_init(&heap);
    assert_int_equal(r2i_pool_create(&pool, 4, &heap, &err), R2_OK);
    for (int i = 0; i < 3000; i++) {
        check(pool, 1 + i % 9, 1, false);
        if (i % 500 == 0) {
            const struct timespec pause = { 0, 5000000 };
            nanosleep(&pause, NULL);
        }
    }
    r2i_pool_destroy(pool);
}

/* Workers that are late again and again are left out and come back; nothing is lost meanwhile. */
static void test_late_workers(void **state) {
    r2i_heap heap;
    r2_error err;
    r2i_pool *pool;
    (void)state;
    r2i_heap_init(&heap);
    assert_int_equal(r2i_pool_create(&pool, 3, &heap, &err), R2_OK);
    for (int i = 0; i < 300; i++)
        check(pool, 60, 1, true);
    for (int i = 0; i < 300; i++)
        check(pool, 60, 1, false);
    r2i_pool_destroy(pool);
}

static void test_bad_sizes(void **state) {
    r2i_heap heap;
    r2_error err;
    r2i_pool *pool;
    (void)state;
    r2i_heap_init(&heap);
    assert_int_equal(r2i_pool_create(&pool, 0, &heap, &err), R2_E_RANGE);
    assert_null(pool);
    assert_int_equal(r2i_pool_create(&pool, 257, &heap, &err), R2_E_RANGE);
    heap.limit_bytes = 10;
    assert_int_equal(r2i_pool_create(&pool, 2, &heap, &err), R2_E_NOMEM);
    r2i_pool_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_chunk_once),
        cmocka_unit_test(test_short_regions),
        cmocka_unit_test(test_late_workers),
        cmocka_unit_test(test_bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
