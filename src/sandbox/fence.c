/* fence.c - a cage where namespaces cannot be made: Landlock for files and signals, a filter of system
 * calls that allows no sockets, and a process group that nobody can leave.
 *
 * There is no file system of one's own: the work folder lies in /tmp and is removed afterwards, TMPDIR
 * names it too, and limits of it are watched. */
#define _GNU_SOURCE /* O_PATH, mkdtemp */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/failure.h"
#include "sandbox/cage.h"
#include "sandbox/process_tree.h"
#include "sandbox/syscall_filter.h"

/* Newer than the headers of this machine may be: values of the kernel's interface. */
#define ACCESS_REFER (1ULL << 13)
#define ACCESS_TRUNCATE (1ULL << 14)
#define ACCESS_IOCTL_DEV (1ULL << 15)
#define NET_BIND (1ULL << 0)
#define NET_CONNECT (1ULL << 1)
#define SCOPE_ABSTRACT_SOCKETS (1ULL << 0)
#define SCOPE_SIGNALS (1ULL << 1)
enum { MAX_FILTER = 4096, N_OWN_VARIABLES = 4, PATH_BYTES = PATH_MAX };

typedef struct {
    uint64_t files, net, scoped;
} rules_about;

static const uint64_t reads =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
static const uint64_t writes = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                               LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                               LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_FIFO |
                               LANDLOCK_ACCESS_FS_MAKE_SYM | ACCESS_REFER | ACCESS_TRUNCATE;
static const uint64_t rare = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                             LANDLOCK_ACCESS_FS_MAKE_SOCK | ACCESS_IOCTL_DEV;

typedef struct {
    r2i_cage *cage;
    r2i_launch launch;
    int filter_file;
    struct sock_filter instructions[MAX_FILTER];
    struct sock_fprog filter;
    char *environment[N_OWN_VARIABLES + R2I_MAX_SANDBOX_VARIABLES + 1];
    char work[PATH_BYTES], program[PATH_BYTES];
    r2_error *err;
} builder;

int r2i_landlock_version(void) {
    const long version =
        syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version > 0 ? (int)version : 0;
}

/* ---- rules ---- */

/* What is not there needs no rule; true unless a rule was refused. */
static bool add_path(int rules, const char *path, uint64_t access) {
    struct stat about;
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT;
    struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
    if (fstat(fd, &about) == 0 && !S_ISDIR(about.st_mode))
        rule.allowed_access &= LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |
                               LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE;
    const long rc = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    (void)close(fd);
    return rc == 0;
}

