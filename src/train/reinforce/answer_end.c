#include "train/reinforce/answer_end.h"

#include <string.h>

#include "base/checked.h"
#include "base/failure.h"

/* A closing tag is at most so many tokens, and a token at most so many bytes where one ends in it. */
enum { TAIL_TOKENS = 12, TOKEN_BYTES = 64 };

static r2_status append_tokens(const r2_model *model, const r2_token *tokens, int32_t n_tokens,
                               r2i_buffer *room) {
    char bytes[TOKEN_BYTES];
    r2i_buffer_clear(room);
    for (int32_t i = 0; i < n_tokens; i++) {
        const size_t n = r2_token_bytes(model, tokens[i], bytes, sizeof bytes);
        /* Longer ones are runs of spaces and the like. */
        if (n <= sizeof bytes) R2I_TRY(r2i_buffer_append(room, bytes, n, NULL));
    }
    return r2i_buffer_append(room, "", 1, NULL);
}

/* Byte 0 would end the search. */
static const char *find(const r2i_buffer *room, const char *from, const char *word) {
    const size_t n = strlen(word);
    const char *end = room->bytes + room->n_bytes;
    for (const char *at = from; at + n <= end; at++) {
        if (memcmp(at, word, n) == 0) return at;
    }
    return NULL;
}

/* The text behind the last thoughts; NULL: they go on. */
static const char *visible_part(const r2i_buffer *room) {
    const char *from = room->bytes, *open;
    while ((open = find(room, from, "<think>")) != NULL) {
        from = find(room, open, "</think>");
        if (from == NULL) return NULL;
    }
    /* A block that the prompt opened. */
    const char *close = find(room, from, "</think>");
    return close != NULL ? close : from;
}

bool r2i_answer_has_end(const r2_model *model, const r2_token *tokens, int32_t n_tokens,
                        r2i_buffer *room) {
    const int32_t n_tail = r2i_min_i32(TAIL_TOKENS, n_tokens);
    if (append_tokens(model, tokens + n_tokens - n_tail, n_tail, room) != R2_OK ||
        find(room, room->bytes, "</answer>") == NULL)
        return false;
    if (append_tokens(model, tokens, n_tokens, room) != R2_OK) return false;
    const char *visible = visible_part(room);
    const char *open = visible != NULL ? find(room, visible, "<answer>") : NULL;
    return open != NULL && find(room, open, "</answer>") != NULL;
}
