/* The lexer: text, tags and what is inside them. */
#include "text/template_lexer.h"

#include <string.h>

#include "text/utf8_scan.h"

typedef struct {
    r2i_trun *run; /* its line is the current one */
    const char *source;
    size_t n_bytes, at;
    r2i_ttoken *tokens;
    size_t n_tokens, cap_tokens;
    char closers[256]; /* of open brackets */
    size_t n_closers;
} lexer;

static bool add_token(lexer *lx, r2i_ttoken token) {
    if (lx->n_tokens == lx->cap_tokens) {
        const size_t cap = lx->cap_tokens == 0 ? 256 : 2 * lx->cap_tokens;
        r2i_ttoken *tokens = r2i_trun_take(lx->run, cap, sizeof *tokens);
        if (tokens == NULL) return false;
        if (lx->n_tokens != 0) memcpy(tokens, lx->tokens, lx->n_tokens * sizeof *tokens);
        lx->tokens = tokens;
        lx->cap_tokens = cap;
    }
    token.line = lx->run->line;
    lx->tokens[lx->n_tokens++] = token;
    return true;
}

static bool starts(const lexer *lx, size_t at, const char *text) {
    const size_t n = strlen(text);
    return n <= lx->n_bytes - at && memcmp(lx->source + at, text, n) == 0;
}

/* Moves to `to`, counting lines. */
static void advance(lexer *lx, size_t to) {
    for (; lx->at < to; lx->at++)
        lx->run->line += lx->source[lx->at] == '\n';
}

static size_t skip_space(const lexer *lx, size_t at) {
    while (at < lx->n_bytes) {
        size_t used;
        if (!r2i_code_is_space(r2i_utf8_read(lx->source + at, lx->n_bytes - at, &used))) break;
        at += used;
    }
    return at;
}

/* A text before a tag, shortened as the sign behind "{%" (-, + or none) demands. */
static size_t strip_before_tag(const lexer *lx, size_t begin, size_t end, char sign,
                               bool is_variable) {
    const r2i_tstring text = { .bytes = lx->source + begin, .n_bytes = end - begin };
    size_t from, to;
    if (sign == '-') {
        r2i_tstring_trim(&text, NULL, false, true, &from, &to);
        return begin + to;
    }
    if (sign == '+' || is_variable) return end;
    size_t line_start = end;
    while (line_start > begin && lx->source[line_start - 1] != '\n')
        line_start--;
    if (line_start == begin && begin > 0 && lx->source[begin - 1] != '\n') return end;
    return skip_space(lx, line_start) >= end ? line_start : end;
}

static bool add_data(lexer *lx, size_t begin, size_t end) {
    r2i_ttoken token = { .kind = R2I_TT_DATA };
    if (begin >= end) return true;
    return r2i_tstring_create(lx->run, lx->source + begin, end - begin, false, &token.value) &&
           add_token(lx, token);
}

/* Length of a closing tag ("%}" or "#}") at `at` with its sign and what it swallows; 0: none. */
static size_t match_close(const lexer *lx, size_t at, const char *close) {
    const size_t begin = at;
    const char sign = at < lx->n_bytes ? lx->source[at] : '\0';
    if (sign == '-' || sign == '+') at++;
    if (!starts(lx, at, close)) return 0;
    at += 2;
    if (sign == '-') return skip_space(lx, at) - begin;
    if (sign != '+' && at < lx->n_bytes && lx->source[at] == '\n') at++;
    return at - begin;
}

static bool read_comment(lexer *lx) {
    for (size_t at = lx->at; at < lx->n_bytes; at++) {
        const size_t n = match_close(lx, at, "#}");
        if (n == 0) continue;
        advance(lx, at + n);
        return true;
    }
    return r2i_trun_fail(lx->run, R2_E_FORMAT, "Missing end of comment tag");
}

/* Position behind "{%- raw -%}" at `at`, or 0. */
static size_t match_raw_begin(const lexer *lx, size_t at) {
    at += 2;
    if (at < lx->n_bytes && (lx->source[at] == '-' || lx->source[at] == '+')) at++;
    at = skip_space(lx, at);
    if (!starts(lx, at, "raw")) return 0;
    at = skip_space(lx, at + 3);
    if (starts(lx, at, "%}")) return at + 2;
    return starts(lx, at, "-%}") ? skip_space(lx, at + 3) : 0;
}

