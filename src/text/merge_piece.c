#include "text/merge_piece.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum { SHORT_SYMBOLS = 48 };

void r2i_merge_scratch_init(r2i_merge_scratch *scratch, r2i_heap *heap) {
    *scratch = (r2i_merge_scratch){ .heap = heap };
}

void r2i_merge_scratch_destroy(r2i_merge_scratch *scratch) {
    r2i_heap_give(scratch->heap, scratch->memory, scratch->n_bytes);
    *scratch = (r2i_merge_scratch){ .heap = scratch->heap };
}

/* ---- short pieces ---- */

typedef struct {
    int32_t rank[SHORT_SYMBOLS], merged[SHORT_SYMBOLS]; /* of the pair (i, i + 1) */
} pair_row;

static void rate_pair(const r2i_merge_table *table, pair_row *row, const int32_t *ids, size_t i) {
    const r2i_merge_slot slot = r2i_merge_find(table, ids[i], ids[i + 1]);
    row->rank[i] = slot.rank;
    row->merged[i] = slot.merged;
}

/* Symbols i and i + 1 become one; everything behind moves down. */
static void close_gap(pair_row *row, int32_t *ids, size_t i, size_t n) {
    for (size_t k = i + 1; k + 1 < n; k++) {
        ids[k] = ids[k + 1];
        row->rank[k] = row->rank[k + 1];
        row->merged[k] = row->merged[k + 1];
    }
}

static size_t merge_short(const r2i_merge_table *table, int32_t *ids, size_t n) {
    pair_row row;
    for (size_t i = 0; i + 1 < n; i++)
        rate_pair(table, &row, ids, i);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (row.rank[i] < row.rank[best]) best = i;
        }
        if (row.rank[best] == R2I_NO_RANK) break;
        ids[best] = row.merged[best];
        row.rank[n - 1] = R2I_NO_RANK; /* the last symbol has no right neighbour */
        row.merged[n - 1] = -1;
        close_gap(&row, ids, best, n);
        n--;
        if (best > 0) rate_pair(table, &row, ids, best - 1);
        if (best + 1 < n) rate_pair(table, &row, ids, best);
    }
    return n;
}

/* ---- long pieces ---- */

typedef struct {
    int32_t id, previous, next; /* neighbours' places, -1: none; id NO_SYMBOL: merged away */
} symbol;

typedef struct {
    uint64_t order;      /* rank << 32 | place of the left symbol */
    int32_t left, right; /* ids when the pair was entered: it is stale when they changed */
} candidate;

enum { NO_SYMBOL = INT32_MIN };

typedef struct {
    const r2i_merge_table *table;
    symbol *symbols;
    candidate *heap; /* binary, lowest order first */
    size_t n_heap;
} long_piece;

static void heap_add(long_piece *piece, candidate added) {
    size_t i = piece->n_heap++;
    while (i > 0 && piece->heap[(i - 1) / 2].order > added.order) {
        piece->heap[i] = piece->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    piece->heap[i] = added;
}

static candidate heap_take(long_piece *piece) {
    const candidate top = piece->heap[0], moved = piece->heap[--piece->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= piece->n_heap) break;
        if (child + 1 < piece->n_heap && piece->heap[child + 1].order < piece->heap[child].order)
            child++;
        if (piece->heap[child].order >= moved.order) break;
        piece->heap[i] = piece->heap[child];
        i = child;
    }
    piece->heap[i] = moved;
    return top;
}

static void offer_pair(long_piece *piece, int32_t left) {
    if (left < 0) return;
    const symbol *s = &piece->symbols[left];
    if (s->next < 0) return;
    const int32_t right_id = piece->symbols[s->next].id;
    const r2i_merge_slot slot = r2i_merge_find(piece->table, s->id, right_id);
    if (slot.rank == R2I_NO_RANK) return;
    heap_add(piece,
             (candidate){ (uint64_t)(uint32_t)slot.rank << 32 | (uint32_t)left, s->id, right_id });
}

static void merge_candidate(long_piece *piece, candidate c) {
    const int32_t at = (int32_t)(c.order & 0xffffffffu);
    symbol *left = &piece->symbols[at];
    if (left->id != c.left || left->next < 0) return;
    symbol *right = &piece->symbols[left->next];
    if (right->id != c.right) return;
    left->id = r2i_merge_find(piece->table, c.left, c.right).merged;
    right->id = NO_SYMBOL;
    left->next = right->next;
    if (left->next >= 0) piece->symbols[left->next].previous = at;
    offer_pair(piece, left->previous);
    offer_pair(piece, at);
}

/* n - 1 pairs at first and at most two more per merge: never above 3 n candidates. */
static r2_status reserve(r2i_merge_scratch *scratch, size_t n, r2_error *err) {
    const size_t wanted = n * (sizeof(symbol) + 3 * sizeof(candidate)) + sizeof(candidate);
    if (wanted <= scratch->n_bytes) return R2_OK;
    void *memory = r2i_heap_take(scratch->heap, wanted);
    if (memory == NULL)
        return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for a piece of %zu bytes", n);
    r2i_heap_give(scratch->heap, scratch->memory, scratch->n_bytes);
    scratch->memory = memory;
    scratch->n_bytes = wanted;
    return R2_OK;
}

static r2_status merge_long(const r2i_merge_table *table, int32_t *ids, size_t n, size_t *n_merged,
                            r2i_merge_scratch *scratch, r2_error *err) {
    const r2_status status = reserve(scratch, n, err);
    if (status != R2_OK) return status;
    candidate *heap = scratch->memory;
    long_piece piece = { table, (symbol *)(void *)(heap + 3 * n + 1), heap, 0 };
    for (size_t i = 0; i < n; i++) {
        piece.symbols[i] = (symbol){ ids[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1 };
    }
    for (size_t i = 0; i + 1 < n; i++)
        offer_pair(&piece, (int32_t)i);
    while (piece.n_heap > 0)
        merge_candidate(&piece, heap_take(&piece));
    size_t n_out = 0;
    for (int32_t i = 0; i >= 0; i = piece.symbols[i].next)
        ids[n_out++] = piece.symbols[i].id;
    *n_merged = n_out;
    return R2_OK;
}

r2_status r2i_merge_piece(const r2i_merge_table *table, int32_t *ids, size_t n, size_t *n_merged,
                          r2i_merge_scratch *scratch, r2_error *err) {
    if (n > SHORT_SYMBOLS) return merge_long(table, ids, n, n_merged, scratch, err);
    *n_merged = merge_short(table, ids, n);
    return R2_OK;
}
