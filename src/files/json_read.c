#include "files/json_read.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"

enum { MAX_NUMBER_BYTES = 64 };

const r2i_json_limits r2i_json_config_limits = { .max_bytes = (size_t)16 << 20,
                                                 .max_values = (size_t)1 << 20,
                                                 .max_depth = 64 };
const r2i_json_limits r2i_json_tokenizer_limits = { .max_bytes = (size_t)256 << 20,
                                                    .max_values = (size_t)1 << 24,
                                                    .max_depth = 64 };

/* ---- limits, before anything is built ---- */

typedef struct {
    const char *at, *end;
    const char *start; /* of the text */
    int32_t depth;
    size_t n_values;
} scan;

/* Steps over a string whose opening quote was read; an unclosed one is left to the parser. */
static void skip_string(scan *s) {
    while (s->at < s->end) {
        const char c = *s->at++;
        if (c == '"') return;
        if (c == '\\' && s->at < s->end) s->at++;
    }
}

static bool is_number_byte(char c) {
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* Steps over a number whose first byte was read. */
static r2_status scan_number(scan *s, const char *label, const r2i_json_limits *limits,
                             r2_error *err) {
    const char *begin = s->at - 1;
    bool is_digits = *begin >= '0' && *begin <= '9';
    while (s->at < s->end && is_number_byte(*s->at)) {
        is_digits = is_digits && *s->at >= '0' && *s->at <= '9';
        s->at++;
    }
    const size_t n = (size_t)(s->at - begin);
    if (n > MAX_NUMBER_BYTES) {
        return r2i_fail(err, R2_E_LIMIT,
                        "%s: byte %td: expected a number of at most 64 characters, "
                        "found %zu",
                        label, begin - s->start, n);
    }
    if (limits->is_unsigned && !is_digits) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: byte %td: expected a whole number of digits, found "
                        "%.*s",
                        label, begin - s->start, (int)n, begin);
    }
    return R2_OK;
}

static r2_status check_limits(const char *label, const char *text, size_t n_bytes,
                              const r2i_json_limits *limits, r2_error *err) {
    scan s = { .at = text, .end = text + n_bytes, .start = text };
    while (s.at < s.end) {
        const char c = *s.at++;
        if (c == '"') {
            skip_string(&s);
        } else if (c == '{' || c == '[') {
            s.n_values++;
            if (++s.depth > limits->max_depth) {
                return r2i_fail(err, R2_E_LIMIT,
                                "%s: byte %td: expected nesting of at most %" PRId32 ", found more",
                                label, s.at - text - 1, limits->max_depth);
            }
        } else if (c == '}' || c == ']') {
            s.depth--;
        } else if (c == ',' || c == ':') {
            s.n_values++;
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            const r2_status status = scan_number(&s, label, limits, err);
            if (status != R2_OK) return status;
        }
        if (s.n_values > limits->max_values) {
            return r2i_fail(err, R2_E_LIMIT, "%s: expected at most %zu values, found more", label,
                            limits->max_values);
        }
    }
    return R2_OK;
}

r2_status r2i_json_read(json_t **out, const char *label, const void *bytes, size_t n_bytes,
                        const r2i_json_limits *limits, r2_error *err) {
    *out = NULL;
    if (n_bytes > limits->max_bytes) {
        return r2i_fail(err, R2_E_LIMIT, "%s: expected at most %zu bytes, found %zu", label,
                        limits->max_bytes, n_bytes);
    }
    const char *text = n_bytes == 0 ? "" : bytes;
    const r2_status status = check_limits(label, text, n_bytes, limits, err);
    if (status != R2_OK) return status;
    json_error_t problem;
    *out = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &problem);
    if (*out != NULL) return R2_OK;
    if (json_error_code(&problem) == json_error_out_of_memory) {
        return r2i_fail(err, R2_E_NOMEM, "%s: no memory for its JSON tree", label);
    }
    return r2i_fail(err, R2_E_FORMAT, "%s: line %d, column %d: not valid JSON: %s", label,
                    problem.line, problem.column, problem.text);
}

/* ---- getters ---- */

/* Fixed descriptions need no room in `out`. */
const char *r2i_json_describe(const json_t *value, char room[64]) {
    if (value == NULL) return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null";
    case JSON_INTEGER:
        (void)snprintf(room, 64, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        (void)snprintf(room, 64, "%.9g", json_real_value(value));
        break;
    case JSON_STRING: {
        const char *text = json_string_value(value);
        size_t n = json_string_length(value), cut = n < 40 ? n : 40;
        while (cut < n && cut > 0 && ((unsigned char)text[cut] & 0xc0) == 0x80)
            cut--;
        (void)snprintf(room, 64, "\"%.*s%s\"", (int)cut, text, cut < n ? "..." : "");
        break;
    }
    }
    return room;
}

