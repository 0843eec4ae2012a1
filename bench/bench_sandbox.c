/* bench_sandbox.c - what a sandbox costs: the time from asking for a program until it has run.
 *
 *     bench_sandbox [THREADS [RUNS]]
 *
 * /bin/true and a short Python program, in both cages, RUNS times one after the other and by THREADS threads at
 * once.  Prints CSV: milliseconds per run (median, 95 of 100) alone, runs per second together. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "r2lm/sandbox.h"

enum { MAX_THREADS = 64, MAX_RUNS = 10000 };

typedef struct {
    const char *const *arguments;
    bool uses_landlock;
    int n_runs;
    double *ms; /* [n_runs]; may be NULL */
    int n_failed;
} worker;

static void *run_all(void *argument) {
    worker *w = argument;
    for (int i = 0; i < w->n_runs; i++) {
        r2_sandbox_result result;
        r2_error err;
        const r2_sandbox_options options = { .arguments = w->arguments,
                                             .uses_landlock = w->uses_landlock };
        const int64_t start = r2i_clock_ns();
        const r2_status status = r2_sandbox_run(&result, &options, &err);
        if (w->ms != NULL) w->ms[i] = 1e-6 * (double)(r2i_clock_ns() - start);
        if (status != R2_OK) fprintf(stderr, "bench_sandbox: %s\n", err.text);
        w->n_failed += status != R2_OK || result.end != R2_ENDED_EXIT || result.exit_code != 0;
        r2_sandbox_free(&result, NULL);
    }
    return NULL;
}

static int by_time(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double runs_per_second(worker like, int n_threads) {
    pthread_t threads[MAX_THREADS];
    worker workers[MAX_THREADS];
    const int64_t start = r2i_clock_ns();
    for (int i = 0; i < n_threads; i++) {
        workers[i] = like;
        if (pthread_create(&threads[i], NULL, run_all, &workers[i]) != 0) exit(1);
    }
    for (int i = 0; i < n_threads; i++)
        (void)pthread_join(threads[i], NULL);
    return 1e9 * n_threads * like.n_runs / (double)(r2i_clock_ns() - start);
}

static void measure(const char *name, const char *const *arguments, bool uses_landlock,
                    int n_threads, int n_runs) {
    static double ms[MAX_RUNS];
    worker alone = { arguments, uses_landlock, n_runs, ms, 0 };
    worker few = { arguments, uses_landlock, n_runs, NULL, 0 };
    run_all(&alone);
    qsort(ms, (size_t)n_runs, sizeof *ms, by_time);
    printf("%s,%s,%.2f,%.2f,%.0f,%d\n", name, uses_landlock ? "Landlock" : "namespaces",
           ms[n_runs / 2], ms[n_runs * 95 / 100], runs_per_second(few, n_threads), alone.n_failed);
}

int main(int argc, char **argv) {
    const int n_threads = argc > 1 ? atoi(argv[1]) : 2, n_runs = argc > 2 ? atoi(argv[2]) : 100;
    static const char *const nothing[] = { "true", NULL };
    static const char *const python[] = { "python3", "-I", "-S", "-c", "assert 1 + 1 == 2", NULL };
    if (n_threads < 1 || n_threads > MAX_THREADS || n_runs < 1 || n_runs > MAX_RUNS) return 2;
    printf("program,cage,median_ms,p95_ms,runs_s,failed\n");
    for (int fenced = 0; fenced < 2; fenced++) {
        measure("true", nothing, fenced != 0, n_threads, n_runs);
        measure("python3", python, fenced != 0, n_threads, n_runs);
    }
    return 0;
}
