/* grammar_schema_length.c - lengths beside a pattern: either all its texts are of such a length, or one
 * repetition in it makes up for the difference. */
#include "base/failure.h"
#include "text/grammar_regex.h"
#include "text/grammar_schema.h"

enum { ENDLESS = -1 };

/* Characters of an expression's texts. */
typedef struct {
    int64_t least, most; /* most: ENDLESS */
} lengths;

static const int64_t LARGE = (int64_t)1 << 40; /* more than any limit, and no overflow nearby */

static int64_t count_characters(const r2i_expression *text) {
    int64_t n = 0;
    for (size_t i = 0; i < text->n_bytes; i++)
        n += ((unsigned char)text->bytes[i] & 0xc0) != 0x80;
    return n;
}

static lengths lengths_of(const r2i_expression *e);

static lengths of_sequence(const r2i_expression *e) {
    lengths all = { 0, 0 };
    for (const r2i_expression *part = e->parts; part != NULL; part = part->next) {
        const lengths one = lengths_of(part);
        all.least += one.least;
        all.most = all.most == ENDLESS || one.most == ENDLESS ? ENDLESS : all.most + one.most;
    }
    return all;
}

static lengths of_choice(const r2i_expression *e) {
    lengths all = { LARGE, 0 };
    for (const r2i_expression *part = e->parts; part != NULL; part = part->next) {
        const lengths one = lengths_of(part);
        if (one.least < all.least) all.least = one.least;
        if (one.most == ENDLESS || (all.most != ENDLESS && one.most > all.most))
            all.most = one.most;
    }
    return all;
}

static lengths of_repeat(const r2i_expression *e) {
    const lengths one = lengths_of(e->parts);
    lengths all = { one.least * e->n_min, one.most * e->n_max };
    if (one.most == ENDLESS || (e->n_max < 0 && one.most != 0)) all.most = ENDLESS;
    if (e->n_max == 0 || one.most == 0) all.most = 0;
    if (all.least > LARGE) all.least = LARGE;
    if (all.most > LARGE) all.most = ENDLESS;
    return all;
}

/* Of a regular expression read as it is: it has no rules in it. */
static lengths lengths_of(const r2i_expression *e) {
    switch (e->kind) {
    case R2I_EXPRESSION_TEXT:
        return (lengths){ count_characters(e), count_characters(e) };
    case R2I_EXPRESSION_CLASS:
        return (lengths){ 1, 1 };
    case R2I_EXPRESSION_SEQUENCE:
        return of_sequence(e);
    case R2I_EXPRESSION_CHOICE:
        return of_choice(e);
    case R2I_EXPRESSION_REPEAT:
        return of_repeat(e);
    case R2I_EXPRESSION_RULE:
        break;
    }
    return (lengths){ 0, ENDLESS };
}

static bool is_within(lengths l, int32_t n_min, int32_t n_max) {
    return l.least >= n_min && (n_max < 0 || (l.most != ENDLESS && l.most <= n_max));
}

/* The same part in the plain tree and in the one for the inside of a JSON string. */
typedef struct {
    const r2i_expression *plain;
    r2i_expression *escaped;
} pair;

/* Repetitions of one character each: the only kind whose length is how often. */
static bool is_run(pair p) {
    return p.plain->kind == R2I_EXPRESSION_REPEAT && p.escaped->kind == R2I_EXPRESSION_REPEAT &&
           p.plain->parts->kind == R2I_EXPRESSION_CLASS;
}

/* Holds the one part of changing length to what is left for it. */
static bool narrow(pair p, int64_t n_min, int64_t n_max) {
    while (p.plain->kind == R2I_EXPRESSION_CHOICE && p.escaped->kind == R2I_EXPRESSION_CHOICE &&
           p.plain->parts != NULL && p.plain->parts->next == NULL && p.escaped->parts != NULL &&
           p.escaped->parts->next == NULL)
        p = (pair){ p.plain->parts, p.escaped->parts };
    if (is_run(p)) {
        r2i_expression *e = p.escaped;
        if (n_min > e->n_min) e->n_min = (int32_t)n_min;
        if (n_max >= 0 && (e->n_max < 0 || n_max < e->n_max)) e->n_max = (int32_t)n_max;
        return e->n_max < 0 || e->n_min <= e->n_max;
    }
    if (p.plain->kind != R2I_EXPRESSION_SEQUENCE || p.escaped->kind != R2I_EXPRESSION_SEQUENCE)
        return false;
    pair found = { NULL, NULL }, at = { p.plain->parts, p.escaped->parts };
    int64_t n_fixed = 0;
    for (; at.plain != NULL && at.escaped != NULL; at.plain = at.plain->next) {
        const lengths l = lengths_of(at.plain);
        if (l.least == l.most) {
            n_fixed += l.least;
        } else if (found.plain != NULL) {
            return false;
        } else {
            found = at;
        }
        at.escaped = at.escaped->next;
    }
    if (at.plain != NULL || at.escaped != NULL || found.plain == NULL) return false;
    if (n_max >= 0 && n_max < n_fixed) return false;
    return narrow(found, n_min - n_fixed, n_max < 0 ? -1 : n_max - n_fixed);
}

r2_status r2i_schema_lengths(r2i_schema_reader *r, const char *pattern, size_t n_bytes,
                             int32_t n_min, int32_t n_max, r2i_expression *inside) {
    r2i_expression *plain;
    R2I_TRY(r2i_regex_expression(&plain, r->draft, pattern, n_bytes, R2I_REGEX_SEARCH, r->err));
    R2I_TRY(r2i_draft_check(r->draft, r->err));
    if (is_within(lengths_of(plain), n_min, n_max)) return R2_OK;
    if (narrow((pair){ plain, inside }, n_min, n_max)) return R2_OK;
    return r2i_schema_fail(r, R2_E_UNSUPPORTED,
                           "minLength and maxLength beside this pattern or format are not "
                           "supported: its texts can be longer or shorter");
}
