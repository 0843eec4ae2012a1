#define _GNU_SOURCE /* O_DIRECTORY */
#include "files/state_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "base/flat_folder.h"
#include "base/hash.h"
#include "files/safetensors_write.h"

enum { PATH_BYTES = 4096, ARRAY_NAME_BYTES = 256 };
#define STEP_PREFIX "step-"

void r2i_state_step_name(char out[R2I_STATE_STEP_BYTES], int64_t step) {
    (void)snprintf(out, R2I_STATE_STEP_BYTES, STEP_PREFIX "%08" PRId64, step);
}

/* FOLDER/step-N, or FOLDER/step-N/name. */
static r2_status set_path(char out[PATH_BYTES], const char *folder, int64_t step, const char *name,
                          r2_error *err) {
    char step_name[R2I_STATE_STEP_BYTES];
    r2i_state_step_name(step_name, step);
    const int n = snprintf(out, PATH_BYTES, "%s/%s%s%s", folder, step_name, name != NULL ? "/" : "",
                           name != NULL ? name : "");
    if (n > 0 && n < PATH_BYTES) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "%.150s: expected a shorter path", folder);
}

static r2_status failed(const char *label, const char *doing, r2_error *err) {
    const int problem = errno;
    const bool is_full = problem == ENOSPC || problem == EDQUOT || problem == EFBIG;
    return r2i_fail(err, is_full ? R2_E_FULL : R2_E_IO, "%.150s: cannot %s: %s", label, doing,
                    strerror(problem));
}

/* ---- folders ---- */

/* Makes names in a folder durable; some file systems cannot, and say EINVAL. */
static r2_status sync_folder(const char *path, r2_error *err) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return failed(path, "open", err);
    r2_status status = R2_OK;
    if (fsync(fd) != 0 && errno != EINVAL)
        status = failed(path, "make names in it durable (fsync)", err);
    (void)close(fd);
    return status;
}

/* A folder that is there already may have been made by one that was killed before its name was
 * durable: the name is made so in any case. */
static r2_status make_folder(const char *path, r2_error *err) {
    char parent[PATH_BYTES] = ".";
    const char *slash = strrchr(path, '/');
    if (mkdir(path, 0777) != 0 && errno != EEXIST) return failed(path, "make the folder", err);
    if (slash != NULL)
        (void)snprintf(parent, sizeof parent, "%.*s", slash == path ? 1 : (int)(slash - path),
                       path);
    return sync_folder(parent, err);
}

/* The manifest goes first: from then on the step does not exist. */
static r2_status clear_folder(const char *path, bool *is_there, r2_error *err) {
    const bool is_empty = r2i_flat_folder_empty(path, R2I_STATE_MANIFEST_NAME) == 0;
    *is_there = is_empty || errno != ENOENT;
    return is_empty || !*is_there ? R2_OK : failed(path, "clear the folder", err);
}

r2_status r2i_state_begin(const char *folder, int64_t step, r2_error *err) {
    char path[PATH_BYTES];
    bool is_there;
    R2I_TRY(set_path(path, folder, step, NULL, err));
    R2I_TRY(make_folder(folder, err));
    R2I_TRY(clear_folder(path, &is_there, err));
    return make_folder(path, err);
}

r2_status r2i_state_remove(const char *folder, int64_t step, r2_error *err) {
    char path[PATH_BYTES];
    bool is_there;
    R2I_TRY(set_path(path, folder, step, NULL, err));
    R2I_TRY(clear_folder(path, &is_there, err));
    return !is_there || rmdir(path) == 0 ? R2_OK : failed(path, "remove the folder", err);
}

/* The number behind "step-"; -1: another name. */
static int64_t step_of(const char *name) {
    char again[R2I_STATE_STEP_BYTES];
    const size_t n = sizeof STEP_PREFIX - 1;
    if (strncmp(name, STEP_PREFIX, n) != 0 || name[n] < '0' || name[n] > '9') return -1;
    const int64_t step = strtoll(name + n, NULL, 10);
    r2i_state_step_name(again, step);
    return strcmp(name, again) == 0 ? step : -1;
}

