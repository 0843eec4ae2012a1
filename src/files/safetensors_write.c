#include "files/safetensors_write.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/failure.h"
#include "files/atomic_write.h"
#include "files/safetensors_header.h"

/* Data of one tensor. */
typedef struct {
    const void *bytes; /* NULL: streamed */
    size_t n_bytes;
} piece;

struct r2i_safetensors_writer {
    r2i_heap *heap;
    r2i_atomic_file *file;
    r2i_checksum *sum; /* NULL: none is wanted */
    r2_status status;  /* of the first failure; sticks */
    json_t *root;     /* the header */
    r2i_buffer pieces;
    size_t n_tensors;
    uint64_t data_bytes;
    size_t next;      /* tensor whose data come next */
    size_t n_written; /* of its data */
};

r2_status r2i_safetensors_writer_create(r2i_safetensors_writer **out, r2i_heap *heap,
                                        r2_error *err) {
    json_t *root = json_object();
    *out = r2i_heap_take(heap, sizeof **out);
    if (*out == NULL || root == NULL) {
        r2i_heap_give(heap, *out, sizeof **out);
        json_decref(root);
        *out = NULL;
        return r2i_fail(err, R2_E_NOMEM, "safetensors writer: no memory");
    }
    **out = (r2i_safetensors_writer){ .heap = heap, .root = root };
    r2i_buffer_init(&(*out)->pieces, heap, (size_t)1 << 31);
    return R2_OK;
}

void r2i_safetensors_writer_destroy(r2i_safetensors_writer *writer) {
    if (writer == NULL) return;
    r2i_atomic_abandon(writer->file);
    json_decref(writer->root);
    r2i_buffer_destroy(&writer->pieces);
    r2i_heap_give(writer->heap, writer, sizeof *writer);
}

static bool is_collecting(r2i_safetensors_writer *w, r2_error *err) {
    if (w->status != R2_OK) {
        (void)r2i_fail(err, w->status, "safetensors writer: an earlier call failed");
        return false;
    }
    if (w->file == NULL) return true;
    w->status = r2i_fail(err, R2_E_STATE, "safetensors writer: the header was already written");
    return false;
}

r2_status r2i_safetensors_writer_add_metadata(r2i_safetensors_writer *writer, const char *key,
                                              const char *text, r2_error *err) {
    if (!is_collecting(writer, err)) return writer->status;
    json_t *metadata = json_object_get(writer->root, "__metadata__");
    if (metadata == NULL) {
        metadata = json_object();
        if (json_object_set_new(writer->root, "__metadata__", metadata) != 0) metadata = NULL;
    }
    json_t *value = json_string(text); /* NULL when it is no UTF-8 */
    if (metadata == NULL || value == NULL || json_object_set_new(metadata, key, value) != 0) {
        writer->status = r2i_fail(err, R2_E_ARGUMENT,
                                  "safetensors writer: metadata %s: expected UTF-8 text", key);
    }
    return writer->status;
}

/* False when the product overflows or a dimension is negative. */
static bool tensor_bytes(r2i_dtype dtype, int32_t n_dims, const int64_t *shape, size_t *n_bytes) {
    *n_bytes = (size_t)r2i_dtype_bits(dtype) / 8;
    if (n_dims < 0 || n_dims > R2I_SAFETENSORS_DIMS) return false;
    for (int32_t i = 0; i < n_dims; i++) {
        if (shape[i] < 0 || !r2i_mul_size(*n_bytes, (size_t)shape[i], n_bytes)) return false;
    }
    return true;
}

/* {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}, or NULL without memory. */
static json_t *make_entry(r2i_dtype dtype, int32_t n_dims, const int64_t *shape, uint64_t begin,
                          uint64_t end) {
    json_t *dims = json_array();
    for (int32_t i = 0; i < n_dims && dims != NULL; i++) {
        if (json_array_append_new(dims, json_integer(shape[i])) != 0) {
            json_decref(dims);
            dims = NULL;
        }
    }
    if (dims == NULL) return NULL;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", r2i_dtype_name(dtype), "shape", dims,
                     "data_offsets", (json_int_t)begin, (json_int_t)end);
}

r2_status r2i_safetensors_writer_add_tensor(r2i_safetensors_writer *writer, const char *name,
                                            r2i_dtype dtype, int32_t n_dims, const int64_t *shape,
                                            const void *bytes, r2_error *err) {
    r2i_safetensors_writer *w = writer;
    if (!is_collecting(w, err)) return w->status;
    piece p = { .bytes = bytes };
    uint64_t end;
    if (name[0] == '\0' || strcmp(name, "__metadata__") == 0 ||
        json_object_get(w->root, name) != NULL) {
        w->status = r2i_fail(err, R2_E_ARGUMENT,
                             "safetensors writer: tensor name \"%s\": expected a new one", name);
    } else if (!tensor_bytes(dtype, n_dims, shape, &p.n_bytes) ||
               !r2i_add_u64(w->data_bytes, p.n_bytes, &end) || end > INT64_MAX) {
        w->status = r2i_fail(err, R2_E_ARGUMENT,
                             "safetensors writer: %s: shape: expected at most 8 "
                             "dimensions of at least 0",
                             name);
    } else if (json_object_set_new(w->root, name,
                                   make_entry(dtype, n_dims, shape, w->data_bytes, end)) != 0) {
        w->status = r2i_fail(err, R2_E_ARGUMENT,
                             "safetensors writer: %s: expected a UTF-8 name (or no "
                             "memory)",
                             name);
    } else {
        w->data_bytes = end;
        w->status = r2i_buffer_append(&w->pieces, &p, sizeof p, err);
        w->n_tensors++;
    }
    return w->status;
}

