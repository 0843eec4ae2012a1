#include "text/grammar_json.h"

#include <string.h>

/* Short names: expressions of the draft `d`. */
#define WORD(text) r2i_expression_word(d, text)
#define ADD(whole, part) whole = r2i_expression_add(d, whole, part)

enum { INTEGER_DIGITS = 15, FRACTION_DIGITS = 15, EXPONENT_DIGITS = 2 };

typedef r2i_expression *(*maker)(r2i_grammar_draft *d);

/* The rule of this name; `make` is asked for its body the first time. */
static r2i_expression *named(r2i_grammar_draft *d, const char *name, maker make) {
    const int32_t n_before = d->n_rules;
    const int32_t rule = r2i_draft_rule(d, name, strlen(name));
    if (rule >= 0 && d->n_rules > n_before) r2i_draft_define(d, rule, make(d));
    return r2i_expression_rule(d, rule);
}

static r2i_expression *chars(r2i_grammar_draft *d, const char *pairs) {
    r2i_char_range ranges[8];
    size_t n = 0;
    for (; pairs[2 * n] != '\0'; n++)
        ranges[n] = (r2i_char_range){ pairs[2 * n], pairs[2 * n + 1] };
    return r2i_expression_class(d, ranges, n, false);
}

static r2i_expression *optional(r2i_grammar_draft *d, r2i_expression *part) {
    return r2i_expression_repeat(d, part, 0, 1);
}

static r2i_expression *make_space(r2i_grammar_draft *d) {
    r2i_expression *line = r2i_expression_sequence(d), *all = r2i_expression_choice(d);
    ADD(line, WORD("\n"));
    ADD(line, r2i_expression_repeat(d, chars(d, "  \t\t"), 0, R2I_JSON_INDENT));
    ADD(all, WORD(""));
    ADD(all, WORD(" "));
    ADD(all, line);
    return all;
}

r2i_expression *r2i_json_space(r2i_grammar_draft *d) {
    return named(d, "json space", make_space);
}

/* ---- strings ---- */

static r2i_expression *make_hex(r2i_grammar_draft *d) {
    return chars(d, "09afAF");
}

static r2i_expression *hex(r2i_grammar_draft *d, int32_t n) {
    return r2i_expression_repeat(d, named(d, "json hex", make_hex), n, n);
}

/* \uXXXX: any but zero and halves of pairs, or a whole pair. */
static r2i_expression *make_unicode(r2i_grammar_draft *d) {
    r2i_expression *all = r2i_expression_choice(d), *pair = r2i_expression_sequence(d);
    static const char *const LEADS[] = { "19acefACEF", "ddDD" };
    for (int i = 0; i < 2; i++) {
        r2i_expression *one = r2i_expression_sequence(d);
        ADD(one, chars(d, LEADS[i]));
        ADD(one, i == 0 ? named(d, "json hex", make_hex) : chars(d, "07"));
        ADD(one, hex(d, 2));
        ADD(all, one);
    }
    r2i_expression *low = r2i_expression_sequence(d); /* 0001 to 0fff */
    ADD(low, WORD("0"));
    r2i_expression *rest = r2i_expression_choice(d);
    static const char *const ZEROS[] = { "", "0", "00" };
    for (int i = 0; i < 3; i++) {
        r2i_expression *one = r2i_expression_sequence(d);
        ADD(one, WORD(ZEROS[i]));
        ADD(one, chars(d, "19afAF"));
        ADD(one, hex(d, 2 - i));
        ADD(rest, one);
    }
    ADD(low, rest);
    ADD(all, low);
    ADD(pair, chars(d, "ddDD"));
    ADD(pair, chars(d, "89abAB"));
    ADD(pair, hex(d, 2));
    ADD(pair, WORD("\\u"));
    ADD(pair, chars(d, "ddDD"));
    ADD(pair, chars(d, "cfCF"));
    ADD(pair, hex(d, 2));
    ADD(all, pair);
    return all;
}

static r2i_expression *make_character(r2i_grammar_draft *d) {
    r2i_char_range special[] = { { 0, 0x1f }, { '"', '"' }, { '\\', '\\' }, { 0x7f, 0x9f } };
    r2i_expression *all = r2i_expression_choice(d), *escape = r2i_expression_sequence(d),
                   *unicode = r2i_expression_sequence(d), *which = r2i_expression_choice(d);
    ADD(all, r2i_expression_class(d, special, 4, true));
    ADD(which, chars(d, "\"\"\\\\//bbffnnrrtt"));
    ADD(unicode, WORD("u"));
    ADD(unicode, make_unicode(d));
    ADD(which, unicode);
    ADD(escape, WORD("\\"));
    ADD(escape, which);
    ADD(all, escape);
    return all;
}

r2i_expression *r2i_json_character(r2i_grammar_draft *d) {
    return named(d, "json character", make_character);
}

static r2i_expression *quoted(r2i_grammar_draft *d, r2i_expression *inside) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, WORD("\""));
    ADD(e, inside);
    ADD(e, WORD("\""));
    return e;
}

