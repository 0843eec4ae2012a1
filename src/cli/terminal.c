#define _POSIX_C_SOURCE 200809L /* sigaction, isatty */
#include "cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"

static bool wants_color(const char *color, bool is_tty) {
    if (color != NULL && strcmp(color, "always") == 0) return true;
    if (color != NULL && strcmp(color, "never") == 0) return false;
    const char *no = getenv("NO_COLOR"), *force = getenv("CLICOLOR_FORCE"), *term = getenv("TERM");
    if (no != NULL && no[0] != '\0') return false;
    if (force != NULL && force[0] != '\0' && strcmp(force, "0") != 0) return true;
    return is_tty && term != NULL && strcmp(term, "dumb") != 0;
}

void r2i_terminal_init(r2i_terminal *terminal, const char *color, bool is_quiet) {
    *terminal = (r2i_terminal){ .is_out_tty = isatty(STDOUT_FILENO) == 1,
                                .is_err_tty = isatty(STDERR_FILENO) == 1,
                                .is_in_tty = isatty(STDIN_FILENO) == 1,
                                .is_quiet = is_quiet };
    terminal->has_color = wants_color(color, terminal->is_err_tty);
}

/* Bytes of the control character at `c`, or 0.  C1 characters are C2 80..C2 9F in UTF-8. */
static size_t control_bytes(const unsigned char *c) {
    if (c[0] == '\n' || c[0] == '\t') return 0;
    if (c[0] < 0x20 || c[0] == 0x7f) return 1;
    return c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f ? 2 : 0;
}

void r2i_text_strip_controls(char *text) {
    char *to = text;
    for (const char *at = text; *at != '\0';) {
        const size_t n = control_bytes((const unsigned char *)at);
        if (n == 0)
            *to++ = *at++;
        else
            at += n;
    }
    *to = '\0';
}

void r2i_terminal_write(const r2i_terminal *terminal, bool to_err, const char *text) {
    FILE *file = to_err ? stderr : stdout;
    const bool is_tty = to_err ? terminal->is_err_tty : terminal->is_out_tty;
    if (!is_tty) {
        (void)fputs(text, file);
        return;
    }
    for (const char *at = text; *at != '\0';) {
        const size_t n = control_bytes((const unsigned char *)at);
        if (n == 0)
            (void)fputc((unsigned char)*at++, file);
        else
            at += n;
    }
}

/* Columns of the terminal behind standard error. */
static int columns(void) {
    struct winsize size;
    const bool is_known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return is_known ? size.ws_col : 80;
}

void r2i_terminal_line(r2i_terminal *t, const char *text) {
    if (t->is_quiet) return;
    if (!t->is_err_tty) {
        fprintf(stderr, "%s\n", text);
        return;
    }
    fprintf(stderr, "\r\033[K%.*s", columns() - 1, text);
    t->has_bar = true;
}

void r2i_terminal_keep_line(r2i_terminal *t) {
    if (t->has_bar) (void)fputc('\n', stderr);
    t->has_bar = false;
}

void r2i_terminal_progress(r2i_terminal *t, const char *what, int64_t n_done, int64_t n_all) {
    enum { BAR_NS = 100000000, LINE_BARS = 100, CELLS = 24, LINE_BYTES = 160 };
    const int64_t now = r2i_clock_ns(),
                  wait = t->is_err_tty ? (int64_t)BAR_NS : (int64_t)BAR_NS * LINE_BARS;
    if (t->is_quiet || n_all <= 0) return;
    if (t->last_bar_ns == 0) t->last_bar_ns = t->is_err_tty ? now - wait : now;
    if (now - t->last_bar_ns < wait) return;
    t->last_bar_ns = now;
    char bar[CELLS + 1], text[LINE_BYTES];
    for (int i = 0; i < CELLS; i++)
        bar[i] = (int64_t)i * n_all < n_done * CELLS ? '#' : '.';
    bar[CELLS] = '\0';
    (void)snprintf(text, sizeof text, "%s%s%s%s %lld/%lld", what, t->is_err_tty ? " [" : "",
                   t->is_err_tty ? bar : "", t->is_err_tty ? "]" : "", (long long)n_done,
                   (long long)n_all);
    r2i_terminal_line(t, text);
}

void r2i_terminal_clear_progress(r2i_terminal *t) {
    if (t->has_bar) fprintf(stderr, "\r\033[K");
    t->has_bar = false;
    t->last_bar_ns = 0;
}

const char *r2i_terminal_dim(const r2i_terminal *t) {
    return t->has_color ? "\x1b[2m" : "";
}

const char *r2i_terminal_bold(const r2i_terminal *t) {
    return t->has_color ? "\x1b[1m" : "";
}

const char *r2i_terminal_plain(const r2i_terminal *t) {
    return t->has_color ? "\x1b[0m" : "";
}

/* A handler can reach nothing but a variable at file scope. */
static volatile sig_atomic_t pending_signal;

/* Ctrl-T takes the place of the key that sends SIGQUIT, so that nothing has to be read. */
enum { THINK_KEY = 'T' & 0x1f };
static volatile sig_atomic_t is_think_key_pressed, is_think_key_watched;
static struct termios usual_keys;

static void on_signal(int number) {
    if (pending_signal != 0 && is_think_key_watched)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &usual_keys);
    if (pending_signal != 0) _exit(128 + number);
    pending_signal = number;
}

void r2i_signals_catch(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

void r2i_signals_ignore_limit(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_IGN;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGXFSZ, &action, NULL);
}

static void on_think_key(int number) {
    (void)number;
    is_think_key_pressed = 1;
}

void r2i_think_key_watch(bool is_on) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    if (is_on == (is_think_key_watched != 0)) return;
    if (is_on && tcgetattr(STDIN_FILENO, &usual_keys) != 0) return; /* no terminal */
    struct termios keys = usual_keys;
    if (is_on) keys.c_cc[VQUIT] = THINK_KEY;
    action.sa_handler = is_on ? on_think_key : SIG_DFL;
    action.sa_flags = SA_RESTART;
    (void)sigemptyset(&action.sa_mask);
    if (is_on) (void)sigaction(SIGQUIT, &action, NULL);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    if (!is_on) (void)sigaction(SIGQUIT, &action, NULL);
    is_think_key_pressed = 0;
    is_think_key_watched = is_on;
}

bool r2i_think_key_pressed(void) {
    const bool is_pressed = is_think_key_pressed != 0;
    is_think_key_pressed = 0;
    return is_pressed;
}

int r2i_signals_pending(void) {
    return pending_signal;
}

void r2i_signals_clear(void) {
    if (pending_signal != 0) clearerr(stdout); /* a write that it cut short is no failure */
    pending_signal = 0;
}

static void change_mask(int how, sigset_t *before) {
    sigset_t both;
    (void)sigemptyset(&both);
    (void)sigaddset(&both, SIGINT);
    (void)sigaddset(&both, SIGTERM);
    (void)pthread_sigmask(how, &both, before);
}

void r2i_signals_hold(void) {
    change_mask(SIG_BLOCK, NULL);
}

void r2i_signals_release(void) {
    change_mask(SIG_UNBLOCK, NULL);
}

bool r2i_signals_wait_input(void) {
    sigset_t before;
    fd_set input;
    FD_ZERO(&input);
    FD_SET(STDIN_FILENO, &input);
    change_mask(SIG_BLOCK, &before);
    int n = -1;
    while (n < 0 && pending_signal == 0)
        n = pselect(STDIN_FILENO + 1, &input, NULL, NULL, NULL, &before);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pending_signal == 0;
}
