/* safetensors.c - a safetensors model as one or several mapped files. */
#define _POSIX_C_SOURCE 200809L /* close */
#include "files/safetensors.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/path_name.h"
#include "files/beneath.h"
#include "files/json_read.h"
#include "files/mapping.h"
#include "files/name_table.h"
#include "files/safetensors_header.h"

enum { MAX_SHARDS = 1024 };

static const char single_name[] = "model.safetensors";
static const char index_name[] = "model.safetensors.index.json";

struct r2i_safetensors {
    const char *label;
    int32_t n_shards;
    r2i_mapping *mappings; /* [n_shards]; NULL for a file in memory */
    uint64_t file_bytes;
    json_t *metadata; /* of the first shard */
    size_t n_tensors;
    r2i_safetensor *tensors; /* [n_tensors] */
    r2i_name_table names;
    r2i_arena *arena;
};

static r2_status no_memory(const char *label, r2_error *err) {
    return r2i_fail(err, R2_E_NOMEM, "%s: no memory for its header", label);
}

static r2_status index_names(r2i_safetensors *s, r2_error *err) {
    if (!r2i_name_table_init(&s->names, s->arena, s->n_tensors)) return no_memory(s->label, err);
    for (size_t i = 0; i < s->n_tensors; i++) {
        const char *name = s->tensors[i].name;
        if (r2i_name_table_add(&s->names, name, strlen(name), (uint32_t)i) != R2I_NAME_ADDED) {
            return r2i_fail(err, R2_E_LIMIT, "%s: %s: names are made to collide", s->label, name);
        }
    }
    return R2_OK;
}

/* A model that is one file. */
static r2_status read_single(r2i_safetensors *s, const uint8_t *bytes, size_t n_bytes,
                             r2_error *err) {
    r2i_safetensors_header h = { .label = s->label, .bytes = bytes, .n_bytes = n_bytes };
    const r2_status status = r2i_safetensors_header_read(&h, 0, s->arena, err);
    if (status != R2_OK) return status;
    s->metadata = h.metadata;
    s->tensors = h.tensors;
    s->n_tensors = h.n_tensors;
    s->file_bytes = n_bytes;
    return index_names(s, err);
}

/* ---- shards ---- */

typedef struct {
    const json_t *weight_map;
    const char **files; /* [n_files], borrowed from the index, in order of first mention */
    int32_t n_files;
} shard_list;

static r2_status list_shards(r2i_safetensors *s, const json_t *weight_map, shard_list *list,
                             r2_error *err) {
    r2i_name_table seen;
    const char *name;
    json_t *value;
    *list = (shard_list){ .weight_map = weight_map };
    list->files = R2I_ARENA_ARRAY(s->arena, const char *, MAX_SHARDS);
    if (list->files == NULL || !r2i_name_table_init(&seen, s->arena, MAX_SHARDS)) {
        return no_memory(s->label, err);
    }
    json_object_foreach((json_t *)(uintptr_t)weight_map, name, value) {
        const char *file = json_string_value(value);
        if (file == NULL || !r2i_beneath_is_name(file, json_string_length(value))) {
            char found[64];
            return r2i_fail(err, R2_E_FORMAT,
                            "%s: weight_map: %s: expected a file name of A-Z a-z 0-9 "
                            ". _ -, found %s",
                            s->label, name, r2i_json_describe(value, found));
        }
        if (r2i_name_table_find(&seen, file, strlen(file)) >= 0) continue;
        if (list->n_files == MAX_SHARDS ||
            r2i_name_table_add(&seen, file, strlen(file), (uint32_t)list->n_files) !=
                R2I_NAME_ADDED) {
            return r2i_fail(err, R2_E_LIMIT,
                            "%s: weight_map: expected at most %d files, found more", s->label,
                            MAX_SHARDS);
        }
        list->files[list->n_files++] = file;
    }
    return R2_OK;
}

/* Keeps the tensors that the index assigns to this file; `kept` has room for all of the index. */
static void keep_listed(r2i_safetensors *s, const shard_list *list, const char *file,
                        const r2i_safetensors_header *h) {
    for (size_t i = 0; i < h->n_tensors; i++) {
        const json_t *owner = json_object_get(list->weight_map, h->tensors[i].name);
        if (owner == NULL || strcmp(json_string_value(owner), file) != 0) continue;
        s->tensors[s->n_tensors++] = h->tensors[i];
    }
}

static r2_status read_shard(r2i_safetensors *s, const shard_list *list, int folder_fd,
                            int32_t shard, r2_error *err) {
    const char *file = list->files[shard];
    r2i_mapping *m = &s->mappings[shard];
    r2_status status = r2i_beneath_map(m, folder_fd, file, err);
    if (status != R2_OK) return status;
    r2i_safetensors_header h = { .label = file, .bytes = m->bytes, .n_bytes = m->n_bytes };
    status = r2i_safetensors_header_read(&h, shard, s->arena, err);
    if (status != R2_OK) return status;
    keep_listed(s, list, file, &h);
    s->file_bytes += m->n_bytes;
    if (shard == 0)
        s->metadata = h.metadata;
    else
        json_decref(h.metadata);
    return R2_OK;
}

