/* gguf_values.c - typed views of metadata values, with messages that name file and key. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "files/gguf.h"
#include "files/gguf_header.h"

bool r2i_gguf_is_integer(r2i_gguf_type type) {
    return type <= R2I_GGUF_I32 || type == R2I_GGUF_U64 || type == R2I_GGUF_I64;
}

static bool is_float(r2i_gguf_type type) { return type == R2I_GGUF_F32 || type == R2I_GGUF_F64; }

int64_t r2i_gguf_integer_at(const r2i_gguf_value *value, size_t i) {
    const size_t n = r2i_gguf_type_bytes(value->element_type);
    uint64_t raw = 0;
    R2I_ASSERT(i < value->n_elements && n != 0);
    memcpy(&raw, value->bytes + i * n, n);
    switch (value->element_type) {
    case R2I_GGUF_I8:
        return (int8_t)raw;
    case R2I_GGUF_I16:
        return (int16_t)raw;
    case R2I_GGUF_I32:
        return (int32_t)raw;
    case R2I_GGUF_I64:
        return (int64_t)raw;
    default:
        return raw > INT64_MAX ? INT64_MAX : (int64_t)raw;
    }
}

double r2i_gguf_float_at(const r2i_gguf_value *value, size_t i) {
    float f = 0;
    double d = 0;
    R2I_ASSERT(i < value->n_elements && is_float(value->element_type));
    if (value->element_type == R2I_GGUF_F64) {
        memcpy(&d, value->bytes + i * sizeof d, sizeof d);
        return d;
    }
    memcpy(&f, value->bytes + i * sizeof f, sizeof f);
    return (double)f;
}

/* The key as it stands in the file, for messages. */
static r2_status absent(const r2i_gguf *g, const char *key, const char *expected, r2_error *err) {
    return r2i_fail(err, R2_E_NOT_FOUND, "%s: %s%s: expected %s, found nothing", r2i_gguf_label(g),
                    key[0] == '.' ? r2i_gguf_architecture(g) : "", key, expected);
}

static r2_status wrong_type(const r2i_gguf *g, const r2i_gguf_value *v, const char *expected,
                            r2_error *err) {
    const bool is_array = v->type == R2I_GGUF_ARRAY;
    return r2i_fail(err, R2_E_FORMAT, "%s: %s: expected %s, found %s%s", r2i_gguf_label(g), v->key,
                    expected, is_array ? "an array of " : "", r2i_gguf_type_name(v->element_type));
}

static r2_status read_i64(const r2i_gguf *g, const r2i_gguf_value *v, int64_t min, int64_t max,
                          int64_t *out, r2_error *err) {
    if (!r2i_gguf_is_integer(v->type)) return wrong_type(g, v, "an integer", err);
    const int64_t x = r2i_gguf_integer_at(v, 0);
    if (x < min || x > max) {
        return r2i_fail(err, R2_E_RANGE,
                        "%s: %s: expected an integer in %" PRId64 "..%" PRId64 ", found %" PRId64,
                        r2i_gguf_label(g), v->key, min, max, x);
    }
    *out = x;
    return R2_OK;
}

static r2_status read_f32(const r2i_gguf *g, const r2i_gguf_value *v, float min, float max,
                          float *out, r2_error *err) {
    if (!is_float(v->type)) return wrong_type(g, v, "a float", err);
    const double x = r2i_gguf_float_at(v, 0);
    if (!isfinite(x) || x < (double)min || x > (double)max) {
        return r2i_fail(err, R2_E_RANGE, "%s: %s: expected a float in %g..%g, found %g",
                        r2i_gguf_label(g), v->key, (double)min, (double)max, x);
    }
    *out = (float)x;
    return R2_OK;
}

static r2_status read_bool(const r2i_gguf *g, const r2i_gguf_value *v, bool *out, r2_error *err) {
    if (v->type != R2I_GGUF_BOOL) return wrong_type(g, v, "a bool", err);
    *out = v->bytes[0] != 0;
    return R2_OK;
}

static r2_status read_text(const r2i_gguf *g, const r2i_gguf_value *v, r2i_gguf_text *out,
                           r2_error *err) {
    const uint8_t *at = NULL;
    if (v->type != R2I_GGUF_TEXT) return wrong_type(g, v, "a text", err);
    (void)r2i_gguf_next_text(v, &at, out);
    return R2_OK;
}

