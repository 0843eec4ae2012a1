#define _GNU_SOURCE /* flock, fsync */
#include "eval/sample_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/failure.h"
#include "files/atomic_write.h"
#include "files/json_read.h"

enum { CHUNK_BYTES = 1 << 16, VERSION = 1, DUMP = JSON_COMPACT | JSON_REAL_PRECISION(9) };
#define MAX_FILE_BYTES ((size_t)1 << 36)
static const char format[] = "r2lm evaluation";

static const r2i_json_limits line_limits = { .max_bytes = 64 << 20,
                                             .max_values = 1 << 16,
                                             .max_depth = 16 };

static r2_status fail_io(const char *path, r2_error *err) {
    return r2i_fail(err, errno == ENOSPC || errno == EDQUOT ? R2_E_FULL : R2_E_IO, "%.150s: %s",
                    path, strerror(errno));
}

static r2_status read_all(int fd, const char *path, r2i_buffer *out, r2_error *err) {
    char chunk[CHUNK_BYTES];
    if (lseek(fd, 0, SEEK_SET) < 0) return fail_io(path, err);
    for (;;) {
        const ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_io(path, err);
        if (n == 0) return R2_OK;
        R2I_TRY(r2i_buffer_append(out, chunk, (size_t)n, err));
    }
}

/* ---- lines ---- */

typedef struct {
    const char *path;
    r2i_sample_reader reader;
    void *user;
    const json_t *head; /* that the first line must agree with; NULL: any */
    json_t *found;      /* the first line */
    size_t n_whole;     /* bytes of whole lines */
} reading;

static r2_status check_head(const reading *r, const json_t *line, r2_error *err) {
    uint64_t there, wanted;
    R2I_TRY(r2i_json_check_format(line, r->path, format, VERSION, err));
    R2I_TRY(r2i_json_get_hash(line, r->path, "settings", &there, err));
    if (r->head == NULL) return R2_OK;
    R2I_TRY(r2i_json_get_hash(r->head, r->path, "settings", &wanted, err));
    if (there == wanted) return R2_OK;
    return r2i_fail(err, R2_E_MISMATCH,
                    "%.150s: holds answers of another model, other data or other settings",
                    r->path);
}

static r2_status take_line(reading *r, const char *text, size_t n, int64_t number, r2_error *err) {
    char place[224];
    json_t *line;
    (void)snprintf(place, sizeof place, "%.180s:%lld", r->path, (long long)number);
    R2I_TRY(r2i_json_read(&line, place, text, n, &line_limits, err));
    r2_status status = R2_OK;
    if (number == 1) {
        status = check_head(r, line, err);
        r->found = json_incref(line);
    } else {
        status = r->reader(r->user, line, err);
        if (status != R2_OK) status = r2i_fail_at(err, status, place);
    }
    json_decref(line);
    return status;
}

static r2_status take_lines(reading *r, const r2i_buffer *text, r2_error *err) {
    for (int64_t number = 1;; number++) {
        const char *begin = text->bytes != NULL ? text->bytes + r->n_whole : "";
        const size_t left = text->n_bytes - r->n_whole;
        const char *end = left > 0 ? memchr(begin, '\n', left) : NULL;
        if (end == NULL) return R2_OK;
        R2I_TRY(take_line(r, begin, (size_t)(end - begin), number, err));
        r->n_whole += (size_t)(end - begin) + 1;
    }
}

static r2_status append_line(r2i_buffer *out, const json_t *line, r2_error *err) {
    if (json_dump_callback(line, r2i_buffer_append_chunk, out, DUMP) != 0)
        return r2i_fail(err, R2_E_NOMEM, "no memory for an answer");
    return r2i_buffer_append_text(out, "\n", err);
}

static r2_status write_line(r2i_sample_file *f, const json_t *line, r2_error *err) {
    r2i_buffer text;
    r2i_buffer_init(&text, f->heap, (size_t)1 << 30);
    r2_status status = append_line(&text, line, err);
    if (status == R2_OK) status = r2i_write_all(f->fd, f->path, text.bytes, text.n_bytes, err);
    r2i_buffer_destroy(&text);
    return status;
}

/* ---- opening ---- */

static r2_status begin_or_go_on(r2i_sample_file *f, reading *r, bool is_forced, r2_error *err) {
    r2i_buffer text;
    if (is_forced && ftruncate(f->fd, 0) != 0) return fail_io(f->path, err);
    r2i_buffer_init(&text, f->heap, MAX_FILE_BYTES);
    r2_status status = read_all(f->fd, f->path, &text, err);
    if (status == R2_OK) status = take_lines(r, &text, err);
    r2i_buffer_destroy(&text);
    json_decref(r->found);
    if (status != R2_OK) return status;
    if (ftruncate(f->fd, (off_t)r->n_whole) != 0) return fail_io(f->path, err);
    return r->n_whole == 0 ? write_line(f, r->head, err) : R2_OK;
}

