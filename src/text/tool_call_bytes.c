/* tool_call_bytes.c - from the bytes between two marks to content and calls: an automaton of r2i_call_state. */
#include <string.h>

#include "text/tool_parser_parts.h"

enum { MAX_HEAD_BYTES = 1 << 12, MAX_BLANKS = 256 };

/* ---- giving out ---- */

void r2i_tool_parser_note(r2i_tool_parser *p, r2_status status) {
    if (p->status == R2_OK) p->status = status;
}

static void give(r2i_tool_parser *p, r2i_call_piece_kind kind, const char *bytes, size_t n_bytes) {
    const int32_t call = kind == R2I_PIECE_CONTENT ? -1 : p->n_calls - 1;
    size_t n;
    r2i_call_piece *last = (r2i_call_piece *)(uintptr_t)r2i_tool_parser_pieces(p, &n);
    const r2i_call_piece piece = { kind, call, p->text.n_bytes, n_bytes };
    if (n_bytes == 0) return;
    r2i_tool_parser_note(p, r2i_buffer_append(&p->text, bytes, n_bytes, NULL));
    if (n > 0 && last[n - 1].kind == kind && last[n - 1].call == call)
        last[n - 1].n_bytes += n_bytes;
    else
        r2i_tool_parser_note(p, r2i_buffer_append(&p->pieces, &piece, sizeof piece, NULL));
}

static bool is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Held blanks and what follows them are content. */
void r2i_tool_parser_give_held(r2i_tool_parser *p) {
    for (size_t i = 0; i < p->held.n_bytes && !p->has_content; i++)
        p->has_content = !is_blank(p->held.bytes[i]);
    give(p, R2I_PIECE_CONTENT, p->held.bytes, p->held.n_bytes);
    r2i_buffer_clear(&p->held);
}

static void give_content(r2i_tool_parser *p, char c) {
    p->state = R2I_CALL_CONTENT;
    if (is_blank(c) && p->held.n_bytes < MAX_BLANKS) {
        r2i_tool_parser_note(p, r2i_buffer_append(&p->held, &c, 1, NULL));
        return;
    }
    r2i_tool_parser_give_held(p);
    p->has_content |= !is_blank(c);
    give(p, R2I_PIECE_CONTENT, &c, 1);
}

void r2i_tool_parser_give_content_text(r2i_tool_parser *p, const char *text) {
    for (; *text != '\0'; text++)
        give_content(p, *text);
}

/* ---- the call being read ---- */

void r2i_tool_parser_give_up(r2i_tool_parser *p) {
    if (p->is_begun) {
        if (!p->has_arguments) give(p, R2I_PIECE_ARGUMENTS, "{}", 2);
        r2i_buffer_clear(&p->held);
        p->state = R2I_CALL_TAIL;
        return;
    }
    r2i_tool_parser_give_held(p);
    p->state = R2I_CALL_CONTENT;
}

void r2i_tool_parser_end_content(r2i_tool_parser *p) {
    size_t n = p->held.n_bytes;
    const bool is_kept = p->has_content && p->state == R2I_CALL_CONTENT;
    if (n > 0 && p->syntax.family == R2I_CALLS_HERMES && p->held.bytes[n - 1] == '\n') n--;
    if (is_kept) give(p, R2I_PIECE_CONTENT, p->held.bytes, n);
    r2i_buffer_clear(&p->held);
}

void r2i_tool_parser_begin_call(r2i_tool_parser *p, r2i_call_state state) {
    p->state = state;
    p->is_begun = p->has_arguments = p->is_escaped = false;
    p->spot = R2I_ENVELOPE_OPEN;
    p->value = (r2i_call_value){ 0 };
    p->value_begin = p->arguments_begin = p->arguments_end = 0;
}

/* False: there was no room, and the parser gave up. */
static bool hold(r2i_tool_parser *p, char c, size_t max_bytes) {
    if (p->held.n_bytes < max_bytes && r2i_buffer_append(&p->held, &c, 1, NULL) == R2_OK)
        return true;
    r2i_tool_parser_give_up(p);
    if (p->state == R2I_CALL_CONTENT) give_content(p, c);
    return false;
}

