/* weights_folder.h - writes a Hugging Face model folder beside another one: its configuration and
 * tokenizer files copied (or a configuration of one's own), weights from memory.  The folder appears
 * whole or not at all. */
#ifndef R2I_WEIGHTS_FOLDER_H
#define R2I_WEIGHTS_FOLDER_H
#include <jansson.h>
#include <stdbool.h>

#include "base/memory.h"
#include "files/safetensors_write.h"

/* A tensor of n_rows x n_cols numbers (a vector has one row), made row by row. */
typedef struct {
    const char *name;
    bool is_vector;
    int64_t n_rows, n_cols;
} r2i_made_tensor;

typedef struct {
    const char *source;   /* folder to copy from; NULL with `config`: none */
    const json_t *config; /* config.json; NULL: the source's */
    const char *out;
    bool is_forced, is_bf16;
    bool is_initial; /* random weights, which the file's metadata say (model.h: R2I_STATE_KEY) */
    r2i_heap *heap;
    int32_t n; /* tensors */
    /* Tensor i, and row r of it as F32 [n_cols]. */
    void (*describe)(void *user, int32_t i, r2i_made_tensor *tensor);
    void (*make_row)(void *user, int32_t i, int64_t r, float *row);
    /* Were all rows what they should be?  NULL: they were. */
    r2_status (*check)(void *user, r2_error *err);
    void *user;
} r2i_weights_folder;

/* R2_E_ARGUMENT: `out` exists; R2_E_NOT_FOUND, R2_E_FULL, R2_E_IO, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_weights_folder_write(const r2i_weights_folder *folder, r2_error *err);
#endif
