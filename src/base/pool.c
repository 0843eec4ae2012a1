#define _GNU_SOURCE /* syscall */
#include "base/pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/failure.h"

enum {
    MAX_THREADS = 256,
    CACHE_LINE = 64,
    SPINS_BEFORE_SLEEP =
        20000,       /* about 100 us: longer than any gap between two regions of a step */
    LATE_NS = 60000, /* waiting this long ... */
    LATE_PIECES = 3, /* ... and this many pieces' time for a last piece: its core is taken */
    BUSY_SHARE = 4,  /* waited for a quarter of the time: somebody keeps the core busy */
    LONGEST_LEAVE_NS =
        80000000 /* a worker that keeps being late is left out at most so long at a time */
};

/* One worker's share of the region's chunks.  `next` only grows; at or beyond `end` it is empty. */
typedef struct {
    _Alignas(CACHE_LINE) atomic_int next;
    int32_t end;
} share;

typedef struct {
    _Alignas(CACHE_LINE) atomic_int is_inside; /* working on the current region */
    atomic_int is_left_out;                    /* of the current region */
    int64_t left_out_until_ns, leave_ns;       /* the caller's only */
    pthread_t thread;
    r2i_pool *pool;
    int32_t index;
} member;

struct r2i_pool {
    r2i_heap *heap;
    int32_t n_threads;
    share *shares;   /* [n_threads] */
    member *members; /* [n_threads], 0 is the caller */
    r2i_pool_work work;
    void *context;
    int32_t grain;
    void (*poll)(void *user); /* the caller's, or NULL */
    void *poll_user;
    /* Even: no region open.  Odd: open.  Workers sleep on this word. */
    _Alignas(CACHE_LINE) atomic_uint generation;
    atomic_int n_asleep;
    atomic_bool is_stopping;
};

static void pause_briefly(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(atomic_uint *word, unsigned expected) {
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake_all(atomic_uint *word) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Takes pieces of one share until it is empty; returns how many. */
static int32_t drain_share(r2i_pool *pool, share *s, int32_t worker) {
    const int32_t grain = pool->grain;
    for (int32_t n = 0;; n++) {
        if (atomic_load_explicit(&s->next, memory_order_relaxed) >= s->end) return n;
        const int32_t begin = atomic_fetch_add_explicit(&s->next, grain, memory_order_relaxed);
        if (begin >= s->end) return n;
        pool->work(pool->context, begin, r2i_min_i32(begin + grain, s->end), worker);
        if (worker == 0 && pool->poll != NULL) pool->poll(pool->poll_user);
    }
}

static int32_t drain_all(r2i_pool *pool, int32_t worker) {
    int32_t n = 0;
    for (int32_t i = 0; i < pool->n_threads; i++) {
        n += drain_share(pool, &pool->shares[(worker + i) % pool->n_threads], worker);
    }
    return n;
}

/* Waits for a generation other than `seen`, spinning first. */
static unsigned wait_for_change(r2i_pool *pool, unsigned seen) {
    for (int i = 0; i < SPINS_BEFORE_SLEEP; i++) {
        const unsigned now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen) return now;
        pause_briefly();
    }
    atomic_fetch_add(&pool->n_asleep, 1);
    unsigned now = atomic_load(&pool->generation);
    while (now == seen) {
        futex_wait(&pool->generation, seen);
        now = atomic_load(&pool->generation);
    }
    atomic_fetch_sub(&pool->n_asleep, 1);
    return now;
}

/* Announces itself, then looks whether the region is still open: the caller closes first and then
 * waits for those announced, so a worker is either seen by the caller or sees the region closed. */
static void *worker_main(void *argument) {
    member *self = argument;
    r2i_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_change(pool, seen);
        if (atomic_load_explicit(&pool->is_stopping, memory_order_relaxed)) return NULL;
        if ((seen & 1u) == 0) continue;
        atomic_store(&self->is_inside, 1);
        if (atomic_load(&pool->generation) == seen && atomic_load(&self->is_left_out) == 0) {
            (void)drain_all(pool, self->index);
        }
        atomic_store_explicit(&self->is_inside, 0, memory_order_release);
    }
}

static void stop_workers(r2i_pool *pool, int32_t n_started) {
    atomic_store(&pool->is_stopping, true);
    atomic_fetch_add(&pool->generation, 2);
    futex_wake_all(&pool->generation);
    for (int32_t i = 1; i < n_started; i++)
        pthread_join(pool->members[i].thread, NULL);
}

/* The pool and its two tables in one block, so that there is one thing to free. */
static size_t pool_bytes(int32_t n_threads) {
    return sizeof(r2i_pool) + (size_t)n_threads * (sizeof(share) + sizeof(member)) + 3 * CACHE_LINE;
}

static void *align_to_line(void *p) {
    return (void *)(((uintptr_t)p + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1));
}

