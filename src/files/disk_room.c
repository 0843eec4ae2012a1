#define _POSIX_C_SOURCE 200809L /* statvfs */
#include "files/disk_room.h"

#include <inttypes.h>
#include <string.h>
#include <sys/statvfs.h>

enum { PATH_BYTES = 4096 };

r2_status r2i_disk_room_check(const char *path, int64_t n_bytes, r2_error *err) {
    char parent[PATH_BYTES] = ".";
    struct statvfs disk;
    const char *slash = strrchr(path, '/');
    const size_t n = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (n >= sizeof parent) return R2_OK; /* opening it will fail */
    if (n > 0) {
        memcpy(parent, path, n);
        parent[n] = '\0';
    }
    if (statvfs(parent, &disk) != 0) return R2_OK;
    const uint64_t n_free = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (n_bytes <= 0 || n_free >= (uint64_t)n_bytes) return R2_OK;
    return r2i_fail(err, R2_E_FULL,
                    "%.300s: expected room for %" PRId64 " bytes of weights, found %" PRIu64, path,
                    n_bytes, n_free);
}
