#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include "train/ranks/rank_messages.h"

#include <dlfcn.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/failure.h"

enum {
    MOST_RANKS = 1 << 16,
    TESTS_BEFORE_SLEEP = 2000, /* some 200 us */
    SLEEP_NS = 50000,
    PATIENCE_S = 900 /* rank 0 writes a checkpoint meanwhile, another one is validating */
};

/* ---- joining and leaving ---- */

static r2_status fail_code(const r2i_ranks_plugin *plugin, int code, const char *what,
                           r2_error *err) {
    char text[160];
    plugin->describe(code, text, sizeof text);
    return r2i_fail(err, R2_E_IO, "%s: %s", what, text);
}

/* Joins by a plugin that is there.  As r2_ranks_open. */
static r2_status join_plugin(r2_ranks **out, const r2i_ranks_plugin *plugin, r2_error *err) {
    int32_t rank = 0, n = 0;
    r2i_heap heap;
    *out = NULL;
    if (plugin->version != R2I_RANKS_PLUGIN_VERSION)
        return r2i_fail(err, R2_E_MISMATCH, "plugin for MPI: expected version %d, found %d",
                        R2I_RANKS_PLUGIN_VERSION, plugin->version);
    const int code = plugin->join(&rank, &n);
    if (code != 0) return fail_code(plugin, code, "MPI cannot start", err);
    if (n < 1 || n > MOST_RANKS || rank < 0 || rank >= n)
        return r2i_fail(err, R2_E_IO, "MPI: expected 1 to %d ranks, found rank %d of %d",
                        MOST_RANKS, rank, n);
    r2i_heap_init(&heap);
    r2_ranks *ranks = r2i_heap_take(&heap, sizeof *ranks);
    const size_t n_bytes = 2 * (size_t)n * sizeof(r2i_message);
    r2i_message *messages = r2i_heap_take(&heap, n_bytes);
    if (ranks == NULL || messages == NULL) {
        if (messages != NULL) r2i_heap_give(&heap, messages, n_bytes);
        if (ranks != NULL) r2i_heap_give(&heap, ranks, sizeof *ranks);
        plugin->end(1); /* the others have come already and would wait */
        return r2i_fail(err, R2_E_NOMEM, "no memory to join %d ranks", n);
    }
    *ranks = (r2_ranks){ .rank = rank,
                         .n = n,
                         .plugin = plugin,
                         .patience_ns = (int64_t)PATIENCE_S * 1000000000,
                         .messages = messages };
    r2i_heap_init(&ranks->heap);
    *out = ranks;
    return R2_OK;
}

r2_status r2_ranks_open(r2_ranks **out, const char *plugin, r2_error *err) {
    r2i_ranks_plugin_entry entry = NULL;
    *out = NULL;
    /* Open MPI loads components of its own, which look for its symbols in the whole process. */
    void *library = dlopen(plugin, RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) return r2i_fail(err, R2_E_NOT_FOUND, "%.200s", dlerror());
    void *symbol = dlsym(library, R2I_RANKS_PLUGIN_ENTRY);
    memcpy(&entry, &symbol, sizeof entry);
    const r2_status status =
        entry != NULL ? join_plugin(out, entry(), err)
                      : r2i_fail(err, R2_E_MISMATCH, "%.150s: no plugin of r2lm", plugin);
    /* What MPI left behind may point into it, so a plugin that has started stays. */
    if (status == R2_E_MISMATCH) (void)dlclose(library);
    return status;
}

static void give_back(r2_ranks *ranks) {
    r2i_heap heap;
    r2i_heap_init(&heap);
    r2i_heap_give(&heap, ranks->messages, 2 * (size_t)ranks->n * sizeof *ranks->messages);
    r2i_heap_give(&heap, ranks, sizeof *ranks);
}

void r2_ranks_close(r2_ranks *ranks) {
    if (ranks == NULL) return;
    ranks->plugin->leave();
    give_back(ranks);
}