static bool is_known(const r2i_tool_parser *p, const char *name, size_t n_bytes) {
    for (size_t i = 0; i < json_array_size(p->tools); i++) {
        const json_t *tool = json_array_get(p->tools, i),
                     *function = json_object_get(tool, "function"),
                     *known = json_object_get(function != NULL ? function : tool, "name");
        if (json_string_length(known) == n_bytes && json_is_string(known) &&
            memcmp(json_string_value(known), name, n_bytes) == 0)
            return true;
    }
    return p->tools == NULL;
}

static void give_value(r2i_tool_parser *p, const char *bytes, size_t n_bytes);

/* The name is known.  False: it is none. */
static bool announce(r2i_tool_parser *p, const char *name, size_t n_bytes) {
    if (n_bytes == 0 || n_bytes > R2I_CALL_NAME_BYTES) return false;
    for (size_t i = 0; i < n_bytes; i++) {
        if ((unsigned char)name[i] < ' ') return false;
    }
    if (p->is_bare && !is_known(p, name, n_bytes)) return false;
    p->n_calls++;
    p->is_begun = true;
    give(p, R2I_PIECE_CALL, name, n_bytes);
    if (p->arguments_end > 0)
        give_value(p, p->held.bytes + p->arguments_begin, p->arguments_end - p->arguments_begin);
    r2i_buffer_clear(&p->held);
    return true;
}

static json_t *decode(const char *bytes, size_t n_bytes) {
    return json_loadb(bytes, n_bytes, JSON_DECODE_ANY, NULL);
}

/* Arguments that were held whole.  Some models write an object as a text; null means none. */
static void give_value(r2i_tool_parser *p, const char *bytes, size_t n_bytes) {
    while (n_bytes > 0 && is_blank(bytes[0]))
        bytes++, n_bytes--;
    if (n_bytes == 0) return;
    json_t *value = bytes[0] == '"' || bytes[0] == 'n' ? decode(bytes, n_bytes) : NULL;
    if (json_is_string(value) && json_string_length(value) > 0)
        give(p, R2I_PIECE_ARGUMENTS, json_string_value(value), json_string_length(value));
    else if (json_is_null(value) || json_is_string(value))
        give(p, R2I_PIECE_ARGUMENTS, "{}", 2);
    else
        give(p, R2I_PIECE_ARGUMENTS, bytes, n_bytes);
    p->has_arguments = true;
    json_decref(value);
}

/* ---- {"name": ..., "arguments": ...} ---- */

static bool key_is(const r2i_tool_parser *p, const char *name) {
    return p->n_key == strlen(name) && memcmp(p->key, name, p->n_key) == 0;
}

static bool key_is_arguments(const r2i_tool_parser *p) {
    return key_is(p, "arguments") || key_is(p, "parameters");
}

/* At the end of a value, which lies in held unless it was given out already.  False: no call. */
static bool take_value(r2i_tool_parser *p) {
    const char *bytes = p->held.bytes + p->value_begin;
    const size_t n_bytes = p->held.n_bytes - p->value_begin;
    p->spot = R2I_ENVELOPE_KEY;
    if (key_is_arguments(p) && p->is_begun) {
        if (!p->is_streamed && !p->has_arguments) give_value(p, bytes, n_bytes);
        r2i_buffer_clear(&p->held);
    } else if (key_is_arguments(p)) {
        p->arguments_begin = p->value_begin;
        p->arguments_end = p->held.n_bytes;
    } else if (!p->is_begun && (key_is(p, "name") || key_is(p, "function"))) {
        json_t *value = decode(bytes, n_bytes);
        const bool is_good = json_is_string(value) &&
                             announce(p, json_string_value(value), json_string_length(value));
        json_decref(value);
        return is_good;
    }
    return true;
}

