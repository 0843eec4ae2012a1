/* bench_attend.c - speed of attention over cache pages, one line of CSV per measurement.
 *
 *   bench_attend [--cpu LEVEL] [--threads N] [--ms MILLISECONDS] [--key WIDTH --value WIDTH]
 *
 * Decoding is a few query rows (the heads that share one key-value head) that read every page
 * from memory once; prefill is a full block of rows that find the pages of their chunk in the
 * cache.  Every figure is the best of many short rounds.  gflops = 2 * rows * (d_key + d_value) *
 * tokens / time; gb_s = page bytes / time; of_product and of_bandwidth divide them by what the
 * level's own BF16 product (256 tokens, 896 columns) and a plain reader reached on the same threads
 * just before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/pool.h"
#include "kernels/kernels.h"

enum {
    CACHE_MIB = 192,
    MAX_THREADS = 256,
    READ_CHUNK = 1 << 17,
    ROUND_NS = 1000000, /* short: on a busy machine some rounds are not interrupted */
    N_TOKENS = 256,     /* of the product */
    N_COLS = 896,
    N_PANELS = 64,
    LATENT_KEY = 576, /* the widths of multi-head latent attention in DeepSeek V2 to V3.2 */
    LATENT_VALUE = 512
};

typedef struct {
    r2i_heap heap;
    r2i_pool *pool;
    r2i_kernels kernels;
    r2i_level cap;
    int32_t n_threads;
    int64_t n_ms;
    int32_t d_key, d_value; /* the only widths to measure; 0: the usual ones */
    uint8_t *cache, *act;
    float *y; /* the product's results, or each worker's result and query rows */
    size_t cache_bytes, act_bytes, y_bytes;
    double product, read; /* GFLOPS, GB/s: what the shares are of */
    uint64_t sink[MAX_THREADS];
} bench;

/* One shape: chunks of n_pages pages, keys then values of each page. */
typedef struct {
    bench *b;
    r2i_row_kind rows;
    int32_t n_rows, d_key, d_value, n_pages;
    size_t key_bytes, value_bytes;
    int32_t n_chunks; /* that fit into the cache memory */
    int32_t next;
    bool is_cold;
} shape;

/* Best seconds of a region in n_ms milliseconds, at least three times; `regions` per measurement
 * fill a round. */
static double best_seconds(bench *b, int32_t n_chunks, r2i_pool_work work, void *context,
                           int32_t *next) {
    const int64_t stop = r2i_clock_ns() + b->n_ms * 1000000;
    double best = 1e9;
    for (int i = 0; i < 3 || r2i_clock_ns() < stop; i++) {
        const int64_t start = r2i_clock_ns();
        int32_t n = 0;
        for (; n == 0 || r2i_clock_ns() - start < ROUND_NS; n++) {
            r2i_pool_run(b->pool, n_chunks, 1, work, context);
            if (next != NULL) *next += n_chunks;
        }
        const double seconds = (double)(r2i_clock_ns() - start) * 1e-9 / n;
        if (seconds < best) best = seconds;
    }
    return best;
}

/* ---- Limits ---- */

typedef uint64_t lane4 __attribute__((vector_size(32)));

typedef struct {
    bench *b;
    int32_t next;
} reader;

static void read_work(void *context, int32_t begin, int32_t end, int32_t worker) {
    const reader *r = context;
    bench *b = r->b;
    const size_t n_chunks = b->cache_bytes / READ_CHUNK;
    lane4 x = { 0 }, y = { 0 };
    for (int32_t i = begin; i < end; i++) {
        const uint8_t *p = b->cache + (size_t)(r->next + i) % n_chunks * READ_CHUNK;
        for (size_t at = 0; at < READ_CHUNK; at += 64) {
            const lane4 *line = (const lane4 *)(const void *)(p + at);
            __builtin_prefetch((const void *)((uintptr_t)line + 6144));
            x ^= line[0];
            y ^= line[1];
        }
    }
    x ^= y;
    b->sink[worker] += x[0] ^ x[1] ^ x[2] ^ x[3];
}

static double read_gb_s(bench *b) {
    reader r = { .b = b };
    const int32_t n_chunks = 4 * b->n_threads;
    return (double)n_chunks * READ_CHUNK * 1e-9 / best_seconds(b, n_chunks, read_work, &r, &r.next);
}