void r2_ranks_abort(r2_ranks *ranks, int code) {
    if (ranks == NULL) return;
    ranks->plugin->end(code);
    give_back(ranks);
}

int32_t r2_ranks_index(const r2_ranks *ranks) {
    return r2i_ranks_index(ranks);
}

int32_t r2_ranks_count(const r2_ranks *ranks) {
    return r2i_ranks_count(ranks);
}

int r2_ranks_is_lost(const r2_ranks *ranks) {
    return ranks != NULL && ranks->failure.code != R2_OK;
}

r2_status r2i_ranks_check(const r2_ranks *ranks, r2_error *err) {
    if (!r2_ranks_is_lost(ranks)) return R2_OK;
    if (err != NULL) *err = ranks->failure;
    return ranks->failure.code;
}

/* ---- messages ---- */

static void lose(r2_ranks *ranks, int code, int32_t peer) {
    char what[64];
    if (ranks->failure.code != R2_OK) return;
    (void)snprintf(what, sizeof what, "rank %d: messages with rank %d", ranks->rank, peer);
    (void)fail_code(ranks->plugin, code, what, &ranks->failure);
}

void r2i_ranks_send(r2_ranks *ranks, r2i_message *message, int32_t to, int32_t tag,
                    const void *bytes, size_t n_bytes) {
    R2I_ASSERT(n_bytes <= R2I_MOST_MESSAGE_BYTES && to != ranks->rank);
    *message = (r2i_message){ .peer = to, .n_bytes = n_bytes };
    if (r2_ranks_is_lost(ranks)) return;
    const int code = ranks->plugin->send(&message->request, to, tag, bytes, n_bytes);
    if (code != 0) lose(ranks, code, to);
}

void r2i_ranks_receive(r2_ranks *ranks, r2i_message *message, int32_t from, int32_t tag,
                       void *bytes, size_t n_bytes) {
    R2I_ASSERT(n_bytes <= R2I_MOST_MESSAGE_BYTES && from != ranks->rank);
    *message = (r2i_message){ .peer = from, .is_receive = true, .n_bytes = n_bytes };
    if (r2_ranks_is_lost(ranks)) return;
    const int code = ranks->plugin->receive(&message->request, from, tag, bytes, n_bytes);
    if (code != 0) lose(ranks, code, from);
}

bool r2i_ranks_test(r2_ranks *ranks, r2i_message *message) {
    size_t n_bytes = 0;
    int is_done = 0;
    if (message->is_done || r2_ranks_is_lost(ranks)) return true;
    const int code = ranks->plugin->test(&message->request, &is_done, &n_bytes);
    if (code != 0) lose(ranks, code, message->peer);
    if (code != 0 || !is_done) return code != 0;
    message->is_done = true;
    if (message->is_receive && n_bytes != message->n_bytes)
        (void)r2i_fail(&ranks->failure, R2_E_IO,
                       "rank %d: expected %zu bytes of rank %d, found %zu", ranks->rank,
                       message->n_bytes, message->peer, n_bytes);
    return true;
}

static void wait_for(r2_ranks *ranks, r2i_message *message) {
    const struct timespec moment = { .tv_nsec = SLEEP_NS };
    const int64_t start_ns = r2i_clock_ns();
    for (int64_t i = 0; !r2i_ranks_test(ranks, message); i++) {
        if (i < TESTS_BEFORE_SLEEP) {
            (void)sched_yield(); /* there may be more ranks than cores */
            continue;
        }
        (void)nanosleep(&moment, NULL);
        if (r2i_clock_ns() - start_ns > ranks->patience_ns)
            (void)r2i_fail(&ranks->failure, R2_E_IO,
                           "rank %d has heard nothing of rank %d for %d s", ranks->rank,
                           message->peer, (int)(ranks->patience_ns / 1000000000));
    }
}

void r2i_ranks_wait(r2_ranks *ranks, r2i_message *messages, int32_t n) {
    for (int32_t i = 0; i < n; i++)
        wait_for(ranks, &messages[i]);
}

