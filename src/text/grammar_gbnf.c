/* grammar_gbnf.c - reads GBNF, the grammar notation of llama.cpp.
 *
 *     root  ::= "a" item{2,5} | [^"\n]+ | (item | ".")?      # comment
 *     item  ::= [a-z0-9] . "\u00e9"
 *
 * A rule ends with its line unless a parenthesis or a choice is open.  The text means characters; its
 * automaton works on their UTF-8 bytes. */
#include <string.h>

#include "base/failure.h"
#include "text/grammar_expression.h"
#include "text/utf8_scan.h"

enum { MAX_CLASS_RANGES = 512, MAX_LITERAL_BYTES = 2048, MAX_POSTFIXES = 8 };

typedef struct {
    r2i_grammar_draft *draft;
    const char *text;
    size_t n, at;
    int32_t n_open; /* parentheses */
    r2_error *err;
} gbnf_reader;

static r2_status fail_at(const gbnf_reader *r, r2_status code, const char *what) {
    int line = 1, column = 1;
    for (size_t i = 0; i < r->at; i++) {
        column = r->text[i] == '\n' ? 1 : column + 1;
        if (r->text[i] == '\n') line++;
    }
    if (r->at >= r->n)
        return r2i_fail(r->err, code, "grammar: line %d: %s, found the end", line, what);
    const size_t left = r->n - r->at;
    return r2i_fail(r->err, code, "grammar: line %d, column %d: %s, found '%.*s'", line, column,
                    what, (int)(left < 12 ? left : 12), r->text + r->at);
}

static char peek(const gbnf_reader *r) {
    return r->at < r->n ? r->text[r->at] : '\0';
}

static bool take(gbnf_reader *r, const char *word) {
    const size_t n = strlen(word);
    if (r->n - r->at < n || memcmp(r->text + r->at, word, n) != 0) return false;
    r->at += n;
    return true;
}

static void skip_space(gbnf_reader *r, bool takes_lines) {
    while (r->at < r->n) {
        const char c = r->text[r->at];
        if (c == '#') {
            while (r->at < r->n && r->text[r->at] != '\n')
                r->at++;
        } else if (c == ' ' || c == '\t' || (takes_lines && (c == '\n' || c == '\r'))) {
            r->at++;
        } else {
            return;
        }
    }
}

static bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static r2_status read_name(gbnf_reader *r, int32_t *rule) {
    const size_t begin = r->at;
    while (r->at < r->n && is_name_char(r->text[r->at]))
        r->at++;
    if (r->at == begin) return fail_at(r, R2_E_FORMAT, "expected the name of a rule");
    *rule = r2i_draft_rule(r->draft, r->text + begin, r->at - begin);
    return *rule >= 0 ? R2_OK : r2i_draft_check(r->draft, r->err);
}

