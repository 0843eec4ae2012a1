#define _GNU_SOURCE /* pidfd_open's number, wait4 */
#include "sandbox/supervise.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/failure.h"
#include "sandbox/folder_size.h"
#include "sandbox/process_tree.h"

enum {
    FIRST_LOOK_MS = 5,
    LOOK_MS = 20, /* between two looks at processes and memory */
    FOLDER_LOOKS = 10,
    PIECE_BYTES = 1 << 16,
    STATUS_BYTES = 4096,
    END_MS = 5000 /* for what was killed to be gone */
};

/* Between the last look and the kernel's own limit. */
static const double slack_seconds = 0.2;

typedef struct {
    r2i_buffer text;
    int *fd; /* of the cage; -1 at its end */
    int64_t room;
    bool is_cut;
} stream;

typedef struct {
    r2i_cage *cage;
    r2_sandbox_result *result;
    int64_t start_ns, busy_ns; /* of the last look that saw processor time used */
    int pid_file;              /* readable when the child has ended */
    int inner_file;            /* namespaces: when process 1 has, and with it all others */
    stream out, err;
    char told[STATUS_BYTES]; /* by bwrap */
    size_t n_told;
    int32_t n_looks;
    r2i_process_tree most; /* that a look found */
    bool is_killed;
    r2_sandbox_end why;
    r2_error *error;
} watch;

/* ---- streams ---- */

static void close_file(int *fd) {
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

/* Reads what is there; what there is no room for is thrown away, so that the program is not held up. */
static r2_status drain(stream *s, r2_error *err) {
    char piece[PIECE_BYTES];
    const ssize_t n = read(*s->fd, piece, sizeof piece);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) close_file(s->fd);
    if (n <= 0) return R2_OK;
    const int64_t kept = n < s->room ? n : s->room;
    s->room -= kept;
    s->is_cut = s->is_cut || kept < n;
    return kept > 0 ? r2i_buffer_append(&s->text, piece, (size_t)kept, err) : R2_OK;
}

static void read_status(watch *w) {
    char *to = w->told + w->n_told;
    const ssize_t n = read(w->cage->status, to, sizeof w->told - 1 - w->n_told);
    if (n > 0) w->n_told += (size_t)n;
    if (n == 0 || w->n_told == sizeof w->told - 1) close_file(&w->cage->status);
}

/* ---- limits ---- */

static void kill_all(watch *w, r2_sandbox_end why) {
    if (!w->is_killed) w->why = why;
    w->is_killed = true;
    if (w->cage->inner > 0)
        (void)kill(w->cage->inner, SIGKILL);
    else
        (void)kill(-w->cage->pid, SIGKILL);
    (void)kill(w->cage->pid, SIGKILL);
}

static double seconds_since(int64_t ns) {
    return (double)(r2i_clock_ns() - ns) * 1e-9;
}

/* The folder that nothing but looks limits. */
static bool work_fits(const watch *w) {
    const r2_sandbox_limits *l = &w->cage->limits;
    const char *folder = w->cage->inner > 0 ? w->cage->options->work : w->cage->folder;
    return folder == NULL || r2i_folder_fits(folder, l->disk_bytes, l->max_files);
}

static bool folders_fit(const watch *w) {
    static const char *const inside[] = { "work", "tmp", "dev/shm" };
    enum { SHARED = 2 };
    const r2_sandbox_limits *l = &w->cage->limits;
    char path[64];
    if (!work_fits(w)) return false;
    for (int i = 0; w->cage->inner > 0 && i <= SHARED; i++) {
        const int64_t n_bytes = i == SHARED ? R2I_SHARED_MEMORY_BYTES : l->disk_bytes;
        (void)snprintf(path, sizeof path, "/proc/%d/root/%s", (int)w->cage->inner, inside[i]);
        if (!r2i_file_system_fits(path, n_bytes, l->max_files)) return false;
    }
    return true;
}

static bool is_canceled(const watch *w) {
    const r2_sandbox_options *o = w->cage->options;
    return o->is_canceled != NULL && o->is_canceled(o->host.user);
}