static r2_status make_rules(builder *b) {
    static const char *const readable[] = { "/usr",
                                            "/bin",
                                            "/sbin",
                                            "/lib",
                                            "/lib64",
                                            "/lib32",
                                            "/etc/alternatives",
                                            "/etc/ld.so.cache",
                                            "/etc/localtime",
                                            "/dev/random",
                                            "/dev/urandom" };
    const char *const *more = b->cage->options->readable;
    const rules_about about = { reads | writes | rare, NET_BIND | NET_CONNECT,
                                SCOPE_ABSTRACT_SOCKETS | SCOPE_SIGNALS };
    const int rules = (int)syscall(SYS_landlock_create_ruleset, &about, sizeof about, 0);
    if (rules < 0)
        return r2i_fail(b->err, R2_E_SANDBOX, "sandbox: Landlock refuses: %s", strerror(errno));
    b->launch.landlock = r2i_file_above(rules);
    bool is_made = add_path(b->launch.landlock, b->work, reads | writes) &&
                   add_path(b->launch.landlock, "/dev/null",
                            LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
    for (size_t i = 0; is_made && i < sizeof readable / sizeof *readable; i++)
        is_made = add_path(b->launch.landlock, readable[i], reads);
    for (int i = 0; is_made && more != NULL && more[i] != NULL; i++)
        is_made = add_path(b->launch.landlock, more[i], reads);
    if (is_made) return R2_OK;
    return r2i_fail(b->err, R2_E_SANDBOX, "sandbox: Landlock refuses a rule: %s", strerror(errno));
}

static r2_status make_filter(builder *b) {
    R2I_TRY(r2i_syscall_filter_open(&b->filter_file, true, b->err));
    const ssize_t n = read(b->filter_file, b->instructions, sizeof b->instructions);
    if (n <= 0 || (size_t)n == sizeof b->instructions)
        return r2i_fail(b->err, R2_E_IO, "sandbox: a filter of %zd bytes", n);
    b->filter = (struct sock_fprog){ (unsigned short)((size_t)n / sizeof *b->instructions),
                                     b->instructions };
    b->launch.filter = &b->filter;
    return R2_OK;
}

/* ---- what the program finds ---- */

static r2_status write_file(const builder *b, const r2_sandbox_file *file) {
    char path[PATH_BYTES + 256];
    size_t done = 0;
    (void)snprintf(path, sizeof path, "%s/%.255s", b->work, file->name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    while (fd >= 0 && done < file->n_bytes) {
        const ssize_t n = write(fd, (const char *)file->bytes + done, file->n_bytes - done);
        if (n <= 0) break;
        done += (size_t)n;
    }
    if (fd >= 0 && close(fd) == 0 && done == file->n_bytes) return R2_OK;
    return r2i_fail(b->err, R2_E_IO, "%.150s: %s", path, strerror(errno));
}

static r2_status make_work(builder *b) {
    const r2_sandbox_options *o = b->cage->options;
    char *kept;
    if (o->work != NULL) {
        if (realpath(o->work, b->work) == NULL)
            return r2i_fail(b->err, R2_E_NOT_FOUND, "%.150s: %s", o->work, strerror(errno));
    } else {
        (void)snprintf(b->work, sizeof b->work, "/tmp/r2lm-sandbox-XXXXXX");
        if (mkdtemp(b->work) == NULL)
            return r2i_fail(b->err, R2_E_IO, "%s: %s", b->work, strerror(errno));
        b->cage->owns_folder = true;
        b->launch.user = r2i_launch_new_user();
    }
    kept = r2i_arena_copy_text(b->cage->arena, b->work, strlen(b->work));
    if (kept == NULL) return r2i_fail(b->err, R2_E_NOMEM, "sandbox: no memory");
    b->cage->folder = kept;
    for (int32_t i = 0; o->work == NULL && i < o->n_files; i++)
        R2I_TRY(write_file(b, &o->files[i]));
    if (b->launch.user == 0 || chown(b->work, b->launch.user, b->launch.user) == 0) return R2_OK;
    return r2i_fail(b->err, R2_E_IO, "%s: %s", b->work, strerror(errno));
}

static r2_status make_environment(builder *b) {
    static const char *const named[N_OWN_VARIABLES] = { "PATH=/usr/local/bin:/usr/bin:/bin",
                                                        "LANG=C.UTF-8", "HOME=", "TMPDIR=" };
    const char *const *extra = b->cage->options->environment;
    char text[PATH_BYTES + 16];
    int n = 0;
    for (int i = 0; i < N_OWN_VARIABLES; i++) {
        const size_t width = strlen(named[i]);
        (void)snprintf(text, sizeof text, "%s%s", named[i],
                       named[i][width - 1] == '=' ? b->work : "");
        b->environment[n++] = r2i_arena_copy_text(b->cage->arena, text, strlen(text));
    }
    for (int i = 0; extra != NULL && extra[i] != NULL; i++)
        b->environment[n++] = r2i_arena_copy_text(b->cage->arena, extra[i], strlen(extra[i]));
    for (int i = 0; i < n; i++) {
        if (b->environment[i] == NULL) return r2i_fail(b->err, R2_E_NOMEM, "sandbox: no memory");
    }
    b->launch.environment = b->environment;
    return R2_OK;
}

static r2_status find_program(builder *b) {
    static const char *const folders[] = { "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin" };
    const char *name = b->cage->options->arguments[0];
    b->launch.path = name;
    if (strchr(name, '/') != NULL) return R2_OK;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        (void)snprintf(b->program, sizeof b->program, "%s/%.255s", folders[i], name);
        b->launch.path = b->program;
        if (access(b->program, X_OK) == 0) return R2_OK;
    }
    return r2i_fail(b->err, R2_E_NOT_FOUND, "sandbox: %.100s: no such program", name);
}

static char **copy_arguments(const builder *b) {
    const char *const *given = b->cage->options->arguments;
    size_t n = 0;
    while (given[n] != NULL)
        n++;
    char **out = R2I_ARENA_ARRAY(b->cage->arena, char *, n + 1);
    for (size_t i = 0; out != NULL && i < n; i++) {
        out[i] = r2i_arena_copy_text(b->cage->arena, given[i], strlen(given[i]));
        if (out[i] == NULL) return NULL;
    }
    return out;
}

static r2_status start(builder *b) {
    const r2_sandbox_limits *limits = &b->cage->limits;
    r2i_launch *l = &b->launch;
    if (r2i_landlock_version() < R2I_LANDLOCK_NEEDED)
        return r2i_fail(b->err, R2_E_SANDBOX,
                        "sandbox: expected Landlock %d (Linux 6.12), found %d", R2I_LANDLOCK_NEEDED,
                        r2i_landlock_version());
    R2I_TRY(make_filter(b));
    R2I_TRY(find_program(b));
    R2I_TRY(make_work(b));
    R2I_TRY(make_environment(b));
    R2I_TRY(make_rules(b));
    R2I_TRY(r2i_cage_open_streams(b->cage, l, b->err));
    l->arguments = copy_arguments(b);
    if (l->arguments == NULL) return r2i_fail(b->err, R2_E_NOMEM, "sandbox: no memory");
    l->folder = b->work;
    l->has_session = l->dies_with_caller = true;
    l->cpu_seconds = limits->cpu_seconds;
    l->memory_bytes = limits->memory_bytes;
    l->file_bytes = limits->disk_bytes;
    l->max_open = 256;
    l->max_processes = limits->max_processes + (l->user != 0 ? 0 : r2i_user_tasks());
    const r2_status status = r2i_launch_start(&b->cage->pid, l, b->err);
    return status == R2_E_IO ? R2_E_SANDBOX : status;
}

r2_status r2i_fence_start(r2i_cage *cage, r2_error *err) {
    builder *b = R2I_ARENA_NEW(cage->arena, builder);
    if (b == NULL) return r2i_fail(err, R2_E_NOMEM, "sandbox: no memory");
    b->cage = cage;
    b->err = err;
    b->filter_file = b->launch.landlock = -1;
    for (int i = 0; i < 3; i++)
        b->launch.standard[i] = -1;
    const r2_status status = start(b);
    r2i_launch_close(&b->launch);
    if (b->launch.landlock >= 0) (void)close(b->launch.landlock);
    if (b->filter_file >= 0) (void)close(b->filter_file);
    return status;
}
