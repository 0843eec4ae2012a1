/* grammar_json.h - the parts that JSON texts are made of, as expressions.
 *
 * White space is allowed where models put it: nothing, one space, or a new line with at most
 * R2I_JSON_INDENT spaces or tabs.  Numbers are no longer than a double is exact, so a text never ends
 * in digits without end. */
#ifndef R2I_GRAMMAR_JSON_H
#define R2I_GRAMMAR_JSON_H
#include <jansson.h>

#include "text/grammar_expression.h"

enum { R2I_JSON_INDENT = 24 };

/* Each is a rule, defined when first asked for. */
r2i_expression *r2i_json_space(r2i_grammar_draft *draft);
r2i_expression *r2i_json_value(r2i_grammar_draft *draft);
r2i_expression *r2i_json_object(r2i_grammar_draft *draft);
r2i_expression *r2i_json_array(r2i_grammar_draft *draft);
r2i_expression *r2i_json_string(r2i_grammar_draft *draft);
r2i_expression *r2i_json_character(r2i_grammar_draft *draft); /* of a string, escaped or not */
r2i_expression *r2i_json_integer(r2i_grammar_draft *draft);
r2i_expression *r2i_json_number(r2i_grammar_draft *draft);

/* A text as jansson writes it, with its quotes. */
r2i_expression *r2i_json_quoted(r2i_grammar_draft *draft, const char *text);
/* A character class inside a string: what JSON wants escaped is escaped. */
r2i_expression *r2i_json_class(r2i_grammar_draft *draft, const r2i_expression *plain);
/* n_min to n_max (< 0: no limit) items with commas between, white space around. */
r2i_expression *r2i_json_list(r2i_grammar_draft *draft, r2i_expression *first,
                              r2i_expression *other, int32_t n_min, int32_t n_max);
/* A string other than `names` (not escaped), for the keys that a schema does not name. */
r2i_expression *r2i_json_other_key(r2i_grammar_draft *draft, const json_t *names);

/* Bounds of a number; both may be absent. */
typedef struct {
    bool has_low, has_high;
    int64_t low, high;                /* whole numbers, within +-10^15 */
    bool is_above_low, is_below_high; /* the bound itself is excluded */
} r2i_number_bounds;
/* grammar_number.c: integers or numbers within bounds (without exponent). */
r2i_expression *r2i_json_bounded(r2i_grammar_draft *draft, const r2i_number_bounds *bounds,
                                 bool is_integer);
#endif
