/* token_store.h - the texts of a vocabulary, found by id and by text.
 *
 * Texts lie one behind another; an open-addressing table of {part of hash, id} finds them.  Where
 * two tokens have the same text the lower id is found. */
#ifndef R2I_TOKEN_STORE_H
#define R2I_TOKEN_STORE_H
#include "base/arena.h"
#include "text/tokenizer.h"

typedef struct {
    uint32_t tag;  /* upper half of the hash */
    uint32_t id_1; /* id + 1; 0: empty */
} r2i_token_slot;

typedef struct {
    int32_t n_tokens;
    uint32_t n_longest;      /* bytes of the longest text */
    const char *text;        /* all texts */
    const uint32_t *offsets; /* [n_tokens] into text */
    const uint16_t *n_bytes; /* [n_tokens] */
    const uint8_t *types;    /* [n_tokens] r2i_token_type */
    r2i_heap *heap;
    r2i_token_slot *slots; /* [n_slots], from r2i_pages */
    size_t n_slots;        /* power of two */
    int32_t n_duplicates;  /* tokens whose text a lower id has */
} r2i_token_store;

/* A short text's hash: good for tables, no defence against chosen collisions (they only slow a
 * lookup down; texts are always compared). */
uint64_t r2i_text_hash(const char *text, size_t n_bytes);

/* Copies texts and types.  R2_E_FORMAT, R2_E_LIMIT: the list does not parse or a text is too long. */
R2_CHECKED r2_status r2i_token_store_init(r2i_token_store *store, const r2i_vocabulary *vocabulary,
                                          r2i_arena *arena, r2_error *err);
void r2i_token_store_destroy(r2i_token_store *store);
/* -1: no such text. */
int32_t r2i_token_store_find(const r2i_token_store *store, const char *text, size_t n_bytes);
/* In steps, so that many lookups overlap their cache misses: prefetch, prefetch_text, find_hashed. */
int32_t r2i_token_store_find_hashed(const r2i_token_store *store, uint64_t hash, const char *text,
                                    size_t n_bytes);
static inline void r2i_token_store_prefetch(const r2i_token_store *store, uint64_t hash) {
    __builtin_prefetch(&store->slots[hash & (store->n_slots - 1)]);
}
static inline void r2i_token_store_prefetch_text(const r2i_token_store *store, uint64_t hash) {
    const uint32_t id_1 = store->slots[hash & (store->n_slots - 1)].id_1;
    if (id_1 != 0) __builtin_prefetch(store->text + store->offsets[id_1 - 1]);
}
static inline r2i_text_view r2i_token_store_text(const r2i_token_store *store, int32_t id) {
    return (r2i_text_view){ store->text + store->offsets[id], store->n_bytes[id] };
}

/* Walks a list of texts. */
typedef struct {
    const r2i_text_list *list;
    size_t i, offset;
} r2i_text_cursor;
void r2i_text_cursor_init(r2i_text_cursor *cursor, const r2i_text_list *list);
/* False at a malformed entry or past the end. */
bool r2i_text_cursor_next(r2i_text_cursor *cursor, r2i_text_view *text);
#endif
