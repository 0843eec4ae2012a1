/* gguf_vocabulary.h - for tests: a real model's vocabulary from the cache of downloaded models. */
#ifndef R2LM_TESTS_GGUF_VOCABULARY_H
#define R2LM_TESTS_GGUF_VOCABULARY_H
#include "files/gguf.h"
#include "text/tokenizer.h"

/* Path of a model in $R2LM_MODEL_CACHE, $XDG_CACHE_HOME/r2lm/models or ~/.cache/r2lm/models.
 * False: it is not there. */
bool find_cached_model(const char *file_name, char *path, size_t cap_bytes);
/* Views into the open file.  False: a key is missing or of another kind. */
bool read_vocabulary(const r2i_gguf *gguf, r2i_vocabulary *vocabulary);
#endif
