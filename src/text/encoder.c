/* encoder.c - text to ids.
 *
 *   text      cut at added tokens into segments
 *   segment   byte-level: valid UTF-8 runs -> NFC -> pieces of the patterns
 *             SentencePiece: spaces become marks -> words
 *   piece     looked up in the word cache, or its symbols are merged */
#include <string.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/failure.h"
#include "text/merge_piece.h"
#include "text/normalizer.h"
#include "text/tokenizer_parts.h"
#include "text/utf8_scan.h"

enum {
    CACHE_SLOTS = 1 << 14,
    CACHE_BYTES = 22, /* longest piece and most ids of a cached one: a slot is one cache line */
    CACHE_IDS = 8,
    FIRST_IDS = 4096
};

typedef struct {
    uint64_t hash;
    uint8_t n_bytes, n_ids; /* n_bytes 0: empty */
    char piece[CACHE_BYTES];
    int32_t ids[CACHE_IDS];
} cached_word;

struct r2i_encoder {
    const r2i_tokenizer *tokenizer;
    r2i_heap *heap;
    r2i_pretokenizer_state *state;
    r2i_merge_scratch scratch;
    r2i_buffer rewritten; /* a segment in NFC or with space marks */
    cached_word *cache;   /* [CACHE_SLOTS] */
    int32_t *ids;         /* [cap_ids], the result */
    size_t n_ids, cap_ids;
};

/* ---- making and unmaking ---- */

r2_status r2i_encoder_create(r2i_encoder **out, const r2i_tokenizer *tokenizer, r2i_heap *heap,
                             r2_error *err) {
    *out = NULL;
    r2i_encoder *e = r2i_heap_take(heap, sizeof *e);
    if (e == NULL) return r2i_fail(err, R2_E_NOMEM, "encoder: no memory");
    *e = (r2i_encoder){ .tokenizer = tokenizer, .heap = heap };
    r2i_merge_scratch_init(&e->scratch, heap);
    /* NFC at most triples UTF-8 (Unicode TR15), a space mark takes three bytes. */
    r2i_buffer_init(&e->rewritten, heap, 3 * (size_t)R2I_MAX_ENCODE_BYTES + 16);
    e->cache = r2i_memory_map(heap, CACHE_SLOTS * sizeof *e->cache);
    r2_status status = R2_OK;
    if (e->cache == NULL)
        status = r2i_fail(err, R2_E_NOMEM, "encoder: no memory for the word cache");
    if (status == R2_OK) status = r2i_pretokenizer_state_create(&e->state, heap, err);
    if (status != R2_OK) {
        r2i_encoder_destroy(e);
        return status;
    }
    *out = e;
    return R2_OK;
}

void r2i_encoder_destroy(r2i_encoder *e) {
    if (e == NULL) return;
    r2i_pretokenizer_state_destroy(e->state);
    r2i_merge_scratch_destroy(&e->scratch);
    r2i_buffer_destroy(&e->rewritten);
    r2i_memory_unmap(e->heap, e->cache, CACHE_SLOTS * sizeof *e->cache);
    r2i_heap_give(e->heap, e->ids, e->cap_ids * sizeof *e->ids);
    r2i_heap_give(e->heap, e, sizeof *e);
}

/* Room for n more ids. */
static r2_status reserve(r2i_encoder *e, size_t n, r2_error *err) {
    if (n <= e->cap_ids - e->n_ids) return R2_OK;
    const size_t wanted =
        r2i_max_size(r2i_max_size(e->n_ids + n, e->cap_ids + e->cap_ids / 2), FIRST_IDS);
    int32_t *ids = r2i_heap_resize(e->heap, e->ids, e->cap_ids * sizeof *ids, wanted * sizeof *ids);
    if (ids == NULL) return r2i_fail(err, R2_E_NOMEM, "encoder: no memory for %zu tokens", wanted);
    e->ids = ids;
    e->cap_ids = wanted;
    return R2_OK;
}

static r2_status put_id(r2i_encoder *e, int32_t id, r2_error *err) {
    const r2_status status = reserve(e, 1, err);
    if (status == R2_OK) e->ids[e->n_ids++] = id;
    return status;
}

