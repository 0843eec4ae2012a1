/* gguf_write.c - collects a header in memory, then streams header and data. */
#include "files/gguf_write.h"

#include <inttypes.h>
#include <string.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/failure.h"
#include "files/atomic_write.h"
#include "files/gguf_header.h"
#include "files/name_table.h"
#include "base/utf8_valid.h"

enum { MAX_KEY_BYTES = 65535, MAX_NAME_BYTES = 64, DEFAULT_ALIGNMENT = 32 };
static const size_t max_header_bytes = (size_t)1 << 31;

/* Data of one tensor. */
typedef struct {
    const void *bytes; /* NULL: streamed */
    size_t n_bytes;
    uint64_t offset;
    char name[MAX_NAME_BYTES + 1];
} piece;

struct r2i_gguf_writer {
    r2i_heap *heap;
    r2i_atomic_file *file;
    r2_status status;
    r2i_buffer values; /* key, type, value ... as in the file */
    r2i_buffer keys;   /* keys, each terminated */
    r2i_buffer infos;  /* tensor infos as in the file */
    r2i_buffer pieces; /* piece ... */
    size_t n_values, n_tensors;
    uint32_t alignment;
    size_t next;      /* tensor whose data come next */
    size_t n_written; /* of its data */
};

r2_status r2i_gguf_writer_create(r2i_gguf_writer **out, r2i_heap *heap, r2_error *err) {
    *out = r2i_heap_take(heap, sizeof **out);
    if (*out == NULL) return r2i_fail(err, R2_E_NOMEM, "GGUF writer: no memory");
    r2i_gguf_writer *w = *out;
    *w = (r2i_gguf_writer){ .heap = heap, .alignment = DEFAULT_ALIGNMENT };
    r2i_buffer_init(&w->values, heap, max_header_bytes);
    r2i_buffer_init(&w->keys, heap, max_header_bytes);
    r2i_buffer_init(&w->infos, heap, max_header_bytes);
    r2i_buffer_init(&w->pieces, heap, max_header_bytes);
    return R2_OK;
}

void r2i_gguf_writer_destroy(r2i_gguf_writer *writer) {
    if (writer == NULL) return;
    r2i_atomic_abandon(writer->file);
    r2i_buffer_destroy(&writer->values);
    r2i_buffer_destroy(&writer->keys);
    r2i_buffer_destroy(&writer->infos);
    r2i_buffer_destroy(&writer->pieces);
    r2i_heap_give(writer->heap, writer, sizeof *writer);
}

/* ---- collecting ---- */

static void put(r2i_gguf_writer *w, r2i_buffer *to, const void *bytes, size_t n, r2_error *err) {
    if (w->status == R2_OK) w->status = r2i_buffer_append(to, bytes, n, err);
}

static void put_u32(r2i_gguf_writer *w, r2i_buffer *to, uint32_t x, r2_error *err) {
    put(w, to, &x, sizeof x, err);
}

static void put_u64(r2i_gguf_writer *w, r2i_buffer *to, uint64_t x, r2_error *err) {
    put(w, to, &x, sizeof x, err);
}

static void put_text(r2i_gguf_writer *w, r2i_buffer *to, const char *text, size_t n,
                     r2_error *err) {
    put_u64(w, to, n, err);
    put(w, to, text, n, err);
}

/* Is the writer fit for more?  A sticking failure is reported again without its first text. */
static bool is_collecting(r2i_gguf_writer *w, r2_error *err) {
    if (w->status != R2_OK) {
        (void)r2i_fail(err, w->status, "GGUF writer: an earlier call failed");
        return false;
    }
    if (w->file == NULL) return true;
    w->status = r2i_fail(err, R2_E_STATE, "GGUF writer: the header was already written");
    return false;
}

static bool is_key(const char *key) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
    const size_t n = strlen(key);
    return n >= 1 && n <= MAX_KEY_BYTES && key[0] != '.' && strspn(key, allowed) == n;
}

/* Key and type; the value follows. */
static bool begin_value(r2i_gguf_writer *w, const char *key, r2i_gguf_type type, r2_error *err) {
    if (!is_collecting(w, err)) return false;
    if (!is_key(key)) {
        w->status = r2i_fail(err, R2_E_ARGUMENT,
                             "GGUF writer: key \"%.64s\": expected 1..65535 bytes of "
                             "a-z 0-9 _ . -",
                             key);
        return false;
    }
    put(w, &w->keys, key, strlen(key) + 1, err);
    put_text(w, &w->values, key, strlen(key), err);
    put_u32(w, &w->values, (uint32_t)type, err);
    w->n_values++;
    return w->status == R2_OK;
}

