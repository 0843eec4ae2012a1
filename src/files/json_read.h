/* json_read.h - strict JSON text to jansson trees, and typed getters with messages.
 *
 * Text from a model's author is hostile: size, depth, length of numbers and count of values are
 * limited before a tree is built; jansson then refuses duplicate keys (after unescaping), raw
 * control characters, bad UTF-8, lone surrogates, NaN, comments and trailing bytes. */
#ifndef R2I_JSON_READ_H
#define R2I_JSON_READ_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "r2lm/status.h"

typedef struct {
    size_t max_bytes;  /* of the text */
    size_t max_values; /* objects, arrays, keys and scalars together, about: bounds the tree */
    int32_t max_depth; /* of nested objects and arrays */
    bool is_unsigned;  /* numbers are digits only: no sign, dot or exponent */
} r2i_json_limits;

/* For configurations: 16 MiB, 2^20 values, depth 64. */
extern const r2i_json_limits r2i_json_config_limits;
/* For tokenizer.json: 256 MiB, 2^24 values, depth 64. */
extern const r2i_json_limits r2i_json_tokenizer_limits;

/* Builds the tree (an object or an array at the top); the caller owns it (json_decref).  `label`
 * names the file in messages.  R2_E_LIMIT, R2_E_FORMAT with line and column, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_json_read(json_t **out, const char *label, const void *bytes,
                                   size_t n_bytes, const r2i_json_limits *limits, r2_error *err);

/* A field of `object`, which is called `label` in messages: `label: key: expected ..., found ...`.
 * get: R2_E_NOT_FOUND when absent or null.  try: absent or null leaves *out as it is.
 * R2_E_FORMAT: another kind of value; R2_E_RANGE: outside the closed range.  A float may be written
 * as an integer, an integer never as a float.  Texts and trees are borrowed from `object`. */
R2_CHECKED r2_status r2i_json_get_i64(const json_t *object, const char *label, const char *key,
                                      int64_t min, int64_t max, int64_t *out, r2_error *err);
R2_CHECKED r2_status r2i_json_get_i32(const json_t *object, const char *label, const char *key,
                                      int32_t min, int32_t max, int32_t *out, r2_error *err);
R2_CHECKED r2_status r2i_json_get_bool(const json_t *object, const char *label, const char *key,
                                       bool *out, r2_error *err);
R2_CHECKED r2_status r2i_json_get_text(const json_t *object, const char *label, const char *key,
                                       const char **out, r2_error *err);
/* A 64-bit hash: 16 hexadecimal digits, small letters. */
R2_CHECKED r2_status r2i_json_get_hash(const json_t *object, const char *label, const char *key,
                                       uint64_t *out, r2_error *err);
/* What files of our own begin with: "format" is this text, and "version" this number. */
R2_CHECKED r2_status r2i_json_check_format(const json_t *object, const char *label,
                                           const char *format, int32_t version, r2_error *err);
/* `type` is JSON_OBJECT or JSON_ARRAY. */
R2_CHECKED r2_status r2i_json_get_tree(const json_t *object, const char *label, const char *key,
                                       json_type type, const json_t **out, r2_error *err);

R2_CHECKED r2_status r2i_json_try_i64(const json_t *object, const char *label, const char *key,
                                      int64_t min, int64_t max, int64_t *out, r2_error *err);
R2_CHECKED r2_status r2i_json_try_i32(const json_t *object, const char *label, const char *key,
                                      int32_t min, int32_t max, int32_t *out, r2_error *err);
R2_CHECKED r2_status r2i_json_try_f32(const json_t *object, const char *label, const char *key,
                                      float min, float max, float *out, r2_error *err);
R2_CHECKED r2_status r2i_json_try_bool(const json_t *object, const char *label, const char *key,
                                       bool *out, r2_error *err);
R2_CHECKED r2_status r2i_json_try_text(const json_t *object, const char *label, const char *key,
                                       const char **out, r2_error *err);
R2_CHECKED r2_status r2i_json_try_tree(const json_t *object, const char *label, const char *key,
                                       json_type type, const json_t **out, r2_error *err);

/* Short description of a value for a message of one's own: `"abc"`, `12`, `an array`, `nothing`.
 * `value` may be NULL.  The result is `room` or a constant. */
const char *r2i_json_describe(const json_t *value, char room[64]);
#endif
