#include "cached_model.h"

#include <stdio.h>
#include <stdlib.h>

static const char *variable(const char *name) {
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

bool find_cached_model(const char *file_name, char *path, size_t cap_bytes) {
    const char *own = variable("R2LM_MODEL_CACHE"), *xdg = variable("XDG_CACHE_HOME"),
               *home = variable("HOME");
    if (own != NULL)
        snprintf(path, cap_bytes, "%s/%s", own, file_name);
    else if (xdg != NULL)
        snprintf(path, cap_bytes, "%s/r2lm/models/%s", xdg, file_name);
    else
        snprintf(path, cap_bytes, "%s/.cache/r2lm/models/%s", home != NULL ? home : "", file_name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    fclose(file);
    return true;
}
