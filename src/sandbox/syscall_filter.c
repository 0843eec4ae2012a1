#define _GNU_SOURCE /* memfd_create, CLONE_NEW* */
#include "sandbox/syscall_filter.h"

#include "base/failure.h"

#ifdef R2LM_HAVE_SECCOMP
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const allowed[] = {
    /* Files. */
    "access", "chdir", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
    "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fcntl", "fdatasync",
    "fgetxattr", "flistxattr", "flock", "fstat", "fstatfs", "fsync", "ftruncate", "getcwd",
    "getdents", "getdents64", "getxattr", "lgetxattr", "link", "linkat", "listxattr", "llistxattr",
    "lseek", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "open", "openat",
    "openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev", "pwritev2",
    "read", "readahead", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2",
    "rmdir", "sendfile", "stat", "statfs", "statx", "symlink", "symlinkat", "sync_file_range",
    "truncate", "umask", "unlink", "unlinkat", "write", "writev",
    /* Memory; mmap has a rule of its own. */
    "brk", "madvise", "mincore", "mlock", "mlock2", "mprotect", "mremap", "msync", "munlock",
    "munmap",
    /* Processes and threads; clone has a rule of its own. */
    "arch_prctl", "capget", "execve", "exit", "exit_group", "fork", "futex", "futex_waitv",
    "get_robust_list", "getcpu", "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp",
    "getpid", "getppid", "getpriority", "getresgid", "getresuid", "getrlimit", "getrusage",
    "getsid", "gettid", "getuid", "kill", "membarrier", "restart_syscall", "rseq",
    "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getparam",
    "sched_getscheduler", "sched_yield", "set_robust_list", "set_tid_address", "setrlimit",
    "sysinfo", "tgkill", "times", "tkill", "uname", "vfork", "wait4", "waitid",
    /* Signals and time. */
    "alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "eventfd", "eventfd2", "getitimer",
    "gettimeofday", "nanosleep", "pause", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo",
    "setitimer", "sigaltstack", "signalfd", "signalfd4", "time", "timer_create", "timer_delete",
    "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime",
    "timerfd_settime",
    /* Waiting; pairs of connected sockets, which stay inside. */
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
    "getpeername", "getsockname", "getsockopt", "poll", "ppoll", "pselect6", "recvfrom", "recvmsg",
    "select", "sendmsg", "sendto", "setsockopt", "shutdown", "getrandom"
};
/* Of files by name or descriptor: their owner may change all he can see, however little of it he may read. */
static const char *const attributes[] = { "chmod",     "chown",  "fchmod",    "fchmodat",
                                          "fchmodat2", "fchown", "fchownat",  "futimesat",
                                          "lchown",    "utime",  "utimensat", "utimes" };
/* Of processes of the same user, or of oneself. */
static const char *const processes[] = { "prctl",       "prlimit64", "sched_setaffinity",
                                         "setpriority", "setpgid",   "setsid" };

enum {
    NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                 CLONE_NEWPID | CLONE_NEWNET
};

/* Calls that this kernel's headers or this architecture do not know are none. */
static int answer(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const int call = seccomp_syscall_resolve_name(names[i]);
        if (call == __NR_SCMP_ERROR || call < 0) continue;
        const int rc = seccomp_rule_add(filter, action, call, 0);
        if (rc != 0) return rc;
    }
    return 0;
}

/* Allowed where all bits of `mask` in an argument are those of `value`. */
static int allow_if(scmp_filter_ctx filter, int call, unsigned argument, uint64_t mask,
                    uint64_t value) {
    const struct scmp_arg_cmp condition = { argument, SCMP_CMP_MASKED_EQ, mask, value };
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &condition);
}

/* Connected pairs; one of datagrams could be used to write to a socket outside, by its path. */
static int allow_pairs(scmp_filter_ctx filter, int type) {
    enum { TYPE_BITS = 0xf };
    const struct scmp_arg_cmp conditions[] = { { 0, SCMP_CMP_MASKED_EQ, 0xffffffff, AF_UNIX },
                                               { 1, SCMP_CMP_MASKED_EQ, TYPE_BITS,
                                                 (scmp_datum_t)type } };
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 2, conditions);
}