static bool read_raw(lexer *lx) {
    for (size_t at = lx->at; at < lx->n_bytes; at++) {
        if (!starts(lx, at, "{%")) continue;
        size_t inner = at + 2;
        const char sign = inner < lx->n_bytes ? lx->source[inner] : '\0';
        if (sign == '-' || sign == '+') inner++;
        inner = skip_space(lx, inner);
        if (!starts(lx, inner, "endraw")) continue;
        inner = skip_space(lx, inner + 6);
        const size_t n = match_close(lx, inner, "%}");
        if (n == 0) continue;
        if (!add_data(lx, lx->at, strip_before_tag(lx, lx->at, at, sign, false))) return false;
        advance(lx, inner + n);
        return true;
    }
    return r2i_trun_fail(lx->run, R2_E_FORMAT, "Missing end of raw directive");
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

/* End of digits with single '_' between them, starting at `at`; `at` itself when there are none. */
static size_t digits_end(const lexer *lx, size_t at) {
    if (at >= lx->n_bytes || !is_digit(lx->source[at])) return at;
    while (at < lx->n_bytes &&
           (is_digit(lx->source[at]) ||
            (lx->source[at] == '_' && at + 1 < lx->n_bytes && is_digit(lx->source[at + 1])))) {
        at++;
    }
    return at;
}

/* End of a float literal at `at`, or `at`. */
static size_t float_end(const lexer *lx, size_t at) {
    if (at > 0 && lx->source[at - 1] == '.') return at;
    size_t end = digits_end(lx, at);
    bool is_float = false;
    if (end == at) return at;
    if (end < lx->n_bytes && lx->source[end] == '.') {
        const size_t fraction = digits_end(lx, end + 1);
        if (fraction > end + 1) {
            end = fraction;
            is_float = true;
        }
    }
    if (end < lx->n_bytes && (lx->source[end] == 'e' || lx->source[end] == 'E')) {
        size_t power = end + 1;
        if (power < lx->n_bytes && (lx->source[power] == '-' || lx->source[power] == '+')) power++;
        const size_t power_end = digits_end(lx, power);
        if (power_end > power) {
            end = power_end;
            is_float = true;
        }
    }
    return is_float ? end : at;
}

static bool read_float(lexer *lx, size_t end) {
    char text[400];
    size_t n = 0;
    for (size_t at = lx->at; at < end && n < sizeof text; at++) {
        if (lx->source[at] != '_') text[n++] = lx->source[at];
    }
    double x;
    if (n == sizeof text || !r2i_float_parse(text, n, &x)) {
        return r2i_trun_fail(lx->run, R2_E_RANGE, "number too long");
    }
    const r2i_ttoken token = { .kind = R2I_TT_FLOAT, .value = r2i_tvalue_float(x) };
    lx->at = end;
    return add_token(lx, token);
}

static int digit_value(char c) {
    if (is_digit(c)) return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 99;
}

static bool read_int(lexer *lx) {
    int base = 10;
    size_t at = lx->at;
    if (lx->source[at] == '0' && at + 1 < lx->n_bytes) {
        const char kind = (char)(lx->source[at + 1] | 0x20);
        base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
        if (base != 10) at += 2;
    }
    const bool is_zero = base == 10 && lx->source[at] == '0'; /* "012" is 0 and then 12 */
    int64_t value = 0;
    for (; at < lx->n_bytes; at++) {
        const char c = lx->source[at];
        if (c == '_' && at + 1 < lx->n_bytes && digit_value(lx->source[at + 1]) < base) continue;
        if (digit_value(c) >= base || (is_zero && c != '0')) break;
        if (__builtin_mul_overflow(value, (int64_t)base, &value) ||
            __builtin_add_overflow(value, (int64_t)digit_value(c), &value)) {
            return r2i_trun_fail(lx->run, R2_E_RANGE, "integer too large");
        }
    }
    const r2i_ttoken token = { .kind = R2I_TT_INT, .value = r2i_tvalue_int(value) };
    lx->at = at;
    return add_token(lx, token);
}

static bool read_name(lexer *lx) {
    size_t end = lx->at;
    while (end < lx->n_bytes && (is_name_start(lx->source[end]) || is_digit(lx->source[end])))
        end++;
    r2i_ttoken token = { .kind = R2I_TT_NAME };
    if (!r2i_tstring_create(lx->run, lx->source + lx->at, end - lx->at, false, &token.value))
        return false;
    lx->at = end;
    return add_token(lx, token);
}

/* Digits of \x41, A, \U00000041 or \101 at *at into *code. */
static bool read_code(const lexer *lx, size_t *at, size_t end, int base, int least, int most,
                      uint32_t *code) {
    int n = 0;
    *code = 0;
    for (; n < most && *at < end && digit_value(lx->source[*at]) < base; n++, (*at)++) {
        *code = *code * (uint32_t)base + (uint32_t)digit_value(lx->source[*at]);
    }
    return n >= least && *code <= 0x10ffff && !(*code >= 0xd800 && *code < 0xe000);
}

/* One escape sequence; *at stands behind the backslash. */
static bool add_escape(lexer *lx, r2i_tbuilder *b, size_t *at, size_t end) {
    static const char from[] = "ntr\\'\"abfv", to[] = "\n\t\r\\'\"\a\b\f\v";
    const char c = lx->source[(*at)++];
    const char *found = c == '\0' ? NULL : strchr(from, c);
    uint32_t code = 0;
    bool ok = true;
    char text[4];
    if (found != NULL) return r2i_tbuilder_add(b, &to[found - from], 1, false);
    if (c == '\n') return true;
    if (c >= '0' && c <= '7') {
        (*at)--;
        ok = read_code(lx, at, end, 8, 1, 3, &code);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        const int n = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        ok = read_code(lx, at, end, 16, n, n, &code);
    } else if (c == 'N') {
        ok = false; /* named characters would need the name table */
    } else {
        (*at)--; /* unknown escapes stay as they are */
        return r2i_tbuilder_add_text(b, "\\");
    }
    if (!ok) return r2i_trun_fail(lx->run, R2_E_FORMAT, "bad escape in a string");
    return r2i_tbuilder_add(b, text, (size_t)r2i_utf8_put(text, (int32_t)code), false);
}

static bool read_string(lexer *lx) {
    const char quote = lx->source[lx->at];
    size_t end = lx->at + 1;
    while (end < lx->n_bytes && lx->source[end] != quote)
        end += lx->source[end] == '\\' ? 2 : 1;
    if (end >= lx->n_bytes) return r2i_trun_fail(lx->run, R2_E_FORMAT, "string without end");
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, lx->run);
    size_t at = lx->at + 1;
    while (at < end) {
        const char *slash = memchr(lx->source + at, '\\', end - at);
        const size_t stop = slash == NULL ? end : (size_t)(slash - lx->source);
        if (!r2i_tbuilder_add(&b, lx->source + at, stop - at, false)) return false;
        at = stop + 1;
        if (stop < end && !add_escape(lx, &b, &at, end)) return false;
    }
    r2i_ttoken token = { .kind = R2I_TT_STRING };
    if (!r2i_tbuilder_finish(&b, &token.value) || !add_token(lx, token)) return false;
    advance(lx, end + 1);
    return true;
}

