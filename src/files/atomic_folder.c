#define _GNU_SOURCE /* renameat2, O_DIRECTORY */
#include "files/atomic_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/flat_folder.h"

enum { PATH_BYTES = 4096, MAX_NAME = 223, MAX_TRIES = 100 };

struct r2i_atomic_folder {
    r2i_heap *heap;
    bool replaces; /* something has the final name */
    char path[PATH_BYTES], part[PATH_BYTES + 64];
};

static r2_status failed(const char *label, const char *doing, r2_error *err) {
    const int problem = errno;
    const bool is_full = problem == ENOSPC || problem == EDQUOT || problem == EFBIG;
    return r2i_fail(err, is_full ? R2_E_FULL : R2_E_IO, "%s: cannot %s: %s", label, doing,
                    strerror(problem));
}

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Only a folder that looks like what would be put there may go. */
static r2_status check_replaced(const char *path, const char *mark, r2_error *err) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    bool is_empty = true, has_mark = false, is_plain = true;
    if (listing == NULL) {
        if (fd >= 0) close(fd);
        return r2i_fail(err, R2_E_ARGUMENT, "%s: expected a folder to replace", path);
    }
    for (const struct dirent *e = readdir(listing); e != NULL; e = readdir(listing)) {
        struct stat info;
        if (is_dots(e->d_name)) continue;
        is_empty = false;
        has_mark |= strcmp(e->d_name, mark) == 0;
        is_plain &=
            fstatat(fd, e->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode);
    }
    closedir(listing);
    if (is_plain && (is_empty || has_mark)) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "%s: expected an empty folder or one of plain files with %s to replace", path,
                    mark);
}

/* Copies the path without slashes at its end. */
static r2_status set_path(r2i_atomic_folder *f, const char *path, r2_error *err) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    if (n > 0 && n < sizeof f->path) memcpy(f->path, path, n);
    const char *slash = strrchr(f->path, '/'), *name = slash == NULL ? f->path : slash + 1;
    if (n == 0 || n >= sizeof f->path || name[0] == '\0' || is_dots(name) ||
        strlen(name) > MAX_NAME) {
        return r2i_fail(err, R2_E_ARGUMENT, "%s: expected the name of a folder, 1..223 bytes",
                        path);
    }
    return R2_OK;
}

static r2_status make_part(r2i_atomic_folder *f, r2_error *err) {
    const char *slash = strrchr(f->path, '/'), *name = slash == NULL ? f->path : slash + 1;
    for (int i = 0; i < MAX_TRIES; i++) {
        (void)snprintf(f->part, sizeof f->part, "%.*s.%s.%ld-%d.part", (int)(name - f->path),
                       f->path, name, (long)getpid(), i);
        if (mkdir(f->part, 0777) == 0) return R2_OK;
        if (errno != EEXIST) break;
    }
    if (errno == ENOENT || errno == ENOTDIR)
        return r2i_fail(err, R2_E_NOT_FOUND, "%s: no such folder to make it in", f->path);
    return failed(f->path, "make a temporary folder beside it", err);
}

static r2_status begin(r2i_atomic_folder *f, const char *path, bool may_replace, const char *mark,
                       r2_error *err) {
    struct stat info;
    R2I_TRY(set_path(f, path, err));
    f->replaces = lstat(f->path, &info) == 0;
    if (f->replaces && !may_replace)
        return r2i_fail(err, R2_E_ARGUMENT, "%s: exists already", f->path);
    if (f->replaces) R2I_TRY(check_replaced(f->path, mark, err));
    return make_part(f, err);
}

r2_status r2i_atomic_folder_begin(r2i_atomic_folder **out, const char *path, bool may_replace,
                                  const char *mark, r2i_heap *heap, r2_error *err) {
    *out = NULL;
    r2i_atomic_folder *f = r2i_heap_take(heap, sizeof *f);
    if (f == NULL) return r2i_fail(err, R2_E_NOMEM, "%s: no memory for writing it", path);
    memset(f, 0, sizeof *f);
    f->heap = heap;
    const r2_status status = begin(f, path, may_replace, mark, err);
    if (status != R2_OK) {
        r2i_heap_give(heap, f, sizeof *f);
        return status;
    }
    *out = f;
    return R2_OK;
}

const char *r2i_atomic_folder_path(const r2i_atomic_folder *folder) {
    return folder->part;
}

/* Files only: nothing here ever makes a folder inside. */
static void remove_part(const r2i_atomic_folder *f) {
    (void)r2i_flat_folder_empty(f->part, NULL);
    (void)rmdir(f->part);
}

/* Makes the new name durable; some file systems cannot. */
static void sync_parent(const r2i_atomic_folder *f) {
    char parent[PATH_BYTES] = ".";
    const char *slash = strrchr(f->path, '/');
    const size_t n = slash == NULL ? 0 : slash == f->path ? 1 : (size_t)(slash - f->path);
    if (n > 0) {
        memcpy(parent, f->path, n);
        parent[n] = '\0';
    }
    const int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

static int put_in_place(const r2i_atomic_folder *f) {
    const unsigned how = f->replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    if (renameat2(AT_FDCWD, f->part, AT_FDCWD, f->path, how) == 0) return 0;
    if (f->replaces || errno != EINVAL) return -1;
    return rename(f->part,
                  f->path); /* a file system without flags: replaces an empty folder only */
}

r2_status r2i_atomic_folder_commit(r2i_atomic_folder *folder, r2_error *err) {
    r2i_atomic_folder *f = folder;
    r2_status status = R2_OK;
    if (put_in_place(f) != 0) {
        status = failed(f->path, "rename the finished folder to it", err);
    } else {
        sync_parent(f);
    }
    if (status != R2_OK || f->replaces) remove_part(f); /* unfinished, or the one before */
    r2i_heap_give(f->heap, f, sizeof *f);
    return status;
}

void r2i_atomic_folder_abandon(r2i_atomic_folder *folder) {
    if (folder == NULL) return;
    remove_part(folder);
    r2i_heap_give(folder->heap, folder, sizeof *folder);
}
