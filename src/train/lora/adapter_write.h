/* adapter_write.h - trained low-rank pairs as files: a PEFT folder, or a GGUF adapter as llama.cpp's
 * converter writes them.  Both appear whole or not at all; values are F32. */
#ifndef R2I_ADAPTER_WRITE_H
#define R2I_ADAPTER_WRITE_H
#include "base/memory.h"
#include "train/lora/lora_parameters.h"

typedef struct {
    const r2i_parameters *parameters; /* with pairs */
    const char *base;                 /* what the base is called */
    const char *out;
    bool is_forced; /* replace what has the name, if it is such a folder or file */
    r2i_heap *heap;
} r2i_adapter_output;

/* The folder `out`: adapter_config.json and adapter_model.safetensors.  R2_E_ARGUMENT: it exists;
 * R2_E_NOT_FOUND, R2_E_FULL, R2_E_IO, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_adapter_write_folder(const r2i_adapter_output *output, r2_error *err);
/* The file `out`. */
R2_CHECKED r2_status r2i_adapter_write_gguf(const r2i_adapter_output *output, r2_error *err);
#endif
