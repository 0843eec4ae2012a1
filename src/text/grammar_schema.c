#include "text/grammar_schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "text/grammar_json.h"

/* Types in one bit each, in the order of TYPES. */
enum {
    TYPE_OBJECT = 1,
    TYPE_ARRAY = 2,
    TYPE_STRING = 4,
    TYPE_NUMBER = 8,
    TYPE_INTEGER = 16,
    TYPE_BOOLEAN = 32,
    TYPE_NULL = 64
};
static const char *const TYPES[] = { "object",  "array",   "string", "number",
                                     "integer", "boolean", "null" };
enum { N_TYPES = 7 };

/* Keywords that are understood, and the types they speak of (0: all). */
static const struct {
    const char *name;
    unsigned types;
} KEYWORDS[] = {
    { "type", 0 },
    { "enum", 0 },
    { "const", 0 },
    { "anyOf", 0 },
    { "oneOf", 0 },
    { "allOf", 0 },
    { "$ref", 0 },
    { "properties", TYPE_OBJECT },
    { "required", TYPE_OBJECT },
    { "additionalProperties", TYPE_OBJECT },
    { "items", TYPE_ARRAY },
    { "prefixItems", TYPE_ARRAY },
    { "minItems", TYPE_ARRAY },
    { "maxItems", TYPE_ARRAY },
    { "uniqueItems", TYPE_ARRAY },
    { "minLength", TYPE_STRING },
    { "maxLength", TYPE_STRING },
    { "pattern", TYPE_STRING },
    { "format", TYPE_STRING },
    { "minimum", TYPE_NUMBER },
    { "maximum", TYPE_NUMBER },
    { "exclusiveMinimum", TYPE_NUMBER },
    { "exclusiveMaximum", TYPE_NUMBER },
    { "multipleOf", TYPE_NUMBER },
};
enum { N_KEYWORDS = sizeof KEYWORDS / sizeof *KEYWORDS };

r2_status r2i_schema_fail(const r2i_schema_reader *r, r2_status code, const char *format, ...) {
    char text[R2_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return r2i_fail(r->err, code, "schema: %s: %s", r->path, text);
}

r2_status r2i_schema_count(const r2i_schema_reader *r, const json_t *schema, const char *key,
                           int32_t *out) {
    const json_t *value = json_object_get(schema, key);
    if (value == NULL) return R2_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return r2i_schema_fail(r, R2_E_FORMAT, "%s: expected a whole number of at least 0", key);
    if (json_integer_value(value) > R2I_GRAMMAR_MAX_REPEAT)
        return r2i_schema_fail(r, R2_E_LIMIT, "%s: expected at most %d", key,
                               (int)R2I_GRAMMAR_MAX_REPEAT);
    *out = (int32_t)json_integer_value(value);
    return R2_OK;
}

/* As JSON pointers have it: "~1" for a slash, "~0" for a tilde. */
static void add_step(r2i_schema_reader *r, const char *name) {
    size_t n = strlen(r->path);
    (void)snprintf(r->path + n, sizeof r->path - n, "/");
    for (n = strlen(r->path); *name != '\0' && n + 3 < sizeof r->path; name++) {
        if (*name == '/' || *name == '~') {
            r->path[n++] = '~';
            r->path[n++] = *name == '/' ? '1' : '0';
        } else {
            r->path[n++] = *name;
        }
    }
    r->path[n] = '\0';
}

r2_status r2i_schema_below(r2i_schema_reader *r, const char *key, const char *name,
                           const json_t *schema, r2i_expression **out) {
    const size_t n = strlen(r->path);
    (void)snprintf(r->path + n, sizeof r->path - n, "/%s", key);
    if (name != NULL) add_step(r, name);
    const r2_status status = r2i_schema_expression(r, schema, out);
    r->path[n] = '\0';
    return status;
}

/* ---- which types ---- */

static unsigned type_bit(const json_t *name) {
    for (unsigned i = 0; json_is_string(name) && i < N_TYPES; i++) {
        if (strcmp(json_string_value(name), TYPES[i]) == 0) return 1u << i;
    }
    return 0;
}

static r2_status read_types(const r2i_schema_reader *r, const json_t *schema, unsigned *types) {
    const json_t *value = json_object_get(schema, "type");
    *types = 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const unsigned bit = type_bit(json_array_get(value, i));
        if (bit == 0) return r2i_schema_fail(r, R2_E_FORMAT, "type: expected names of JSON types");
        *types |= bit;
    }
    if (json_is_array(value)) return R2_OK;
    if (value != NULL) {
        *types = type_bit(value);
        return *types != 0
                   ? R2_OK
                   : r2i_schema_fail(r, R2_E_FORMAT, "type: expected a JSON type, found %.40s",
                                     json_is_string(value) ? json_string_value(value)
                                                           : "something else");
    }
    /* Without it: what the other keywords speak of. */
    for (size_t k = 0; k < N_KEYWORDS; k++) {
        if (json_object_get(schema, KEYWORDS[k].name) != NULL) *types |= KEYWORDS[k].types;
    }
    return R2_OK;
}

