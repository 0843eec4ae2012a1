/* escape.c - what a program in the sandbox may try to get out, one attempt per run: `escape NAME [WORD]`.
 *
 * Prints "held" if the attempt failed, "LOOSE: ..." if it came through.  Built by test_exec.py for the
 * machine that runs the tests; linked to nothing of ours. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <time.h>
#include <unistd.h>

static int n_loose;

/* An attempt that returned `rc`: below 0 means that it failed. */
static void expect_failure(const char *what, long rc) {
    if (rc < 0) return;
    printf("LOOSE: %s (%ld)\n", what, rc);
    n_loose++;
}

/* A call that is not there: other failures of it would only say that this user, or these arguments, may not. */
static void expect_absent(const char *what, long rc) {
    if (rc < 0 && errno == ENOSYS) return;
    printf("LOOSE: %s (%ld, %s)\n", what, rc, rc < 0 ? strerror(errno) : "done");
    n_loose++;
}

static void *idle(void *unused) {
    pause();
    return unused;
}

static void forks(void) {
    for (;;) {
        if (fork() < 0) usleep(1000);
    }
}

static void threads(void) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    for (int i = 0; i < 100000; i++) {
        if (pthread_create(&thread, &small, idle, NULL) != 0) usleep(1000);
    }
}

/* So that no compiler finds that nobody reads the block. */
static void touch(char *block, size_t n) {
    memset(block, 1, n);
    __asm__ volatile("" : : "r"(block) : "memory");
}

static void memory(void) {
    for (int i = 0; i < 64; i++) {
        char *block = malloc((size_t)1 << 30);
        if (block == NULL) break;
        touch(block, (size_t)1 << 30);
    }
    printf("held\n");
    exit(0);
}

/* Many processes of less than the limit each. */
static void memory_shared_out(void) {
    for (int i = 0; i < 16; i++) {
        if (fork() == 0) {
            char *block = malloc((size_t)400 << 20);
            if (block != NULL) touch(block, (size_t)400 << 20);
            pause();
        }
    }
    pause();
}

static void disk(const char *folder) {
    static char piece[1 << 20];
    char path[512];
    for (int i = 0; i < 1 << 20; i++) {
        snprintf(path, sizeof path, "%s/f%d", folder, i);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        if (fd < 0 || write(fd, piece, sizeof piece) != sizeof piece) break;
        close(fd);
    }
    printf("held\n");
}

static void inodes(const char *folder) {
    char path[512];
    for (int i = 0; i < 1000000; i++) {
        snprintf(path, sizeof path, "%s/i%d", folder, i);
        int fd = open(path, O_WRONLY | O_CREAT, 0600);
        if (fd >= 0) close(fd);
    }
}

static void spin(void) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGXCPU, SIG_IGN);
    for (;;)
        continue;
}

static void connect_to(const char *port) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    expect_failure("TCP connection to this machine",
                   fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof to));
}

static void sockets(void) {
    static const struct {
        const char *name;
        int family, type, protocol;
    } kinds[] = { { "TCP", AF_INET, SOCK_STREAM, 0 },
                  { "TCP 6", AF_INET6, SOCK_STREAM, 0 },
                  { "UDP", AF_INET, SOCK_DGRAM, 0 },
                  { "ICMP", AF_INET, SOCK_DGRAM, 1 },
                  { "raw", AF_INET, SOCK_RAW, 255 },
                  { "MPTCP", AF_INET, SOCK_STREAM, 262 },
                  { "netlink", 16, SOCK_RAW, 0 },
                  { "vsock", 40, SOCK_STREAM, 0 },
                  { "alg", 38, 5, 0 },
                  { "packet", 17, SOCK_RAW, 0 },
                  { "unix", AF_UNIX, SOCK_STREAM, 0 },
                  { "unix datagrams", AF_UNIX, SOCK_DGRAM, 0 } };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        expect_failure(kinds[i].name, socket(kinds[i].family, kinds[i].type, kinds[i].protocol));
    int pair[2];
    expect_failure("pair of another family", socketpair(AF_INET, SOCK_STREAM, 0, pair));
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        printf("LOOSE: no pair for oneself\n"), n_loose++;
}

