#define _POSIX_C_SOURCE 200809L /* ftruncate, fsync */
#include "train/distill/trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/hash.h"

enum { PATH_BYTES = 4096, LINE_BYTES = 128, CHUNK_BYTES = 1 << 16 };
#define MAX_DONE_BYTES ((size_t)1 << 32)

static const char *const verdicts[R2I_N_VERDICTS] = { "kept", "wrong", "cut" };

static uint64_t key_of(uint64_t prompt, int32_t sample) {
    return r2i_hash_mix(prompt + (uint64_t)(uint32_t)sample * 0x9e3779b97f4a7c15u);
}

static r2_status fail_io(const char *what, r2_error *err) {
    return r2i_fail(err, errno == ENOSPC || errno == EDQUOT ? R2_E_FULL : R2_E_IO, "%s: %s", what,
                    strerror(errno));
}

static r2_status write_all(int fd, const char *bytes, size_t n, r2_error *err) {
    while (n > 0) {
        const ssize_t n_written = write(fd, bytes, n);
        if (n_written < 0 && errno == EINTR) continue;
        if (n_written < 0) return fail_io("traces", err);
        bytes += n_written;
        n -= (size_t)n_written;
    }
    return fsync(fd) == 0 ? R2_OK : fail_io("traces", err);
}

/* ---- what is done ---- */

static r2_status read_all(int fd, r2i_buffer *out, r2_error *err) {
    char chunk[CHUNK_BYTES];
    for (;;) {
        const ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_io("traces", err);
        if (n == 0) return R2_OK;
        R2I_TRY(r2i_buffer_append(out, chunk, (size_t)n, err));
    }
}

static bool take_line(r2i_trace_file *f, const char *line, r2_error *err) {
    uint64_t prompt;
    int32_t sample;
    char verdict[8];
    int64_t n_bytes;
    uint32_t found;
    if (sscanf(line, "%16" SCNx64 " %" SCNd32 " %7s %" SCNd64, &prompt, &sample, verdict,
               &n_bytes) != 4 ||
        n_bytes < f->n_bytes)
        return false;
    for (uint32_t v = 0; v < R2I_N_VERDICTS; v++) {
        if (strcmp(verdict, verdicts[v]) != 0) continue;
        f->counts[v]++;
        f->n_bytes = n_bytes;
        return r2i_number_map_add(&f->done, key_of(prompt, sample), v, &found, err) == R2_OK;
    }
    return false;
}

static r2_status take_header(const char *line, const char *path, uint64_t settings, r2_error *err) {
    uint64_t found;
    if (sscanf(line, "r2lm-traces 1 %16" SCNx64, &found) != 1)
        return r2i_fail(err, R2_E_FORMAT, "%.150s.done: expected a list of samples", path);
    if (found == settings) return R2_OK;
    return r2i_fail(err, R2_E_MISMATCH,
                    "%.130s: was begun with another teacher or other settings: give those, or "
                    "remove it and its .done",
                    path);
}

static r2_status take_lines(r2i_trace_file *f, const char *path, uint64_t settings,
                            const r2i_buffer *text, r2_error *err) {
    char line[LINE_BYTES];
    size_t at = 0;
    for (int64_t n_line = 0;; n_line++) {
        const char *begin = text->bytes != NULL ? text->bytes + at : "";
        const char *end = text->n_bytes > at ? memchr(begin, '\n', text->n_bytes - at) : NULL;
        if (end == NULL) break; /* half a line is none */
        const size_t n = (size_t)(end - begin);
        (void)snprintf(line, sizeof line, "%.*s", n < sizeof line ? (int)n : 0, begin);
        if (n_line == 0) R2I_TRY(take_header(line, path, settings, err));
        if (n_line > 0 && !take_line(f, line, err))
            return r2i_fail(err, R2_E_FORMAT, "%.150s.done: line %lld: expected a sample", path,
                            (long long)n_line + 1);
        at += n + 1;
    }
    if (ftruncate(f->done_fd, (off_t)at) != 0) return fail_io(path, err);
    if (at > 0) return R2_OK;
    const int n = snprintf(line, sizeof line, "r2lm-traces 1 %016" PRIx64 "\n", settings);
    return write_all(f->done_fd, line, (size_t)n, err);
}

