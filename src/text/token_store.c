#include "text/token_store.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

enum { MAX_PROBES = 1024 };

/* ---- lists ---- */

void r2i_text_cursor_init(r2i_text_cursor *cursor, const r2i_text_list *list) {
    *cursor = (r2i_text_cursor){ .list = list };
}

/* Written out, so that compilers make it one load. */
static uint64_t read_u64(const uint8_t *b) {
    return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 |
           (uint64_t)b[4] << 32 | (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 |
           (uint64_t)b[7] << 56;
}

bool r2i_text_cursor_next(r2i_text_cursor *cursor, r2i_text_view *text) {
    const r2i_text_list *list = cursor->list;
    if (cursor->i >= list->n) return false;
    if (list->views != NULL) {
        *text = list->views[cursor->i++];
        return true;
    }
    const uint8_t *bytes = list->packed;
    const size_t rest = list->n_packed_bytes - cursor->offset;
    if (bytes == NULL || rest < 8) return false;
    const uint64_t n = read_u64(bytes + cursor->offset);
    if (n > rest - 8) return false;
    *text = (r2i_text_view){ (const char *)bytes + cursor->offset + 8, (size_t)n };
    cursor->offset += 8 + (size_t)n;
    cursor->i++;
    return true;
}

/* ---- hashing ---- */

static inline uint64_t load_up_to_8(const char *text, size_t n) {
    uint64_t a = 0;
    uint32_t low, high;
    if (n >= 8) {
        memcpy(&a, text, 8);
    } else if (n >= 4) {
        memcpy(&low, text, 4);
        memcpy(&high, text + n - 4, 4);
        a = (uint64_t)high << 32 | low;
    } else if (n > 0) {
        a = (uint64_t)(uint8_t)text[0] << 16 | (uint64_t)(uint8_t)text[n / 2] << 8 |
            (uint8_t)text[n - 1];
    }
    return a;
}

uint64_t r2i_text_hash(const char *text, size_t n_bytes) {
    uint64_t hash = n_bytes * 0xa0761d6478bd642fu;
    size_t i = 0;
    for (; n_bytes - i > 8; i += 8) {
        hash = (hash ^ load_up_to_8(text + i, 8)) * 0x9fb21c651e98df25u;
        hash ^= hash >> 29;
    }
    hash = (hash ^ load_up_to_8(text + i, n_bytes - i)) * 0xbf58476d1ce4e5b9u;
    hash ^= hash >> 31;
    hash *= 0x94d049bb133111ebu;
    return hash ^ hash >> 30;
}

/* ---- the store ---- */

/* memcmp through the library costs more than all else in a lookup of a short text. */
static inline bool is_equal(r2i_text_view found, const char *text, size_t n) {
    if (found.n_bytes != n) return false;
    if (n > 16) return memcmp(found.bytes, text, n) == 0;
    if (n <= 8) return load_up_to_8(found.bytes, n) == load_up_to_8(text, n);
    return load_up_to_8(found.bytes, 8) == load_up_to_8(text, 8) &&
           load_up_to_8(found.bytes + n - 8, 8) == load_up_to_8(text + n - 8, 8);
}

int32_t r2i_token_store_find_hashed(const r2i_token_store *store, uint64_t hash, const char *text,
                                    size_t n_bytes) {
    const uint32_t tag = (uint32_t)(hash >> 32);
    const size_t mask = store->n_slots - 1;
    for (size_t s = hash & mask;; s = (s + 1) & mask) {
        const r2i_token_slot slot = store->slots[s];
        if (slot.id_1 == 0) return -1;
        if (slot.tag != tag) continue;
        const r2i_text_view found = r2i_token_store_text(store, (int32_t)slot.id_1 - 1);
        if (is_equal(found, text, n_bytes)) return (int32_t)slot.id_1 - 1;
    }
}

int32_t r2i_token_store_find(const r2i_token_store *store, const char *text, size_t n_bytes) {
    return r2i_token_store_find_hashed(store, r2i_text_hash(text, n_bytes), text, n_bytes);
}

/* Lower ids come first, and an equal text is not entered again.  False: a probe sequence as long as
 * only texts chosen to collide make it. */
static bool enter(r2i_token_store *store, int32_t id, uint64_t hash) {
    const uint32_t tag = (uint32_t)(hash >> 32);
    const size_t mask = store->n_slots - 1;
    const r2i_text_view text = r2i_token_store_text(store, id);
    size_t s = hash & mask, n_probes = 0;
    for (; store->slots[s].id_1 != 0; s = (s + 1) & mask) {
        if (++n_probes > MAX_PROBES) return false;
        if (store->slots[s].tag != tag) continue;
        const r2i_text_view other = r2i_token_store_text(store, (int32_t)store->slots[s].id_1 - 1);
        if (!is_equal(other, text.bytes, text.n_bytes)) continue;
        store->n_duplicates++;
        return true;
    }
    store->slots[s] = (r2i_token_slot){ tag, (uint32_t)id + 1 };
    return true;
}

static bool enter_all(r2i_token_store *store) {
    enum { BATCH = 32 };
    uint64_t hashes[BATCH];
    for (int32_t id = 0; id < store->n_tokens; id += BATCH) {
        const int32_t n = r2i_min_i32(BATCH, store->n_tokens - id);
        for (int32_t k = 0; k < n; k++) {
            const r2i_text_view text = r2i_token_store_text(store, id + k);
            hashes[k] = r2i_text_hash(text.bytes, text.n_bytes);
            r2i_token_store_prefetch(store, hashes[k]);
        }
        for (int32_t k = 0; k < n; k++) {
            if (!enter(store, id + k, hashes[k])) return false;
        }
    }
    return true;
}

/* Checks every length and adds them up. */
static r2_status measure(const r2i_text_list *tokens, size_t *n_text_bytes, r2_error *err) {
    r2i_text_cursor cursor;
    r2i_text_view text;
    size_t total = 0;
    r2i_text_cursor_init(&cursor, tokens);
    for (size_t i = 0; i < tokens->n; i++) {
        if (!r2i_text_cursor_next(&cursor, &text)) {
            return r2i_fail(err, R2_E_FORMAT, "tokenizer: tokens: entry %zu of %zu is cut off", i,
                            tokens->n);
        }
        if (text.n_bytes > R2I_MAX_TOKEN_BYTES) {
            return r2i_fail(err, R2_E_LIMIT,
                            "tokenizer: token %zu: expected at most %d bytes, found %zu", i,
                            R2I_MAX_TOKEN_BYTES, text.n_bytes);
        }
        total += text.n_bytes; /* at most 2^20 * 2^14 */
    }
    if (total > UINT32_MAX / 8) {
        return r2i_fail(err, R2_E_LIMIT,
                        "tokenizer: tokens: expected at most %u bytes of text, found %zu",
                        UINT32_MAX / 8, total);
    }
    *n_text_bytes = total;
    return R2_OK;
}

static r2_status copy_types(uint8_t *types, const r2i_vocabulary *vocabulary, r2_error *err) {
    for (size_t i = 0; i < vocabulary->tokens.n; i++) {
        int32_t type = R2I_TOKEN_NORMAL;
        if (vocabulary->types != NULL) memcpy(&type, (const char *)vocabulary->types + 4 * i, 4);
        if (type == 0) type = R2I_TOKEN_NORMAL; /* written as "undefined" by some converters */
        if (type < R2I_TOKEN_NORMAL || type > R2I_TOKEN_BYTE) {
            return r2i_fail(err, R2_E_FORMAT, "tokenizer: token_type %zu: expected 1..6, found %d",
                            i, (int)type);
        }
        types[i] = (uint8_t)type;
    }
    return R2_OK;
}

static size_t table_slots(size_t n) {
    size_t slots = 64;
    while (slots < n + n / 2)
        slots *= 2;
    return slots;
}

r2_status r2i_token_store_init(r2i_token_store *store, const r2i_vocabulary *vocabulary,
                               r2i_arena *arena, r2_error *err) {
    const size_t n = vocabulary->tokens.n;
    size_t n_text_bytes = 0;
    *store = (r2i_token_store){ .heap = arena->heap };
    if (n == 0 || n > R2I_MAX_TOKENS) {
        return r2i_fail(err, R2_E_RANGE, "tokenizer: tokens: expected 1..%d, found %zu",
                        R2I_MAX_TOKENS, n);
    }
    r2_status status = measure(&vocabulary->tokens, &n_text_bytes, err);
    if (status != R2_OK) return status;
    char *text = r2i_arena_push(arena, n_text_bytes + 1, 1);
    uint32_t *offsets = R2I_ARENA_ARRAY(arena, uint32_t, n);
    uint16_t *lengths = R2I_ARENA_ARRAY(arena, uint16_t, n);
    uint8_t *types = R2I_ARENA_ARRAY(arena, uint8_t, n);
    const size_t n_slots = table_slots(n);
    r2i_token_slot *slots = r2i_memory_map(arena->heap, n_slots * sizeof *slots);
    *store = (r2i_token_store){ (int32_t)n, 0,           text,  offsets, lengths,
                                types,      arena->heap, slots, n_slots, 0 };
    if (text == NULL || offsets == NULL || lengths == NULL || types == NULL || slots == NULL) {
        return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for %zu tokens", n);
    }
    status = copy_types(types, vocabulary, err);
    if (status != R2_OK) return status;
    r2i_text_cursor cursor;
    r2i_text_view view;
    uint32_t offset = 0;
    r2i_text_cursor_init(&cursor, &vocabulary->tokens);
    for (size_t i = 0; i < n && r2i_text_cursor_next(&cursor, &view); i++) {
        memcpy(text + offset, view.bytes == NULL ? "" : view.bytes, view.n_bytes);
        offsets[i] = offset;
        lengths[i] = (uint16_t)view.n_bytes;
        if (view.n_bytes > store->n_longest) store->n_longest = (uint32_t)view.n_bytes;
        offset += (uint32_t)view.n_bytes;
    }
    if (!enter_all(store))
        return r2i_fail(err, R2_E_FORMAT, "tokenizer: tokens: too many share a hash");
    return R2_OK;
}

void r2i_token_store_destroy(r2i_token_store *store) {
    r2i_memory_unmap(store->heap, store->slots, store->n_slots * sizeof *store->slots);
    store->slots = NULL;
}
