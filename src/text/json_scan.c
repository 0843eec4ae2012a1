#include "text/json_scan.h"

#include <string.h>

#include "base/failure.h"
#include "text/utf8_scan.h"

enum { MAX_DEPTH = 64, MAX_DIGITS = 9 };

void r2i_json_scan_init(r2i_json_scan *scan, r2i_text_view text, r2i_arena *arena) {
    *scan = (r2i_json_scan){ text.bytes, text.bytes, text.bytes + text.n_bytes, arena, NULL };
}

r2_status r2i_json_scan_fail(const r2i_json_scan *scan, const char *label, r2_error *err) {
    return r2i_fail(err, R2_E_FORMAT, "%s: byte %zu: expected %s", label,
                    (size_t)(scan->at - scan->begin),
                    scan->problem != NULL ? scan->problem : "something else");
}

static bool fail(r2i_json_scan *scan, const char *expected) {
    if (scan->problem == NULL) scan->problem = expected;
    return false;
}

static void skip_blanks(r2i_json_scan *scan) {
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r')) {
        scan->at++;
    }
}

bool r2i_json_scan_sees(r2i_json_scan *scan, char c) {
    skip_blanks(scan);
    return scan->at < scan->end && *scan->at == c;
}

bool r2i_json_scan_take(r2i_json_scan *scan, char punctuation) {
    if (!r2i_json_scan_sees(scan, punctuation)) {
        return fail(scan, punctuation == '{'   ? "'{'"
                          : punctuation == '[' ? "'['"
                          : punctuation == ':' ? "':'"
                          : punctuation == ',' ? "','"
                          : punctuation == ']' ? "']'"
                                               : "other punctuation");
    }
    scan->at++;
    return true;
}

/* ---- strings ---- */

/* Moves behind the closing quote; *has_escape, *is_ascii tell what the body holds. */
static bool find_quote(r2i_json_scan *scan, bool *has_escape, bool *is_ascii) {
    uint8_t seen = 0;
    *has_escape = false;
    for (const char *at = scan->at; at < scan->end; at++) {
        const uint8_t c = (uint8_t)*at;
        seen |= c;
        if (c == '"') {
            scan->at = at + 1;
            *is_ascii = seen < 0x80;
            return true;
        }
        if (c < 0x20) break;
        if (c != '\\') continue;
        *has_escape = true;
        at++;
    }
    return fail(scan, "a string with its closing quote and without raw control characters");
}

static bool read_hex4(const char *text, size_t n, int32_t *out) {
    int32_t value = 0;
    if (n < 4) return false;
    for (int i = 0; i < 4; i++) {
        const char c = text[i];
        const int32_t digit = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
        if (digit < 0) return false;
        value = value * 16 + digit;
    }
    *out = value;
    return true;
}

/* Reads what follows "\u"; returns the bytes read, 0 when it is no character. */
static size_t read_unicode(const char *text, size_t n, int32_t *code_point) {
    int32_t low;
    if (!read_hex4(text, n, code_point) || *code_point == 0) return 0;
    if (*code_point < 0xd800 || *code_point > 0xdfff) return 4;
    if (*code_point > 0xdbff || n < 10 || text[4] != '\\' || text[5] != 'u' ||
        !read_hex4(text + 6, n - 6, &low))
        return 0;
    if (low < 0xdc00 || low > 0xdfff) return 0;
    *code_point = 0x10000 + ((*code_point - 0xd800) << 10) + (low - 0xdc00);
    return 10;
}

/* Appends the character of the escape at text[0] == '\\'; returns bytes read, 0: malformed. */
static size_t put_escape(const char *text, size_t n, char *out, size_t *n_out) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (n < 2) return 0;
    if (text[1] == 'u') {
        int32_t code_point;
        const size_t n_read = read_unicode(text + 2, n - 2, &code_point);
        if (n_read == 0) return 0;
        *n_out += (size_t)r2i_utf8_put(out + *n_out, code_point);
        return 2 + n_read;
    }
    const char *name = text[1] == 0 ? NULL : strchr(names, text[1]);
    if (name == NULL) return 0;
    out[(*n_out)++] = values[name - names];
    return 2;
}