/* After all shards are read: is every name of the index there? */
static r2_status check_complete(const r2i_safetensors *s, const shard_list *list, r2_error *err) {
    const char *name;
    json_t *value;
    if (s->n_tensors == json_object_size(list->weight_map)) return R2_OK;
    json_object_foreach((json_t *)(uintptr_t)list->weight_map, name, value) {
        if (r2i_name_table_find(&s->names, name, strlen(name)) < 0) {
            return r2i_fail(err, R2_E_MISMATCH, "%s: weight_map: %s: expected in %s, found nothing",
                            s->label, name, json_string_value(value));
        }
    }
    return R2_OK;
}

static r2_status read_shards(r2i_safetensors *s, int folder_fd, const json_t *weight_map,
                             r2_error *err) {
    shard_list list;
    r2_status status = list_shards(s, weight_map, &list, err);
    if (status != R2_OK) return status;
    s->tensors = R2I_ARENA_ARRAY(s->arena, r2i_safetensor, json_object_size(weight_map));
    s->mappings = R2I_ARENA_ARRAY(s->arena, r2i_mapping, (size_t)list.n_files);
    if (s->tensors == NULL || s->mappings == NULL) return no_memory(s->label, err);
    for (int32_t i = 0; i < list.n_files; i++)
        s->mappings[i].fd = -1;
    s->n_shards = list.n_files;
    for (int32_t i = 0; i < list.n_files && status == R2_OK; i++) {
        status = read_shard(s, &list, folder_fd, i, err);
    }
    if (status == R2_OK) status = index_names(s, err);
    return status != R2_OK ? status : check_complete(s, &list, err);
}

/* Closes the mapping of the index. */
static r2_status read_index(r2i_safetensors *s, int folder_fd, r2i_mapping *index, r2_error *err) {
    json_t *root = NULL;
    const json_t *weight_map = NULL;
    r2_status status =
        r2i_json_read(&root, s->label, index->bytes, index->n_bytes, &r2i_json_config_limits, err);
    r2i_mapping_close(index);
    if (status == R2_OK) {
        status = r2i_json_get_tree(root, s->label, "weight_map", JSON_OBJECT, &weight_map, err);
    }
    if (status == R2_OK) status = read_shards(s, folder_fd, weight_map, err);
    json_decref(root);
    return status;
}

/* ---- opening ---- */

static r2_status map_one(r2i_safetensors *s, r2i_mapping **out, r2_error *err) {
    *out = R2I_ARENA_NEW(s->arena, r2i_mapping);
    if (*out == NULL) return no_memory(s->label, err);
    (*out)->fd = -1;
    s->mappings = *out;
    s->n_shards = 1;
    return R2_OK;
}

/* model.safetensors in a folder, else its index. */
static r2_status open_in_folder(r2i_safetensors *s, int folder_fd, r2_error *err) {
    r2i_mapping *m;
    s->label = single_name;
    r2_status status = map_one(s, &m, err);
    if (status != R2_OK) return status;
    status = r2i_beneath_map(m, folder_fd, single_name, err);
    if (status == R2_OK) return read_single(s, m->bytes, m->n_bytes, err);
    if (status != R2_E_NOT_FOUND) return status;
    s->label = index_name;
    s->mappings = NULL;
    s->n_shards = 0;
    r2i_mapping index;
    status = r2i_beneath_map(&index, folder_fd, index_name, err);
    if (status == R2_OK) return read_index(s, folder_fd, &index, err);
    if (status == R2_E_NOT_FOUND) {
        return r2i_fail(err, R2_E_NOT_FOUND,
                        "model.safetensors: expected it or "
                        "model.safetensors.index.json in the folder, found neither");
    }
    return status;
}

static r2_status open_path(r2i_safetensors *s, const char *path, r2_error *err) {
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    const bool is_index = r2i_name_ends_with(path, ".index.json");
    int folder_fd;
    if (r2i_name_ends_with(path, ".safetensors")) {
        r2i_mapping *m;
        s->label = r2i_arena_copy_text(s->arena, name, strlen(name));
        if (s->label == NULL) return no_memory(path, err);
        r2_status status = map_one(s, &m, err);
        if (status == R2_OK) status = r2i_mapping_open(m, path, err);
        return status != R2_OK ? status : read_single(s, m->bytes, m->n_bytes, err);
    }
    const char *folder = path;
    if (is_index) {
        s->label = r2i_arena_copy_text(s->arena, name, strlen(name));
        folder = slash == NULL ? "." : r2i_arena_copy_text(s->arena, path, (size_t)(name - path));
        if (s->label == NULL || folder == NULL) return no_memory(path, err);
    }
    r2_status status = r2i_beneath_open_folder(&folder_fd, folder, err);
    if (status != R2_OK) return status;
    if (is_index) {
        r2i_mapping index;
        status = r2i_mapping_open(&index, path, err);
        if (status == R2_OK) status = read_index(s, folder_fd, &index, err);
    } else {
        status = open_in_folder(s, folder_fd, err);
    }
    close(folder_fd);
    return status;
}

