#include "train/ranks/gradient_exchange.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum { PIECE = 16384 /* floats that are added together */ };

r2_status r2i_exchange_create(r2i_exchange *out, r2_ranks *ranks, const r2i_parameters *parameters,
                              const r2i_partition *partition, r2i_pool *pool, r2i_arena *arena,
                              r2_error *err) {
    r2i_taker t = { arena, false };
    const size_t n_spans = (size_t)partition->n_spans, n_ranks = (size_t)partition->n_ranks;
    *out = (r2i_exchange){
        .ranks = ranks, .parameters = parameters, .partition = partition, .pool = pool
    };
    out->place = r2i_take(&t, n_spans, sizeof *out->place);
    out->messages = r2i_take(&t, n_spans * n_ranks, sizeof *out->messages);
    out->has_left = r2i_take(&t, (size_t)partition->n_buckets, sizeof *out->has_left);
    for (size_t i = 0; !t.has_failed && i < n_spans; i++) {
        if (partition->spans[i].owner != partition->rank) continue;
        out->place[i] = out->n_own;
        out->n_own += partition->spans[i].n;
    }
    out->received = r2i_take(&t, (n_ranks - 1) * out->n_own, sizeof *out->received);
    if (!t.has_failed) return R2_OK;
    return r2i_fail(err, R2_E_NOMEM, "no memory for the gradients of %d other ranks",
                    partition->n_ranks - 1);
}

static bool is_own(const r2i_exchange *x, int32_t span) {
    return x->partition->spans[span].owner == x->partition->rank;
}

static r2i_message *next_message(r2i_exchange *x) {
    return &x->messages[x->n_messages++];
}

/* Where rank r's gradients of an own span arrive. */
static float *received_from(const r2i_exchange *x, int32_t r, int32_t span) {
    const size_t row = (size_t)(r < x->partition->rank ? r : r - 1);
    return x->received + row * x->n_own + x->place[span];
}

void r2i_exchange_begin(r2i_exchange *x) {
    const r2i_partition *p = x->partition;
    if (x->is_open) return;
    x->is_open = true;
    x->n_messages = x->n_done = 0;
    memset(x->has_left, 0, (size_t)p->n_buckets * sizeof *x->has_left);
    /* In the order in which they will come: from the last bucket down. */
    for (int32_t i = p->n_spans - 1; i >= 0; i--) {
        for (int32_t r = 0; is_own(x, i) && r < p->n_ranks; r++) {
            if (r != p->rank)
                r2i_ranks_receive(x->ranks, next_message(x), r, R2I_TAG_NUMBERED + i,
                                  received_from(x, r, i), p->spans[i].n * sizeof(float));
        }
    }
}

void r2i_exchange_bucket(r2i_exchange *x, int32_t bucket) {
    const r2i_partition *p = x->partition;
    if (!x->is_open || x->has_left[bucket]) return;
    x->has_left[bucket] = true;
    for (int32_t i = p->first_span[bucket + 1] - 1; i >= p->first_span[bucket]; i--) {
        const r2i_span *span = &p->spans[i];
        if (is_own(x, i)) continue;
        r2i_ranks_send(x->ranks, next_message(x), span->owner, R2I_TAG_NUMBERED + i,
                       x->parameters->gradients + span->first, span->n * sizeof(float));
    }
    r2i_exchange_poll(x);
}

void r2i_exchange_poll(void *exchange) {
    r2i_exchange *x = exchange;
    while (x->n_done < x->n_messages && r2i_ranks_test(x->ranks, &x->messages[x->n_done]))
        x->n_done++;
}

static void finish_messages(r2i_exchange *x) {
    r2i_ranks_wait(x->ranks, x->messages, x->n_messages);
    x->n_messages = x->n_done = 0;
}

static void send_rest(r2i_exchange *x) {
    r2i_exchange_begin(x);
    for (int32_t bucket = x->partition->n_buckets - 1; bucket >= 0; bucket--)
        r2i_exchange_bucket(x, bucket);
}

/* ---- sums ---- */

typedef struct {
    const r2i_exchange *x;
    int32_t span;
} span_region;

/* out = of rank 0 + of rank 1 + ..., where `out` itself is that of this rank. */
static void add_piece(const r2i_exchange *x, int32_t span, float *out, size_t first, size_t n) {
    float sum[PIECE];
    for (int32_t r = 0; r < x->partition->n_ranks; r++) {
        const float *g = r == x->partition->rank ? out : received_from(x, r, span) + first;
        if (r == 0) {
            memcpy(sum, g, n * sizeof *sum);
            continue;
        }
        for (size_t i = 0; i < n; i++)
            sum[i] += g[i];
    }
    memcpy(out, sum, n * sizeof *sum);
}

static void add_pieces(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const span_region *region = argument;
    const r2i_span *span = &region->x->partition->spans[region->span];
    (void)worker;
    for (int32_t piece = begin; piece < end; piece++) {
        const size_t first = (size_t)piece * PIECE;
        add_piece(region->x, region->span, region->x->parameters->gradients + span->first + first,
                  first, r2i_min_size(PIECE, span->n - first));
    }
}

void r2i_exchange_gradients(r2i_exchange *x) {
    const r2i_partition *p = x->partition;
    send_rest(x);
    finish_messages(x);
    x->is_open = false;
    if (r2_ranks_is_lost(x->ranks)) return;
    for (int32_t i = 0; i < p->n_spans; i++) {
        span_region region = { x, i };
        if (is_own(x, i))
            r2i_pool_run(x->pool, (int32_t)((p->spans[i].n + PIECE - 1) / PIECE), 1, add_pieces,
                         &region);
    }
}

void r2i_exchange_drain(r2i_exchange *x) {
    if (r2_ranks_is_lost(x->ranks)) return;
    send_rest(x);
    finish_messages(x);
    x->is_open = false;
}

/* ---- values ---- */

static void clear_foreign(void *argument, int32_t begin, int32_t end, int32_t worker) {
    const r2i_exchange *x = argument;
    (void)worker;
    for (int32_t i = begin; i < end; i++) {
        const r2i_span *span = &x->partition->spans[i];
        if (!is_own(x, i))
            memset(x->parameters->gradients + span->first, 0, span->n * sizeof(float));
    }
}

void r2i_exchange_values(r2i_exchange *x) {
    const r2i_partition *p = x->partition;
    const int32_t first_tag = R2I_TAG_NUMBERED + p->n_spans;
    for (int32_t i = 0; i < p->n_spans; i++) {
        const r2i_span *span = &p->spans[i];
        if (!is_own(x, i))
            r2i_ranks_receive(x->ranks, next_message(x), span->owner, first_tag + i,
                              x->parameters->values + span->first, span->n * sizeof(float));
    }
    for (int32_t i = 0; i < p->n_spans; i++) {
        const r2i_span *span = &p->spans[i];
        for (int32_t r = 0; is_own(x, i) && r < p->n_ranks; r++) {
            if (r != p->rank)
                r2i_ranks_send(x->ranks, next_message(x), r, first_tag + i,
                               x->parameters->values + span->first, span->n * sizeof(float));
        }
    }
    r2i_pool_run(x->pool, p->n_spans, 1, clear_foreign, x);
    finish_messages(x);
}
