/* grammar_schema_multiple.c - multipleOf whole numbers: the digits of a multiple, by the remainder of those
 * already written.
 *
 *     rest(r, n) = "" (if r = 0) | d rest((10 r + d) mod m, n - 1) for every digit d (if n > 0) */
#include <math.h>
#include <stdio.h>

#include "text/grammar_schema.h"

enum { MOST_DIGITS = 15, MOST_AUTOMATON = 128, MOST_LISTED = 2000 };

#define ADD(whole, part) whole = r2i_expression_add(d, whole, part)

static r2i_expression *text_of(r2i_grammar_draft *d, int64_t value) {
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    return r2i_expression_word(d, text);
}

/* Behind a first digit with this remainder. */
static r2i_expression *digit_and_rest(r2i_grammar_draft *d, const int32_t *rules, int32_t digit,
                                      int64_t remainder) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, text_of(d, digit));
    ADD(e, r2i_expression_rule(d, rules[remainder]));
    return e;
}

/* rest(0 .. m - 1, n) from rest(0 .. m - 1, n - 1). */
static void define_rest(r2i_grammar_draft *d, int64_t m, bool has_more, int32_t *rules) {
    int32_t made[MOST_AUTOMATON];
    for (int64_t r = 0; r < m; r++) {
        r2i_expression *e = r2i_expression_choice(d);
        if (r == 0) ADD(e, r2i_expression_word(d, ""));
        for (int32_t digit = 0; has_more && digit < 10; digit++)
            ADD(e, digit_and_rest(d, rules, digit, (10 * r + digit) % m));
        made[r] = r2i_draft_new_rule(d);
        r2i_draft_define(d, made[r], e);
    }
    for (int64_t r = 0; r < m; r++)
        rules[r] = made[r];
}

static r2i_expression *any_multiple(r2i_grammar_draft *d, int64_t m, bool is_signed,
                                    bool has_zero) {
    int32_t rules[MOST_AUTOMATON];
    for (int32_t n = 0; n < MOST_DIGITS; n++)
        define_rest(d, m, n > 0, rules);
    r2i_expression *first = r2i_expression_choice(d), *positive = r2i_expression_sequence(d),
                   *all = r2i_expression_choice(d);
    for (int32_t digit = 1; digit < 10; digit++)
        ADD(first, digit_and_rest(d, rules, digit, digit % m));
    if (is_signed) ADD(positive, r2i_expression_repeat(d, r2i_expression_word(d, "-"), 0, 1));
    ADD(positive, first);
    ADD(all, positive);
    if (has_zero) ADD(all, r2i_expression_word(d, "0"));
    return all;
}

static r2i_expression *list_multiples(r2i_grammar_draft *d, int64_t m, int64_t first,
                                      int64_t last) {
    r2i_expression *all = r2i_expression_choice(d);
    for (int64_t i = first; i <= last; i++)
        ADD(all, text_of(d, i * m));
    return all;
}

static int64_t floor_divide(int64_t a, int64_t b) {
    return a / b - (a % b != 0 && a < 0);
}

r2_status r2i_schema_multiple(r2i_schema_reader *r, const json_t *of, const r2i_number_bounds *b,
                              r2i_expression **out) {
    const double value = json_number_value(of);
    if (!json_is_number(of) || value <= 0)
        return r2i_schema_fail(r, R2_E_FORMAT, "multipleOf: expected a number above 0");
    if (value != floor(value) || value > 1e15)
        return r2i_schema_fail(r, R2_E_UNSUPPORTED, "multipleOf: only whole numbers are supported");
    const int64_t m = (int64_t)value;
    if (b->has_low && b->has_high) {
        const int64_t low = b->low + b->is_above_low, high = b->high - b->is_below_high,
                      first = -floor_divide(-low, m), last = floor_divide(high, m);
        if (last - first < MOST_LISTED) {
            *out = list_multiples(r->draft, m, first, last);
            return R2_OK;
        }
    }
    if (b->has_high || (b->has_low && b->low != 0) || m > MOST_AUTOMATON)
        return r2i_schema_fail(r, R2_E_UNSUPPORTED,
                               "multipleOf beside these bounds is not supported (between two "
                               "bounds: up to %d multiples; without, or above 0: up to %d)",
                               (int)MOST_LISTED, (int)MOST_AUTOMATON);
    *out = any_multiple(r->draft, m, !b->has_low, !(b->has_low && b->is_above_low));
    return R2_OK;
}
