#include "train/data/data_stream.h"

#include <pthread.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/random.h"
#include "train/data/training_tokens.h"

enum { CHOICE_STREAM = 1, ORDER_STREAM = 16, N_ROUNDS = 4 };

typedef struct {
    r2i_batch_data data;
    int32_t *tokens, *targets, *run_begins;
    bool is_full;
} slot;

struct r2i_data_stream {
    r2i_heap *heap;
    r2i_data_source sources[R2I_MAX_SOURCES];
    r2i_data_parts parts[R2I_MAX_SOURCES]; /* [n_sources] */
    r2i_data_stream_options options;
    r2i_data_place place; /* of the thread */
    void *memory;
    size_t memory_bytes;
    slot *slots; /* [n_slots] one after the other, round and round */
    size_t n_slots;
    size_t next; /* slot given out next */
    size_t n_given;
    bool is_over;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

/* ---- which part comes next ---- */

/* A permutation of [0, n) that is a function of its key: Feistel rounds over the smallest square of a
 * power of two above n, walked until the result is inside (Black and Rogaway, "Ciphers with arbitrary
 * finite domains", CT-RSA 2002). */
static uint64_t permute(uint64_t i, uint64_t n, uint64_t seed, uint64_t stream) {
    uint32_t half_bits = 1;
    while (half_bits < 31 && (uint64_t)1 << 2 * half_bits < n)
        half_bits++;
    const uint64_t mask = ((uint64_t)1 << half_bits) - 1;
    do {
        uint64_t left = i >> half_bits, right = i & mask;
        for (uint64_t round = 0; round < N_ROUNDS; round++) {
            const uint64_t next =
                left ^ (r2i_random_u64(seed, stream, right * N_ROUNDS + round) & mask);
            left = right;
            right = next;
        }
        i = left << half_bits | right;
    } while (i >= n);
    return i;
}

/* A source without parts (each document is one token) has no share; nor has, once, one whose parts were
 * all taken. */
static double weight_of(const r2i_data_stream *st, int32_t i) {
    const uint64_t n = st->parts[i].n;
    const bool is_done = n == 0 || (st->options.is_once && (uint64_t)st->place.at[i] >= n);
    return is_done ? 0 : st->sources[i].weight;
}

/* The source of the next part; -1: all are done. */
static int32_t choose_source(const r2i_data_stream *st) {
    double sum = 0;
    int32_t last = -1;
    for (int32_t i = 0; i < st->options.n_sources; i++)
        sum += weight_of(st, i);
    double at = sum * r2i_random_unit(st->options.seed, CHOICE_STREAM, (uint64_t)st->place.n_drawn);
    for (int32_t i = 0; i < st->options.n_sources; i++) {
        const double weight = weight_of(st, i);
        if (weight > 0) last = i;
        if (weight > 0 && at < weight) return i;
        at -= weight;
    }
    return last;
}

static const uint32_t *part_under_way(const r2i_data_stream *st, size_t *n, bool *has_next) {
    const int32_t i = st->place.source;
    const uint64_t n_all = st->parts[i].n, taken = (uint64_t)st->place.at[i];
    const uint64_t stream = ORDER_STREAM + (uint64_t)i + R2I_MAX_SOURCES * (taken / n_all);
    const uint64_t which = permute(taken % n_all, n_all, st->options.seed, stream);
    return r2i_data_part(&st->parts[i], which, n, has_next);
}

/* ---- filling a batch ---- */

static void begin_part(r2i_data_stream *st) {
    st->place.source = choose_source(st);
    st->place.offset = 0;
    st->place.n_drawn++;
}

static void end_part(r2i_data_stream *st) {
    st->place.at[st->place.source]++;
    st->place.source = -1;
}

static void add_run(slot *b, const uint32_t *tokens, size_t n, bool has_next) {
    r2i_batch_data *d = &b->data;
    const int32_t begin = d->n_tokens;
    for (size_t i = 0; i < n; i++) {
        const bool is_last = i + 1 == n && !has_next;
        const uint32_t next = is_last ? R2I_NO_TARGET : tokens[i + 1];
        b->tokens[begin + (int32_t)i] = (int32_t)(tokens[i] & ~R2I_NO_TARGET);
        b->targets[begin + (int32_t)i] = (next & R2I_NO_TARGET) != 0 ? -1 : (int32_t)next;
        d->n_targets += (next & R2I_NO_TARGET) == 0;
    }
    d->n_tokens += (int32_t)n;
    b->run_begins[++d->n_runs] = d->n_tokens;
}

/* Takes the part under way, or what of it fits; false: it waits for the next batch. */
static bool take_part(r2i_data_stream *st, slot *b) {
    size_t n;
    bool has_next;
    const uint32_t *tokens = part_under_way(st, &n, &has_next);
    const bool is_whole = st->sources[st->place.source].set->manifest.has_chats;
    const size_t room = (size_t)(st->options.batch_tokens - b->data.n_tokens),
                 offset = r2i_min_size((size_t)st->place.offset, n),
                 n_left = r2i_min_size(n - offset, (size_t)st->options.run_tokens);
    if (n_left > room && is_whole) return false;
    const size_t n_run = r2i_min_size(n_left, room), end = offset + n_run;
    if (n_run > 0) add_run(b, tokens + offset, n_run, end < n || has_next);
    st->place.offset = (int64_t)end;
    /* Nor is a last token worth a run. */
    if (is_whole || (has_next ? end : end + 1) >= n) end_part(st);
    return true;
}

static void fill(r2i_data_stream *st, slot *b) {
    b->data =
        (r2i_batch_data){ .tokens = b->tokens, .targets = b->targets, .run_begins = b->run_begins };
    b->run_begins[0] = 0;
    while (b->data.n_tokens < st->options.batch_tokens) {
        if (st->place.source < 0) begin_part(st);
        if (st->place.source < 0 || !take_part(st, b)) break;
    }
    b->data.after = st->place;
}

/* ---- the thread ---- */

static void *prepare_batches(void *argument) {
    r2i_data_stream *st = argument;
    (void)pthread_mutex_lock(&st->lock);
    for (size_t i = 0; !st->is_over; i = (i + 1) % st->n_slots) {
        slot *b = &st->slots[i];
        while (b->is_full && !st->is_over)
            (void)pthread_cond_wait(&st->changed, &st->lock);
        if (st->is_over) break;
        (void)pthread_mutex_unlock(&st->lock);
        fill(st, b);
        (void)pthread_mutex_lock(&st->lock);
        b->is_full = true;
        (void)pthread_cond_broadcast(&st->changed);
    }
    (void)pthread_mutex_unlock(&st->lock);
    return NULL;
}

const r2i_batch_data *r2i_data_stream_next(r2i_data_stream *st) {
    (void)pthread_mutex_lock(&st->lock);
    if (st->n_given == st->n_slots / 2) { /* the oldest one makes room */
        st->slots[(st->next + st->n_slots - st->n_given) % st->n_slots].is_full = false;
        st->n_given--;
        (void)pthread_cond_broadcast(&st->changed);
    }
    slot *b = &st->slots[st->next];
    st->next = (st->next + 1) % st->n_slots;
    st->n_given++;
    while (!b->is_full)
        (void)pthread_cond_wait(&st->changed, &st->lock);
    (void)pthread_mutex_unlock(&st->lock);
    return &b->data;
}

/* ---- opening ---- */

static r2_status check(const r2i_data_stream_options *o, const r2i_data_place *place,
                       r2_error *err) {
    if (o->n_sources < 1 || o->n_sources > R2I_MAX_SOURCES)
        return r2i_fail(err, R2_E_ARGUMENT, "data: expected 1 to %d sources, found %d",
                        R2I_MAX_SOURCES, o->n_sources);
    if (o->run_tokens < 2 || o->batch_tokens < o->run_tokens)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "data: expected runs of at least 2 tokens in batches of at least one run, "
                        "found %d and %d",
                        o->run_tokens, o->batch_tokens);
    for (int32_t i = 0; i < o->n_sources; i++) {
        if (o->sources[i].set->n_documents[o->sources[i].split] == 0)
            return r2i_fail(err, R2_E_ARGUMENT,
                            "data: source %d: expected %s documents, found none", i + 1,
                            r2i_split_names[o->sources[i].split]);
        if (!(o->sources[i].weight > 0 && o->sources[i].weight < 1e9))
            return r2i_fail(err, R2_E_ARGUMENT,
                            "data: source %d: expected a weight above 0, found %g", i + 1,
                            o->sources[i].weight);
    }
    if (place == NULL) return R2_OK;
    bool is_good = place->source >= -1 && place->source < o->n_sources && place->offset >= 0 &&
                   place->n_drawn >= 0;
    for (int32_t i = 0; i < o->n_sources; i++)
        is_good &= place->at[i] >= 0;
    return is_good ? R2_OK
                   : r2i_fail(err, R2_E_ARGUMENT, "data: expected a place of these sources");
}

