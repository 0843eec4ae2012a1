/* model_find.h - models that lie on this machine already, wherever a program has put them.
 *
 * Looked at, in this order: --models / R2LM_MODELS, our cache ($XDG_CACHE_HOME/r2lm/models), the
 * Hugging Face cache ($HF_HUB_CACHE, $HF_HOME/hub), ollama ($OLLAMA_MODELS, ~/.ollama/models) and
 * llama.cpp ($LLAMA_CACHE, ~/.cache/llama.cpp).  Nothing is opened but manifests. */
#ifndef R2I_MODEL_FIND_H
#define R2I_MODEL_FIND_H
#include "cli/program.h"

typedef struct {
    const char *name, *path, *source; /* in the program's arena */
    int64_t n_bytes;
} r2i_found_model;

typedef struct {
    r2i_program *program;
    r2i_found_model *models;
    size_t n_models, cap_models;
} r2i_found_models;

/* Fills the list in the order above, names sorted within a place.  Missing places are no error. */
R2_CHECKED r2_status r2i_models_find(r2i_found_models *out, r2i_program *program, r2_error *err);
/* The path for what the user typed: a path that exists, a name or a unique beginning of one.  NULL
 * or "": the default model.  R2_E_NOT_FOUND, the hint printed by r2i_models_hint. */
R2_CHECKED r2_status r2i_model_resolve(const char **path, r2i_program *program, const char *text,
                                       r2_error *err);
/* Prints nothing unless it was the model that was not found. */
void r2i_models_hint(const r2i_program *program);
extern const char r2i_default_model[];
#endif
