#include "files/state_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "base/hash.h"
#include "files/atomic_write.h"
#include "files/json_read.h"

enum { VERSION = 1, HEX_DIGITS = 16, MAX_BYTES = 16 << 20 };
#define FORMAT "r2lm checkpoint"
/* What every manifest begins with; its own checksum follows. */
#define HEAD "{\n \"checksum\": \""
static const char zeros[] = "0000000000000000";

static const r2i_json_limits limits = { .max_bytes = MAX_BYTES,
                                        .max_values = 1 << 18,
                                        .max_depth = 16 };

void r2i_state_shard_name(char out[R2I_STATE_NAME_BYTES], int32_t index, int32_t n_shards) {
    (void)snprintf(out, R2I_STATE_NAME_BYTES, "state-%" PRId32 "-of-%" PRId32 ".safetensors", index,
                   n_shards);
}

static void print_hex(char out[HEX_DIGITS + 1], uint64_t hash) {
    (void)snprintf(out, HEX_DIGITS + 1, "%016" PRIx64, hash);
}

/* Of a text that begins with HEAD and 16 digits. */
static uint64_t checksum_of(const char *text, size_t n_bytes) {
    const size_t n_before = sizeof HEAD - 1 + HEX_DIGITS;
    r2i_checksum sum;
    r2i_checksum_begin(&sum);
    r2i_checksum_add(&sum, HEAD, sizeof HEAD - 1);
    r2i_checksum_add(&sum, zeros, HEX_DIGITS);
    r2i_checksum_add(&sum, text + n_before, n_bytes - n_before);
    return r2i_checksum_get(&sum);
}

/* ---- writing ---- */

static json_t *shard_to_json(const r2i_state_manifest *m, int32_t i) {
    char name[R2I_STATE_NAME_BYTES], hex[HEX_DIGITS + 1];
    r2i_state_shard_name(name, i, m->n_shards);
    print_hex(hex, m->shards[i].checksum);
    return json_pack("{s:s, s:I, s:s}", "file", name, "bytes", (json_int_t)m->shards[i].n_bytes,
                     "checksum", hex);
}

static json_t *to_json(const r2i_state_manifest *m) {
    json_t *shards = json_array();
    for (int32_t i = 0; i < m->n_shards; i++) {
        if (json_array_append_new(shards, shard_to_json(m, i)) == 0) continue;
        json_decref(shards);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:i, s:I, s:o, s:O}", "checksum", zeros, "format", FORMAT,
                     "version", VERSION, "step", (json_int_t)m->step, "shards", shards, "state",
                     m->state);
}

static r2_status write_text(const char *path, const r2i_buffer *text, r2i_heap *heap,
                            r2_error *err) {
    r2i_atomic_file *file;
    R2I_TRY(r2i_atomic_begin(&file, path, false, heap, err));
    const r2_status status = r2i_atomic_write(file, text->bytes, text->n_bytes, err);
    if (status == R2_OK) return r2i_atomic_commit(file, err);
    r2i_atomic_abandon(file);
    return status;
}

r2_status r2i_state_manifest_write(const r2i_state_manifest *manifest, const char *path,
                                   r2i_heap *heap, r2_error *err) {
    r2i_buffer text;
    char hex[HEX_DIGITS + 1];
    json_t *o = to_json(manifest);
    r2_status status = R2_OK;
    r2i_buffer_init(&text, heap, MAX_BYTES);
    if (o == NULL || json_dump_callback(o, r2i_buffer_append_chunk, &text, JSON_INDENT(1)) != 0 ||
        r2i_buffer_append_text(&text, "\n", NULL) != R2_OK) {
        status = r2i_fail(err, R2_E_NOMEM, "%.150s: no memory for it", path);
    } else {
        print_hex(hex, checksum_of(text.bytes, text.n_bytes));
        memcpy(text.bytes + sizeof HEAD - 1, hex, HEX_DIGITS);
        status = write_text(path, &text, heap, err);
    }
    json_decref(o);
    r2i_buffer_destroy(&text);
    return status;
}

/* ---- reading ---- */

