#define _XOPEN_SOURCE 700 /* mkstemp, fsync */
#include "cli/text_write.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"

enum { PATH_BYTES = 4096 };

r2_status r2i_text_write_to(int file, const char *text, size_t n_bytes, const char *path,
                            r2_error *err) {
    while (n_bytes > 0) {
        const ssize_t n_written = write(file, text, n_bytes);
        if (n_written < 0 && errno == EINTR) continue;
        if (n_written <= 0) return r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
        text += n_written;
        n_bytes -= (size_t)n_written;
    }
    return fsync(file) == 0 ? R2_OK : r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
}

r2_status r2i_text_write(const char *path, const char *text, size_t n_bytes, unsigned mode,
                         r2_error *err) {
    char part[PATH_BYTES];
    struct stat info;
    const bool exists = stat(path, &info) == 0;
    if (exists && !S_ISREG(info.st_mode))
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: expected a file, found something else", path);
    const int n = snprintf(part, sizeof part, "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof part)
        return r2i_fail(err, R2_E_ARGUMENT, "%.100s: name too long", path);
    const int file = mkstemp(part);
    if (file < 0) return r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
    r2_status status = r2i_text_write_to(file, text, n_bytes, path, err);
    if (status == R2_OK && fchmod(file, exists ? info.st_mode & 0777 : (mode_t)mode) != 0)
        status = r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
    if (close(file) != 0 && status == R2_OK)
        status = r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
    if (status == R2_OK && rename(part, path) != 0)
        status = r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
    if (status != R2_OK) (void)unlink(part);
    return status;
}