static void look(watch *w) {
    const r2_sandbox_limits *l = &w->cage->limits;
    r2i_process_tree tree;
    if (w->cage->inner > 0)
        r2i_process_tree_measure(&tree, w->cage->inner, l->max_processes);
    else
        r2i_process_group_measure(&tree, w->cage->pid, l->max_processes);
    if (tree.memory_bytes > w->most.memory_bytes) w->most.memory_bytes = tree.memory_bytes;
    if (tree.cpu_seconds > w->most.cpu_seconds) {
        w->most.cpu_seconds = tree.cpu_seconds;
        w->busy_ns = r2i_clock_ns();
    }
    if (tree.n_tasks > l->max_processes) kill_all(w, R2_ENDED_PROCESSES);
    if (tree.memory_bytes > l->memory_bytes) kill_all(w, R2_ENDED_MEMORY);
    if (tree.cpu_seconds > l->cpu_seconds) kill_all(w, R2_ENDED_CPU);
    if (seconds_since(w->busy_ns) > l->idle_seconds) kill_all(w, R2_ENDED_WALL);
    if (w->n_looks++ % FOLDER_LOOKS == 0 && !folders_fit(w)) kill_all(w, R2_ENDED_DISK);
    if (is_canceled(w)) kill_all(w, R2_ENDED_CANCELED);
}

/* ---- the end ---- */

