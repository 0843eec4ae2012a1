#define _POSIX_C_SOURCE 200809L /* getline, fileno, ftruncate */
#include "cli/step_lines.h"

#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

/* The file's bytes before the line of the first step from `step` on, or before one that is cut off. */
static long lines_before(FILE *file, int64_t step) {
    char *line = NULL;
    size_t cap = 0;
    long end = 0;
    for (ssize_t n = getline(&line, &cap, file); n > 0 && line[n - 1] == '\n';
         n = getline(&line, &cap, file)) {
        json_t *o = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        const json_t *number = json_object_get(o, "step");
        const bool is_before = json_is_integer(number) && json_integer_value(number) < step;
        json_decref(o);
        if (!is_before) break;
        end += (long)n;
    }
    free(line);
    return end;
}

FILE *r2i_step_lines_open(const char *path, bool is_resuming, int64_t step) {
    FILE *file = is_resuming ? fopen(path, "r+") : NULL;
    if (file == NULL) return fopen(path, "w");
    const long end = lines_before(file, step);
    if (ftruncate(fileno(file), end) == 0 && fseek(file, 0, SEEK_END) == 0) return file;
    (void)fclose(file);
    return NULL;
}

bool r2i_step_line_write(FILE *file, json_t *line) {
    const bool is_written =
        line != NULL && json_dumpf(line, file, JSON_COMPACT) == 0 && fputc('\n', file) != EOF;
    json_decref(line);
    return is_written;
}