r2_status r2i_gguf_try_i32(const r2i_gguf *gguf, const char *key, int32_t min, int32_t max,
                           int32_t *out, r2_error *err) {
    int64_t x = *out;
    const r2i_gguf_value *v = r2i_gguf_find(gguf, key);
    const r2_status status = v == NULL ? R2_OK : read_i64(gguf, v, min, max, &x, err);
    *out = (int32_t)x;
    return status;
}

r2_status r2i_gguf_try_f32(const r2i_gguf *gguf, const char *key, float min, float max, float *out,
                           r2_error *err) {
    const r2i_gguf_value *v = r2i_gguf_find(gguf, key);
    return v == NULL ? R2_OK : read_f32(gguf, v, min, max, out, err);
}

r2_status r2i_gguf_try_bool(const r2i_gguf *gguf, const char *key, bool *out, r2_error *err) {
    const r2i_gguf_value *v = r2i_gguf_find(gguf, key);
    return v == NULL ? R2_OK : read_bool(gguf, v, out, err);
}

r2_status r2i_gguf_try_text(const r2i_gguf *gguf, const char *key, r2i_gguf_text *out,
                            r2_error *err) {
    const r2i_gguf_value *v = r2i_gguf_find(gguf, key);
    return v == NULL ? R2_OK : read_text(gguf, v, out, err);
}

r2_status r2i_gguf_get_i32(const r2i_gguf *gguf, const char *key, int32_t min, int32_t max,
                           int32_t *out, r2_error *err) {
    *out = 0;
    if (r2i_gguf_find(gguf, key) == NULL) return absent(gguf, key, "an integer", err);
    return r2i_gguf_try_i32(gguf, key, min, max, out, err);
}

r2_status r2i_gguf_get_f32(const r2i_gguf *gguf, const char *key, float min, float max, float *out,
                           r2_error *err) {
    *out = 0;
    if (r2i_gguf_find(gguf, key) == NULL) return absent(gguf, key, "a float", err);
    return r2i_gguf_try_f32(gguf, key, min, max, out, err);
}

r2_status r2i_gguf_get_text(const r2i_gguf *gguf, const char *key, r2i_gguf_text *out,
                            r2_error *err) {
    *out = (r2i_gguf_text){ "", 0 };
    if (r2i_gguf_find(gguf, key) == NULL) return absent(gguf, key, "a text", err);
    return r2i_gguf_try_text(gguf, key, out, err);
}

static bool has_kind(r2i_gguf_type found, r2i_gguf_type wanted) {
    if (wanted == R2I_GGUF_I64) return r2i_gguf_is_integer(found);
    if (wanted == R2I_GGUF_F32) return is_float(found);
    return found == wanted;
}

static const char *kind_name(r2i_gguf_type wanted) {
    switch (wanted) {
    case R2I_GGUF_TEXT:
        return "an array of texts";
    case R2I_GGUF_F32:
        return "an array of floats";
    case R2I_GGUF_BOOL:
        return "an array of bools";
    default:
        return "an array of integers";
    }
}

r2_status r2i_gguf_get_array(const r2i_gguf *gguf, const char *key, r2i_gguf_type element,
                             size_t min, size_t max, const r2i_gguf_value **out, r2_error *err) {
    *out = NULL;
    const r2i_gguf_value *v = r2i_gguf_find(gguf, key);
    if (v == NULL) return absent(gguf, key, kind_name(element), err);
    if (v->type != R2I_GGUF_ARRAY || !has_kind(v->element_type, element)) {
        return wrong_type(gguf, v, kind_name(element), err);
    }
    if (v->n_elements < min || v->n_elements > max) {
        return r2i_fail(err, R2_E_RANGE, "%s: %s: expected %zu..%zu elements, found %zu",
                        r2i_gguf_label(gguf), v->key, min, max, v->n_elements);
    }
    *out = v;
    return R2_OK;
}

/* Bounds are checked again although the header was: another process may have changed the file. */
bool r2i_gguf_next_text(const r2i_gguf_value *value, const uint8_t **at, r2i_gguf_text *out) {
    const uint8_t *end = value->bytes + value->n_bytes, *p = *at == NULL ? value->bytes : *at;
    uint64_t n;
    *out = (r2i_gguf_text){ "", 0 };
    if (value->element_type != R2I_GGUF_TEXT || (size_t)(end - p) < sizeof n) return false;
    memcpy(&n, p, sizeof n);
    p += sizeof n;
    if (n > (size_t)(end - p)) return false;
    *out = (r2i_gguf_text){ (const char *)p, (size_t)n };
    *at = p + n;
    return true;
}
