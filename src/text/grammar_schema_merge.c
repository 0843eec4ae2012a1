/* grammar_schema_merge.c - one schema that says what two say, for allOf and keywords beside anyOf. */
#include <string.h>

#include "base/failure.h"
#include "text/grammar_schema.h"

bool r2i_schema_is_note(const char *keyword) {
    static const char *const NOTES[] = {
        "title",        "description",   "default",          "examples",        "example",
        "$schema",      "$id",           "$comment",         "$defs",           "definitions",
        "deprecated",   "readOnly",      "writeOnly",        "$anchor",         "$vocabulary",
        "nullable",     "discriminator", "contentMediaType", "contentEncoding", "contentSchema",
        "externalDocs", "xml",           "propertyOrdering"
    };
    if (strncmp(keyword, "x-", 2) == 0) return true;
    for (size_t i = 0; i < sizeof NOTES / sizeof *NOTES; i++) {
        if (strcmp(keyword, NOTES[i]) == 0) return true;
    }
    return false;
}

/* One step of a JSON pointer, "~1" and "~0" resolved; false if it is too long. */
static bool read_step(const char **pointer, char out[256]) {
    size_t n = 0;
    const char *at = *pointer;
    for (; *at != '\0' && *at != '/'; at++) {
        if (n == 255) return false;
        if (at[0] == '~' && (at[1] == '0' || at[1] == '1')) {
            out[n++] = at[1] == '0' ? '~' : '/';
            at++;
        } else {
            out[n++] = *at;
        }
    }
    out[n] = '\0';
    *pointer = at;
    return true;
}

static const json_t *step_into(const json_t *at, const char *step) {
    size_t index = 0;
    if (json_is_object(at)) return json_object_get(at, step);
    if (!json_is_array(at) || step[0] == '\0') return NULL;
    for (; *step != '\0'; step++) {
        if (*step < '0' || *step > '9' || index > 1u << 20) return NULL;
        index = index * 10 + (size_t)(*step - '0');
    }
    return json_array_get(at, index);
}

const json_t *r2i_schema_find(const r2i_schema_reader *r, const char *pointer) {
    char step[256];
    const json_t *at = r->root;
    if (*pointer++ != '#') return NULL;
    while (*pointer == '/' && at != NULL) {
        pointer++;
        if (!read_step(&pointer, step)) return NULL;
        at = step_into(at, step);
    }
    return *pointer == '\0' ? at : NULL;
}

/* ---- merging ---- */

static r2_status no_memory(const r2i_schema_reader *r) {
    return r2i_schema_fail(r, R2_E_NOMEM, "no memory to combine schemas");
}

/* {"allOf": [a, b]}: merged when it is its turn. */
static json_t *both(const json_t *a, const json_t *b) {
    return json_pack("{s:[O,O]}", "allOf", a, b);
}

static bool is_true(const json_t *schema) {
    return schema == NULL || json_is_true(schema) ||
           (json_is_object(schema) && json_object_size(schema) == 0);
}

static json_t *both_schemas(const json_t *a, const json_t *b) {
    if (is_true(a)) return json_incref((json_t *)(uintptr_t)(b != NULL ? b : a));
    if (is_true(b) || json_is_false(a)) return json_incref((json_t *)(uintptr_t)a);
    return json_is_false(b) ? json_false() : both(a, b);
}

/* Members of `own` that `other` does not name are additional ones there. */
static int restrict_members(json_t *members, const json_t *own, const json_t *other,
                            const json_t *other_rest) {
    const char *name;
    json_t *schema;
    if (is_true(other_rest)) return 0;
    json_object_foreach((json_t *)(uintptr_t)own, name, schema) {
        if (json_object_get(other, name) != NULL) continue;
        if (json_object_set_new(members, name, both_schemas(schema, other_rest)) != 0) return -1;
    }
    return 0;
}

/* The properties of both; NULL without memory. */
static json_t *merge_members(const json_t *a, const json_t *b) {
    const json_t *of_a = json_object_get(a, "properties"), *of_b = json_object_get(b, "properties");
    json_t *members = of_a != NULL ? json_copy((json_t *)(uintptr_t)of_a) : json_object();
    const char *name;
    json_t *schema;
    int failed = members == NULL ? -1 : 0;
    json_object_foreach((json_t *)(uintptr_t)of_b, name, schema) {
        if (failed == 0)
            failed = json_object_set_new(members, name,
                                         both_schemas(json_object_get(of_a, name), schema));
    }
    if (failed == 0)
        failed = restrict_members(members, of_a, of_b, json_object_get(b, "additionalProperties"));
    if (failed == 0)
        failed = restrict_members(members, of_b, of_a, json_object_get(a, "additionalProperties"));
    if (failed == 0) return members;
    json_decref(members);
    return NULL;
}

static bool holds(const json_t *list, const json_t *value) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (json_equal(json_array_get(list, i), value)) return true;
    }
    return false;
}

/* Values of both lists, or of one of them. */
static json_t *merge_lists(const json_t *a, const json_t *b, bool is_union) {
    json_t *out = is_union ? json_copy((json_t *)(uintptr_t)a) : json_array();
    for (size_t i = 0; out != NULL && i < json_array_size(b); i++) {
        json_t *value = json_array_get(b, i);
        if (holds(a, value) != is_union) (void)json_array_append(out, value);
    }
    return out;
}

static bool is_name(const json_t *value, const char *name) {
    return json_is_string(value) && strcmp(json_string_value(value), name) == 0;
}

