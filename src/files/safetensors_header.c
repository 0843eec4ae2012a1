#include "files/safetensors_header.h"

#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "files/extents.h"
#include "files/json_read.h"

enum { LENGTH_BYTES = 8, MAX_NAME_BYTES = 1024 };

/* 2^19 values are about 47,000 tensors in one file and 50 MB of tree.  The format allows headers of
 * 100 MB; what is not padding is held to 32 MiB, or a hostile one would cost seconds. */
static const r2i_json_limits header_limits = { .max_bytes = (size_t)32 << 20,
                                               .max_values = (size_t)1 << 19,
                                               .max_depth = 8,
                                               .is_unsigned = true };

static const struct {
    const char *name;
    int32_t bits, type;
} dtype_table[R2I_N_DTYPES] = {
#define R2I_DTYPE_ROW(name, text, bits, type) [name] = { text, bits, type },
    R2I_DTYPE_LIST(R2I_DTYPE_ROW)
#undef R2I_DTYPE_ROW
};

const char *r2i_dtype_name(r2i_dtype dtype) { return dtype_table[dtype].name; }
int32_t r2i_dtype_bits(r2i_dtype dtype) { return dtype_table[dtype].bits; }
int32_t r2i_dtype_type(r2i_dtype dtype) { return dtype_table[dtype].type; }

/* Where the messages of one tensor come from. */
typedef struct {
    const char *label, *name;
    r2_error *err;
} place;

static r2_status read_dtype(const place *p, const json_t *entry, r2i_safetensor *t) {
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    for (int32_t i = 0; text != NULL && i < R2I_N_DTYPES; i++) {
        if (strcmp(text, dtype_table[i].name) == 0) {
            t->dtype = (r2i_dtype)i;
            return R2_OK;
        }
    }
    char found[64];
    return r2i_fail(p->err, R2_E_FORMAT,
                    "%s: %s: dtype: expected a known one such as \"F32\", found %s", p->label,
                    p->name, r2i_json_describe(json_object_get(entry, "dtype"), found));
}

static r2_status wrong_shape(const place *p, const json_t *found) {
    char text[64];
    return r2i_fail(p->err, R2_E_FORMAT,
                    "%s: %s: shape: expected at most 8 whole numbers whose "
                    "product is below 2^60, found %s",
                    p->label, p->name, r2i_json_describe(found, text));
}

/* Sets shape and n_bytes. */
static r2_status read_shape(const place *p, const json_t *entry, r2i_safetensor *t) {
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > R2I_SAFETENSORS_DIMS) {
        return wrong_shape(p, shape);
    }
    uint64_t n_elements = 1;
    t->n_dims = (int32_t)json_array_size(shape);
    for (int32_t i = 0; i < t->n_dims; i++) {
        const json_t *item = json_array_get(shape, (size_t)i);
        const json_int_t n = json_integer_value(item);
        if (!json_is_integer(item) || n < 0 || !r2i_mul_u64(n_elements, (uint64_t)n, &n_elements) ||
            n_elements > (uint64_t)1 << 60) {
            return wrong_shape(p, item);
        }
        t->shape[i] = n;
    }
    uint64_t n_bits;
    if (!r2i_mul_u64(n_elements, (uint64_t)dtype_table[t->dtype].bits, &n_bits)) {
        return wrong_shape(p, shape);
    }
    t->n_bytes = (size_t)(n_bits / 8);
    return R2_OK;
}

static r2_status read_offsets(const place *p, const json_t *entry, uint64_t data_bytes,
                              const r2i_safetensor *t, r2i_extent *extent) {
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin)) {
        return r2i_fail(p->err, R2_E_FORMAT,
                        "%s: %s: data_offsets: expected [begin, end], found "
                        "something else",
                        p->label, p->name);
    }
    extent->begin = (uint64_t)json_integer_value(begin);
    extent->end = (uint64_t)json_integer_value(end);
    if (extent->end > data_bytes) {
        return r2i_fail(p->err, R2_E_FORMAT,
                        "%s: %s: data_offsets: expected an end within the %" PRIu64
                        " bytes of data, found %" PRIu64 " (truncated?)",
                        p->label, p->name, data_bytes, extent->end);
    }
    if (extent->end - extent->begin != t->n_bytes) {
        return r2i_fail(p->err, R2_E_FORMAT,
                        "%s: %s: data_offsets: expected %zu bytes as shape and "
                        "dtype say, found %" PRIu64,
                        p->label, p->name, t->n_bytes, extent->end - extent->begin);
    }
    return R2_OK;
}

static r2_status read_tensor(const place *p, const json_t *entry, uint64_t data_bytes,
                             r2i_safetensor *t, r2i_extent *extent) {
    if (json_object_size(entry) != 3) {
        return r2i_fail(p->err, R2_E_FORMAT,
                        "%s: %s: expected dtype, shape and data_offsets, found "
                        "%zu fields",
                        p->label, p->name, json_object_size(entry));
    }
    r2_status status = read_dtype(p, entry, t);
    if (status == R2_OK) status = read_shape(p, entry, t);
    if (status == R2_OK) status = read_offsets(p, entry, data_bytes, t, extent);
    return status;
}

