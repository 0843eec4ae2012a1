#include "text/bpe_learn.h"

#include <string.h>

#include "base/failure.h"
#include "text/byte_letters.h"

enum { BLOCK_WORDS = 14, FIRST_PAIR_SLOTS = 1 << 12, PROGRESS_EVERY = 64 };

/* Part of the list of words that hold, or held, a pair; the newest part stands in front. */
typedef struct {
    int32_t next, n; /* next: the part behind it, -1: none */
    int32_t words[BLOCK_WORDS];
} word_block;

typedef struct {
    uint64_t key; /* left << 32 | right */
    int64_t count;
    int32_t blocks;  /* -1: none */
    bool is_touched; /* counted up in the step at hand */
} pair;

/* A word is a piece of text with its count; symbols [begins[w], begins[w] + n_symbols[w]). */
typedef struct {
    r2i_bpe *bpe;
    const r2i_bpe_options *options;
    const r2i_text_index *pieces;
    const int64_t *counts;
    r2i_heap *heap;
    int32_t *symbols;   /* [pieces->n_bytes], a word at its text's place */
    int32_t *n_symbols; /* [pieces->n_texts] */
    pair *pairs;
    size_t n_pairs, cap_pairs;
    int32_t *slots; /* [n_slots]: pair by key, -1: free */
    size_t n_slots; /* power of two */
    word_block *blocks;
    size_t n_blocks, cap_blocks;
    int32_t free_blocks; /* -1: none */
    struct candidate {
        int64_t count;
        uint64_t key;
        int32_t pair;
    } * heap_rows; /* best first; counts may be of the past */
    size_t n_rows, cap_rows;
    int32_t *touched;
    size_t n_touched, cap_touched;
} learning;
typedef struct candidate candidate;

static r2_status fail_memory(r2_error *err) {
    return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for the pairs of the texts");
}

static uint64_t key_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static size_t slot_of(const learning *l, uint64_t key) {
    return (size_t)((key ^ key >> 29) * 0x9e3779b97f4a7c15u >> 20) & (l->n_slots - 1);
}

/* ---- pairs ---- */

static bool grow_slots(learning *l) {
    const size_t n = l->n_slots == 0 ? FIRST_PAIR_SLOTS : 2 * l->n_slots;
    int32_t *slots = r2i_heap_take(l->heap, n * sizeof *slots);
    if (slots == NULL) return false;
    r2i_heap_give(l->heap, l->slots, l->n_slots * sizeof *slots);
    l->slots = slots;
    l->n_slots = n;
    memset(slots, 0xff, n * sizeof *slots);
    for (size_t i = 0; i < l->n_pairs; i++) {
        size_t at = slot_of(l, l->pairs[i].key);
        while (slots[at] >= 0)
            at = (at + 1) & (n - 1);
        slots[at] = (int32_t)i;
    }
    return true;
}

/* Number of the pair, added if it is new; -1: no memory. */
static int32_t find_pair(learning *l, uint64_t key) {
    if (2 * (l->n_pairs + 1) > l->n_slots && !grow_slots(l)) return -1;
    size_t at = slot_of(l, key);
    for (; l->slots[at] >= 0; at = (at + 1) & (l->n_slots - 1)) {
        if (l->pairs[l->slots[at]].key == key) return l->slots[at];
    }
    if (l->n_pairs >= INT32_MAX || !r2i_array_reserve(l->heap, (void **)&l->pairs, &l->cap_pairs,
                                                      l->n_pairs + 1, sizeof *l->pairs))
        return -1;
    l->pairs[l->n_pairs] = (pair){ .key = key, .blocks = -1 };
    l->slots[at] = (int32_t)l->n_pairs;
    return (int32_t)l->n_pairs++;
}

static int32_t take_block(learning *l) {
    int32_t b = l->free_blocks;
    if (b >= 0) {
        l->free_blocks = l->blocks[b].next;
        return b;
    }
    if (l->n_blocks >= INT32_MAX || !r2i_array_reserve(l->heap, (void **)&l->blocks, &l->cap_blocks,
                                                       l->n_blocks + 1, sizeof *l->blocks))
        return -1;
    return (int32_t)l->n_blocks++;
}

