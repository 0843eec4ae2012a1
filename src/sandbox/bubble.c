/* bubble.c - a cage of namespaces, built by bubblewrap. */
#define _GNU_SOURCE /* pipe2, prlimit */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failure.h"
#include "sandbox/cage.h"
#include "sandbox/syscall_filter.h"

enum {
    MAX_OPEN = 256,
    MAX_ARGUMENTS = 512,
    TEXT_BYTES = 64,

    OWN_PROCESSES = 3 /* of bwrap */,
    START_MS = 10000,
    STATUS_BYTES = 1024,
    USER = 1000
};

typedef struct {
    r2i_cage *cage;
    r2i_launch launch;
    char *arguments[MAX_ARGUMENTS]; /* NULL ends */
    int n;
    int block;    /* the caller's end of what the program waits for */
    bool is_full; /* an argument had no room */
    r2_error *err;
} builder;

/* The path of bubblewrap; NULL: not on this machine. */
static const char *bubble_path(void) {
    static const char *const paths[] = { "/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap" };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (access(paths[i], X_OK) == 0) return paths[i];
    }
    return NULL;
}

/* ---- arguments ---- */

static void add(builder *b, const char *text) {
    char *copy =
        b->n < MAX_ARGUMENTS - 1 ? r2i_arena_copy_text(b->cage->arena, text, strlen(text)) : NULL;
    if (copy != NULL) b->arguments[b->n++] = copy;
    b->is_full = b->is_full || copy == NULL;
}

static void add_number(builder *b, int64_t number) {
    char text[TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%lld", (long long)number);
    add(b, text);
}

static void add_all(builder *b, const char *const *texts, int n) {
    for (int i = 0; i < n; i++)
        add(b, texts[i]);
}
#define ADD(b, ...)                                               \
    do {                                                          \
        static const char *const added[] = { __VA_ARGS__ };       \
        add_all((b), added, (int)(sizeof added / sizeof *added)); \
    } while (0)

/* A file that the program's side keeps; it is closed behind the start. */
static void keep(builder *b, int fd) {
    if (fd < 0 || b->launch.n_kept == R2I_LAUNCH_KEPT) {
        if (fd >= 0) (void)close(fd);
        b->is_full = true;
        return;
    }
    b->launch.kept[b->launch.n_kept++] = fd;
}

/* `flag` FD `path`: bytes that appear as a file. */
static void add_file(builder *b, const char *flag, const char *path, const void *bytes,
                     size_t n_bytes) {
    const int fd = r2i_file_of_bytes(bytes, n_bytes);
    keep(b, fd);
    add(b, flag);
    add_number(b, fd);
    add(b, path);
}

/* The machine's programs and libraries; where /bin and the like are links, links. */
static void add_system(builder *b) {
    static const char *const folders[] = { "bin", "sbin", "lib", "lib64", "lib32" };
    static const char *const files[] = { "/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime",
                                         "/etc/mime.types" };
    char path[TEXT_BYTES], target[TEXT_BYTES];
    ADD(b, "--ro-bind", "/usr", "/usr");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        struct stat about;
        (void)snprintf(path, sizeof path, "/%s", folders[i]);
        if (lstat(path, &about) != 0) continue;
        const ssize_t n = S_ISLNK(about.st_mode) ? readlink(path, target, sizeof target - 1) : 0;
        if (n > 0) target[n] = '\0';
        add(b, n > 0 ? "--symlink" : "--ro-bind");
        add(b, n > 0 ? target : path);
        add(b, path);
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        add(b, "--ro-bind-try");
        add(b, files[i]);
        add(b, files[i]);
    }
}

static void add_identity(builder *b) {
    static const char user[] = "user:x:1000:1000::/work:/bin/sh\n", group[] = "user:x:1000:\n";
    add(b, "--uid");
    add_number(b, USER);
    add(b, "--gid");
    add_number(b, USER);
    ADD(b, "--hostname", "sandbox");
    add_file(b, "--ro-bind-data", "/etc/passwd", user, sizeof user - 1);
    add_file(b, "--ro-bind-data", "/etc/group", group, sizeof group - 1);
}

