/* tool_parser.c - tokens and marks in, pieces out; what stands between marks is for tool_call_bytes.c. */
#include <string.h>

#include "base/failure.h"
#include "text/tool_parser_parts.h"

enum { MAX_TEXT_BYTES = 1 << 26, MARK_BYTES = 64 };

void r2i_tool_parser_init(r2i_tool_parser *p, const r2i_tool_syntax *syntax, const json_t *tools,
                          const r2i_tokenizer *tokenizer, r2i_heap *heap) {
    const bool is_bare = syntax->family == R2I_CALLS_LLAMA || syntax->family == R2I_CALLS_HERMES;
    *p = (r2i_tool_parser){ .heap = heap,
                            .syntax = *syntax,
                            .tools = tools,
                            .state = is_bare ? R2I_CALL_AT_START : R2I_CALL_CONTENT };
    r2i_detokenizer_init(&p->stream, tokenizer, R2I_DECODE_KEEP_SPACE);
    r2i_buffer_init(&p->decoded, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&p->marked, heap, MARK_BYTES);
    r2i_buffer_init(&p->held, heap, R2I_CALL_HELD_BYTES);
    r2i_buffer_init(&p->text, heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&p->pieces, heap, MAX_TEXT_BYTES);
}

void r2i_tool_parser_destroy(r2i_tool_parser *p) {
    r2i_buffer_destroy(&p->decoded);
    r2i_buffer_destroy(&p->marked);
    r2i_buffer_destroy(&p->held);
    r2i_buffer_destroy(&p->text);
    r2i_buffer_destroy(&p->pieces);
}

int32_t r2i_tool_parser_n_complete(const r2i_tool_parser *p) {
    const bool is_open = p->state == R2I_CALL_ENVELOPE || p->state == R2I_CALL_BARE;
    return p->n_calls - (is_open && p->is_begun);
}

bool r2i_tool_parser_is_in_call(const r2i_tool_parser *p) {
    return p->state != R2I_CALL_AT_START && p->state != R2I_CALL_CONTENT;
}

/* ---- marks ---- */

static bool is_in_string(const r2i_tool_parser *p) {
    if (p->state == R2I_CALL_BARE) return p->value.is_string;
    return p->state == R2I_CALL_ENVELOPE && (p->spot == R2I_ENVELOPE_IN_KEY ||
                                             (p->spot == R2I_ENVELOPE_VALUE && p->value.is_string));
}

/* A mark in the midst of a call. */
static void cut_call(r2i_tool_parser *p, r2i_call_mark mark) {
    const bool is_closing = mark == R2I_MARK_CLOSE || mark == R2I_MARK_END;
    if (p->state == R2I_CALL_NAME && is_closing) {
        (void)r2i_tool_parser_announce_bare(p); /* without arguments */
        r2i_tool_parser_give_up(p);
    } else if (p->state == R2I_CALL_ENVELOPE || p->state == R2I_CALL_BARE ||
               p->state == R2I_CALL_NAME ||
               (p->state == R2I_CALL_HEAD && mark != R2I_MARK_SEPARATOR)) {
        r2i_tool_parser_give_up(p);
    }
}

static void open_call(r2i_tool_parser *p, const char *text) {
    const bool is_hermes = p->syntax.family == R2I_CALLS_HERMES;
    r2i_tool_parser_end_content(p);
    r2i_tool_parser_begin_call(p, is_hermes ? R2I_CALL_ENVELOPE : R2I_CALL_HEAD);
    p->is_listed = p->is_bare = false;
    r2i_tool_parser_note(p, r2i_buffer_append_text(&p->held, text, NULL));
    p->head_begin = p->held.n_bytes;
}

static void separate(r2i_tool_parser *p, const char *text) {
    p->head_end = p->held.n_bytes;
    r2i_tool_parser_note(p, r2i_buffer_append_text(&p->held, text, NULL));
    p->value_begin = p->held.n_bytes;
    p->state = R2I_CALL_NAME;
}

static void begin_all(r2i_tool_parser *p) {
    r2i_tool_parser_end_content(p);
    if (p->syntax.family == R2I_CALLS_LLAMA)
        r2i_tool_parser_begin_call(p, R2I_CALL_ENVELOPE);
    else
        p->state = R2I_CALL_BETWEEN;
    p->is_bare = false;
}

