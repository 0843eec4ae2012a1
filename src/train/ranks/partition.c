#include "train/ranks/partition.h"

#include "base/checked.h"
#include "base/failure.h"
#include "train/ranks/expert_ranks.h"

enum {
    ALIGN_FLOATS = 16,
    /* Longest message: 64 MB.  Longer ones would wait for their last number. */
    MOST_FLOATS = 1 << 24
};

typedef struct {
    r2i_partition *out;
    const r2i_parameters *p;
    bool is_whole;
    double *work; /* [n_ranks] of whole matrices dealt so far */
    bool is_counting;
} builder;

static bool is_dealt_whole(const builder *b, const r2i_parameter *p) {
    return b->is_whole && p->is_hidden;
}

/* Adds values [first, end) of an owner, to the span before where they go on from it. */
static void add_span(builder *b, int32_t first_of_bucket, size_t first, size_t end, int32_t owner) {
    r2i_partition *out = b->out;
    while (first < end) {
        r2i_span *last = out->n_spans > first_of_bucket && !b->is_counting
                             ? &out->spans[out->n_spans - 1]
                             : NULL;
        /* Between parameters there are less than ALIGN_FLOATS zeros. */
        if (last != NULL && last->owner == owner && end - last->first <= MOST_FLOATS &&
            first - (last->first + last->n) < ALIGN_FLOATS) {
            last->n = end - last->first;
            return;
        }
        const size_t n = r2i_min_size(end - first, MOST_FLOATS);
        if (!b->is_counting)
            out->spans[out->n_spans] = (r2i_span){ .first = first, .n = n, .owner = owner };
        out->n_spans++;
        first += n;
    }
}

/* Multiplications of five rounds of Newton-Schulz grow with narrow^2 wide. */
static double work_of(const r2i_parameter *p) {
    const double narrow = r2i_min_i32(p->n_rows, p->n_cols),
                 wide = r2i_max_i32(p->n_rows, p->n_cols);
    return narrow * wide * (narrow + 64);
}

static int32_t least_busy(const builder *b) {
    int32_t best = 0;
    for (int32_t r = 1; r < b->out->n_ranks; r++) {
        if (b->work[r] < b->work[best]) best = r;
    }
    return best;
}

static void own(const builder *b, int32_t i, size_t begin, size_t end, int32_t owner) {
    if (owner != b->out->rank || begin == end) return;
    if (b->out->own_begin[i] == b->out->own_end[i]) b->out->own_begin[i] = begin;
    b->out->own_end[i] = end;
}

static bool is_own_expert(const r2i_partition *p, const r2i_parameter *one) {
    return p->has_own_experts && one->expert >= 0;
}

/* An expert is stepped where it lives, and nobody else needs it. */
static void leave_expert(const builder *b, int32_t i) {
    const r2i_parameter *p = &b->p->list[i];
    own(b, i, 0, r2i_parameter_size(p),
        r2i_expert_owner(b->p->config->n_experts, p->expert, b->out->n_ranks));
}

bool r2i_partition_has_values(const r2i_partition *p, const r2i_parameters *parameters, int32_t i) {
    return !is_own_expert(p, &parameters->list[i]) || p->own_begin[i] < p->own_end[i];
}

static void deal_whole(builder *b, int32_t i, int32_t first_of_bucket) {
    const r2i_parameter *p = &b->p->list[i];
    const int32_t owner = least_busy(b);
    b->work[owner] += work_of(p);
    own(b, i, 0, r2i_parameter_size(p), owner);
    add_span(b, first_of_bucket, p->first, p->first + r2i_parameter_size(p), owner);
}

/* `at` of `n_all` numbers of the bucket that can be divided lie before this parameter. */
static void divide(builder *b, int32_t i, int32_t first_of_bucket, size_t at, size_t n_all) {
    const r2i_parameter *p = &b->p->list[i];
    const size_t size = r2i_parameter_size(p), n_ranks = (size_t)b->out->n_ranks;
    const size_t share = (n_all + n_ranks - 1) / n_ranks;
    const size_t part = (share + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    for (size_t begin = 0; begin < size;) {
        const size_t owner = (at + begin) / part;
        const size_t end = r2i_min_size(size, (owner + 1) * part - at);
        own(b, i, begin, end, (int32_t)owner);
        add_span(b, first_of_bucket, p->first + begin, p->first + end, (int32_t)owner);
        begin = end;
    }
}

/* Parameters [begin, end) of one layer. */
static void add_bucket(builder *b, int32_t begin, int32_t end) {
    const int32_t first_of_bucket = b->out->n_spans;
    size_t n_all = 0, at = 0;
    for (int32_t i = begin; i < end; i++) {
        const r2i_parameter *p = &b->p->list[i];
        if (!p->is_fixed && !is_dealt_whole(b, p) && !is_own_expert(b->out, p))
            n_all += r2i_parameter_size(p);
    }
    for (int32_t i = begin; i < end; i++) {
        const r2i_parameter *p = &b->p->list[i];
        if (p->is_fixed) continue;
        if (is_own_expert(b->out, p)) {
            leave_expert(b, i);
            continue;
        }
        if (is_dealt_whole(b, p)) {
            deal_whole(b, i, first_of_bucket);
            continue;
        }
        divide(b, i, first_of_bucket, at, n_all);
        at += r2i_parameter_size(p);
    }
}

static void add_all(builder *b) {
    r2i_partition *out = b->out;
    int32_t i = 0;
    out->n_spans = 0;
    for (int32_t r = 0; r < out->n_ranks; r++)
        b->work[r] = 0;
    for (int32_t k = 0; k < b->p->n; k++)
        out->own_begin[k] = out->own_end[k] = 0;
    for (int32_t bucket = 0; bucket < out->n_buckets; bucket++) {
        const int32_t begin = i;
        while (i < b->p->n && r2i_bucket_of(b->p->list[i].layer) <= bucket)
            i++;
        if (!b->is_counting) out->first_span[bucket] = out->n_spans;
        add_bucket(b, begin, i);
    }
    if (!b->is_counting) out->first_span[out->n_buckets] = out->n_spans;
}

r2_status r2i_partition_create(r2i_partition *out, const r2i_parameters *parameters,
                               const r2i_partition_rules *rules, r2i_arena *arena, r2_error *err) {
    const int32_t n_ranks = rules->n_ranks;
    r2i_taker t = { arena, false };
    builder b = { .out = out, .p = parameters, .is_whole = rules->is_whole, .is_counting = true };
    *out = (r2i_partition){ .n_ranks = n_ranks,
                            .rank = rules->rank,
                            .has_own_experts = rules->has_own_experts,
                            .n_buckets = r2i_bucket_of(parameters->config->n_layers) + 1 };
    b.work = r2i_take(&t, (size_t)n_ranks, sizeof *b.work);
    out->own_begin = r2i_take(&t, (size_t)parameters->n, sizeof *out->own_begin);
    out->own_end = r2i_take(&t, (size_t)parameters->n, sizeof *out->own_end);
    out->first_span = r2i_take(&t, (size_t)out->n_buckets + 1, sizeof *out->first_span);
    if (!t.has_failed) {
        add_all(&b); /* at most so many spans: neighbours of one owner become one the second time */
        out->spans = r2i_take(&t, (size_t)out->n_spans, sizeof *out->spans);
    }
    if (t.has_failed)
        return r2i_fail(err, R2_E_NOMEM, "no memory to divide %d parameters among %d ranks",
                        parameters->n, n_ranks);
    b.is_counting = false;
    add_all(&b);
    return R2_OK;
}
