/* gguf_header.c - parses one GGUF header out of hostile bytes.
 *
 * A reader holds the rest of the file as [at, end); every length is compared with end - at, never
 * added to a position.  The reader's `status` sticks: after the first failure all further reads
 * return zero, so a sequence of reads is checked once at its end. */
#include "files/gguf_header.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "files/extents.h"
#include "base/utf8_valid.h"

enum {
    MAX_VALUES = 1 << 16,
    MAX_TENSORS = 1 << 20,
    MAX_KEY_BYTES = 65535,
    MAX_NAME_BYTES = 64,
    MAX_NESTING = 4,
    MAX_ITEMS = 1 << 28,  /* elements of all arrays together */
    MIN_VALUE_BYTES = 13, /* length of the key, type, at least one byte */
    MIN_TENSOR_BYTES = 24,
    DEFAULT_ALIGNMENT = 32,
    MIN_ALIGNMENT = 8,
    MAX_ALIGNMENT = 65536
};

typedef struct {
    const uint8_t *at, *end;
    const char *label;
    const char *what; /* being read, for messages */
    uint64_t n_items;
    r2i_arena *arena;
    r2_error *err;
    r2_status status;
} reader;

static const struct {
    const char *name;
    size_t n_bytes;
} type_table[R2I_GGUF_N_TYPES] = {
    [R2I_GGUF_U8] = { "u8", 1 },     [R2I_GGUF_I8] = { "i8", 1 },
    [R2I_GGUF_U16] = { "u16", 2 },   [R2I_GGUF_I16] = { "i16", 2 },
    [R2I_GGUF_U32] = { "u32", 4 },   [R2I_GGUF_I32] = { "i32", 4 },
    [R2I_GGUF_F32] = { "f32", 4 },   [R2I_GGUF_BOOL] = { "bool", 1 },
    [R2I_GGUF_TEXT] = { "text", 0 }, [R2I_GGUF_ARRAY] = { "array", 0 },
    [R2I_GGUF_U64] = { "u64", 8 },   [R2I_GGUF_I64] = { "i64", 8 },
    [R2I_GGUF_F64] = { "f64", 8 },
};

const char *r2i_gguf_type_name(r2i_gguf_type type) { return type_table[type].name; }
size_t r2i_gguf_type_bytes(r2i_gguf_type type) { return type_table[type].n_bytes; }

static size_t remaining(const reader *r) { return (size_t)(r->end - r->at); }

/* The next n bytes, or NULL (and a failed reader) when the file ends before. */
static const uint8_t *take(reader *r, uint64_t n) {
    if (r->status != R2_OK) return NULL;
    if (n > remaining(r)) {
        r->status = r2i_fail(r->err, R2_E_FORMAT,
                             "%s: %s: expected %" PRIu64 " more bytes, found %zu (truncated?)",
                             r->label, r->what, n, remaining(r));
        return NULL;
    }
    const uint8_t *bytes = r->at;
    r->at += n;
    return bytes;
}

/* GGUF is little-endian and so is every machine this runs on (checked by the version field). */
static uint32_t take_u32(reader *r) {
    uint32_t x = 0;
    const uint8_t *bytes = take(r, sizeof x);
    if (bytes != NULL) memcpy(&x, bytes, sizeof x);
    return x;
}

static uint64_t take_u64(reader *r) {
    uint64_t x = 0;
    const uint8_t *bytes = take(r, sizeof x);
    if (bytes != NULL) memcpy(&x, bytes, sizeof x);
    return x;
}

static r2_status refuse(reader *r, const char *expected, uint64_t found) {
    if (r->status == R2_OK) {
        r->status = r2i_fail(r->err, R2_E_FORMAT, "%s: %s: expected %s, found %" PRIu64, r->label,
                             r->what, expected, found);
    }
    return r->status;
}

static r2_status no_memory(reader *r) {
    r->status = r2i_fail(r->err, R2_E_NOMEM, "%s: %s: no memory", r->label, r->what);
    return r->status;
}

