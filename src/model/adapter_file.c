/* adapter_file.c - the files of an adapter, open: a PEFT folder or a GGUF file. */
#define _GNU_SOURCE /* S_ISDIR with stat under -std=c11 */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"
#include "files/beneath.h"
#include "files/json_read.h"
#include "files/mapping.h"
#include "model/adapter.h"

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

static r2_status open_peft(r2i_adapter_file *out, const char *folder, r2i_arena *arena,
                           r2_error *err) {
    char path[PATH_BYTES];
    const int n = snprintf(path, sizeof path, "%s/%s", folder, tensors_name);
    if (n < 0 || (size_t)n >= sizeof path)
        return r2i_fail(err, R2_E_ARGUMENT, "the adapter's path is too long");
    R2I_TRY(read_config(&out->config, folder, err));
    R2I_TRY(r2i_safetensors_open(&out->tensors, path, arena, err));
    return r2i_adapter_read_peft(&out->source, out->config, out->tensors, arena, err);
}

static r2_status open_gguf(r2i_adapter_file *out, const char *path, const r2i_adapter_base *base,
                           r2i_arena *arena, r2_error *err) {
    R2I_TRY(r2i_gguf_open(&out->gguf, path, arena, err));
    return r2i_adapter_read_gguf(&out->source, out->gguf, base, arena, err);
}

r2_status r2i_adapter_file_open(r2i_adapter_file *out, const char *path,
                                const r2i_adapter_base *base, r2i_arena *arena, r2_error *err) {
    *out = (r2i_adapter_file){ 0 };
    return is_folder(path) ? open_peft(out, path, arena, err)
                           : open_gguf(out, path, base, arena, err);
}

void r2i_adapter_file_close(r2i_adapter_file *file) {
    r2i_gguf_close(file->gguf);
    r2i_safetensors_close(file->tensors);
    json_decref(file->config);
    *file = (r2i_adapter_file){ 0 };
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
