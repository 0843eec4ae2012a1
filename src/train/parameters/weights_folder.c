#include "train/parameters/weights_folder.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/failure.h"
#include "base/half.h"
#include "files/atomic_folder.h"
#include "files/atomic_write.h"
#include "files/mapping.h"
#include "model/model.h"

enum { PATH_BYTES = 4400, MAX_CONFIG_BYTES = 1 << 16 };

/* What a model folder may have besides weights; the first must be there. */
static const char *const copied[] = {
    "config.json",           "generation_config.json",  "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"
};

static r2_status write_bytes(const char *path, const void *bytes, size_t n_bytes, r2i_heap *heap,
                             r2_error *err) {
    r2i_atomic_file *file = NULL;
    R2I_TRY(r2i_atomic_begin(&file, path, false, heap, err));
    const r2_status status = r2i_atomic_write(file, bytes, n_bytes, err);
    if (status == R2_OK) return r2i_atomic_commit(file, err);
    r2i_atomic_abandon(file);
    return status;
}

static r2_status copy_file(const r2i_weights_folder *f, const char *to, size_t i, r2_error *err) {
    char path[PATH_BYTES];
    r2i_mapping bytes = { 0 };
    (void)snprintf(path, sizeof path, "%.4000s/%s", f->source, copied[i]);
    const r2_status found = r2i_mapping_open(&bytes, path, err);
    if (found == R2_E_NOT_FOUND && i > 0) return R2_OK;
    if (found != R2_OK) return found;
    (void)snprintf(path, sizeof path, "%.4000s/%s", to, copied[i]);
    const r2_status status = write_bytes(path, bytes.bytes, bytes.n_bytes, f->heap, err);
    r2i_mapping_close(&bytes);
    return status;
}

static r2_status write_config(const r2i_weights_folder *f, const char *to, r2_error *err) {
    char path[PATH_BYTES];
    r2i_buffer text;
    r2_status status;
    r2i_buffer_init(&text, f->heap, MAX_CONFIG_BYTES);
    (void)snprintf(path, sizeof path, "%.4000s/%s", to, copied[0]);
    if (json_dump_callback(f->config, r2i_buffer_append_chunk, &text,
                           JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 &&
        r2i_buffer_append_chunk("\n", 1, &text) == 0)
        status = write_bytes(path, text.bytes, text.n_bytes, f->heap, err);
    else
        status = r2i_fail(err, R2_E_NOMEM, "%s: no memory for its text", copied[0]);
    r2i_buffer_destroy(&text);
    return status;
}

static r2_status write_files(const r2i_weights_folder *f, const char *to, r2_error *err) {
    if (f->config != NULL) R2I_TRY(write_config(f, to, err));
    for (size_t i = f->config != NULL; f->source != NULL && i < sizeof copied / sizeof *copied; i++)
        R2I_TRY(copy_file(f, to, i, err));
    return R2_OK;
}

/* ---- weights ---- */

static void round_row(const float *row, int64_t n, uint16_t *out) {
    for (int64_t i = 0; i < n; i++)
        out[i] = r2i_bf16_from_f32(row[i]);
}

static r2_status write_tensor(const r2i_weights_folder *f, r2i_safetensors_writer *w, int32_t i,
                              float *row, uint16_t *rounded, r2_error *err) {
    r2i_made_tensor t;
    f->describe(f->user, i, &t);
    const size_t n = (size_t)t.n_cols;
    for (int64_t r = 0; r < t.n_rows; r++) {
        f->make_row(f->user, i, r, row);
        if (f->is_bf16) round_row(row, t.n_cols, rounded);
        R2I_TRY(r2i_safetensors_writer_write(w, f->is_bf16 ? (const void *)rounded : row,
                                             n * (f->is_bf16 ? 2 : 4), err));
    }
    return R2_OK;
}

static r2_status fill_file(const r2i_weights_folder *f, r2i_safetensors_writer *w, const char *path,
                           float *row, uint16_t *rounded, r2_error *err) {
    const r2i_dtype dtype = f->is_bf16 ? R2I_DTYPE_BF16 : R2I_DTYPE_F32;
    R2I_TRY(r2i_safetensors_writer_add_metadata(w, "format", "pt", err));
    if (f->is_initial)
        R2I_TRY(r2i_safetensors_writer_add_metadata(w, R2I_STATE_KEY, R2I_STATE_INITIAL, err));
    for (int32_t i = 0; i < f->n; i++) {
        r2i_made_tensor t;
        f->describe(f->user, i, &t);
        const int64_t shape[] = { t.is_vector ? t.n_cols : t.n_rows, t.n_cols };
        R2I_TRY(r2i_safetensors_writer_add_tensor(w, t.name, dtype, t.is_vector ? 1 : 2, shape,
                                                  NULL, err));
    }
    R2I_TRY(r2i_safetensors_writer_begin(w, path, err));
    for (int32_t i = 0; i < f->n; i++)
        R2I_TRY(write_tensor(f, w, i, row, rounded, err));
    return r2i_safetensors_writer_finish(w, err);
}

static r2_status write_weights(const r2i_weights_folder *f, const char *to, r2_error *err) {
    char path[PATH_BYTES];
    r2i_safetensors_writer *w = NULL;
    int64_t widest = 1;
    for (int32_t i = 0; i < f->n; i++) {
        r2i_made_tensor t;
        f->describe(f->user, i, &t);
        if (t.n_cols > widest) widest = t.n_cols;
    }
    const size_t n_bytes = (size_t)widest * 6;
    float *row = r2i_heap_take(f->heap, n_bytes);
    if (row == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a row of weights");
    (void)snprintf(path, sizeof path, "%.4000s/model.safetensors", to);
    r2_status status = r2i_safetensors_writer_create(&w, f->heap, err);
    if (status == R2_OK)
        status = fill_file(f, w, path, row, (uint16_t *)(void *)(row + widest), err);
    r2i_safetensors_writer_destroy(w);
    r2i_heap_give(f->heap, row, n_bytes);
    return status;
}

r2_status r2i_weights_folder_write(const r2i_weights_folder *f, r2_error *err) {
    r2i_atomic_folder *folder = NULL;
    R2I_TRY(r2i_atomic_folder_begin(&folder, f->out, f->is_forced, "config.json", f->heap, err));
    const char *to = r2i_atomic_folder_path(folder);
    r2_status status = write_files(f, to, err);
    if (status == R2_OK) status = write_weights(f, to, err);
    if (status == R2_OK && f->check != NULL) status = f->check(f->user, err);
    if (status == R2_OK) return r2i_atomic_folder_commit(folder, err);
    r2i_atomic_folder_abandon(folder);
    return status;
}