static void add_tmpfs(builder *b, const char *path, int64_t n_bytes) {
    add(b, "--size");
    add_number(b, n_bytes);
    add(b, "--tmpfs");
    add(b, path);
}

static void add_folders(builder *b) {
    const r2_sandbox_options *o = b->cage->options;
    char path[TEXT_BYTES + 256];
    /* No /dev/zero: mapped, it is memory that processes share and no look counts. */
    ADD(b, "--proc", "/proc", "--tmpfs", "/dev", "--symlink", "/proc/self/fd", "/dev/fd",
        "--symlink", "/proc/self/fd/0", "/dev/stdin", "--symlink", "/proc/self/fd/1", "/dev/stdout",
        "--symlink", "/proc/self/fd/2", "/dev/stderr", "--dev-bind", "/dev/null", "/dev/null",
        "--dev-bind", "/dev/random", "/dev/random", "--dev-bind", "/dev/urandom", "/dev/urandom");
    add_tmpfs(b, "/dev/shm", R2I_SHARED_MEMORY_BYTES);
    ADD(b, "--remount-ro", "/dev");
    add_tmpfs(b, "/tmp", b->cage->limits.disk_bytes);
    for (int i = 0; o->readable != NULL && o->readable[i] != NULL; i++) {
        add(b, "--ro-bind");
        add(b, o->readable[i]);
        add(b, o->readable[i]);
    }
    if (o->work != NULL) {
        add(b, "--bind");
        add(b, o->work);
        add(b, "/work");
    } else {
        add_tmpfs(b, "/work", b->cage->limits.disk_bytes);
    }
    for (int32_t i = 0; o->work == NULL && i < o->n_files; i++) {
        (void)snprintf(path, sizeof path, "/work/%.255s", o->files[i].name);
        add_file(b, "--file", path, o->files[i].bytes, o->files[i].n_bytes);
    }
    ADD(b, "--remount-ro", "/", "--chdir", "/work");
}

static void add_environment(builder *b) {
    const char *const *extra = b->cage->options->environment;
    ADD(b, "--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin", "--setenv", "HOME",
        "/work", "--setenv", "LANG", "C.UTF-8", "--setenv", "TMPDIR", "/tmp");
    for (int i = 0; extra != NULL && extra[i] != NULL; i++) {
        const char *value = strchr(extra[i], '=');
        char *name = value != NULL
                         ? r2i_arena_copy_text(b->cage->arena, extra[i], (size_t)(value - extra[i]))
                         : NULL;
        add(b, "--setenv");
        add(b, name != NULL ? name : "");
        add(b, value != NULL ? value + 1 : "");
        b->is_full = b->is_full || name == NULL;
    }
}

/* Pipes between us and bwrap itself, and the filter. */
static r2_status add_channels(builder *b) {
    int status[2], block[2], filter = -1;
    R2I_TRY(r2i_syscall_filter_open(&filter, false, b->err));
    filter = r2i_file_above(filter);
    keep(b, filter);
    add(b, "--seccomp");
    add_number(b, filter);
    if (pipe2(status, O_CLOEXEC) != 0)
        return r2i_fail(b->err, R2_E_IO, "sandbox: no pipe: %s", strerror(errno));
    b->cage->status = r2i_file_above(status[0]);
    keep(b, r2i_file_above(status[1]));
    add(b, "--json-status-fd");
    add_number(b, b->launch.kept[b->launch.n_kept - 1]);
    if (pipe2(block, O_CLOEXEC) != 0)
        return r2i_fail(b->err, R2_E_IO, "sandbox: no pipe: %s", strerror(errno));
    b->block = r2i_file_above(block[1]);
    keep(b, r2i_file_above(block[0]));
    add(b, "--block-fd");
    add_number(b, b->launch.kept[b->launch.n_kept - 1]);
    return R2_OK;
}

static r2_status add_arguments(builder *b) {
    const char *const *program = b->cage->options->arguments;
    add(b, b->launch.path);
    ADD(b, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent",
        "--new-session", "--cap-drop", "ALL");
    add_system(b);
    add_identity(b);
    add_folders(b);
    add_environment(b);
    R2I_TRY(add_channels(b));
    add(b, "--");
    for (int i = 0; program[i] != NULL; i++)
        add(b, program[i]);
    if (!b->is_full) return R2_OK;
    return r2i_fail(b->err, R2_E_LIMIT, "sandbox: too many arguments, variables or files");
}