/* The data are covered once, from the first byte to the last. */
static r2_status check_cover(const r2i_safetensors_header *h, r2i_extent *extents,
                             uint64_t data_bytes, r2_error *err) {
    uint64_t covered = 0;
    r2i_extents_sort(extents, h->n_tensors);
    for (size_t i = 0; i < h->n_tensors; i++) {
        if (extents[i].begin != covered) {
            return r2i_fail(err, R2_E_FORMAT,
                            "%s: %s: data_offsets: expected data to begin at %" PRIu64
                            ", found %" PRIu64 " (%s)",
                            h->label, h->tensors[extents[i].index].name, covered, extents[i].begin,
                            extents[i].begin < covered ? "overlap" : "hole");
        }
        covered = extents[i].end;
    }
    if (covered == data_bytes) return R2_OK;
    return r2i_fail(err, R2_E_FORMAT,
                    "%s: data: expected %" PRIu64 " bytes as the header says, found "
                    "%" PRIu64,
                    h->label, covered, data_bytes);
}

static r2_status take_metadata(r2i_safetensors_header *h, json_t *metadata, r2_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: __metadata__: expected an object, found another kind", h->label);
    }
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value)) {
            return r2i_fail(err, R2_E_FORMAT,
                            "%s: __metadata__: %s: expected a string, found another "
                            "kind",
                            h->label, key);
        }
    }
    h->metadata = json_incref(metadata);
    return R2_OK;
}

static r2_status no_memory(const r2i_safetensors_header *h, r2_error *err) {
    return r2i_fail(err, R2_E_NOMEM, "%s: no memory for its header", h->label);
}

static r2_status read_entries(r2i_safetensors_header *h, json_t *root, r2i_extent *extents,
                              const uint8_t *data, int32_t shard, r2i_arena *arena, r2_error *err) {
    const uint64_t data_bytes = (uint64_t)(h->bytes + h->n_bytes - data);
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry) {
        if (strcmp(name, "__metadata__") == 0) {
            const r2_status status = take_metadata(h, entry, err);
            if (status != R2_OK) return status;
            continue;
        }
        r2i_safetensor *t = &h->tensors[h->n_tensors];
        r2i_extent *extent = &extents[h->n_tensors];
        const size_t name_bytes = strlen(name);
        if (name_bytes < 1 || name_bytes > MAX_NAME_BYTES) {
            return r2i_fail(err, R2_E_FORMAT,
                            "%s: a tensor name: expected 1..1024 bytes, found %zu", h->label,
                            name_bytes);
        }
        const place p = { h->label, name, err };
        const r2_status status = read_tensor(&p, entry, data_bytes, t, extent);
        if (status != R2_OK) return status;
        t->name = r2i_arena_copy_text(arena, name, name_bytes);
        if (t->name == NULL) return no_memory(h, err);
        t->bytes = data + extent->begin;
        t->shard = shard;
        extent->index = (uint32_t)h->n_tensors++;
    }
    return check_cover(h, extents, data_bytes, err);
}

/* The JSON text: starts with '{', ends with '}' (after n_used bytes) and then spaces only. */
static r2_status find_text(const r2i_safetensors_header *h, size_t *n_bytes, size_t *n_used,
                           r2_error *err) {
    uint64_t n = 0;
    if (h->n_bytes < LENGTH_BYTES) {
        return r2i_fail(err, R2_E_FORMAT, "%s: expected at least 8 bytes, found %zu (truncated?)",
                        h->label, h->n_bytes);
    }
    memcpy(&n, h->bytes, sizeof n);
    if (n < 2 || n > R2I_SAFETENSORS_MAX_HEADER || n > h->n_bytes - LENGTH_BYTES) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: header: expected 2..100000000 bytes within the file's "
                        "%zu, found %" PRIu64 " (truncated?)",
                        h->label, h->n_bytes, n);
    }
    const uint8_t *text = h->bytes + LENGTH_BYTES;
    size_t used = (size_t)n;
    while (used > 0 && text[used - 1] == ' ') used--;
    if (text[0] != '{' || text[used - 1] != '}') {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: header: expected {...} padded with spaces, found bytes "
                        "%02x to %02x",
                        h->label, text[0], text[used == 0 ? 0 : used - 1]);
    }
    *n_bytes = (size_t)n;
    *n_used = used;
    return R2_OK;
}

r2_status r2i_safetensors_header_read(r2i_safetensors_header *header, int32_t shard,
                                      r2i_arena *arena, r2_error *err) {
    size_t text_bytes = 0, used_bytes = 0;
    json_t *root = NULL;
    header->n_tensors = 0;
    header->metadata = NULL;
    r2_status status = find_text(header, &text_bytes, &used_bytes, err);
    if (status != R2_OK) return status;
    const uint8_t *text = header->bytes + LENGTH_BYTES;
    status = r2i_json_read(&root, header->label, text, used_bytes, &header_limits, err);
    if (status != R2_OK) return status;
    const size_t cap = json_object_size(root), extent_bytes = cap * sizeof(r2i_extent);
    r2i_extent *extents = r2i_heap_take(arena->heap, extent_bytes);
    header->tensors = R2I_ARENA_ARRAY(arena, r2i_safetensor, cap);
    if (extents == NULL || header->tensors == NULL) {
        status = no_memory(header, err);
    } else {
        status = read_entries(header, root, extents, text + text_bytes, shard, arena, err);
    }
    r2i_heap_give(arena->heap, extents, extent_bytes);
    json_decref(root);
    if (status != R2_OK) {
        json_decref(header->metadata);
        header->metadata = NULL;
    }
    return status;
}
