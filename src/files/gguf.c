/* gguf.c - a GGUF model as one or several mapped files. */
#include "files/gguf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "files/gguf_header.h"
#include "files/mapping.h"

enum { MAX_SHARDS = 1024, SHARD_SUFFIX_BYTES = 20 /* "-00001-of-00003.gguf" */ };

struct r2i_gguf {
    r2i_gguf_header first; /* its metadata are the model's */
    char *architecture;
    int32_t n_shards;
    r2i_mapping *mappings; /* [n_shards]; NULL for a file in memory */
    uint64_t file_bytes;
    size_t n_tensors;
    r2i_stored_tensor *tensors; /* [n_tensors] of all shards, in order */
    r2i_name_table tensor_names;
    r2i_arena *arena;
};

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static r2_status no_memory(const r2i_gguf *g, r2_error *err) {
    return r2i_fail(err, R2_E_NOMEM, "%s: no memory for its header", g->first.label);
}

static r2_status copy_architecture(r2i_gguf *g, r2_error *err) {
    r2i_gguf_text text = { "", 0 };
    g->architecture = NULL;
    const r2_status status = r2i_gguf_try_text(g, "general.architecture", &text, err);
    if (status != R2_OK) return status;
    if (text.n_bytes > 64 || memchr(text.bytes, '\0', text.n_bytes) != NULL) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: general.architecture: expected at most 64 bytes "
                        "without NUL, found %zu bytes",
                        g->first.label, text.n_bytes);
    }
    g->architecture = r2i_arena_copy_text(g->arena, text.bytes, text.n_bytes);
    return g->architecture == NULL ? no_memory(g, err) : R2_OK;
}

static r2_status index_tensors(r2i_gguf *g, r2_error *err) {
    if (!r2i_name_table_init(&g->tensor_names, g->arena, g->n_tensors)) return no_memory(g, err);
    for (size_t i = 0; i < g->n_tensors; i++) {
        const char *name = g->tensors[i].name;
        switch (r2i_name_table_add(&g->tensor_names, name, strlen(name), (uint32_t)i)) {
        case R2I_NAME_ADDED:
            break;
        case R2I_NAME_DUPLICATE:
            return r2i_fail(err, R2_E_FORMAT, "%s: tensor %s: expected once, found twice",
                            g->first.label, name);
        case R2I_NAME_CROWDED:
            return r2i_fail(err, R2_E_LIMIT, "%s: tensor %s: names are made to collide",
                            g->first.label, name);
        }
    }
    return R2_OK;
}

/* Value of one of the split.* keys; `fallback` when absent. */
static r2_status get_split(const r2i_gguf_header *h, const char *key, int64_t max, int64_t fallback,
                           int64_t *out, r2_error *err) {
    const r2i_gguf_value *value = r2i_gguf_header_find(h, key);
    *out = fallback;
    if (value == NULL) return R2_OK;
    if (!r2i_gguf_is_integer(value->type)) {
        return r2i_fail(err, R2_E_FORMAT, "%s: %s: expected an integer, found type %s", h->label,
                        key, r2i_gguf_type_name(value->type));
    }
    *out = r2i_gguf_integer_at(value, 0);
    if (*out >= 0 && *out <= max) return R2_OK;
    return r2i_fail(err, R2_E_RANGE, "%s: %s: expected 0..%" PRId64 ", found %" PRId64, h->label,
                    key, max, *out);
}

/* Replaces "00001-of-00003" in a copy of the first shard's path. */
static r2_status shard_path(const r2i_gguf *g, const char *first, int32_t shard, int32_t n_shards,
                            char **out, r2_error *err) {
    const size_t n = strlen(first);
    char suffix[40];
    (void)snprintf(suffix, sizeof suffix, "-%05" PRId32 "-of-%05" PRId32 ".gguf", 1, n_shards);
    if (n < SHARD_SUFFIX_BYTES || strcmp(first + n - SHARD_SUFFIX_BYTES, suffix) != 0) {
        return r2i_fail(err, R2_E_MISMATCH,
                        "%s: file name: expected the first of %" PRId32 " shards to end in %s",
                        g->first.label, n_shards, suffix);
    }
    *out = r2i_arena_copy_text(g->arena, first, n);
    if (*out == NULL) return no_memory(g, err);
    (void)snprintf(suffix, sizeof suffix, "-%05" PRId32 "-of-%05" PRId32 ".gguf", shard + 1,
                   n_shards);
    memcpy(*out + n - SHARD_SUFFIX_BYTES, suffix, SHARD_SUFFIX_BYTES);
    return R2_OK;
}