/* Those that are held, and as many that are being prepared. */
static size_t slots_of(int32_t n_held) {
    return 2 * (size_t)(n_held > 0 ? n_held : 1);
}

static size_t slot_numbers(int32_t batch_tokens) {
    return 3 * (size_t)batch_tokens + 1;
}

int64_t r2i_data_stream_bytes(int32_t batch_tokens, int32_t n_held) {
    const size_t one = sizeof(slot) + slot_numbers(batch_tokens) * sizeof(int32_t);
    return (int64_t)(slots_of(n_held) * one);
}

static r2_status take_memory(r2i_data_stream *st, r2_error *err) {
    const size_t n = (size_t)st->options.batch_tokens,
                 n_slot = slot_numbers(st->options.batch_tokens);
    st->n_slots = slots_of(st->options.n_held);
    const size_t list_bytes = st->n_slots * sizeof *st->slots;
    st->memory_bytes = (size_t)r2i_data_stream_bytes(st->options.batch_tokens, st->options.n_held);
    st->slots = st->memory = r2i_heap_take(st->heap, st->memory_bytes);
    if (st->memory == NULL)
        return r2i_fail(err, R2_E_NOMEM, "no memory for %zu batches of %zu tokens", st->n_slots, n);
    memset(st->slots, 0, list_bytes);
    int32_t *next = (int32_t *)(st->slots + st->n_slots);
    for (size_t i = 0; i < st->n_slots; i++, next += n_slot) {
        st->slots[i].tokens = next;
        st->slots[i].targets = next + n;
        st->slots[i].run_begins = next + 2 * n;
    }
    return R2_OK;
}

