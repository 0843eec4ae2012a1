#define _GNU_SOURCE /* O_DIRECTORY, O_CLOEXEC, openat, renameat, sync_file_range */
#include "files/atomic_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"

enum { BUFFER_BYTES = 1 << 18, WRITEBACK_BYTES = 16 << 20, MAX_TRIES = 100, MAX_FILE_NAME = 255 };

struct r2i_atomic_file {
    r2i_heap *heap;
    int fd, folder_fd;
    r2_status status; /* of the first failure; sticks */
    uint64_t n_bytes;
    uint64_t n_started; /* of these, on their way to the disk */
    size_t n_buffered;
    char name[MAX_FILE_NAME + 1], part[MAX_FILE_NAME + 1]; /* both in the folder */
    uint8_t buffer[BUFFER_BYTES];
};

static bool is_full(int problem) {
    return problem == ENOSPC || problem == EDQUOT || problem == EFBIG;
}

static r2_status failed(const char *label, const char *doing, r2_error *err) {
    const int problem = errno;
    return r2i_fail(err, is_full(problem) ? R2_E_FULL : R2_E_IO, "%s: cannot %s: %s", label, doing,
                    strerror(problem));
}

r2_status r2i_write_all(int fd, const char *label, const void *bytes, size_t n_bytes,
                        r2_error *err) {
    const uint8_t *at = bytes;
    while (n_bytes > 0) {
        const ssize_t n = write(fd, at, n_bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            if (n == 0) errno = EIO;
            return failed(label, "write", err);
        }
        at += n;
        n_bytes -= (size_t)n;
    }
    return R2_OK;
}

/* Opens the folder of `path` and copies the file's name. */
static r2_status open_folder(r2i_atomic_file *f, const char *path, r2_error *err) {
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    char folder[4096] = ".";
    const size_t n = slash == NULL ? 1 : slash == path ? 1 : (size_t)(slash - path);
    /* The temporary name is longer by a dot, a process number, a count and ".part". */
    if (name[0] == '\0' || strlen(name) > MAX_FILE_NAME - 32 || n >= sizeof folder) {
        return r2i_fail(err, R2_E_ARGUMENT, "%s: expected a file name of 1..223 bytes", path);
    }
    if (slash != NULL) memcpy(folder, path, n);
    folder[n] = '\0';
    memcpy(f->name, name, strlen(name) + 1);
    f->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->folder_fd >= 0) return R2_OK;
    if (errno == ENOENT || errno == ENOTDIR) {
        return r2i_fail(err, R2_E_NOT_FOUND, "%s: no such folder", folder);
    }
    return failed(folder, "open", err);
}

/* Renaming over a device or a folder is never what was meant. */
static r2_status check_target(const r2i_atomic_file *f, r2_error *err) {
    struct stat info;
    if (fstatat(f->folder_fd, f->name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? R2_OK : failed(f->name, "stat", err);
    }
    if (S_ISREG(info.st_mode) || S_ISLNK(info.st_mode)) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "%s: expected a regular file to replace, found %s", f->name,
                    S_ISDIR(info.st_mode) ? "a folder" : "a device, pipe or socket");
}

static r2_status open_part(r2i_atomic_file *f, mode_t mode, r2_error *err) {
    for (int i = 0; i < MAX_TRIES; i++) {
        (void)snprintf(f->part, sizeof f->part, ".%.223s.%ld-%d.part", f->name, (long)getpid(), i);
        f->fd = openat(f->folder_fd, f->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                       mode);
        if (f->fd >= 0 || errno != EEXIST) break;
    }
    return f->fd >= 0 ? R2_OK : failed(f->name, "create a temporary file beside it", err);
}

static void release(r2i_atomic_file *f) {
    if (f->fd >= 0) close(f->fd);
    if (f->folder_fd >= 0) close(f->folder_fd);
    r2i_heap_give(f->heap, f, sizeof *f);
}

