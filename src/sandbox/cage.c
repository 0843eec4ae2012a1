#define _GNU_SOURCE /* pipe2, memfd_create, seals */
#include "sandbox/cage.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/failure.h"

enum { FIRST_NUMBER = 3 };

int r2i_file_above(int fd) {
    if (fd < 0 || fd >= FIRST_NUMBER) return fd;
    const int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_NUMBER);
    (void)close(fd);
    return moved;
}

int r2i_file_of_bytes(const void *bytes, size_t n_bytes) {
    const int fd = r2i_file_above(memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    size_t done = 0;
    while (fd >= 0 && done < n_bytes) {
        const ssize_t n = write(fd, (const char *)bytes + done, n_bytes - done);
        if (n <= 0) break;
        done += (size_t)n;
    }
    if (fd < 0 ||
        (done == n_bytes && lseek(fd, 0, SEEK_SET) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0))
        return fd;
    (void)close(fd);
    return -1;
}

static bool open_pipe(int *ours, int *theirs) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    *ours = r2i_file_above(ends[0]);
    *theirs = r2i_file_above(ends[1]);
    return *ours >= 0 && *theirs >= 0 && fcntl(*ours, F_SETFL, O_NONBLOCK) == 0;
}

r2_status r2i_cage_open_streams(r2i_cage *cage, r2i_launch *launch, r2_error *err) {
    launch->standard[0] = r2i_file_of_bytes(cage->options->input, cage->options->n_input);
    if (launch->standard[0] >= 0 && open_pipe(&cage->out, &launch->standard[1]) &&
        open_pipe(&cage->err, &launch->standard[2]))
        return R2_OK;
    return r2i_fail(err, R2_E_IO, "sandbox: no files for input and output: %s", strerror(errno));
}

void r2i_launch_close(r2i_launch *launch) {
    for (int i = 0; i < launch->n_kept; i++)
        (void)close(launch->kept[i]);
    launch->n_kept = 0;
    for (int i = 0; i < 3; i++) {
        if (launch->standard[i] >= 0) (void)close(launch->standard[i]);
        launch->standard[i] = -1;
    }
}