static r2_status check_shard(const r2i_gguf_header *h, int32_t shard, int32_t n_shards,
                             r2_error *err) {
    int64_t number, count;
    r2_status status = get_split(h, "split.no", UINT16_MAX, 0, &number, err);
    if (status == R2_OK) status = get_split(h, "split.count", UINT16_MAX, 0, &count, err);
    if (status != R2_OK) return status;
    if (number == shard && count == n_shards) return R2_OK;
    return r2i_fail(err, R2_E_MISMATCH,
                    "%s: expected shard %" PRId32 " of %" PRId32 ", found shard %" PRId64
                    " of %" PRId64,
                    h->label, shard + 1, n_shards, number + 1, count);
}

static r2_status read_shard(r2i_gguf *g, const char *path, int32_t shard, r2i_gguf_header *h,
                            r2_error *err) {
    char *other = NULL;
    r2_status status = shard_path(g, path, shard, g->n_shards, &other, err);
    if (status == R2_OK) status = r2i_mapping_open(&g->mappings[shard], other, err);
    if (status != R2_OK) return status;
    const r2i_mapping *m = &g->mappings[shard];
    *h = (r2i_gguf_header){ .label = name_of(other), .bytes = m->bytes, .n_bytes = m->n_bytes };
    status = r2i_gguf_header_read(h, shard, g->arena, err);
    if (status != R2_OK) return status;
    g->file_bytes += m->n_bytes;
    return check_shard(h, shard, g->n_shards, err);
}

/* Appends a shard's tensors to the model's. */
static r2_status append_tensors(r2i_gguf *g, const r2i_gguf_header *h, r2_error *err) {
    r2i_stored_tensor *all =
        R2I_ARENA_ARRAY(g->arena, r2i_stored_tensor, g->n_tensors + h->n_tensors);
    if (all == NULL) return no_memory(g, err);
    if (g->n_tensors != 0) memcpy(all, g->tensors, g->n_tensors * sizeof *all);
    if (h->n_tensors != 0) memcpy(all + g->n_tensors, h->tensors, h->n_tensors * sizeof *all);
    g->tensors = all;
    g->n_tensors += h->n_tensors;
    return R2_OK;
}

static r2_status read_other_shards(r2i_gguf *g, const char *path, r2_error *err) {
    int64_t total;
    r2_status status = check_shard(&g->first, 0, g->n_shards, err);
    for (int32_t shard = 1; shard < g->n_shards && status == R2_OK; shard++) {
        r2i_gguf_header h;
        status = read_shard(g, path, shard, &h, err);
        if (status == R2_OK) status = append_tensors(g, &h, err);
    }
    if (status != R2_OK) return status;
    status =
        get_split(&g->first, "split.tensors.count", INT32_MAX, (int64_t)g->n_tensors, &total, err);
    if (status != R2_OK || total == (int64_t)g->n_tensors) return status;
    return r2i_fail(err, R2_E_MISMATCH,
                    "%s: split.tensors.count: expected %zu as in the %" PRId32
                    " shards, found %" PRId64,
                    g->first.label, g->n_tensors, g->n_shards, total);
}

/* Everything after the first file's bytes are at hand; path is NULL for a file in memory. */
static r2_status read_model(r2i_gguf *g, const char *path, r2_error *err) {
    int64_t n_shards;
    r2_status status = r2i_gguf_header_read(&g->first, 0, g->arena, err);
    if (status == R2_OK)
        status = get_split(&g->first, "split.count", MAX_SHARDS, 1, &n_shards, err);
    if (status == R2_OK) status = copy_architecture(g, err);
    if (status != R2_OK) return status;
    g->tensors = g->first.tensors;
    g->n_tensors = g->first.n_tensors;
    if (n_shards > 1) {
        if (path == NULL) {
            return r2i_fail(err, R2_E_UNSUPPORTED,
                            "%s: split.count: expected one whole file in "
                            "memory, found a shard of %" PRId64,
                            g->first.label, n_shards);
        }
        r2i_mapping *all = R2I_ARENA_ARRAY(g->arena, r2i_mapping, (size_t)n_shards);
        if (all == NULL) return no_memory(g, err);
        for (int64_t i = 1; i < n_shards; i++) all[i].fd = -1;
        all[0] = g->mappings[0];
        g->mappings = all;
        g->n_shards = (int32_t)n_shards;
        status = read_other_shards(g, path, err);
        if (status != R2_OK) return status;
    }
    return index_tensors(g, err);
}

