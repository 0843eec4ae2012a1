/* model_vocabulary.h - the tokenizer and the chat template that a model file brings along. */
#ifndef R2I_MODEL_VOCABULARY_H
#define R2I_MODEL_VOCABULARY_H
#include "files/gguf.h"
#include "files/model_folder.h"
#include "text/tokenizer.h"

/* *out is NULL when the file has no vocabulary; otherwise as r2i_tokenizer_create. */
R2_CHECKED r2_status r2i_tokenizer_from_gguf(r2i_tokenizer **out, const r2i_gguf *gguf,
                                             r2i_heap *heap, r2_error *err);
R2_CHECKED r2_status r2i_tokenizer_from_folder(r2i_tokenizer **out, const r2i_model_folder *folder,
                                               r2i_heap *heap, r2_error *err);
/* Borrowed from the folder; bytes NULL: none. */
r2i_text_view r2i_folder_template(const r2i_model_folder *folder);
#endif
