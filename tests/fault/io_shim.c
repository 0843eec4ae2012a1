#define _GNU_SOURCE /* RENAME_*, syscall */
#include "io_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static struct {
    char folder[PATH_BYTES];
    io_mode mode;
    long at;
    int problem;
    atomic_long n_points;
    bool is_armed;
    io_event *events;
    size_t n_events, cap_events;
} shim;

void io_shim_arm(const char *folder, io_mode mode, long at, int problem) {
    snprintf(shim.folder, sizeof shim.folder, "%s/", folder);
    shim.mode = mode;
    shim.at = at;
    shim.problem = problem;
    shim.n_points = 0;
    shim.is_armed = true;
}

long io_shim_disarm(void) {
    shim.is_armed = false;
    return shim.n_points;
}

const io_event *io_shim_trace(size_t *n) {
    *n = shim.n_events;
    return shim.events;
}

void io_shim_forget(void) {
    for (size_t i = 0; i < shim.n_events; i++)
        free(shim.events[i].bytes);
    free(shim.events);
    shim.events = NULL;
    shim.n_events = shim.cap_events = 0;
}

/* ---- what a call is about ---- */

/* The path beneath the folder, or NULL.  fd alone: what it has open. */
static const char *path_of(int fd, const char *name, char room[PATH_BYTES]) {
    char link[64];
    size_t n = 0;
    if (!shim.is_armed) return NULL;
    if (name == NULL || (name[0] != '/' && fd != AT_FDCWD)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        const ssize_t got = readlink(link, room, PATH_BYTES - 1);
        if (got < 0) return NULL;
        n = (size_t)got;
        room[n] = '\0';
    }
    if (name != NULL)
        snprintf(room + n, PATH_BYTES - n, "%s%.1000s", n > 0 ? "/" : "", name);
    else
        snprintf(room + n, PATH_BYTES - n, "/"); /* a folder is beneath itself */
    const size_t n_folder = strlen(shim.folder);
    if (strncmp(room, shim.folder, n_folder) != 0) return NULL;
    if (name == NULL) room[n] = '\0';
    return room[n_folder - 1] == '\0' ? "" : room + n_folder;
}

static void record(io_kind kind, const char *path, const char *to, size_t offset, const void *bytes,
                   size_t n_bytes) {
    if (shim.mode != IO_RECORD) return;
    if (shim.n_events == shim.cap_events) {
        shim.cap_events = shim.cap_events * 2 + 64;
        shim.events = realloc(shim.events, shim.cap_events * sizeof *shim.events);
        if (shim.events == NULL) abort();
    }
    io_event *e = &shim.events[shim.n_events++];
    *e = (io_event){ .kind = kind, .offset = offset, .n_bytes = n_bytes };
    snprintf(e->path, sizeof e->path, "%s", path);
    snprintf(e->to, sizeof e->to, "%s", to != NULL ? to : "");
    if (bytes == NULL) return;
    e->bytes = malloc(n_bytes + 1);
    if (e->bytes == NULL) abort();
    memcpy(e->bytes, bytes, n_bytes);
}

/* One more point; true: this call fails with errno set.  Dies where it is to. */
static bool is_failing(io_kind kind) {
    const long point = atomic_fetch_add(&shim.n_points, 1);
    if (shim.mode == IO_KILL && point == shim.at) raise(SIGKILL);
    const bool is_write = kind == IO_WRITE || kind == IO_MKDIR;
    const bool fails = (shim.mode == IO_FAIL && point == shim.at) ||
                       (shim.mode == IO_FAIL_FROM && point >= shim.at && is_write);
    if (fails) errno = shim.problem;
    return fails;
}

/* ---- the calls ---- */

ssize_t write(int fd, const void *bytes, size_t n) {
    char room[PATH_BYTES];
    const char *path = path_of(fd, NULL, room);
    if (path == NULL) return syscall(SYS_write, fd, bytes, n);
    if (is_failing(IO_WRITE)) return -1;
    if (shim.mode == IO_KILL && shim.n_points == shim.at && n > 1) {
        (void)syscall(SYS_write, fd, bytes, n / 2);
        raise(SIGKILL);
    }
    if (shim.mode == IO_KILL) shim.n_points++;
    if (shim.mode == IO_SHORT && shim.n_points % 5 == 0) {
        errno = EINTR;
        return -1;
    }
    if (shim.mode == IO_SHORT) n = (n + 1) / 2;
    const off_t offset = lseek(fd, 0, SEEK_CUR);
    const ssize_t written = syscall(SYS_write, fd, bytes, n);
    if (written > 0) record(IO_WRITE, path, NULL, (size_t)offset, bytes, (size_t)written);
    return written;
}

int fsync(int fd) {
    char room[PATH_BYTES];
    const char *path = path_of(fd, NULL, room);
    if (path == NULL) return (int)syscall(SYS_fsync, fd);
    if (is_failing(IO_SYNC)) return -1;
    record(IO_SYNC, path, NULL, 0, NULL, 0);
    return 0; /* nobody pulls a plug here, and disks are slow */
}

static int rename_as(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    char room[2][PATH_BYTES];
    const char *path = path_of(from_fd, from, room[0]), *target = path_of(to_fd, to, room[1]);
    if (path != NULL && is_failing(IO_RENAME)) return -1;
    const int result = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    if (path != NULL && result == 0) record(IO_RENAME, path, target, 0, NULL, 0);
    return result;
}

int rename(const char *from, const char *to) {
    return rename_as(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    return rename_as(from_fd, from, to_fd, to, 0);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    return rename_as(from_fd, from, to_fd, to, flags);
}

int unlinkat(int fd, const char *name, int flags) {
    char room[PATH_BYTES];
    const char *path = path_of(fd, name, room);
    if (path != NULL && is_failing(IO_UNLINK)) return -1;
    const int result = (int)syscall(SYS_unlinkat, fd, name, flags);
    if (path != NULL && result == 0) record(IO_UNLINK, path, NULL, 0, NULL, 0);
    return result;
}

int unlink(const char *name) {
    return unlinkat(AT_FDCWD, name, 0);
}

int mkdir(const char *name, mode_t mode) {
    char room[PATH_BYTES];
    const char *path = path_of(AT_FDCWD, name, room);
    if (path != NULL && is_failing(IO_MKDIR)) return -1;
    const int result = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    if (path != NULL && result == 0) record(IO_MKDIR, path, NULL, 0, NULL, 0);
    return result;
}

int rmdir(const char *name) {
    char room[PATH_BYTES];
    const char *path = path_of(AT_FDCWD, name, room);
    if (path != NULL && is_failing(IO_RMDIR)) return -1;
    const int result = (int)syscall(SYS_unlinkat, AT_FDCWD, name, AT_REMOVEDIR);
    if (path != NULL && result == 0) record(IO_RMDIR, path, NULL, 0, NULL, 0);
    return result;
}