r2_status r2i_gguf_open(r2i_gguf **out, const char *path, r2i_arena *arena, r2_error *err) {
    const r2i_arena_mark mark = r2i_arena_get_mark(arena);
    *out = NULL;
    r2i_gguf *g = R2I_ARENA_NEW(arena, r2i_gguf);
    char *label = r2i_arena_copy_text(arena, name_of(path), strlen(name_of(path)));
    r2i_mapping *mapping = R2I_ARENA_NEW(arena, r2i_mapping);
    if (g == NULL || label == NULL || mapping == NULL) {
        r2i_arena_rewind(arena, mark);
        return r2i_fail(err, R2_E_NOMEM, "%s: no memory for its header", path);
    }
    *g = (r2i_gguf){
        .arena = arena, .first = { .label = label }, .mappings = mapping, .n_shards = 1
    };
    r2_status status = r2i_mapping_open(mapping, path, err);
    if (status == R2_OK) {
        g->first.bytes = mapping->bytes;
        g->first.n_bytes = mapping->n_bytes;
        g->file_bytes = mapping->n_bytes;
        status = read_model(g, path, err);
    }
    if (status != R2_OK) {
        r2i_gguf_close(g);
        r2i_arena_rewind(arena, mark);
        return status;
    }
    *out = g;
    return R2_OK;
}

r2_status r2i_gguf_open_memory(r2i_gguf **out, const char *label, const void *bytes, size_t n_bytes,
                               r2i_arena *arena, r2_error *err) {
    const r2i_arena_mark mark = r2i_arena_get_mark(arena);
    *out = NULL;
    r2i_gguf *g = R2I_ARENA_NEW(arena, r2i_gguf);
    char *own_label = r2i_arena_copy_text(arena, label, strlen(label));
    if (g == NULL || own_label == NULL) {
        r2i_arena_rewind(arena, mark);
        return r2i_fail(err, R2_E_NOMEM, "%s: no memory for its header", label);
    }
    *g = (r2i_gguf){ .arena = arena,
                     .n_shards = 1,
                     .file_bytes = n_bytes,
                     .first = { .label = own_label, .bytes = bytes, .n_bytes = n_bytes } };
    const r2_status status = read_model(g, NULL, err);
    if (status != R2_OK) {
        r2i_arena_rewind(arena, mark);
        return status;
    }
    *out = g;
    return R2_OK;
}

void r2i_gguf_close(r2i_gguf *gguf) {
    if (gguf == NULL || gguf->mappings == NULL) return;
    for (int32_t i = 0; i < gguf->n_shards; i++) r2i_mapping_close(&gguf->mappings[i]);
}

const char *r2i_gguf_label(const r2i_gguf *gguf) { return gguf->first.label; }
const char *r2i_gguf_architecture(const r2i_gguf *gguf) { return gguf->architecture; }
int32_t r2i_gguf_n_shards(const r2i_gguf *gguf) { return gguf->n_shards; }
uint64_t r2i_gguf_file_bytes(const r2i_gguf *gguf) { return gguf->file_bytes; }

bool r2i_gguf_is_intact(const r2i_gguf *gguf) {
    if (gguf->mappings == NULL) return true;
    for (int32_t i = 0; i < gguf->n_shards; i++) {
        if (!r2i_mapping_is_intact(&gguf->mappings[i])) return false;
    }
    return true;
}

size_t r2i_gguf_n_tensors(const r2i_gguf *gguf) { return gguf->n_tensors; }

const r2i_stored_tensor *r2i_gguf_tensor_at(const r2i_gguf *gguf, size_t i) {
    R2I_ASSERT(i < gguf->n_tensors);
    return &gguf->tensors[i];
}

const r2i_stored_tensor *r2i_gguf_find_tensor(const r2i_gguf *gguf, const char *name) {
    const int64_t i = r2i_name_table_find(&gguf->tensor_names, name, strlen(name));
    return i < 0 ? NULL : &gguf->tensors[i];
}

void r2i_gguf_forget(const r2i_gguf *gguf, const r2i_stored_tensor *tensor) {
    if (gguf->mappings == NULL) return;
    r2i_mapping_forget(&gguf->mappings[tensor->shard], tensor->bytes, tensor->n_bytes);
}

size_t r2i_gguf_n_values(const r2i_gguf *gguf) { return gguf->first.n_values; }

const r2i_gguf_value *r2i_gguf_value_at(const r2i_gguf *gguf, size_t i) {
    R2I_ASSERT(i < gguf->first.n_values);
    return &gguf->first.values[i];
}

const r2i_gguf_value *r2i_gguf_find(const r2i_gguf *gguf, const char *key) {
    if (key[0] != '.' || gguf->architecture == NULL) return r2i_gguf_header_find(&gguf->first, key);
    char full[192];
    const int n = snprintf(full, sizeof full, "%s%s", gguf->architecture, key);
    return n < 0 || (size_t)n >= sizeof full ? NULL : r2i_gguf_header_find(&gguf->first, full);
}
