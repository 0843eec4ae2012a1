#include "text/merge_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum { BATCH = 32, MAX_PROBES = 1024, MAX_MERGES = 1 << 22, MAX_SCORED_BYTES = 256 };

/* ---- the table ---- */

/* Slots and filter together. */
static size_t table_bytes(size_t n_slots) {
    return n_slots * sizeof(r2i_merge_slot) + (n_slots << R2I_FILTER_BITS) / 8;
}

static r2_status take_slots(r2i_merge_table *table, size_t n_pairs, r2i_heap *heap, r2_error *err) {
    unsigned bits = 6;
    while ((size_t)1 << bits < n_pairs + n_pairs / 2)
        bits++;
    *table = (r2i_merge_table){ .heap = heap, .n_slots = (size_t)1 << bits, .shift = 64 - bits };
    table->slots = r2i_memory_map(heap, table_bytes(table->n_slots));
    if (table->slots == NULL) {
        return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for %zu merges", n_pairs);
    }
    table->filter = (uint64_t *)(void *)(table->slots + table->n_slots);
    return R2_OK;
}

/* The first of equal pairs stays.  False: too many pairs chosen to collide. */
static bool enter(r2i_merge_table *table, int32_t left, int32_t right, int32_t rank,
                  int32_t merged) {
    const uint64_t key = r2i_merge_key(left, right), hash = r2i_merge_hash(key);
    const uint64_t bit = hash >> (table->shift - R2I_FILTER_BITS);
    const size_t mask = table->n_slots - 1;
    size_t s = (size_t)(hash >> table->shift), n_probes = 0;
    for (; table->slots[s].key != 0; s = (s + 1) & mask) {
        if (table->slots[s].key == key) return true;
        if (++n_probes > MAX_PROBES) return false;
    }
    table->slots[s] = (r2i_merge_slot){ key, rank, merged };
    table->filter[bit / 64] |= (uint64_t)1 << bit % 64;
    return true;
}

void r2i_merge_table_destroy(r2i_merge_table *table) {
    r2i_memory_unmap(table->heap, table->slots, table_bytes(table->n_slots));
    table->slots = NULL;
}

/* ---- from a list ---- */

typedef struct {
    r2i_text_view left, right;
    uint64_t left_hash, right_hash;
    int32_t left_id, right_id;
} merge_entry;

static bool read_entry(r2i_text_cursor *cursor, bool is_pair, merge_entry *entry) {
    if (!r2i_text_cursor_next(cursor, &entry->left)) return false;
    if (is_pair) return r2i_text_cursor_next(cursor, &entry->right);
    const r2i_text_view both = entry->left;
    if (both.n_bytes < 3) return false;
    const char *space = memchr(both.bytes + 1, ' ', both.n_bytes - 1);
    if (space == NULL || space + 1 == both.bytes + both.n_bytes) return false;
    entry->left.n_bytes = (size_t)(space - both.bytes);
    entry->right = (r2i_text_view){ space + 1, both.n_bytes - entry->left.n_bytes - 1 };
    return true;
}

static bool is_joined(r2i_text_view joined, r2i_text_view left, r2i_text_view right) {
    return joined.n_bytes == left.n_bytes + right.n_bytes &&
           memcmp(joined.bytes, left.bytes, left.n_bytes) == 0 &&
           memcmp(joined.bytes + left.n_bytes, right.bytes, right.n_bytes) == 0;
}

/* Vocabularies list tokens in the order of their merges, so the token after the last one found is
 * nearly always right and saves a lookup. */
static int32_t find_joined(const r2i_token_store *store, const merge_entry *e, int32_t guess) {
    char joined[2 * R2I_MAX_ADDED_TOKEN_BYTES];
    if (guess < store->n_tokens && is_joined(r2i_token_store_text(store, guess), e->left, e->right))
        return guess;
    const size_t n = e->left.n_bytes + e->right.n_bytes;
    if (n > sizeof joined) return -1;
    memcpy(joined, e->left.bytes, e->left.n_bytes);
    memcpy(joined + e->left.n_bytes, e->right.bytes, e->right.n_bytes);
    return r2i_token_store_find(store, joined, n);
}

