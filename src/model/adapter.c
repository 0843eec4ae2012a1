/* adapter.c - the public functions on adapters: open, look at, close. */
#include "model/adapter.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/path_name.h"

enum { ARENA_BLOCK_BYTES = 1 << 16 };

/* The texts that outlive the file. */
static r2_status keep_texts(r2_adapter *a, r2_error *err) {
    const char *name = a->content.base_name;
    a->content.base_name = r2i_arena_copy_text(&a->arena, name, strlen(name));
    return a->content.base_name != NULL ? R2_OK : r2i_fail(err, R2_E_NOMEM, "no memory for a name");
}

static r2_status open_file(r2_adapter *a, const char *path, const r2i_adapter_base *base,
                           r2i_arena *files, r2_error *err) {
    r2i_adapter_file file;
    r2_status status = r2i_adapter_file_open(&file, path, base, files, err);
    if (status == R2_OK) status = r2i_adapter_bind(&a->content, &file.source, base, &a->arena, err);
    if (status == R2_OK) status = keep_texts(a, err);
    r2i_adapter_file_close(&file);
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
    const r2_status status = open_file(a, path, &base, &files, err);
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
