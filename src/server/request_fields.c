#include "server/request_fields.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/failure.h"

static const char *type_name(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}

r2_status r2i_refuse_type(r2i_refusal *refusal, const char *name, const char *expected,
                          const json_t *found) {
    return r2i_refuse(refusal, 400, name, "invalid_type", "%s: expected %s, found %s", name,
                      expected, found != NULL ? type_name(found) : "nothing");
}

r2_status r2i_refuse_unsupported(r2i_refusal *refusal, const char *name) {
    return r2i_refuse(refusal, 400, name, "unsupported_parameter",
                      "%s: not supported by this server", name);
}

r2_status r2i_refuse_memory(r2i_refusal *refusal) {
    return r2i_refuse(refusal, 503, NULL, NULL, "no memory for the request");
}

bool r2i_json_is_given(const json_t *value) {
    return value != NULL && !json_is_null(value);
}

bool r2i_json_is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

bool r2i_json_asks_nothing(const json_t *value) {
    return json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static r2_status read_count(const r2i_field *f, const json_t *value, int64_t *out, r2i_refusal *r) {
    if (!json_is_integer(value)) return r2i_refuse_type(r, f->name, "a whole number", value);
    const int64_t number = json_integer_value(value);
    if ((double)number < f->low || (double)number > f->high)
        return r2i_refuse(r, 400, f->name, "out_of_range", "%s: expected %.0f to %.0f, found %lld",
                          f->name, f->low, f->high, (long long)number);
    if (out != NULL) *out = number;
    return R2_OK;
}

static r2_status read_real(const r2i_field *f, const json_t *value, double *out, r2i_refusal *r) {
    if (!json_is_number(value)) return r2i_refuse_type(r, f->name, "a number", value);
    const double number = json_number_value(value);
    if (!isfinite(number) || number < f->low || number > f->high)
        return r2i_refuse(r, 400, f->name, "out_of_range", "%s: expected %g to %g, found %g",
                          f->name, f->low, f->high, number);
    if (out != NULL) *out = number;
    return R2_OK;
}

r2_status r2i_field_read(const r2i_field *f, const json_t *value, void *values, r2i_refusal *r) {
    char *to = f->offset >= 0 ? (char *)values + f->offset : NULL;
    switch (f->kind) {
    case R2I_FIELD_TEXT:
        if (!json_is_string(value)) return r2i_refuse_type(r, f->name, "a text", value);
        if (to != NULL) *(const char **)(void *)to = json_string_value(value);
        return R2_OK;
    case R2I_FIELD_FLAG:
        if (!json_is_boolean(value)) return r2i_refuse_type(r, f->name, "true or false", value);
        if (to != NULL) *(bool *)to = json_is_true(value);
        return R2_OK;
    case R2I_FIELD_COUNT:
        return read_count(f, value, (int64_t *)(void *)to, r);
    case R2I_FIELD_REAL:
        return read_real(f, value, (double *)(void *)to, r);
    case R2I_FIELD_OBJECT:
        return json_is_object(value) ? R2_OK : r2i_refuse_type(r, f->name, "an object", value);
    case R2I_FIELD_ARRAY:
        return json_is_array(value) ? R2_OK : r2i_refuse_type(r, f->name, "an array", value);
    case R2I_FIELD_REFUSED:
        return r2i_json_asks_nothing(value) ? R2_OK : r2i_refuse_unsupported(r, f->name);
    case R2I_FIELD_ELSEWHERE:
    case R2I_FIELD_IGNORED:
        break;
    }
    return R2_OK;
}

r2_status r2i_fields_read(const r2i_field_table *table, const json_t *body, void *values,
                          r2i_refusal *r) {
    for (size_t i = 0; i < table->n_fields; i++) {
        const json_t *value = json_object_get(body, table->fields[i].name);
        if (r2i_json_is_given(value)) R2I_TRY(r2i_field_read(&table->fields[i], value, values, r));
    }
    return R2_OK;
}

bool r2i_fields_have(const r2i_field_table *table, const char *name) {
    for (size_t i = 0; i < table->n_fields; i++) {
        if (strcmp(table->fields[i].name, name) == 0) return true;
    }
    return false;
}
