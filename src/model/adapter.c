/* adapter.c - the public functions on adapters: open, look at, close. */
#define _GNU_SOURCE /* S_ISDIR with stat under -std=c11 */
#include "model/adapter.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/path_name.h"
#include "files/beneath.h"
#include "files/json_read.h"
#include "files/mapping.h"

enum { ARENA_BLOCK_BYTES = 1 << 16, PATH_BYTES = 4096 };
static const char config_name[] = "adapter_config.json";
static const char tensors_name[] = "adapter_model.safetensors";

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static r2_status read_config(json_t **out, const char *folder, r2_error *err) {
    int folder_fd;
    r2i_mapping m = { 0 };
    *out = NULL;
    R2I_TRY(r2i_beneath_open_folder(&folder_fd, folder, err));
    r2_status status = r2i_beneath_map(&m, folder_fd, config_name, err);
    (void)close(folder_fd);
    if (status == R2_E_NOT_FOUND)
        (void)r2i_fail(err, status, "%.150s: expected %s in the folder, found none", folder,
                       config_name);
    if (status != R2_OK) return status;
    status = r2i_json_read(out, config_name, m.bytes, m.n_bytes, &r2i_json_config_limits, err);
    r2i_mapping_close(&m);
    return status;
}

/* The texts that outlive the file. */
static r2_status keep_texts(r2_adapter *a, r2_error *err) {
    const char *name = a->content.base_name;
    a->content.base_name = r2i_arena_copy_text(&a->arena, name, strlen(name));
    return a->content.base_name != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for a name");
}

static r2_status open_peft(r2_adapter *a, const char *folder, const r2i_adapter_base *base,
                           r2i_arena *files, r2_error *err) {
    char path[PATH_BYTES];
    json_t *config = NULL;
    r2i_safetensors *file = NULL;
    r2i_adapter_source source;
    const int n = snprintf(path, sizeof path, "%s/%s", folder, tensors_name);
    if (n < 0 || (size_t)n >= sizeof path)
        return r2i_fail(err, R2_E_ARGUMENT, "the adapter's path is too long");
    r2_status status = read_config(&config, folder, err);
    if (status == R2_OK) status = r2i_safetensors_open(&file, path, files, err);
    if (status == R2_OK) status = r2i_adapter_read_peft(&source, config, file, files, err);
    if (status == R2_OK) status = r2i_adapter_bind(&a->content, &source, base, &a->arena, err);
    if (status == R2_OK) status = keep_texts(a, err);
    r2i_safetensors_close(file);
    json_decref(config);
    return status;
}

static r2_status open_gguf(r2_adapter *a, const char *path, const r2i_adapter_base *base,
                           r2i_arena *files, r2_error *err) {
    r2i_gguf *gguf;
    r2i_adapter_source source;
    R2I_TRY(r2i_gguf_open(&gguf, path, files, err));
    r2_status status = r2i_adapter_read_gguf(&source, gguf, base, files, err);
    if (status == R2_OK) status = r2i_adapter_bind(&a->content, &source, base, &a->arena, err);
    if (status == R2_OK) status = keep_texts(a, err);
    r2i_gguf_close(gguf);
    return status;
}

static void set_name(r2_adapter *a, const char *path) {
    size_t n;
    const char *name = r2i_path_name(path, &n);
    (void)snprintf(a->name, sizeof a->name, "%.*s", (int)n, name);
}

static r2_status open_all(r2_adapter *a, const char *path, r2_error *err) {
    const r2_model *model = a->model;
    const r2i_adapter_base base = { model != NULL ? &model->config : NULL,
                                    model != NULL ? &model->weights : NULL,
                                    model != NULL ? &model->kernels : NULL };
    r2i_arena files; /* of the open files: they are closed once their tensors are packed */
    r2i_arena_init(&files, a->heap, ARENA_BLOCK_BYTES, 0);
    const r2_status status = is_folder(path) ? open_peft(a, path, &base, &files, err)
                                             : open_gguf(a, path, &base, &files, err);
    r2i_arena_destroy(&files);
    return r2i_fail_file(status, err);
}

r2_status r2_adapter_open(r2_adapter **out, r2_model *model, const char *path, r2_error *err) {
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *out = NULL;
    if (model != NULL) R2I_TRY(r2i_model_check_computes(model, err));
    r2i_heap own;
    r2i_heap_init(&own);
    r2_adapter *a = r2i_heap_take(model != NULL ? &model->heap : &own, sizeof *a);
    if (a == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for an adapter");
    memset(a, 0, sizeof *a);
    a->own_heap = own;
    a->heap = model != NULL ? &model->heap : &a->own_heap;
    a->model = model;
    r2i_arena_init(&a->arena, a->heap, ARENA_BLOCK_BYTES, 0);
    set_name(a, path);
    const r2_status status = open_all(a, path, err);
    if (status != R2_OK) {
        r2_adapter_close(a);
        return status;
    }
    if (model != NULL) a->id = atomic_fetch_add(&model->n_adapters, 1) + 1;
    *out = a;
    return R2_OK;
}

void r2_adapter_close(r2_adapter *a) {
    if (a == NULL) return;
    r2i_heap own = a->own_heap;
    r2i_heap *heap = a->model != NULL ? a->heap : &own;
    r2i_arena_destroy(&a->arena);
    r2i_heap_give(heap, a, sizeof *a);
}

void r2_adapter_get_info(const r2_adapter *a, r2_adapter_info *out) {
    const r2i_adapter_content *c = &a->content;
    *out = (r2_adapter_info){ .name = a->name,
                              .base_name = c->base_name,
                              .targets = c->targets,
                              .rank = c->rank,
                              .alpha = c->alpha,
                              .n_matrices = c->n_pairs,
                              .n_parameters = c->n_parameters,
                              .memory_bytes = (int64_t)c->panel_bytes };
}

bool r2_adapter_is_at(const char *path) {
    if (is_folder(path)) {
        char file[PATH_BYTES];
        struct stat info;
        const int n = snprintf(file, sizeof file, "%s/%s", path, config_name);
        return n > 0 && (size_t)n < sizeof file && stat(file, &info) == 0;
    }
    r2i_heap heap;
    r2i_arena arena;
    r2i_gguf *gguf = NULL;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, ARENA_BLOCK_BYTES, 0);
    const bool is_adapter =
        r2i_gguf_open(&gguf, path, &arena, NULL) == R2_OK && r2i_adapter_is_gguf(gguf);
    r2i_gguf_close(gguf);
    r2i_arena_destroy(&arena);
    return is_adapter;
}
