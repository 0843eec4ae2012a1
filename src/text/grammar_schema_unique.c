/* grammar_schema_unique.c - uniqueItems, for lists out of a few known values: what was written is a set of
 * bits, and there is a rule for each set.
 *
 *     behind(set) = "" (if it has enough) | "," value i behind(set + i) for every i that is not in it */
#include "base/failure.h"
#include "text/grammar_schema.h"

enum { MOST_VALUES = 8, N_SETS = 1 << MOST_VALUES };

#define ADD(whole, part) whole = r2i_expression_add(d, whole, part)

typedef struct {
    r2i_grammar_draft *d;
    int32_t values[MOST_VALUES]; /* rules */
    int32_t n_values, n_min, n_max;
    int32_t behind[N_SETS]; /* rules */
} sets;

static bool are_equal(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal(a, b) != 0;
}

static bool has_twins(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        for (size_t j = 0; j < i; j++) {
            if (are_equal(json_array_get(list, i), json_array_get(list, j))) return true;
        }
    }
    return false;
}

/* The values that items may have; NULL: they are not listed. */
static const json_t *find_values(const r2i_schema_reader *r, const json_t *items) {
    for (int n = 0; json_object_get(items, "$ref") != NULL && n < MOST_VALUES; n++) {
        const char *pointer = json_string_value(json_object_get(items, "$ref"));
        items = pointer != NULL ? r2i_schema_find(r, pointer) : NULL;
    }
    const json_t *list = json_object_get(items, "enum");
    const size_t n = json_array_size(list);
    return n > 0 && n <= MOST_VALUES && !has_twins(list) ? list : NULL;
}

static r2_status define_values(r2i_schema_reader *r, const json_t *list, sets *s) {
    s->n_values = (int32_t)json_array_size(list);
    for (int32_t i = 0; i < s->n_values; i++) {
        r2i_expression *value;
        json_t *schema = json_pack("{s:O}", "const", json_array_get(list, (size_t)i));
        if (schema == NULL || json_array_append_new(r->kept, schema) != 0)
            return r2i_schema_fail(r, R2_E_NOMEM, "no memory");
        R2I_TRY(r2i_schema_below(r, "items", NULL, schema, &value));
        s->values[i] = r2i_draft_new_rule(s->d);
        r2i_draft_define(s->d, s->values[i], value);
    }
    return r2i_draft_check(s->d, r->err);
}

/* One more value that is not in the set; has_comma: others stand before it. */
static r2i_expression *one_more(const sets *s, int32_t set, bool has_comma) {
    r2i_grammar_draft *d = s->d;
    r2i_expression *all = r2i_expression_choice(d);
    for (int32_t i = 0; i < s->n_values; i++) {
        r2i_expression *one = r2i_expression_sequence(d);
        if ((set >> i & 1) != 0) continue;
        if (has_comma) {
            ADD(one, r2i_json_space(d));
            ADD(one, r2i_expression_word(d, ","));
            ADD(one, r2i_json_space(d));
        }
        ADD(one, r2i_expression_rule(d, s->values[i]));
        ADD(one, r2i_expression_rule(d, s->behind[set | 1 << i]));
        ADD(all, one);
    }
    return all;
}

static void define_sets(sets *s) {
    const int32_t n_sets = 1 << s->n_values;
    for (int32_t set = 0; set < n_sets; set++)
        s->behind[set] = r2i_draft_new_rule(s->d);
    for (int32_t set = 0; set < n_sets; set++) {
        r2i_grammar_draft *d = s->d;
        const int32_t n = __builtin_popcount((unsigned)set);
        r2i_expression *e = r2i_expression_choice(d);
        if (n >= s->n_min) ADD(e, r2i_expression_word(d, ""));
        if (s->n_max < 0 || n < s->n_max) ADD(e, one_more(s, set, set != 0));
        r2i_draft_define(d, s->behind[set], e);
    }
}

r2_status r2i_schema_unique(r2i_schema_reader *r, const json_t *items, int32_t n_min, int32_t n_max,
                            r2i_expression **out) {
    r2i_grammar_draft *d = r->draft;
    const json_t *list = find_values(r, items);
    sets s = { .d = d, .n_min = n_min, .n_max = n_max };
    if (list == NULL)
        return r2i_schema_fail(r, R2_E_UNSUPPORTED,
                               "keyword uniqueItems is supported for an enum of up to %d values "
                               "as items, and for lists of at most one",
                               (int)MOST_VALUES);
    if (n_min > (int32_t)json_array_size(list))
        return r2i_schema_fail(r, R2_E_FORMAT, "uniqueItems: there are not minItems of %d values",
                               (int)n_min);
    R2I_TRY(define_values(r, list, &s));
    define_sets(&s);
    *out = r2i_expression_sequence(d);
    ADD(*out, r2i_expression_word(d, "["));
    ADD(*out, r2i_json_space(d));
    ADD(*out, r2i_expression_rule(d, s.behind[0]));
    ADD(*out, r2i_json_space(d));
    ADD(*out, r2i_expression_word(d, "]"));
    return r2i_draft_check(d, r->err);
}
