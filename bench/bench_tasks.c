/* bench_tasks.c - how fast tasks are made.
 *
 *   bench_tasks
 *
 * Prints CSV: task, level, items, bytes, milliseconds of CPU time of the one thread, items/s, tokens/s at 4
 * bytes per token; best of several passes; then of all tasks in turn.  Bytes are those of prompt, trace and
 * reply. */
#define _GNU_SOURCE /* CLOCK_THREAD_CPUTIME_ID */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "r2lm/task.h"

enum { N_PASSES = 3, N_ITEMS = 500, BYTES_PER_TOKEN = 4 };

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

typedef struct {
    double bytes, ms;
} rate;

static void print_rate(const char *task, int32_t level, int32_t n, rate r) {
    printf("%s,%d,%d,%.0f,%.2f,%.0f,%.0f\n", task, level, n, r.bytes, r.ms, n / r.ms * 1e3,
           r.bytes / BYTES_PER_TOKEN / r.ms * 1e3);
}

static rate measure(r2_task_maker *maker, int32_t t, int32_t level) {
    static const char *const languages[] = { "en", "zh", "es", "fr", "de" };
    const char *names[5], *task = r2_task_name(t);
    uint64_t n_names = 0;
    for (int i = 0; i < 5; i++) {
        if (r2_task_has_language(t, languages[i], R2_SPLIT_TRAIN)) names[n_names++] = languages[i];
    }
    rate best = { 0, 1e30 };
    for (int pass = 0; pass < N_PASSES; pass++) {
        const double begin = now_ms();
        double bytes = 0;
        for (uint64_t i = 0; i < N_ITEMS; i++) {
            const r2_task_choice c = {
                .task = task, .level = level, .language = names[i % n_names], .seed = 1
            };
            r2_task_item item;
            if (r2_task_make(maker, &item, &c, i, NULL) != R2_OK) return (rate){ 0, 1e30 };
            bytes += (double)(strlen(item.prompt) + strlen(item.trace) + strlen(item.reply));
        }
        const double ms = now_ms() - begin;
        best = (rate){ bytes, ms < best.ms ? ms : best.ms };
    }
    return best;
}

int main(void) {
    r2_task_maker *maker;
    rate all = { 0, 0 };
    int32_t n_all = 0;
    if (r2_task_maker_create(&maker, NULL, NULL) != R2_OK) return 1;
    printf("task,level,items,bytes,ms,items_per_s,tokens_per_s\n");
    for (int32_t t = 0; t < r2_task_count(); t++) {
        for (int32_t level = 1; level <= r2_task_levels(t); level++) {
            const rate r = measure(maker, t, level);
            print_rate(r2_task_name(t), level, N_ITEMS, r);
            all.bytes += r.bytes;
            all.ms += r.ms;
            n_all += N_ITEMS;
        }
    }
    print_rate("all", 0, n_all, all);
    r2_task_maker_destroy(maker);
    return 0;
}
