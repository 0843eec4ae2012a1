/* bandwidth.c - how fast can this machine read memory?  The limit of one-token decoding.
 *
 *   bandwidth [THREADS [MEBIBYTES [SECONDS]]]
 *
 * Every thread reads its own part of one big buffer again and again, prefetching AHEAD_BYTES ahead,
 * as the kernels do; the best pass of all is printed in GB/s (10^9 bytes), the median beside it. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, pthread_barrier_t */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { AHEAD_BYTES = 6144, LINE_BYTES = 64, MAX_THREADS = 256, MAX_PASSES = 4096 };

typedef struct {
    pthread_barrier_t *start, *end;
    const uint8_t *part;
    size_t n_bytes;
    const int *is_over;
    uint64_t sum; /* keeps the reads alive */
    double begin, end_seconds;
} reader;

/* GCC and clang vector type: the baseline x86-64 or NEON register.  A wider one goes through the
 * stack and shows half of the machine's rate. */
typedef uint64_t lane2 __attribute__((vector_size(16)));

static uint64_t read_part(const uint8_t *part, size_t n_bytes) {
    lane2 a = {0}, b = {0}, c = {0}, d = {0};
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

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *reader_main(void *argument) {
    reader *r = argument;
    for (;;) {
        pthread_barrier_wait(r->start);
        if (*r->is_over) return NULL;
        r->begin = now_seconds();
        r->sum += read_part(r->part, r->n_bytes);
        r->end_seconds = now_seconds();
        pthread_barrier_wait(r->end);
    }
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* From the first thread's begin to the last one's end; the barriers themselves do not count. */
static double pass_seconds(const reader *readers, size_t n_threads) {
    double begin = readers[0].begin, end = readers[0].end_seconds;
    for (size_t i = 1; i < n_threads; i++) {
        if (readers[i].begin < begin) begin = readers[i].begin;
        if (readers[i].end_seconds > end) end = readers[i].end_seconds;
    }
    return end - begin;
}

int main(int argc, char **argv) {
    const long asked = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
    const long mebibytes = argc > 2 ? strtol(argv[2], NULL, 10) : 512;
    const double seconds = argc > 3 ? strtod(argv[3], NULL) : 1.0;
    static pthread_t threads[MAX_THREADS];
    static reader readers[MAX_THREADS];
    static double rates[MAX_PASSES];
    pthread_barrier_t start, end;
    int is_over = 0, n_passes = 0;
    if (asked < 1 || asked > MAX_THREADS || mebibytes < 1 || mebibytes > 65536) {
        fprintf(stderr, "usage: bandwidth [THREADS [MEBIBYTES [SECONDS]]]\n");
        return 2;
    }
    const size_t n_threads = (size_t)asked, n_bytes = (size_t)mebibytes << 20;
    const size_t part_bytes = n_bytes / n_threads / LINE_BYTES * LINE_BYTES;
    uint8_t *buffer = aligned_alloc(4096, n_bytes + 4096);
    if (buffer == NULL) {
        fprintf(stderr, "bandwidth: no room for %ld MiB\n", mebibytes);
        return 1;
    }
    memset(buffer, 1, n_bytes + 4096);
    pthread_barrier_init(&start, NULL, (unsigned)n_threads + 1);
    pthread_barrier_init(&end, NULL, (unsigned)n_threads + 1);
    for (size_t i = 0; i < n_threads; i++) {
        readers[i] = (reader){.start = &start,
                              .end = &end,
                              .part = buffer + i * part_bytes,
                              .n_bytes = part_bytes,
                              .is_over = &is_over};
        if (pthread_create(&threads[i], NULL, reader_main, &readers[i]) != 0) return 1;
    }
    const double stop = now_seconds() + seconds;
    while (n_passes < MAX_PASSES && (n_passes < 3 || now_seconds() < stop)) {
        pthread_barrier_wait(&start);
        pthread_barrier_wait(&end);
        rates[n_passes++] =
            (double)(part_bytes * n_threads) / pass_seconds(readers, n_threads) * 1e-9;
    }
    is_over = 1;
    pthread_barrier_wait(&start);
    for (size_t i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    qsort(rates, (size_t)n_passes, sizeof rates[0], by_size);
    printf("{\"threads\": %zu, \"best_gb_s\": %.2f, \"median_gb_s\": %.2f, \"passes\": %d}\n",
           n_threads, rates[n_passes - 1], rates[n_passes / 2], n_passes);
    free(buffer);
    return 0;
}
