#define _XOPEN_SOURCE 700 /* mkdir, kill, gethostname */
#include "store/run_registry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"

enum { PATH_BYTES = 4096 };

#ifdef R2LM_HAVE_SQLITE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUSY_MS = 2000, HOST_BYTES = 256 };

struct r2i_registry {
    r2i_heap *heap;
    sqlite3 *db;
    char path[PATH_BYTES];
};

static const char *const schema =
    "CREATE TABLE IF NOT EXISTS runs("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, folder TEXT NOT NULL, model TEXT, "
    "data TEXT, config TEXT, version TEXT, state TEXT NOT NULL, message TEXT, host TEXT, "
    "pid INTEGER, pid_start INTEGER, started INTEGER, updated INTEGER, step INTEGER, "
    "n_steps INTEGER, tokens INTEGER, loss REAL, validation_loss REAL, validation_bpb REAL, "
    "seconds REAL, cost REAL, currency TEXT)";

static r2_status fail(const r2i_registry *r, int code, r2_error *err) {
    const bool is_damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
    if (is_damaged)
        return r2i_fail(
            err, R2_E_FORMAT,
            "%.150s: expected the list of runs, found a damaged file; moved away, a new "
            "one is begun",
            r->path);
    return r2i_fail(err, code == SQLITE_FULL ? R2_E_FULL : R2_E_IO, "%.150s: %.80s", r->path,
                    r->db != NULL ? sqlite3_errmsg(r->db) : sqlite3_errstr(code));
}

/* When a process began, in ticks since the machine's start: tells it from a later one of its number. */
static int64_t start_of(int64_t pid) {
    char path[64], line[1024];
    (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "r");
    const size_t n = file != NULL ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file != NULL) (void)fclose(file);
    line[n] = '\0';
    const char *at = strrchr(line, ')'); /* the name may hold spaces; the start is the 22nd field */
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at != NULL ? strtoll(at + 1, NULL, 10) : 0;
}

static void read_host(char out[HOST_BYTES]) {
    if (gethostname(out, HOST_BYTES) != 0) out[0] = '\0';
    out[HOST_BYTES - 1] = '\0';
}

/* ---- opening ---- */

/* The file and the folders above it, for the owner alone. */
static r2_status make_file(char *path, r2_error *err) {
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    const int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return r2i_fail(err, R2_E_IO, "%.150s: %s", path, strerror(errno));
    (void)close(file);
    return R2_OK;
}

/* SQLite is told to follow no links, so that the file is none; folders above it, the home itself, may be. */
static r2_status resolve_folder(char path[PATH_BYTES], r2_error *err) {
    char folder[PATH_BYTES], real[PATH_BYTES], name[64];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) return R2_OK;
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    (void)snprintf(name, sizeof name, "%s", slash);
    if (realpath(folder, real) == NULL)
        return r2i_fail(err, R2_E_IO, "%.150s: %s", folder, strerror(errno));
    const int n = snprintf(path, PATH_BYTES, "%.4000s%s", real, name);
    return n < PATH_BYTES ? R2_OK : r2i_fail(err, R2_E_IO, "%.150s: too long", folder);
}

static r2_status prepare(r2i_registry *r, r2_error *err) {
    (void)sqlite3_busy_timeout(r->db, BUSY_MS);
    const int code = sqlite3_exec(r->db, schema, NULL, NULL, NULL);
    return code == SQLITE_OK ? R2_OK : fail(r, code, err);
}

