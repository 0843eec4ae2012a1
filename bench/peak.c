/* peak.c - how many operations a second can this machine do?  The limit of prefill.
 *
 *   peak [THREADS [SECONDS]]      prints int8 GOPS and BF16 and F32 GFLOPS as JSON
 *
 * Every thread runs independent multiply-add chains from registers, with the best instructions that the
 * processor has: AMX tiles, AVX-512 (VNNI, BF16), AVX2; elsewhere compiler vectors for F32 alone.  A
 * multiply and an add count as two operations.  The best of several slices is printed. */
#define _DEFAULT_SOURCE /* clock_gettime, syscall */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { ROUNDS = 4096, N_SLICES = 12, MAX_THREADS = 256 };

/* One burst; returns the operations it did.  `sink` keeps the result alive. */
typedef double (*burst)(volatile float *sink);

typedef struct {
    burst run;
    double seconds; /* of one slice */
    double rate;    /* best operations per second */
} worker;

/* Chains are spelled out: an array of vector registers indexed by a loop may end up in memory. */
#define EACH_CHAIN(DO)                                                                             \
    DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

enum { N_SPELLED = 12 };

#if defined(__x86_64__)
#define CHAINS(NAME, TYPE, TARGET, ZERO, STEP, SUM, OPS)                                       \
    __attribute__((target(TARGET))) static double NAME(volatile float *sink) {                     \
        EACH_CHAIN(ZERO)                                                                           \
        for (int i = 0; i < ROUNDS; i++) {                                                         \
            EACH_CHAIN(STEP)                                                                       \
        }                                                                                          \
        TYPE all = c0;                                                                             \
        EACH_CHAIN(SUM)                                                                            \
        float first;                                                                               \
        memcpy(&first, &all, sizeof first);                                                        \
        *sink = first;                                                                             \
        return (double)(OPS) * N_SPELLED * ROUNDS;                                                 \
    }

#define ZERO_I512(n) __m512i c##n = _mm512_set1_epi32(n);
#define STEP_I512(n) c##n = _mm512_dpbusd_epi32(c##n, c##n, c##n);
#define SUM_I512(n) all = _mm512_xor_si512(all, c##n);
CHAINS(int8_avx512, __m512i, "avx512f,avx512vnni", ZERO_I512, STEP_I512, SUM_I512, 128)

#define ZERO_F512(n) __m512 c##n = _mm512_set1_ps((float)n * 1e-3f);
#define STEP_F512(n) c##n = _mm512_fmadd_ps(c##n, c##n, c##n);
#define SUM_F512(n) all = _mm512_add_ps(all, c##n);
CHAINS(f32_avx512, __m512, "avx512f", ZERO_F512, STEP_F512, SUM_F512, 32)

#define STEP_B512(n) c##n = _mm512_dpbf16_ps(c##n, (__m512bh)one, (__m512bh)one);
#define ZERO_B512(n)                                                                               \
    __m512 c##n = _mm512_set1_ps((float)n * 1e-3f);                                                \
    if (n == 0) one = _mm512_set1_epi32(*sink > 0 ? 0x3f803f80 : 0x3f813f81);
__attribute__((target("avx512f,avx512bf16"))) static double bf16_avx512(volatile float *sink) {
    __m512i one = _mm512_setzero_si512();
    EACH_CHAIN(ZERO_B512)
    for (int i = 0; i < ROUNDS; i++) {
        EACH_CHAIN(STEP_B512)
    }
    __m512 all = c0;
    EACH_CHAIN(SUM_F512)
    *sink = _mm512_reduce_add_ps(all);
    return 64.0 * N_SPELLED * ROUNDS;
}

#define ZERO_I256(n) __m256i c##n = _mm256_set1_epi32(n);
#define STEP_I256(n)                                                                               \
    c##n = _mm256_add_epi32(c##n, _mm256_madd_epi16(_mm256_maddubs_epi16(c##n, c##n), ones));
#define SUM_I256(n) all = _mm256_xor_si256(all, c##n);
__attribute__((target("avx2"))) static double int8_avx2(volatile float *sink) {
    const __m256i ones = _mm256_set1_epi16(1);
    EACH_CHAIN(ZERO_I256)
    for (int i = 0; i < ROUNDS; i++) {
        EACH_CHAIN(STEP_I256)
    }
    __m256i all = c0;
    EACH_CHAIN(SUM_I256)
    *sink = (float)_mm256_extract_epi32(all, 0);
    return 64.0 * N_SPELLED * ROUNDS;
}

#define ZERO_F256(n) __m256 c##n = _mm256_set1_ps((float)n * 1e-3f);
#define STEP_F256(n) c##n = _mm256_fmadd_ps(c##n, c##n, c##n);
#define SUM_F256(n) all = _mm256_add_ps(all, c##n);
CHAINS(f32_avx2, __m256, "avx2,fma", ZERO_F256, STEP_F256, SUM_F256, 16)