static r2_status finish(r2i_safetensors *s, r2i_safetensors **out, r2i_arena_mark mark,
                        r2_status status) {
    if (status == R2_OK) {
        *out = s;
        return R2_OK;
    }
    r2i_arena *arena = s->arena;
    r2i_safetensors_close(s);
    r2i_arena_rewind(arena, mark);
    return status;
}

r2_status r2i_safetensors_open(r2i_safetensors **out, const char *path, r2i_arena *arena,
                               r2_error *err) {
    const r2i_arena_mark mark = r2i_arena_get_mark(arena);
    *out = NULL;
    r2i_safetensors *s = R2I_ARENA_NEW(arena, r2i_safetensors);
    if (s == NULL) return no_memory(path, err);
    s->arena = arena;
    return finish(s, out, mark, open_path(s, path, err));
}

r2_status r2i_safetensors_open_memory(r2i_safetensors **out, const char *label, const void *bytes,
                                      size_t n_bytes, r2i_arena *arena, r2_error *err) {
    const r2i_arena_mark mark = r2i_arena_get_mark(arena);
    *out = NULL;
    r2i_safetensors *s = R2I_ARENA_NEW(arena, r2i_safetensors);
    if (s == NULL) return no_memory(label, err);
    s->arena = arena;
    s->label = r2i_arena_copy_text(arena, label, strlen(label));
    s->n_shards = 1;
    const r2_status status =
        s->label == NULL ? no_memory(label, err) : read_single(s, bytes, n_bytes, err);
    return finish(s, out, mark, status);
}

void r2i_safetensors_close(r2i_safetensors *file) {
    if (file == NULL) return;
    for (int32_t i = 0; file->mappings != NULL && i < file->n_shards; i++) {
        r2i_mapping_close(&file->mappings[i]);
    }
    json_decref(file->metadata);
    file->metadata = NULL;
}

/* ---- looking ---- */

const char *r2i_safetensors_label(const r2i_safetensors *file) {
    return file->label;
}
int32_t r2i_safetensors_n_shards(const r2i_safetensors *file) {
    return file->n_shards;
}
uint64_t r2i_safetensors_file_bytes(const r2i_safetensors *file) {
    return file->file_bytes;
}

bool r2i_safetensors_is_intact(const r2i_safetensors *file) {
    if (file->mappings == NULL) return true;
    for (int32_t i = 0; i < file->n_shards; i++) {
        if (!r2i_mapping_is_intact(&file->mappings[i])) return false;
    }
    return true;
}

size_t r2i_safetensors_n_tensors(const r2i_safetensors *file) {
    return file->n_tensors;
}

const r2i_safetensor *r2i_safetensors_tensor_at(const r2i_safetensors *file, size_t i) {
    R2I_ASSERT(i < file->n_tensors);
    return &file->tensors[i];
}

const r2i_safetensor *r2i_safetensors_find(const r2i_safetensors *file, const char *name) {
    const int64_t i = r2i_name_table_find(&file->names, name, strlen(name));
    return i < 0 ? NULL : &file->tensors[i];
}

const char *r2i_safetensors_metadata(const r2i_safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}

r2_status r2i_safetensors_get(const r2i_safetensors *file, const char *name, r2i_stored_tensor *out,
                              r2_error *err) {
    memset(out, 0, sizeof *out);
    const r2i_safetensor *t = r2i_safetensors_find(file, name);
    if (t == NULL) {
        return r2i_fail(err, R2_E_NOT_FOUND, "%s: %s: expected a tensor, found nothing",
                        file->label, name);
    }
    const int32_t type = r2i_dtype_type(t->dtype);
    if (type < 0) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: %s: dtype: expected F32, F16, BF16 or F8_E4M3, found %s", file->label,
                        name, r2i_dtype_name(t->dtype));
    }
    if (t->n_dims > R2I_TENSOR_DIMS) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%s: %s: shape: expected at most 4 dimensions, found %" PRId32, file->label,
                        name, t->n_dims);
    }
    if (t->n_bytes == 0) {
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: %s: shape: expected dimensions of at least 1, found 0", file->label,
                        name);
    }
    for (int32_t i = 0; i < R2I_TENSOR_DIMS; i++) {
        out->ne[i] = i < t->n_dims ? t->shape[t->n_dims - 1 - i] : 1;
    }
    out->name = t->name;
    out->type = (r2i_type)type;
    out->n_dims = t->n_dims;
    out->bytes = t->bytes;
    out->n_bytes = t->n_bytes;
    out->shard = t->shard;
    return R2_OK;
}

void r2i_safetensors_forget(const r2i_safetensors *file, const r2i_stored_tensor *tensor) {
    if (file->mappings == NULL) return;
    r2i_mapping_forget(&file->mappings[tensor->shard], tensor->bytes, tensor->n_bytes);
}
