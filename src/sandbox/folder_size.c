#define _GNU_SOURCE /* openat, fdopendir */
#include "sandbox/folder_size.h"

#include <dirent.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { MAX_DEPTH = 64, DISK_BLOCK = 512 };

typedef struct {
    int64_t n_bytes, n_files;
} room;

static bool is_dots(const char *name) {
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Takes the folder's descriptor; what is left of `left` falls below 0 when it does not fit. */
static void measure(int fd, int depth, room *left) {
    struct stat about;
    const struct dirent *entry;
    DIR *folder = fdopendir(fd);
    if (folder == NULL) {
        (void)close(fd);
        return;
    }
    if (depth > MAX_DEPTH) left->n_files = -1;
    while (left->n_bytes >= 0 && left->n_files >= 0 && (entry = readdir(folder)) != NULL) {
        if (is_dots(entry->d_name) || fstatat(fd, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        left->n_files--;
        left->n_bytes -= (int64_t)about.st_blocks * DISK_BLOCK;
        if (!S_ISDIR(about.st_mode)) continue;
        const int below =
            openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0) measure(below, depth + 1, left);
    }
    (void)closedir(folder);
}

bool r2i_folder_fits(const char *path, int64_t max_bytes, int64_t max_files) {
    room left = { max_bytes, max_files };
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) measure(fd, 0, &left);
    return left.n_bytes >= 0 && left.n_files >= 0;
}

bool r2i_file_system_fits(const char *path, int64_t n_bytes, int64_t max_files) {
    struct statvfs about;
    if (statvfs(path, &about) != 0) return true; /* gone, with all that was in it */
    const int64_t block = (int64_t)about.f_frsize;
    if (block <= 0 || (int64_t)about.f_blocks != (n_bytes + block - 1) / block) return true;
    return (int64_t)(about.f_files - about.f_ffree) <= max_files;
}

/* ---- removing ---- */

/* Removes what can be removed at once and moves subfolders' subfolders up into `top`, so that depth
 * costs no stack: true if anything was left to come back for. */
static bool sweep(int top, int fd, uint64_t *serial) {
    const struct dirent *entry;
    bool is_left = false;
    DIR *folder = fdopendir(fd);
    if (folder == NULL) {
        (void)close(fd);
        return false;
    }
    while ((entry = readdir(folder)) != NULL) {
        char name[32];
        if (is_dots(entry->d_name)) continue;
        if (unlinkat(fd, entry->d_name, 0) == 0 || unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
            continue;
        (void)snprintf(name, sizeof name, ".left-%llu", (unsigned long long)(*serial)++);
        if (fchmodat(fd, entry->d_name, 0700, 0) == 0 &&
            renameat(fd, entry->d_name, top, name) == 0)
            is_left = true;
    }
    (void)closedir(folder);
    return is_left;
}

/* One pass over what lies in `top` itself.  True if there is more to do, and something was done. */
static bool sweep_top(int top, uint64_t *serial) {
    const struct dirent *entry;
    bool is_left = false, is_progress = false;
    DIR *folder = fdopendir(dup(top));
    if (folder == NULL) return false;
    rewinddir(folder);
    while ((entry = readdir(folder)) != NULL) {
        if (is_dots(entry->d_name) || unlinkat(top, entry->d_name, 0) == 0) continue;
        if (fchmodat(top, entry->d_name, 0700, 0) != 0) continue;
        const int below =
            openat(top, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0 && sweep(top, below, serial)) is_left = is_progress = true;
        if (unlinkat(top, entry->d_name, AT_REMOVEDIR) == 0)
            is_progress = true;
        else
            is_left = true;
    }
    (void)closedir(folder);
    return is_left && is_progress;
}

void r2i_folder_remove(const char *path) {
    const int top = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t serial = 0;
    while (top >= 0 && sweep_top(top, &serial))
        continue;
    if (top >= 0) (void)close(top);
    (void)rmdir(path);
}
