/* bench_matmul.c - speed of the matrix products, one line of CSV per measurement.
 *
 *   bench_matmul [--cpu LEVEL] [--threads N] [--layouts Q4_0,Q6_K] [--tokens 1,32]
 *                [--shapes 4864x896,576x576] [--ms MILLISECONDS]
 *
 * A shape is rows x columns.  Weights are many matrices one after the other, POOL_MIB in all, used
 * in turn as in a model, so that one token has to read them from memory.  Every figure
 * is the best of several rounds; with one thread it is processor time, so that other processes
 * disturb it less.  gops = 2 * rows * columns * tokens / time; gb_s = packed bytes /
 * time; of_peak and of_bandwidth divide them by what a loop of vpdpbusd and a plain reader reached
 * on the same threads just before. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/pool.h"
#include "kernels/kernels.h"

enum {
    POOL_MIB = 192,
    MAX_LIST = 32,
    MAX_TOKENS = 512,
    PEAK_LOOPS = 20000,
    READ_CHUNK = 1 << 17,
    ROUND_NS = 1000000 /* short: on a busy machine some rounds are not interrupted */
};

typedef struct {
    int32_t n_rows, n_cols;
} shape;

typedef struct {
    r2i_level cap;
    int32_t n_threads;
    int64_t n_ms;
    r2i_type layouts[MAX_LIST];
    int32_t tokens[MAX_LIST];
    shape shapes[MAX_LIST];
    int n_layouts, n_tokens, n_shapes;
} options;

typedef struct {
    r2i_heap heap;
    r2i_pool *pool;
    r2i_kernels kernels;
    uint8_t *weights, *act;
    float *y;
    size_t weights_bytes, act_bytes, y_bytes;
    uint64_t sink[256];
} bench;

/* Bytes whose every pair is an ordinary f16, whatever field they hit: no infinities. */
static void fill_bytes(uint8_t *p, size_t n_bytes) {
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < n_bytes; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        p[i] = (uint8_t)((x >> 32 & 0x37) | 0x20);
    }
}

/* ---- The machine's limits ---- */

/* 16 bytes: the baseline register; longer vectors go through the stack at half the rate. */
typedef uint64_t lane2 __attribute__((vector_size(16)));

static void read_work(void *context, int32_t begin, int32_t end, int32_t worker) {
    bench *b = context;
    const uint8_t *p = b->weights + (size_t)begin * READ_CHUNK,
                  *stop = b->weights + (size_t)end * READ_CHUNK;
    lane2 w = { 0 }, x = { 0 }, y = { 0 }, z = { 0 };
    for (; p < stop; p += 64) {
        const lane2 *line = (const lane2 *)(const void *)p;
        __builtin_prefetch((const void *)((uintptr_t)p + 6144));
        w ^= line[0];
        x ^= line[1];
        y ^= line[2];
        z ^= line[3];
    }
    w ^= x ^ y ^ z;
    b->sink[worker] += w[0] ^ w[1];
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512vnni"))) static void peak_work(void *context, int32_t begin,
                                                                    int32_t end, int32_t worker) {
    bench *b = context;
    __m512i a[12], w = _mm512_set1_epi32(0x01020304);
    _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) a[i] = _mm512_set1_epi32(i + worker);
    for (int64_t n = (int64_t)(end - begin) * PEAK_LOOPS; n > 0; n--) {
        _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) {
            a[i] = _mm512_dpbusd_epi32(a[i], w, w);
            __asm__("" : "+v"(a[i])); /* or the loop is folded */
        }
    }
    _Pragma("GCC unroll 12") for (int i = 1; i < 12; i++) a[0] = _mm512_add_epi32(a[0], a[i]);
    b->sink[worker] += (uint64_t)_mm512_reduce_add_epi32(a[0]);
}
#else
static void peak_work(void *context, int32_t begin, int32_t end, int32_t worker) {
    (void)context, (void)begin, (void)end, (void)worker;
}
#endif

