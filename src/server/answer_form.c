#include "server/answer_form.h"

#include <string.h>

#include "base/failure.h"
#include "server/request_fields.h"

static const struct {
    const char *group, *name, *field;
    r2i_form_kind kind;
} spellings[] = {
    { NULL, "grammar", "grammar", R2I_FORM_GBNF },
    { NULL, "ebnf", "ebnf", R2I_FORM_GBNF },
    { NULL, "guided_grammar", "guided_grammar", R2I_FORM_GBNF },
    { NULL, "json_schema", "json_schema", R2I_FORM_SCHEMA },
    { NULL, "guided_json", "guided_json", R2I_FORM_SCHEMA },
    { NULL, "regex", "regex", R2I_FORM_REGEX },
    { NULL, "guided_regex", "guided_regex", R2I_FORM_REGEX },
    { NULL, "guided_choice", "guided_choice", R2I_FORM_CHOICE },
    { "structured_outputs", "json", "structured_outputs.json", R2I_FORM_SCHEMA },
    { "structured_outputs", "regex", "structured_outputs.regex", R2I_FORM_REGEX },
    { "structured_outputs", "grammar", "structured_outputs.grammar", R2I_FORM_GBNF },
    { "structured_outputs", "choice", "structured_outputs.choice", R2I_FORM_CHOICE },
};

/* ---- reading ---- */

static r2_status take(r2i_answer_form *form, r2i_form_kind kind, const json_t *value,
                      const char *field, r2i_refusal *r) {
    if (form->kind != R2I_FORM_FREE)
        return r2i_refuse(r, 400, field, "contradictory_parameters",
                          "%s: expected one form of the answer, found %s too", field, form->field);
    *form = (r2i_answer_form){ kind, value, field };
    return R2_OK;
}

static r2_status check_texts(const json_t *list, const char *field, r2i_refusal *r) {
    if (json_array_size(list) == 0)
        return r2i_refuse_type(r, field, "an array of at least one text", list);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text)) return r2i_refuse_type(r, field, "texts in the array", text);
    }
    return R2_OK;
}

/* An empty text asks for nothing. */
static r2_status read_one(r2i_answer_form *form, size_t which, const json_t *value,
                          r2i_refusal *r) {
    const char *field = spellings[which].field;
    const r2i_form_kind kind = spellings[which].kind;
    if (!r2i_json_is_given(value) || r2i_json_is_text(value, "")) return R2_OK;
    if (kind == R2I_FORM_CHOICE)
        R2I_TRY(check_texts(value, field, r));
    else if (kind == R2I_FORM_SCHEMA && !json_is_string(value) && !json_is_object(value))
        return r2i_refuse_type(r, field, "a JSON schema: an object or its text", value);
    else if (kind != R2I_FORM_SCHEMA && !json_is_string(value))
        return r2i_refuse_type(r, field, "a text", value);
    return take(form, kind, value, field, r);
}

static r2_status read_flag(const json_t *group, const char *name, const char *field, bool *out,
                           r2i_refusal *r) {
    const json_t *value = json_object_get(group, name);
    *out = json_is_true(value);
    return !r2i_json_is_given(value) || json_is_boolean(value)
               ? R2_OK
               : r2i_refuse_type(r, field, "true or false", value);
}

/* {"name": "...", "strict": true, "schema": {...}}, or the schema one level higher. */
static r2_status read_schema(r2i_answer_form *form, const json_t *format, r2i_refusal *r) {
    static const char field[] = "response_format.json_schema.schema";
    const json_t *group = json_object_get(format, "json_schema"),
                 *schema = json_object_get(format, "schema");
    bool is_strict;
    if (group != NULL && !json_is_object(group))
        return r2i_refuse_type(r, "response_format.json_schema", "an object", group);
    const json_t *name = json_object_get(group, "name");
    if (r2i_json_is_given(name) && !json_is_string(name))
        return r2i_refuse_type(r, "response_format.json_schema.name", "a text", name);
    R2I_TRY(read_flag(group, "strict", "response_format.json_schema.strict", &is_strict, r));
    if (group != NULL) schema = json_object_get(group, "schema");
    if (!json_is_object(schema)) return r2i_refuse_type(r, field, "an object", schema);
    return take(form, R2I_FORM_SCHEMA, schema, field, r);
}

