/* grammar_schema_object.c - objects and arrays of a schema.
 *
 * Members come in the schema's order, those that are not required may be missing.  `first` of member i
 * is what may follow when nothing was written yet, `later` what may follow something:
 *     first i = member i, later i+1 | first i+1 (if i is optional)
 *     later i = "," member i, later i+1 | later i+1 (if i is optional)
 * Each is a rule, so n members make about 3 n rules. */
#include <string.h>

#include "base/failure.h"
#include "text/grammar_json.h"
#include "text/grammar_schema.h"

#define WORD(text) r2i_expression_word(d, text)
#define ADD(whole, part) whole = r2i_expression_add(d, whole, part)

/* ---- members ---- */

/* A key as jansson writes it, a colon, and what stands for its value. */
static r2i_expression *member(r2i_grammar_draft *d, r2i_expression *key, r2i_expression *value) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, key);
    ADD(e, r2i_json_space(d));
    ADD(e, WORD(":"));
    ADD(e, r2i_json_space(d));
    ADD(e, value);
    return e;
}

static r2i_expression *comma(r2i_grammar_draft *d) {
    r2i_expression *e = r2i_expression_sequence(d);
    ADD(e, r2i_json_space(d));
    ADD(e, WORD(","));
    ADD(e, r2i_json_space(d));
    return e;
}

static bool is_required(const json_t *schema, const char *name) {
    const json_t *list = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *known = json_string_value(json_array_get(list, i));
        if (known != NULL && strcmp(known, name) == 0) return true;
    }
    return false;
}

/* Rules of members [i, n) as drawn above. */
typedef struct {
    int32_t first, later;
} member_rules;

/* Behind the last named member: those that the schema does not name. */
static r2_status define_rest(r2i_schema_reader *r, const json_t *members, const json_t *rest,
                             member_rules *out) {
    r2i_grammar_draft *d = r->draft;
    r2i_expression *first = WORD(""), *later = WORD("");
    if (rest != NULL && !json_is_false(rest)) {
        const int32_t rule = r2i_draft_new_rule(d);
        r2i_expression *value, *more = r2i_expression_sequence(d);
        R2I_TRY(r2i_schema_below(r, "additionalProperties", NULL, rest, &value));
        r2i_draft_define(d, rule, member(d, r2i_json_other_key(d, members), value));
        first = r2i_json_list(d, r2i_expression_rule(d, rule), r2i_expression_rule(d, rule), 0, -1);
        ADD(more, comma(d));
        ADD(more, r2i_expression_rule(d, rule));
        later = r2i_expression_repeat(d, more, 0, -1);
    }
    out->first = r2i_draft_new_rule(d);
    out->later = r2i_draft_new_rule(d);
    r2i_draft_define(d, out->first, first);
    r2i_draft_define(d, out->later, later);
    return R2_OK;
}

/* One more member in front of *out. */
static r2_status define_member(r2i_schema_reader *r, const char *name, const json_t *schema,
                               bool is_needed, member_rules *out) {
    r2i_grammar_draft *d = r->draft;
    const int32_t rule = r2i_draft_new_rule(d);
    const member_rules behind = *out;
    r2i_expression *value;
    R2I_TRY(r2i_schema_below(r, "properties", name, schema, &value));
    r2i_draft_define(d, rule, member(d, r2i_json_quoted(d, name), value));
    for (int is_later = 0; is_later < 2; is_later++) {
        r2i_expression *way = r2i_expression_sequence(d), *all = r2i_expression_choice(d);
        if (is_later) ADD(way, comma(d));
        ADD(way, r2i_expression_rule(d, rule));
        ADD(way, r2i_expression_rule(d, behind.later));
        ADD(all, way);
        if (!is_needed) ADD(all, r2i_expression_rule(d, is_later ? behind.later : behind.first));
        const int32_t made = r2i_draft_new_rule(d);
        r2i_draft_define(d, made, all);
        *(is_later ? &out->later : &out->first) = made;
    }
    return r2i_draft_check(d, r->err);
}

/* Names, then schemas, in order; a required member without a schema is additional. */
typedef struct {
    json_t *members;
    const json_t *rest; /* NULL: none */
} object_parts;

static r2_status collect(r2i_schema_reader *r, const json_t *schema, object_parts *out) {
    const json_t *properties = json_object_get(schema, "properties"),
                 *required = json_object_get(schema, "required");
    if (properties != NULL && !json_is_object(properties))
        return r2i_schema_fail(r, R2_E_FORMAT, "properties: expected an object");
    if (required != NULL && !json_is_array(required))
        return r2i_schema_fail(r, R2_E_FORMAT, "required: expected a list of names");
    out->rest = json_object_get(schema, "additionalProperties");
    out->members = properties != NULL ? json_copy((json_t *)(uintptr_t)properties) : json_object();
    if (out->members == NULL || json_array_append_new(r->kept, out->members) != 0)
        return r2i_schema_fail(r, R2_E_NOMEM, "no memory");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (name == NULL)
            return r2i_schema_fail(r, R2_E_FORMAT, "required: expected a list of names");
        if (json_object_get(out->members, name) != NULL) continue;
        json_t *value =
            out->rest != NULL ? json_incref((json_t *)(uintptr_t)out->rest) : json_true();
        if (json_object_set_new(out->members, name, value) != 0)
            return r2i_schema_fail(r, R2_E_NOMEM, "no memory");
    }
    return R2_OK;
}