static void end_envelope(r2i_tool_parser *p) {
    r2i_tool_parser_give_up(p); /* ends the call, or finds that it had no name */
}

static void envelope_byte(r2i_tool_parser *p, char c);

static void value_byte(r2i_tool_parser *p, char c) {
    const bool was_begun = p->value.is_begun;
    const r2i_value_step step = r2i_call_value_take(&p->value, c);
    if (!was_begun && p->value.is_begun)
        p->is_streamed =
            p->is_begun && key_is_arguments(p) && !p->has_arguments && (c == '{' || c == '[');
    if (step != R2I_VALUE_BEHIND && p->is_streamed) {
        r2i_buffer_clear(&p->held); /* blanks in front */
        p->has_arguments = true;
        give(p, R2I_PIECE_ARGUMENTS, &c, 1);
    } else if (step != R2I_VALUE_BEHIND && (!p->is_begun || key_is_arguments(p))) {
        if (!hold(p, c, R2I_CALL_HELD_BYTES)) return;
    }
    if (step == R2I_VALUE_ON) return;
    if (!take_value(p)) {
        r2i_tool_parser_give_up(p);
        if (step == R2I_VALUE_BEHIND) give_content(p, c);
    } else if (step == R2I_VALUE_BEHIND) {
        envelope_byte(p, c);
    }
}

/* What stands between keys and values.  False: it does not belong there. */
static bool envelope_spot(r2i_tool_parser *p, char c) {
    if (is_blank(c)) return true;
    switch (p->spot) {
    case R2I_ENVELOPE_OPEN:
        if (c == '[' && p->syntax.family == R2I_CALLS_HERMES && !p->is_listed && !p->is_bare)
            return p->is_listed = true;
        if (c == ']' && p->is_listed) { /* no call at all */
            r2i_buffer_clear(&p->held);
            p->state = R2I_CALL_TAIL;
            return true;
        }
        p->spot = R2I_ENVELOPE_KEY;
        return c == '{';
    case R2I_ENVELOPE_KEY:
        if (c == '"') {
            p->spot = R2I_ENVELOPE_IN_KEY;
            p->n_key = 0;
        }
        if (c == '}') end_envelope(p);
        return c == '"' || c == '}' || c == ',';
    default:
        p->spot = R2I_ENVELOPE_VALUE;
        p->value = (r2i_call_value){ 0 };
        p->value_begin = p->held.n_bytes;
        p->is_streamed = false;
        return c == ':';
    }
}

static bool key_is_usual(const r2i_tool_parser *p) {
    return key_is_arguments(p) || key_is(p, "name") || key_is(p, "function") || key_is(p, "type") ||
           key_is(p, "id");
}

static void key_byte(r2i_tool_parser *p, char c) {
    if (c == '"' && !p->is_escaped) {
        p->spot = R2I_ENVELOPE_COLON;
        if (p->is_bare && !p->is_begun && !key_is_usual(p)) r2i_tool_parser_give_up(p);
        return;
    }
    p->is_escaped = !p->is_escaped && c == '\\';
    if (p->n_key < R2I_CALL_KEY_BYTES) p->key[p->n_key++] = c;
}

static void envelope_byte(r2i_tool_parser *p, char c) {
    if (p->spot == R2I_ENVELOPE_VALUE) {
        value_byte(p, c);
        return;
    }
    if (!p->is_begun && !hold(p, c, R2I_CALL_HELD_BYTES)) return;
    if (p->spot == R2I_ENVELOPE_IN_KEY) {
        key_byte(p, c);
        return;
    }
    const bool was_begun = p->is_begun;
    if (envelope_spot(p, c)) return;
    r2i_tool_parser_give_up(p);
    if (was_begun) give_content(p, c); /* otherwise it was held */
}

/* ---- deepseek: name and arguments one behind the other ---- */

