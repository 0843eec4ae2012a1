#define _GNU_SOURCE /* flock, O_DIRECTORY */
#include "cli/run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/failure.h"

r2_status r2i_run_lock(int *lock, const char *folder, r2_error *err) {
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *lock = -1;
    if (fd < 0) return R2_OK; /* what comes next says why */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *lock = fd;
        return R2_OK;
    }
    const int problem = errno;
    (void)close(fd);
    if (problem != EWOULDBLOCK) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "%.150s: another process is training there", folder);
}
