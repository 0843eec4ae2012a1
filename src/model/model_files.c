/* model_files.c - what training asks of a model's files behind opening: their size, giving their pages
 * back, whether the weights are random ones. */
#include <string.h>

#include "model/model.h"

int64_t r2i_model_file_bytes(const r2_model *model) {
    return (int64_t)(model->gguf != NULL ? r2i_gguf_file_bytes(model->gguf)
                                         : r2i_safetensors_file_bytes(model->folder.weights));
}

void r2i_model_forget_files(const r2_model *model) {
    const r2i_safetensors *weights = model->folder.weights;
    if (model->gguf != NULL) {
        for (size_t i = 0; i < r2i_gguf_n_tensors(model->gguf); i++)
            r2i_gguf_forget(model->gguf, r2i_gguf_tensor_at(model->gguf, i));
        return;
    }
    for (size_t i = 0; i < r2i_safetensors_n_tensors(weights); i++) {
        r2i_stored_tensor t;
        if (r2i_safetensors_get(weights, r2i_safetensors_tensor_at(weights, i)->name, &t, NULL) ==
            R2_OK)
            r2i_safetensors_forget(weights, &t);
    }
}

bool r2i_model_is_initial(const r2_model *model) {
    const char *state =
        model->gguf == NULL ? r2i_safetensors_metadata(model->folder.weights, R2I_STATE_KEY) : NULL;
    return state != NULL && strcmp(state, R2I_STATE_INITIAL) == 0;
}