static r2_status read_hex(gbnf_reader *r, int n_digits, int32_t *out) {
    uint32_t value = 0;
    for (int i = 0; i < n_digits; i++) {
        const char c = peek(r);
        const char lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            value = value * 16 + (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value * 16 + (uint32_t)(lower - 'a' + 10);
        else
            return fail_at(r, R2_E_FORMAT, "expected a hexadecimal digit");
        r->at++;
    }
    if (value > R2I_LAST_CODE_POINT || (value >= 0xd800 && value <= 0xdfff))
        return fail_at(r, R2_E_FORMAT, "expected the number of a character before this");
    *out = (int32_t)value;
    return R2_OK;
}

/* One character of a text or class, escapes resolved. */
static r2_status read_char(gbnf_reader *r, int32_t *out) {
    static const char NAMES[] = "tnr\"\\[]-^", VALUES[] = "\t\n\r\"\\[]-^";
    if (r->at == r->n) return fail_at(r, R2_E_FORMAT, "expected a character");
    if (peek(r) != '\\') {
        const r2i_utf8_step step = r2i_utf8_next(r->text + r->at, r->n - r->at);
        if (step.kind != R2I_UTF8_CHAR) return fail_at(r, R2_E_FORMAT, "expected UTF-8");
        r->at += (size_t)step.n_bytes;
        *out = step.code_point;
        return R2_OK;
    }
    r->at++;
    const char c = peek(r);
    const char *known = c != '\0' ? strchr(NAMES, c) : NULL;
    if (known == NULL && c != 'x' && c != 'u' && c != 'U')
        return fail_at(r, R2_E_FORMAT, "expected an escape");
    r->at++;
    if (known != NULL) {
        *out = VALUES[known - NAMES];
        return R2_OK;
    }
    return read_hex(r, c == 'x' ? 2 : c == 'u' ? 4 : 8, out);
}

static r2_status read_literal(gbnf_reader *r, r2i_expression **out) {
    char bytes[MAX_LITERAL_BYTES];
    size_t n = 0;
    while (!take(r, "\"")) {
        int32_t code_point;
        if (r->at == r->n || peek(r) == '\n')
            return fail_at(r, R2_E_FORMAT, "expected a closing quote");
        R2I_TRY(read_char(r, &code_point));
        if (n + 4 > sizeof bytes) return fail_at(r, R2_E_LIMIT, "expected a shorter text");
        n += (size_t)r2i_utf8_put(bytes + n, code_point);
    }
    *out = r2i_expression_text(r->draft, bytes, n);
    return R2_OK;
}

static r2_status read_class(gbnf_reader *r, r2i_expression **out) {
    r2i_char_range ranges[MAX_CLASS_RANGES];
    size_t n = 0;
    const bool is_negated = take(r, "^");
    while (!take(r, "]")) {
        r2i_char_range range;
        if (n == MAX_CLASS_RANGES) return fail_at(r, R2_E_LIMIT, "expected fewer ranges");
        R2I_TRY(read_char(r, &range.first));
        range.last = range.first;
        if (peek(r) == '-' && r->at + 1 < r->n && r->text[r->at + 1] != ']') {
            r->at++;
            R2I_TRY(read_char(r, &range.last));
        }
        if (range.last < range.first)
            return fail_at(r, R2_E_FORMAT, "expected a range in ascending order before this");
        ranges[n++] = range;
    }
    *out = r2i_expression_class(r->draft, ranges, n, is_negated);
    return R2_OK;
}

static r2_status read_count(gbnf_reader *r, int32_t *out) {
    int32_t value = 0;
    const size_t begin = r->at;
    while (peek(r) >= '0' && peek(r) <= '9') {
        value = value * 10 + (peek(r) - '0');
        if (value > R2I_GRAMMAR_MAX_REPEAT)
            return fail_at(r, R2_E_LIMIT, "expected at most 100000 repetitions");
        r->at++;
    }
    if (r->at == begin) return fail_at(r, R2_E_FORMAT, "expected a number");
    *out = value;
    return R2_OK;
}

/* Behind "{". */
static r2_status read_counts(gbnf_reader *r, int32_t *n_min, int32_t *n_max) {
    skip_space(r, true);
    *n_min = 0;
    if (peek(r) != ',') R2I_TRY(read_count(r, n_min));
    *n_max = *n_min;
    skip_space(r, true);
    if (take(r, ",")) {
        skip_space(r, true);
        *n_max = -1;
        if (peek(r) != '}') R2I_TRY(read_count(r, n_max));
        skip_space(r, true);
    }
    if (*n_max >= 0 && *n_max < *n_min)
        return fail_at(r, R2_E_FORMAT, "expected {m,n} with m <= n before this");
    return take(r, "}") ? R2_OK : fail_at(r, R2_E_FORMAT, "expected }");
}

static r2_status read_postfix(gbnf_reader *r, r2i_expression **e) {
    for (int n = 0;; n++) {
        int32_t n_min, n_max;
        skip_space(r, r->n_open > 0);
        if (take(r, "*"))
            n_min = 0, n_max = -1;
        else if (take(r, "+"))
            n_min = 1, n_max = -1;
        else if (take(r, "?"))
            n_min = 0, n_max = 1;
        else if (take(r, "{"))
            R2I_TRY(read_counts(r, &n_min, &n_max));
        else
            return R2_OK;
        if (n == MAX_POSTFIXES)
            return fail_at(r, R2_E_LIMIT, "expected fewer repetitions of a repetition");
        *e = r2i_expression_repeat(r->draft, *e, n_min, n_max);
    }
}

static r2_status read_choice(gbnf_reader *r, r2i_expression **out);

static r2_status read_group(gbnf_reader *r, r2i_expression **out) {
    if (++r->n_open > R2I_GRAMMAR_MAX_NESTING)
        return fail_at(r, R2_E_LIMIT, "expected at most 64 open parentheses");
    R2I_TRY(read_choice(r, out));
    r->n_open--;
    return take(r, ")") ? R2_OK : fail_at(r, R2_E_FORMAT, "expected )");
}

/* *out stays NULL where no part begins. */
static r2_status read_part(gbnf_reader *r, r2i_expression **out) {
    *out = NULL;
    if (take(r, "\"")) {
        R2I_TRY(read_literal(r, out));
    } else if (take(r, "[")) {
        R2I_TRY(read_class(r, out));
    } else if (take(r, "(")) {
        R2I_TRY(read_group(r, out));
    } else if (take(r, ".")) {
        *out = r2i_expression_class(r->draft, NULL, 0, true);
    } else if (is_name_char(peek(r))) {
        int32_t rule;
        R2I_TRY(read_name(r, &rule));
        *out = r2i_expression_rule(r->draft, rule);
    } else {
        return R2_OK;
    }
    R2I_TRY(read_postfix(r, out));
    return r2i_draft_check(r->draft, r->err);
}

static r2_status read_sequence(gbnf_reader *r, r2i_expression **out) {
    r2i_expression *part;
    *out = r2i_expression_sequence(r->draft);
    for (;;) {
        skip_space(r, r->n_open > 0);
        R2I_TRY(read_part(r, &part));
        if (part == NULL) return R2_OK;
        *out = r2i_expression_add(r->draft, *out, part);
    }
}

static r2_status read_choice(gbnf_reader *r, r2i_expression **out) {
    r2i_expression *part;
    *out = r2i_expression_choice(r->draft);
    do {
        skip_space(r, true);
        R2I_TRY(read_sequence(r, &part));
        *out = r2i_expression_add(r->draft, *out, part);
    } while (take(r, "|"));
    return r2i_draft_check(r->draft, r->err);
}

static r2_status read_rule(gbnf_reader *r) {
    int32_t rule;
    r2i_expression *body;
    R2I_TRY(read_name(r, &rule));
    if (r->draft->rules[rule].body != NULL)
        return r2i_fail(r->err, R2_E_FORMAT, "grammar: rule %.100s is defined twice",
                        r->draft->rules[rule].name);
    skip_space(r, false);
    if (!take(r, "::=")) return fail_at(r, R2_E_FORMAT, "expected ::=");
    R2I_TRY(read_choice(r, &body));
    r2i_draft_define(r->draft, rule, body);
    if (r->at < r->n && peek(r) != '\n' && peek(r) != '\r')
        return fail_at(r, R2_E_FORMAT, "expected the end of the rule");
    return R2_OK;
}

r2_status r2i_gbnf_read(r2i_grammar_draft *draft, const char *text, size_t n_bytes, r2_error *err) {
    gbnf_reader r = { .draft = draft, .text = text, .n = n_bytes, .err = err };
    if (n_bytes > R2I_GRAMMAR_MAX_TEXT_BYTES)
        return r2i_fail(err, R2_E_LIMIT, "grammar: %zu bytes, expected at most %d", n_bytes,
                        (int)R2I_GRAMMAR_MAX_TEXT_BYTES);
    draft->root = r2i_draft_rule(draft, "root", 4);
    for (skip_space(&r, true); r.at < r.n; skip_space(&r, true))
        R2I_TRY(read_rule(&r));
    for (int32_t i = 0; i < draft->n_rules; i++) {
        if (draft->rules[i].body == NULL)
            return r2i_fail(err, R2_E_FORMAT, "grammar: rule %.100s is not defined",
                            draft->rules[i].name);
    }
    return r2i_draft_check(draft, err);
}
