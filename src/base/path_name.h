/* path_name.h - how a path or a dotted name ends. */
#ifndef R2I_PATH_NAME_H
#define R2I_PATH_NAME_H
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* "model" in "/a/model//": where it begins, and its length; it ends at slashes or at the path's end.
 * Of "/" all of it. */
static inline const char *r2i_path_name(const char *path, size_t *n_bytes) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    *n_bytes = end - begin;
    return path + begin;
}

static inline bool r2i_name_ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), n_end = strlen(end);
    return n >= n_end && strcmp(name + n - n_end, end) == 0;
}
#endif