static r2_status check_text(const char *label, const char *text, size_t n_bytes, r2_error *err) {
    const size_t n_head = sizeof HEAD - 1;
    char hex[HEX_DIGITS + 1];
    if (n_bytes < n_head + HEX_DIGITS || memcmp(text, HEAD, n_head) != 0)
        return r2i_fail(err, R2_E_FORMAT, "%.150s: expected a checkpoint's manifest", label);
    print_hex(hex, checksum_of(text, n_bytes));
    if (memcmp(text + n_head, hex, HEX_DIGITS) == 0) return R2_OK;
    return r2i_fail(err, R2_E_CHECKSUM, "%.150s: checksum: expected %s, found \"%.16s\"", label,
                    hex, text + n_head);
}

static r2_status read_shard(r2i_state_shard *out, const json_t *o, const char *label, int32_t index,
                            int32_t n_shards, r2_error *err) {
    const char *name;
    char expected[R2I_STATE_NAME_BYTES];
    int64_t n_bytes;
    uint64_t checksum;
    r2i_state_shard_name(expected, index, n_shards);
    R2I_TRY(r2i_json_get_text(o, label, "file", &name, err));
    R2I_TRY(r2i_json_get_i64(o, label, "bytes", 0, INT64_MAX, &n_bytes, err));
    R2I_TRY(r2i_json_get_hash(o, label, "checksum", &checksum, err));
    if (strcmp(name, expected) != 0)
        return r2i_fail(err, R2_E_FORMAT, "%.150s: file: expected \"%s\", found \"%.40s\"", label,
                        expected, name);
    *out = (r2i_state_shard){ (uint64_t)n_bytes, checksum };
    return R2_OK;
}

static r2_status read_shards(r2i_state_manifest *m, const json_t *o, const char *label,
                             r2i_heap *heap, r2_error *err) {
    const json_t *list;
    R2I_TRY(r2i_json_get_tree(o, label, "shards", JSON_ARRAY, &list, err));
    const size_t n = json_array_size(list);
    if (n < 1 || n > R2I_STATE_MAX_SHARDS)
        return r2i_fail(err, R2_E_FORMAT, "%.150s: shards: expected 1 to %d, found %zu", label,
                        R2I_STATE_MAX_SHARDS, n);
    m->shards = r2i_heap_take(heap, n * sizeof *m->shards);
    if (m->shards == NULL) return r2i_fail(err, R2_E_NOMEM, "%.150s: no memory", label);
    m->n_shards = (int32_t)n;
    for (int32_t i = 0; i < m->n_shards; i++)
        R2I_TRY(
            read_shard(&m->shards[i], json_array_get(list, (size_t)i), label, i, m->n_shards, err));
    return R2_OK;
}

static r2_status from_json(r2i_state_manifest *m, const json_t *o, const char *label,
                           r2i_heap *heap, r2_error *err) {
    const json_t *state;
    R2I_TRY(r2i_json_check_format(o, label, FORMAT, VERSION, err));
    R2I_TRY(r2i_json_get_i64(o, label, "step", 0, INT64_MAX, &m->step, err));
    R2I_TRY(r2i_json_get_tree(o, label, "state", JSON_OBJECT, &state, err));
    m->state = json_incref(json_object_get(o, "state"));
    return read_shards(m, o, label, heap, err);
}

r2_status r2i_state_manifest_read(r2i_state_manifest *out, const char *label, const void *bytes,
                                  size_t n_bytes, r2i_heap *heap, r2_error *err) {
    json_t *o;
    *out = (r2i_state_manifest){ 0 };
    R2I_TRY(check_text(label, bytes, n_bytes, err));
    R2I_TRY(r2i_json_read(&o, label, bytes, n_bytes, &limits, err));
    const r2_status status = from_json(out, o, label, heap, err);
    json_decref(o);
    if (status == R2_OK) return R2_OK;
    r2i_state_manifest_free(out, heap);
    /* A field that is missing is as bad as a number out of its range: the file is malformed. */
    return r2i_fail_file(status == R2_E_NOT_FOUND ? R2_E_RANGE : status, err);
}

void r2i_state_manifest_free(r2i_state_manifest *manifest, r2i_heap *heap) {
    if (manifest->shards != NULL)
        r2i_heap_give(heap, manifest->shards,
                      (size_t)manifest->n_shards * sizeof *manifest->shards);
    json_decref(manifest->state);
    *manifest = (r2i_state_manifest){ 0 };
}
