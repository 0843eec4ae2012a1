#define _POSIX_C_SOURCE 200809L /* fork, pipe, dup2 */
#include "cli/pager.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOT_FOUND = 127 };

static void become(const char *const *arguments, const int ends[2]) {
    (void)dup2(ends[0], STDIN_FILENO);
    (void)close(ends[0]);
    (void)close(ends[1]);
    /* exec takes its words as if it might change them; it does not. */
    (void)execvp(arguments[0], (char *const *)(uintptr_t)arguments);
    _exit(NOT_FOUND);
}

/* Standard output goes into the pipe meanwhile.  A reader who leaves early is no failure. */
static void feed(int end, void (*print)(const void *what), const void *what) {
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    struct sigaction before;
    const int out = dup(STDOUT_FILENO);
    (void)sigaction(SIGPIPE, &ignore, &before);
    (void)dup2(end, STDOUT_FILENO);
    (void)close(end);
    print(what);
    (void)fflush(stdout);
    clearerr(stdout);
    (void)dup2(out, STDOUT_FILENO);
    (void)close(out);
    (void)sigaction(SIGPIPE, &before, NULL);
}

bool r2i_pager_show(const char *const *arguments, void (*print)(const void *what),
                    const void *what) {
    int ends[2], result = 0;
    (void)fflush(NULL);
    if (pipe(ends) != 0) return false;
    const pid_t child = fork();
    if (child == 0) become(arguments, ends);
    (void)close(ends[0]);
    if (child < 0) {
        (void)close(ends[1]);
        return false;
    }
    feed(ends[1], print, what);
    while (waitpid(child, &result, 0) < 0 && errno == EINTR) {
    }
    return !(WIFEXITED(result) && WEXITSTATUS(result) == NOT_FOUND);
}
