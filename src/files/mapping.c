#define _GNU_SOURCE /* madvise, O_CLOEXEC */
#include "files/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"

static const r2i_mapping closed_mapping = { .fd = -1 };

r2_status r2i_mapping_open(r2i_mapping *out, const char *path, r2_error *err) {
    *out = closed_mapping;
    /* O_NONBLOCK: a FIFO given as a model must be refused, not waited for. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        const r2_status code = errno == ENOENT || errno == ENOTDIR ? R2_E_NOT_FOUND : R2_E_IO;
        return r2i_fail(err, code, "%s: cannot open: %s", path, strerror(errno));
    }
    return r2i_mapping_open_fd(out, fd, path, err);
}

static r2_status map_regular_file(r2i_mapping *out, int fd, const char *label, r2_error *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return r2i_fail(err, R2_E_IO, "%s: cannot stat: %s", label, strerror(errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return r2i_fail(err, R2_E_FORMAT, "%s: expected a regular file, found %s", label,
                        S_ISDIR(info.st_mode) ? "a folder" : "a device, pipe or socket");
    }
    *out = (r2i_mapping){ .fd = fd, .n_bytes = (size_t)info.st_size };
    if (out->n_bytes == 0) return R2_OK;
    void *bytes = mmap(NULL, out->n_bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        return r2i_fail(err, R2_E_IO, "%s: cannot map %zu bytes: %s", label, out->n_bytes,
                        strerror(errno));
    }
    out->bytes = bytes;
    return R2_OK;
}

r2_status r2i_mapping_open_fd(r2i_mapping *out, int fd, const char *label, r2_error *err) {
    *out = closed_mapping;
    const r2_status status = map_regular_file(out, fd, label, err);
    if (status != R2_OK) {
        *out = closed_mapping;
        close(fd);
    }
    return status;
}

/* munmap and madvise take void * although they only touch page tables. */
static void *address_of(const uint8_t *bytes) {
    return (void *)(uintptr_t)bytes;
}

void r2i_mapping_close(r2i_mapping *mapping) {
    if (mapping->bytes != NULL) munmap(address_of(mapping->bytes), mapping->n_bytes);
    if (mapping->fd > 0) close(mapping->fd);
    *mapping = closed_mapping;
}

bool r2i_mapping_is_intact(const r2i_mapping *mapping) {
    struct stat info;
    return mapping->fd > 0 && fstat(mapping->fd, &info) == 0 && info.st_size >= 0 &&
           (size_t)info.st_size >= mapping->n_bytes;
}

void r2i_mapping_sequential(const r2i_mapping *mapping) {
    if (mapping->bytes != NULL) {
        (void)madvise(address_of(mapping->bytes), mapping->n_bytes, MADV_SEQUENTIAL);
    }
}

/* Clipped to the mapping, inward to whole pages. */
void r2i_mapping_forget(const r2i_mapping *mapping, const void *start, size_t n_bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const uintptr_t base = (uintptr_t)mapping->bytes, at = (uintptr_t)start;
    if (mapping->bytes == NULL || at < base || at - base >= mapping->n_bytes) return;
    size_t begin = at - base, end = mapping->n_bytes;
    if (n_bytes < end - begin) end = begin + n_bytes;
    begin = (begin + page - 1) / page * page;
    if (end != mapping->n_bytes) end = end / page * page;
    if (begin < end) (void)madvise(address_of(mapping->bytes + begin), end - begin, MADV_DONTNEED);
}
