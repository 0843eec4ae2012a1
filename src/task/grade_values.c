/* grade_values.c - answers that are values: text, number, letter, JSON, what an expression matches. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <pcre2.h>
#include <string.h>
#include <utf8proc.h>

#include "base/failure.h"
#include "task/grade_job.h"
#include "task/number_value.h"

enum {
    MAX_TEXT = 1 << 20,
    MATCH_LIMIT = 1000000,
    JSON_FLAGS = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL
};

static r2i_span span_of(const char *text) {
    return (r2i_span){ text, strlen(text) };
}

/* ---- texts ---- */

/* Code points decomposed; two texts are equal in NFKC just if these are.  -1: no UTF-8, or too long. */
static int64_t decompose(r2i_arena *arena, r2i_span s, utf8proc_int32_t **out) {
    enum { WIDEST = 18 }; /* code points that one may become */
    const utf8proc_option_t how = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    if (s.n > MAX_TEXT) return -1;
    const size_t room = s.n * WIDEST + 1;
    *out = R2I_ARENA_ARRAY(arena, utf8proc_int32_t, room);
    if (*out == NULL) return -1;
    return utf8proc_decompose((const utf8proc_uint8_t *)s.text, (utf8proc_ssize_t)s.n, *out,
                              (utf8proc_ssize_t)room, how);
}

bool r2i_is_same_text(r2i_arena *arena, r2i_span a, r2i_span b) {
    utf8proc_int32_t *left, *right;
    a = r2i_span_trim(a);
    b = r2i_span_trim(b);
    if (a.n == b.n && (a.n == 0 || memcmp(a.text, b.text, a.n) == 0)) return true;
    const int64_t n = decompose(arena, a, &left);
    return n >= 0 && n == decompose(arena, b, &right) &&
           memcmp(left, right, (size_t)n * sizeof *left) == 0;
}

static r2i_span last_line(r2i_span s) {
    s = r2i_span_trim(s);
    const char *end = r2i_span_last(s, "\n");
    return end == NULL ? s : (r2i_span){ end + 1, s.n - (size_t)(end + 1 - s.text) };
}

r2_status r2i_grade_exact(const r2i_grade_job *j) {
    const r2i_span expected = span_of(j->options->expected);
    j->grade->is_right = r2i_is_same_text(j->arena, j->found.answer, expected);
    j->grade->is_found =
        j->grade->is_right || r2i_is_same_text(j->arena, last_line(j->found.visible), expected);
    return R2_OK;
}

/* ---- numbers ---- */

r2_status r2i_grade_number(const r2i_grade_job *j) {
    const r2i_span expected = span_of(j->options->expected);
    r2i_number wanted, number;
    if (!r2i_number_of(&wanted, expected.text, expected.n))
        return r2i_fail(j->err, R2_E_ARGUMENT,
                        "grade: expected a number to compare with, found \"%.60s\"", expected.text);
    j->grade->is_right = r2i_number_of(&number, j->found.answer.text, j->found.answer.n) &&
                         r2i_number_equal(&number, &wanted);
    j->grade->is_found =
        j->grade->is_right || (r2i_number_last(&number, j->found.answer.text, j->found.answer.n) &&
                               r2i_number_equal(&number, &wanted));
    return R2_OK;
}

/* ---- letters ---- */

static bool is_alone(r2i_span s, size_t i) {
    const bool left = i == 0 || !(isalnum((unsigned char)s.text[i - 1]) || s.text[i - 1] == '\'');
    const bool right =
        i + 1 == s.n || !(isalnum((unsigned char)s.text[i + 1]) || s.text[i + 1] == '\'');
    return left && right;
}

/* B, (B), B. or B) and then anything: '\0' if it begins in no such way. */
static char leading_letter(r2i_span s) {
    s = r2i_span_trim(s);
    while (s.n > 0 && strchr("([*\"", s.text[0]) != NULL)
        s.text++, s.n--;
    return s.n > 0 && isalpha((unsigned char)s.text[0]) && is_alone(s, 0)
               ? (char)toupper((unsigned char)s.text[0])
               : '\0';
}

/* The last capital that stands alone; I and A are words in English and count with a bracket or at the end. */
static char last_letter(r2i_span s) {
    char found = '\0';
    s = r2i_span_trim(s);
    for (size_t i = 0; i < s.n; i++) {
        const char next = i + 1 < s.n ? s.text[i + 1] : '.';
        const bool is_word =
            (s.text[i] == 'A' || s.text[i] == 'I') && strchr(").:*,\"", next) == NULL;
        if (s.text[i] >= 'A' && s.text[i] <= 'Z' && is_alone(s, i) && !is_word) found = s.text[i];
    }
    return found;
}