/* ---- small things that all ranks tell each other ---- */

void r2i_ranks_gather(r2_ranks *ranks, const void *own, size_t n_bytes, void *all) {
    int32_t n = 0;
    for (int32_t r = 0; r < ranks->n; r++) {
        uint8_t *place = (uint8_t *)all + (size_t)r * n_bytes;
        if (r == ranks->rank)
            memmove(place, own, n_bytes);
        else
            r2i_ranks_receive(ranks, &ranks->messages[n++], r, R2I_TAG_GATHER, place, n_bytes);
    }
    for (int32_t r = 0; r < ranks->n; r++) {
        if (r != ranks->rank)
            r2i_ranks_send(ranks, &ranks->messages[n++], r, R2I_TAG_GATHER, own, n_bytes);
    }
    r2i_ranks_wait(ranks, ranks->messages, n);
}

double r2i_ranks_sum(r2_ranks *ranks, double own) {
    double sum = 0, *all;
    if (ranks == NULL) return own;
    const size_t n_bytes = (size_t)ranks->n * sizeof own;
    all = r2i_heap_take(&ranks->heap, n_bytes);
    if (all == NULL) {
        (void)r2i_fail(&ranks->failure, R2_E_NOMEM, "no memory for a number of %d ranks", ranks->n);
        return (double)NAN;
    }
    r2i_ranks_gather(ranks, &own, sizeof own, all);
    for (int32_t r = 0; r < ranks->n; r++)
        sum += all[r];
    r2i_heap_give(&ranks->heap, all, n_bytes);
    return r2_ranks_is_lost(ranks) ? (double)NAN : sum;
}

void r2i_ranks_sum_counts(r2_ranks *ranks, int64_t *counts, int32_t n, int64_t *all) {
    r2i_ranks_gather(ranks, counts, (size_t)n * sizeof *counts, all);
    if (r2_ranks_is_lost(ranks)) return;
    for (int32_t i = 0; i < n; i++) {
        counts[i] = 0;
        for (int32_t r = 0; r < ranks->n; r++)
            counts[i] += all[(size_t)r * (size_t)n + (size_t)i];
    }
}

/* What failed on all ranks alike, or on the first one, is told as if it were alone. */
static r2_status tell_first(const r2_ranks *ranks, const r2_error *all, r2_error *err) {
    int32_t first = 0;
    bool is_same = true;
    while (first < ranks->n && all[first].code == R2_OK)
        first++;
    if (first == ranks->n) return R2_OK;
    for (int32_t r = 0; r < ranks->n; r++)
        is_same &= strncmp(all[r].text, all[first].text, sizeof all[r].text) == 0;
    if (is_same || first == 0) return r2i_fail(err, all[first].code, "%.239s", all[first].text);
    return r2i_fail(err, all[first].code, "rank %d of %d: %.200s", first, ranks->n,
                    all[first].text);
}

r2_status r2_ranks_agree(r2_ranks *ranks, r2_status own, r2_error *err) {
    r2_error mine = { own, "" };
    if (r2i_ranks_count(ranks) == 1) return own;
    if (own != R2_OK && err != NULL) mine = *err;
    mine.code = own;
    if (own != R2_OK && mine.text[0] == '\0') (void)r2i_fail(&mine, own, "%s", r2_status_text(own));
    const size_t n_bytes = (size_t)ranks->n * sizeof mine;
    r2_error *all = r2i_heap_take(&ranks->heap, n_bytes);
    if (all == NULL) { /* the others learn of it by their waiting */
        (void)r2i_fail(&ranks->failure, R2_E_NOMEM, "no memory for %zu bytes", n_bytes);
        return r2i_ranks_check(ranks, err);
    }
    r2i_ranks_gather(ranks, &mine, sizeof mine, all);
    r2_status status = r2i_ranks_check(ranks, err);
    if (status == R2_OK) status = tell_first(ranks, all, err);
    r2i_heap_give(&ranks->heap, all, n_bytes);
    return status;
}