r2_status r2i_pool_create(r2i_pool **out, int32_t n_threads, r2i_heap *heap, r2_error *err) {
    *out = NULL;
    if (n_threads < 1 || n_threads > MAX_THREADS) {
        return r2i_fail(err, R2_E_RANGE, "threads: expected 1 to %d, found %d", MAX_THREADS,
                        n_threads);
    }
    r2i_pool *pool = r2i_memory_map(heap, pool_bytes(n_threads));
    if (pool == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a thread pool");
    pool->heap = heap;
    pool->n_threads = n_threads;
    pool->shares = align_to_line(pool + 1);
    pool->members = align_to_line(pool->shares + n_threads);
    for (int32_t i = 1; i < n_threads; i++) {
        member *m = &pool->members[i];
        m->pool = pool;
        m->index = i;
        if (pthread_create(&m->thread, NULL, worker_main, m) != 0) {
            stop_workers(pool, i);
            r2i_memory_unmap(heap, pool, pool_bytes(n_threads));
            return r2i_fail(err, R2_E_IO, "cannot start thread %d of %d", i + 1, n_threads);
        }
    }
    *out = pool;
    return R2_OK;
}

void r2i_pool_destroy(r2i_pool *pool) {
    if (pool == NULL) return;
    stop_workers(pool, pool->n_threads);
    r2i_memory_unmap(pool->heap, pool, pool_bytes(pool->n_threads));
}

int32_t r2i_pool_threads(const r2i_pool *pool) {
    return pool->n_threads;
}

void r2i_pool_set_poll(r2i_pool *pool, void (*poll)(void *user), void *user) {
    pool->poll = poll;
    pool->poll_user = user;
}

/* Every worker has its share; what belongs to one that is left out is taken by the others.  Returns
 * how many take part besides the caller. */
static int32_t deal_shares(r2i_pool *pool, int32_t n_chunks, int64_t now_ns) {
    int32_t n_present = 0;
    for (int32_t i = 0; i < pool->n_threads; i++) {
        share *s = &pool->shares[i];
        atomic_store_explicit(&s->next, (int32_t)((int64_t)n_chunks * i / pool->n_threads),
                              memory_order_relaxed);
        s->end = (int32_t)((int64_t)n_chunks * (i + 1) / pool->n_threads);
        const bool is_left_out = i == 0 || pool->members[i].left_out_until_ns > now_ns;
        atomic_store_explicit(&pool->members[i].is_left_out, is_left_out, memory_order_relaxed);
        n_present += !is_left_out;
    }
    return n_present;
}

/* A worker is left out if waiting for it took a good part of the time since it was late last, or came
 * back: something keeps its core busy.  For twice the time it cost us, then for twice as long as
 * before, so that a core that another process keeps costs one wait in ten.  Late now and then, as
 * beside a thread that sends tokens to clients after each step, it costs that wait alone (32 chats
 * on two cores: 18 % more tokens than when it was left out each time). */
static void leave_out(member *m, int64_t now_ns, int64_t waited_ns) {
    const int64_t since_ns = now_ns - waited_ns - m->left_out_until_ns;
    const bool is_busy = waited_ns > since_ns / BUSY_SHARE;
    m->leave_ns = is_busy ? 2 * (m->leave_ns > waited_ns ? m->leave_ns : waited_ns) : 0;
    if (m->leave_ns > LONGEST_LEAVE_NS) m->leave_ns = LONGEST_LEAVE_NS;
    m->left_out_until_ns = now_ns + m->leave_ns;
}

/* Waits until the worker has left the region. */
static void wait_for_member(member *m, int64_t late_ns) {
    /* Sequentially consistent, as the worker's two accesses are: it may not pass the closing. */
    if (atomic_load(&m->is_inside) == 0) return;
    const int64_t start_ns = r2i_clock_ns();
    int64_t waited_ns = 0;
    while (atomic_load_explicit(&m->is_inside, memory_order_acquire) != 0) {
        for (int i = 0; i < 64; i++)
            pause_briefly();
        waited_ns = r2i_clock_ns() - start_ns;
    }
    if (waited_ns > late_ns) leave_out(m, start_ns + waited_ns, waited_ns);
}

void r2i_pool_run(r2i_pool *pool, int32_t n_chunks, int32_t grain, r2i_pool_work work,
                  void *context) {
    if (n_chunks <= 0) return;
    if (pool->poll != NULL) pool->poll(pool->poll_user);
    const bool is_small = pool->n_threads == 1 || n_chunks <= grain;
    const int64_t start_ns = is_small ? 0 : r2i_clock_ns();
    if (is_small || deal_shares(pool, n_chunks, start_ns) == 0) {
        work(context, 0, n_chunks, 0);
        return;
    }
    pool->work = work;
    pool->context = context;
    pool->grain = r2i_max_i32(grain, 1);
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->n_asleep) != 0) futex_wake_all(&pool->generation);
    const int32_t n_pieces = drain_all(pool, 0);
    atomic_fetch_add(&pool->generation, 1);
    const int64_t piece_ns = (r2i_clock_ns() - start_ns) / r2i_max_i32(n_pieces, 1);
    const int64_t late_ns = LATE_PIECES * piece_ns > LATE_NS ? LATE_PIECES * piece_ns : LATE_NS;
    for (int32_t i = 1; i < pool->n_threads; i++)
        wait_for_member(&pool->members[i], late_ns);
}