static bool unescape(r2i_json_scan *scan, r2i_text_view raw, r2i_text_view *out) {
    char *text = r2i_arena_push(scan->arena, raw.n_bytes + 4,
                                1); /* an escape is never shorter than its character */
    size_t n = 0;
    if (text == NULL) return fail(scan, "less text: no memory");
    for (size_t i = 0; i < raw.n_bytes;) {
        if (raw.bytes[i] != '\\') {
            text[n++] = raw.bytes[i++];
            continue;
        }
        const size_t n_read = put_escape(raw.bytes + i, raw.n_bytes - i, text, &n);
        if (n_read == 0) return fail(scan, "valid escapes in the string before");
        i += n_read;
    }
    *out = (r2i_text_view){ text, n };
    return true;
}

bool r2i_json_scan_string(r2i_json_scan *scan, r2i_text_view *out) {
    bool has_escape, is_ascii;
    if (!r2i_json_scan_sees(scan, '"')) return fail(scan, "a string");
    const char *body = ++scan->at;
    if (!find_quote(scan, &has_escape, &is_ascii)) return false;
    *out = (r2i_text_view){ body, (size_t)(scan->at - 1 - body) };
    if (!is_ascii && r2i_utf8_valid_prefix(out->bytes, out->n_bytes) != out->n_bytes) {
        return fail(scan, "valid UTF-8 in the string before");
    }
    return !has_escape || unescape(scan, *out, out);
}

/* ---- other values ---- */

bool r2i_json_scan_integer(r2i_json_scan *scan, int32_t *out) {
    skip_blanks(scan);
    int32_t value = 0, n_digits = 0;
    const char *first = scan->at;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9' && n_digits <= MAX_DIGITS) {
        if (n_digits < MAX_DIGITS) value = value * 10 + (*scan->at - '0');
        scan->at++;
        n_digits++;
    }
    const char next = scan->at < scan->end ? *scan->at : ' ';
    const bool is_plain =
        next != '.' && next != 'e' && next != 'E' && !(n_digits > 1 && *first == '0');
    if (n_digits == 0 || n_digits > MAX_DIGITS || !is_plain)
        return fail(scan, "a whole number of at most 9 digits");
    *out = value;
    return true;
}

bool r2i_json_scan_value(r2i_json_scan *scan, r2i_text_view *out) {
    int32_t depth = 0;
    bool has_escape, is_ascii;
    skip_blanks(scan);
    const char *begin = scan->at;
    while (scan->at < scan->end) {
        const char c = *scan->at;
        if (depth == 0 && (c == ',' || c == '}' || c == ']')) break;
        scan->at++;
        if (c == '"' && !find_quote(scan, &has_escape, &is_ascii)) return false;
        if ((c == '{' || c == '[') && ++depth > MAX_DEPTH)
            return fail(scan, "at most 64 nested values");
        if (c == '}' || c == ']') depth--;
    }
    if (depth != 0 || scan->at == begin) return fail(scan, "a value");
    *out = (r2i_text_view){ begin, (size_t)(scan->at - begin) };
    return true;
}

bool r2i_json_scan_next(r2i_json_scan *scan, char closing, bool *is_first) {
    if (r2i_json_scan_sees(scan, closing)) {
        scan->at++;
        return false;
    }
    if (!*is_first && !r2i_json_scan_take(scan, ',')) return false;
    *is_first = false;
    if (r2i_json_scan_sees(scan, closing)) return fail(scan, "a value behind the comma");
    return true;
}

bool r2i_json_scan_key(r2i_json_scan *scan, bool *is_first, r2i_text_view *key) {
    return r2i_json_scan_next(scan, '}', is_first) && r2i_json_scan_string(scan, key) &&
           r2i_json_scan_take(scan, ':');
}
