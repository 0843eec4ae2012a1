#include "cli/read_rate.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/pool.h"

enum {
    BUFFER_BYTES = 512 << 20,
    AHEAD_BYTES = 6144,
    LINE_BYTES = 64,
    MAX_THREADS = 256,
    PARTS_PER_THREAD = 8
};

/* GCC and clang vector type: the baseline x86-64 or NEON register. */
typedef uint64_t lane2 __attribute__((vector_size(16)));

typedef struct {
    const uint8_t *bytes;
    size_t part_bytes;
    uint64_t sums[MAX_THREADS]; /* keep the reads alive */
} reading;

static uint64_t read_part(const uint8_t *part, size_t n_bytes) {
    lane2 a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
    for (size_t i = 0; i + LINE_BYTES <= n_bytes; i += LINE_BYTES) {
        const lane2 *line = (const lane2 *)(const void *)(part + i);
        __builtin_prefetch(part + i + AHEAD_BYTES, 0, 3);
        a ^= line[0];
        b ^= line[1];
        c ^= line[2];
        d ^= line[3];
    }
    a ^= b ^ c ^ d;
    return a[0] ^ a[1];
}

static void read_parts(void *context, int32_t begin, int32_t end, int32_t worker) {
    reading *r = context;
    for (int32_t i = begin; i < end; i++)
        r->sums[worker] += read_part(r->bytes + (size_t)i * r->part_bytes, r->part_bytes);
}

double r2i_read_rate(int32_t n_threads, double seconds) {
    r2i_heap heap;
    reading r = { 0 };
    r2i_pool *pool = NULL;
    double best = 0;
    r2i_heap_init(&heap);
    uint8_t *bytes = r2i_memory_map(&heap, BUFFER_BYTES + AHEAD_BYTES);
    if (bytes != NULL && n_threads <= MAX_THREADS &&
        r2i_pool_create(&pool, n_threads, &heap, NULL) == R2_OK) {
        memset(bytes, 1, BUFFER_BYTES);
        const int32_t n_parts = n_threads * PARTS_PER_THREAD;
        r.bytes = bytes;
        r.part_bytes = BUFFER_BYTES / (size_t)n_parts / LINE_BYTES * LINE_BYTES;
        const int64_t stop = r2i_clock_ns() + (int64_t)(seconds * 1e9);
        for (int pass = 0; pass < 3 || r2i_clock_ns() < stop; pass++) {
            const int64_t start = r2i_clock_ns();
            r2i_pool_run(pool, n_parts, 1, read_parts, &r);
            const double rate = (double)r.part_bytes * n_parts / (double)(r2i_clock_ns() - start);
            if (rate > best) best = rate;
        }
        r2i_pool_destroy(pool);
    }
    if (bytes != NULL) r2i_memory_unmap(&heap, bytes, BUFFER_BYTES + AHEAD_BYTES);
    return best;
}

/* The number behind `key` at the start of a line; 0: none. */
static int64_t read_field(const char *path, const char *key) {
    FILE *file = fopen(path, "r");
    char line[256];
    long long n = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        n = strtoll(line + strlen(key), NULL, 10);
        break;
    }
    if (file != NULL) (void)fclose(file);
    return n;
}

int64_t r2i_peak_memory(void) {
    return read_field("/proc/self/status", "VmHWM:") * 1024;
}

void r2i_peak_forget(void) {
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file == NULL) return;
    (void)fputs("5", file); /* proc(5): the peak becomes what is held now */
    (void)fclose(file);
}

/* A file that holds one number; `otherwise` when it does not ("max"). */
static int64_t read_number(const char *path, int64_t otherwise) {
    FILE *file = fopen(path, "r");
    long long n = 0;
    const bool is_read = file != NULL && fscanf(file, "%lld", &n) == 1;
    if (file != NULL) (void)fclose(file);
    return is_read ? n : otherwise;
}

int64_t r2i_available_memory(void) {
    const int64_t all = read_field("/proc/meminfo", "MemAvailable:") * 1024;
    const int64_t most = read_number("/sys/fs/cgroup/memory.max", INT64_MAX),
                  used = read_number("/sys/fs/cgroup/memory.current", 0) -
                         read_field("/sys/fs/cgroup/memory.stat", "inactive_file ");
    const int64_t allowed = most > used ? most - used : 0;
    return allowed < all ? allowed : all;
}