/* ---- pieces ---- */

/* Each function below writes the first symbols of a piece to ids (room for n_bytes of them) and
 * returns how many. */
static size_t put_bytes(const r2i_tokenizer *t, const char *piece, size_t n_bytes, int32_t *ids) {
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        ids[n] = t->byte_ids[(uint8_t)piece[i]];
        n += ids[n] >= 0; /* a byte that the vocabulary lacks is dropped */
    }
    return n;
}

static int32_t character_id(const r2i_tokenizer *t, const char *text, size_t n_bytes) {
    if (n_bytes == 1 && (uint8_t)text[0] < 0x80) return t->ascii_ids[(uint8_t)text[0]];
    const int32_t id = r2i_token_store_find(&t->store, text, n_bytes);
    return id >= 0 && t->store.types[id] == R2I_TOKEN_NORMAL ? id : -1;
}

static bool has_bytes(const r2i_tokenizer *t, const char *text, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++) {
        if (t->byte_ids[(uint8_t)text[i]] < 0) return false;
    }
    return true;
}

static size_t put_characters(const r2i_tokenizer *t, const char *piece, size_t n_bytes,
                             int32_t *ids) {
    size_t n = 0;
    bool was_unknown = false;
    for (size_t i = 0; i < n_bytes;) {
        const size_t n_char = (size_t)r2i_utf8_next(piece + i, n_bytes - i).n_bytes;
        const int32_t id = character_id(t, piece + i, n_char);
        const bool is_unknown = id < 0 && !has_bytes(t, piece + i, n_char);
        if (id >= 0)
            ids[n++] = id;
        else if (!is_unknown)
            n += put_bytes(t, piece + i, n_char, ids + n);
        else if (t->unk_id >= 0 && (!was_unknown || t->split_unknown))
            ids[n++] = t->unk_id;
        was_unknown = is_unknown;
        i += n_char;
    }
    return n;
}

/* Id of a piece that is a token as a whole, or -1. */
static int32_t whole_piece(const r2i_tokenizer *t, const char *piece, size_t n_bytes) {
    char text[2 * R2I_MAX_ADDED_TOKEN_BYTES];
    size_t n = 0;
    if (n_bytes > R2I_MAX_ADDED_TOKEN_BYTES) return -1;
    for (size_t i = 0; i < n_bytes; i++) {
        const uint8_t byte = (uint8_t)piece[i];
        memcpy(text + n, t->letters.letter[byte], 2);
        n += t->letters.n_bytes[byte];
    }
    const int32_t id = r2i_token_store_find(&t->store, text, n);
    return id >= 0 && t->store.types[id] == R2I_TOKEN_NORMAL ? id : -1;
}

static r2_status merge_symbols(r2i_encoder *e, const char *piece, size_t n_bytes, r2_error *err) {
    const r2i_tokenizer *t = e->tokenizer;
    int32_t *ids = e->ids + e->n_ids;
    if (t->scheme.whole_piece && t->is_bytes) {
        ids[0] = whole_piece(t, piece, n_bytes);
        if (ids[0] >= 0) {
            e->n_ids++;
            return R2_OK;
        }
    }
    size_t n =
        t->is_bytes ? put_bytes(t, piece, n_bytes, ids) : put_characters(t, piece, n_bytes, ids);
    if (n > 1) {
        const r2_status status = r2i_merge_piece(&t->merges, ids, n, &n, &e->scratch, err);
        if (status != R2_OK) return status;
    }
    e->n_ids += n;
    return R2_OK;
}