r2_status r2i_sample_file_open(r2i_sample_file *out, const char *path, const json_t *head,
                               bool is_forced, r2i_sample_reader reader, void *user, r2i_heap *heap,
                               r2_error *err) {
    *out = (r2i_sample_file){ .fd = -1, .heap = heap, .path = path };
    out->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (out->fd < 0) return fail_io(path, err);
    if (flock(out->fd, LOCK_EX | LOCK_NB) != 0)
        return r2i_fail(err, R2_E_STATE, "%.150s: another run writes to it", path);
    reading r = { .path = path, .reader = reader, .user = user, .head = head };
    return begin_or_go_on(out, &r, is_forced, err);
}

void r2i_sample_file_close(r2i_sample_file *file) {
    if (file->fd >= 0) (void)close(file->fd);
    file->fd = -1;
}

r2_status r2i_sample_file_add(r2i_sample_file *file, json_t *line, r2_error *err) {
    if (line == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for an answer");
    const r2_status status = write_line(file, line, err);
    json_decref(line);
    return status;
}

r2_status r2i_sample_file_read(const char *path, json_t **head, r2i_sample_reader reader,
                               void *user, r2i_heap *heap, r2_error *err) {
    r2i_buffer text;
    reading r = { .path = path, .reader = reader, .user = user };
    *head = NULL;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? r2i_fail(err, R2_E_NOT_FOUND, "%.150s: no such file", path)
                               : fail_io(path, err);
    r2i_buffer_init(&text, heap, MAX_FILE_BYTES);
    r2_status status = read_all(fd, path, &text, err);
    (void)close(fd);
    if (status == R2_OK) status = take_lines(&r, &text, err);
    r2i_buffer_destroy(&text);
    if (status == R2_OK && r.found == NULL)
        status = r2i_fail(err, R2_E_FORMAT, "%.150s: expected answers, found none", path);
    if (status == R2_OK)
        *head = r.found;
    else
        json_decref(r.found);
    return status;
}

/* ---- sorting ---- */

typedef struct {
    json_t *json;
    int64_t place, order; /* item and sample; in the file */
} kept_line;

typedef struct {
    const r2i_item_places *places;
    r2i_buffer lines; /* kept_line */
} sorting;

static int compare_lines(const void *a, const void *b) {
    const kept_line *x = a, *y = b;
    if (x->place != y->place) return x->place < y->place ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static r2_status keep_line(void *user, const json_t *line, r2_error *err) {
    sorting *s = user;
    const int32_t item = r2i_item_place_of(s->places, line);
    const json_int_t sample = json_integer_value(json_object_get(line, "sample"));
    const kept_line kept = { .json = json_incref((json_t *)(uintptr_t)line),
                             .place = item < 0 ? INT64_MAX
                                               : (int64_t)item << 32 | (int64_t)(uint32_t)sample,
                             .order = (int64_t)s->lines.n_bytes };
    r2_status status = R2_OK;
    if (item >= 0 && json_object_set_new(kept.json, "item", json_integer(item)) != 0)
        status = r2i_fail(err, R2_E_NOMEM, "no memory for an answer");
    if (status == R2_OK) status = r2i_buffer_append(&s->lines, &kept, sizeof kept, err);
    if (status != R2_OK) json_decref(kept.json);
    return status;
}

static r2_status write_sorted(const r2i_sample_file *f, const json_t *head, r2i_buffer *lines,
                              r2_error *err) {
    r2i_atomic_file *file;
    r2i_buffer text;
    kept_line *all = (kept_line *)(void *)lines->bytes;
    const size_t n = lines->n_bytes / sizeof *all;
    if (n > 0) qsort(all, n, sizeof *all, compare_lines);
    R2I_TRY(r2i_atomic_begin(&file, f->path, false, f->heap, err));
    r2i_buffer_init(&text, f->heap, (size_t)1 << 30);
    r2_status status = append_line(&text, head, err);
    for (size_t i = 0; status == R2_OK; i++) {
        status = r2i_atomic_write(file, text.bytes, text.n_bytes, err);
        if (status != R2_OK || i == n) break;
        r2i_buffer_clear(&text);
        status = append_line(&text, all[i].json, err);
    }
    r2i_buffer_destroy(&text);
    if (status == R2_OK) return r2i_atomic_commit(file, err);
    r2i_atomic_abandon(file);
    return status;
}

r2_status r2i_sample_file_sort(r2i_sample_file *file, const r2i_item_places *places,
                               r2_error *err) {
    json_t *head;
    sorting s = { .places = places };
    r2i_buffer_init(&s.lines, file->heap, MAX_FILE_BYTES);
    r2_status status = r2i_sample_file_read(file->path, &head, keep_line, &s, file->heap, err);
    if (status == R2_OK) status = write_sorted(file, head, &s.lines, err);
    json_decref(head);
    for (size_t i = 0; i < s.lines.n_bytes / sizeof(kept_line); i++)
        json_decref(((kept_line *)(void *)s.lines.bytes)[i].json);
    r2i_buffer_destroy(&s.lines);
    return status;
}