static r2i_expression *make_string(r2i_grammar_draft *d) {
    return quoted(d, r2i_expression_repeat(d, r2i_json_character(d), 0, -1));
}

r2i_expression *r2i_json_string(r2i_grammar_draft *d) {
    return named(d, "json string", make_string);
}

r2i_expression *r2i_json_quoted(r2i_grammar_draft *d, const char *text) {
    json_t *value = json_string(text);
    char *quoted_text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
    r2i_expression *e = quoted_text != NULL ? WORD(quoted_text) : r2i_expression_rule(d, -1);
    json_decref(value);
    if (quoted_text != NULL) {
        /* jansson's own allocator gave it. */
        json_free_t release;
        json_get_alloc_funcs(NULL, &release);
        release(quoted_text);
    }
    return e;
}

/* How JSON writes a character below 0x80 that it wants escaped. */
static r2i_expression *escaped(r2i_grammar_draft *d, int32_t c) {
    static const char NAMES[] = "btnfr\"\\", VALUES[] = "\b\t\n\f\r\"\\";
    static const char DIGITS[] = "0123456789abcdef";
    const char *known = c != 0 ? strchr(VALUES, c) : NULL;
    if (known != NULL) return r2i_expression_text(d, (char[]){ '\\', NAMES[known - VALUES] }, 2);
    return r2i_expression_text(d, (char[]){ '\\', 'u', '0', '0', DIGITS[c >> 4], DIGITS[c & 15] },
                               6);
}

r2i_expression *r2i_json_class(r2i_grammar_draft *d, const r2i_expression *plain) {
    r2i_char_range ranges[1024];
    r2i_expression *all = r2i_expression_choice(d);
    size_t n = 0;
    if (plain == NULL) return NULL;
    for (size_t i = 0; i < plain->n_ranges && n + 3 < 1024; i++) {
        int32_t first = plain->ranges[i].first;
        const int32_t last = plain->ranges[i].last;
        for (int32_t c = first; c <= last && c <= '\\'; c++) {
            if (c >= 0x20 && c != '"' && c != '\\') continue;
            if (c != 0) ADD(all, escaped(d, c));
            if (first < c) ranges[n++] = (r2i_char_range){ first, c - 1 };
            first = c + 1;
        }
        if (first <= last) ranges[n++] = (r2i_char_range){ first, last };
    }
    ADD(all, r2i_expression_class(d, ranges, n, false));
    return all;
}

/* ---- keys that are not among some names ---- */

typedef struct {
    const char **names; /* sorted, terminated */
    size_t n;
} name_list;

static int32_t read_character(const char **text) {
    const unsigned char *s = (const unsigned char *)*text;
    const int n = *s < 0x80 ? 1 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;
    int32_t c = n == 1 ? *s : *s & (0xff >> (n + 1));
    for (int i = 1; i < n; i++)
        c = c << 6 | (s[i] & 0x3f);
    *text += n;
    return c;
}

static void skip_special(r2i_char_range *ranges, size_t *n) {
    ranges[(*n)++] = (r2i_char_range){ 0, 0x1f };
    ranges[(*n)++] = (r2i_char_range){ '"', '"' };
    ranges[(*n)++] = (r2i_char_range){ '\\', '\\' };
    ranges[(*n)++] = (r2i_char_range){ 0x7f, 0x9f };
}

static r2i_expression *make_plain_rest(r2i_grammar_draft *d) {
    r2i_char_range ranges[4];
    size_t n = 0;
    skip_special(ranges, &n);
    return r2i_expression_repeat(d, r2i_expression_class(d, ranges, n, true), 0, 60);
}

/* What may follow a beginning that these names share, none of them as a whole.  One level for each
 * character, so the depth is limited: longer names are told apart by their first ones. */
static r2i_expression *other_rest(r2i_grammar_draft *d, name_list names, int depth) {
    r2i_expression *all = r2i_expression_choice(d);
    r2i_char_range used[256];
    size_t n_used = 0, i = 0;
    skip_special(used, &n_used);
    bool is_name = false;
    while (i < names.n) {
        if (names.names[i][0] == '\0') {
            is_name = true;
            i++;
            continue;
        }
        const size_t first = i;
        const char *rest = names.names[i];
        const int32_t c = read_character(&rest);
        const char *begin = names.names[i];
        const size_t n_char = (size_t)(rest - begin);
        for (; i < names.n && strncmp(names.names[i], begin, n_char) == 0; i++) {
        }
        if (n_used < 250) used[n_used++] = (r2i_char_range){ c, c };
        if (depth >= R2I_GRAMMAR_MAX_NESTING / 2 || n_used >= 250) continue;
        r2i_expression *way = r2i_expression_sequence(d);
        ADD(way, r2i_expression_text(d, begin, n_char));
        for (size_t k = first; k < i; k++)
            names.names[k] += n_char;
        ADD(way, other_rest(d, (name_list){ names.names + first, i - first }, depth + 1));
        for (size_t k = first; k < i; k++)
            names.names[k] -= n_char;
        ADD(all, way);
    }
    r2i_expression *different = r2i_expression_sequence(d);
    ADD(different, r2i_expression_class(d, used, n_used, true));
    ADD(different, named(d, "json plain", make_plain_rest));
    ADD(all, different);
    if (!is_name && depth > 0) ADD(all, WORD(""));
    return all;
}