static r2_status put_piece(void *context, const char *piece, size_t n_bytes, r2_error *err) {
    r2i_encoder *e = context;
    r2_status status = reserve(e, n_bytes + CACHE_IDS, err);
    if (status != R2_OK) return status;
    if (n_bytes > CACHE_BYTES) return merge_symbols(e, piece, n_bytes, err);
    const uint64_t hash = r2i_text_hash(piece, n_bytes);
    cached_word *word = &e->cache[hash % CACHE_SLOTS];
    if (word->hash == hash && word->n_bytes == n_bytes &&
        memcmp(word->piece, piece, n_bytes) == 0) {
        memcpy(e->ids + e->n_ids, word->ids, sizeof word->ids);
        e->n_ids += word->n_ids;
        return R2_OK;
    }
    const size_t first = e->n_ids;
    status = merge_symbols(e, piece, n_bytes, err);
    const size_t n = e->n_ids - first;
    if (status != R2_OK || n > CACHE_IDS) return status;
    word->hash = hash;
    word->n_bytes = (uint8_t)n_bytes;
    word->n_ids = (uint8_t)n;
    memcpy(word->piece, piece, n_bytes);
    memcpy(word->ids, e->ids + first, n * sizeof *e->ids);
    return R2_OK;
}

/* ---- segments ---- */

static r2_status put_valid_run(r2i_encoder *e, const char *text, size_t n_bytes, r2_error *err) {
    const r2i_tokenizer *t = e->tokenizer;
    if (t->scheme.is_nfc && !r2i_nfc_is_certain(text, n_bytes)) {
        r2i_buffer_clear(&e->rewritten);
        const r2_status status = r2i_nfc_append(&e->rewritten, text, n_bytes, err);
        if (status != R2_OK) return status;
        text = e->rewritten.bytes;
        n_bytes = e->rewritten.n_bytes;
    }
    return r2i_pretokenizer_cut(t->pretokenizer, e->state, text, n_bytes, put_piece, e, err);
}

/* Patterns need valid UTF-8; bytes that are none become pieces of their own. */
static r2_status put_byte_segment(r2i_encoder *e, const char *text, size_t n_bytes, r2_error *err) {
    for (size_t i = 0; i < n_bytes;) {
        const size_t n_valid = r2i_utf8_valid_prefix(text + i, n_bytes - i);
        r2_status status = n_valid == 0 ? R2_OK : put_valid_run(e, text + i, n_valid, err);
        i += n_valid;
        if (status == R2_OK && i < n_bytes) {
            const size_t n_bad = (size_t)r2i_utf8_next(text + i, n_bytes - i).n_bytes;
            status = put_piece(e, text + i, n_bad, err);
            i += n_bad;
        }
        if (status != R2_OK) return status;
    }
    return R2_OK;
}

static r2_status append_marked(r2i_buffer *out, const char *text, size_t n_bytes, r2_error *err) {
    r2_status status = R2_OK;
    for (size_t i = 0; status == R2_OK && i < n_bytes;) {
        const char *space = memchr(text + i, ' ', n_bytes - i);
        const size_t n_plain = space == NULL ? n_bytes - i : (size_t)(space - (text + i));
        status = r2i_buffer_append(out, text + i, n_plain, err);
        if (status == R2_OK && space != NULL)
            status = r2i_buffer_append(out, R2I_SPACE_MARK, R2I_SPACE_MARK_BYTES, err);
        i += n_plain + (space != NULL);
    }
    return status;
}

static bool is_mark(const char *text, size_t n_bytes) {
    return n_bytes >= R2I_SPACE_MARK_BYTES &&
           memcmp(text, R2I_SPACE_MARK, R2I_SPACE_MARK_BYTES) == 0;
}

/* Bytes of the first word: marks, then all up to the next mark. */
static size_t word_bytes(const char *text, size_t n_bytes) {
    size_t i = 0;
    while (is_mark(text + i, n_bytes - i))
        i += R2I_SPACE_MARK_BYTES;
    while (i < n_bytes) {
        const char *lead = memchr(text + i, R2I_SPACE_MARK[0], n_bytes - i);
        if (lead == NULL) return n_bytes;
        i = (size_t)(lead - text);
        if (is_mark(lead, n_bytes - i)) return i;
        i++;
    }
    return n_bytes;
}

