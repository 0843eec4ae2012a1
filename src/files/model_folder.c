#define _POSIX_C_SOURCE 200809L /* close */
#include "files/model_folder.h"

#include <unistd.h>

#include "base/failure.h"
#include "base/path_name.h"
#include "files/beneath.h"
#include "files/json_read.h"

/* Absent files are no error: *out stays as it is. */
static r2_status read_optional_json(json_t **out, int folder_fd, const char *name, r2_error *err) {
    r2i_mapping m;
    r2_status status = r2i_beneath_map(&m, folder_fd, name, err);
    if (status == R2_E_NOT_FOUND) return R2_OK;
    if (status != R2_OK) return status;
    status = r2i_json_read(out, name, m.bytes, m.n_bytes, &r2i_json_config_limits, err);
    r2i_mapping_close(&m);
    return status;
}

static r2_status map_optional(r2i_mapping *out, int folder_fd, const char *name, r2_error *err) {
    const r2_status status = r2i_beneath_map(out, folder_fd, name, err);
    return status == R2_E_NOT_FOUND ? R2_OK : status;
}

static r2_status fail_missing(const r2i_model_folder *f, const char *name, r2_error *err) {
    return r2i_fail(err, R2_E_NOT_FOUND, "%s: expected %s in the folder, found none", f->label,
                    name);
}

static r2_status read_files(r2i_model_folder *f, int folder_fd, r2i_folder_need need,
                            r2_error *err) {
    r2_status status = read_optional_json(&f->config, folder_fd, "config.json", err);
    if (status != R2_OK) return status;
    const bool lacks_config = f->config == NULL && need != R2I_FOLDER_TOKENIZER;
    if (lacks_config && faccessat(folder_fd, "adapter_config.json", F_OK, 0) == 0) {
        return r2i_fail(err, R2_E_NOT_FOUND, "%s: expected a model, found an adapter for one",
                        f->label);
    }
    if (lacks_config) return fail_missing(f, "config.json", err);
    status = read_optional_json(&f->generation_config, folder_fd, "generation_config.json", err);
    if (status != R2_OK) return status;
    status = read_optional_json(&f->tokenizer_config, folder_fd, "tokenizer_config.json", err);
    if (status != R2_OK) return status;
    status = read_optional_json(&f->special_tokens_map, folder_fd, "special_tokens_map.json", err);
    if (status != R2_OK) return status;
    status = map_optional(&f->tokenizer, folder_fd, "tokenizer.json", err);
    if (status != R2_OK) return status;
    if (f->tokenizer.bytes == NULL && need == R2I_FOLDER_TOKENIZER)
        return fail_missing(f, "tokenizer.json", err);
    return map_optional(&f->chat_template, folder_fd, "chat_template.jinja", err);
}

static const char *copy_label(const char *path, r2i_arena *arena) {
    size_t n;
    const char *name = r2i_path_name(path, &n);
    return r2i_arena_copy_text(arena, name, n);
}

r2_status r2i_model_folder_open(r2i_model_folder *out, const char *path, r2i_folder_need need,
                                r2i_arena *arena, r2_error *err) {
    int folder_fd;
    *out = (r2i_model_folder){ 0 };
    r2_status status = r2i_beneath_open_folder(&folder_fd, path, err);
    if (status != R2_OK) return status;
    out->label = copy_label(path, arena);
    if (out->label == NULL) {
        status = r2i_fail(err, R2_E_NOMEM, "%s: no memory", path);
    } else {
        status = read_files(out, folder_fd, need, err);
    }
    close(folder_fd);
    if (status == R2_OK && need == R2I_FOLDER_WEIGHTS) {
        status = r2i_safetensors_open(&out->weights, path, arena, err);
    }
    if (status != R2_OK) r2i_model_folder_close(out);
    return status;
}

void r2i_model_folder_close(r2i_model_folder *folder) {
    r2i_safetensors_close(folder->weights);
    json_decref(folder->config);
    json_decref(folder->generation_config);
    json_decref(folder->tokenizer_config);
    json_decref(folder->special_tokens_map);
    r2i_mapping_close(&folder->tokenizer);
    r2i_mapping_close(&folder->chat_template);
    *folder = (r2i_model_folder){ 0 };
}
