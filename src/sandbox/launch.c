#define _GNU_SOURCE /* vfork, close_range's number, setresuid's number */
#include "sandbox/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failure.h"
#include "base/hash.h"

enum { N_SIGNALS = 65, EXIT_NOT_STARTED = 127 };

/* What the child tells: it writes to the caller's memory. */
typedef struct {
    const char *step;
    int error;
} child_failure;

static bool set_limit(__rlimit_resource_t what, int64_t value) {
    struct rlimit limit;
    if (getrlimit(what, &limit) != 0) return false;
    const rlim_t wanted = (rlim_t)value;
    if (limit.rlim_max == RLIM_INFINITY || limit.rlim_max > wanted) limit.rlim_max = wanted;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(what, &limit) == 0;
}

static bool set_limits(const r2i_launch *l) {
    /* A second above: who looks on ends the program and knows why; the kernel would end it without him. */
    const int64_t cpu = (int64_t)(l->cpu_seconds + 0.999) + 1;
    return set_limit(RLIMIT_CORE, 0) && set_limit(RLIMIT_CPU, cpu) &&
           set_limit(RLIMIT_AS, l->memory_bytes) && set_limit(RLIMIT_FSIZE, l->file_bytes) &&
           set_limit(RLIMIT_NOFILE, l->max_open) &&
           (l->max_processes == 0 || set_limit(RLIMIT_NPROC, l->max_processes));
}

/* The caller's numbers are all above 2, so that none is overwritten before it is copied. */
static bool set_files(const r2i_launch *l) {
    for (int i = 0; i < 3; i++) {
        if (dup2(l->standard[i], i) < 0) return false;
    }
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) != 0) return false;
    for (int i = 0; i < l->n_kept; i++) {
        if (fcntl(l->kept[i], F_SETFD, 0) != 0) return false;
    }
    return l->folder == NULL || chdir(l->folder) == 0;
}

/* What is counted per user, and signals, then concern this program alone.  By the calls themselves: the C
 * library's would change the caller's other threads too.  Who is root in a namespace alone may have no
 * such user, and stays. */
static void become_user(uint32_t user) {
    if (syscall(SYS_setgroups, 0, NULL) == 0 && syscall(SYS_setresgid, user, user, user) == 0)
        (void)syscall(SYS_setresuid, user, user, user);
}

uint32_t r2i_launch_new_user(void) {
    static const uint32_t first = 0x70000000, mask = 0x0fffffff;
    const int64_t now = r2i_clock_ns();
    if (geteuid() != 0) return 0;
    return first + ((uint32_t)r2i_hash_mix((uint64_t)now ^ (uint64_t)gettid() << 40) & mask);
}

static void reset_signals(void) {
    sigset_t none;
    const struct sigaction plain = { .sa_handler = SIG_DFL };
    for (int i = 1; i < N_SIGNALS; i++)
        (void)sigaction(i, &plain, NULL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool fence(const r2i_launch *l) {
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_landlock_restrict_self, l->landlock, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, l->filter) == 0;
}

static bool die_with(pid_t parent) {
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

static const char *become(const r2i_launch *l, pid_t parent) {
    reset_signals();
    if (l->has_session && setsid() < 0) return "session";
    if (!set_files(l)) return "files";
    if (l->user != 0) become_user(l->user);
    /* Behind the change of users, which forgets it. */
    if (l->dies_with_caller && !die_with(parent)) return "parent";
    if (!set_limits(l)) return "limits";
    if (l->landlock >= 0 && !fence(l)) return "Landlock and seccomp";
    (void)execve(l->path, l->arguments, l->environment);
    return l->path;
}

/* A function of its own: what the caller keeps in registers is safe from the child here. */
static __attribute__((noinline)) pid_t start(const r2i_launch *launch,
                                             volatile child_failure *failure) {
    const pid_t parent = getpid(), pid = vfork();
    if (pid != 0) return pid;
    failure->step = become(launch, parent);
    failure->error = errno;
    _exit(EXIT_NOT_STARTED);
}

/* What execve says of a path behind which there is nothing to run. */
static bool is_no_program(int error) {
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ENOEXEC ||
           error == ELOOP;
}

r2_status r2i_launch_start(pid_t *pid, const r2i_launch *launch, r2_error *err) {
    volatile child_failure failure = { NULL, 0 };
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler runs in borrowed memory */
    *pid = start(launch, &failure);
    const int error = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (*pid < 0) return r2i_fail(err, R2_E_IO, "sandbox: no new process: %s", strerror(error));
    if (failure.step == NULL) return R2_OK;
    (void)waitpid(*pid, NULL, 0);
    const bool is_none = failure.step == launch->path && is_no_program(failure.error);
    return r2i_fail(err, is_none ? R2_E_NOT_FOUND : R2_E_IO, "sandbox: %.120s: %s", failure.step,
                    strerror(failure.error));
}
