/* grammar_number.c - numbers within bounds, digit by digit. */
#include <string.h>

#include "text/grammar_json.h"

#define WORD(text) r2i_expression_word(d, text)
#define ADD(whole, part) whole = r2i_expression_add(d, whole, part)

enum { MOST_DIGITS = 16, FRACTION_DIGITS = 12 };
#define LARGEST INT64_C(1000000000000000) /* 10^15: doubles are exact below */

static r2i_expression *digit(r2i_grammar_draft *d, int first, int last) {
    r2i_char_range range = { '0' + first, '0' + last };
    return r2i_expression_class(d, &range, 1, false);
}

static r2i_expression *any_digits(r2i_grammar_draft *d, int32_t n_min, int32_t n_max) {
    return r2i_expression_repeat(d, digit(d, 0, 9), n_min, n_max);
}

/* "first, then rest" as one more way, unless there is no such digit. */
static void add_way(r2i_grammar_draft *d, r2i_expression **all, int first, int last,
                    r2i_expression *rest) {
    r2i_expression *way = r2i_expression_sequence(d);
    ADD(way, digit(d, first, last));
    ADD(way, rest);
    ADD(*all, way);
}

/* Digits as many as in low[0, n) and high, neither below low nor above high (NULL: no bound). */
static r2i_expression *between(r2i_grammar_draft *d, const char *low, const char *high, int32_t n) {
    if (n == 0) return WORD("");
    if (low == NULL && high == NULL) return any_digits(d, n, n);
    const int first = low != NULL ? *low - '0' : 0, last = high != NULL ? *high - '0' : 9;
    const char *low_rest = low != NULL ? low + 1 : NULL,
               *high_rest = high != NULL ? high + 1 : NULL;
    r2i_expression *all = r2i_expression_choice(d);
    if (low != NULL && high != NULL && first == last) {
        add_way(d, &all, first, first, between(d, low_rest, high_rest, n - 1));
        return all;
    }
    const int low_is_bound = low != NULL, high_is_bound = high != NULL;
    if (low_is_bound) add_way(d, &all, first, first, between(d, low_rest, NULL, n - 1));
    if (first + low_is_bound <= last - high_is_bound)
        add_way(d, &all, first + low_is_bound, last - high_is_bound, any_digits(d, n - 1, n - 1));
    if (high_is_bound) add_way(d, &all, last, last, between(d, NULL, high_rest, n - 1));
    return all;
}

static int32_t write_digits(char out[MOST_DIGITS + 4], int64_t value) {
    char reversed[MOST_DIGITS + 4];
    int32_t n = 0;
    do {
        reversed[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (int32_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    return n;
}

/* Whole numbers low..high, 0 <= low; nothing if low > high. */
static r2i_expression *whole_numbers(r2i_grammar_draft *d, int64_t low, int64_t high) {
    static const char NINES[] = "99999999999999999999", ONE[] = "10000000000000000000";
    char from[MOST_DIGITS + 4], to[MOST_DIGITS + 4];
    r2i_expression *all = r2i_expression_choice(d);
    if (low > high) return all;
    const int32_t n_from = write_digits(from, low), n_to = write_digits(to, high);
    for (int32_t n = n_from; n <= n_to; n++)
        ADD(all, between(d, n == n_from ? from : ONE, n == n_to ? to : NINES, n));
    return all;
}

/* ---- numbers with a fraction ---- */

/* A size: low <= x <= high, or < and >. */
typedef struct {
    int64_t low, high;
    bool is_above, is_below;
} size_bounds;

static void add_fraction(r2i_grammar_draft *d, r2i_expression **all, r2i_expression *whole,
                         r2i_expression *fraction) {
    r2i_expression *way = r2i_expression_sequence(d);
    ADD(way, whole);
    ADD(way, fraction);
    ADD(*all, way);
}

static r2i_expression *any_fraction(r2i_grammar_draft *d) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, WORD("."));
    ADD(e, any_digits(d, 1, FRACTION_DIGITS));
    return r2i_expression_repeat(d, e, 0, 1);
}

/* Above zero. */
static r2i_expression *some_fraction(r2i_grammar_draft *d) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, WORD("."));
    ADD(e, r2i_expression_repeat(d, WORD("0"), 0, FRACTION_DIGITS / 2));
    ADD(e, digit(d, 1, 9));
    ADD(e, any_digits(d, 0, FRACTION_DIGITS / 2));
    return e;
}

static r2i_expression *no_fraction(r2i_grammar_draft *d) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, WORD("."));
    ADD(e, r2i_expression_repeat(d, WORD("0"), 1, 3));
    return r2i_expression_repeat(d, e, 0, 1);
}

static r2i_expression *sizes(r2i_grammar_draft *d, const size_bounds *b) {
    r2i_expression *all = r2i_expression_choice(d);
    if (b->low < b->high) {
        add_fraction(d, &all, whole_numbers(d, b->low + b->is_above, b->high - 1), any_fraction(d));
        if (b->is_above) add_fraction(d, &all, whole_numbers(d, b->low, b->low), some_fraction(d));
    }
    if (!b->is_below && (b->low < b->high || (b->low == b->high && !b->is_above)))
        add_fraction(d, &all, whole_numbers(d, b->high, b->high), no_fraction(d));
    return all;
}

static r2i_expression *negative(r2i_grammar_draft *d, r2i_expression *size) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, WORD("-"));
    ADD(e, size);
    return e;
}

r2i_expression *r2i_json_bounded(r2i_grammar_draft *d, const r2i_number_bounds *bounds,
                                 bool is_integer) {
    const int64_t low = bounds->has_low ? bounds->low : -LARGEST,
                  high = bounds->has_high ? bounds->high : LARGEST;
    const bool is_above = bounds->is_above_low || !bounds->has_low,
               is_below = bounds->is_below_high || !bounds->has_high;
    r2i_expression *all = r2i_expression_choice(d);
    if (is_integer) {
        const int64_t first = low + (is_above ? 1 : 0), last = high - (is_below ? 1 : 0);
        if (first < 0) ADD(all, negative(d, whole_numbers(d, last < -1 ? -last : 1, -first)));
        ADD(all, whole_numbers(d, first > 0 ? first : 0, last));
        return all;
    }
    if (low < 0) {
        const size_bounds below_zero = { high < 0 ? -high : 0, -low, high >= 0 || is_below,
                                         is_above };
        ADD(all, negative(d, sizes(d, &below_zero)));
    }
    const size_bounds above_zero = { low > 0 ? low : 0, high, low >= 0 && is_above, is_below };
    ADD(all, sizes(d, &above_zero));
    return all;
}
