#include "task/number_value.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIGITS = 400 };
static const double double_tolerance = 1e-12;

/* ---- arithmetic ---- */

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

/* numerator / denominator * 10^exponent; without a fraction where that has no room. */
static r2i_number make_number(int64_t numerator, int64_t denominator, int exponent) {
    r2i_number out = { .is_fraction = denominator != 0 };
    out.value = denominator != 0 ? (double)numerator / (double)denominator * pow(10, exponent)
                                 : (double)NAN;
    for (; out.is_fraction && exponent > 0; exponent--)
        out.is_fraction = !__builtin_mul_overflow(numerator, 10, &numerator);
    for (; out.is_fraction && exponent < 0; exponent++)
        out.is_fraction = !__builtin_mul_overflow(denominator, 10, &denominator);
    if (!out.is_fraction) return out;
    const int64_t divisor = common_divisor(numerator, denominator);
    out.numerator = (denominator < 0 ? -numerator : numerator) / (divisor != 0 ? divisor : 1);
    out.denominator = (denominator < 0 ? -denominator : denominator) / (divisor != 0 ? divisor : 1);
    return out;
}

static r2i_number quotient(const r2i_number *a, const r2i_number *b) {
    int64_t numerator = 0, denominator = 0;
    if (a->is_fraction && b->is_fraction &&
        !__builtin_mul_overflow(a->numerator, b->denominator, &numerator) &&
        !__builtin_mul_overflow(a->denominator, b->numerator, &denominator))
        return make_number(numerator, denominator, 0);
    return (r2i_number){ .value = a->value / b->value };
}

static r2i_number sum(const r2i_number *a, const r2i_number *b) {
    int64_t left, right, numerator, denominator;
    if (a->is_fraction && b->is_fraction &&
        !__builtin_mul_overflow(a->numerator, b->denominator, &left) &&
        !__builtin_mul_overflow(b->numerator, a->denominator, &right) &&
        !__builtin_add_overflow(left, right, &numerator) &&
        !__builtin_mul_overflow(a->denominator, b->denominator, &denominator))
        return make_number(numerator, denominator, 0);
    return (r2i_number){ .value = a->value + b->value };
}

static void negate(r2i_number *x) {
    x->numerator = -x->numerator; /* lowest terms of a positive number: no overflow */
    x->value = -x->value;
}

/* ---- reading ---- */

typedef struct {
    const char *text;
    size_t n, at;
} cursor;

