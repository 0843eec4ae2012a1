#include "text/grammar_regex.h"

#include <string.h>

#include "base/failure.h"
#include "text/grammar_json.h"
#include "text/utf8_scan.h"

enum { MAX_RANGES = 256, FIRST_BEYOND_ASCII = 0x80 };

typedef struct {
    r2i_grammar_draft *draft;
    const char *text;
    size_t n, at;
    int32_t n_open;
    unsigned flags;
    r2_error *err;
} regex_reader;

/* Ranges of a class as they are collected. */
typedef struct {
    r2i_char_range ranges[MAX_RANGES];
    size_t n;
    bool has_kind; /* \d and the like */
} range_list;

static r2_status fail_at(const regex_reader *r, r2_status code, const char *what) {
    const size_t left = r->n - r->at;
    if (left == 0) return r2i_fail(r->err, code, "regex: %s, found the end", what);
    return r2i_fail(r->err, code, "regex: character %zu: %s, found '%.*s'", r->at + 1, what,
                    (int)(left < 12 ? left : 12), r->text + r->at);
}

static r2_status refuse(const regex_reader *r, const char *what) {
    return r2i_fail(r->err, R2_E_UNSUPPORTED, "regex: character %zu: %s is not supported",
                    r->at + 1, what);
}

static bool sees(const regex_reader *r, const char *word) {
    const size_t n = strlen(word);
    return r->n - r->at >= n && memcmp(r->text + r->at, word, n) == 0;
}

static bool take(regex_reader *r, const char *word) {
    if (!sees(r, word)) return false;
    r->at += strlen(word);
    return true;
}

/* ---- characters ---- */

static bool add_range(range_list *list, int32_t first, int32_t last) {
    if (list->n == MAX_RANGES) return false;
    if (first <= last) list->ranges[list->n++] = (r2i_char_range){ first, last };
    return true;
}

/* The characters of \d, \w, \s in pairs, ascending. */
static const char *kind_pairs(char kind) {
    switch (kind | 0x20) {
    case 'd':
        return "09";
    case 'w':
        return "09AZ__az";
    case 's':
        return "\t\r  ";
    default:
        return NULL;
    }
}

static bool add_kind(range_list *list, char kind) {
    const bool is_opposite = kind < 'a';
    int32_t at = 0;
    bool is_added = true;
    list->has_kind = true;
    for (const char *pair = kind_pairs(kind); *pair != '\0'; pair += 2) {
        is_added = add_range(list, is_opposite ? at : pair[0], is_opposite ? pair[0] - 1 : pair[1]);
        at = pair[1] + 1;
    }
    return is_opposite ? add_range(list, at, FIRST_BEYOND_ASCII - 1) : is_added;
}