static r2_status fail_merge(r2_error *err, size_t rank, const char *what) {
    return r2i_fail(err, R2_E_FORMAT, "tokenizer: merge %zu: %s", rank, what);
}

/* Reads up to BATCH entries and starts loading their slots: one lookup at a time would wait for
 * memory 450,000 times. */
static r2_status read_batch(r2i_text_cursor *cursor, bool is_pair, const r2i_token_store *store,
                            merge_entry *batch, size_t first, size_t n, r2_error *err) {
    for (size_t k = 0; k < n; k++) {
        merge_entry *e = &batch[k];
        if (!read_entry(cursor, is_pair, e))
            return fail_merge(err, first + k, "expected two tokens");
        e->left_hash = r2i_text_hash(e->left.bytes, e->left.n_bytes);
        e->right_hash = r2i_text_hash(e->right.bytes, e->right.n_bytes);
        r2i_token_store_prefetch(store, e->left_hash);
        r2i_token_store_prefetch(store, e->right_hash);
    }
    return R2_OK;
}

static r2_status enter_batch(r2i_merge_table *table, const r2i_token_store *store,
                             merge_entry *batch, size_t first, size_t n, int32_t *guess,
                             r2_error *err) {
    for (size_t k = 0; k < n; k++) {
        r2i_token_store_prefetch_text(store, batch[k].left_hash);
        r2i_token_store_prefetch_text(store, batch[k].right_hash);
    }
    for (size_t k = 0; k < n; k++) {
        merge_entry *e = &batch[k];
        e->left_id =
            r2i_token_store_find_hashed(store, e->left_hash, e->left.bytes, e->left.n_bytes);
        e->right_id =
            r2i_token_store_find_hashed(store, e->right_hash, e->right.bytes, e->right.n_bytes);
        if (e->left_id < 0 || e->right_id < 0)
            return fail_merge(err, first + k, "refers to an unknown token");
        const uint64_t hash = r2i_merge_hash(r2i_merge_key(e->left_id, e->right_id));
        __builtin_prefetch(&table->slots[hash >> table->shift], 1);
    }
    for (size_t k = 0; k < n; k++) {
        const merge_entry *e = &batch[k];
        const int32_t merged = find_joined(store, e, *guess);
        if (merged < 0) return fail_merge(err, first + k, "the joined text is not a token");
        *guess = merged + 1;
        if (store->types[merged] == R2I_TOKEN_CONTROL) continue; /* no text may merge into one */
        if (!enter(table, e->left_id, e->right_id, (int32_t)(first + k), merged)) {
            return fail_merge(err, first + k, "too many share a hash");
        }
    }
    return R2_OK;
}

r2_status r2i_merge_table_init(r2i_merge_table *table, const r2i_vocabulary *vocabulary,
                               const r2i_token_store *store, r2i_heap *heap, r2_error *err) {
    const bool is_pair = vocabulary->merges_are_pairs;
    const size_t n = is_pair ? vocabulary->merges.n / 2 : vocabulary->merges.n;
    merge_entry batch[BATCH];
    r2i_text_cursor cursor;
    *table = (r2i_merge_table){ .heap = heap };
    if (n > MAX_MERGES) {
        return r2i_fail(err, R2_E_LIMIT, "tokenizer: merges: expected at most %d, found %zu",
                        MAX_MERGES, n);
    }
    r2_status status = take_slots(table, n, heap, err);
    int32_t guess = 0;
    r2i_text_cursor_init(&cursor, &vocabulary->merges);
    for (size_t first = 0; status == R2_OK && first < n; first += BATCH) {
        const size_t n_batch = r2i_min_size(BATCH, n - first);
        status = read_batch(&cursor, is_pair, store, batch, first, n_batch, err);
        if (status == R2_OK) status = enter_batch(table, store, batch, first, n_batch, &guess, err);
    }
    return status;
}