static void product_work(void *context, int32_t begin, int32_t end, int32_t worker) {
    const bench *b = context;
    (void)worker;
    const int32_t n_panels = (end - begin) * 4;
    const r2i_matmul_job job = {
        .panels = b->cache + (size_t)begin * 4 * r2i_panel_bytes(R2I_TYPE_BF16, N_COLS),
        .n_panels = n_panels,
        .n_rows = n_panels * R2I_PANEL_ROWS,
        .n_cols = N_COLS,
        .act = b->act,
        .act_stride = r2i_act_row_bytes(R2I_ACT_BF16, N_COLS),
        .n_tokens = N_TOKENS,
        .y = b->y + begin * 4 * R2I_PANEL_ROWS,
        .y_stride = N_PANELS * R2I_PANEL_ROWS,
    };
    b->kernels.matmul[R2I_TYPE_BF16](&job);
}

static double product_gflops(bench *b) {
    const double n_ops = 2.0 * N_TOKENS * N_COLS * N_PANELS * R2I_PANEL_ROWS;
    if (b->kernels.matmul[R2I_TYPE_BF16] == NULL) return 0;
    return n_ops * 1e-9 / best_seconds(b, N_PANELS / 4, product_work, b, NULL);
}

/* ---- Attention ---- */

static void attend_chunk(const shape *s, int32_t chunk, int32_t worker) {
    const bench *b = s->b;
    const uint8_t *keys[R2I_CHUNK_PAGES], *values[R2I_CHUNK_PAGES];
    const size_t page_bytes = s->key_bytes + s->value_bytes;
    const uint8_t *page =
        b->cache + (size_t)(chunk % s->n_chunks) * (size_t)s->n_pages * page_bytes;
    for (int32_t i = 0; i < s->n_pages; i++, page += page_bytes) {
        keys[i] = page;
        values[i] = page + s->key_bytes;
    }
    int32_t first[R2I_ATTEND_ROWS] = { 0 }, end[R2I_ATTEND_ROWS];
    float max[R2I_ATTEND_ROWS], sum[R2I_ATTEND_ROWS];
    for (int32_t r = 0; r < s->n_rows; r++)
        end[r] = s->n_pages * R2I_PAGE_TOKENS;
    float *mine = b->y + (size_t)worker * 2 * R2I_ATTEND_ROWS * R2I_MAX_HEAD;
    const r2i_attend_job job = {
        .rows = s->rows,
        .d_key = s->d_key,
        .d_value = s->d_value,
        .key_pages = keys,
        .value_pages = values,
        .n_pages = s->n_pages,
        .n_rows = s->n_rows,
        .q = mine + (size_t)R2I_ATTEND_ROWS * R2I_MAX_HEAD,
        .q_stride = (size_t)s->d_key,
        .first_key = first,
        .end_key = end,
        .scale = 1.0f / (float)s->d_key,
        .out_max = max,
        .out_sum = sum,
        .out = mine,
    };
    b->kernels.attend(&job);
}

static void attend_work(void *context, int32_t begin, int32_t end, int32_t worker) {
    const shape *s = context;
    for (int32_t i = begin; i < end; i++)
        attend_chunk(s, s->is_cold ? s->next + i : worker, worker);
}

static void measure(bench *b, r2i_row_kind rows, int32_t n_rows, int32_t d_key, int32_t d_value,
                    bool is_cold) {
    shape s = { .b = b,
                .rows = rows,
                .n_rows = n_rows,
                .d_key = d_key,
                .d_value = d_value,
                .n_pages = R2I_CHUNK_PAGES,
                .is_cold = is_cold };
    s.key_bytes = r2i_key_page_bytes(rows, d_key);
    s.value_bytes = r2i_value_page_bytes(rows, d_value);
    const size_t chunk_bytes = (size_t)s.n_pages * (s.key_bytes + s.value_bytes);
    s.n_chunks = (int32_t)(b->cache_bytes / chunk_bytes);
    const int32_t n = 4 * b->n_threads;
    const double seconds = best_seconds(b, n, attend_work, &s, &s.next) / n;
    const double gflops = 2e-9 * n_rows * (d_key + d_value) * s.n_pages * R2I_PAGE_TOKENS / seconds;
    const double gb_s = (double)chunk_bytes * 1e-9 / seconds;
    printf("%s,%s,%d,%d,%d,%d,%s,%d,%.1f,%.1f,%.2f,%.2f\n", r2i_level_name(b->kernels.level),
           rows == R2I_ROWS_F32 ? "F32" : "BF16", n_rows, d_key, d_value, s.n_pages,
           is_cold ? "memory" : "cache", b->n_threads, gflops, gb_s,
           b->product > 0 ? gflops / b->product : 0, gb_s / b->read);
    fflush(stdout);
}