static bool fits(r2i_gguf_type type, int64_t x) {
    switch (type) {
    case R2I_GGUF_U8:
        return x >= 0 && x <= UINT8_MAX;
    case R2I_GGUF_I8:
        return x >= INT8_MIN && x <= INT8_MAX;
    case R2I_GGUF_U16:
        return x >= 0 && x <= UINT16_MAX;
    case R2I_GGUF_I16:
        return x >= INT16_MIN && x <= INT16_MAX;
    case R2I_GGUF_U32:
        return x >= 0 && x <= UINT32_MAX;
    case R2I_GGUF_I32:
        return x >= INT32_MIN && x <= INT32_MAX;
    case R2I_GGUF_U64:
        return x >= 0;
    case R2I_GGUF_I64:
        return true;
    default:
        return false;
    }
}

static r2_status set_alignment(r2i_gguf_writer *w, r2i_gguf_type type, int64_t x, r2_error *err) {
    if (type != R2I_GGUF_U32 || x < 8 || x > 65536 || (x & (x - 1)) != 0) {
        w->status = r2i_fail(err, R2_E_RANGE,
                             "GGUF writer: general.alignment: expected a u32 power of "
                             "two in 8..65536, found %s %" PRId64,
                             r2i_gguf_type_name(type), x);
    } else if (w->n_tensors != 0) {
        w->status =
            r2i_fail(err, R2_E_STATE, "GGUF writer: general.alignment: expected before tensors");
    } else {
        w->alignment = (uint32_t)x;
    }
    return w->status;
}

r2_status r2i_gguf_writer_add_integer(r2i_gguf_writer *writer, const char *key, r2i_gguf_type type,
                                      int64_t x, r2_error *err) {
    if (writer->status == R2_OK && !fits(type, x)) {
        writer->status = r2i_fail(err, R2_E_RANGE, "GGUF writer: %s: %" PRId64 " is no %s", key, x,
                                  type < R2I_GGUF_N_TYPES ? r2i_gguf_type_name(type) : "type");
        return writer->status;
    }
    if (writer->status == R2_OK && strcmp(key, "general.alignment") == 0 &&
        set_alignment(writer, type, x, err) != R2_OK) {
        return writer->status;
    }
    if (begin_value(writer, key, type, err)) {
        put(writer, &writer->values, &x, r2i_gguf_type_bytes(type),
            err); /* little-endian machine */
    }
    return writer->status;
}

r2_status r2i_gguf_writer_add_f32(r2i_gguf_writer *writer, const char *key, float x,
                                  r2_error *err) {
    if (begin_value(writer, key, R2I_GGUF_F32, err))
        put(writer, &writer->values, &x, sizeof x, err);
    return writer->status;
}

r2_status r2i_gguf_writer_add_bool(r2i_gguf_writer *writer, const char *key, bool x,
                                   r2_error *err) {
    const uint8_t byte = x ? 1 : 0;
    if (begin_value(writer, key, R2I_GGUF_BOOL, err)) put(writer, &writer->values, &byte, 1, err);
    return writer->status;
}

static bool check_text(r2i_gguf_writer *w, const char *key, const char *text, size_t n,
                       r2_error *err) {
    if (w->status == R2_OK && !r2i_utf8_is_valid(text, n)) {
        w->status = r2i_fail(err, R2_E_ARGUMENT, "GGUF writer: %s: expected UTF-8 text", key);
    }
    return w->status == R2_OK;
}

r2_status r2i_gguf_writer_add_text(r2i_gguf_writer *writer, const char *key, const char *text,
                                   size_t n_bytes, r2_error *err) {
    if (begin_value(writer, key, R2I_GGUF_TEXT, err) &&
        check_text(writer, key, text, n_bytes, err)) {
        put_text(writer, &writer->values, text, n_bytes, err);
    }
    return writer->status;
}

r2_status r2i_gguf_writer_add_array(r2i_gguf_writer *writer, const char *key, r2i_gguf_type element,
                                    const void *elements, size_t n, r2_error *err) {
    size_t n_bytes;
    if (element >= R2I_GGUF_N_TYPES || r2i_gguf_type_bytes(element) == 0 ||
        !r2i_mul_size(n, r2i_gguf_type_bytes(element), &n_bytes)) {
        writer->status =
            r2i_fail(err, R2_E_ARGUMENT, "GGUF writer: %s: expected elements of a fixed size", key);
    } else if (begin_value(writer, key, R2I_GGUF_ARRAY, err)) {
        put_u32(writer, &writer->values, (uint32_t)element, err);
        put_u64(writer, &writer->values, n, err);
        put(writer, &writer->values, elements, n_bytes, err);
    }
    return writer->status;
}

