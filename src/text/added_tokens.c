#include "text/added_tokens.h"

#include <string.h>

#include "base/failure.h"
#include "text/utf8_scan.h"

/* ---- building ---- */

static bool is_added(const r2i_token_store *store, int32_t id) {
    return (store->types[id] == R2I_TOKEN_CONTROL || store->types[id] == R2I_TOKEN_USER) &&
           store->n_bytes[id] > 0;
}

static r2_status count_nodes(const r2i_token_store *store, size_t *n_nodes, r2_error *err) {
    size_t n = 1;
    for (int32_t id = 0; id < store->n_tokens; id++) {
        if (!is_added(store, id)) continue;
        if (store->n_bytes[id] > R2I_MAX_ADDED_TOKEN_BYTES) {
            return r2i_fail(err, R2_E_LIMIT,
                            "tokenizer: added token %d: expected at most %d bytes, found %d",
                            (int)id, R2I_MAX_ADDED_TOKEN_BYTES, (int)store->n_bytes[id]);
        }
        n += store->n_bytes[id];
    }
    *n_nodes = n;
    return R2_OK;
}

static int32_t find_child(const r2i_added_node *nodes, int32_t parent, uint8_t byte) {
    int32_t i = nodes[parent].child;
    while (i != 0 && nodes[i].byte != byte)
        i = nodes[i].sibling;
    return i;
}

/* The lower id keeps a text that two tokens share. */
static void enter(r2i_added_node *nodes, size_t *n_nodes, r2i_text_view text, int32_t id) {
    int32_t at = 0;
    for (size_t i = 0; i < text.n_bytes; i++) {
        const uint8_t byte = (uint8_t)text.bytes[i];
        int32_t child = find_child(nodes, at, byte);
        if (child == 0) {
            child = (int32_t)(*n_nodes)++;
            nodes[child] = (r2i_added_node){ -1, 0, nodes[at].child, byte };
            nodes[at].child = child;
        }
        at = child;
    }
    if (nodes[at].id < 0) nodes[at].id = id;
}

r2_status r2i_added_tokens_init(r2i_added_tokens *added, const r2i_token_store *store,
                                const uint8_t *strips, r2i_arena *arena, r2_error *err) {
    size_t n_nodes = 0;
    *added = (r2i_added_tokens){ .strips = strips };
    const r2_status status = count_nodes(store, &n_nodes, err);
    if (status != R2_OK) return status;
    r2i_added_node *nodes = R2I_ARENA_ARRAY(arena, r2i_added_node, n_nodes);
    if (nodes == NULL) return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for added tokens");
    nodes[0].id = -1;
    added->n_nodes = 1;
    for (int32_t id = 0; id < store->n_tokens; id++) {
        if (!is_added(store, id)) continue;
        const r2i_text_view text = r2i_token_store_text(store, id);
        enter(nodes, &added->n_nodes, text, id);
        added->can_start[(uint8_t)text.bytes[0]] = true;
        added->is_any = true;
    }
    added->nodes = nodes;
    return R2_OK;
}

/* ---- matching ---- */

/* Where the trusted bytes that start at `begin` end (`begin` itself when it is untrusted). */
static size_t trusted_end(const r2i_encode_text *text, size_t begin) {
    if ((text->flags & R2I_ENCODE_CONTROL) == 0) return begin;
    size_t low = 0, high = text->n_untrusted; /* first range that ends behind `begin` */
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (text->untrusted[middle].end <= begin)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == text->n_untrusted) return text->n_bytes;
    return text->untrusted[low].begin <= begin ? begin : text->untrusted[low].begin;
}

/* Does a token say what text around it is, as control tokens do?  In conversations those that are written
 * "<...>" count as such whatever the vocabulary calls them: <tool_call>, </think>. */
static bool is_marker(const r2i_token_store *store, const r2i_encode_text *text, int32_t id,
                      char first, char last) {
    if (store->types[id] == R2I_TOKEN_CONTROL) return true;
    return (text->flags & R2I_ENCODE_CONTROL) != 0 && first == '<' && last == '>';
}

static r2i_added_match longest_at(const r2i_added_tokens *added, const r2i_token_store *store,
                                  const r2i_encode_text *text, size_t begin) {
    r2i_added_match best = { begin, begin, -1 };
    const size_t control_end = trusted_end(text, begin);
    int32_t at = 0;
    for (size_t i = begin; i < text->n_bytes; i++) {
        at = find_child(added->nodes, at, (uint8_t)text->bytes[i]);
        if (at == 0) break;
        const int32_t id = added->nodes[at].id;
        if (id < 0 ||
            (i + 1 > control_end && is_marker(store, text, id, text->bytes[begin], text->bytes[i])))
            continue;
        best = (r2i_added_match){ begin, i + 1, id };
    }
    return best;
}

static bool is_blank(int32_t c) {
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static void strip_right(const r2i_encode_text *text, r2i_added_match *match) {
    while (match->end < text->n_bytes) {
        const r2i_utf8_step step =
            r2i_utf8_next(text->bytes + match->end, text->n_bytes - match->end);
        if (step.kind != R2I_UTF8_CHAR || !is_blank(step.code_point)) return;
        match->end += (size_t)step.n_bytes;
    }
}

static void strip_left(const r2i_encode_text *text, size_t start, r2i_added_match *match) {
    while (match->begin > start) {
        size_t at = match->begin - 1;
        while (at > start && match->begin - at < 3 && ((uint8_t)text->bytes[at] & 0xc0) == 0x80)
            at--;
        const r2i_utf8_step step = r2i_utf8_next(text->bytes + at, match->begin - at);
        if (step.kind != R2I_UTF8_CHAR || (size_t)step.n_bytes != match->begin - at ||
            !is_blank(step.code_point))
            return;
        match->begin = at;
    }
}

r2i_added_match r2i_added_tokens_next(const r2i_added_tokens *added, const r2i_token_store *store,
                                      const r2i_encode_text *text, size_t start) {
    const char *bytes = text->bytes;
    for (size_t i = start; added->is_any && i < text->n_bytes; i++) {
        if (!added->can_start[(uint8_t)bytes[i]]) continue;
        r2i_added_match match = longest_at(added, store, text, i);
        if (match.id < 0) continue;
        const uint8_t strips = added->strips == NULL ? 0 : added->strips[match.id];
        if ((strips & R2I_STRIP_RIGHT) != 0) strip_right(text, &match);
        if ((strips & R2I_STRIP_LEFT) != 0) strip_left(text, start, &match);
        return match;
    }
    return (r2i_added_match){ text->n_bytes, text->n_bytes, -1 };
}