r2_status r2i_schema_object(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    r2i_grammar_draft *d = r->draft;
    object_parts parts = { NULL, NULL };
    member_rules rules = { -1, -1 };
    R2I_TRY(collect(r, schema, &parts));
    const size_t n = json_object_size(parts.members);
    if (n == 0 && (parts.rest == NULL || json_is_true(parts.rest)) &&
        json_object_get(schema, "properties") == NULL) {
        *out = r2i_json_object(d);
        return R2_OK;
    }
    R2I_TRY(define_rest(r, parts.members, parts.rest, &rules));
    const char **names = R2I_ARENA_ARRAY(d->arena, const char *, n + 1);
    if (names == NULL) return r2i_schema_fail(r, R2_E_NOMEM, "no memory");
    const char *name;
    json_t *value;
    size_t at = 0;
    json_object_foreach(parts.members, name, value) names[at++] = name;
    while (at-- > 0) {
        value = json_object_get(parts.members, names[at]);
        R2I_TRY(define_member(r, names[at], value, is_required(schema, names[at]), &rules));
    }
    *out = r2i_expression_sequence(d);
    ADD(*out, WORD("{"));
    ADD(*out, r2i_json_space(d));
    ADD(*out, r2i_expression_rule(d, rules.first));
    ADD(*out, r2i_json_space(d));
    ADD(*out, WORD("}"));
    return R2_OK;
}

/* ---- arrays ---- */

/* Items behind n_before ones, at least n_min and at most n_max (< 0: no limit) in all. */
static r2i_expression *more_items(r2i_grammar_draft *d, r2i_expression *first, int32_t rule,
                                  int32_t n_before, int32_t n_min, int32_t n_max) {
    if (n_before == 0) return r2i_json_list(d, first, r2i_expression_rule(d, rule), n_min, n_max);
    r2i_expression *one = r2i_expression_sequence(d);
    ADD(one, comma(d));
    ADD(one, first);
    return r2i_expression_repeat(d, one, n_min > n_before ? n_min - n_before : 0,
                                 n_max < 0 ? -1 : n_max - n_before);
}

r2_status r2i_schema_array(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    r2i_grammar_draft *d = r->draft;
    const json_t *prefix = json_object_get(schema, "prefixItems"),
                 *items = json_object_get(schema, "items");
    int32_t n_min = 0, n_max = -1;
    R2I_TRY(r2i_schema_count(r, schema, "minItems", &n_min));
    R2I_TRY(r2i_schema_count(r, schema, "maxItems", &n_max));
    if (prefix != NULL && !json_is_array(prefix))
        return r2i_schema_fail(r, R2_E_FORMAT, "prefixItems: expected a list of schemas");
    int32_t n_prefix = (int32_t)json_array_size(prefix);
    if (n_max >= 0 && n_prefix > n_max) n_prefix = n_max;
    if (json_is_false(items) && (n_max < 0 || n_max > n_prefix)) n_max = n_prefix;
    if (n_max >= 0 && n_min > n_max)
        return r2i_schema_fail(r, R2_E_FORMAT, "expected minItems of at most %d, found %d",
                               (int)n_max, (int)n_min);
    if (json_is_true(json_object_get(schema, "uniqueItems")) && n_max != 0 && n_max != 1)
        return prefix == NULL ? r2i_schema_unique(r, items, n_min, n_max, out)
                              : r2i_schema_fail(r, R2_E_UNSUPPORTED,
                                                "uniqueItems beside prefixItems is not supported");
    const int32_t rule = r2i_draft_new_rule(d);
    r2i_expression *item = r2i_json_value(d), *inside;
    if (items != NULL && n_max != n_prefix)
        R2I_TRY(r2i_schema_below(r, "items", NULL, items, &item));
    r2i_draft_define(d, rule, item);
    inside = more_items(d, r2i_expression_rule(d, rule), rule, n_prefix, n_min, n_max);
    for (int32_t i = n_prefix; i-- > 0;) {
        r2i_expression *one = r2i_expression_sequence(d), *part;
        R2I_TRY(r2i_schema_below(r, "prefixItems", NULL, json_array_get(prefix, (size_t)i), &part));
        if (i > 0) ADD(one, comma(d));
        ADD(one, part);
        ADD(one, inside);
        inside = i >= n_min ? r2i_expression_repeat(d, one, 0, 1) : one;
        if (i == 0) break;
        const int32_t rest = r2i_draft_new_rule(d); /* keeps the tree flat */
        r2i_draft_define(d, rest, inside);
        inside = r2i_expression_rule(d, rest);
    }
    *out = r2i_expression_sequence(d);
    ADD(*out, WORD("["));
    ADD(*out, r2i_json_space(d));
    ADD(*out, inside);
    ADD(*out, r2i_json_space(d));
    ADD(*out, WORD("]"));
    return R2_OK;
}