r2_status r2i_gguf_writer_add_texts(r2i_gguf_writer *writer, const char *key,
                                    const r2i_gguf_text *texts, size_t n, r2_error *err) {
    if (!begin_value(writer, key, R2I_GGUF_ARRAY, err)) return writer->status;
    put_u32(writer, &writer->values, R2I_GGUF_TEXT, err);
    put_u64(writer, &writer->values, n, err);
    for (size_t i = 0; i < n; i++) {
        if (!check_text(writer, key, texts[i].bytes, texts[i].n_bytes, err)) break;
        put_text(writer, &writer->values, texts[i].bytes, texts[i].n_bytes, err);
    }
    return writer->status;
}

r2_status r2i_gguf_writer_add_value(r2i_gguf_writer *writer, const r2i_gguf_value *value,
                                    r2_error *err) {
    if (r2i_gguf_is_integer(value->type) && value->type != R2I_GGUF_U64) {
        return r2i_gguf_writer_add_integer(writer, value->key, value->type,
                                           r2i_gguf_integer_at(value, 0),
                                           err); /* may set alignment */
    }
    if (!begin_value(writer, value->key, value->type, err)) return writer->status;
    if (value->type == R2I_GGUF_ARRAY) {
        put_u32(writer, &writer->values, (uint32_t)value->element_type, err);
        put_u64(writer, &writer->values, value->n_elements, err);
    }
    put(writer, &writer->values, value->bytes, value->n_bytes, err);
    return writer->status;
}

/* Bytes of the tensor's data, or 0 when its shape is impossible. */
static size_t tensor_bytes(r2i_type type, int32_t n_dims, const int64_t *ne) {
    const r2i_type_info *info = r2i_type_find((uint64_t)type);
    size_t n_rows = 1, n_bytes;
    if (info == NULL || n_dims < 1 || n_dims > R2I_TENSOR_DIMS || ne[0] < 1) return 0;
    if (ne[0] > (int64_t)1 << 40 || ne[0] % info->block_elements != 0) return 0;
    for (int32_t i = 1; i < n_dims; i++) {
        if (ne[i] < 1 || !r2i_mul_size(n_rows, (size_t)ne[i], &n_rows)) return 0;
    }
    const size_t row = r2i_type_row_bytes(type, (size_t)ne[0]);
    return r2i_mul_size(n_rows, row, &n_bytes) ? n_bytes : 0;
}

/* Where the next tensor's data begin. */
static bool next_offset(const r2i_gguf_writer *w, uint64_t *offset) {
    *offset = 0;
    if (w->n_tensors == 0) return true;
    const piece *last = (const piece *)(const void *)w->pieces.bytes + (w->n_tensors - 1);
    size_t end;
    return r2i_add_size((size_t)last->offset, last->n_bytes, &end) &&
           r2i_round_up_size(end, w->alignment, &end) && (*offset = end, true);
}

r2_status r2i_gguf_writer_add_tensor(r2i_gguf_writer *writer, const char *name, r2i_type type,
                                     int32_t n_dims, const int64_t *ne, const void *bytes,
                                     r2_error *err) {
    r2i_gguf_writer *w = writer;
    if (!is_collecting(w, err)) return w->status;
    const size_t n_name = strlen(name);
    piece p = { .bytes = bytes, .n_bytes = tensor_bytes(type, n_dims, ne) };
    if (n_name < 1 || n_name > MAX_NAME_BYTES || !r2i_utf8_is_valid(name, n_name)) {
        w->status = r2i_fail(err, R2_E_ARGUMENT,
                             "GGUF writer: tensor name: expected 1..64 bytes of UTF-8, "
                             "found \"%.80s\"",
                             name);
    } else if (p.n_bytes == 0 || !next_offset(w, &p.offset)) {
        w->status = r2i_fail(err, R2_E_ARGUMENT,
                             "GGUF writer: %s: expected 1..4 dimensions and rows of "
                             "whole blocks",
                             name);
    }
    if (w->status != R2_OK) return w->status;
    memcpy(p.name, name, n_name);
    put_text(w, &w->infos, name, n_name, err);
    put_u32(w, &w->infos, (uint32_t)n_dims, err);
    for (int32_t i = 0; i < n_dims; i++) put_u64(w, &w->infos, (uint64_t)ne[i], err);
    put_u32(w, &w->infos, (uint32_t)type, err);
    put_u64(w, &w->infos, p.offset, err);
    put(w, &w->pieces, &p, sizeof p, err);
    w->n_tensors++;
    return w->status;
}

/* ---- writing ---- */

static const piece *piece_at(const r2i_gguf_writer *w, size_t i) {
    return (const piece *)(const void *)w->pieces.bytes + i;
}