/* ---- start ---- */

/* The first line that bwrap tells names process 1. */
static pid_t read_inner(const builder *b) {
    char text[STATUS_BYTES];
    size_t n = 0;
    while (n < sizeof text) {
        struct pollfd wait = { b->cage->status, POLLIN, 0 };
        const int n_ready = poll(&wait, 1, START_MS);
        if (n_ready < 0 && errno == EINTR) continue;
        if (n_ready <= 0) return 0;
        const ssize_t got = read(b->cage->status, text + n, sizeof text - n);
        if (got <= 0) return 0;
        n += (size_t)got;
        if (memchr(text, '\n', n) != NULL || memchr(text, '}', n) != NULL) break;
    }
    json_t *told = json_loadb(text, n, JSON_DISABLE_EOF_CHECK, NULL);
    const pid_t inner = (pid_t)json_integer_value(json_object_get(told, "child-pid"));
    json_decref(told);
    return inner;
}

/* What bwrap said instead of starting. */
static r2_status fail_start(builder *b) {
    char text[STATUS_BYTES];
    if (b->cage->inner > 0) (void)kill(b->cage->inner, SIGKILL);
    (void)kill(b->cage->pid, SIGKILL);
    (void)waitpid(b->cage->pid, NULL, 0);
    const ssize_t n = read(b->cage->err, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return r2i_fail(b->err, R2_E_SANDBOX, "sandbox: namespaces cannot be made here: %.140s",
                    n > 0 ? text : "bwrap did not start");
}

/* The number of processes is limited inside: the user may have many outside.  A user made for this
 * program has none, and its limit is set with the others. */
static r2_status let_go(builder *b) {
    const rlim_t n = (rlim_t)b->cage->limits.max_processes;
    const struct rlimit limit = { n, n };
    b->cage->inner = read_inner(b);
    if (b->cage->inner <= 0) return fail_start(b);
    if (b->launch.user == 0 && prlimit(b->cage->inner, RLIMIT_NPROC, &limit, NULL) != 0)
        return fail_start(b);
    return write(b->block, "", 1) == 1 ? R2_OK : fail_start(b);
}

static r2_status start(builder *b) {
    char *no_environment[] = { NULL };
    r2i_launch *l = &b->launch;
    const r2_sandbox_limits *limits = &b->cage->limits;
    l->path = bubble_path();
    if (l->path == NULL)
        return r2i_fail(b->err, R2_E_SANDBOX,
                        "sandbox: bubblewrap is not on this machine (Debian: bubblewrap)");
    R2I_TRY(add_arguments(b));
    R2I_TRY(r2i_cage_open_streams(b->cage, l, b->err));
    l->arguments = b->arguments;
    l->environment = no_environment;
    l->dies_with_caller = true;
    l->has_session = true; /* Ctrl-C is ours alone: bwrap would leave without a word */
    l->user = b->cage->options->work == NULL ? r2i_launch_new_user() : 0;
    l->cpu_seconds = limits->cpu_seconds;
    l->memory_bytes = limits->memory_bytes;
    l->file_bytes = limits->disk_bytes;
    l->max_open = MAX_OPEN;
    if (l->user != 0) l->max_processes = limits->max_processes + OWN_PROCESSES;
    l->landlock = -1;
    R2I_TRY(r2i_launch_start(&b->cage->pid, l, b->err));
    r2i_launch_close(l);
    return let_go(b);
}

r2_status r2i_bubble_start(r2i_cage *cage, r2_error *err) {
    builder *b = R2I_ARENA_NEW(cage->arena, builder);
    if (b == NULL) return r2i_fail(err, R2_E_NOMEM, "sandbox: no memory");
    b->cage = cage;
    b->block = -1;
    b->err = err;
    for (int i = 0; i < 3; i++)
        b->launch.standard[i] = -1;
    const r2_status status = start(b);
    r2i_launch_close(&b->launch);
    if (b->block >= 0) (void)close(b->block);
    return status;
}