/* Types as lists; an integer is a number too. */
static json_t *merge_types(const json_t *a, const json_t *b) {
    json_t *of_a = json_is_array(a) ? json_incref((json_t *)(uintptr_t)a) : json_pack("[O]", a);
    json_t *of_b = json_is_array(b) ? json_incref((json_t *)(uintptr_t)b) : json_pack("[O]", b);
    json_t *out = merge_lists(of_a, of_b, false);
    for (int turn = 0; out != NULL && turn < 2; turn++) {
        const json_t *from = turn == 0 ? of_a : of_b, *in = turn == 0 ? of_b : of_a;
        for (size_t i = 0; i < json_array_size(from); i++) {
            json_t *name = json_array_get(from, i), *number = json_string("number");
            if (is_name(name, "integer") && holds(in, number) && !holds(out, name))
                (void)json_array_append(out, name);
            json_decref(number);
        }
    }
    json_decref(of_a);
    json_decref(of_b);
    return out;
}

static bool is_one_of(const char *key, const char *const *names) {
    for (; *names != NULL; names++) {
        if (strcmp(*names, key) == 0) return true;
    }
    return false;
}

/* The value of a keyword that both have, or NULL if it cannot be said in one. */
static json_t *merge_keyword(const char *key, const json_t *a, const json_t *b) {
    static const char *const HIGHER[] = { "minimum", "exclusiveMinimum", "minLength", "minItems",
                                          NULL };
    static const char *const LOWER[] = { "maximum", "exclusiveMaximum", "maxLength", "maxItems",
                                         NULL };
    const bool is_higher = is_one_of(key, HIGHER);
    if (json_equal(a, b)) return json_incref((json_t *)(uintptr_t)a);
    if ((is_higher || is_one_of(key, LOWER)) && json_is_number(a) && json_is_number(b)) {
        const bool is_a = (json_number_value(a) > json_number_value(b)) == is_higher;
        return json_incref((json_t *)(uintptr_t)(is_a ? a : b));
    }
    if (strcmp(key, "type") == 0) return merge_types(a, b);
    if (strcmp(key, "items") == 0 || strcmp(key, "additionalProperties") == 0)
        return both_schemas(a, b);
    if (json_is_array(a) && json_is_array(b)) {
        if (strcmp(key, "required") == 0) return merge_lists(a, b, true);
        if (strcmp(key, "allOf") == 0) return merge_lists(a, b, true);
        if (strcmp(key, "enum") == 0) return merge_lists(a, b, false);
    }
    return r2i_schema_is_note(key) ? json_incref((json_t *)(uintptr_t)a) : NULL;
}

static r2_status add_keywords(const r2i_schema_reader *r, json_t *out, const json_t *b) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)b, key, value) {
        const json_t *known = json_object_get(out, key);
        if (strcmp(key, "properties") == 0) continue;
        json_t *merged = known == NULL ? json_incref(value) : merge_keyword(key, known, value);
        if (merged == NULL)
            return r2i_schema_fail(r, R2_E_UNSUPPORTED, "two %.60s to combine are not supported",
                                   key);
        if (json_object_set_new(out, key, merged) != 0) return no_memory(r);
    }
    return R2_OK;
}

/* Looks up references in front of siblings until none is left. */
static r2_status resolve(r2i_schema_reader *r, const json_t **schema) {
    for (int n = 0; json_object_get(*schema, "$ref") != NULL; n++) {
        const char *pointer = json_string_value(json_object_get(*schema, "$ref"));
        const json_t *target = pointer != NULL ? r2i_schema_find(r, pointer) : NULL;
        json_t *rest = json_copy((json_t *)(uintptr_t)*schema);
        if (rest == NULL || json_array_append_new(r->kept, rest) != 0) return no_memory(r);
        (void)json_object_del(rest, "$ref");
        if (target == NULL || n == R2I_GRAMMAR_MAX_NESTING)
            return r2i_schema_fail(r, R2_E_FORMAT, "$ref: nothing at %.80s in this document",
                                   pointer != NULL ? pointer : "?");
        json_t *pair = both(target, rest);
        if (pair == NULL || json_array_append_new(r->kept, pair) != 0) return no_memory(r);
        *schema = json_object_size(rest) == 0 ? target : pair;
    }
    return R2_OK;
}

r2_status r2i_schema_merge(r2i_schema_reader *r, const json_t *a, const json_t *b,
                           const json_t **out) {
    R2I_TRY(resolve(r, &a));
    R2I_TRY(resolve(r, &b));
    if (++r->n_steps > R2I_SCHEMA_MAX_STEPS)
        return r2i_schema_fail(r, R2_E_LIMIT, "too many schemas to combine");
    if (!json_is_object(a) || !json_is_object(b)) {
        if ((!json_is_object(a) && !json_is_boolean(a)) ||
            (!json_is_object(b) && !json_is_boolean(b)))
            return r2i_schema_fail(r, R2_E_FORMAT, "expected a schema: an object, true or false");
        *out = json_is_true(a) || json_is_false(b) ? b : a;
        return R2_OK;
    }
    json_t *merged = json_copy((json_t *)(uintptr_t)a);
    if (merged == NULL || json_array_append_new(r->kept, merged) != 0) return no_memory(r);
    R2I_TRY(add_keywords(r, merged, b));
    if (json_object_get(a, "properties") != NULL || json_object_get(b, "properties") != NULL) {
        if (json_object_set_new(merged, "properties", merge_members(a, b)) != 0)
            return no_memory(r);
    }
    *out = merged;
    return R2_OK;
}