static r2_status check_unique(r2i_gguf_writer *w, r2i_arena *arena, r2_error *err) {
    r2i_name_table keys, names;
    if (!r2i_name_table_init(&keys, arena, w->n_values) ||
        !r2i_name_table_init(&names, arena, w->n_tensors)) {
        return r2i_fail(err, R2_E_NOMEM, "GGUF writer: no memory for %zu names",
                        w->n_values + w->n_tensors);
    }
    const char *key = w->keys.bytes;
    for (size_t i = 0; i < w->n_values; i++, key += strlen(key) + 1) {
        if (r2i_name_table_add(&keys, key, strlen(key), 0) != R2I_NAME_ADDED) {
            return r2i_fail(err, R2_E_FORMAT, "GGUF writer: key %s: expected once, found twice",
                            key);
        }
    }
    for (size_t i = 0; i < w->n_tensors; i++) {
        const char *name = piece_at(w, i)->name;
        if (r2i_name_table_add(&names, name, strlen(name), 0) != R2I_NAME_ADDED) {
            return r2i_fail(err, R2_E_FORMAT, "GGUF writer: tensor %s: expected once, found twice",
                            name);
        }
    }
    return R2_OK;
}

static void emit(r2i_gguf_writer *w, const void *bytes, size_t n, r2_error *err) {
    if (w->status == R2_OK) w->status = r2i_atomic_write(w->file, bytes, n, err);
}

/* Zeros up to the next multiple of the alignment. */
static void pad(r2i_gguf_writer *w, r2_error *err) {
    if (w->status != R2_OK) return;
    const uint64_t over = r2i_atomic_n_bytes(w->file) % w->alignment;
    if (over != 0) w->status = r2i_atomic_write_zeros(w->file, (size_t)(w->alignment - over), err);
}

/* Writes the tensors at hand up to the next one that is streamed. */
static void write_known(r2i_gguf_writer *w, r2_error *err) {
    while (w->status == R2_OK && w->next < w->n_tensors) {
        const piece *p = piece_at(w, w->next);
        if (p->bytes == NULL) return;
        emit(w, p->bytes, p->n_bytes, err);
        pad(w, err);
        w->next++;
    }
}

r2_status r2i_gguf_writer_begin(r2i_gguf_writer *writer, const char *path, r2_error *err) {
    r2i_gguf_writer *w = writer;
    const uint32_t version = 3;
    const uint64_t counts[2] = { w->n_tensors, w->n_values };
    if (!is_collecting(w, err)) return w->status;
    r2i_arena scratch;
    r2i_arena_init(&scratch, w->heap, 1 << 16, 0);
    w->status = check_unique(w, &scratch, err);
    r2i_arena_destroy(&scratch);
    if (w->status != R2_OK) return w->status;
    w->status = r2i_atomic_begin(&w->file, path, false, w->heap, err);
    emit(w, "GGUF", 4, err);
    emit(w, &version, sizeof version, err);
    emit(w, counts, sizeof counts, err);
    emit(w, w->values.bytes, w->values.n_bytes, err);
    emit(w, w->infos.bytes, w->infos.n_bytes, err);
    pad(w, err);
    write_known(w, err);
    return w->status;
}

r2_status r2i_gguf_writer_write(r2i_gguf_writer *writer, const void *bytes, size_t n_bytes,
                                r2_error *err) {
    r2i_gguf_writer *w = writer;
    if (w->status != R2_OK) return r2i_fail(err, w->status, "GGUF writer: an earlier call failed");
    if (w->file == NULL || w->next >= w->n_tensors) {
        return w->status = r2i_fail(err, R2_E_STATE, "GGUF writer: no tensor waits for data");
    }
    const piece *p = piece_at(w, w->next);
    if (n_bytes > p->n_bytes - w->n_written) {
        return w->status = r2i_fail(err, R2_E_ARGUMENT,
                                    "GGUF writer: %s: expected at most %zu more bytes, "
                                    "found %zu",
                                    p->name, p->n_bytes - w->n_written, n_bytes);
    }
    emit(w, bytes, n_bytes, err);
    w->n_written += n_bytes;
    if (w->n_written == p->n_bytes) {
        pad(w, err);
        w->n_written = 0;
        w->next++;
        write_known(w, err);
    }
    return w->status;
}

r2_status r2i_gguf_writer_finish(r2i_gguf_writer *writer, r2_error *err) {
    r2i_gguf_writer *w = writer;
    if (w->status != R2_OK) return r2i_fail(err, w->status, "GGUF writer: an earlier call failed");
    if (w->file == NULL || w->next < w->n_tensors) {
        return w->status = r2i_fail(err, R2_E_STATE, "GGUF writer: %s: data are missing",
                                    w->file == NULL ? "header" : piece_at(w, w->next)->name);
    }
    const r2_status status = r2i_atomic_commit(w->file, err);
    w->file = NULL;
    w->status = status != R2_OK ? status : R2_E_STATE; /* nothing may follow */
    return status;
}