static int newer_first(const void *a, const void *b) {
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x < y) - (x > y);
}

static size_t read_steps(DIR *listing, int64_t *out, size_t cap) {
    size_t n = 0;
    rewinddir(listing);
    for (const struct dirent *e = readdir(listing); e != NULL; e = readdir(listing)) {
        const int64_t step = step_of(e->d_name);
        if (step < 0) continue;
        if (n < cap) out[n] = step;
        n++;
    }
    return n;
}

r2_status r2i_state_list(int64_t **out, size_t *n, const char *folder, r2i_heap *heap,
                         r2_error *err) {
    *out = NULL;
    *n = 0;
    DIR *listing = opendir(folder);
    if (listing == NULL) return errno == ENOENT ? R2_OK : failed(folder, "open", err);
    const size_t cap = read_steps(listing, NULL, 0);
    if (cap > 0) *out = r2i_heap_take(heap, cap * sizeof **out);
    const bool has_memory = cap == 0 || *out != NULL;
    if (*out != NULL && read_steps(listing, *out, cap) == cap) *n = cap; /* nobody else writes */
    closedir(listing);
    if (*n > 0) qsort(*out, *n, sizeof **out, newer_first);
    if (*n == 0 && *out != NULL) {
        r2i_heap_give(heap, *out, cap * sizeof **out);
        *out = NULL;
    }
    return has_memory ? R2_OK : r2i_fail(err, R2_E_NOMEM, "%.150s: no memory", folder);
}

/* ---- writing ---- */

static r2_status add_range(r2i_safetensors_writer *w, const r2i_state_range *r, r2_error *err) {
    char name[ARRAY_NAME_BYTES];
    const int64_t shape[] = { (int64_t)r->n };
    const bool is_whole = r->first == 0 && r->n == r->n_all;
    if (r->n == 0) return R2_OK;
    const int n = is_whole ? snprintf(name, sizeof name, "%s", r->name)
                           : snprintf(name, sizeof name, "%s#%zu", r->name, r->first);
    if (n < 0 || n >= ARRAY_NAME_BYTES)
        return r2i_fail(err, R2_E_ARGUMENT, "checkpoint: %.60s: expected a shorter name", r->name);
    return r2i_safetensors_writer_add_tensor(w, name, R2I_DTYPE_F32, 1, shape, r->values, err);
}

static r2_status fill_shard(r2i_safetensors_writer *w, const char *path,
                            const r2i_state_range *ranges, size_t n_ranges, r2_error *err) {
    for (size_t i = 0; i < n_ranges; i++)
        R2I_TRY(add_range(w, &ranges[i], err));
    R2I_TRY(r2i_safetensors_writer_begin(w, path, err));
    return r2i_safetensors_writer_finish(w, err);
}

r2_status r2i_state_write_shard(r2i_state_shard *out, const char *folder, int64_t step,
                                int32_t index, int32_t n_shards, const r2i_state_range *ranges,
                                size_t n_ranges, r2i_heap *heap, r2_error *err) {
    char path[PATH_BYTES], name[R2I_STATE_NAME_BYTES];
    r2i_safetensors_writer *w;
    r2i_checksum sum;
    *out = (r2i_state_shard){ 0 };
    r2i_state_shard_name(name, index, n_shards);
    R2I_TRY(set_path(path, folder, step, name, err));
    R2I_TRY(r2i_safetensors_writer_create(&w, heap, err));
    r2i_safetensors_writer_sum(w, &sum);
    const r2_status status = fill_shard(w, path, ranges, n_ranges, err);
    r2i_safetensors_writer_destroy(w);
    if (status == R2_OK) *out = (r2i_state_shard){ sum.n_bytes, r2i_checksum_get(&sum) };
    return status;
}

r2_status r2i_state_commit(const char *folder, const r2i_state_manifest *manifest, r2i_heap *heap,
                           r2_error *err) {
    char path[PATH_BYTES];
    R2I_TRY(set_path(path, folder, manifest->step, R2I_STATE_MANIFEST_NAME, err));
    return r2i_state_manifest_write(manifest, path, heap, err);
}