/* ---- opening ---- */

static r2_status cut_to_done(const r2i_trace_file *f, const char *path, r2_error *err) {
    struct stat info;
    if (fstat(f->fd, &info) != 0) return fail_io(path, err);
    if (info.st_size < f->n_bytes)
        return r2i_fail(err, R2_E_FORMAT,
                        "%.150s: expected at least the %lld bytes that %.50s.done tells of, found "
                        "%lld",
                        path, (long long)f->n_bytes, path, (long long)info.st_size);
    return ftruncate(f->fd, (off_t)f->n_bytes) == 0 ? R2_OK : fail_io(path, err);
}

static r2_status open_files(r2i_trace_file *f, const char *path, bool is_forced, r2_error *err) {
    char done[PATH_BYTES + 16];
    (void)snprintf(done, sizeof done, "%.4000s.done", path);
    const bool is_there = access(path, F_OK) == 0, is_begun = access(done, F_OK) == 0;
    if (is_there && !is_begun && !is_forced)
        return r2i_fail(err, R2_E_ARGUMENT, "%.150s: exists already, and no %.100s.done with it",
                        path, path);
    const int fresh = is_forced ? O_TRUNC : 0;
    f->done_fd = open(done, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | fresh, 0666);
    if (f->done_fd < 0) return fail_io(done, err);
    f->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | fresh, 0666);
    return f->fd >= 0 ? R2_OK : fail_io(path, err);
}

r2_status r2i_trace_file_open(r2i_trace_file *out, const char *path, uint64_t settings,
                              bool is_forced, r2i_heap *heap, r2_error *err) {
    r2i_buffer text;
    *out = (r2i_trace_file){ .fd = -1, .done_fd = -1 };
    r2i_number_map_init(&out->done, heap);
    r2i_buffer_init(&text, heap, MAX_DONE_BYTES);
    r2_status status = open_files(out, path, is_forced, err);
    if (status == R2_OK) status = read_all(out->done_fd, &text, err);
    if (status == R2_OK) status = take_lines(out, path, settings, &text, err);
    if (status == R2_OK) status = cut_to_done(out, path, err);
    r2i_buffer_destroy(&text);
    if (status != R2_OK) r2i_trace_file_close(out);
    return status;
}

void r2i_trace_file_withdraw(const r2i_trace_file *f, const char *path) {
    char done[PATH_BYTES + 16];
    if (f->fd < 0 ||
        f->counts[R2I_TRACE_KEPT] + f->counts[R2I_TRACE_WRONG] + f->counts[R2I_TRACE_CUT] > 0)
        return;
    (void)snprintf(done, sizeof done, "%.4000s.done", path);
    (void)unlink(path);
    (void)unlink(done);
}

void r2i_trace_file_close(r2i_trace_file *f) {
    if (f->fd >= 0) (void)close(f->fd);
    if (f->done_fd >= 0) (void)close(f->done_fd);
    f->fd = f->done_fd = -1;
    if (f->done.heap != NULL) r2i_number_map_destroy(&f->done);
    f->done.heap = NULL;
}

bool r2i_trace_file_has(const r2i_trace_file *f, uint64_t prompt, int32_t sample) {
    return r2i_number_map_find(&f->done, key_of(prompt, sample)) != NULL;
}

r2_status r2i_trace_file_add(r2i_trace_file *f, uint64_t prompt, int32_t sample,
                             r2i_trace_verdict verdict, const char *line, size_t n, r2_error *err) {
    char done[LINE_BYTES];
    uint32_t found;
    if (n > 0) R2I_TRY(write_all(f->fd, line, n, err));
    f->n_bytes += (int64_t)n;
    const int n_done = snprintf(done, sizeof done, "%016" PRIx64 " %" PRId32 " %s %" PRId64 "\n",
                                prompt, sample, verdicts[verdict], f->n_bytes);
    R2I_TRY(write_all(f->done_fd, done, (size_t)n_done, err));
    f->counts[verdict]++;
    return r2i_number_map_add(&f->done, key_of(prompt, sample), (uint32_t)verdict, &found, err);
}