/* The last word of what stands between two marks: its first line, without blanks. */
static bool announce_line(r2i_tool_parser *p, size_t begin, size_t end) {
    const char *bytes = p->held.bytes;
    while (begin < end && is_blank(bytes[begin]))
        begin++;
    size_t n = 0;
    while (begin + n < end && bytes[begin + n] != '\n')
        n++;
    while (n > 0 && is_blank(bytes[begin + n - 1]))
        n--;
    char name[R2I_CALL_NAME_BYTES];
    if (n > sizeof name) return false;
    memcpy(name, bytes + begin, n);
    return announce(p, name, n);
}

/* "f" sep "{": the name stands in front of the separator; "function" sep "f\n```json\n{": behind it. */
bool r2i_tool_parser_announce_bare(r2i_tool_parser *p) {
    size_t at = p->value_begin;
    while (at < p->held.n_bytes && is_blank(p->held.bytes[at]))
        at++;
    return at < p->held.n_bytes ? announce_line(p, at, p->held.n_bytes)
                                : announce_line(p, p->head_begin, p->head_end);
}

static void name_byte(r2i_tool_parser *p, char c) {
    if (c != '{' && c != '[') {
        (void)hold(p, c, MAX_HEAD_BYTES);
        return;
    }
    if (!r2i_tool_parser_announce_bare(p)) {
        r2i_tool_parser_give_up(p);
        give_content(p, c);
        return;
    }
    p->state = R2I_CALL_BARE;
    p->value = (r2i_call_value){ 0 };
    p->has_arguments = true;
    (void)r2i_call_value_take(&p->value, c);
    give(p, R2I_PIECE_ARGUMENTS, &c, 1);
}

static void bare_byte(r2i_tool_parser *p, char c) {
    give(p, R2I_PIECE_ARGUMENTS, &c, 1);
    if (r2i_call_value_take(&p->value, c) == R2I_VALUE_LAST) p->state = R2I_CALL_TAIL;
}

/* ---- around calls ---- */

/* An object that is a call only if its name is known. */
static void begin_bare_envelope(r2i_tool_parser *p) {
    r2i_tool_parser_begin_call(p, R2I_CALL_ENVELOPE);
    p->is_bare = true;
    p->is_listed = false;
}

static void tail_byte(r2i_tool_parser *p, char c) {
    const r2i_call_family family = p->syntax.family;
    if (is_blank(c) || c == '}') return;
    if (family == R2I_CALLS_HERMES && c == ',' && p->is_listed) {
        r2i_tool_parser_begin_call(p, R2I_CALL_ENVELOPE);
    } else if (family == R2I_CALLS_LLAMA && c == '{') {
        begin_bare_envelope(p);
        envelope_byte(p, c);
    } else if (family == R2I_CALLS_LLAMA    ? c != ';' && c != ','
               : family == R2I_CALLS_HERMES ? c != ']'
                                            : c != '`') {
        give_content(p, c);
    }
}

void r2i_tool_parser_take_byte(r2i_tool_parser *p, char c) {
    switch (p->state) {
    case R2I_CALL_AT_START:
        if (c == '{') {
            begin_bare_envelope(p);
            envelope_byte(p, c);
            return;
        }
        if (is_blank(c) && p->held.n_bytes < MAX_BLANKS)
            r2i_tool_parser_note(p, r2i_buffer_append(&p->held, &c, 1, NULL));
        else
            give_content(p, c);
        return;
    case R2I_CALL_BETWEEN:
        if (is_blank(c) && p->held.n_bytes < MAX_BLANKS)
            r2i_tool_parser_note(p, r2i_buffer_append(&p->held, &c, 1, NULL));
        else
            give_content(p, c);
        return;
    case R2I_CALL_CONTENT:
        give_content(p, c);
        return;
    case R2I_CALL_HEAD:
        (void)hold(p, c, MAX_HEAD_BYTES);
        return;
    case R2I_CALL_NAME:
        name_byte(p, c);
        return;
    case R2I_CALL_ENVELOPE:
        envelope_byte(p, c);
        return;
    case R2I_CALL_BARE:
        bare_byte(p, c);
        return;
    case R2I_CALL_TAIL:
        tail_byte(p, c);
        return;
    }
}