static r2i_gguf_text take_text(reader *r) {
    const uint64_t n = take_u64(r);
    const uint8_t *bytes = take(r, n);
    if (bytes == NULL) return (r2i_gguf_text){ "", 0 };
    const r2i_gguf_text text = { (const char *)bytes, (size_t)n };
    if (!r2i_utf8_is_valid(text.bytes, text.n_bytes)) {
        r->status = r2i_fail(r->err, R2_E_FORMAT, "%s: %s: expected UTF-8 text, found other bytes",
                             r->label, r->what);
        return (r2i_gguf_text){ "", 0 };
    }
    return text;
}

static bool is_key_byte(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

/* ---- values ---- */

static void check_bools(reader *r, const uint8_t *bytes, uint64_t n) {
    for (uint64_t i = 0; bytes != NULL && i < n; i++) {
        if (bytes[i] > 1) {
            refuse(r, "a bool of 0 or 1", bytes[i]);
            return;
        }
    }
}

/* Vocabularies hold hundreds of thousands of short texts and opening a model waits for this loop:
 * it keeps the position in a register and leaves the message of a bad text to take_text. */
static void skip_texts(reader *r, uint64_t n) {
    const uint8_t *at = r->at, *end = r->end;
    for (; n > 0; n--) {
        uint64_t n_bytes;
        if ((size_t)(end - at) < sizeof n_bytes) break;
        memcpy(&n_bytes, at, sizeof n_bytes);
        if (n_bytes > (size_t)(end - at) - sizeof n_bytes) break;
        if (!r2i_utf8_is_valid((const char *)at + sizeof n_bytes, (size_t)n_bytes)) break;
        at += sizeof n_bytes + n_bytes;
    }
    r->at = at;
    if (n > 0) (void)take_text(r);
}

static void skip_array(reader *r, int32_t depth, r2i_gguf_value *value);

static void skip_value(reader *r, uint32_t type, uint64_t n, int32_t depth) {
    if (type == R2I_GGUF_TEXT) {
        skip_texts(r, n);
    } else if (type == R2I_GGUF_ARRAY) {
        r2i_gguf_value inner;
        for (uint64_t i = 0; i < n && r->status == R2_OK; i++) skip_array(r, depth + 1, &inner);
    } else {
        const size_t n_bytes = type_table[type].n_bytes;
        if (n > remaining(r) / n_bytes) {
            refuse(r, "an array inside the file", n);
            return;
        }
        const uint8_t *bytes = take(r, n * n_bytes);
        if (type == R2I_GGUF_BOOL) check_bools(r, bytes, n);
    }
}

/* Fills the value's element fields and steps over the elements. */
static void skip_array(reader *r, int32_t depth, r2i_gguf_value *value) {
    if (depth > MAX_NESTING) {
        refuse(r, "arrays nested at most 4 deep", (uint64_t)depth);
        return;
    }
    const uint32_t type = take_u32(r);
    const uint64_t n = take_u64(r);
    if (r->status != R2_OK) return;
    if (type >= R2I_GGUF_N_TYPES) {
        refuse(r, "an element type in 0..12", type);
    } else if (n > MAX_ITEMS - r->n_items) {
        refuse(r, "at most 2^28 array elements in the file", n);
    } else {
        r->n_items += n;
        value->element_type = (r2i_gguf_type)type;
        value->n_elements = (size_t)n;
        value->bytes = r->at;
        skip_value(r, type, n, depth);
        value->n_bytes = (size_t)(r->at - value->bytes);
    }
}

static void read_one_value(reader *r, r2i_gguf_value *value) {
    const uint32_t type = take_u32(r);
    if (r->status != R2_OK) return;
    if (type >= R2I_GGUF_N_TYPES) {
        refuse(r, "a value type in 0..12", type);
        return;
    }
    value->type = value->element_type = (r2i_gguf_type)type;
    value->n_elements = 1;
    value->bytes = r->at;
    if (type == R2I_GGUF_ARRAY) {
        skip_array(r, 1, value);
    } else {
        skip_value(r, type, 1, 0);
        value->n_bytes = (size_t)(r->at - value->bytes);
    }
}

static const char *read_key(reader *r, size_t i, size_t *n_bytes) {
    r->what = "a metadata key";
    const r2i_gguf_text key = take_text(r);
    if (r->status != R2_OK) return NULL;
    size_t n_good = 0;
    while (n_good < key.n_bytes && is_key_byte(key.bytes[n_good])) n_good++;
    if (key.n_bytes == 0 || key.n_bytes > MAX_KEY_BYTES || n_good != key.n_bytes ||
        key.bytes[0] == '.') {
        r->status = r2i_fail(r->err, R2_E_FORMAT,
                             "%s: metadata key %zu: expected words of a-z 0-9 _ - joined by dots, "
                             "1..65535 bytes, found \"%.*s\"",
                             r->label, i, key.n_bytes < 64 ? (int)key.n_bytes : 64, key.bytes);
        return NULL;
    }
    const char *copy = r2i_arena_copy_text(r->arena, key.bytes, key.n_bytes);
    if (copy == NULL) no_memory(r);
    *n_bytes = key.n_bytes;
    return copy;
}

static r2_status add_name(reader *r, r2i_name_table *table, const char *name, size_t n_bytes,
                          size_t index) {
    const r2i_name_result result = r2i_name_table_add(table, name, n_bytes, (uint32_t)index);
    if (result == R2I_NAME_DUPLICATE) {
        r->status =
            r2i_fail(r->err, R2_E_FORMAT, "%s: %s: expected once, found twice", r->label, name);
    } else if (result == R2I_NAME_CROWDED) {
        r->status =
            r2i_fail(r->err, R2_E_LIMIT, "%s: %s: names are made to collide", r->label, name);
    }
    return r->status;
}

static r2_status read_values(reader *r, r2i_gguf_header *h) {
    h->values = R2I_ARENA_ARRAY(r->arena, r2i_gguf_value, h->n_values);
    if (h->values == NULL || !r2i_name_table_init(&h->value_names, r->arena, h->n_values)) {
        return no_memory(r);
    }
    for (size_t i = 0; i < h->n_values; i++) {
        r2i_gguf_value *value = &h->values[i];
        size_t n_bytes = 0;
        value->key = read_key(r, i, &n_bytes);
        if (r->status != R2_OK || add_name(r, &h->value_names, value->key, n_bytes, i) != R2_OK) {
            return r->status;
        }
        r->what = value->key;
        read_one_value(r, value);
        if (r->status != R2_OK) return r->status;
    }
    return R2_OK;
}

const r2i_gguf_value *r2i_gguf_header_find(const r2i_gguf_header *header, const char *key) {
    const int64_t i = r2i_name_table_find(&header->value_names, key, strlen(key));
    return i < 0 ? NULL : &header->values[i];
}

static uint64_t read_alignment(reader *r, const r2i_gguf_header *h) {
    const r2i_gguf_value *value = r2i_gguf_header_find(h, "general.alignment");
    if (value == NULL) return DEFAULT_ALIGNMENT;
    r->what = value->key;
    if (value->type != R2I_GGUF_U32) {
        r->status = r2i_fail(r->err, R2_E_FORMAT, "%s: %s: expected type u32, found %s", r->label,
                             r->what, r2i_gguf_type_name(value->type));
        return 0;
    }
    const uint64_t n = (uint64_t)r2i_gguf_integer_at(value, 0);
    if (n < MIN_ALIGNMENT || n > MAX_ALIGNMENT || (n & (n - 1)) != 0) {
        refuse(r, "a power of two in 8..65536", n);
        return 0;
    }
    return n;
}

/* ---- tensors ---- */

static const char *read_tensor_name(reader *r, size_t i) {
    r->what = "a tensor name";
    const r2i_gguf_text name = take_text(r);
    if (r->status != R2_OK) return NULL;
    if (name.n_bytes == 0 || name.n_bytes > MAX_NAME_BYTES ||
        memchr(name.bytes, '\0', name.n_bytes) != NULL) {
        r->status = r2i_fail(r->err, R2_E_FORMAT,
                             "%s: name of tensor %zu: expected 1..64 bytes without NUL, found %zu "
                             "bytes",
                             r->label, i, name.n_bytes);
        return NULL;
    }
    const char *copy = r2i_arena_copy_text(r->arena, name.bytes, name.n_bytes);
    if (copy == NULL) no_memory(r);
    return copy;
}

/* Number of elements, or 0 after a failure: 1..4 dimensions of 1..2^40, product <= 2^46. */
static uint64_t read_dims(reader *r, r2i_stored_tensor *t) {
    const uint32_t n_dims = take_u32(r);
    if (r->status == R2_OK && (n_dims < 1 || n_dims > R2I_TENSOR_DIMS)) {
        refuse(r, "1..4 dimensions", n_dims);
    }
    uint64_t n_elements = 1;
    for (uint32_t d = 0; d < R2I_TENSOR_DIMS; d++) t->ne[d] = 1;
    for (uint32_t d = 0; d < n_dims && r->status == R2_OK; d++) {
        const uint64_t ne = take_u64(r);
        if (r->status != R2_OK) break;
        if (ne < 1 || ne > (uint64_t)1 << 40) {
            refuse(r, "a dimension in 1..2^40", ne);
        } else if (n_elements > ((uint64_t)1 << 46) / ne) {
            refuse(r, "at most 2^46 elements; dimension beyond", ne);
        } else {
            n_elements *= ne;
            t->ne[d] = (int64_t)ne;
        }
    }
    t->n_dims = (int32_t)n_dims;
    return r->status == R2_OK ? n_elements : 0;
}

static void read_tensor_type(reader *r, r2i_stored_tensor *t, uint64_t n_elements) {
    const uint32_t id = take_u32(r);
    if (r->status != R2_OK) return;
    const r2i_type_info *info = r2i_type_find(id);
    if (info == NULL) {
        r->status = r2i_fail(r->err, R2_E_UNSUPPORTED,
                             "%s: %s: expected a supported element type, found type %" PRIu32,
                             r->label, r->what, id);
    } else if (t->ne[0] % info->block_elements != 0) {
        r->status =
            r2i_fail(r->err, R2_E_FORMAT,
                     "%s: %s: expected rows of a multiple of %" PRId32 " (%s), found %" PRId64,
                     r->label, r->what, info->block_elements, info->name, t->ne[0]);
    } else {
        t->type = (r2i_type)id;
        /* <= 2^46 * 210: no overflow. */
        t->n_bytes =
            (size_t)(n_elements / (uint64_t)info->block_elements * (uint64_t)info->block_bytes);
    }
}

/* Leaves the offset of the data in extent->begin; where the data begin is not known yet. */
static void read_tensor(reader *r, size_t i, r2i_stored_tensor *t, r2i_extent *extent,
                        uint64_t alignment) {
    t->name = read_tensor_name(r, i);
    if (r->status != R2_OK) return;
    r->what = t->name;
    const uint64_t n_elements = read_dims(r, t);
    if (r->status != R2_OK) return;
    read_tensor_type(r, t, n_elements);
    const uint64_t offset = take_u64(r);
    if (r->status != R2_OK) return;
    if (offset % alignment != 0) {
        refuse(r, "a data offset that is a multiple of general.alignment", offset);
        return;
    }
    *extent = (r2i_extent){ .begin = offset, .index = (uint32_t)i };
}

/* Data inside the file and disjoint. */
static r2_status place_tensors(reader *r, r2i_gguf_header *h, r2i_extent *extents,
                               uint64_t alignment) {
    size_t data_begin;
    const size_t header_bytes = h->n_bytes - remaining(r);
    if (!r2i_round_up_size(header_bytes, (size_t)alignment, &data_begin)) data_begin = h->n_bytes;
    const uint64_t data_bytes = data_begin < h->n_bytes ? h->n_bytes - data_begin : 0;
    for (size_t i = 0; i < h->n_tensors; i++) {
        r2i_stored_tensor *t = &h->tensors[i];
        const uint64_t offset = extents[i].begin;
        if (offset > data_bytes || t->n_bytes > data_bytes - offset) {
            return r2i_fail(r->err, R2_E_FORMAT,
                            "%s: %s: expected %zu bytes of data at offset %" PRIu64
                            ", found %" PRIu64 " bytes of data in the file (truncated?)",
                            r->label, t->name, t->n_bytes, offset, data_bytes);
        }
        t->bytes = h->bytes + data_begin + offset;
        extents[i].end = offset + t->n_bytes;
    }
    r2i_extents_sort(extents, h->n_tensors);
    for (size_t i = 1; i < h->n_tensors; i++) {
        if (extents[i].begin < extents[i - 1].end) {
            return r2i_fail(r->err, R2_E_FORMAT,
                            "%s: %s: expected data of its own, found data that "
                            "overlap with %s",
                            r->label, h->tensors[extents[i].index].name,
                            h->tensors[extents[i - 1].index].name);
        }
    }
    return R2_OK;
}

static r2_status read_tensors(reader *r, r2i_gguf_header *h, int32_t shard) {
    const uint64_t alignment = read_alignment(r, h);
    if (r->status != R2_OK) return r->status;
    h->tensors = R2I_ARENA_ARRAY(r->arena, r2i_stored_tensor, h->n_tensors);
    if (h->tensors == NULL) return no_memory(r);
    const size_t extent_bytes = h->n_tensors * sizeof(r2i_extent);
    r2i_extent *extents = r2i_heap_take(r->arena->heap, extent_bytes);
    if (extents == NULL) return no_memory(r);
    for (size_t i = 0; i < h->n_tensors && r->status == R2_OK; i++) {
        h->tensors[i].shard = shard;
        read_tensor(r, i, &h->tensors[i], &extents[i], alignment);
    }
    if (r->status == R2_OK) r->status = place_tensors(r, h, extents, alignment);
    r2i_heap_give(r->arena->heap, extents, extent_bytes);
    return r->status;
}

/* ---- the fixed start ---- */

static r2_status check_magic(reader *r, r2i_gguf_header *h) {
    r->what = "start of the file";
    const uint8_t *magic = take(r, 4);
    if (magic == NULL) return r->status;
    if (memcmp(magic, "GGUF", 4) != 0) {
        r->status =
            r2i_fail(r->err, R2_E_FORMAT, "%s: magic: expected \"GGUF\", found %02x %02x %02x %02x",
                     r->label, magic[0], magic[1], magic[2], magic[3]);
        return r->status;
    }
    r->what = "version";
    h->version = take_u32(r);
    if (r->status != R2_OK || h->version == 2 || h->version == 3) return r->status;
    const bool is_swapped = (h->version & 0xffffu) == 0;
    r->status =
        r2i_fail(r->err, R2_E_UNSUPPORTED, "%s: version: expected 2 or 3, found %" PRIu32 "%s",
                 r->label, h->version, is_swapped ? " (a big-endian file)" : "");
    return r->status;
}

static r2_status read_counts(reader *r, r2i_gguf_header *h) {
    r->what = "number of tensors";
    const uint64_t n_tensors = take_u64(r);
    r->what = "number of metadata values";
    const uint64_t n_values = take_u64(r);
    if (r->status != R2_OK) return r->status;
    if (n_values > MAX_VALUES || n_values > remaining(r) / MIN_VALUE_BYTES) {
        return refuse(r, "at most 65536 and no more than fit into the file", n_values);
    }
    r->what = "number of tensors";
    if (n_tensors > MAX_TENSORS || n_tensors > remaining(r) / MIN_TENSOR_BYTES) {
        return refuse(r, "at most 2^20 and no more than fit into the file", n_tensors);
    }
    h->n_values = (size_t)n_values;
    h->n_tensors = (size_t)n_tensors;
    return R2_OK;
}

r2_status r2i_gguf_header_read(r2i_gguf_header *header, int32_t shard, r2i_arena *arena,
                               r2_error *err) {
    const uint8_t *start = header->n_bytes == 0 ? (const uint8_t *)"" : header->bytes;
    reader r = { .at = start,
                 .end = start + header->n_bytes,
                 .label = header->label,
                 .arena = arena,
                 .err = err };
    if (check_magic(&r, header) != R2_OK || read_counts(&r, header) != R2_OK ||
        read_values(&r, header) != R2_OK) {
        return r.status;
    }
    return read_tensors(&r, header, shard);
}