static r2_status put_marked_segment(r2i_encoder *e, const char *text, size_t n_bytes, bool is_first,
                                    r2_error *err) {
    const r2i_tokenizer *t = e->tokenizer;
    bool has_prefix =
        t->space_prefix == R2I_PREFIX_EVERY || (t->space_prefix == R2I_PREFIX_FIRST && is_first);
    if (t->keep_single_space && (text[0] == ' ' || is_mark(text, n_bytes))) has_prefix = false;
    r2i_buffer_clear(&e->rewritten);
    r2_status status =
        has_prefix ? r2i_buffer_append(&e->rewritten, R2I_SPACE_MARK, R2I_SPACE_MARK_BYTES, err)
                   : R2_OK;
    if (status == R2_OK) status = append_marked(&e->rewritten, text, n_bytes, err);
    const char *marked = e->rewritten.bytes;
    const size_t n = e->rewritten.n_bytes;
    for (size_t i = 0; status == R2_OK && i < n;) {
        const size_t n_word = t->can_split_words ? word_bytes(marked + i, n - i) : n - i;
        status = put_piece(e, marked + i, n_word, err);
        i += n_word;
    }
    return status;
}

/* ---- the whole text ---- */

static r2_status check_text(const r2i_encode_text *text, r2_error *err) {
    if (text->n_bytes > R2I_MAX_ENCODE_BYTES) {
        return r2i_fail(err, R2_E_LIMIT, "encoder: text: expected at most %d bytes, found %zu",
                        R2I_MAX_ENCODE_BYTES, text->n_bytes);
    }
    size_t end = 0;
    for (size_t i = 0; i < text->n_untrusted; i++) {
        const r2i_text_range range = text->untrusted[i];
        if (range.begin < end || range.end < range.begin || range.end > text->n_bytes) {
            return r2i_fail(err, R2_E_ARGUMENT,
                            "encoder: untrusted range %zu: expected ascending and inside %zu bytes",
                            i, text->n_bytes);
        }
        end = range.end;
    }
    return R2_OK;
}

static r2_status put_text(r2i_encoder *e, const r2i_encode_text *text, r2_error *err) {
    const r2i_tokenizer *t = e->tokenizer;
    for (size_t at = 0; at < text->n_bytes;) {
        const r2i_added_match match = r2i_added_tokens_next(&t->added, &t->store, text, at);
        const size_t n = match.begin - at;
        r2_status status = R2_OK;
        if (n > 0) {
            status = t->is_bytes ? put_byte_segment(e, text->bytes + at, n, err)
                                 : put_marked_segment(e, text->bytes + at, n, at == 0, err);
        }
        if (status == R2_OK && match.id >= 0) status = put_id(e, match.id, err);
        if (status != R2_OK) return status;
        at = match.end;
    }
    return R2_OK;
}

r2_status r2i_encoder_run(r2i_encoder *e, const r2i_encode_text *text, const int32_t **ids,
                          size_t *n_ids, r2_error *err) {
    const r2i_tokenizer *t = e->tokenizer;
    const bool has_ends = (text->flags & R2I_ENCODE_ENDS) != 0;
    size_t skip = 0;
    *ids = NULL;
    *n_ids = 0;
    e->n_ids = 0;
    r2_status status = check_text(text, err);
    if (status == R2_OK) status = reserve(e, 1, err);
    const bool has_bos = has_ends && r2i_tokenizer_adds_bos(t);
    if (status == R2_OK && has_bos) status = put_id(e, t->bos_id, err);
    if (status == R2_OK) status = put_text(e, text, err);
    if (status != R2_OK) return status;
    if (has_bos && e->n_ids > 1 && e->ids[1] == t->bos_id)
        skip = 1; /* the template wrote it already */
    if (has_ends && t->add_eos && t->eos_id >= 0) status = put_id(e, t->eos_id, err);
    if (status != R2_OK) return status;
    *ids = e->ids + skip;
    *n_ids = e->n_ids - skip;
    return R2_OK;
}

r2_status r2i_encoder_run_text(r2i_encoder *encoder, const char *bytes, size_t n_bytes,
                               unsigned flags, const int32_t **ids, size_t *n_ids, r2_error *err) {
    const r2i_encode_text text = { bytes, n_bytes, flags, NULL, 0 };
    return r2i_encoder_run(encoder, &text, ids, n_ids, err);
}