/* NULL for absent and null: both mean "not said" in configurations. */
static const json_t *field(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static r2_status wrong(const json_t *value, const char *label, const char *key, r2_status code,
                       const char *expected, r2_error *err) {
    char found[64];
    return r2i_fail(err, code, "%s: %s: expected %s, found %s", label, key, expected,
                    r2i_json_describe(value, found));
}

r2_status r2i_json_try_i64(const json_t *object, const char *label, const char *key, int64_t min,
                           int64_t max, int64_t *out, r2_error *err) {
    const json_t *value = field(object, key);
    if (value == NULL) return R2_OK;
    const bool is_integer = json_is_integer(value);
    const int64_t x = is_integer ? (int64_t)json_integer_value(value) : 0;
    if (is_integer && x >= min && x <= max) {
        *out = x;
        return R2_OK;
    }
    char expected[80];
    (void)snprintf(expected, sizeof expected, "an integer %" PRId64 "..%" PRId64, min, max);
    return wrong(value, label, key, is_integer ? R2_E_RANGE : R2_E_FORMAT, expected, err);
}

r2_status r2i_json_try_i32(const json_t *object, const char *label, const char *key, int32_t min,
                           int32_t max, int32_t *out, r2_error *err) {
    int64_t x = *out;
    const r2_status status = r2i_json_try_i64(object, label, key, min, max, &x, err);
    *out = (int32_t)x;
    return status;
}

r2_status r2i_json_try_f32(const json_t *object, const char *label, const char *key, float min,
                           float max, float *out, r2_error *err) {
    const json_t *value = field(object, key);
    if (value == NULL) return R2_OK;
    const bool is_number = json_is_number(value);
    const double x = is_number ? json_number_value(value) : 0.0;
    if (is_number && isfinite(x) && x >= (double)min && x <= (double)max) {
        *out = (float)x;
        return R2_OK;
    }
    char expected[80];
    (void)snprintf(expected, sizeof expected, "a number %g..%g", (double)min, (double)max);
    return wrong(value, label, key, is_number ? R2_E_RANGE : R2_E_FORMAT, expected, err);
}

r2_status r2i_json_try_bool(const json_t *object, const char *label, const char *key, bool *out,
                            r2_error *err) {
    const json_t *value = field(object, key);
    if (value == NULL) return R2_OK;
    if (!json_is_boolean(value)) return wrong(value, label, key, R2_E_FORMAT, "true or false", err);
    *out = json_is_true(value);
    return R2_OK;
}

r2_status r2i_json_try_text(const json_t *object, const char *label, const char *key,
                            const char **out, r2_error *err) {
    const json_t *value = field(object, key);
    if (value == NULL) return R2_OK;
    if (!json_is_string(value)) return wrong(value, label, key, R2_E_FORMAT, "a string", err);
    *out = json_string_value(value);
    return R2_OK;
}

static const char *tree_kind(json_type type) {
    return type == JSON_OBJECT ? "an object" : "an array";
}

r2_status r2i_json_try_tree(const json_t *object, const char *label, const char *key,
                            json_type type, const json_t **out, r2_error *err) {
    const json_t *value = field(object, key);
    if (value == NULL) return R2_OK;
    if (json_typeof(value) != type)
        return wrong(value, label, key, R2_E_FORMAT, tree_kind(type), err);
    *out = value;
    return R2_OK;
}

static r2_status require(const json_t *object, const char *label, const char *key,
                         const char *expected, r2_error *err) {
    if (field(object, key) != NULL) return R2_OK;
    return wrong(json_object_get(object, key), label, key, R2_E_NOT_FOUND, expected, err);
}

r2_status r2i_json_get_i64(const json_t *object, const char *label, const char *key, int64_t min,
                           int64_t max, int64_t *out, r2_error *err) {
    *out = 0;
    const r2_status status = require(object, label, key, "an integer", err);
    return status != R2_OK ? status : r2i_json_try_i64(object, label, key, min, max, out, err);
}

r2_status r2i_json_get_i32(const json_t *object, const char *label, const char *key, int32_t min,
                           int32_t max, int32_t *out, r2_error *err) {
    *out = 0;
    const r2_status status = require(object, label, key, "an integer", err);
    return status != R2_OK ? status : r2i_json_try_i32(object, label, key, min, max, out, err);
}

r2_status r2i_json_get_bool(const json_t *object, const char *label, const char *key, bool *out,
                            r2_error *err) {
    *out = false;
    const r2_status status = require(object, label, key, "true or false", err);
    return status != R2_OK ? status : r2i_json_try_bool(object, label, key, out, err);
}

r2_status r2i_json_get_text(const json_t *object, const char *label, const char *key,
                            const char **out, r2_error *err) {
    *out = NULL;
    const r2_status status = require(object, label, key, "a string", err);
    return status != R2_OK ? status : r2i_json_try_text(object, label, key, out, err);
}

r2_status r2i_json_get_hash(const json_t *object, const char *label, const char *key, uint64_t *out,
                            r2_error *err) {
    enum { N_DIGITS = 16 };
    const char *text;
    *out = 0;
    R2I_TRY(r2i_json_get_text(object, label, key, &text, err));
    if (strlen(text) != N_DIGITS || strspn(text, "0123456789abcdef") != N_DIGITS)
        return r2i_fail(err, R2_E_FORMAT,
                        "%.150s: %s: expected 16 hexadecimal digits, found \"%.40s\"", label, key,
                        text);
    *out = strtoull(text, NULL, 16);
    return R2_OK;
}

r2_status r2i_json_check_format(const json_t *object, const char *label, const char *format,
                                int32_t version, r2_error *err) {
    const char *found;
    int32_t number;
    R2I_TRY(r2i_json_get_text(object, label, "format", &found, err));
    if (strcmp(found, format) != 0)
        return r2i_fail(err, R2_E_FORMAT, "%.150s: format: expected \"%s\", found \"%.40s\"", label,
                        format, found);
    return r2i_json_get_i32(object, label, "version", version, version, &number, err);
}

r2_status r2i_json_get_tree(const json_t *object, const char *label, const char *key,
                            json_type type, const json_t **out, r2_error *err) {
    *out = NULL;
    const r2_status status = require(object, label, key, tree_kind(type), err);
    return status != R2_OK ? status : r2i_json_try_tree(object, label, key, type, out, err);
}