static void take_mark(r2i_tool_parser *p, r2i_call_mark mark) {
    const char *text = r2i_call_mark_text(p->syntax.family, mark);
    if (is_in_string(p)) {
        for (; *text != '\0'; text++)
            r2i_tool_parser_take_byte(p, *text);
        return;
    }
    cut_call(p, mark);
    switch (mark) {
    case R2I_MARK_BEGIN:
        begin_all(p);
        return;
    case R2I_MARK_OPEN:
        open_call(p, text);
        return;
    case R2I_MARK_SEPARATOR:
        if (p->state == R2I_CALL_HEAD)
            separate(p, text);
        else if (p->state == R2I_CALL_CONTENT)
            r2i_tool_parser_give_content_text(p, text);
        return;
    default:
        if (p->state == R2I_CALL_CONTENT || p->state == R2I_CALL_AT_START)
            r2i_tool_parser_give_content_text(p, text);
        else
            p->state = R2I_CALL_BETWEEN;
        return;
    }
}

/* ---- marks that are written as text ---- */

/* The mark that `marked` is, or begins (-1: none does). */
static int32_t find_mark(const r2i_tool_parser *p, bool *is_whole) {
    for (int32_t m = 0; m < R2I_N_MARKS; m++) {
        const char *text = r2i_call_mark_text(p->syntax.family, (r2i_call_mark)m);
        const size_t n = p->marked.n_bytes;
        if (text == NULL || p->syntax.ids[m] >= 0 || strncmp(text, p->marked.bytes, n) != 0)
            continue;
        *is_whole = strlen(text) == n;
        return m;
    }
    return -1;
}

static void drop_first(r2i_buffer *b) {
    b->n_bytes--;
    memmove(b->bytes, b->bytes + 1, b->n_bytes + 1);
}

/* Gives on what cannot be a mark any more. */
static void settle(r2i_tool_parser *p, bool is_last) {
    while (p->marked.n_bytes > 0) {
        bool is_whole = false;
        const int32_t mark = is_in_string(p) ? -1 : find_mark(p, &is_whole);
        if (mark >= 0 && is_whole) {
            r2i_buffer_clear(&p->marked);
            take_mark(p, (r2i_call_mark)mark);
        } else if (mark >= 0 && !is_last) {
            return;
        } else {
            const char c = p->marked.bytes[0];
            drop_first(&p->marked);
            r2i_tool_parser_take_byte(p, c);
        }
    }
}

/* ---- the way in ---- */

static void begin_feed(r2i_tool_parser *p) {
    r2i_buffer_clear(&p->text);
    r2i_buffer_clear(&p->pieces);
    p->status = R2_OK;
}

static r2_status end_feed(const r2i_tool_parser *p, r2_error *err) {
    return p->status == R2_OK ? R2_OK
                              : r2i_fail(err, p->status, "tool calls: %s",
                                         p->status == R2_E_LIMIT ? "too long" : "no memory");
}

static void take_text(r2i_tool_parser *p, const char *bytes, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes && p->status == R2_OK; i++) {
        r2i_tool_parser_note(p, r2i_buffer_append(&p->marked, bytes + i, 1, NULL));
        settle(p, false);
    }
}

r2_status r2i_tool_parser_feed_text(r2i_tool_parser *p, const char *bytes, size_t n_bytes,
                                    r2_error *err) {
    begin_feed(p);
    take_text(p, bytes, n_bytes);
    return end_feed(p, err);
}

r2_status r2i_tool_parser_feed_mark(r2i_tool_parser *p, r2i_call_mark mark, r2_error *err) {
    begin_feed(p);
    settle(p, true);
    take_mark(p, mark);
    return end_feed(p, err);
}

/* What the detokenizer has kept of a character. */
static void take_rest(r2i_tool_parser *p) {
    r2i_buffer_clear(&p->decoded);
    if (p->stream.tokenizer != NULL)
        r2i_tool_parser_note(p, r2i_detokenizer_finish(&p->stream, &p->decoded, NULL));
    take_text(p, p->decoded.bytes, p->decoded.n_bytes);
}

r2_status r2i_tool_parser_feed(r2i_tool_parser *p, int32_t token, r2_error *err) {
    begin_feed(p);
    for (int32_t m = 0; m < R2I_N_MARKS; m++) {
        if (token < 0 || p->syntax.ids[m] != token) continue;
        take_rest(p);
        settle(p, true);
        take_mark(p, (r2i_call_mark)m);
        return end_feed(p, err);
    }
    r2i_buffer_clear(&p->decoded);
    r2i_tool_parser_note(p, r2i_detokenizer_push(&p->stream, token, &p->decoded, NULL));
    take_text(p, p->decoded.bytes, p->decoded.n_bytes);
    return end_feed(p, err);
}

r2_status r2i_tool_parser_finish(r2i_tool_parser *p, r2_error *err) {
    begin_feed(p);
    take_rest(p);
    settle(p, true);
    if (p->state == R2I_CALL_BETWEEN || p->state == R2I_CALL_TAIL || p->is_begun)
        r2i_buffer_clear(&p->held); /* blanks, or the rest of a call that was cut short */
    else
        r2i_tool_parser_give_held(p);
    return end_feed(p, err);
}