/* The kernel looks at the lower 32 bits of these arguments alone, and so must the filter. */
static int allow_in_part(scmp_filter_ctx filter) {
    static const uint64_t requests[] = { TCGETS,  TIOCGWINSZ, TIOCGPGRP, FIONREAD,
                                         FIONBIO, FIOCLEX,    FIONCLEX };
    const uint64_t low = 0xffffffff;
    int rc = allow_if(filter, SCMP_SYS(clone), 0, NAMESPACES, 0);
    if (rc == 0) rc = allow_pairs(filter, SOCK_STREAM);
    if (rc == 0) rc = allow_pairs(filter, SOCK_SEQPACKET);
    for (size_t i = 0; rc == 0 && i < sizeof requests / sizeof *requests; i++)
        rc = allow_if(filter, SCMP_SYS(ioctl), 1, low, requests[i]);
    if (rc == 0) rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(socket), 0);
    return rc;
}

static int allow_mapping(scmp_filter_ctx filter) {
    enum { KIND = 0xf, SHARED_NOWHERE = MAP_SHARED | MAP_ANONYMOUS };
    const struct scmp_arg_cmp shared = { 3, SCMP_CMP_MASKED_EQ, SHARED_NOWHERE, SHARED_NOWHERE };
    const int call = SCMP_SYS(mmap);
    int rc = allow_if(filter, call, 3, MAP_ANONYMOUS, 0);
    if (rc == 0) rc = allow_if(filter, call, 3, KIND, MAP_PRIVATE);
    return rc == 0 ? seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), call, 1, &shared) : rc;
}

/* Of what a program asks prctl for, names and numbers of its own; nothing that unties it from its caller. */
static int allow_own_process(scmp_filter_ctx filter) {
    static const uint64_t options[] = { PR_GET_DUMPABLE,     PR_SET_DUMPABLE,     PR_SET_NAME,
                                        PR_GET_NAME,         PR_GET_SECCOMP,      PR_CAPBSET_READ,
                                        PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_SET_TIMERSLACK,
                                        PR_GET_TIMERSLACK };
    const uint64_t low = 0xffffffff;
    const struct scmp_arg_cmp own[] = { { 0, SCMP_CMP_MASKED_EQ, low, PRIO_PROCESS },
                                        { 1, SCMP_CMP_MASKED_EQ, low, 0 } };
    int rc = allow_if(filter, SCMP_SYS(prlimit64), 0, low, 0);
    if (rc == 0) rc = allow_if(filter, SCMP_SYS(sched_setaffinity), 0, low, 0);
    if (rc == 0) rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(setpriority), 2, own);
    for (size_t i = 0; rc == 0 && i < sizeof options / sizeof *options; i++)
        rc = allow_if(filter, SCMP_SYS(prctl), 0, low, options[i]);
    return rc;
}

static int fill(scmp_filter_ctx filter, bool is_outside) {
    enum { N_ATTRIBUTES = sizeof attributes / sizeof *attributes };
    const uint32_t of_attributes = is_outside ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW;
    int rc = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (rc == 0) rc = answer(filter, SCMP_ACT_ALLOW, allowed, sizeof allowed / sizeof *allowed);
    if (rc == 0) rc = answer(filter, of_attributes, attributes, N_ATTRIBUTES);
    if (rc == 0 && is_outside) rc = allow_own_process(filter);
    if (rc == 0 && !is_outside)
        rc = answer(filter, SCMP_ACT_ALLOW, processes, sizeof processes / sizeof *processes);
    if (rc == 0) rc = allow_mapping(filter);
    return rc == 0 ? allow_in_part(filter) : rc;
}

r2_status r2i_syscall_filter_open(int *fd, bool is_outside, r2_error *err) {
    const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
    *fd = -1;
    if (filter == NULL) return r2i_fail(err, R2_E_NOMEM, "sandbox: no memory for a filter");
    int rc = fill(filter, is_outside);
    if (rc == 0) {
        *fd = memfd_create("filter", MFD_CLOEXEC);
        rc = *fd >= 0 ? seccomp_export_bpf(filter, *fd) : -errno;
    }
    seccomp_release(filter);
    if (rc == 0 && lseek(*fd, 0, SEEK_SET) == 0) return R2_OK;
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
    return r2i_fail(err, R2_E_IO, "sandbox: a filter of system calls cannot be made: %s",
                    strerror(-rc));
}

#else
r2_status r2i_syscall_filter_open(int *fd, bool is_outside, r2_error *err) {
    (void)is_outside;
    *fd = -1;
    return r2i_fail(err, R2_E_SANDBOX,
                    "sandbox: r2lm was built without libseccomp (Debian: libseccomp-dev)");
}
#endif
