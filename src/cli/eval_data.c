#define _POSIX_C_SOURCE 200809L /* S_ISDIR */
#include "cli/eval_data.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#ifdef R2LM_HAVE_ZLIB
#include <zlib.h>
#endif

#include "base/failure.h"
#include "cli/text_input.h"

enum { PATH_BYTES = 4096 };
#define MAX_DATA_BYTES ((size_t)1 << 30)

static bool is_packed(const r2i_buffer *b) {
    return b->n_bytes >= 2 && (unsigned char)b->bytes[0] == 0x1f &&
           (unsigned char)b->bytes[1] == 0x8b;
}

#ifdef R2LM_HAVE_ZLIB
static r2_status unpack(r2i_buffer *out, const char *path, r2_error *err) {
    enum { CHUNK = 1 << 16 };
    char chunk[CHUNK];
    int n;
    gzFile file = gzopen(path, "rb");
    r2_status status =
        file == NULL ? r2i_fail(err, R2_E_IO, "%.150s: cannot be opened", path) : R2_OK;
    r2i_buffer_clear(out);
    while (status == R2_OK && (n = gzread(file, chunk, CHUNK)) != 0)
        status = n < 0 ? r2i_fail(err, R2_E_FORMAT, "%.150s: damaged gzip data", path)
                       : r2i_buffer_append(out, chunk, (size_t)n, err);
    if (file != NULL && gzclose(file) != Z_OK && status == R2_OK)
        status = r2i_fail(err, R2_E_FORMAT, "%.150s: damaged gzip data", path);
    return status;
}
#else
static r2_status unpack(r2i_buffer *out, const char *path, r2_error *err) {
    (void)out;
    return r2i_fail(err, R2_E_UNSUPPORTED,
                    "%.150s: this r2lm was built without zlib: unpack it with gunzip first", path);
}
#endif

static r2_status read_file(r2i_eval_files *f, r2i_program *p, const char *path, r2_error *err) {
    if (f->n == R2I_MAX_EVAL_DATA)
        return r2i_fail(err, R2_E_LIMIT, "--data: expected at most %d files", R2I_MAX_EVAL_DATA);
    r2i_buffer *bytes = &f->bytes[f->n];
    r2i_buffer_init(bytes, &p->heap, MAX_DATA_BYTES);
    f->n++;
    R2I_TRY(r2i_file_append(bytes, path, err));
    if (is_packed(bytes)) R2I_TRY(unpack(bytes, path, err));
    f->data[f->n - 1] =
        (r2_eval_data){ path, bytes->bytes != NULL ? bytes->bytes : "", bytes->n_bytes };
    return R2_OK;
}

/* The first of "a|b" that is in the folder. */
static r2_status read_one_of(r2i_eval_files *f, r2i_program *p, const char *folder,
                             const char *names, size_t n, r2_error *err) {
    char path[PATH_BYTES];
    struct stat info;
    for (size_t at = 0; at < n;) {
        const char *end = memchr(names + at, '|', n - at);
        const size_t width = end != NULL ? (size_t)(end - names) - at : n - at;
        (void)snprintf(path, sizeof path, "%.3000s/%.*s", folder, (int)width, names + at);
        if (stat(path, &info) == 0) {
            const char *kept = r2i_arena_copy_text(&p->arena, path, strlen(path));
            if (kept == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for the name of a file");
            return read_file(f, p, kept, err);
        }
        at += width + 1;
    }
    return r2i_fail(err, R2_E_NOT_FOUND, "%.100s: expected %.*s in it", folder, (int)n, names);
}

static r2_status read_folder(r2i_eval_files *f, r2i_program *p, const r2_eval_suite *suite,
                             const char *folder, r2_error *err) {
    if (suite->files[0] == '\0')
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: expected a file, found a folder", folder);
    for (const char *at = suite->files; *at != '\0';) {
        const size_t n = strcspn(at, " ");
        R2I_TRY(read_one_of(f, p, folder, at, n, err));
        at += n + (at[n] == ' ');
    }
    return R2_OK;
}

r2_status r2i_eval_files_read(r2i_eval_files *out, r2i_program *p, const r2_eval_suite *suite,
                              r2_error *err) {
    const r2i_text_list *paths = &p->options->data;
    out->n = 0;
    if (paths->n == 0 && suite->files[0] != '\0')
        return r2i_fail(err, R2_E_ARGUMENT, "%s: expected --data, its files come from: %.140s",
                        suite->name, suite->origin);
    for (int32_t i = 0; i < paths->n; i++) {
        struct stat info;
        const bool is_folder = stat(paths->texts[i], &info) == 0 && S_ISDIR(info.st_mode);
        R2I_TRY(is_folder ? read_folder(out, p, suite, paths->texts[i], err)
                          : read_file(out, p, paths->texts[i], err));
    }
    return R2_OK;
}

void r2i_eval_files_free(r2i_eval_files *files) {
    for (int32_t i = 0; i < files->n; i++)
        r2i_buffer_destroy(&files->bytes[i]);
    files->n = 0;
}