/* Few rows read their pages from memory; many find them in the cache. */
static void measure_rows(bench *b, int32_t d_key, int32_t d_value) {
    static const int32_t few[] = { 1, 7, 8, 16 }, many[] = { 32, 56, 64 };
    for (size_t i = 0; i < sizeof few / sizeof *few; i++)
        measure(b, R2I_ROWS_BF16, few[i], d_key, d_value, true);
    for (size_t i = 0; i < sizeof many / sizeof *many; i++)
        measure(b, R2I_ROWS_BF16, many[i], d_key, d_value, false);
}

static void run_all(bench *b) {
    static const int32_t widths[] = { 64, 128, 256 };
    b->product = product_gflops(b);
    b->read = read_gb_s(b);
    printf("# bf16 product %.0f GFLOPS, reading %.1f GB/s\n", b->product, b->read);
    printf("level,page_rows,rows,d_key,d_value,pages,source,threads,gflops,gb_s,of_product,"
           "of_bandwidth\n");
    if (b->d_key > 0) {
        measure_rows(b, b->d_key, b->d_value);
        return;
    }
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        measure_rows(b, widths[i], widths[i]);
    measure_rows(b, LATENT_KEY, LATENT_VALUE);
    measure(b, R2I_ROWS_F32, 64, 128, 128, false);
}

/* Ordinary numbers as BF16 and as F32: 2^-8 to 2^-3. */
static void fill(uint8_t *p, size_t n_bytes) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i + 2 <= n_bytes; i += 2) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        p[i] = (uint8_t)(x >> 32);
        p[i + 1] = (uint8_t)(0x3b + (x >> 40 & 1));
    }
}

static int prepare(bench *b) {
    r2_error err;
    r2i_cpu cpu;
    r2i_cpu_detect(&cpu);
    r2i_kernels_init(&b->kernels, &cpu, b->cap);
    r2i_heap_init(&b->heap);
    b->cache_bytes = (size_t)CACHE_MIB << 20;
    b->act_bytes = N_TOKENS * r2i_act_row_bytes(R2I_ACT_BF16, N_COLS);
    const size_t rows_bytes = (size_t)b->n_threads * 8 * R2I_ATTEND_ROWS * R2I_MAX_HEAD;
    const size_t product_bytes = 4 * (size_t)N_TOKENS * N_PANELS * R2I_PANEL_ROWS;
    b->y_bytes = rows_bytes > product_bytes ? rows_bytes : product_bytes;
    b->cache = r2i_memory_map(&b->heap, b->cache_bytes);
    b->act = r2i_memory_map(&b->heap, b->act_bytes);
    b->y = r2i_memory_map(&b->heap, b->y_bytes);
    if (b->cache == NULL || b->act == NULL || b->y == NULL) {
        fprintf(stderr, "bench_attend: no memory\n");
        return 1;
    }
    if (r2i_pool_create(&b->pool, b->n_threads, &b->heap, &err) != R2_OK) {
        fprintf(stderr, "bench_attend: %s\n", err.text);
        return 1;
    }
    fill(b->cache, b->cache_bytes);
    fill(b->act, b->act_bytes);
    return 0;
}

int main(int argc, char **argv) {
    static bench b = { .cap = R2I_LEVEL_AMX, .n_threads = 1, .n_ms = 200 };
    for (int i = 1; i + 1 < argc; i += 2) {
        const long n = strtol(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--threads") == 0 && n >= 1 && n <= MAX_THREADS) {
            b.n_threads = (int32_t)n;
        } else if (strcmp(argv[i], "--ms") == 0 && n >= 1 && n <= 60000) {
            b.n_ms = n;
        } else if (strcmp(argv[i], "--cpu") == 0 && r2i_level_find(argv[i + 1]) >= 0) {
            b.cap = (r2i_level)r2i_level_find(argv[i + 1]);
        } else if (strcmp(argv[i], "--key") == 0 && n >= 1 && n <= R2I_MAX_HEAD) {
            b.d_key = (int32_t)n;
        } else if (strcmp(argv[i], "--value") == 0 && n >= 1 && n <= R2I_MAX_HEAD) {
            b.d_value = (int32_t)n;
        } else {
            fprintf(stderr, "usage: bench_attend [--cpu LEVEL] [--threads N] [--ms MILLISECONDS] "
                            "[--key WIDTH --value WIDTH]\n");
            return 2;
        }
    }
    if (b.d_value == 0) b.d_value = b.d_key;
    if (b.d_key == 0) b.d_key = b.d_value;
    const int failed = prepare(&b);
    if (!failed) run_all(&b);
    r2i_pool_destroy(b.pool);
    r2i_memory_unmap(&b.heap, b.cache, b.cache_bytes);
    r2i_memory_unmap(&b.heap, b.act, b.act_bytes);
    r2i_memory_unmap(&b.heap, b.y, b.y_bytes);
    return failed;
}
