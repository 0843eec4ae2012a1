#include "gguf_vocabulary.h"

#include <stdio.h>
#include <stdlib.h>

bool find_cached_model(const char *file_name, char *path, size_t cap_bytes) {
    const char *own = getenv("R2LM_MODEL_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    if (own != NULL)
        snprintf(path, cap_bytes, "%s/%s", own, file_name);
    else if (xdg != NULL && *xdg != 0)
        snprintf(path, cap_bytes, "%s/r2lm/models/%s", xdg, file_name);
    else
        snprintf(path, cap_bytes, "%s/.cache/r2lm/models/%s", home == NULL ? "" : home, file_name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    fclose(file);
    return true;
}

static r2i_text_view text_of(const r2i_gguf *gguf, const char *key) {
    r2i_gguf_text text = { "", 0 };
    if (r2i_gguf_try_text(gguf, key, &text, NULL) != R2_OK) return (r2i_text_view){ "", 0 };
    return (r2i_text_view){ text.bytes, text.n_bytes };
}

static r2i_text_list list_of(const r2i_gguf *gguf, const char *key) {
    const r2i_gguf_value *value = r2i_gguf_find(gguf, key);
    if (value == NULL || value->element_type != R2I_GGUF_TEXT) return (r2i_text_list){ 0 };
    return (r2i_text_list){ value->n_elements, NULL, value->bytes, value->n_bytes };
}

bool read_vocabulary(const r2i_gguf *gguf, r2i_vocabulary *v) {
    r2i_vocabulary_init(v);
    v->model = text_of(gguf, "tokenizer.ggml.model");
    v->pre = text_of(gguf, "tokenizer.ggml.pre");
    v->tokens = list_of(gguf, "tokenizer.ggml.tokens");
    v->merges = list_of(gguf, "tokenizer.ggml.merges");
    const r2i_gguf_value *types = r2i_gguf_find(gguf, "tokenizer.ggml.token_type");
    if (types != NULL && types->element_type == R2I_GGUF_I32 && types->n_elements == v->tokens.n)
        v->types = types->bytes;
    const int32_t top = (int32_t)v->tokens.n - 1;
    return v->types != NULL && v->merges.n > 0 &&
           r2i_gguf_try_i32(gguf, "tokenizer.ggml.bos_token_id", -1, top, &v->bos_id, NULL) ==
               R2_OK &&
           r2i_gguf_try_i32(gguf, "tokenizer.ggml.eos_token_id", -1, top, &v->eos_id, NULL) ==
               R2_OK &&
           r2i_gguf_try_i32(gguf, "tokenizer.ggml.padding_token_id", -1, top, &v->pad_id, NULL) ==
               R2_OK &&
           r2i_gguf_try_bool(gguf, "tokenizer.ggml.add_bos_token", &v->add_bos, NULL) == R2_OK;
}