static r2_status read_hex(regex_reader *r, int n_digits, int32_t *out) {
    uint32_t value = 0;
    for (int i = 0; i < n_digits; i++, r->at++) {
        const char c = r->at < r->n ? r->text[r->at] : '\0', lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            value = value * 16 + (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            value = value * 16 + (uint32_t)(lower - 'a' + 10);
        else
            return fail_at(r, R2_E_FORMAT, "expected a hexadecimal digit");
    }
    *out = (int32_t)value;
    return R2_OK;
}

static r2_status read_plain(regex_reader *r, int32_t *out) {
    if (r->at == r->n) return fail_at(r, R2_E_FORMAT, "expected a character");
    const r2i_utf8_step step = r2i_utf8_next(r->text + r->at, r->n - r->at);
    if (step.kind != R2I_UTF8_CHAR) return fail_at(r, R2_E_FORMAT, "expected UTF-8");
    r->at += (size_t)step.n_bytes;
    *out = step.code_point;
    return R2_OK;
}

/* Behind a backslash: one character, no \d or the like. */
static r2_status read_escape(regex_reader *r, int32_t *out) {
    static const char NAMES[] = "tnrfv0", VALUES[] = "\t\n\r\f\v";
    const char c = r->at < r->n ? r->text[r->at] : '\0';
    const char *known = c != '\0' ? strchr(NAMES, c) : NULL;
    if (known != NULL) {
        r->at++;
        *out = VALUES[known - NAMES];
        return R2_OK;
    }
    if (c == 'x' || c == 'u') {
        r->at++;
        return read_hex(r, c == 'x' ? 2 : 4, out);
    }
    if ((c >= '1' && c <= '9') || c == 'k') return refuse(r, "a back-reference");
    if (c == 'b' || c == 'B') return refuse(r, "a word border");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return refuse(r, "this escape");
    return read_plain(r, out);
}

static r2i_expression *make_class(regex_reader *r, range_list *list, bool is_negated) {
    if (is_negated && list->has_kind)
        (void)add_range(list, FIRST_BEYOND_ASCII, R2I_LAST_CODE_POINT);
    r2i_expression *e = r2i_expression_class(r->draft, list->ranges, list->n, is_negated);
    return (r->flags & R2I_REGEX_JSON) != 0 ? r2i_json_class(r->draft, e) : e;
}

static r2i_expression *one_character(regex_reader *r, int32_t c) {
    range_list list = { .n = 0 };
    (void)add_range(&list, c, c);
    return make_class(r, &list, false);
}

/* Any but line ends, as . is in one or the other dialect. */
static r2i_expression *dot(regex_reader *r) {
    range_list list = { .ranges = { { '\n', '\n' }, { '\r', '\r' }, { 0x2028, 0x2029 } }, .n = 3 };
    return make_class(r, &list, true);
}

/* One member of a class: a character, whose number goes to *c, or a kind (*c is -1). */
static r2_status read_member(regex_reader *r, range_list *list, int32_t *c) {
    *c = -1;
    if (!take(r, "\\")) {
        if (sees(r, "[:")) return refuse(r, "a named class");
        return read_plain(r, c);
    }
    if (r->at < r->n && kind_pairs(r->text[r->at]) != NULL) {
        if (!add_kind(list, r->text[r->at++]))
            return fail_at(r, R2_E_LIMIT, "expected fewer ranges");
        return R2_OK;
    }
    return read_escape(r, c);
}

static r2_status read_class(regex_reader *r, r2i_expression **out) {
    range_list list = { .n = 0 };
    const bool is_negated = take(r, "^");
    for (bool is_first = true; is_first || !take(r, "]"); is_first = false) {
        int32_t first, last;
        if (is_first && sees(r, "]"))
            return fail_at(r, R2_E_FORMAT, "expected a class that holds something");
        R2I_TRY(read_member(r, &list, &first));
        last = first;
        if (sees(r, "-") && r->at + 1 < r->n && r->text[r->at + 1] != ']') {
            r->at++;
            R2I_TRY(read_member(r, &list, &last));
            if (first < 0 || last < first)
                return fail_at(r, R2_E_FORMAT, "expected a range in ascending order before this");
        }
        if (first >= 0 && !add_range(&list, first, last))
            return fail_at(r, R2_E_LIMIT, "expected fewer ranges");
    }
    *out = make_class(r, &list, is_negated);
    return R2_OK;
}

/* ---- structure ---- */

static bool read_number(regex_reader *r, int32_t *out) {
    const size_t begin = r->at;
    for (*out = 0; r->at < r->n && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++)
        *out = *out > R2I_GRAMMAR_MAX_REPEAT ? *out : *out * 10 + (r->text[r->at] - '0');
    return r->at > begin;
}

/* {m}, {m,}, {m,n}; anything else behind { is text. */
static bool read_counts(regex_reader *r, int32_t *n_min, int32_t *n_max) {
    const size_t begin = r->at;
    if (take(r, "{") && read_number(r, n_min)) {
        *n_max = *n_min;
        if (take(r, ",") && !read_number(r, n_max)) *n_max = -1;
        if (take(r, "}")) return true;
    }
    r->at = begin;
    return false;
}

static r2_status read_times(regex_reader *r, r2i_expression **e) {
    int32_t n_min = 0, n_max = -1;
    if (take(r, "+"))
        n_min = 1;
    else if (take(r, "?"))
        n_max = 1;
    else if (!take(r, "*") && !read_counts(r, &n_min, &n_max))
        return R2_OK;
    if (n_min > R2I_GRAMMAR_MAX_REPEAT || n_max > R2I_GRAMMAR_MAX_REPEAT)
        return fail_at(r, R2_E_LIMIT, "expected at most 100000 repetitions before this");
    if (n_max >= 0 && n_max < n_min)
        return fail_at(r, R2_E_FORMAT, "expected {m,n} with m <= n before this");
    (void)take(r, "?");
    if (sees(r, "*") || sees(r, "+") || sees(r, "?"))
        return fail_at(r, R2_E_FORMAT, "expected one repetition, not two");
    *e = r2i_expression_repeat(r->draft, *e, n_min, n_max);
    return R2_OK;
}

static r2_status read_choice(regex_reader *r, bool is_top, r2i_expression **out);

static r2_status read_group(regex_reader *r, r2i_expression **out) {
    if (++r->n_open > R2I_GRAMMAR_MAX_NESTING / 2)
        return fail_at(r, R2_E_LIMIT, "expected at most 32 open parentheses");
    if (sees(r, "?<=") || sees(r, "?<!") || sees(r, "?=") || sees(r, "?!"))
        return refuse(r, "looking ahead or behind");
    if (take(r, "?P<") || take(r, "?<")) {
        while (r->at < r->n && r->text[r->at] != '>')
            r->at++;
        if (!take(r, ">")) return fail_at(r, R2_E_FORMAT, "expected >");
    } else if (sees(r, "?") && !take(r, "?:")) {
        return refuse(r, "this kind of group");
    }
    R2I_TRY(read_choice(r, false, out));
    r->n_open--;
    return take(r, ")") ? R2_OK : fail_at(r, R2_E_FORMAT, "expected )");
}

static r2_status read_part(regex_reader *r, r2i_expression **out) {
    int32_t c = 0;
    if (take(r, "(")) return read_group(r, out);
    if (take(r, "[")) return read_class(r, out);
    if (sees(r, "^") || sees(r, "$")) return refuse(r, "^ or $ inside");
    if (sees(r, "*") || sees(r, "+") || sees(r, "?"))
        return fail_at(r, R2_E_FORMAT, "expected something to repeat before this");
    if (take(r, ".")) {
        *out = dot(r);
        return R2_OK;
    }
    if (take(r, "\\")) {
        if (r->at < r->n && kind_pairs(r->text[r->at]) != NULL) {
            range_list list = { .n = 0 };
            (void)add_kind(&list, r->text[r->at++]);
            *out = make_class(r, &list, false);
            return R2_OK;
        }
        R2I_TRY(read_escape(r, &c));
    } else {
        R2I_TRY(read_plain(r, &c));
    }
    *out = one_character(r, c);
    return R2_OK;
}

/* What may stand around a match. */
static r2i_expression *around(regex_reader *r) {
    range_list all = { .n = 0 };
    r2i_expression *e = (r->flags & R2I_REGEX_JSON) != 0
                            ? r2i_json_character(r->draft)
                            : r2i_expression_class(r->draft, all.ranges, 0, true);
    return r2i_expression_repeat(r->draft, e, 0, -1);
}

static r2_status read_sequence(regex_reader *r, bool is_top, r2i_expression **out) {
    const bool is_search = is_top && (r->flags & R2I_REGEX_SEARCH) != 0;
    *out = r2i_expression_sequence(r->draft);
    bool is_at_start = is_top && take(r, "^"), is_at_end = false;
    if (is_search && !is_at_start) *out = r2i_expression_add(r->draft, *out, around(r));
    while (r->at < r->n && !sees(r, "|") && !sees(r, ")") && !is_at_end) {
        r2i_expression *part;
        if (is_top && sees(r, "$") && (r->at + 1 == r->n || r->text[r->at + 1] == '|')) {
            r->at++;
            is_at_end = true;
            break;
        }
        R2I_TRY(read_part(r, &part));
        R2I_TRY(read_times(r, &part));
        *out = r2i_expression_add(r->draft, *out, part);
        R2I_TRY(r2i_draft_check(r->draft, r->err));
    }
    if (is_search && !is_at_end) *out = r2i_expression_add(r->draft, *out, around(r));
    return R2_OK;
}

static r2_status read_choice(regex_reader *r, bool is_top, r2i_expression **out) {
    r2i_expression *part;
    *out = r2i_expression_choice(r->draft);
    do {
        R2I_TRY(read_sequence(r, is_top, &part));
        *out = r2i_expression_add(r->draft, *out, part);
    } while (take(r, "|"));
    return r2i_draft_check(r->draft, r->err);
}

r2_status r2i_regex_expression(r2i_expression **out, r2i_grammar_draft *draft, const char *pattern,
                               size_t n_bytes, unsigned flags, r2_error *err) {
    regex_reader r = { .draft = draft, .text = pattern, .n = n_bytes, .flags = flags, .err = err };
    *out = NULL;
    if (n_bytes > R2I_GRAMMAR_MAX_TEXT_BYTES)
        return r2i_fail(err, R2_E_LIMIT, "regex: %zu bytes, expected at most %d", n_bytes,
                        (int)R2I_GRAMMAR_MAX_TEXT_BYTES);
    R2I_TRY(read_choice(&r, true, out));
    return r.at == r.n ? R2_OK
                       : fail_at(&r, R2_E_FORMAT, "expected an open parenthesis before this");
}

r2_status r2i_regex_read(r2i_grammar_draft *draft, const char *pattern, size_t n_bytes,
                         r2_error *err) {
    r2i_expression *body;
    draft->root = r2i_draft_rule(draft, "root", 4);
    R2I_TRY(r2i_regex_expression(&body, draft, pattern, n_bytes, 0, err));
    r2i_draft_define(draft, draft->root, body);
    return r2i_draft_check(draft, err);
}
