/* test_product_operands.c - products backward from operands made in one visit give the bits of those that
 * turn F32 rows on the way, at odd sizes and over several pieces, on 1 and on 3 threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "train/backward/products.h"

enum { N_ROWS = 2 * R2I_PRODUCT_PIECE + 37, N_IN = 149, N_FIRST = 70, N_SECOND = 33 };

typedef struct {
    float *x, *norm, *dy[2], *w[2], *gradient[2], *dx;
} numbers;

static float *make(r2i_arena *arena, size_t n, uint32_t seed) {
    float *x = r2i_arena_push_array(arena, n, sizeof *x, 64);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)seed * 0x1p-31f;
    }
    return x;
}

static numbers make_numbers(r2i_arena *arena) {
    const size_t outs[] = { N_FIRST, N_SECOND };
    numbers n = { .x = make(arena, (size_t)N_ROWS * N_IN, 1),
                  .norm = make(arena, N_IN, 2),
                  .dx = make(arena, (size_t)N_ROWS * N_IN, 3) };
    for (uint32_t i = 0; i < 2; i++) {
        n.dy[i] = make(arena, N_ROWS * outs[i], 4 + i);
        n.w[i] = make(arena, N_IN * outs[i], 6 + i);
        n.gradient[i] = make(arena, N_IN * outs[i], 8 + i);
    }
    return n;
}

static void set_products(r2i_product p[2], const numbers *n) {
    static const int32_t outs[] = { N_FIRST, N_SECOND };
    for (int32_t i = 0; i < 2; i++)
        p[i] = (r2i_product){ .layout = R2I_TYPE_BF16,
                              .n_rows = N_ROWS,
                              .n_out = outs[i],
                              .n_in = N_IN,
                              .dy = n->dy[i],
                              .x = n->x,
                              .weights = n->w[i],
                              .gradient = n->gradient[i],
                              .dx = n->dx,
                              .is_added = true,
                              .n_sharing = i == 0 ? 1 : R2I_SHARES_X };
}

static void check_same(const r2i_kernels *kernels, int32_t n_threads) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_pool *pool;
    r2i_products context;
    r2i_product products[2];
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 1 << 16, 0);
    assert_int_equal(r2i_pool_create(&pool, n_threads, &heap, NULL), R2_OK);
    const size_t n_bytes = r2i_products_rows_bytes(2, N_ROWS, N_FIRST + N_SECOND) +
                           r2i_operand_bytes(N_ROWS, N_IN, R2I_OPERAND_PANELS);
    assert_int_equal(r2i_products_create(&context, kernels, pool, n_bytes, &arena, NULL), R2_OK);
    const numbers made = make_numbers(&arena), turned = make_numbers(&arena);
    set_products(products, &made);
    r2i_products_backward(&context, products, 2, made.norm, 1e-5f);
    for (size_t row = 0; row < N_ROWS; row++)
        kernels->rmsnorm(turned.x + row * N_IN, turned.x + row * N_IN, turned.norm, N_IN, 1e-5f);
    set_products(products, &turned);
    r2i_products_weights(&context, products, 2);
    r2i_products_inputs(&context, products, 2);
    assert_memory_equal(made.dx, turned.dx, (size_t)N_ROWS * N_IN * sizeof(float));
    assert_memory_equal(made.gradient[0], turned.gradient[0], N_FIRST * N_IN * sizeof(float));
    assert_memory_equal(made.gradient[1], turned.gradient[1], N_SECOND * N_IN * sizeof(float));
    r2i_pool_destroy(pool);
    r2i_arena_destroy(&arena);
}

static void test_same_bits(void **state) {
    r2i_cpu cpu;
    r2i_kernels kernels;
    (void)state;
    r2i_cpu_detect(&cpu);
    for (int level = R2I_LEVEL_PORTABLE; level < R2I_N_LEVELS; level++) {
        r2i_kernels_init(&kernels, &cpu, (r2i_level)level);
        if (kernels.level != (r2i_level)level || kernels.matmul[R2I_TYPE_BF16] == NULL) continue;
        check_same(&kernels, 1);
        check_same(&kernels, 3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_bits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