r2_status r2i_registry_open(r2i_registry **out, const char *path, bool only_read, r2i_heap *heap,
                            r2_error *err) {
    *out = NULL;
    if (only_read && access(path, F_OK) != 0)
        return r2i_fail(err, R2_E_NOT_FOUND, "%.150s: no runs were entered yet", path);
    r2i_registry *r = r2i_heap_take(heap, sizeof *r);
    if (r == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for the list of runs");
    *r = (r2i_registry){ .heap = heap };
    (void)snprintf(r->path, sizeof r->path, "%s", path);
    r2_status status = only_read ? R2_OK : make_file(r->path, err);
    if (status == R2_OK) status = resolve_folder(r->path, err);
    if (status == R2_OK) {
        const int code =
            sqlite3_open_v2(r->path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);
        status = code == SQLITE_OK ? prepare(r, err) : fail(r, code, err);
    }
    if (status != R2_OK)
        r2i_registry_close(r);
    else
        *out = r;
    return status;
}

void r2i_registry_close(r2i_registry *r) {
    if (r == NULL) return;
    (void)sqlite3_close(r->db);
    r2i_heap_give(r->heap, r, sizeof *r);
}

/* ---- statements ---- */

static void bind_text(sqlite3_stmt *s, int i, const char *text) {
    (void)sqlite3_bind_text(s, i, text, -1, SQLITE_TRANSIENT); /* NULL gives NULL */
}

static void bind_real(sqlite3_stmt *s, int i, double x) {
    if (isfinite(x))
        (void)sqlite3_bind_double(s, i, x);
    else
        (void)sqlite3_bind_null(s, i);
}

static r2_status run_once(r2i_registry *r, sqlite3_stmt *s, r2_error *err) {
    const int code = sqlite3_step(s);
    const r2_status status = code == SQLITE_DONE ? R2_OK : fail(r, code, err);
    (void)sqlite3_finalize(s);
    return status;
}

static r2_status compile(r2i_registry *r, const char *text, sqlite3_stmt **out, r2_error *err) {
    const int code = sqlite3_prepare_v2(r->db, text, -1, out, NULL);
    return code == SQLITE_OK ? R2_OK : fail(r, code, err);
}

r2_status r2i_registry_add(r2i_registry *r, r2i_run_entry *e, r2_error *err) {
    sqlite3_stmt *s;
    char host[HOST_BYTES];
    read_host(host);
    R2I_TRY(compile(r,
                    "INSERT INTO runs(kind, folder, model, data, config, version, state, message, "
                    "host, pid, pid_start, started, updated, n_steps, currency) "
                    "VALUES(?,?,?,?,?,?,'running','',?,?,?,?,?,?,?)",
                    &s, err));
    const char *texts[] = { e->kind, e->folder, e->model, e->data, e->config, e->version, host };
    for (int i = 0; i < 7; i++)
        bind_text(s, i + 1, texts[i]);
    const int64_t now = (int64_t)time(NULL);
    const int64_t numbers[] = { getpid(), start_of(getpid()), now, now, e->n_steps };
    for (int i = 0; i < 5; i++)
        (void)sqlite3_bind_int64(s, 8 + i, numbers[i]);
    bind_text(s, 13, e->currency);
    R2I_TRY(run_once(r, s, err));
    e->id = sqlite3_last_insert_rowid(r->db);
    return R2_OK;
}

r2_status r2i_registry_update(r2i_registry *r, const r2i_run_entry *e, r2_error *err) {
    sqlite3_stmt *s;
    R2I_TRY(compile(r,
                    "UPDATE runs SET state=?, message=?, loss=?, validation_loss=?, "
                    "validation_bpb=?, seconds=?, cost=?, updated=?, step=?, n_steps=?, tokens=? "
                    "WHERE id=?",
                    &s, err));
    bind_text(s, 1, e->state);
    bind_text(s, 2, e->message != NULL ? e->message : "");
    const double reals[] = { e->loss, e->validation_loss, e->validation_bpb, e->seconds, e->cost };
    for (int i = 0; i < 5; i++)
        bind_real(s, 3 + i, reals[i]);
    const int64_t numbers[] = { (int64_t)time(NULL), e->step, e->n_steps, e->n_tokens, e->id };
    for (int i = 0; i < 5; i++)
        (void)sqlite3_bind_int64(s, 8 + i, numbers[i]);
    return run_once(r, s, err);
}

/* ---- reading ---- */

static const char *text_at(sqlite3_stmt *s, int i) {
    const unsigned char *text = sqlite3_column_text(s, i);
    return text != NULL ? (const char *)text : "";
}

static double real_at(sqlite3_stmt *s, int i) {
    return sqlite3_column_type(s, i) == SQLITE_NULL ? (double)NAN : sqlite3_column_double(s, i);
}

/* "running" of a process of this machine that is not there any more. */
static bool is_gone(sqlite3_stmt *s, int host, int pid, int pid_start) {
    char here[HOST_BYTES];
    read_host(here);
    const int64_t number = sqlite3_column_int64(s, pid);
    if (strcmp(text_at(s, host), here) != 0) return false;
    if (kill((pid_t)number, 0) != 0 && errno == ESRCH) return true;
    return start_of(number) != sqlite3_column_int64(s, pid_start);
}

r2_status r2i_registry_list(r2i_registry *r, bool (*each)(void *user, const r2i_run_entry *entry),
                            void *user, r2_error *err) {
    sqlite3_stmt *s;
    int code;
    bool goes_on = true;
    R2I_TRY(compile(r,
                    "SELECT id, kind, folder, model, data, config, version, state, message, host, "
                    "pid, pid_start, started, updated, step, n_steps, tokens, loss, "
                    "validation_loss, validation_bpb, seconds, cost, currency FROM runs ORDER BY "
                    "id DESC",
                    &s, err));
    while (goes_on && (code = sqlite3_step(s)) == SQLITE_ROW) {
        const bool has_crashed = strcmp(text_at(s, 7), "running") == 0 && is_gone(s, 9, 10, 11);
        const r2i_run_entry e = { .id = sqlite3_column_int64(s, 0),
                                  .kind = text_at(s, 1),
                                  .folder = text_at(s, 2),
                                  .model = text_at(s, 3),
                                  .data = text_at(s, 4),
                                  .config = text_at(s, 5),
                                  .version = text_at(s, 6),
                                  .state = has_crashed ? "crashed" : text_at(s, 7),
                                  .message = text_at(s, 8),
                                  .started_s = sqlite3_column_int64(s, 12),
                                  .updated_s = sqlite3_column_int64(s, 13),
                                  .step = sqlite3_column_int64(s, 14),
                                  .n_steps = sqlite3_column_int64(s, 15),
                                  .n_tokens = sqlite3_column_int64(s, 16),
                                  .loss = real_at(s, 17),
                                  .validation_loss = real_at(s, 18),
                                  .validation_bpb = real_at(s, 19),
                                  .seconds = sqlite3_column_double(s, 20),
                                  .cost = sqlite3_column_double(s, 21),
                                  .currency = text_at(s, 22) };
        goes_on = each(user, &e);
    }
    const r2_status status = !goes_on || code == SQLITE_DONE ? R2_OK : fail(r, code, err);
    (void)sqlite3_finalize(s);
    return status;
}

r2_status r2i_registry_remove(r2i_registry *r, int64_t id, r2_error *err) {
    sqlite3_stmt *s;
    R2I_TRY(compile(r, "DELETE FROM runs WHERE id=?", &s, err));
    (void)sqlite3_bind_int64(s, 1, id);
    R2I_TRY(run_once(r, s, err));
    if (sqlite3_changes(r->db) > 0) return R2_OK;
    return r2i_fail(err, R2_E_NOT_FOUND, "%lld: no such run", (long long)id);
}

#else

static r2_status fail_without(r2_error *err) {
    return r2i_fail(err, R2_E_UNSUPPORTED,
                    "the list of runs needs SQLite, which this build does without (Debian: "
                    "libsqlite3-dev, then build again)");
}

r2_status r2i_registry_open(r2i_registry **out, const char *path, bool only_read, r2i_heap *heap,
                            r2_error *err) {
    (void)path;
    (void)only_read;
    (void)heap;
    *out = NULL;
    return fail_without(err);
}

void r2i_registry_close(r2i_registry *registry) {
    (void)registry;
}

r2_status r2i_registry_add(r2i_registry *registry, r2i_run_entry *entry, r2_error *err) {
    (void)registry;
    (void)entry;
    return fail_without(err);
}

r2_status r2i_registry_update(r2i_registry *registry, const r2i_run_entry *entry, r2_error *err) {
    (void)registry;
    (void)entry;
    return fail_without(err);
}

r2_status r2i_registry_list(r2i_registry *registry,
                            bool (*each)(void *user, const r2i_run_entry *entry), void *user,
                            r2_error *err) {
    (void)registry;
    (void)each;
    (void)user;
    return fail_without(err);
}

r2_status r2i_registry_remove(r2i_registry *registry, int64_t id, r2_error *err) {
    (void)registry;
    (void)id;
    return fail_without(err);
}
#endif