r2_status r2i_grade_choice(const r2i_grade_job *j) {
    const char wanted = leading_letter(span_of(j->options->expected));
    if (wanted == '\0')
        return r2i_fail(j->err, R2_E_ARGUMENT,
                        "grade: expected a letter to compare with, found \"%.60s\"",
                        j->options->expected);
    j->grade->is_right = j->found.has_form || j->found.answer.n < 4
                             ? leading_letter(j->found.answer) == wanted
                             : last_letter(j->found.answer) == wanted;
    j->grade->is_found = j->grade->is_right || last_letter(j->found.visible) == wanted;
    return R2_OK;
}

/* ---- JSON ---- */

/* As json_equal, but 1 and 1.0 are the same number. */
static bool is_same_json(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) {
        if (json_is_integer(a) && json_is_integer(b))
            return json_integer_value(a) == json_integer_value(b);
        return json_number_value(a) == json_number_value(b);
    }
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        bool is_same = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; is_same && i < json_array_size(a); i++)
            is_same = is_same_json(json_array_get(a, i), json_array_get(b, i));
        return is_same;
    }
    if (!json_is_object(a)) return json_equal(a, b) == 1;
    if (json_object_size(a) != json_object_size(b)) return false;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)a, key, value) {
        const json_t *other = json_object_get(b, key);
        if (other == NULL || !is_same_json(value, other)) return false;
    }
    return true;
}

static bool is_wanted_json(const json_t *wanted, r2i_span text) {
    text = r2i_span_trim(text);
    json_t *value = json_loadb(text.text, text.n, JSON_FLAGS, NULL);
    const json_t *list = json_object_get(wanted, "any_of");
    bool is_same = value != NULL && !json_is_array(list) && is_same_json(wanted, value);
    for (size_t i = 0; value != NULL && !is_same && i < json_array_size(list); i++)
        is_same = is_same_json(json_array_get(list, i), value);
    json_decref(value);
    return is_same;
}

r2_status r2i_grade_json(const r2i_grade_job *j) {
    const r2i_span all = j->found.visible;
    json_t *wanted = json_loads(j->options->expected, JSON_FLAGS, NULL);
    if (wanted == NULL)
        return r2i_fail(j->err, R2_E_ARGUMENT,
                        "grade: expected JSON to compare with, found \"%.60s\"",
                        j->options->expected);
    j->grade->is_right = is_wanted_json(wanted, j->found.answer) ||
                         (j->found.has_code && is_wanted_json(wanted, j->found.code));
    j->grade->is_found = j->grade->is_right || is_wanted_json(wanted, j->found.code);
    const char *begin = r2i_span_first(all, json_is_array(wanted) ? "[" : "{"),
               *end = r2i_span_last(all, json_is_array(wanted) ? "]" : "}");
    if (!j->grade->is_found && begin != NULL && end > begin)
        j->grade->is_found = is_wanted_json(wanted, (r2i_span){ begin, (size_t)(end + 1 - begin) });
    json_decref(wanted);
    return R2_OK;
}

/* ---- expressions ---- */

static bool matches(const pcre2_code *code, pcre2_match_data *data, pcre2_match_context *limits,
                    r2i_span text, uint32_t how) {
    text = r2i_span_trim(text);
    return pcre2_match(code, (PCRE2_SPTR)text.text, text.n, 0, how, data, limits) >= 0;
}

r2_status r2i_grade_regex(const r2i_grade_job *j) {
    const char *expected = j->options->expected;
    int number = 0;
    PCRE2_SIZE at = 0;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)expected, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &number, &at, NULL);
    if (code == NULL)
        return r2i_fail(j->err, R2_E_ARGUMENT,
                        "grade: \"%.60s\": no expression, from character %zu on", expected,
                        (size_t)at + 1);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    const bool has_memory = data != NULL && limits != NULL;
    if (has_memory) {
        (void)pcre2_set_match_limit(limits, MATCH_LIMIT);
        j->grade->is_right =
            matches(code, data, limits, j->found.answer, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
        j->grade->is_found = j->grade->is_right || matches(code, data, limits, j->found.visible, 0);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
    return has_memory ? R2_OK : r2i_fail(j->err, R2_E_NOMEM, "grade: no memory for an expression");
}
