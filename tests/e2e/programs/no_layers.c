/* no_layers.c - a machine without layers of the sandbox: loaded before the C library (LD_PRELOAD), it hides those
 * that NO_BUBBLEWRAP, NO_LANDLOCK and NO_SECCOMP name. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
long syscall(long number, ...) {
    static long (*real)(long, ...);
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (real == NULL) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if ((number == SYS_landlock_create_ruleset && getenv("NO_LANDLOCK")) ||
        (number == SYS_seccomp && getenv("NO_SECCOMP"))) {
        errno = ENOSYS;
        return -1;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
int access(const char *path, int mode) {
    static int (*real)(const char *, int);
    if (real == NULL) real = (int (*)(const char *, int))dlsym(RTLD_NEXT, "access");
    if (getenv("NO_BUBBLEWRAP") && strstr(path, "bwrap")) {
        errno = ENOENT;
        return -1;
    }
    return real(path, mode);
}