static r2_status read_format(r2i_answer_form *form, const json_t *body, r2i_refusal *r) {
    const json_t *format = json_object_get(body, "response_format"),
                 *type = json_object_get(format, "type");
    if (!r2i_json_is_given(format)) return R2_OK;
    if (!json_is_object(format)) return r2i_refuse_type(r, "response_format", "an object", format);
    if (!json_is_string(type)) return r2i_refuse_type(r, "response_format.type", "a text", type);
    if (r2i_json_is_text(type, "text")) return R2_OK;
    if (r2i_json_is_text(type, "json_schema")) return read_schema(form, format, r);
    if (!r2i_json_is_text(type, "json_object"))
        return r2i_refuse(r, 400, "response_format.type", "invalid_value",
                          "response_format.type: expected text, json_object or json_schema, found "
                          "\"%.40s\"",
                          json_string_value(type));
    const json_t *schema = json_object_get(format, "schema");
    if (r2i_json_is_given(schema) && !json_is_object(schema))
        return r2i_refuse_type(r, "response_format.schema", "an object", schema);
    return take(form, R2I_FORM_SCHEMA, json_is_object(schema) ? schema : NULL, "response_format",
                r);
}

r2_status r2i_answer_form_read(r2i_answer_form *form, const json_t *body, r2i_refusal *r) {
    const json_t *outputs = json_object_get(body, "structured_outputs");
    bool wants_object;
    *form = (r2i_answer_form){ .kind = R2I_FORM_FREE };
    if (r2i_json_is_given(outputs) && !json_is_object(outputs))
        return r2i_refuse_type(r, "structured_outputs", "an object", outputs);
    R2I_TRY(read_format(form, body, r));
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        const json_t *from = spellings[i].group != NULL ? outputs : body;
        R2I_TRY(read_one(form, i, json_object_get(from, spellings[i].name), r));
    }
    R2I_TRY(read_flag(outputs, "json_object", "structured_outputs.json_object", &wants_object, r));
    return wants_object ? take(form, R2I_FORM_SCHEMA, NULL, "structured_outputs.json_object", r)
                        : R2_OK;
}

/* ---- writing ---- */

/* A text as GBNF quotes it. */
static r2_status add_quoted(r2i_buffer *out, const char *text) {
    R2I_TRY(r2i_buffer_append_text(out, "\"", NULL));
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f)
            R2I_TRY(r2i_buffer_append_format(out, NULL, "\\x%02x", c));
        else if (c == '"' || c == '\\')
            R2I_TRY(r2i_buffer_append_format(out, NULL, "\\%c", c));
        else
            R2I_TRY(r2i_buffer_append(out, text, 1, NULL));
    }
    return r2i_buffer_append_text(out, "\"", NULL);
}

static r2_status add_choice(r2i_buffer *out, const json_t *list) {
    R2I_TRY(r2i_buffer_append_text(out, "root ::= ", NULL));
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i > 0) R2I_TRY(r2i_buffer_append_text(out, " | ", NULL));
        R2I_TRY(add_quoted(out, json_string_value(json_array_get(list, i))));
    }
    return R2_OK;
}

r2_status r2i_answer_form_write(const r2i_answer_form *form, r2i_buffer *out) {
    if (form->value == NULL) return r2i_buffer_append_text(out, "{\"type\":\"object\"}", NULL);
    if (form->kind == R2I_FORM_CHOICE) return add_choice(out, form->value);
    if (json_is_string(form->value))
        return r2i_buffer_append(out, json_string_value(form->value),
                                 json_string_length(form->value), NULL);
    /* With all digits of numbers: a constant must not change on the way. */
    return json_dump_callback(form->value, r2i_buffer_append_chunk, out, JSON_COMPACT) == 0
               ? R2_OK
               : R2_E_NOMEM;
}