/* A datagram pair can name another receiver. */
static void unix_paths(const char *path) {
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) return;
    memcpy(to.sun_path, path, strlen(path) + 1);
    expect_failure("datagram to a path",
                   sendto(pair[0], "x", 1, 0, (struct sockaddr *)&to, sizeof to));
    to.sun_path[0] = 0;
    memcpy(to.sun_path + 1, "r2lm-test-abstract", 18);
    expect_failure(
        "datagram to an abstract name",
        sendto(pair[0], "x", 1, 0, (struct sockaddr *)&to, (socklen_t)(sizeof(sa_family_t) + 19)));
}

static void read_file(const char *path) {
    int fd = open(path, O_RDONLY);
    expect_failure(path, fd);
    struct open_how {
        uint64_t flags, mode, resolve;
    } how = { O_RDONLY, 0, 0 };
    expect_failure("openat2", syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
}

static void write_file(const char *path) {
    expect_failure(path, open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    expect_failure("mkdir", mkdir(path, 0700));
    expect_failure("link", symlink("/etc/passwd", path));
}

static void parents(const char *pid_text) {
    char path[128];
    pid_t pid = (pid_t)atoi(pid_text);
    static const char *const parts[] = { "mem",   "environ", "fd/0", "root/etc/shadow",
                                         "cwd/x", "maps",    "exe" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", pid, parts[i]);
        expect_failure(path, open(path, O_RDONLY));
    }
    char byte = 0;
    struct iovec ours = { &byte, 1 }, theirs = { (void *)0x400000, 1 };
    expect_failure("ptrace", ptrace(PTRACE_ATTACH, pid, 0, 0));
    expect_failure("seize", ptrace(PTRACE_SEIZE, pid, 0, 0));
    expect_failure("process_vm_readv", process_vm_readv(pid, &ours, 1, &theirs, 1, 0));
    expect_failure("process_vm_writev", process_vm_writev(pid, &ours, 1, &theirs, 1, 0));
    expect_failure("pidfd_open", syscall(SYS_pidfd_open, pid, 0));
    expect_failure("pidfd_getfd", syscall(SYS_pidfd_getfd, 3, 0, 0));
    expect_failure("kcmp", syscall(SYS_kcmp, getpid(), pid, 0, 0, 0));
    expect_failure("STOP", kill(pid, SIGSTOP));
    expect_failure("KILL", kill(pid, SIGKILL));
    expect_failure("queue",
                   syscall(SYS_rt_sigqueueinfo, pid, SIGTERM, &(siginfo_t){ .si_code = SI_QUEUE }));
}

/* Pages of a file that may only be read, written through /proc/self/mem, stay the file's. */
static void own_memory(void) {
    int fd = open("/usr/bin/env", O_RDONLY);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0),
         before = page != MAP_FAILED ? page[0] : 0;
    int mem = open("/proc/self/mem", O_RDWR);
    if (mem < 0 || page == MAP_FAILED) return;
    (void)!pwrite(mem, "XXXX", 4, (off_t)(intptr_t)page);
    char now = 0;
    if (pread(fd, &now, 1, 0) != 1 || now != before)
        printf("LOOSE: a file of the machine was changed\n"), n_loose++;
}

static void kill_everyone(void) {
    signal(SIGTERM, SIG_IGN);
    (void)kill(-1, SIGTERM);
    (void)kill(-1, SIGSTOP);
    printf("held\n");
}

static void descriptors(void) {
    for (int fd = 3; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) != -1) printf("LOOSE: file %d is open\n", fd), n_loose++;
    }
}

