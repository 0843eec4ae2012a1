#define _DEFAULT_SOURCE /* fts */
#include "train/data/document_read.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"
#include "base/path_name.h"
#include "files/json_read.h"
#include "text/utf8_scan.h"

enum {
    MAX_DOCUMENT_BYTES = 64 << 20,
    CHUNK_BYTES = 1 << 18,
    PLACE_BYTES = 1200,
    LABEL_BYTES = 1024
};

struct r2i_document_reader {
    r2i_heap *heap;
    FTS *walk; /* NULL: standard input */
    const char *mark;
    int fd;        /* of the open file; -1: none */
    bool is_named; /* the user named this very file */
    bool is_lines; /* JSONL */
    bool is_known; /* is_lines was decided */
    bool is_at_end;
    bool allows_questions;
    r2i_buffer bytes; /* read, not yet given out */
    size_t n_used;    /* of these, given out */
    r2i_buffer text;  /* of the present document */
    json_t *line;     /* of the present document, and its messages */
    json_t *messages;
    int64_t n_line;
    char label[LABEL_BYTES], place[PLACE_BYTES];
    r2i_document_counts counts;
};

static int by_name(const FTSENT **a, const FTSENT **b) {
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

r2_status r2i_document_reader_open(r2i_document_reader **out, const char *path, const char *mark,
                                   r2i_heap *heap, r2_error *err) {
    *out = NULL;
    r2i_document_reader *r = r2i_heap_take(heap, sizeof *r);
    if (r == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory to read %.150s", path);
    memset(r, 0, sizeof *r);
    r->heap = heap;
    r->mark = mark;
    r->fd = -1;
    r2i_buffer_init(&r->bytes, heap, MAX_DOCUMENT_BYTES + CHUNK_BYTES);
    r2i_buffer_init(&r->text, heap, MAX_DOCUMENT_BYTES);
    if (strcmp(path, "-") == 0) {
        r->fd = dup(STDIN_FILENO);
        r->is_named = true;
        (void)snprintf(r->label, sizeof r->label, "standard input");
        r->counts.n_files = 1;
    } else {
        char *const paths[] = { (char *)(uintptr_t)path, NULL };
        r->walk = fts_open(paths, FTS_COMFOLLOW | FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    }
    if (r->walk == NULL && r->fd < 0) {
        const r2_status status = r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
        r2i_document_reader_close(r);
        return status;
    }
    *out = r;
    return R2_OK;
}

static void close_file(r2i_document_reader *r) {
    if (r->fd >= 0) (void)close(r->fd);
    r->fd = -1;
}

void r2i_document_allow_questions(r2i_document_reader *r) {
    r->allows_questions = true;
}

void r2i_document_reader_close(r2i_document_reader *r) {
    if (r == NULL) return;
    close_file(r);
    /* glibc's fts_close forgets what fts_open took unless something was read. */
    if (r->walk != NULL && r->counts.n_files == 0) (void)fts_read(r->walk);
    if (r->walk != NULL) (void)fts_close(r->walk);
    json_decref(r->line);
    json_decref(r->messages);
    r2i_buffer_destroy(&r->bytes);
    r2i_buffer_destroy(&r->text);
    r2i_heap_give(r->heap, r, sizeof *r);
}

r2i_document_counts r2i_document_counted(const r2i_document_reader *r) {
    return r->counts;
}

/* ---- from file to file ---- */

static r2_status open_file(r2i_document_reader *r, const FTSENT *entry, r2_error *err) {
    r->fd = open(entry->fts_accpath, O_RDONLY | O_CLOEXEC);
    if (r->fd < 0) return r2i_fail(err, R2_E_IO, "%.150s: %s", entry->fts_path, strerror(errno));
    (void)snprintf(r->label, sizeof r->label, "%.150s", entry->fts_path);
    r->is_lines = r2i_name_ends_with(entry->fts_path, ".jsonl") ||
                  r2i_name_ends_with(entry->fts_path, ".ndjson");
    r->is_known = true;
    r->is_named = entry->fts_level == FTS_ROOTLEVEL;
    r->is_at_end = false;
    r->n_line = 0;
    r->counts.n_files++;
    return R2_OK;
}

/* Opens the next file; leaves fd at -1 when there is none. */
static r2_status next_file(r2i_document_reader *r, r2_error *err) {
    r2i_buffer_clear(&r->bytes);
    r->n_used = 0;
    if (r->walk == NULL) return R2_OK;
    for (;;) {
        errno = 0;
        FTSENT *entry = fts_read(r->walk);
        if (entry == NULL) return R2_OK;
        const bool is_hidden = entry->fts_name[0] == '.' && entry->fts_level > FTS_ROOTLEVEL;
        if (entry->fts_info == FTS_D && is_hidden) (void)fts_set(r->walk, entry, FTS_SKIP);
        if (entry->fts_info == FTS_F && !is_hidden) return open_file(r, entry, err);
        if (entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR)
            return r2i_fail(err, entry->fts_errno == ENOENT ? R2_E_NOT_FOUND : R2_E_IO,
                            "%.150s: %s", entry->fts_path, strerror(entry->fts_errno));
        if (entry->fts_info == FTS_DEFAULT && entry->fts_level == FTS_ROOTLEVEL)
            return r2i_fail(err, R2_E_FORMAT, "%.150s: expected a file or folder", entry->fts_path);
    }
}

/* ---- from bytes to documents ---- */

/* Appends some bytes of the file; *n_read is 0 at its end. */
static r2_status read_more(r2i_document_reader *r, size_t *n_read, r2_error *err) {
    char chunk[1 << 14];
    ssize_t n;
    do
        n = read(r->fd, chunk, sizeof chunk);
    while (n < 0 && errno == EINTR);
    if (n < 0) return r2i_fail(err, R2_E_IO, "%s: %s", r->label, strerror(errno));
    *n_read = (size_t)n;
    r->counts.n_bytes += n;
    const r2_status status = r2i_buffer_append(&r->bytes, chunk, (size_t)n, err);
    return status != R2_E_LIMIT
               ? status
               : r2i_fail(err, R2_E_LIMIT, "%s:%lld: expected a document of at most 64 MiB",
                          r->label, (long long)r->n_line + 1);
}

/* One line, without its end, as a view into `bytes`; *has is false at the end of the file. */
static r2_status next_line(r2i_document_reader *r, const char **line, size_t *n, bool *has,
                           r2_error *err) {
    size_t n_seen = r->n_used;
    if (r->n_used > CHUNK_BYTES) { /* what was given out makes room */
        memmove(r->bytes.bytes, r->bytes.bytes + r->n_used, r->bytes.n_bytes - r->n_used);
        r->bytes.n_bytes -= r->n_used;
        r->n_used = n_seen = 0;
    }
    for (;;) {
        const char *from = r->bytes.bytes != NULL ? r->bytes.bytes : "";
        const char *end = r->bytes.n_bytes > n_seen
                              ? memchr(from + n_seen, '\n', r->bytes.n_bytes - n_seen)
                              : NULL;
        if (end == NULL && !r->is_at_end) {
            size_t n_read;
            n_seen = r->bytes.n_bytes;
            R2I_TRY(read_more(r, &n_read, err));
            r->is_at_end = n_read == 0;
            continue;
        }
        *has = end != NULL || r->bytes.n_bytes > r->n_used;
        *line = from + r->n_used;
        *n = end != NULL ? (size_t)(end - *line) : r->bytes.n_bytes - r->n_used;
        r->n_used += *n + (end != NULL);
        r->n_line += *has;
        if (*n > 0 && (*line)[*n - 1] == '\r' && (r->is_lines || r->mark != NULL)) (*n)--;
        return R2_OK;
    }
}

/* Lines up to the mark or the end of the file; an empty text is no document. */
static r2_status next_text(r2i_document_reader *r, bool *has, r2_error *err) {
    const size_t n_mark = r->mark != NULL ? strlen(r->mark) : 0;
    const char *line;
    size_t n;
    r2i_buffer_clear(&r->text);
    for (bool has_line = true;;) {
        R2I_TRY(next_line(r, &line, &n, &has_line, err));
        const bool is_mark =
            has_line && r->mark != NULL && n == n_mark && memcmp(line, r->mark, n) == 0;
        if (has_line && !is_mark) {
            const bool has_end = line + n < r->bytes.bytes + r->bytes.n_bytes;
            r2_status status = r2i_buffer_append(&r->text, line, n, err);
            if (status == R2_OK && has_end) status = r2i_buffer_append(&r->text, "\n", 1, err);
            if (status == R2_E_LIMIT)
                return r2i_fail(err, status, "%s: expected a document of at most 64 MiB", r->label);
            if (status != R2_OK) return status;
            continue;
        }
        *has = r->text.n_bytes > 0;
        if (*has || !has_line) return R2_OK;
    }
}

static json_t *first_of(const json_t *o, const char *const keys[]) {
    for (; *keys != NULL; keys++) {
        json_t *value = json_object_get(o, *keys);
        if (value != NULL && !json_is_null(value)) return value;
    }
    return NULL;
}

/* Question and answer as messages; NULL: the line has not both as texts. */
static json_t *pair_of(const json_t *o, bool allows_questions) {
    static const char *const asked[] = { "prompt", "question", "instruction", NULL };
    static const char *const told[] = { "completion", "response", "answer", "output", NULL };
    const char *question = json_string_value(first_of(o, asked)),
               *answer = json_string_value(first_of(o, told)),
               *input = json_string_value(json_object_get(o, "input"));
    if (question == NULL || (answer == NULL && !allows_questions)) return NULL;
    const bool has_input = input != NULL && input[0] != '\0';
    if (answer == NULL)
        return json_pack("[{s:s, s:s+++}]", "role", "user", "content", question,
                         has_input ? "\n\n" : "", has_input ? input : "", "");
    return json_pack("[{s:s, s:s+++}, {s:s, s:s}]", "role", "user", "content", question,
                     has_input ? "\n\n" : "", has_input ? input : "", "", "role", "assistant",
                     "content", answer);
}

static r2_status take_line(r2i_document_reader *r, r2i_document *out, r2_error *err) {
    static const char *const texts[] = { "text", "content", NULL };
    static const char *const chats[] = { "messages", "conversations", NULL };
    const json_t *text = first_of(r->line, texts);
    out->line = r->line;
    json_t *messages = first_of(r->line, chats);
    if (json_is_string(text)) {
        out->text = json_string_value(text);
        out->n_bytes = json_string_length(text);
        return R2_OK;
    }
    r->messages =
        json_is_array(messages) ? json_incref(messages) : pair_of(r->line, r->allows_questions);
    out->messages = r->messages;
    if (r->messages != NULL) return R2_OK;
    return r2i_fail(err, R2_E_FORMAT,
                    "%s: expected \"text\", \"messages\", or a question and its answer "
                    "(\"prompt\" and \"completion\", \"question\" and \"answer\", ...)",
                    r->place);
}

static r2_status next_json(r2i_document_reader *r, r2i_document *out, bool *has, r2_error *err) {
    static const r2i_json_limits limits = { MAX_DOCUMENT_BYTES, 1 << 20, 64, false };
    const char *line;
    size_t n;
    do {
        R2I_TRY(next_line(r, &line, &n, has, err));
        if (!*has) return R2_OK;
    } while (strspn(line, " \t\r") >= n);
    (void)snprintf(r->place, sizeof r->place, "%s:%lld", r->label, (long long)r->n_line);
    R2I_TRY(r2i_json_read(&r->line, r->place, line, n, &limits, err));
    return take_line(r, out, err);
}

/* Of a file of unknown kind: JSON lines begin with a brace. */
static r2_status decide_kind(r2i_document_reader *r, r2_error *err) {
    for (size_t n_read = 1; r->bytes.n_bytes == 0 && n_read > 0;)
        R2I_TRY(read_more(r, &n_read, err));
    r->is_lines = r->bytes.n_bytes > 0 && r->bytes.bytes[0] == '{';
    r->is_known = true;
    return R2_OK;
}

/* False: it is passed over. */
static r2_status check_text(r2i_document_reader *r, bool *is_text, r2_error *err) {
    const size_t n_good = r2i_utf8_valid_prefix(r->text.bytes, r->text.n_bytes);
    *is_text = n_good == r->text.n_bytes && memchr(r->text.bytes, 0, r->text.n_bytes) == NULL;
    if (*is_text) return R2_OK;
    r->counts.n_passed_over++;
    if (!r->is_named) return R2_OK;
    return r2i_fail(err, R2_E_FORMAT, "%s: expected UTF-8 text, found other bytes%s", r->label,
                    n_good == r->text.n_bytes ? " (zeros)" : "");
}

static r2_status next_of_file(r2i_document_reader *r, r2i_document *out, bool *has, r2_error *err) {
    if (!r->is_known) R2I_TRY(decide_kind(r, err));
    if (r->is_lines) return next_json(r, out, has, err);
    for (;;) {
        bool is_text;
        R2I_TRY(next_text(r, has, err));
        if (!*has) return R2_OK;
        R2I_TRY(check_text(r, &is_text, err));
        if (!is_text) continue;
        *out = (r2i_document){ .text = r->text.bytes, .n_bytes = r->text.n_bytes };
        (void)snprintf(r->place, sizeof r->place, "%s", r->label);
        return R2_OK;
    }
}

r2_status r2i_document_next(r2i_document_reader *r, r2i_document *out, bool *has, r2_error *err) {
    json_decref(r->line);
    json_decref(r->messages);
    r->line = r->messages = NULL;
    for (;;) {
        *out = (r2i_document){ 0 };
        *has = false;
        if (r->fd < 0) R2I_TRY(next_file(r, err));
        if (r->fd < 0) return R2_OK;
        R2I_TRY(next_of_file(r, out, has, err));
        out->place = r->place;
        if (*has) return R2_OK;
        close_file(r);
    }
}

int64_t r2i_documents_bytes(const char *const *inputs, int32_t n_inputs) {
    int64_t n = 0;
    for (int32_t i = 0; i < n_inputs; i++) {
        struct stat info;
        if (stat(inputs[i], &info) != 0 || !S_ISREG(info.st_mode)) return 0;
        n += info.st_size;
    }
    return n;
}
