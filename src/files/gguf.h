/* gguf.h - reads GGUF files, versions 2 and 3, single or in shards.
 *
 *     "GGUF" | u32 version | u64 n_tensors | u64 n_values
 *     n_values  x { text key | u32 type | value }          text = u64 n_bytes, bytes (UTF-8)
 *     n_tensors x { text name | u32 n_dims | u64 ne[n_dims] | u32 type | u64 offset }
 *     padding to general.alignment | tensor data, each at its offset from here
 *
 * Everything is checked when the file is opened, before memory is taken by the file's numbers: what
 * the functions below return is in bounds, unique and of a supported type.  Values and data are
 * views into the mapping; nothing is copied but names.  What the keys mean is not known here.
 *
 * A key that begins with a dot stands for the architecture's own: ".block_count" is looked up as
 * "qwen2.block_count" when general.architecture is "qwen2". */
#ifndef R2I_GGUF_H
#define R2I_GGUF_H
#include <stdbool.h>
#include <string.h>
#include "base/arena.h"
#include "files/stored_tensor.h"

typedef struct r2i_gguf r2i_gguf;

typedef enum {
    R2I_GGUF_U8,
    R2I_GGUF_I8,
    R2I_GGUF_U16,
    R2I_GGUF_I16,
    R2I_GGUF_U32,
    R2I_GGUF_I32,
    R2I_GGUF_F32,
    R2I_GGUF_BOOL,
    R2I_GGUF_TEXT,
    R2I_GGUF_ARRAY,
    R2I_GGUF_U64,
    R2I_GGUF_I64,
    R2I_GGUF_F64,
    R2I_GGUF_N_TYPES
} r2i_gguf_type;

/* UTF-8 in the mapping, not terminated. */
typedef struct {
    const char *bytes;
    size_t n_bytes;
} r2i_gguf_text;

static inline bool r2i_gguf_text_is(r2i_gguf_text text, const char *word) {
    return text.n_bytes == strlen(word) && memcmp(text.bytes, word, text.n_bytes) == 0;
}

typedef struct {
    const char *key; /* terminated */
    r2i_gguf_type type;
    r2i_gguf_type element_type; /* of an array; otherwise as type */
    size_t n_elements;          /* of an array; otherwise 1 */
    const uint8_t *bytes; /* the elements as stored: little-endian, unaligned; texts with their
                                 * lengths */
    size_t n_bytes;
} r2i_gguf_value;

/* Opens a file; of a sharded model the first shard (name-00001-of-00003.gguf), the others are found
 * beside it.  Its own memory comes from `arena`, which must outlive *out.  R2_E_NOT_FOUND, R2_E_IO,
 * R2_E_FORMAT, R2_E_UNSUPPORTED (version, element type), R2_E_MISMATCH (shards), R2_E_NOMEM. */
R2_CHECKED r2_status r2i_gguf_open(r2i_gguf **out, const char *path, r2i_arena *arena,
                                   r2_error *err);
/* The same for one whole file in memory, borrowed until close.  `label` names it in messages. */
R2_CHECKED r2_status r2i_gguf_open_memory(r2i_gguf **out, const char *label, const void *bytes,
                                          size_t n_bytes, r2i_arena *arena, r2_error *err);
/* Unmaps; every view dies.  NULL is allowed.  The arena keeps its memory. */
void r2i_gguf_close(r2i_gguf *gguf);

/* File name without folders, for messages. */
const char *r2i_gguf_label(const r2i_gguf *gguf);
/* Text of general.architecture; "" when absent. */
const char *r2i_gguf_architecture(const r2i_gguf *gguf);
int32_t r2i_gguf_n_shards(const r2i_gguf *gguf);
/* Bytes of all shards together. */
uint64_t r2i_gguf_file_bytes(const r2i_gguf *gguf);
/* False when a shard was truncated after it was opened. */
bool r2i_gguf_is_intact(const r2i_gguf *gguf);

size_t r2i_gguf_n_tensors(const r2i_gguf *gguf);
const r2i_stored_tensor *r2i_gguf_tensor_at(const r2i_gguf *gguf, size_t i); /* in file order */
/* NULL when there is none; constant time. */
const r2i_stored_tensor *r2i_gguf_find_tensor(const r2i_gguf *gguf, const char *name);
/* Gives the pages of a tensor back (mapping.h). */
void r2i_gguf_forget(const r2i_gguf *gguf, const r2i_stored_tensor *tensor);

/* ---- metadata (of the first shard) ---- */
size_t r2i_gguf_n_values(const r2i_gguf *gguf);
const r2i_gguf_value *r2i_gguf_value_at(const r2i_gguf *gguf, size_t i); /* in file order */
/* NULL when there is none; constant time. */
const r2i_gguf_value *r2i_gguf_find(const r2i_gguf *gguf, const char *key);

/* Typed getters.  The value must exist (R2_E_NOT_FOUND), be of the right kind (R2_E_FORMAT) and in
 * the closed range (R2_E_RANGE); the text is `file: key: expected ..., found ...`.  Integers may
 * have any width, floats are F32 or F64 and finite. */
R2_CHECKED r2_status r2i_gguf_get_i32(const r2i_gguf *gguf, const char *key, int32_t min,
                                      int32_t max, int32_t *out, r2_error *err);
R2_CHECKED r2_status r2i_gguf_get_f32(const r2i_gguf *gguf, const char *key, float min, float max,
                                      float *out, r2_error *err);
R2_CHECKED r2_status r2i_gguf_get_text(const r2i_gguf *gguf, const char *key, r2i_gguf_text *out,
                                       r2_error *err);
/* An array whose elements are texts / any integers / floats / bools, as `element` says (one of
 * R2I_GGUF_TEXT, _I64, _F32, _BOOL), with min..max elements. */
R2_CHECKED r2_status r2i_gguf_get_array(const r2i_gguf *gguf, const char *key,
                                        r2i_gguf_type element, size_t min, size_t max,
                                        const r2i_gguf_value **out, r2_error *err);

/* The same, but *out stays as it is when the key is absent. */
R2_CHECKED r2_status r2i_gguf_try_i32(const r2i_gguf *gguf, const char *key, int32_t min,
                                      int32_t max, int32_t *out, r2_error *err);
R2_CHECKED r2_status r2i_gguf_try_f32(const r2i_gguf *gguf, const char *key, float min, float max,
                                      float *out, r2_error *err);
R2_CHECKED r2_status r2i_gguf_try_bool(const r2i_gguf *gguf, const char *key, bool *out,
                                       r2_error *err);
R2_CHECKED r2_status r2i_gguf_try_text(const r2i_gguf *gguf, const char *key, r2i_gguf_text *out,
                                       r2_error *err);

/* Element i < n_elements of a value (or array) of integers, bools included; U64 above INT64_MAX is
 * given as INT64_MAX.  Of floats. */
int64_t r2i_gguf_integer_at(const r2i_gguf_value *value, size_t i);
double r2i_gguf_float_at(const r2i_gguf_value *value, size_t i);
bool r2i_gguf_is_integer(r2i_gguf_type type);
const char *r2i_gguf_type_name(r2i_gguf_type type); /* "u32", "text", ... */

/* Walks the texts of an array: *at is NULL to begin; false after the last. */
bool r2i_gguf_next_text(const r2i_gguf_value *value, const uint8_t **at, r2i_gguf_text *out);
#endif
