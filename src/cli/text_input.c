#define _POSIX_C_SOURCE 200809L /* fileno, fstat */
#include "cli/text_input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/failure.h"
#include "base/utf8_valid.h"

enum { MAX_TEXT_BYTES = 256 << 20, CHUNK_BYTES = 1 << 16 };

void r2i_prompt_buffer_init(r2i_buffer *buffer, r2i_program *program) {
    r2i_buffer_init(buffer, &program->heap, MAX_TEXT_BYTES);
}

static r2_status append_stream(r2i_buffer *out, FILE *file, const char *path, r2_error *err) {
    static char chunk[CHUNK_BYTES];
    size_t n;
    errno = 0;
    while ((n = fread(chunk, 1, sizeof chunk, file)) > 0)
        R2I_TRY(r2i_buffer_append(out, chunk, n, err));
    return ferror(file) ? r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno)) : R2_OK;
}

r2_status r2i_file_append(r2i_buffer *out, const char *path, r2_error *err) {
    if (strcmp(path, "-") == 0) return append_stream(out, stdin, "standard input", err);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        const int why = errno;
        return r2i_fail(err, why == ENOENT ? R2_E_NOT_FOUND : R2_E_IO, "%.150s: %s", path,
                        strerror(why));
    }
    struct stat info;
    const bool is_folder = fstat(fileno(file), &info) == 0 && S_ISDIR(info.st_mode);
    const r2_status status =
        is_folder ? r2i_fail(err, R2_E_FORMAT, "%.150s: expected a file, found a folder", path)
                  : append_stream(out, file, path, err);
    (void)fclose(file);
    return status;
}

static r2_status append_part(r2i_buffer *out, const char *text, const char *between,
                             r2_error *err) {
    if (out->n_bytes > 0) R2I_TRY(r2i_buffer_append_text(out, between, err));
    return r2i_buffer_append_text(out, text, err);
}

r2_status r2i_prompt_collect(r2i_buffer *out, r2i_program *p, int first_word, r2_error *err) {
    const r2i_options *o = p->options;
    const bool has_words = first_word < p->arguments.n_words;
    if (o->prompt != NULL) R2I_TRY(append_part(out, o->prompt, "", err));
    for (int i = first_word; i < p->arguments.n_words; i++) {
        R2I_TRY(append_part(out, p->arguments.words[i], i > first_word ? " " : "\n\n", err));
    }
    if (o->file != NULL) {
        if (out->n_bytes > 0) R2I_TRY(r2i_buffer_append_text(out, "\n\n", err));
        R2I_TRY(r2i_file_append(out, o->file, err));
    } else if (!p->terminal.is_in_tty && o->prompt == NULL) {
        const size_t before = out->n_bytes;
        if (has_words) R2I_TRY(r2i_buffer_append_text(out, "\n\n", err));
        const size_t begin = out->n_bytes;
        R2I_TRY(r2i_file_append(out, "-", err));
        if (out->n_bytes == begin && has_words) {
            out->n_bytes = before;
            out->bytes[before] = '\0';
        }
    }
    if (out->n_bytes > 0 || o->prompt != NULL) return R2_OK;
    if (first_word > 0) { /* the likeliest mistake: a question alone */
        return r2i_fail(err, R2_E_ARGUMENT,
                        "\"%.60s\" was taken as the model; expected a prompt: -p TEXT, -f FILE, "
                        "standard input or words behind the model",
                        p->arguments.words[0]);
    }
    return r2i_fail(err, R2_E_ARGUMENT, "expected a prompt: -p TEXT, -f FILE or standard input");
}

r2_status r2i_prompt_check(const r2i_buffer *prompt, r2_error *err) {
    if (prompt->n_bytes == 0) return R2_OK;
    const char *zero = memchr(prompt->bytes, '\0', prompt->n_bytes);
    if (zero != NULL) {
        return r2i_fail(err, R2_E_FORMAT, "prompt: expected text, found a zero byte at byte %td",
                        zero - prompt->bytes);
    }
    if (r2i_utf8_is_valid(prompt->bytes, prompt->n_bytes)) return R2_OK;
    return r2i_fail(err, R2_E_FORMAT, "prompt: expected UTF-8 text, found other bytes");
}