static int64_t now_ns(const bench *b) {
    struct timespec t;
    clock_gettime(r2i_pool_threads(b->pool) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Best time of one region in `n_ms` milliseconds, at least three times. */
static double best_seconds(bench *b, int64_t n_ms, int32_t n_chunks, int32_t grain,
                           r2i_pool_work work, void *context) {
    const int64_t stop = now_ns(b) + n_ms * 1000000;
    double best = 1e9;
    for (int i = 0; i < 3 || now_ns(b) < stop; i++) {
        const int64_t start = now_ns(b);
        r2i_pool_run(b->pool, n_chunks, grain, work, context);
        const double seconds = (double)(now_ns(b) - start) * 1e-9;
        if (seconds < best) best = seconds;
    }
    return best;
}

/* Reads the whole pool again and again; the fastest window of 16 MiB counts: on a busy machine a
 * longer one would hardly ever be undisturbed.  When its turn returns it has left the caches. */
static double read_gb_s(bench *b, int64_t n_ms) {
    const int32_t n_chunks = (16 << 20) / READ_CHUNK, n_windows = POOL_MIB / 16;
    uint8_t *const weights = b->weights;
    const int64_t stop = now_ns(b) + n_ms * 1000000;
    int64_t best = INT64_MAX;
    for (int32_t i = 0; i < 2 * n_windows || now_ns(b) < stop; i++) {
        b->weights = weights + (size_t)(i % n_windows * n_chunks) * READ_CHUNK;
        const int64_t start = now_ns(b);
        r2i_pool_run(b->pool, n_chunks, 4, read_work, b);
        const int64_t ns = now_ns(b) - start;
        if (ns < best) best = ns;
    }
    b->weights = weights;
    return (double)n_chunks * READ_CHUNK / (double)best;
}

static double peak_gops(bench *b, int64_t n_ms, int32_t n_threads) {
    if (b->kernels.level < R2I_LEVEL_AVX512) return 0;
    const double n_ops = 2.0 * 64 * 12 * PEAK_LOOPS * n_threads;
    return n_ops * 1e-9 / best_seconds(b, n_ms, n_threads, 1, peak_work, b);
}

/* ---- Products ---- */

typedef struct {
    const bench *b;
    r2i_matmul_job job; /* of the whole matrix */
    r2i_type layout;
    size_t panel_bytes;
} product;

static void product_work(void *context, int32_t begin, int32_t end, int32_t worker) {
    const product *p = context;
    r2i_matmul_job job = p->job;
    const int32_t last_row = end * R2I_PANEL_ROWS;
    (void)worker;
    job.panels += (size_t)begin * p->panel_bytes;
    job.n_panels = end - begin;
    job.n_rows = (last_row < p->job.n_rows ? last_row : p->job.n_rows) - begin * R2I_PANEL_ROWS;
    job.y += (size_t)begin * R2I_PANEL_ROWS;
    p->b->kernels.matmul[p->layout](&job);
}

/* Seconds per product: rounds over all matrices, the best round counts. */
static double product_seconds(bench *b, product *p, int64_t n_ms) {
    const int32_t n_panels = p->job.n_panels;
    const size_t matrix_bytes = (size_t)n_panels * p->panel_bytes;
    const size_t n_matrices = b->weights_bytes / matrix_bytes;
    const int32_t share = n_panels / (r2i_pool_threads(b->pool) * 4),
                  grain = share < 2 ? 2 : share / 2 * 2;
    const int64_t stop = now_ns(b) + n_ms * 1000000;
    double best = 1e9;
    size_t next = 0;
    for (int i = 0; i < 3 || now_ns(b) < stop; i++) {
        const int64_t start = now_ns(b);
        size_t n = 0;
        while (n < n_matrices && (n == 0 || now_ns(b) - start < ROUND_NS)) {
            p->job.panels = b->weights + next * matrix_bytes;
            next = (next + 1) % n_matrices;
            r2i_pool_run(b->pool, n_panels, grain, product_work, p);
            n++;
        }
        const double seconds = (double)(now_ns(b) - start) * 1e-9 / (double)n;
        if (seconds < best) best = seconds;
    }
    return best;
}

static void measure(bench *b, const options *o, r2i_type layout, shape s, int32_t n_tokens,
                    double peak, double read) {
    const r2i_act_kind kind = r2i_act_kind_of(layout);
    product p = { .b = b, .layout = layout, .panel_bytes = r2i_panel_bytes(layout, s.n_cols) };
    p.job = (r2i_matmul_job){
        .n_panels = (s.n_rows + R2I_PANEL_ROWS - 1) / R2I_PANEL_ROWS,
        .n_rows = s.n_rows,
        .n_cols = s.n_cols,
        .act = b->act,
        .act_stride = r2i_act_row_bytes(kind, s.n_cols),
        .n_tokens = n_tokens,
        .y = b->y,
        .y_stride = (size_t)s.n_rows,
    };
    const double n_bytes = (double)p.job.n_panels * (double)p.panel_bytes;
    if (b->kernels.matmul[layout] == NULL || n_bytes > (double)b->weights_bytes ||
        p.job.act_stride * (size_t)n_tokens > b->act_bytes ||
        4 * p.job.y_stride * (size_t)n_tokens > b->y_bytes) {
        return;
    }
    for (int32_t t = 0; t < n_tokens; t++) {
        b->kernels.act[kind](b->act + (size_t)t * p.job.act_stride, b->y, s.n_cols, 0, s.n_cols);
    }
    const double seconds = product_seconds(b, &p, o->n_ms);
    const double gops = 2e-9 * s.n_rows * (double)s.n_cols * n_tokens / seconds,
                 gb_s = n_bytes * 1e-9 / seconds;
    printf("%s,%s,%d,%dx%d,%d,%.0f,%.1f,%.2f,%.2f\n", r2i_level_name(b->kernels.level),
           r2i_type_get(layout)->name, n_tokens, s.n_rows, s.n_cols, o->n_threads, gops, gb_s,
           peak > 0 ? gops / peak : 0, gb_s / read);
    fflush(stdout);
}

static void run_all(bench *b, const options *o) {
    const double peak = peak_gops(b, 100, o->n_threads);
    printf("level,layout,tokens,shape,threads,gops,gb_s,of_peak,of_bandwidth\n");
    for (int i = 0; i < o->n_layouts; i++) {
        for (int k = 0; k < o->n_shapes; k++) {
            const double read = read_gb_s(b, 50);
            if (o->shapes[k].n_cols % r2i_type_get(o->layouts[i])->block_elements != 0) continue;
            printf("# int8 peak %.0f GOPS, read %.1f GB/s\n", peak, read);
            for (int t = 0; t < o->n_tokens; t++) {
                measure(b, o, o->layouts[i], o->shapes[k], o->tokens[t], peak, read);
            }
        }
    }
}

/* ---- Options ---- */

static int add_layout(options *o, const char *name) {
    for (uint64_t id = 0; id < R2I_TYPE_LIMIT; id++) {
        const r2i_type_info *info = r2i_type_find(id);
        if (info == NULL || strcmp(info->name, name) != 0 || o->n_layouts == MAX_LIST) continue;
        o->layouts[o->n_layouts++] = (r2i_type)id;
        return 1;
    }
    return 0;
}

static int add_tokens(options *o, const char *text) {
    const long n = strtol(text, NULL, 10);
    if (n < 1 || n > MAX_TOKENS || o->n_tokens == MAX_LIST) return 0;
    o->tokens[o->n_tokens++] = (int32_t)n;
    return 1;
}

static int add_shape(options *o, const char *text) {
    char *rest;
    const long rows = strtol(text, &rest, 10), cols = *rest == 'x' ? strtol(rest + 1, NULL, 10) : 0;
    if (rows < 1 || rows > 1000000 || cols < 32 || cols > 65536 || cols % 32 != 0 ||
        o->n_shapes == MAX_LIST)
        return 0;
    o->shapes[o->n_shapes++] = (shape){ (int32_t)rows, (int32_t)cols };
    return 1;
}

static int add_list(options *o, const char *list, int (*add)(options *, const char *)) {
    char word[64];
    for (const char *p = list; *p != '\0';) {
        const size_t n = strcspn(p, ",");
        if (n >= sizeof word) return 0;
        memcpy(word, p, n);
        word[n] = '\0';
        if (!add(o, word)) return 0;
        p += n + (p[n] == ',');
    }
    return 1;
}

static int read_option(options *o, const char *name, const char *value) {
    const int level = r2i_level_find(value);
    if (strcmp(name, "--cpu") == 0 && level >= 0) return o->cap = (r2i_level)level, 1;
    if (strcmp(name, "--threads") == 0)
        return (o->n_threads = (int32_t)strtol(value, NULL, 10)) > 0;
    if (strcmp(name, "--ms") == 0) return (o->n_ms = strtol(value, NULL, 10)) > 0;
    if (strcmp(name, "--layouts") == 0) return add_list(o, value, add_layout);
    if (strcmp(name, "--tokens") == 0) return add_list(o, value, add_tokens);
    if (strcmp(name, "--shapes") == 0) return add_list(o, value, add_shape);
    return 0;
}

static int read_options(options *o, int argc, char **argv) {
    int is_good = 1;
    for (int i = 1; i < argc; i += 2)
        is_good &= i + 1 < argc && read_option(o, argv[i], argv[i + 1]);
    if (o->n_layouts == 0) (void)add_list(o, "Q4_0,Q5_0,Q8_0,Q4_K,Q6_K", add_layout);
    if (o->n_tokens == 0) (void)add_list(o, "1,2,4,8,16,32,96,256", add_tokens);
    if (o->n_shapes == 0) (void)add_list(o, "896x896,4864x896,896x4864,1536x8960", add_shape);
    return is_good;
}

static int bench_open(bench *b, const options *o) {
    r2i_cpu cpu;
    r2i_cpu_detect(&cpu);
    r2i_kernels_init(&b->kernels, &cpu, o->cap);
    r2i_heap_init(&b->heap);
    b->weights_bytes = (size_t)POOL_MIB << 20;
    b->act_bytes = (size_t)32 << 20;
    b->y_bytes = (size_t)64 << 20;
    b->weights = r2i_memory_map(&b->heap, b->weights_bytes);
    b->act = r2i_memory_map(&b->heap, b->act_bytes);
    b->y = r2i_memory_map(&b->heap, b->y_bytes);
    if (b->weights == NULL || b->act == NULL || b->y == NULL) return 0;
    fill_bytes(b->weights, b->weights_bytes);
    for (size_t i = 0; i < b->y_bytes / 4; i++)
        b->y[i] = (float)(i * 2654435761u % 2001) * 1e-3f - 1.0f;
    printf("# %s, level %s\n", cpu.brand, r2i_level_name(b->kernels.level));
    return r2i_pool_create(&b->pool, o->n_threads, &b->heap, NULL) == R2_OK;
}

int main(int argc, char **argv) {
    static bench b;
    options o = { .cap = R2I_LEVEL_AMX, .n_threads = r2i_cpu_count(), .n_ms = 60 };
    if (!read_options(&o, argc, argv)) {
        fprintf(stderr, "usage: bench_matmul [--cpu LEVEL] [--threads N] [--layouts NAME,...] "
                        "[--tokens N,...]\n"
                        "                    [--shapes ROWSxCOLUMNS,...] [--ms N]\n");
        return 2;
    }
    if (!bench_open(&b, &o)) {
        fprintf(stderr, "bench_matmul: not enough memory or threads\n");
        return 1;
    }
    run_all(&b, &o);
    r2i_pool_destroy(b.pool);
    return 0;
}