/* ---- from scores ---- */

typedef struct {
    float score;
    int32_t id;
} scored_token;

/* Best score first; the id makes the order of equal ones certain. */
static int compare_scored(const void *a, const void *b) {
    const scored_token *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Normal tokens in the order of their scores; long ones do not take part (their splits would cost
 * the square of their length). */
static r2_status sort_scored(scored_token *sorted, size_t *n_sorted, const void *scores,
                             const r2i_token_store *store, r2_error *err) {
    size_t n = 0;
    for (int32_t id = 0; id < store->n_tokens; id++) {
        float score;
        memcpy(&score, (const char *)scores + 4 * (size_t)id, 4);
        if (store->types[id] != R2I_TOKEN_NORMAL || store->n_bytes[id] > MAX_SCORED_BYTES) continue;
        if (isnan(score))
            return r2i_fail(err, R2_E_FORMAT, "tokenizer: score %d: not a number", (int)id);
        sorted[n++] = (scored_token){ score, id };
    }
    qsort(sorted, n, sizeof *sorted, compare_scored);
    *n_sorted = n;
    return R2_OK;
}

typedef struct {
    int32_t left, right;
} token_pair;

/* All ways to split a token into two normal tokens.  Returns how many. */
static size_t split_token(const r2i_token_store *store, int32_t id,
                          token_pair pairs[MAX_SCORED_BYTES]) {
    const r2i_text_view text = r2i_token_store_text(store, id);
    size_t n = 0;
    for (size_t cut = 1; cut < text.n_bytes; cut++) {
        if (((uint8_t)text.bytes[cut] & 0xc0) == 0x80) continue;
        const int32_t left = r2i_token_store_find(store, text.bytes, cut);
        if (left < 0 || store->types[left] != R2I_TOKEN_NORMAL) continue;
        const int32_t right = r2i_token_store_find(store, text.bytes + cut, text.n_bytes - cut);
        if (right < 0 || store->types[right] != R2I_TOKEN_NORMAL) continue;
        pairs[n++] = (token_pair){ left, right };
    }
    return n;
}

static r2_status enter_scored(r2i_merge_table *table, const scored_token *sorted, size_t n_sorted,
                              const r2i_token_store *store, r2i_heap *heap, r2_error *err) {
    token_pair pairs[MAX_SCORED_BYTES];
    size_t n_pairs = 0;
    for (size_t i = 0; i < n_sorted; i++)
        n_pairs += split_token(store, sorted[i].id, pairs);
    r2_status status = take_slots(table, n_pairs, heap, err);
    int32_t rank = 0;
    for (size_t i = 0; status == R2_OK && i < n_sorted; i++) {
        if (i > 0 && sorted[i].score != sorted[i - 1].score) rank++;
        const size_t n = split_token(store, sorted[i].id, pairs);
        for (size_t k = 0; k < n; k++) {
            if (!enter(table, pairs[k].left, pairs[k].right, rank, sorted[i].id)) {
                status =
                    r2i_fail(err, R2_E_FORMAT, "tokenizer: scores: too many pairs share a hash");
            }
        }
    }
    return status;
}

r2_status r2i_merge_table_init_scores(r2i_merge_table *table, const void *scores,
                                      const r2i_token_store *store, r2i_heap *heap, r2_error *err) {
    const size_t n_bytes = (size_t)store->n_tokens * sizeof(scored_token);
    size_t n_sorted = 0;
    *table = (r2i_merge_table){ .heap = heap };
    scored_token *sorted = r2i_heap_take(heap, n_bytes);
    if (sorted == NULL) return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for scores");
    r2_status status = sort_scored(sorted, &n_sorted, scores, store, err);
    if (status == R2_OK) status = enter_scored(table, sorted, n_sorted, store, heap, err);
    r2i_heap_give(heap, sorted, n_bytes);
    return status;
}
