#define _XOPEN_SOURCE 700 /* mkdir, open, mbrtowc */
#include "cli/line_input.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef R2LM_HAVE_LIBEDIT
#include <histedit.h>
#include <wchar.h>
#endif

enum { HISTORY_LINES = 1000, PATH_BYTES = 4096 };

struct r2i_line_input {
    r2i_program *program;
    const char *prompt;
    char history_path[PATH_BYTES];
#ifdef R2LM_HAVE_LIBEDIT
    EditLine *editor; /* NULL: no terminal */
    History *history;
#endif
};

/* Makes the folders above the history file; "" when there is no place for it. */
static void find_history(char *out) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state != NULL && state[0] == '/')
        n = snprintf(out, PATH_BYTES, "%s/r2lm/history", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(out, PATH_BYTES, "%s/.local/state/r2lm/history", home);
    if (n < 0 || n >= PATH_BYTES) {
        out[0] = '\0';
        return;
    }
    for (char *slash = strchr(out + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(out, 0700);
        *slash = '/';
    }
    const int file = open(out, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0)
        out[0] = '\0';
    else
        (void)close(file);
}

#ifdef R2LM_HAVE_LIBEDIT
static char *give_prompt(EditLine *editor) {
    r2i_line_input *input = NULL;
    (void)el_get(editor, EL_CLIENTDATA, &input);
    return (char *)(uintptr_t)(input != NULL ? input->prompt : "");
}

/* libedit's own reader goes on after a signal; here Ctrl-C ends the line.  Invalid bytes become '?'. */
static int read_character(EditLine *editor, wchar_t *out) {
    mbstate_t state;
    (void)editor;
    memset(&state, 0, sizeof state);
    for (;;) {
        char byte;
        if (!r2i_signals_wait_input()) return -1;
        const ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return (int)n;
        /* What the terminal makes of a Ctrl-D typed before libedit took it over. */
        if (byte == '\0') byte = '\x04';
        const size_t width = mbrtowc(out, &byte, 1, &state);
        if (width == (size_t)-2) continue;
        if (width == (size_t)-1) *out = L'?';
        return 1;
    }
}

/* The prompt goes to standard error, so that standard output carries answers alone. */
static void open_editor(r2i_line_input *input) {
    HistEvent event;
    (void)setlocale(LC_CTYPE, "");
    input->editor = el_init("r2lm", stdin, stderr, stderr);
    input->history = history_init();
    if (input->editor == NULL || input->history == NULL) return;
    (void)el_set(input->editor, EL_CLIENTDATA, input);
    (void)el_set(input->editor, EL_PROMPT, give_prompt);
    (void)el_wset(input->editor, EL_GETCFN, read_character);
    (void)el_set(input->editor, EL_EDITOR, "emacs");
    (void)history(input->history, &event, H_SETSIZE, (int)HISTORY_LINES);
    (void)history(input->history, &event, H_SETUNIQUE, 1);
    (void)el_set(input->editor, EL_HIST, history, input->history);
    find_history(input->history_path);
    if (input->history_path[0] != '\0')
        (void)history(input->history, &event, H_LOAD, input->history_path);
}

static void close_editor(r2i_line_input *input) {
    HistEvent event;
    if (input->history != NULL) {
        if (input->history_path[0] != '\0')
            (void)history(input->history, &event, H_SAVE, input->history_path);
        history_end(input->history);
    }
    if (input->editor != NULL) el_end(input->editor);
}

static r2i_line_result read_edited(r2i_line_input *input, r2i_buffer *out) {
    HistEvent event;
    int n = 0;
    errno = 0;
    const char *line = el_gets(input->editor, &n);
    if (line == NULL || n <= 0) {
        if (r2i_signals_pending() == 0) return R2I_LINE_END;
        el_reset(input->editor);
        return R2I_LINE_INTERRUPTED;
    }
    if (line[strspn(line, " \t\n")] != '\0') (void)history(input->history, &event, H_ENTER, line);
    size_t n_bytes = (size_t)n;
    if (line[n_bytes - 1] == '\n') n_bytes--;
    return r2i_buffer_append(out, line, n_bytes, NULL) == R2_OK ? R2I_LINE_READ : R2I_LINE_END;
}
#endif

r2i_line_input *r2i_line_input_open(r2i_program *program) {
    r2i_line_input *input = R2I_ARENA_NEW(&program->arena, r2i_line_input);
    if (input == NULL) return NULL;
    input->program = program;
#ifdef R2LM_HAVE_LIBEDIT
    if (program->terminal.is_in_tty) open_editor(input);
#else
    (void)find_history;
#endif
    return input;
}

void r2i_line_input_close(r2i_line_input *input) {
#ifdef R2LM_HAVE_LIBEDIT
    close_editor(input);
#else
    (void)input;
#endif
}

static r2i_line_result read_plain(const r2i_line_input *input, r2i_buffer *out) {
    const bool is_tty = input->program->terminal.is_in_tty;
    bool has_any = false;
    if (is_tty) (void)fputs(input->prompt, stderr);
    for (int c; (c = getc(stdin)) != EOF;) {
        const char byte = (char)c;
        has_any = true;
        if (byte == '\n') return R2I_LINE_READ;
        if (r2i_buffer_append(out, &byte, 1, NULL) != R2_OK) return R2I_LINE_END;
    }
    if (r2i_signals_pending() != 0) {
        clearerr(stdin);
        return R2I_LINE_INTERRUPTED;
    }
    return has_any ? R2I_LINE_READ : R2I_LINE_END;
}

r2i_line_result r2i_line_input_read(r2i_line_input *input, const char *prompt, r2i_buffer *out) {
    input->prompt = prompt;
    r2i_buffer_clear(out);
    (void)fflush(stdout);
#ifdef R2LM_HAVE_LIBEDIT
    if (input->editor != NULL && input->history != NULL) return read_edited(input, out);
#endif
    return read_plain(input, out);
}