static r2_status check_keywords(const r2i_schema_reader *r, const json_t *schema, bool *has_any) {
    const char *key;
    json_t *value;
    *has_any = false;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value) {
        size_t k = 0;
        if (r2i_schema_is_note(key)) continue;
        while (k < N_KEYWORDS && strcmp(KEYWORDS[k].name, key) != 0)
            k++;
        if (k == N_KEYWORDS)
            return r2i_schema_fail(r, R2_E_UNSUPPORTED, "keyword %.60s is not supported", key);
        *has_any = true;
    }
    return R2_OK;
}

/* ---- values ---- */

static unsigned types_of_value(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return TYPE_OBJECT;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_INTEGER:
        return TYPE_NUMBER | TYPE_INTEGER;
    case JSON_REAL:
        return TYPE_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return TYPE_BOOLEAN;
    case JSON_NULL:
        break;
    }
    return TYPE_NULL;
}

/* The value as jansson writes it, without spaces. */
static r2_status add_value(r2i_schema_reader *r, r2i_expression *all, const json_t *value) {
    r2i_buffer text;
    r2i_buffer_init(&text, r->draft->arena->heap, R2I_GRAMMAR_MAX_TEXT_BYTES);
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
    r2_status status =
        json_dump_callback(value, r2i_buffer_append_chunk, &text, flags) == 0 ? R2_OK : R2_E_NOMEM;
    if (status == R2_OK)
        (void)r2i_expression_add(r->draft, all,
                                 r2i_expression_text(r->draft, text.bytes, text.n_bytes));
    else
        status = r2i_schema_fail(r, status, "no memory for a value");
    r2i_buffer_destroy(&text);
    return status;
}

/* Values that the other keywords might forbid are refused, not guessed at. */
static r2_status check_alone(const r2i_schema_reader *r, const json_t *schema, const char *which) {
    for (size_t k = 1; k < N_KEYWORDS; k++) {
        if (strcmp(KEYWORDS[k].name, which) == 0) continue;
        if (json_object_get(schema, KEYWORDS[k].name) != NULL)
            return r2i_schema_fail(r, R2_E_UNSUPPORTED, "%s beside %s is not supported",
                                   KEYWORDS[k].name, which);
    }
    return R2_OK;
}

static r2_status read_values(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    const json_t *list = json_object_get(schema, "enum"), *one = json_object_get(schema, "const");
    unsigned types;
    R2I_TRY(read_types(r, schema, &types));
    R2I_TRY(check_alone(r, schema, list != NULL ? "enum" : "const"));
    if (list != NULL && !json_is_array(list))
        return r2i_schema_fail(r, R2_E_FORMAT, "enum: expected a list");
    *out = r2i_expression_choice(r->draft);
    const size_t n = list != NULL ? json_array_size(list) : 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *value = list != NULL ? json_array_get(list, i) : one;
        if (types != 0 && (types & types_of_value(value)) == 0) continue;
        R2I_TRY(add_value(r, *out, value));
    }
    return r2i_draft_check(r->draft, r->err);
}

/* ---- types ---- */

static r2_status read_type(r2i_schema_reader *r, const json_t *schema, unsigned type,
                           r2i_expression **out) {
    r2i_grammar_draft *d = r->draft;
    switch (type) {
    case TYPE_OBJECT:
        return r2i_schema_object(r, schema, out);
    case TYPE_ARRAY:
        return r2i_schema_array(r, schema, out);
    case TYPE_STRING:
        return r2i_schema_string(r, schema, out);
    case TYPE_NUMBER:
    case TYPE_INTEGER:
        return r2i_schema_number(r, schema, type == TYPE_INTEGER, out);
    case TYPE_BOOLEAN:
        *out = r2i_expression_choice(d);
        *out = r2i_expression_add(d, *out, r2i_expression_word(d, "true"));
        *out = r2i_expression_add(d, *out, r2i_expression_word(d, "false"));
        return R2_OK;
    default:
        *out = r2i_expression_word(d, "null");
        return R2_OK;
    }
}

