/* cached_model.h - for tests: where tools/fetch_models.sh puts the real models. */
#ifndef R2LM_TESTS_CACHED_MODEL_H
#define R2LM_TESTS_CACHED_MODEL_H
#include <stdbool.h>
#include <stddef.h>

/* Path of a model in $R2LM_MODEL_CACHE, $XDG_CACHE_HOME/r2lm/models or ~/.cache/r2lm/models, the first
 * that is set and not empty.  False: it is not there. */
bool find_cached_model(const char *file_name, char *path, size_t cap_bytes);
#endif