static char peek(const cursor *c, size_t ahead) {
    return c->at + ahead < c->n ? c->text[c->at + ahead] : '\0';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool take(cursor *c, const char *word) {
    const size_t n = strlen(word);
    if (c->n - c->at < n || memcmp(c->text + c->at, word, n) != 0) return false;
    c->at += n;
    return true;
}

/* Bytes of a thousands separator here, if three digits and then none follow it; 0: there is none. */
static size_t separator_width(const cursor *c) {
    static const char *const separators[] = {
        ",", " ", "_", "'", "\xc2\xa0", "\xe2\x80\xaf", "\xe2\x80\x89", "\\,", "{,}"
    };
    for (size_t i = 0; i < sizeof separators / sizeof *separators; i++) {
        const size_t n = strlen(separators[i]);
        if (c->n - c->at < n || memcmp(c->text + c->at, separators[i], n) != 0) continue;
        if (is_digit(peek(c, n)) && is_digit(peek(c, n + 1)) && is_digit(peek(c, n + 2)) &&
            !is_digit(peek(c, n + 3)))
            return n;
    }
    return 0;
}

/* Digits of the whole part into `digits`, separators left out. */
static size_t take_whole(cursor *c, char digits[MAX_DIGITS]) {
    size_t n = 0, group = 0;
    while (n < MAX_DIGITS - 1) {
        const size_t width = group > 0 && group <= 3 ? separator_width(c) : 0;
        if (is_digit(peek(c, 0))) {
            digits[n++] = c->text[c->at++];
            group++;
        } else if (width > 0) {
            c->at += width;
            group = 0;
        } else {
            break;
        }
    }
    return n;
}

static int take_exponent(cursor *c) {
    const size_t start = c->at;
    int exponent = 0;
    if (peek(c, 0) != 'e' && peek(c, 0) != 'E') return 0;
    const size_t sign = peek(c, 1) == '-' || peek(c, 1) == '+' ? 1 : 0;
    if (!is_digit(peek(c, 1 + sign))) return 0;
    const bool is_negative = peek(c, 1) == '-';
    for (c->at += 1 + sign; is_digit(peek(c, 0)) && exponent < 10000; c->at++)
        exponent = exponent * 10 + (c->text[c->at] - '0');
    if (isalpha((unsigned char)peek(c, 0))) { /* 2em is a length */
        c->at = start;
        return 0;
    }
    return is_negative ? -exponent : exponent;
}

/* Digits with a point and an exponent. */
static bool take_decimal(cursor *c, r2i_number *out) {
    char digits[MAX_DIGITS];
    const size_t start = c->at;
    size_t n = take_whole(c, digits);
    int places = 0;
    if (peek(c, 0) == '.' && is_digit(peek(c, 1))) {
        for (c->at++; is_digit(peek(c, 0)) && n < MAX_DIGITS - 1; places++)
            digits[n++] = c->text[c->at++];
    }
    if (n == 0) {
        c->at = start;
        return false;
    }
    while (places > 0 && digits[n - 1] == '0')
        n--, places--;
    digits[n] = '\0';
    const int exponent = take_exponent(c) - places;
    int64_t whole = 0;
    bool has_room = true;
    for (size_t i = 0; i < n && has_room; i++)
        has_room = !__builtin_mul_overflow(whole, 10, &whole) &&
                   !__builtin_add_overflow(whole, digits[i] - '0', &whole);
    *out = has_room ? make_number(whole, 1, exponent)
                    : (r2i_number){ .value = strtod(digits, NULL) * pow(10, exponent) };
    return true;
}

/* {a} of LaTeX, or a single digit. */
static bool take_braced(cursor *c, r2i_number *out) {
    const size_t start = c->at;
    if (is_digit(peek(c, 0))) {
        *out = make_number(c->text[c->at++] - '0', 1, 0);
        return true;
    }
    const size_t width = take(c, "{") ? r2i_number_read(out, c->text + c->at, c->n - c->at) : 0;
    c->at += width;
    if (width > 0 && take(c, "}")) return true;
    c->at = start;
    return false;
}

static bool take_latex_fraction(cursor *c, r2i_number *out) {
    const size_t start = c->at;
    r2i_number above, below;
    if ((take(c, "\\frac") || take(c, "\\dfrac") || take(c, "\\tfrac")) && take_braced(c, &above) &&
        take_braced(c, &below)) {
        *out = quotient(&above, &below);
        return true;
    }
    c->at = start;
    return false;
}

static void skip_spaces(cursor *c) {
    while (peek(c, 0) == ' ' || peek(c, 0) == '\t')
        c->at++;
}

/* What may stand behind a whole number and belong to it: /4, or " 3/4" of 1 3/4. */
static void take_rest(cursor *c, r2i_number *out) {
    const size_t start = c->at;
    r2i_number more, below;
    skip_spaces(c);
    if (take(c, "/")) {
        skip_spaces(c);
        if (take_decimal(c, &below) && below.value != 0) {
            *out = quotient(out, &below);
            return;
        }
    } else if (c->at > start && out->is_fraction && out->denominator == 1 &&
               take_decimal(c, &more) && take(c, "/") && take_decimal(c, &below) &&
               below.value > more.value) {
        more = quotient(&more, &below);
        *out = sum(out, &more);
        return;
    } else if (take_latex_fraction(c, &more)) {
        *out = sum(out, &more);
        return;
    }
    c->at = start;
}

static void take_percent(cursor *c, r2i_number *out) {
    const size_t start = c->at;
    skip_spaces(c);
    out->is_percent = take(c, "\\%") || take(c, "%");
    if (!out->is_percent) c->at = start;
}

static bool take_currency(cursor *c) {
    return take(c, "\\$") || take(c, "$") || take(c, "\xe2\x82\xac") || take(c, "\xc2\xa3") ||
           take(c, "\xc2\xa5");
}

size_t r2i_number_read(r2i_number *out, const char *text, size_t n) {
    cursor c = { text, n, 0 };
    bool is_negative = false;
    *out = (r2i_number){ 0 };
    for (int i = 0; i < 3; i++) { /* signs and a currency, in any order */
        if (take(&c, "-") || take(&c, "\xe2\x88\x92"))
            is_negative = !is_negative;
        else if (!take(&c, "+") && !take_currency(&c))
            break;
    }
    const bool is_latex = take_latex_fraction(&c, out);
    if (!is_latex && !take_decimal(&c, out)) return 0;
    if (!is_latex) take_rest(&c, out);
    take_percent(&c, out);
    if (is_negative) negate(out);
    return isfinite(out->value) ? c.at : 0;
}

/* ---- texts ---- */

static bool is_letter(char c) {
    return isalpha((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* Spaces and what LaTeX puts around. */
static void trim(const char **text, size_t *n) {
    static const char *const around[][2] = {
        { "$", "$" }, { "\\(", "\\)" }, { "\\[", "\\]" }, { "**", "**" }, { "\"", "\"" }
    };
    for (bool goes_on = true; goes_on;) {
        goes_on = false;
        while (*n > 0 && isspace((unsigned char)**text))
            (*text)++, (*n)--;
        while (*n > 0 && (isspace((unsigned char)(*text)[*n - 1]) || (*text)[*n - 1] == '.'))
            (*n)--;
        for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
            const size_t a = strlen(around[i][0]), b = strlen(around[i][1]);
            if (*n <= a + b || memcmp(*text, around[i][0], a) != 0 ||
                memcmp(*text + *n - b, around[i][1], b) != 0)
                continue;
            *text += a;
            *n -= a + b;
            goes_on = true;
        }
    }
}

bool r2i_number_of(r2i_number *out, const char *text, size_t n) {
    trim(&text, &n);
    const char *equals = n > 0 ? memchr(text, '=', n) : NULL;
    if (equals != NULL) { /* x = 5 */
        n -= (size_t)(equals + 1 - text);
        text = equals + 1;
        trim(&text, &n);
    }
    const size_t width = r2i_number_read(out, text, n);
    if (width == 0) return false;
    for (size_t i = width; i < n; i++) { /* a unit, but no second number */
        if (is_digit(text[i]) && text[i - 1] != '^' && !is_letter(text[i - 1])) return false;
        if (strchr("+*/=<>", text[i]) != NULL &&
            !(text[i] == '/' && i + 1 < n && is_letter(text[i + 1])))
            return false;
    }
    return true;
}

bool r2i_number_last(r2i_number *out, const char *text, size_t n) {
    bool is_found = false;
    for (size_t i = 0; i < n;) {
        r2i_number number;
        const bool is_inside = i > 0 && (isalnum((unsigned char)text[i - 1]) || text[i - 1] == '_');
        size_t width = is_inside ? 0 : r2i_number_read(&number, text + i, n - i);
        if (width > 0) {
            *out = number;
            is_found = true;
        }
        i += width > 0 ? width : 1;
    }
    return is_found;
}

static bool is_near(double a, double b) {
    return fabs(a - b) <= double_tolerance * fmax(fabs(a), fabs(b));
}

static r2i_number without_percent(const r2i_number *x) {
    static const r2i_number hundred = {
        .is_fraction = true, .numerator = 100, .denominator = 1, .value = 100
    };
    return quotient(x, &hundred);
}

bool r2i_number_equal(const r2i_number *a, const r2i_number *b) {
    if (a->is_fraction && b->is_fraction
            ? a->numerator == b->numerator && a->denominator == b->denominator
            : is_near(a->value, b->value))
        return true;
    if (a->is_percent == b->is_percent) return false;
    r2i_number x = *a, y = *b;
    if (a->is_percent)
        x = without_percent(a);
    else
        y = without_percent(b);
    x.is_percent = y.is_percent = false;
    return r2i_number_equal(&x, &y);
}