/* The pair occurs in the word; all of a word's occurrences come one behind the other. */
static bool note_word(learning *l, pair *p, int32_t word) {
    const word_block *front = p->blocks >= 0 ? &l->blocks[p->blocks] : NULL;
    if (front != NULL && front->words[front->n - 1] == word) return true;
    if (front == NULL || front->n == BLOCK_WORDS) {
        const int32_t b = take_block(l);
        if (b < 0) return false;
        l->blocks[b].next = p->blocks;
        l->blocks[b].n = 0;
        p->blocks = b;
    }
    word_block *block = &l->blocks[p->blocks];
    block->words[block->n++] = word;
    return true;
}

/* Pairs of `word` that come and go as neighbours merge. */
static bool count_pair(learning *l, int32_t left, int32_t right, int64_t change, int32_t word) {
    const int32_t number = find_pair(l, key_of(left, right));
    if (number < 0) return false;
    pair *p = &l->pairs[number];
    p->count += change;
    if (change < 0) return true;
    if (!p->is_touched) {
        if (!r2i_array_reserve(l->heap, (void **)&l->touched, &l->cap_touched, l->n_touched + 1,
                               sizeof *l->touched))
            return false;
        l->touched[l->n_touched++] = number;
        p->is_touched = true;
    }
    return note_word(l, p, word);
}

/* ---- the most frequent pair ---- */

static bool is_better(const candidate *a, const candidate *b) {
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static bool push(learning *l, candidate c) {
    if (!r2i_array_reserve(l->heap, (void **)&l->heap_rows, &l->cap_rows, l->n_rows + 1, sizeof c))
        return false;
    size_t at = l->n_rows++;
    for (; at > 0 && is_better(&c, &l->heap_rows[(at - 1) / 2]); at = (at - 1) / 2)
        l->heap_rows[at] = l->heap_rows[(at - 1) / 2];
    l->heap_rows[at] = c;
    return true;
}

/* Puts `c` in the first place's stead and restores the order. */
static void replace_first(learning *l, candidate c) {
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < l->n_rows; at = child) {
        if (child + 1 < l->n_rows && is_better(&l->heap_rows[child + 1], &l->heap_rows[child]))
            child++;
        if (!is_better(&l->heap_rows[child], &c)) break;
        l->heap_rows[at] = l->heap_rows[child];
    }
    l->heap_rows[at] = c;
}

/* Next pair to merge, its candidate taken off; -1: none is frequent enough. */
static int32_t take_best(learning *l) {
    while (l->n_rows > 0) {
        candidate first = l->heap_rows[0];
        const int64_t count = l->pairs[first.pair].count;
        if (first.count != count && count >= l->options->min_count) {
            first.count = count;
            replace_first(l, first);
            continue;
        }
        if (--l->n_rows > 0) replace_first(l, l->heap_rows[l->n_rows]);
        if (first.count == count && count >= l->options->min_count) return first.pair;
    }
    return -1;
}

static bool push_touched(learning *l) {
    for (size_t i = 0; i < l->n_touched; i++) {
        pair *p = &l->pairs[l->touched[i]];
        p->is_touched = false;
        if (p->count >= l->options->min_count &&
            !push(l, (candidate){ p->count, p->key, l->touched[i] }))
            return false;
    }
    l->n_touched = 0;
    return true;
}

/* ---- merging ---- */

static int32_t *symbols_of(const learning *l, int32_t word) {
    return l->symbols + l->pieces->begins[word];
}