static r2_status open_parts(r2i_data_stream *st, r2_error *err) {
    for (int32_t i = 0; i < st->options.n_sources; i++)
        R2I_TRY(r2i_data_parts_open(&st->parts[i], st->sources[i].set, st->sources[i].split,
                                    st->options.run_tokens, st->heap, err));
    return R2_OK;
}

static void give_back(r2i_data_stream *st) {
    for (int32_t i = 0; i < st->options.n_sources; i++)
        r2i_data_parts_close(&st->parts[i]);
    (void)pthread_mutex_destroy(&st->lock);
    (void)pthread_cond_destroy(&st->changed);
    if (st->memory != NULL) r2i_heap_give(st->heap, st->memory, st->memory_bytes);
    r2i_heap_give(st->heap, st, sizeof *st);
}

r2_status r2i_data_stream_open(r2i_data_stream **out, const r2i_data_stream_options *options,
                               const r2i_data_place *place, r2i_heap *heap, r2_error *err) {
    *out = NULL;
    R2I_TRY(check(options, place, err));
    r2i_data_stream *st = r2i_heap_take(heap, sizeof *st);
    if (st == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a stream of data");
    memset(st, 0, sizeof *st);
    st->heap = heap;
    st->options = *options;
    memcpy(st->sources, options->sources, (size_t)options->n_sources * sizeof *st->sources);
    st->options.sources = st->sources;
    st->place.source = -1;
    if (place != NULL) st->place = *place;
    (void)pthread_mutex_init(&st->lock, NULL);
    (void)pthread_cond_init(&st->changed, NULL);
    r2_status status = take_memory(st, err);
    if (status == R2_OK) status = open_parts(st, err);
    if (status == R2_OK && pthread_create(&st->thread, NULL, prepare_batches, st) != 0)
        status = r2i_fail(err, R2_E_IO, "cannot start a thread for data");
    if (status != R2_OK) {
        give_back(st);
        return status;
    }
    *out = st;
    return R2_OK;
}

void r2i_data_stream_close(r2i_data_stream *st) {
    if (st == NULL) return;
    (void)pthread_mutex_lock(&st->lock);
    st->is_over = true;
    (void)pthread_cond_broadcast(&st->changed);
    (void)pthread_mutex_unlock(&st->lock);
    (void)pthread_join(st->thread, NULL);
    give_back(st);
}