static r2_status read_all_types(r2i_schema_reader *r, const json_t *schema, unsigned types,
                                r2i_expression **out) {
    *out = r2i_expression_choice(r->draft);
    if ((types & TYPE_NUMBER) != 0) types &= ~(unsigned)TYPE_INTEGER;
    for (unsigned bit = 1; bit < 1u << N_TYPES; bit <<= 1) {
        r2i_expression *part;
        if ((types & bit) == 0) continue;
        R2I_TRY(read_type(r, schema, bit, &part));
        *out = r2i_expression_add(r->draft, *out, part);
    }
    return r2i_draft_check(r->draft, r->err);
}

/* ---- combinations ---- */

/* A copy without one keyword; NULL with an error. */
static json_t *without(r2i_schema_reader *r, const json_t *schema, const char *key) {
    json_t *copy = json_copy((json_t *)(uintptr_t)schema);
    if (copy == NULL || json_array_append_new(r->kept, copy) != 0) {
        (void)r2i_schema_fail(r, R2_E_NOMEM, "no memory");
        return NULL;
    }
    (void)json_object_del(copy, key);
    return copy;
}

static r2_status read_any(r2i_schema_reader *r, const json_t *schema, const char *key,
                          r2i_expression **out) {
    const json_t *list = json_object_get(schema, key), *base = without(r, schema, key);
    bool has_more;
    if (base == NULL) return R2_E_NOMEM;
    if (json_array_size(list) == 0)
        return r2i_schema_fail(r, R2_E_FORMAT, "%s: expected a list of schemas", key);
    R2I_TRY(check_keywords(r, base, &has_more));
    *out = r2i_expression_choice(r->draft);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *option = json_array_get(list, i);
        char number[24];
        r2i_expression *part;
        if (has_more) R2I_TRY(r2i_schema_merge(r, base, option, &option));
        (void)snprintf(number, sizeof number, "%zu", i);
        R2I_TRY(r2i_schema_below(r, key, number, option, &part));
        *out = r2i_expression_add(r->draft, *out, part);
    }
    return r2i_draft_check(r->draft, r->err);
}

static r2_status read_every(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    const json_t *list = json_object_get(schema, "allOf"), *all = without(r, schema, "allOf");
    if (all == NULL) return R2_E_NOMEM;
    if (json_array_size(list) == 0)
        return r2i_schema_fail(r, R2_E_FORMAT, "allOf: expected a list of schemas");
    for (size_t i = 0; i < json_array_size(list); i++)
        R2I_TRY(r2i_schema_merge(r, all, json_array_get(list, i), &all));
    return r2i_schema_expression(r, all, out);
}

static int32_t rule_of(const r2i_schema_reader *r, const char *pointer) {
    const size_t n = strlen(r->scope), n_pointer = strlen(pointer);
    char *name = R2I_ARENA_ARRAY(r->draft->arena, char, n + n_pointer + 1);
    if (name == NULL) return -1;
    memcpy(name, r->scope, n);
    memcpy(name + n, pointer, n_pointer);
    return r2i_draft_rule(r->draft, name, n + n_pointer);
}

/* A schema that is referred to is a rule, so it may refer to itself. */
static r2_status read_reference(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    const json_t *siblings = without(r, schema, "$ref"), *merged;
    const char *pointer = json_string_value(json_object_get(schema, "$ref"));
    bool has_more;
    if (siblings == NULL) return R2_E_NOMEM;
    if (pointer == NULL) return r2i_schema_fail(r, R2_E_FORMAT, "$ref: expected a text");
    R2I_TRY(check_keywords(r, siblings, &has_more));
    if (has_more) {
        R2I_TRY(r2i_schema_merge(r, siblings, schema, &merged));
        return r2i_schema_expression(r, merged, out);
    }
    const json_t *target = r2i_schema_find(r, pointer);
    if (target == NULL)
        return r2i_schema_fail(r, R2_E_FORMAT, "$ref: nothing at %.80s in this document", pointer);
    const int32_t n_before = r->draft->n_rules, rule = rule_of(r, pointer);
    if (rule >= 0 && rule == n_before) {
        char path[R2I_SCHEMA_PATH_BYTES];
        r2i_expression *body;
        memcpy(path, r->path, sizeof path);
        (void)snprintf(r->path, sizeof r->path, "%s", pointer);
        R2I_TRY(r2i_schema_expression(r, target, &body));
        memcpy(r->path, path, sizeof path);
        r2i_draft_define(r->draft, rule, body);
    }
    *out = r2i_expression_rule(r->draft, rule);
    return r2i_draft_check(r->draft, r->err);
}

