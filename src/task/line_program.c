#define _GNU_SOURCE /* SOCK_CLOEXEC, F_DUPFD_CLOEXEC */
#include "task/line_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failure.h"
#include "sandbox/launch.h"

enum { ABOVE_STANDARD = 3, MAX_OPEN = 1024, CHUNK = 1 << 16, LEAVE_MS = 1000, LOOK_MS = 5 };
static const double forever_seconds = 1e9;
static const int64_t ns_per_ms = 1000000;

/* Our own standard error under a number that the child does not overwrite. */
static int copy_of_errors(void) {
    const int copy = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, ABOVE_STANDARD);
    return copy >= 0 ? copy : open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static int above_standard(int file) {
    if (file < 0 || file >= ABOVE_STANDARD) return file;
    const int moved = fcntl(file, F_DUPFD_CLOEXEC, ABOVE_STANDARD);
    (void)close(file);
    return moved;
}

static r2_status launch(r2i_line_program *p, const char *command, int theirs, int errors,
                        r2_error *err) {
    const char *const arguments[] = { "sh", "-c", command, NULL };
    const r2i_launch how = { .path = "/bin/sh",
                             .arguments = (char *const *)(uintptr_t)arguments,
                             .environment = environ,
                             .standard = { theirs, theirs, errors },
                             .has_session = true,
                             .cpu_seconds = forever_seconds,
                             .memory_bytes = INT64_MAX,
                             .file_bytes = INT64_MAX,
                             .max_open = MAX_OPEN,
                             .landlock = -1 };
    return r2i_launch_start(&p->pid, &how, err);
}

r2_status r2i_line_program_start(r2i_line_program *p, const char *command, r2_error *err) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return r2i_fail(err, R2_E_IO, "verifier: no socket: %s", strerror(errno));
    const int theirs = above_standard(ends[1]), errors = copy_of_errors();
    p->socket = ends[0];
    p->exit_code = -1;
    const r2_status status = theirs >= 0 && errors >= 0
                                 ? launch(p, command, theirs, errors, err)
                                 : r2i_fail(err, R2_E_IO, "verifier: no file: %s", strerror(errno));
    if (theirs >= 0) (void)close(theirs);
    if (errors >= 0) (void)close(errors);
    if (status != R2_OK) {
        (void)close(p->socket);
        p->pid = 0;
    }
    return status;
}

static bool wait_for_end(r2i_line_program *p, int ms) {
    int state = 0;
    for (;; ms -= LOOK_MS) {
        const pid_t pid = waitpid(p->pid, &state, WNOHANG);
        if (pid == p->pid && WIFEXITED(state)) p->exit_code = WEXITSTATUS(state);
        if (pid == p->pid || (pid < 0 && errno != EINTR)) return true;
        if (ms <= 0) return false;
        (void)poll(NULL, 0, LOOK_MS);
    }
}

void r2i_line_program_stop(r2i_line_program *p, bool is_now) {
    if (p->pid == 0) return;
    (void)shutdown(p->socket, SHUT_WR);
    const bool has_ended = wait_for_end(p, is_now ? 0 : LEAVE_MS);
    (void)kill(-p->pid, SIGKILL); /* and what it left behind */
    if (!has_ended) (void)waitpid(p->pid, NULL, 0);
    (void)close(p->socket);
    p->pid = 0;
}

/* ---- a line there and one back ---- */

/* False: the time is up. */
static bool wait_for(const r2i_line_program *p, short what, int64_t end_ns) {
    for (;;) {
        const int64_t left = end_ns - r2i_clock_ns();
        if (left <= 0) return false;
        struct pollfd file = { .fd = p->socket, .events = what };
        const int n =
            poll(&file, 1, (int)(left / ns_per_ms < 1000000 ? left / ns_per_ms + 1 : 1000000));
        if (n > 0) return true;
        if (n < 0 && errno != EINTR) return false;
    }
}

static r2i_line_end ended(r2i_line_program *p) {
    (void)wait_for_end(p, LEAVE_MS);
    const int code = p->exit_code;
    if (code >= 0)
        (void)snprintf(p->why, sizeof p->why, "it ended with exit code %d", code);
    else
        (void)snprintf(p->why, sizeof p->why, "it closed its output or was killed");
    return R2I_LINE_ENDED;
}

static r2i_line_end timed_out(r2i_line_program *p, double seconds) {
    if (p->reply.n_bytes > 0)
        (void)snprintf(p->why, sizeof p->why, "no end of its line within %g s", seconds);
    else
        (void)snprintf(p->why, sizeof p->why,
                       "no reply within %g s (does it flush its output after each line?)", seconds);
    return R2I_LINE_TIMEOUT;
}

static r2i_line_end send_line(r2i_line_program *p, const char *line, size_t n, double seconds,
                              int64_t end_ns) {
    while (n > 0) {
        if (!wait_for(p, POLLOUT, end_ns)) return timed_out(p, seconds);
        const ssize_t sent = send(p->socket, line, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) break; /* its last words are read */
        if (sent > 0) line += sent, n -= (size_t)sent;
    }
    return R2I_LINE_OK;
}

/* As far as it has come. */
static bool begins_object(const r2i_buffer *reply) {
    for (size_t i = 0; i < reply->n_bytes; i++) {
        if (strchr(" \t\r", reply->bytes[i]) == NULL || reply->bytes[i] == '\0')
            return reply->bytes[i] == '{';
    }
    return true;
}

static r2i_line_end receive_line(r2i_line_program *p, double seconds, int64_t end_ns,
                                 r2_status *status, r2_error *err) {
    char chunk[CHUNK];
    for (;;) {
        if (!wait_for(p, POLLIN, end_ns)) return timed_out(p, seconds);
        const ssize_t n = recv(p->socket, chunk, sizeof chunk, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return ended(p);
        if (n < 0) continue;
        const char *end = memchr(chunk, '\n', (size_t)n);
        const size_t n_line = end != NULL ? (size_t)(end - chunk) : (size_t)n;
        *status = r2i_buffer_append(&p->reply, chunk, n_line, err);
        if (*status == R2_E_LIMIT || (end != NULL && end != chunk + n - 1)) {
            *status = R2_OK;
            (void)snprintf(p->why, sizeof p->why, "its reply is more than one line, or too long");
            return R2I_LINE_TOO_LONG;
        }
        /* What does not begin as an object is none: its end is not waited for. */
        if (*status != R2_OK || end != NULL || !begins_object(&p->reply)) return R2I_LINE_OK;
    }
}

r2i_line_end r2i_line_program_ask(r2i_line_program *p, const char *line, size_t n_bytes,
                                  double seconds, r2_status *status, r2_error *err) {
    const int64_t end_ns = r2i_clock_ns() + (int64_t)(seconds * 1e9);
    *status = R2_OK;
    r2i_buffer_clear(&p->reply);
    r2i_line_end end = send_line(p, line, n_bytes, seconds, end_ns);
    if (end == R2I_LINE_OK) end = receive_line(p, seconds, end_ns, status, err);
    if (end != R2I_LINE_OK) r2i_line_program_stop(p, true);
    return end;
}