static void namespaces(void) {
    static const struct {
        const char *name;
        int flag;
    } kinds[] = { { "user", CLONE_NEWUSER }, { "mount", CLONE_NEWNS }, { "net", CLONE_NEWNET },
                  { "pid", CLONE_NEWPID },   { "ipc", CLONE_NEWIPC },  { "uts", CLONE_NEWUTS } };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        expect_failure(kinds[i].name, unshare(kinds[i].flag));
        const long pid = syscall(SYS_clone, (unsigned long)kinds[i].flag | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) _exit(0);
        expect_failure("clone into a namespace", pid);
        const long high = syscall(
            SYS_clone, 0xdead000000000000ul | (unsigned long)kinds[i].flag | SIGCHLD, 0, 0, 0, 0);
        if (high == 0) _exit(0);
        expect_failure("clone with high bits", high);
    }
    uint64_t arguments[11] = { CLONE_NEWUSER, 0, 0, 0, SIGCHLD };
    const long pid = syscall(SYS_clone3, arguments, sizeof arguments);
    if (pid == 0) _exit(0);
    expect_failure("clone3", pid);
    if (errno != ENOSYS) printf("LOOSE: clone3 is no old kernel's\n"), n_loose++;
    expect_failure("setns", setns(0, 0));
}

static void mounts(void) {
    expect_failure("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
    expect_failure("remount", mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL));
    expect_failure("umount", umount2("/proc", MNT_DETACH));
    expect_failure("pivot_root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
    expect_failure("chroot", chroot("/tmp"));
    expect_failure("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    expect_failure("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    expect_failure("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/usr", 0));
    static const char *const knobs[] = {
        "/proc/sys/kernel/core_pattern",  "/proc/sys/kernel/hostname", "/proc/sysrq-trigger",
        "/proc/sys/vm/overcommit_memory", "/sys/kernel/uevent_helper", "/proc/kcore"
    };
    for (size_t i = 0; i < sizeof knobs / sizeof *knobs; i++)
        expect_failure(knobs[i], open(knobs[i], O_WRONLY));
}

static void kernel_interfaces(void) {
    struct io_uring_params ring = { 0 };
    char zeros[256] = { 0 };
    expect_absent("io_uring_setup", syscall(SYS_io_uring_setup, 8, &ring));
    expect_absent("io_uring_enter", syscall(SYS_io_uring_enter, 0, 1, 0, 0, NULL, 0));
    expect_absent("bpf", syscall(SYS_bpf, 0, zeros, sizeof zeros));
    expect_absent("perf", syscall(SYS_perf_event_open, zeros, 0, -1, -1, 0));
    expect_absent("userfaultfd", syscall(SYS_userfaultfd, 0));
    expect_absent("keyctl", syscall(SYS_keyctl, 0, -3, 1));
    expect_absent("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -3));
    expect_absent("kexec", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    expect_absent("init_module", syscall(SYS_init_module, zeros, sizeof zeros, ""));
    expect_absent("finit_module", syscall(SYS_finit_module, 0, "", 0));
    expect_absent("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, zeros, O_RDONLY));
    expect_absent("fanotify", syscall(SYS_fanotify_init, 0, 0));
    expect_absent("acct", syscall(SYS_acct, NULL));
    expect_absent("quotactl", syscall(SYS_quotactl, 0, NULL, 0, NULL));
    expect_absent("iopl", syscall(SYS_iopl, 3));
    expect_absent("personality", syscall(SYS_personality, 0x0040000));
    expect_absent("migrate_pages", syscall(SYS_migrate_pages, 0, 0, NULL, NULL));
    expect_absent("vmsplice", syscall(SYS_vmsplice, 1, NULL, 0, 0));
    expect_absent("setuid", syscall(SYS_setuid, 0));
}

static void executables(void) {
    int memory_file = (int)syscall(SYS_memfd_create, "x", 0);
    expect_failure("memfd_create", memory_file);
    expect_failure("execveat", syscall(SYS_execveat, AT_FDCWD, "/usr/bin/true",
                                       (char *[]){ "true", NULL }, (char *[]){ NULL }, 0));
    struct stat about;
    if (stat("/usr/bin/su", &about) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        printf("LOOSE: set-user-ID programs have rights\n"), n_loose++;
    expect_failure("device node", mknod("dev", S_IFCHR | 0600, 0x101));
    expect_failure("chown to root", geteuid() == 0 ? -1 : chown(".", 0, 0));
}

static void terminal(void) {
    int fd = open("/dev/tty", O_RDWR);
    char c = '\n';
    expect_failure("TIOCSTI", ioctl(fd >= 0 ? fd : 0, TIOCSTI, &c));
    expect_failure("TIOCSTI with high bits",
                   syscall(SYS_ioctl, fd >= 0 ? fd : 0, 0xffffffff00000000ul | TIOCSTI, &c));
    c = 3;
    expect_failure("TIOCLINUX", ioctl(fd >= 0 ? fd : 0, TIOCLINUX, &c));
    expect_failure("controlling terminal", ioctl(fd >= 0 ? fd : 0, TIOCSCTTY, 0));
}

static void clocks(void) {
    struct timespec now = { 0 };
    expect_absent("clock_settime", clock_settime(CLOCK_REALTIME, &now));
    expect_absent("settimeofday", settimeofday(&(struct timeval){ 0 }, NULL));
    expect_absent("adjtimex", syscall(SYS_adjtimex, NULL));
    expect_absent("sethostname", sethostname("x", 1));
    expect_absent("reboot", syscall(SYS_reboot, 0, 0, 0, NULL));
    expect_absent("swapoff", swapoff("/x"));
    expect_absent("syslog", syscall(SYS_syslog, 2, NULL, 0));
}

/* Processes share it and none counts as its owner, so that one may fill it and leave. */
static void uncounted_memory(void) {
    const int zero = open("/dev/zero", O_RDWR);
    const int flags[] = { MAP_SHARED | MAP_ANONYMOUS, MAP_SHARED_VALIDATE | MAP_ANONYMOUS };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags[i], -1, 0) != MAP_FAILED)
            printf("LOOSE: shared anonymous memory\n"), n_loose++;
    }
    if (zero >= 0 && mmap(NULL, 4096, PROT_READ, MAP_SHARED, zero, 0) != MAP_FAILED)
        printf("LOOSE: /dev/zero as shared memory\n"), n_loose++;
    if (mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
        printf("LOOSE: no memory of one's own\n"), n_loose++;
}

/* What belongs to the same user, but not to the program: "FILE PID". */
static void attributes(const char *words) {
    char path[512];
    pid_t pid = 0;
    const struct timeval then[2] = { { 0 } };
    const struct rlimit few = { 7, 7 };
    cpu_set_t one;
    if (sscanf(words, "%511s %d", path, &pid) != 2) exit(2);
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    expect_failure("chmod", chmod(path, 0666));
    expect_failure("fchmodat2", syscall(452, AT_FDCWD, path, 0666, 0));
    expect_failure("chown", chown(path, 1234, 1234));
    expect_failure("utimes", utimes(path, then));
    expect_failure("utimensat", utimensat(AT_FDCWD, path, NULL, 0));
    expect_failure("prlimit", prlimit(pid, RLIMIT_NOFILE, &few, NULL));
    expect_failure("setpriority", setpriority(PRIO_PROCESS, (id_t)pid, 5));
    expect_failure("affinity", sched_setaffinity(pid, sizeof one, &one));
    if (setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + 1) != 0 || setrlimit(RLIMIT_NOFILE, &few) != 0)
        printf("LOOSE: nothing of one's own\n"), n_loose++;
}

static void shared_memory(void) {
    expect_failure("SysV memory", syscall(SYS_shmget, 0x7232, 4096, 0666 | 01000));
    expect_failure("SysV queue", syscall(SYS_msgget, 0x7232, 0666 | 01000));
    expect_failure("SysV semaphore", syscall(SYS_semget, 0x7232, 1, 0666 | 01000));
    expect_failure("POSIX queue", syscall(SYS_mq_open, "r2lm", O_RDWR | O_CREAT, 0600, NULL));
}

#if defined(__x86_64__)
/* Both end the program by a signal, so a child tries. */
static void try_call(const char *what, void (*call)(void)) {
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        call();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (!WIFSIGNALED(status)) printf("LOOSE: %s\n", what), n_loose++;
}

static void call_32(void) {
    long rc = 20; /* getpid */
    __asm__ volatile("int $0x80" : "+a"(rc) : : "memory");
}

static void call_x32(void) {
    (void)syscall(0x40000000 + SYS_getpid);
    if (errno == ENOSYS) raise(SIGKILL); /* the kernel has none */
}

static void architectures(void) {
    try_call("a 32-bit call", call_32);
    try_call("an x32 call", call_x32);
}
#else
static void architectures(void) {
}
#endif

static void flood(void) {
    static char piece[1 << 20];
    memset(piece, 'x', sizeof piece);
    for (long i = 0; i < 512; i++)
        (void)!write(1, piece, sizeof piece);
}

/* Holds standard output open behind the program's end. */
static void daemonize(void) {
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            (void)setsid();
            if (fork() == 0) {
                (void)setsid();
                signal(SIGTERM, SIG_IGN);
                signal(SIGHUP, SIG_IGN);
                for (;;)
                    sleep(1000);
            }
            _exit(0); /* a zombie for whoever waits */
        }
    }
    usleep(100000);
    printf("held\n");
}

