#include "train/ranks/expert_ranks.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

static int32_t first_of(const r2i_expert_ranks *x, int32_t rank) {
    return r2i_first_expert(x->n_experts, rank, x->ranks->n);
}

static int32_t count(const r2i_expert_ranks *x, int32_t rank, int32_t e) {
    return x->counts[(size_t)rank * (size_t)x->n_experts + (size_t)e];
}

/* Rows of a rank that come here. */
static size_t rows_from(const r2i_expert_ranks *x, int32_t rank) {
    size_t n = 0;
    for (int32_t e = first_of(x, x->ranks->rank); e < first_of(x, x->ranks->rank + 1); e++)
        n += (size_t)count(x, rank, e);
    return n;
}

/* Own rows for a rank, from *first on. */
static size_t rows_for(const r2i_expert_ranks *x, int32_t rank, size_t *first) {
    *first = (size_t)x->first_own[first_of(x, rank)];
    return (size_t)x->first_own[first_of(x, rank + 1)] - *first;
}

static const int32_t *plan(void *user, const int32_t *first_entry) {
    r2i_expert_ranks *x = user;
    const int32_t begin = first_of(x, x->ranks->rank), end = first_of(x, x->ranks->rank + 1);
    memcpy(x->first_own, first_entry, ((size_t)x->n_experts + 1) * sizeof *first_entry);
    for (int32_t e = 0; e < x->n_experts; e++)
        x->own[e] = first_entry[e + 1] - first_entry[e];
    r2i_ranks_gather(x->ranks, x->own, (size_t)x->n_experts * sizeof *x->own, x->counts);
    if (r2_ranks_is_lost(x->ranks)) /* nothing comes any more; the run ends soon */
        memset(x->counts, 0, (size_t)x->ranks->n * (size_t)x->n_experts * sizeof *x->counts);
    x->first_here[0] = 0;
    for (int32_t e = 0; e < x->n_experts; e++) {
        x->first_here[e + 1] = x->first_here[e];
        for (int32_t r = 0; e >= begin && e < end && r < x->ranks->n; r++)
            x->first_here[e + 1] += count(x, r, e);
    }
    R2I_ASSERT(x->first_here[x->n_experts] <= x->calls.cap_entries);
    return x->first_here;
}

/* Between rows here, expert by expert, and those of each rank: its own or staged ones. */
typedef void (*move_rows)(void *here, void *of_rank, size_t n_bytes);

static void to_here(void *here, void *of_rank, size_t n_bytes) {
    memcpy(here, of_rank, n_bytes);
}

static void from_here(void *here, void *of_rank, size_t n_bytes) {
    memcpy(of_rank, here, n_bytes);
}

static void arrange(const r2i_expert_ranks *x, uint8_t *here, size_t row_bytes, uint8_t *own,
                    move_rows move) {
    uint8_t *staged = x->staging;
    const int32_t begin = first_of(x, x->ranks->rank), end = first_of(x, x->ranks->rank + 1);
    for (int32_t r = 0; r < x->ranks->n; r++) {
        uint8_t *from =
            r == x->ranks->rank ? own + (size_t)x->first_own[begin] * row_bytes : staged;
        for (int32_t e = begin; e < end; e++) {
            size_t place = (size_t)x->first_here[e];
            const size_t n_bytes = (size_t)count(x, r, e) * row_bytes;
            for (int32_t before = 0; before < r; before++)
                place += (size_t)count(x, before, e);
            move(here + place * row_bytes, from, n_bytes);
            from += n_bytes;
        }
        if (r != x->ranks->rank) staged = from;
    }
}

static void give(void *user, const void *own, size_t row_bytes, void *here) {
    r2i_expert_ranks *x = user;
    uint8_t *staged = x->staging, *rows = (uint8_t *)(uintptr_t)own; /* read alone */
    int32_t n = 0;
    for (int32_t r = 0; r < x->ranks->n; r++) {
        const size_t n_bytes = r == x->ranks->rank ? 0 : rows_from(x, r) * row_bytes;
        if (n_bytes == 0) continue;
        r2i_ranks_receive(x->ranks, &x->messages[n++], r, R2I_TAG_EXPERTS, staged, n_bytes);
        staged += n_bytes;
    }
    for (int32_t r = 0; r < x->ranks->n; r++) {
        size_t first;
        const size_t n_bytes = rows_for(x, r, &first) * row_bytes;
        if (r != x->ranks->rank && n_bytes > 0)
            r2i_ranks_send(x->ranks, &x->messages[n++], r, R2I_TAG_EXPERTS,
                           rows + first * row_bytes, n_bytes);
    }
    r2i_ranks_wait(x->ranks, x->messages, n);
    arrange(x, here, row_bytes, rows, to_here);
}

static void take_back(void *user, const void *here, size_t row_bytes, void *own) {
    r2i_expert_ranks *x = user;
    uint8_t *staged = x->staging, *rows = own;
    int32_t n = 0;
    for (int32_t r = 0; r < x->ranks->n; r++) {
        size_t first;
        const size_t n_bytes = rows_for(x, r, &first) * row_bytes;
        if (r != x->ranks->rank && n_bytes > 0)
            r2i_ranks_receive(x->ranks, &x->messages[n++], r, R2I_TAG_EXPERTS,
                              rows + first * row_bytes, n_bytes);
    }
    arrange(x, (uint8_t *)(uintptr_t)here, row_bytes, rows, from_here);
    for (int32_t r = 0; r < x->ranks->n; r++) {
        const size_t n_bytes = r == x->ranks->rank ? 0 : rows_from(x, r) * row_bytes;
        if (n_bytes == 0) continue;
        r2i_ranks_send(x->ranks, &x->messages[n++], r, R2I_TAG_EXPERTS, staged, n_bytes);
        staged += n_bytes;
    }
    r2i_ranks_wait(x->ranks, x->messages, n);
}

r2_status r2i_expert_ranks_create(r2i_expert_ranks *out, r2_ranks *ranks, int32_t n_experts,
                                  int32_t n_active, int32_t cap_rows, size_t row_bytes,
                                  r2i_arena *arena, r2_error *err) {
    r2i_taker t = { arena, false };
    const size_t n = (size_t)ranks->n, experts = (size_t)n_experts;
    const int32_t most_here = n_experts / ranks->n + 1; /* experts of a rank: of different ones */
    const size_t entries = n * (size_t)cap_rows * (size_t)r2i_min_i32(n_active, most_here);
    if (entries * row_bytes > R2I_MOST_MESSAGE_BYTES)
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "experts of %d ranks: expected batches of at most %d MB of rows, found %zu "
                        "MB; smaller batches do",
                        ranks->n, R2I_MOST_MESSAGE_BYTES >> 20, entries * row_bytes >> 20);
    *out = (r2i_expert_ranks){ .calls = { out, (int32_t)entries, plan, give, take_back },
                               .ranks = ranks,
                               .n_experts = n_experts };
    out->own = r2i_take(&t, experts, sizeof *out->own);
    out->first_own = r2i_take(&t, experts + 1, sizeof *out->first_own);
    out->counts = r2i_take(&t, n * experts, sizeof *out->counts);
    out->first_here = r2i_take(&t, experts + 1, sizeof *out->first_here);
    out->staging = r2i_take(&t, entries, row_bytes);
    out->messages = r2i_take(&t, 2 * n, sizeof *out->messages);
    if (!t.has_failed) return R2_OK;
    return r2i_fail(err, R2_E_NOMEM, "no memory for the rows of %d experts", n_experts);
}