r2i_expression *r2i_json_other_key(r2i_grammar_draft *d, const json_t *names) {
    const size_t cap = json_object_size(names);
    name_list list = { R2I_ARENA_ARRAY(d->arena, const char *, cap + 1), 0 };
    const char *name;
    const json_t *value;
    if (list.names == NULL) return r2i_expression_rule(d, -1);
    json_object_foreach((json_t *)(uintptr_t)names, name, value) {
        size_t at = list.n++;
        for (; at > 0 && strcmp(list.names[at - 1], name) > 0; at--)
            list.names[at] = list.names[at - 1];
        list.names[at] = name;
        (void)value;
    }
    return quoted(d, other_rest(d, list, 0));
}

/* ---- numbers ---- */

static r2i_expression *digits(r2i_grammar_draft *d, int32_t n_min, int32_t n_max) {
    return r2i_expression_repeat(d, chars(d, "09"), n_min, n_max);
}

static r2i_expression *make_integer(r2i_grammar_draft *d) {
    r2i_expression *e = r2i_expression_sequence(d), *size = r2i_expression_choice(d),
                   *large = r2i_expression_sequence(d);
    ADD(large, chars(d, "19"));
    ADD(large, digits(d, 0, INTEGER_DIGITS - 1));
    ADD(size, WORD("0"));
    ADD(size, large);
    ADD(e, optional(d, WORD("-")));
    ADD(e, size);
    return e;
}

r2i_expression *r2i_json_integer(r2i_grammar_draft *d) {
    return named(d, "json integer", make_integer);
}

static r2i_expression *make_number(r2i_grammar_draft *d) {
    r2i_expression *e = r2i_expression_sequence(d), *fraction = r2i_expression_sequence(d),
                   *exponent = r2i_expression_sequence(d);
    ADD(fraction, WORD("."));
    ADD(fraction, digits(d, 1, FRACTION_DIGITS));
    ADD(exponent, chars(d, "eeEE"));
    ADD(exponent, optional(d, chars(d, "++--")));
    ADD(exponent, digits(d, 1, EXPONENT_DIGITS));
    ADD(e, r2i_json_integer(d));
    ADD(e, optional(d, fraction));
    ADD(e, optional(d, exponent));
    return e;
}

r2i_expression *r2i_json_number(r2i_grammar_draft *d) {
    return named(d, "json number", make_number);
}

/* ---- lists and any value ---- */

r2i_expression *r2i_json_list(r2i_grammar_draft *d, r2i_expression *first, r2i_expression *other,
                              int32_t n_min, int32_t n_max) {
    r2i_expression *more = r2i_expression_sequence(d), *all = r2i_expression_sequence(d);
    if (n_max == 0) return WORD("");
    ADD(more, r2i_json_space(d));
    ADD(more, WORD(","));
    ADD(more, r2i_json_space(d));
    ADD(more, other);
    ADD(all, first);
    ADD(all, r2i_expression_repeat(d, more, n_min > 0 ? n_min - 1 : 0, n_max < 0 ? -1 : n_max - 1));
    return n_min > 0 ? all : optional(d, all);
}

static r2i_expression *bracketed(r2i_grammar_draft *d, const char *open, r2i_expression *inside,
                                 const char *close) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, WORD(open));
    ADD(e, r2i_json_space(d));
    ADD(e, inside);
    ADD(e, r2i_json_space(d));
    ADD(e, WORD(close));
    return e;
}

static r2i_expression *make_array(r2i_grammar_draft *d) {
    return bracketed(d, "[", r2i_json_list(d, r2i_json_value(d), r2i_json_value(d), 0, -1), "]");
}

r2i_expression *r2i_json_array(r2i_grammar_draft *d) {
    return named(d, "json array", make_array);
}

static r2i_expression *make_member(r2i_grammar_draft *d) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, r2i_json_string(d));
    ADD(e, r2i_json_space(d));
    ADD(e, WORD(":"));
    ADD(e, r2i_json_space(d));
    ADD(e, r2i_json_value(d));
    return e;
}

static r2i_expression *make_object(r2i_grammar_draft *d) {
    r2i_expression *first = named(d, "json member", make_member),
                   *other = named(d, "json member", make_member);
    return bracketed(d, "{", r2i_json_list(d, first, other, 0, -1), "}");
}

r2i_expression *r2i_json_object(r2i_grammar_draft *d) {
    return named(d, "json object", make_object);
}

static r2i_expression *make_value(r2i_grammar_draft *d) {
    r2i_expression *e = r2i_expression_choice(d);
    ADD(e, r2i_json_object(d));
    ADD(e, r2i_json_array(d));
    ADD(e, r2i_json_string(d));
    ADD(e, r2i_json_number(d));
    ADD(e, WORD("true"));
    ADD(e, WORD("false"));
    ADD(e, WORD("null"));
    return e;
}

r2i_expression *r2i_json_value(r2i_grammar_draft *d) {
    return named(d, "json value", make_value);
}
