#define _XOPEN_SOURCE 700 /* mkstemp, fork */
#include "cli/text_edit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failure.h"
#include "cli/text_input.h"
#include "cli/text_write.h"

enum { PATH_BYTES = 4096 };

static const char *first_set(const char *const *names, const char *otherwise) {
    for (; *names != NULL; names++) {
        const char *text = getenv(*names);
        if (text != NULL && text[0] != '\0') return text;
    }
    return otherwise;
}

/* The variable may hold flags as well, so a shell takes it apart. */
static r2_status run_editor(const char *path, r2_error *err) {
    static const char *const names[] = { "VISUAL", "EDITOR", NULL };
    const char *editor = first_set(names, "vi");
    char command[PATH_BYTES];
    int result = -1;
    const int n = snprintf(command, sizeof command, "%s \"$1\"", editor);
    if (n < 0 || (size_t)n >= sizeof command)
        return r2i_fail(err, R2_E_STATE, "%.60s: name of the editor too long", editor);
    (void)fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        (void)execl("/bin/sh", "sh", "-c", command, "sh", path, (char *)NULL);
        _exit(127);
    }
    while (child > 0 && waitpid(child, &result, 0) < 0 && errno == EINTR) {
    }
    return child > 0 && result == 0
               ? R2_OK
               : r2i_fail(err, R2_E_STATE, "the editor (%.60s) failed; nothing is changed", editor);
}

r2_status r2i_text_edit(r2i_buffer *text, r2_error *err) {
    static const char *const names[] = { "XDG_RUNTIME_DIR", "TMPDIR", NULL };
    char path[PATH_BYTES];
    const int n = snprintf(path, sizeof path, "%s/r2lm-edit-XXXXXX", first_set(names, "/tmp"));
    if (n < 0 || (size_t)n >= sizeof path)
        return r2i_fail(err, R2_E_STATE, "the name of the folder for temporary files is too long");
    const int file = mkstemp(path);
    if (file < 0) return r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
    r2_status status =
        r2i_text_write_to(file, text->bytes != NULL ? text->bytes : "", text->n_bytes, path, err);
    (void)close(file);
    if (status == R2_OK) status = run_editor(path, err);
    r2i_buffer_clear(text);
    if (status == R2_OK) status = r2i_file_append(text, path, err);
    (void)unlink(path);
    while (text->n_bytes > 0 && text->bytes[text->n_bytes - 1] == '\n')
        text->bytes[--text->n_bytes] = '\0';
    return status;
}