static r2_status read_object(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    bool has_any;
    unsigned types;
    R2I_TRY(check_keywords(r, schema, &has_any));
    if (!has_any) {
        *out = r2i_json_value(r->draft);
        return R2_OK;
    }
    if (json_object_get(schema, "allOf") != NULL) return read_every(r, schema, out);
    if (json_object_get(schema, "anyOf") != NULL) return read_any(r, schema, "anyOf", out);
    if (json_object_get(schema, "oneOf") != NULL) return read_any(r, schema, "oneOf", out);
    if (json_object_get(schema, "$ref") != NULL) return read_reference(r, schema, out);
    if (json_object_get(schema, "enum") != NULL || json_object_get(schema, "const") != NULL)
        return read_values(r, schema, out);
    R2I_TRY(read_types(r, schema, &types));
    return read_all_types(r, schema, types, out);
}

r2_status r2i_schema_expression(r2i_schema_reader *r, const json_t *schema, r2i_expression **out) {
    r2_status status = R2_OK;
    *out = NULL;
    if (r->depth >= R2I_GRAMMAR_MAX_NESTING)
        return r2i_schema_fail(r, R2_E_LIMIT, "schemas within schemas deeper than %d",
                               (int)R2I_GRAMMAR_MAX_NESTING);
    if (++r->n_steps > R2I_SCHEMA_MAX_STEPS)
        return r2i_schema_fail(r, R2_E_LIMIT, "too many schemas, expected at most %d",
                               (int)R2I_SCHEMA_MAX_STEPS);
    r->depth++;
    if (json_is_true(schema))
        *out = r2i_json_value(r->draft);
    else if (json_is_false(schema))
        *out = r2i_expression_choice(r->draft);
    else if (json_is_object(schema))
        status = read_object(r, schema, out);
    else
        status = r2i_schema_fail(r, R2_E_FORMAT, "expected a schema: an object, true or false");
    r->depth--;
    return status == R2_OK ? r2i_draft_check(r->draft, r->err) : status;
}

/* ---- the whole ---- */

/* Brackets within brackets, strings apart: what jansson would follow by recursion. */
static bool is_too_deep(const char *text, size_t n) {
    int depth = 0;
    bool is_inside = false;
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (is_inside && c == '\\') i++;
        if (c == '"' && (i == 0 || text[i - 1] != '\\' || !is_inside)) is_inside = !is_inside;
        if (is_inside) continue;
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        if (depth > 4 * R2I_GRAMMAR_MAX_NESTING) return true;
    }
    return false;
}

r2_status r2i_schema_part(r2i_grammar_draft *draft, const json_t *root, const char *scope,
                          r2i_expression **out, r2_error *err) {
    r2i_schema_reader r = { .draft = draft, .root = root, .scope = scope, .path = "#", .err = err };
    *out = NULL;
    r.kept = json_array();
    const r2_status status = r.kept != NULL ? r2i_schema_expression(&r, root, out)
                                            : r2i_fail(err, R2_E_NOMEM, "schema: no memory");
    json_decref(r.kept);
    return status;
}

r2_status r2i_schema_read(r2i_grammar_draft *draft, const char *text, size_t n_bytes,
                          r2_error *err) {
    json_error_t why;
    if (n_bytes > R2I_GRAMMAR_MAX_TEXT_BYTES || is_too_deep(text, n_bytes))
        return r2i_fail(err, R2_E_LIMIT, "schema: expected at most %d bytes and %d levels",
                        (int)R2I_GRAMMAR_MAX_TEXT_BYTES, 4 * R2I_GRAMMAR_MAX_NESTING);
    json_t *root = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (root == NULL)
        return r2i_fail(err, R2_E_FORMAT, "schema: line %d, column %d: %.120s", why.line,
                        why.column, why.text);
    r2i_expression *body = NULL;
    draft->root = r2i_draft_rule(draft, "root", 4);
    const r2_status status = r2i_schema_part(draft, root, "", &body, err);
    r2i_draft_define(draft, draft->root, body);
    json_decref(root);
    return status;
}
