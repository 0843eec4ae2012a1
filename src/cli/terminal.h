/* terminal.h - what may be written where: colours, progress, and text that a model made up. */
#ifndef R2I_TERMINAL_H
#define R2I_TERMINAL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    bool is_out_tty, is_err_tty, is_in_tty;
    bool has_color; /* on standard error and, in chat, on standard output */
    bool is_quiet;
    bool has_bar; /* a progress line stands on standard error */
    int64_t last_bar_ns;
} r2i_terminal;

/* `color` is auto, always or never; NO_COLOR, CLICOLOR_FORCE and TERM decide in between. */
void r2i_terminal_init(r2i_terminal *terminal, const char *color, bool is_quiet);
/* Writes model output: on a terminal without control characters other than newline and tab, so that
 * no escape sequence gets through.  Elsewhere byte by byte as it is. */
void r2i_terminal_write(const r2i_terminal *terminal, bool to_err, const char *text);
/* Removes C0 and C1 control characters but \n and \t in place. */
void r2i_text_strip_controls(char *text);
/* A line on standard error; on a terminal the next one takes its place, and it is cut to the width. */
void r2i_terminal_line(r2i_terminal *terminal, const char *text);
/* It stays, and what follows begins below it. */
void r2i_terminal_keep_line(r2i_terminal *terminal);
/* "reading 512/8192 tokens": a bar on a terminal, elsewhere a line every ten seconds. */
void r2i_terminal_progress(r2i_terminal *terminal, const char *what, int64_t n_done, int64_t n_all);
void r2i_terminal_clear_progress(r2i_terminal *terminal);
/* Escape sequences or "". */
const char *r2i_terminal_dim(const r2i_terminal *terminal);
const char *r2i_terminal_bold(const r2i_terminal *terminal);
const char *r2i_terminal_plain(const r2i_terminal *terminal);

/* Ctrl-C and SIGTERM set a flag that long work asks for; a second one ends the program at once. */
void r2i_signals_catch(void);
/* The signal that came, or 0. */
int r2i_signals_pending(void);
void r2i_signals_clear(void);
/* A limit on the size of files becomes an error of the write and no longer ends the program. */
void r2i_signals_ignore_limit(void);
/* From here to the next call with false, Ctrl-T on the terminal of standard input is remembered. */
void r2i_think_key_watch(bool is_on);
/* True once for each time it was pressed. */
bool r2i_think_key_pressed(void);
/* Threads started in between never receive these signals, so that waits of this one are interrupted. */
void r2i_signals_hold(void);
void r2i_signals_release(void);
/* Waits until standard input has something.  False: a signal came, even just before the call. */
bool r2i_signals_wait_input(void);
#endif