r2_status r2i_atomic_begin(r2i_atomic_file **out, const char *path, bool is_private, r2i_heap *heap,
                           r2_error *err) {
    *out = NULL;
    r2i_atomic_file *f = r2i_heap_take(heap, sizeof *f);
    if (f == NULL) return r2i_fail(err, R2_E_NOMEM, "%s: no memory for writing it", path);
    f->heap = heap;
    f->fd = f->folder_fd = -1;
    f->status = R2_OK;
    f->n_bytes = f->n_started = 0;
    f->n_buffered = 0;
    r2_status status = open_folder(f, path, err);
    if (status == R2_OK) status = check_target(f, err);
    if (status == R2_OK) status = open_part(f, is_private ? 0600 : 0666, err);
    if (status != R2_OK) {
        release(f);
        return status;
    }
    *out = f;
    return R2_OK;
}

static r2_status flush(r2i_atomic_file *f, r2_error *err) {
    f->status = r2i_write_all(f->fd, f->name, f->buffer, f->n_buffered, err);
    f->n_buffered = 0;
    return f->status;
}

/* Large files go to the disk while they are being made, so that the fsync at the end has little left
 * to wait for.  Only a hint: what fails here shows there. */
static void start_writeback(r2i_atomic_file *f) {
    const uint64_t n_written = f->n_bytes - f->n_buffered;
    if (n_written - f->n_started < WRITEBACK_BYTES) return;
    (void)sync_file_range(f->fd, (off_t)f->n_started, (off_t)(n_written - f->n_started),
                          SYNC_FILE_RANGE_WRITE);
    f->n_started = n_written;
}

r2_status r2i_atomic_write(r2i_atomic_file *file, const void *bytes, size_t n_bytes,
                           r2_error *err) {
    r2i_atomic_file *f = file;
    if (f->status != R2_OK) return r2i_fail(err, f->status, "%s: an earlier write failed", f->name);
    if (n_bytes > BUFFER_BYTES - f->n_buffered && flush(f, err) != R2_OK) return f->status;
    if (n_bytes >= BUFFER_BYTES) {
        f->status = r2i_write_all(f->fd, f->name, bytes, n_bytes, err);
    } else if (n_bytes != 0) {
        memcpy(f->buffer + f->n_buffered, bytes, n_bytes);
        f->n_buffered += n_bytes;
    }
    if (f->status != R2_OK) return f->status;
    f->n_bytes += n_bytes;
    start_writeback(f);
    return R2_OK;
}

r2_status r2i_atomic_write_zeros(r2i_atomic_file *file, size_t n_bytes, r2_error *err) {
    static const uint8_t zeros[4096];
    while (n_bytes > 0) {
        const size_t n = n_bytes < sizeof zeros ? n_bytes : sizeof zeros;
        const r2_status status = r2i_atomic_write(file, zeros, n, err);
        if (status != R2_OK) return status;
        n_bytes -= n;
    }
    return R2_OK;
}

uint64_t r2i_atomic_n_bytes(const r2i_atomic_file *file) { return file->n_bytes; }

static r2_status make_durable(r2i_atomic_file *f, r2_error *err) {
    if (f->status != R2_OK) return r2i_fail(err, f->status, "%s: an earlier write failed", f->name);
    if (flush(f, err) != R2_OK) return f->status;
    if (fsync(f->fd) != 0) return failed(f->name, "make it durable (fsync)", err);
    const int fd = f->fd;
    f->fd = -1;
    if (close(fd) != 0) return failed(f->name, "close", err);
    return R2_OK;
}

r2_status r2i_atomic_commit(r2i_atomic_file *file, r2_error *err) {
    r2i_atomic_file *f = file;
    r2_status status = make_durable(f, err);
    if (status == R2_OK && renameat(f->folder_fd, f->part, f->folder_fd, f->name) != 0) {
        status = failed(f->name, "rename the finished file to it", err);
    }
    if (status != R2_OK) {
        r2i_atomic_abandon(f);
        return status;
    }
    /* Some file systems cannot sync a folder and say EINVAL: nothing more can be done there. */
    if (fsync(f->folder_fd) != 0 && errno != EINVAL) {
        status = failed(f->name, "make its name durable (fsync of the folder)", err);
    }
    release(f);
    return status;
}

void r2i_atomic_abandon(r2i_atomic_file *file) {
    if (file == NULL) return;
    (void)unlinkat(file->folder_fd, file->part, 0);
    release(file);
}