/* Every left, right in the word becomes `merged`; the pairs around it are counted anew. */
static bool merge_word(learning *l, int32_t word, int32_t left, int32_t right, int32_t merged) {
    int32_t *s = symbols_of(l, word);
    const int32_t n = l->n_symbols[word];
    const int64_t count = l->counts[word];
    int32_t n_out = 0;
    bool is_ok = true;
    for (int32_t i = 0; i < n; i++) {
        if (i + 1 == n || s[i] != left || s[i + 1] != right) {
            s[n_out++] = s[i];
            continue;
        }
        if (n_out > 0) {
            is_ok &= count_pair(l, s[n_out - 1], left, -count, word);
            is_ok &= count_pair(l, s[n_out - 1], merged, count, word);
        }
        if (i + 2 < n) {
            is_ok &= count_pair(l, right, s[i + 2], -count, word);
            is_ok &= count_pair(l, merged, s[i + 2], count, word);
        }
        s[n_out++] = merged;
        i++;
    }
    l->n_symbols[word] = n_out;
    return is_ok;
}

/* Merges the pair wherever it stands and forgets its list of words. */
static bool merge_everywhere(learning *l, int32_t number, int32_t left, int32_t right,
                             int32_t merged) {
    int32_t b = l->pairs[number].blocks;
    l->pairs[number].blocks = -1;
    while (b >= 0) {
        const word_block block = l->blocks[b];
        l->blocks[b].next = l->free_blocks;
        l->free_blocks = b;
        b = block.next;
        for (int32_t i = 0; i < block.n; i++) {
            if (!merge_word(l, block.words[i], left, right, merged)) return false;
        }
    }
    l->pairs[number].count = 0;
    return push_touched(l);
}

/* Number of the joined token, which is made if it is new; *is_long: it would be too long. */
static r2_status join(learning *l, int32_t left, int32_t right, int32_t *merged, bool *is_long,
                      r2_error *err) {
    char text[2 * R2I_MAX_ADDED_TOKEN_BYTES];
    const r2i_text_view a = r2i_text_index_get(&l->bpe->tokens, left),
                        b = r2i_text_index_get(&l->bpe->tokens, right);
    *is_long = a.n_bytes + b.n_bytes > (size_t)l->options->cap_token_bytes;
    if (*is_long) return R2_OK;
    memcpy(text, a.bytes, a.n_bytes);
    memcpy(text + a.n_bytes, b.bytes, b.n_bytes);
    R2I_TRY(r2i_text_index_add(&l->bpe->tokens, text, a.n_bytes + b.n_bytes, merged, err));
    r2i_bpe *bpe = l->bpe;
    if (!r2i_array_reserve(l->heap, (void **)&bpe->merges, &bpe->cap_merges, bpe->n_merges + 1,
                           sizeof *bpe->merges))
        return fail_memory(err);
    bpe->merges[bpe->n_merges++] = (r2i_bpe_merge){ left, right };
    return R2_OK;
}

static r2_status learn_all(learning *l, r2_error *err) {
    const r2i_bpe_options *o = l->options;
    while (l->bpe->tokens.n_texts < o->n_tokens) {
        const int32_t best = take_best(l);
        int32_t merged = 0;
        bool is_long;
        if (best < 0) break;
        const uint64_t key = l->pairs[best].key;
        const int32_t left = (int32_t)(key >> 32), right = (int32_t)(key & 0xffffffffu);
        R2I_TRY(join(l, left, right, &merged, &is_long, err));
        if (is_long) continue; /* its candidate is gone: never asked again */
        if (!merge_everywhere(l, best, left, right, merged)) return fail_memory(err);
        if (o->progress != NULL && l->bpe->n_merges % PROGRESS_EVERY == 0 &&
            !o->progress(o->user, l->bpe->tokens.n_texts, o->n_tokens))
            return r2i_fail(err, R2_E_CANCELED, "tokenizer: canceled");
    }
    return R2_OK;
}

/* ---- beginning and end ---- */

/* Bytes by the code points of their letters: printable ones first, as in every vocabulary of the kind. */
static void order_bytes(uint8_t order[256]) {
    r2i_byte_letters letters;
    int32_t n = 0;
    r2i_byte_letters_init(&letters);
    for (int32_t c = 0; c < 324; c++) {
        if (letters.byte_of[c] >= 0) order[n++] = (uint8_t)letters.byte_of[c];
    }
}