static const piece *piece_at(const r2i_safetensors_writer *w, size_t i) {
    return (const piece *)(const void *)w->pieces.bytes + i;
}

static void emit(r2i_safetensors_writer *w, const void *bytes, size_t n, r2_error *err) {
    if (w->status != R2_OK) return;
    w->status = r2i_atomic_write(w->file, bytes, n, err);
    if (w->sum != NULL) r2i_checksum_add(w->sum, bytes, n);
}

/* Tensors at hand, and empty ones, up to the next one that is streamed. */
static void write_known(r2i_safetensors_writer *w, r2_error *err) {
    while (w->status == R2_OK && w->next < w->n_tensors) {
        const piece *p = piece_at(w, w->next);
        if (p->bytes == NULL && p->n_bytes != 0) return;
        emit(w, p->bytes, p->n_bytes, err);
        w->next++;
    }
}

typedef struct {
    r2i_buffer text;
    r2_status status;
} header_text;

static int append_to_header(const char *text, size_t n_bytes, void *header) {
    header_text *h = header;
    h->status = r2i_buffer_append(&h->text, text, n_bytes, NULL);
    return h->status == R2_OK ? 0 : -1;
}

/* Length and text, padded with spaces so that the data begin at a multiple of 8. */
static void write_header(r2i_safetensors_writer *w, r2_error *err) {
    header_text h = { .status = R2_OK };
    static const char spaces[8] = "        ";
    r2i_buffer_init(&h.text, w->heap, R2I_SAFETENSORS_MAX_HEADER - sizeof spaces);
    if (json_dump_callback(w->root, append_to_header, &h, JSON_COMPACT) != 0) {
        w->status = h.status == R2_E_LIMIT
                        ? r2i_fail(err, R2_E_LIMIT,
                                   "safetensors writer: the header grows beyond 100 MB")
                        : r2i_fail(err, R2_E_NOMEM, "safetensors writer: no memory for the header");
    } else {
        const size_t n_spaces = (8 - h.text.n_bytes % 8) % 8;
        const uint64_t n = h.text.n_bytes + n_spaces;
        emit(w, &n, sizeof n, err);
        emit(w, h.text.bytes, h.text.n_bytes, err);
        emit(w, spaces, n_spaces, err);
    }
    r2i_buffer_destroy(&h.text);
}

void r2i_safetensors_writer_sum(r2i_safetensors_writer *writer, r2i_checksum *sum) {
    r2i_checksum_begin(sum);
    writer->sum = sum;
}

r2_status r2i_safetensors_writer_begin(r2i_safetensors_writer *writer, const char *path,
                                       r2_error *err) {
    r2i_safetensors_writer *w = writer;
    if (!is_collecting(w, err)) return w->status;
    w->status = r2i_atomic_begin(&w->file, path, false, w->heap, err);
    if (w->status != R2_OK) return w->status;
    write_header(w, err);
    write_known(w, err);
    return w->status;
}

r2_status r2i_safetensors_writer_write(r2i_safetensors_writer *writer, const void *bytes,
                                       size_t n_bytes, r2_error *err) {
    r2i_safetensors_writer *w = writer;
    if (w->status != R2_OK)
        return r2i_fail(err, w->status, "safetensors writer: an earlier call failed");
    if (w->file == NULL || w->next >= w->n_tensors) {
        return w->status =
                   r2i_fail(err, R2_E_STATE, "safetensors writer: no tensor waits for data");
    }
    const piece *p = piece_at(w, w->next);
    if (n_bytes > p->n_bytes - w->n_written) {
        return w->status = r2i_fail(err, R2_E_ARGUMENT,
                                    "safetensors writer: tensor %zu: expected at most "
                                    "%zu more bytes, found %zu",
                                    w->next, p->n_bytes - w->n_written, n_bytes);
    }
    emit(w, bytes, n_bytes, err);
    w->n_written += n_bytes;
    if (w->n_written == p->n_bytes) {
        w->n_written = 0;
        w->next++;
        write_known(w, err);
    }
    return w->status;
}

r2_status r2i_safetensors_writer_finish(r2i_safetensors_writer *writer, r2_error *err) {
    r2i_safetensors_writer *w = writer;
    if (w->status != R2_OK)
        return r2i_fail(err, w->status, "safetensors writer: an earlier call failed");
    if (w->file == NULL || w->next < w->n_tensors) {
        return w->status = r2i_fail(err, R2_E_STATE,
                                    "safetensors writer: data of tensor %zu are missing", w->next);
    }
    const r2_status status = r2i_atomic_commit(w->file, err);
    w->file = NULL;
    w->status = status != R2_OK ? status : R2_E_STATE; /* nothing may follow */
    return status;
}
