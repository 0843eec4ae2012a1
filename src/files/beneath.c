#define _GNU_SOURCE /* O_DIRECTORY, O_NOFOLLOW, O_PATH, openat */
#include "files/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/failure.h"

enum { MAX_NAME_BYTES = 255, MIN_STEPS = 2, MAX_STEPS = 4 };

bool r2i_beneath_is_name(const char *name, size_t n_bytes) {
    if (n_bytes < 1 || n_bytes > MAX_NAME_BYTES) return false;
    if (name[0] == '.' && (n_bytes == 1 || (n_bytes == 2 && name[1] == '.'))) return false;
    for (size_t i = 0; i < n_bytes; i++) {
        const char c = name[i];
        const bool is_good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                             (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
        if (!is_good) return false;
    }
    return true;
}

static r2_status cannot_open(const char *name, r2_error *err) {
    const r2_status code = errno == ENOENT || errno == ENOTDIR ? R2_E_NOT_FOUND : R2_E_IO;
    return r2i_fail(err, code, "%s: cannot open: %s", name, strerror(errno));
}

r2_status r2i_beneath_open_folder(int *fd, const char *path, r2_error *err) {
    *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *fd < 0 ? cannot_open(path, err) : R2_OK;
}

/* Never follows a link, never waits for a FIFO. */
static int open_plain(int folder_fd, const char *name) {
    return openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
}

/* Reads "../../blobs/NAME": number of steps up, or 0 when the link is of another form. */
static int32_t parse_blob_link(const char *target, const char **blob) {
    static const char up[] = "../", blobs[] = "blobs/";
    int32_t n_steps = 0;
    while (strncmp(target, up, sizeof up - 1) == 0) {
        target += sizeof up - 1;
        n_steps++;
    }
    if (n_steps < MIN_STEPS || n_steps > MAX_STEPS) return 0;
    if (strncmp(target, blobs, sizeof blobs - 1) != 0) return 0;
    *blob = target + sizeof blobs - 1;
    return r2i_beneath_is_name(*blob, strlen(*blob)) ? n_steps : 0;
}

/* Replaces a folder by one inside or above it; links are refused.  Closes the old one. */
static int step_to(int folder_fd, const char *name) {
    const int next = openat(folder_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    const int problem = errno;
    close(folder_fd);
    errno = problem;
    return next;
}

static int open_blob(int folder_fd, int32_t n_steps, const char *blob) {
    int at = openat(folder_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int32_t i = 0; i < n_steps && at >= 0; i++) at = step_to(at, "..");
    if (at >= 0) at = step_to(at, "blobs");
    if (at < 0) return -1;
    const int fd = open_plain(at, blob);
    const int problem = errno;
    close(at);
    errno = problem;
    return fd;
}

r2_status r2i_beneath_map(r2i_mapping *out, int folder_fd, const char *name, r2_error *err) {
    *out = (r2i_mapping){ .fd = -1 };
    if (!r2i_beneath_is_name(name, strlen(name))) {
        return r2i_fail(err, R2_E_ARGUMENT, "%s: expected a file name of A-Z a-z 0-9 . _ - only",
                        name);
    }
    int fd = open_plain(folder_fd, name);
    if (fd < 0 && errno == ELOOP) {
        char target[512];
        const char *blob = NULL;
        const ssize_t n = readlinkat(folder_fd, name, target, sizeof target - 1);
        target[n < 0 ? 0 : n] = '\0';
        const int32_t n_steps = parse_blob_link(target, &blob);
        if (n_steps == 0) {
            return r2i_fail(err, R2_E_FORMAT,
                            "%s: expected a file or a link to ../../blobs/NAME, "
                            "found a link to %s",
                            name, target);
        }
        fd = open_blob(folder_fd, n_steps, blob);
    }
    return fd < 0 ? cannot_open(name, err) : r2i_mapping_open_fd(out, fd, name, err);
}
