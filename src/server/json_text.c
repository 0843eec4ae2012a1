#include "server/json_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/failure.h"

enum { MAX_DEPTH = 64, MAX_VALUES = 1 << 18 };

r2_status r2i_json_append(r2i_buffer *out, json_t *value) {
    const size_t n_before = out->n_bytes;
    const int result = value != NULL ? json_dump_callback(value, r2i_buffer_append_chunk, out,
                                                          JSON_COMPACT | JSON_REAL_PRECISION(9))
                                     : -1;
    json_decref(value);
    if (result == 0) return R2_OK;
    out->n_bytes = n_before;
    return R2_E_NOMEM;
}

/* What a tree would cost, before one is built. */
static r2_status check_size(const char *text, size_t n_bytes, r2_error *err) {
    int32_t depth = 0, n_values = 0;
    bool is_string = false;
    for (size_t i = 0; i < n_bytes; i++) {
        const char c = text[i];
        if (is_string) {
            if (c == '\\') i++;
            is_string = c != '"';
            continue;
        }
        if (c == '"') is_string = true;
        if (c == ',' || c == ':' || c == '[' || c == '{') n_values++;
        if (c == '[' || c == '{') depth++;
        if (c == ']' || c == '}') depth--;
        if (depth > MAX_DEPTH)
            return r2i_fail(err, R2_E_LIMIT, "JSON: nested more than %d deep", MAX_DEPTH);
        if (n_values > MAX_VALUES)
            return r2i_fail(err, R2_E_LIMIT, "JSON: more than %d values", MAX_VALUES);
    }
    return R2_OK;
}

r2_status r2i_json_parse(json_t **out, const char *text, size_t n_bytes, r2_error *err) {
    json_error_t where;
    *out = NULL;
    if (n_bytes == 0) return r2i_fail(err, R2_E_FORMAT, "JSON: expected an object, found nothing");
    R2I_TRY(check_size(text, n_bytes, err));
    json_t *value = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &where);
    if (value == NULL)
        return r2i_fail(err, R2_E_FORMAT, "JSON: line %d, column %d: %.120s", where.line,
                        where.column, where.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return r2i_fail(err, R2_E_FORMAT, "JSON: expected an object");
    }
    *out = value;
    return R2_OK;
}