static void deep_folders(void) {
    for (int i = 0; i < 100000; i++) {
        if (mkdir("d", 0700) != 0 || chdir("d") != 0) break;
    }
    printf("held\n");
}

static void sparse(void) {
    int fd = open("sparse", O_RDWR | O_CREAT, 0600);
    expect_failure("a file of an exbibyte", ftruncate(fd, (off_t)1 << 60));
}

typedef struct {
    const char *name;
    void (*plain)(void);
    void (*with)(const char *word);
} attempt;

static const attempt attempts[] = { { "forks", forks, NULL },
                                    { "threads", threads, NULL },
                                    { "memory", memory, NULL },
                                    { "memory-shared-out", memory_shared_out, NULL },
                                    { "disk", NULL, disk },
                                    { "inodes", NULL, inodes },
                                    { "spin", spin, NULL },
                                    { "connect", NULL, connect_to },
                                    { "sockets", sockets, NULL },
                                    { "unix-paths", NULL, unix_paths },
                                    { "read", NULL, read_file },
                                    { "write", NULL, write_file },
                                    { "parents", NULL, parents },
                                    { "own-memory", own_memory, NULL },
                                    { "kill", kill_everyone, NULL },
                                    { "descriptors", descriptors, NULL },
                                    { "namespaces", namespaces, NULL },
                                    { "mounts", mounts, NULL },
                                    { "kernel", kernel_interfaces, NULL },
                                    { "executables", executables, NULL },
                                    { "terminal", terminal, NULL },
                                    { "clocks", clocks, NULL },
                                    { "shared", shared_memory, NULL },
                                    { "uncounted", uncounted_memory, NULL },
                                    { "attributes", NULL, attributes },
                                    { "architectures", architectures, NULL },
                                    { "flood", flood, NULL },
                                    { "daemons", daemonize, NULL },
                                    { "deep", deep_folders, NULL },
                                    { "sparse", sparse, NULL } };

int main(int argc, char **argv) {
    for (size_t i = 0; argc > 1 && i < sizeof attempts / sizeof *attempts; i++) {
        if (strcmp(attempts[i].name, argv[1]) != 0) continue;
        if (attempts[i].plain != NULL)
            attempts[i].plain();
        else
            attempts[i].with(argc > 2 ? argv[2] : "");
        if (n_loose == 0) printf("held\n");
        return n_loose;
    }
    printf("no such attempt\n");
    return 2;
}