/* Tiles 0-3 accumulate products of 4-5 with 6-7: 16 x 16 outputs, 64 bytes of K each. */
__attribute__((target("amx-tile,amx-int8,amx-bf16"))) static double tiles(volatile float *sink,
                                                                          int is_bf16) {
    struct {
        uint8_t palette, start_row, zero[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) shape = {.palette = 1};
    uint8_t out[1024] __attribute__((aligned(64)));
    for (int i = 0; i < 8; i++) {
        shape.row_bytes[i] = 64;
        shape.rows[i] = 16;
    }
    _tile_loadconfig(&shape);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int i = 0; i < ROUNDS / 4; i++) {
        if (is_bf16) {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        } else {
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
    }
    _tile_stored(0, out, 64);
    _tile_release();
    *sink = (float)out[0];
    return (is_bf16 ? 16.0 * 16 * 32 * 2 : 16.0 * 16 * 64 * 2) * ROUNDS;
}

static double int8_amx(volatile float *sink) {
    return tiles(sink, 0);
}

static double bf16_amx(volatile float *sink) {
    return tiles(sink, 1);
}

static int has_amx(void) {
#if defined(__linux__)
    unsigned eax = 7, ebx, ecx = 0, edx;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    (void)ebx;
    if (!(edx >> 24 & 1)) return 0;
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
#else
    return 0;
#endif
}

static void pick(burst *int8, burst *bf16, burst *f32) {
    if (__builtin_cpu_supports("avx2")) *int8 = int8_avx2;
    if (__builtin_cpu_supports("fma")) *f32 = f32_avx2;
    if (__builtin_cpu_supports("avx512f")) *f32 = f32_avx512;
    if (__builtin_cpu_supports("avx512vnni")) *int8 = int8_avx512;
    if (__builtin_cpu_supports("avx512bf16")) *bf16 = bf16_avx512;
    if (has_amx()) {
        *int8 = int8_amx;
        *bf16 = bf16_amx;
    }
}
#else
typedef float vec4 __attribute__((vector_size(16)));

static double f32_plain(volatile float *sink) {
#define ZERO_PLAIN(n) vec4 c##n = {(float)n, 1, 2, 3};
#define STEP_PLAIN(n) c##n = c##n * c##n + c##n;
#define SUM_PLAIN(n) all += c##n;
    EACH_CHAIN(ZERO_PLAIN)
    for (int i = 0; i < ROUNDS; i++) {
        EACH_CHAIN(STEP_PLAIN)
    }
    vec4 all = c0;
    EACH_CHAIN(SUM_PLAIN)
    *sink = all[0];
    return 8.0 * N_SPELLED * ROUNDS;
}

static void pick(burst *int8, burst *bf16, burst *f32) {
    (void)int8;
    (void)bf16;
    *f32 = f32_plain;
}
#endif

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *worker_main(void *argument) {
    worker *w = argument;
    volatile float sink = 0;
    for (int slice = 0; slice < N_SLICES; slice++) {
        const double begin = now_seconds();
        double n_ops = 0, end = begin;
        while (end < begin + w->seconds) {
            n_ops += w->run(&sink);
            end = now_seconds();
        }
        if (n_ops / (end - begin) > w->rate) w->rate = n_ops / (end - begin);
    }
    return NULL;
}

/* 10^9 operations a second of all threads together; 0 where there is no such instruction. */
static double measured(burst run, size_t n_threads, double seconds) {
    static pthread_t threads[MAX_THREADS];
    static worker workers[MAX_THREADS];
    double sum = 0;
    if (run == NULL) return 0;
    for (size_t i = 0; i < n_threads; i++) {
        workers[i] = (worker){.run = run, .seconds = seconds / N_SLICES};
        if (pthread_create(&threads[i], NULL, worker_main, &workers[i]) != 0) exit(1);
    }
    for (size_t i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        sum += workers[i].rate;
    }
    return sum * 1e-9;
}

int main(int argc, char **argv) {
    const long asked = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.4;
    burst int8 = NULL, bf16 = NULL, f32 = NULL;
    if (asked < 1 || asked > MAX_THREADS) {
        fprintf(stderr, "usage: peak [THREADS [SECONDS]]\n");
        return 2;
    }
    pick(&int8, &bf16, &f32);
    const size_t n = (size_t)asked;
    printf("{\"threads\": %zu, \"int8_gops\": %.0f, \"bf16_gflops\": %.0f, \"f32_gflops\": %.0f}\n", n,
           measured(int8, n, seconds), measured(bf16, n, seconds), measured(f32, n, seconds));
    return 0;
}