static bool has_ended(const watch *w) {
    siginfo_t about = { 0 };
    return waitid(P_PID, (id_t)w->cage->pid, &about, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           about.si_pid != 0;
}

static r2_status pass(watch *w, int wait_ms) {
    struct pollfd files[] = { { w->pid_file, POLLIN, 0 },
                              { *w->out.fd, POLLIN, 0 },
                              { *w->err.fd, POLLIN, 0 },
                              { w->cage->status, POLLIN, 0 } };
    if (poll(files, sizeof files / sizeof *files, wait_ms) < 0 && errno != EINTR)
        return r2i_fail(w->error, R2_E_IO, "sandbox: %s", strerror(errno));
    if (files[1].revents != 0) R2I_TRY(drain(&w->out, w->error));
    if (files[2].revents != 0) R2I_TRY(drain(&w->err, w->error));
    if (files[3].revents != 0) read_status(w);
    return R2_OK;
}

/* Until the child has ended; what it left in the pipes is read behind that. */
static r2_status watch_child(watch *w) {
    const double wall = w->cage->limits.wall_seconds;
    int64_t next_look = w->start_ns + (int64_t)FIRST_LOOK_MS * 1000000;
    while (!has_ended(w)) {
        const int64_t now = r2i_clock_ns();
        if (seconds_since(w->start_ns) > wall) kill_all(w, R2_ENDED_WALL);
        if (seconds_since(w->start_ns) > wall + END_MS / 1e3)
            return r2i_fail(w->error, R2_E_IO, "sandbox: a program that was killed does not end");
        if (now >= next_look) {
            look(w);
            next_look = r2i_clock_ns() + (int64_t)LOOK_MS * 1000000;
        }
        R2I_TRY(pass(w, now >= next_look ? 0 : (int)((next_look - now) / 1000000) + 1));
    }
    if (w->cage->inner == 0)
        (void)kill(-w->cage->pid, SIGKILL); /* what it started and left behind */
    if (!w->is_killed && !work_fits(w)) kill_all(w, R2_ENDED_DISK); /* written between two looks */
    return R2_OK;
}

static r2_status read_rest(watch *w) {
    const int64_t start = r2i_clock_ns();
    while ((*w->out.fd >= 0 || *w->err.fd >= 0 || w->cage->status >= 0) &&
           seconds_since(start) < END_MS / 1e3) {
        close_file(&w->pid_file); /* it would not wait any more */
        R2I_TRY(pass(w, LOOK_MS));
    }
    return R2_OK;
}

static bool is_gone(int process_file) {
    struct pollfd file = { process_file, POLLIN, 0 };
    int n;
    do {
        n = poll(&file, 1, END_MS);
    } while (n < 0 && errno == EINTR);
    return n != 0;
}

/* bwrap does not wait for its process 1, which ends last of all in its namespace. */
static r2_status wait_for_all(const watch *w) {
    if (w->inner_file < 0 || is_gone(w->inner_file)) return R2_OK;
    (void)kill(w->cage->inner, SIGKILL);
    if (is_gone(w->inner_file)) return R2_OK;
    return r2i_fail(w->error, R2_E_IO, "sandbox: a program that was killed does not end");
}

/* The program's exit code as bwrap tells it; -1: it told none, so the program never ran. */
static int told_code(const watch *w) {
    const char *at = strstr(w->told, "\"exit-code\"");
    at = at != NULL ? strchr(at, ':') : NULL;
    int code = -1;
    return at != NULL && sscanf(at + 1, "%d", &code) == 1 ? code : -1;
}

static r2_status explain(watch *w, int code) {
    r2_sandbox_result *r = w->result;
    const char *said = w->err.text.bytes != NULL ? w->err.text.bytes : "";
    const int width = (int)strcspn(said, "\n");
    if (strncmp(said, "bwrap: execvp ", 14) == 0 && (code < 0 || code == 1))
        return r2i_fail(w->error, R2_E_NOT_FOUND, "sandbox: %.*s",
                        width - 14 > 140 ? 140 : width - 14, said + 14);
    if (code < 0)
        return r2i_fail(w->error, R2_E_SANDBOX, "sandbox: the program was not started: %.*s",
                        width > 140 ? 140 : width, said);
    r->exit_code = code;
    r->end = code > 128 && code <= 128 + 64 ? R2_ENDED_SIGNAL : R2_ENDED_EXIT;
    const double left = w->cage->limits.cpu_seconds - r->cpu_seconds;
    if (code == 128 + SIGXCPU || (code == 128 + SIGKILL && left < slack_seconds))
        r->end = R2_ENDED_CPU;
    return R2_OK;
}

static double seconds_of(const struct timeval *t) {
    return (double)t->tv_sec + (double)t->tv_usec * 1e-6;
}

/* bwrap does not wait for its process 1, so the kernel tells of bwrap alone: what was seen counts. */
static r2_status finish(watch *w) {
    r2_sandbox_result *r = w->result;
    struct rusage used = { 0 };
    int status = 0;
    r->wall_seconds = seconds_since(w->start_ns);
    if (wait4(w->cage->pid, &status, 0, &used) < 0) status = 0;
    r->cpu_seconds =
        fmax(seconds_of(&used.ru_utime) + seconds_of(&used.ru_stime), w->most.cpu_seconds);
    r->memory_bytes = (int64_t)used.ru_maxrss * 1024;
    if (w->most.memory_bytes > r->memory_bytes) r->memory_bytes = w->most.memory_bytes;
    if (w->is_killed) {
        r->end = w->why;
        r->exit_code = 128 + SIGKILL;
        return R2_OK;
    }
    const int own = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    const int told = w->cage->inner > 0 ? told_code(w) : own;
    return explain(w, told < 0 && WIFSIGNALED(status) ? own
                                                      : told); /* bwrap was killed: who knows why */
}

/* As r2_sandbox_free gives it back: n bytes and a 0. */
static char *copy_text(const stream *s, size_t *n, r2i_heap *heap) {
    *n = s->text.n_bytes;
    char *text = r2i_heap_take(heap, *n + 1);
    if (text == NULL) return NULL;
    if (*n > 0) memcpy(text, s->text.bytes, *n);
    text[*n] = '\0';
    return text;
}

static r2_status give_texts(watch *w, r2i_heap *heap) {
    r2_sandbox_result *r = w->result;
    r->is_out_cut = w->out.is_cut;
    r->is_err_cut = w->err.is_cut;
    r->out = copy_text(&w->out, &r->n_out, heap);
    r->err = copy_text(&w->err, &r->n_err, heap);
    if (r->out != NULL && r->err != NULL) return R2_OK;
    if (r->out != NULL) r2i_heap_give(heap, r->out, r->n_out + 1);
    if (r->err != NULL) r2i_heap_give(heap, r->err, r->n_err + 1);
    return r2i_fail(w->error, R2_E_NOMEM, "sandbox: no memory for what the program wrote");
}

r2_status r2i_supervise(r2_sandbox_result *result, r2i_cage *cage, r2i_heap *heap, r2_error *err) {
    const int64_t room = cage->limits.output_bytes;
    watch w = { .cage = cage,
                .result = result,
                .start_ns = r2i_clock_ns(),
                .busy_ns = r2i_clock_ns(),
                .pid_file = (int)syscall(SYS_pidfd_open, cage->pid, 0),
                .inner_file = cage->inner > 0 ? (int)syscall(SYS_pidfd_open, cage->inner, 0) : -1,
                .out = { .fd = &cage->out, .room = room },
                .err = { .fd = &cage->err, .room = room },
                .error = err };
    r2i_buffer_init(&w.out.text, heap, (size_t)room);
    r2i_buffer_init(&w.err.text, heap, (size_t)room);
    r2_status status = watch_child(&w);
    if (status != R2_OK) kill_all(&w, R2_ENDED_CANCELED);
    if (status == R2_OK) status = read_rest(&w);
    if (status == R2_OK) status = wait_for_all(&w);
    const r2_status end = finish(&w);
    if (status == R2_OK) status = end;
    if (status == R2_OK) status = give_texts(&w, heap);
    r2i_buffer_destroy(&w.out.text);
    r2i_buffer_destroy(&w.err.text);
    close_file(&w.pid_file);
    close_file(&w.inner_file);
    return status;
}
