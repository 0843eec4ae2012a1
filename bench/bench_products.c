/* bench_products.c - GFLOPS of y = x W^T as linear layers compute it: BF16 rows of x and W, F32 sums and
 * outputs, W packed tile by tile on the way.  JSON.
 *
 *   bench_products THREADS SECONDS ROWSxINxOUT... */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/linear.h"

typedef struct {
    r2i_kernels kernels;
    r2i_heap heap;
    r2i_pool *pool;
    uint8_t *scratch[256];
    int32_t n_threads;
    double seconds;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint8_t *take(bench *b, size_t n_bytes) {
    uint8_t *memory = r2i_memory_map(&b->heap, n_bytes);
    if (memory == NULL) {
        fprintf(stderr, "bench_products: no memory\n");
        exit(1);
    }
    return memory;
}

/* BF16 numbers of about 1. */
static void fill(uint8_t *rows, size_t n_bytes) {
    uint32_t x = 12345;
    for (size_t i = 0; i + 1 < n_bytes; i += 2) {
        const uint16_t bits =
            (uint16_t)(0x3f00u | ((x = x * 1664525u + 1013904223u) >> 24 & 0x7fu));
        memcpy(rows + i, &bits, sizeof bits);
    }
}

static double measure(bench *b, int32_t n_rows, int32_t n_in, int32_t n_out) {
    const size_t stride = r2i_act_row_bytes(R2I_ACT_BF16, n_in), row_bytes = 2 * (size_t)n_in,
                 y_bytes = (size_t)n_rows * (size_t)n_out * sizeof(float);
    const size_t x_bytes = (size_t)n_rows * stride, w_bytes = (size_t)n_out * row_bytes;
    const int32_t n_panels = (n_out + R2I_PANEL_ROWS - 1) / R2I_PANEL_ROWS;
    uint8_t *w = take(b, w_bytes), *x = take(b, x_bytes), *y = take(b, y_bytes);
    const size_t tile_bytes = R2I_TILE_PANELS * r2i_panel_bytes(R2I_TYPE_BF16, n_in);
    r2i_matrix m = { .n_rows = n_out,
                     .n_cols = n_in,
                     .n_panels = n_panels,
                     .type = R2I_TYPE_BF16,
                     .layout = R2I_TYPE_BF16,
                     .stored = w,
                     .row_bytes = row_bytes,
                     .panel_bytes = r2i_panel_bytes(R2I_TYPE_BF16, n_in) };
    double best = 1e30;
    fill(w, w_bytes);
    fill(x, x_bytes);
    for (int32_t i = 0; i < b->n_threads; i++)
        b->scratch[i] = take(b, tile_bytes);
    r2i_linear_context context = { .kernels = &b->kernels, .pool = b->pool, .scratch = b->scratch };
    const r2i_prepared rows = { .rows = { [R2I_ACT_BF16] = x },
                                .stride = { [R2I_ACT_BF16] = stride } };
    const r2i_linear_output output = { .matrix = &m,
                                       .y = (float *)(void *)y,
                                       .y_stride = (size_t)n_out };
    for (const double until = now() + b->seconds; now() < until;) {
        const double begin = now();
        r2i_linear(&context, &output, 1, &rows, n_rows);
        const double seconds = now() - begin;
        if (seconds < best) best = seconds;
    }
    for (int32_t i = 0; i < b->n_threads; i++)
        r2i_memory_unmap(&b->heap, b->scratch[i], tile_bytes);
    r2i_memory_unmap(&b->heap, w, w_bytes);
    r2i_memory_unmap(&b->heap, x, x_bytes);
    r2i_memory_unmap(&b->heap, y, y_bytes);
    return 2e-9 * (double)n_rows * (double)n_in * (double)n_out / best;
}

int main(int argc, char **argv) {
    static bench b;
    r2i_cpu cpu;
    r2_error err;
    if (argc < 4) {
        fprintf(stderr, "usage: bench_products THREADS SECONDS ROWSxINxOUT...\n");
        return 2;
    }
    b.n_threads = (int32_t)strtol(argv[1], NULL, 10);
    b.seconds = strtod(argv[2], NULL);
    r2i_cpu_detect(&cpu);
    r2i_kernels_init(&b.kernels, &cpu, R2I_LEVEL_AMX);
    r2i_heap_init(&b.heap);
    if (r2i_pool_create(&b.pool, b.n_threads, &b.heap, &err) != R2_OK) {
        fprintf(stderr, "bench_products: %s\n", err.text);
        return 1;
    }
    printf("{\"gflops\": [");
    for (int i = 3; i < argc; i++) {
        char *at = argv[i];
        int32_t sizes[3];
        for (int k = 0; k < 3; k++, at += *at == 'x')
            sizes[k] = (int32_t)strtol(at, &at, 10);
        printf("%s%.1f", i > 3 ? ", " : "", measure(&b, sizes[0], sizes[1], sizes[2]));
    }
    printf("]}\n");
    r2i_pool_destroy(b.pool);
    return 0;
}
