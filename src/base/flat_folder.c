#define _GNU_SOURCE /* O_DIRECTORY, unlinkat */
#include "base/flat_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

int r2i_flat_folder_empty(const char *path, const char *first) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = fd >= 0 ? fdopendir(fd) : NULL;
    int problem = 0;
    if (listing == NULL) {
        problem = errno;
        if (fd >= 0) (void)close(fd);
        errno = problem;
        return -1;
    }
    if (first != NULL) (void)unlinkat(fd, first, 0);
    for (const struct dirent *e = readdir(listing); e != NULL; e = readdir(listing)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (unlinkat(fd, e->d_name, 0) != 0 && errno != ENOENT) problem = errno;
    }
    (void)closedir(listing);
    errno = problem;
    return problem == 0 ? 0 : -1;
}