r2_status r2i_bpe_init(r2i_bpe *bpe, r2i_heap *heap, r2_error *err) {
    uint8_t order[256];
    *bpe = (r2i_bpe){ .n_merges = 0 };
    r2i_text_index_init(&bpe->tokens, heap);
    order_bytes(order);
    for (int32_t i = 0; i < 256; i++) {
        const char byte = (char)order[i];
        int32_t number;
        R2I_TRY(r2i_text_index_add(&bpe->tokens, &byte, 1, &number, err));
    }
    return R2_OK;
}

void r2i_bpe_destroy(r2i_bpe *bpe) {
    r2i_heap *heap = bpe->tokens.heap;
    r2i_heap_give(heap, bpe->merges, bpe->cap_merges * sizeof *bpe->merges);
    r2i_text_index_destroy(&bpe->tokens);
    *bpe = (r2i_bpe){ .tokens = { .heap = heap } };
}

static bool spell_words(learning *l) {
    uint8_t order[256];
    int32_t number_of[256];
    order_bytes(order);
    for (int32_t i = 0; i < 256; i++)
        number_of[order[i]] = i;
    for (size_t i = 0; i < l->pieces->n_bytes; i++)
        l->symbols[i] = number_of[(uint8_t)l->pieces->bytes[i]];
    for (int32_t w = 0; w < l->pieces->n_texts; w++) {
        const int32_t *s = symbols_of(l, w);
        l->n_symbols[w] = (int32_t)r2i_text_index_get(l->pieces, w).n_bytes;
        for (int32_t i = 0; i + 1 < l->n_symbols[w]; i++) {
            if (!count_pair(l, s[i], s[i + 1], l->counts[w], w)) return false;
        }
    }
    return push_touched(l);
}

static int64_t count_symbols(const learning *l) {
    int64_t n = 0;
    for (int32_t w = 0; w < l->pieces->n_texts; w++)
        n += l->counts[w] * l->n_symbols[w];
    return n;
}

static void release(learning *l) {
    r2i_heap_give(l->heap, l->symbols, l->pieces->n_bytes * sizeof *l->symbols);
    r2i_heap_give(l->heap, l->n_symbols, (size_t)l->pieces->n_texts * sizeof *l->n_symbols);
    r2i_heap_give(l->heap, l->pairs, l->cap_pairs * sizeof *l->pairs);
    r2i_heap_give(l->heap, l->slots, l->n_slots * sizeof *l->slots);
    r2i_heap_give(l->heap, l->blocks, l->cap_blocks * sizeof *l->blocks);
    r2i_heap_give(l->heap, l->heap_rows, l->cap_rows * sizeof *l->heap_rows);
    r2i_heap_give(l->heap, l->touched, l->cap_touched * sizeof *l->touched);
}

r2_status r2i_bpe_learn(r2i_bpe *bpe, const r2i_text_index *pieces, const int64_t *counts,
                        const r2i_bpe_options *options, r2_error *err) {
    learning l = { .bpe = bpe,
                   .options = options,
                   .pieces = pieces,
                   .counts = counts,
                   .heap = bpe->tokens.heap,
                   .free_blocks = -1 };
    R2I_ASSERT(options->min_count >= 1 && options->cap_token_bytes <= R2I_MAX_ADDED_TOKEN_BYTES);
    l.symbols = r2i_heap_take(l.heap, pieces->n_bytes * sizeof *l.symbols);
    l.n_symbols = r2i_heap_take(l.heap, (size_t)pieces->n_texts * sizeof *l.n_symbols);
    r2_status status = R2_OK;
    if (l.symbols == NULL || l.n_symbols == NULL || !spell_words(&l)) status = fail_memory(err);
    if (status == R2_OK) status = learn_all(&l, err);
    if (status == R2_OK) bpe->n_symbols = count_symbols(&l);
    release(&l);
    return status;
}