static bool balance(lexer *lx, char c) {
    const char *open = strchr("([{", c), *close = strchr(")]}", c);
    if (open != NULL) {
        if (lx->n_closers == sizeof lx->closers)
            return r2i_trun_fail(lx->run, R2_E_LIMIT, "nested too deeply");
        lx->closers[lx->n_closers++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (close != NULL) {
        if (lx->n_closers == 0 || lx->closers[--lx->n_closers] != c) {
            return r2i_trun_fail(lx->run, R2_E_FORMAT, "unexpected '%c'", c);
        }
    }
    return true;
}

static bool read_operator(lexer *lx) {
    static const char *const doubles[] = { "//", "**", "==", "!=", ">=", "<=" };
    r2i_ttoken token = { .kind = R2I_TT_OPERATOR };
    size_t n = 0;
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        if (starts(lx, lx->at, doubles[i])) n = 2;
    }
    const char c = lx->source[lx->at];
    if (n == 0 && c != '\0' && strchr("+-/*%~[](){}><=.:|,;", c) != NULL) n = 1;
    if (n == 0) return r2i_trun_fail(lx->run, R2_E_FORMAT, "unexpected character '%c'", c);
    if (n == 1 && !balance(lx, c)) return false;
    memcpy(token.operator, lx->source + lx->at, n);
    lx->at += n;
    return add_token(lx, token);
}

/* One token inside a tag; *done at its end. */
static bool read_in_tag(lexer *lx, bool is_variable, bool *done) {
    advance(lx, skip_space(lx, lx->at));
    if (lx->at >= lx->n_bytes) {
        *done = true;
        return true;
    }
    size_t n = 0;
    if (lx->n_closers == 0 && !is_variable) n = match_close(lx, lx->at, "%}");
    if (lx->n_closers == 0 && is_variable) {
        n = starts(lx, lx->at, "-}}")  ? skip_space(lx, lx->at + 3) - lx->at
            : starts(lx, lx->at, "}}") ? 2
                                       : 0;
    }
    if (n != 0) {
        const r2i_ttoken token = { .kind = is_variable ? R2I_TT_VARIABLE_END : R2I_TT_BLOCK_END };
        *done = true;
        if (!add_token(lx, token)) return false;
        advance(lx, lx->at + n);
        return true;
    }
    const char c = lx->source[lx->at];
    const size_t float_stop = float_end(lx, lx->at);
    if (float_stop > lx->at) return read_float(lx, float_stop);
    if (is_digit(c)) return read_int(lx);
    if (is_name_start(c)) return read_name(lx);
    if (c == '\'' || c == '"') return read_string(lx);
    return read_operator(lx);
}

static bool read_tag(lexer *lx, bool is_variable) {
    const r2i_ttoken begin = { .kind = is_variable ? R2I_TT_VARIABLE_BEGIN : R2I_TT_BLOCK_BEGIN };
    if (!add_token(lx, begin)) return false;
    lx->n_closers = 0;
    for (bool done = false; !done;) {
        if (!read_in_tag(lx, is_variable, &done)) return false;
    }
    return true;
}

/* Text up to the next tag, and the tag. */
static bool read_part(lexer *lx) {
    size_t tag = lx->at;
    while (tag + 1 < lx->n_bytes &&
           !(lx->source[tag] == '{' && strchr("{%#", lx->source[tag + 1]) != NULL &&
             lx->source[tag + 1] != '\0')) {
        tag++;
    }
    if (tag + 1 >= lx->n_bytes) {
        const bool ok = add_data(lx, lx->at, lx->n_bytes);
        advance(lx, lx->n_bytes);
        return ok;
    }
    const char kind = lx->source[tag + 1];
    const char sign = tag + 2 < lx->n_bytes ? lx->source[tag + 2] : '\0';
    if (!add_data(lx, lx->at, strip_before_tag(lx, lx->at, tag, sign, kind == '{'))) return false;
    const size_t raw = kind == '%' ? match_raw_begin(lx, tag) : 0;
    advance(lx, raw != 0 ? raw : tag + 2 + (sign == '-' || sign == '+'));
    if (raw != 0) return read_raw(lx);
    return kind == '#' ? read_comment(lx) : read_tag(lx, kind == '{');
}

/* One kind of line end, and no last one: what Jinja does before anything else. */
static char *normalize_lines(r2i_trun *run, const char *source, size_t n_bytes, size_t *n_out) {
    char *text = r2i_trun_take(run, n_bytes + 1, 1);
    if (text == NULL) return NULL;
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        const bool is_return = source[i] == '\r';
        text[n++] = is_return ? '\n' : source[i];
        if (is_return && i + 1 < n_bytes && source[i + 1] == '\n') i++;
    }
    if (n > 0 && text[n - 1] == '\n') n--;
    *n_out = n;
    return text;
}

bool r2i_template_tokenize(r2i_trun *run, const char *source, size_t n_bytes, r2i_ttoken **tokens) {
    lexer lx = { .run = run };
    run->line = 1;
    lx.source = normalize_lines(run, source, n_bytes, &lx.n_bytes);
    if (lx.source == NULL) return false;
    while (lx.at < lx.n_bytes) {
        if (!read_part(&lx)) return false;
    }
    const r2i_ttoken end = { .kind = R2I_TT_END };
    if (!add_token(&lx, end)) return false;
    *tokens = lx.tokens;
    return true;
}
