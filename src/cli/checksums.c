#define _GNU_SOURCE /* readlink, S_ISDIR, strcasecmp */
#include "cli/checksums.h"

#include <ctype.h>
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(R2LM_HAVE_CRYPTO)
#include <openssl/evp.h>
#endif

#include "base/cpu.h"
#include "base/failure.h"
#include "base/path_name.h"
#include "base/pool.h"

enum { PATH_BYTES = 4096, LINE_BYTES = 1024, SHA256_DIGITS = 64, PIECE_BYTES = 1 << 20 };

/* ---- what is known ---- */

static bool is_sum(const char *text, size_t n) {
    if (n != SHA256_DIGITS) return false;
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)text[i])) return false;
    }
    return true;
}

static void take_sum(r2i_file_sum *file, const char *digits, const char *source) {
    for (int i = 0; i < SHA256_DIGITS; i++)
        file->expected[i] = (char)tolower((unsigned char)digits[i]);
    file->expected[SHA256_DIGITS] = '\0';
    file->source = source;
}

/* "<digits>  name", "<digits> *name"; or only digits where the file is about one file. */
static bool line_is_about(const char *line, const char *name, bool is_about_one) {
    const size_t n = strcspn(line, " \t\r\n");
    if (!is_sum(line, n)) return false;
    const char *at = line + n + strspn(line + n, " \t");
    if (*at == '*') at++;
    const size_t n_name = strcspn(at, "\r\n");
    if (n_name == 0) return is_about_one;
    return n_name == strlen(name) && strncmp(at, name, n_name) == 0;
}

static bool find_in_list(r2i_file_sum *file, const char *list_path, bool is_about_one,
                         const char *source) {
    char line[LINE_BYTES];
    FILE *list = fopen(list_path, "r");
    bool is_found = false;
    while (list != NULL && !is_found && fgets(line, sizeof line, list) != NULL) {
        is_found = line_is_about(line, file->name, is_about_one);
        if (is_found) take_sum(file, line, source);
    }
    if (list != NULL) fclose(list);
    return is_found;
}

/* A Hugging Face cache links to ../../blobs/<sum> where the file is kept by its content. */
static bool find_in_link(r2i_file_sum *file) {
    char target[PATH_BYTES];
    const ssize_t n = readlink(file->path, target, sizeof target - 1);
    if (n <= 0) return false;
    target[n] = '\0';
    const char *slash = strrchr(target, '/'), *name = slash == NULL ? target : slash + 1;
    if (!is_sum(name, strlen(name))) return false;
    take_sum(file, name, "cache");
    return true;
}

/* Lines of a download's record: revision, sum, time. */
static bool find_in_record(r2i_file_sum *file, const char *folder) {
    char path[PATH_BYTES], line[LINE_BYTES];
    const int n = snprintf(path, sizeof path, "%s/.cache/huggingface/download/%s.metadata", folder,
                           file->name);
    FILE *record = n > 0 && (size_t)n < sizeof path ? fopen(path, "r") : NULL;
    bool is_found = false;
    for (int i = 0; record != NULL && i < 2 && fgets(line, sizeof line, record) != NULL; i++) {
        is_found = i == 1 && is_sum(line, strcspn(line, "\r\n"));
        if (is_found) take_sum(file, line, "download record");
    }
    if (record != NULL) fclose(record);
    return is_found;
}

static void find_expected(r2i_file_sum *file, const char *folder) {
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s.sha256", file->path);
    if (n > 0 && (size_t)n < sizeof path && find_in_list(file, path, true, "FILE.sha256")) return;
    n = snprintf(path, sizeof path, "%s/SHA256SUMS", folder);
    if (n > 0 && (size_t)n < sizeof path && find_in_list(file, path, false, "SHA256SUMS")) return;
    if (find_in_link(file)) return;
    (void)find_in_record(file, folder);
}

/* ---- which files ---- */

static r2_status add_file(r2i_file_sums *sums, r2i_program *p, const char *folder, const char *name,
                          r2_error *err) {
    char path[PATH_BYTES];
    struct stat info;
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof path || stat(path, &info) != 0 || !S_ISREG(info.st_mode))
        return R2_OK; /* the library has said what it needs of them */
    r2i_file_sum *files = R2I_ARENA_ARRAY(&p->arena, r2i_file_sum, sums->n_files + 1);
    char *copy = r2i_arena_copy_text(&p->arena, path, (size_t)n);
    if (files == NULL || copy == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for file names");
    if (sums->n_files > 0) memcpy(files, sums->files, sums->n_files * sizeof *files);
    sums->files = files;
    r2i_file_sum *file = &files[sums->n_files++];
    *file = (r2i_file_sum){ .path = copy,
                            .name = copy + strlen(folder) + 1,
                            .n_bytes = (int64_t)info.st_size };
    find_expected(file, folder);
    return R2_OK;
}

static int compare_files(const void *a, const void *b) {
    return strcmp(((const r2i_file_sum *)a)->name, ((const r2i_file_sum *)b)->name);
}

static r2_status list_folder(r2i_file_sums *sums, r2i_program *p, const char *folder,
                             r2_error *err) {
    DIR *listing = opendir(folder);
    r2_status status = R2_OK;
    while (listing != NULL && status == R2_OK) {
        const struct dirent *e = readdir(listing);
        if (e == NULL) break;
        if (e->d_name[0] == '.' || r2i_name_ends_with(e->d_name, ".sha256") ||
            strcmp(e->d_name, "SHA256SUMS") == 0)
            continue;
        status = add_file(sums, p, folder, e->d_name, err);
    }
    if (listing != NULL) closedir(listing);
    if (sums->n_files > 1) qsort(sums->files, sums->n_files, sizeof *sums->files, compare_files);
    return status;
}

/* name-00001-of-00003.gguf brings two more. */
static r2_status list_shards(r2i_file_sums *sums, r2i_program *p, const char *folder,
                             const char *name, r2_error *err) {
    enum { TAIL = 20 }; /* -00001-of-00003.gguf */
    const size_t n = strlen(name);
    int first = 0, n_shards = 0;
    char tail[64] = "";
    if (n > TAIL) (void)snprintf(tail, sizeof tail, "%s", name + n - TAIL);
    if (sscanf(tail, "-%5d-of-%5d.gguf", &first, &n_shards) != 2 || first != 1 || n_shards > 9999)
        return add_file(sums, p, folder, name, err);
    for (int i = 1; i <= n_shards; i++) {
        char shard[PATH_BYTES];
        (void)snprintf(shard, sizeof shard, "%.*s-%05d-of-%05d.gguf", (int)(n - TAIL), name, i,
                       n_shards);
        R2I_TRY(add_file(sums, p, folder, shard, err));
    }
    return R2_OK;
}

r2_status r2i_checksums_list(r2i_file_sums *out, r2i_program *program, const char *path,
                             r2_error *err) {
    char folder[PATH_BYTES] = ".";
    struct stat info;
    *out = (r2i_file_sums){ NULL, 0 };
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return list_folder(out, program, path, err);
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    const size_t n = slash == NULL ? 0 : (size_t)(slash - path);
    if (n >= sizeof folder) return r2i_fail(err, R2_E_ARGUMENT, "%s: path too long", path);
    if (slash != NULL) {
        memcpy(folder, path, n);
        folder[n] = '\0';
    }
    return list_shards(out, program, folder, name, err);
}

/* ---- computing ---- */

bool r2i_checksums_can(void) {
#if defined(R2LM_HAVE_CRYPTO)
    return true;
#else
    return false;
#endif
}

typedef struct {
    r2i_file_sums *sums;
    r2i_program *program;
    int64_t n_all;
    _Atomic int64_t n_done;
} computation;

#if defined(R2LM_HAVE_CRYPTO)
static bool hash_stream(FILE *stream, EVP_MD_CTX *hash, uint8_t *piece, computation *c,
                        bool shows_progress) {
    for (;;) {
        const size_t n = fread(piece, 1, PIECE_BYTES, stream);
        if (n == 0) return !ferror(stream);
        if (EVP_DigestUpdate(hash, piece, n) != 1 || r2i_signals_pending() != 0) return false;
        c->n_done += (int64_t)n;
        if (shows_progress) {
            r2i_terminal_progress(&c->program->terminal, "hashing MB", c->n_done / 1000000,
                                  c->n_all / 1000000);
        }
    }
}

static bool hash_file(r2i_file_sum *file, computation *c, bool shows_progress) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    uint8_t *piece = r2i_heap_take(&c->program->heap, PIECE_BYTES);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    FILE *stream = fopen(file->path, "rb");
    bool is_good = piece != NULL && hash != NULL && stream != NULL &&
                   EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 &&
                   hash_stream(stream, hash, piece, c, shows_progress) &&
                   EVP_DigestFinal_ex(hash, sum, &n) == 1 && n == SHA256_DIGITS / 2;
    for (unsigned i = 0; is_good && i < n; i++)
        (void)snprintf(file->found + 2 * i, 3, "%02x", sum[i]);
    if (stream != NULL) fclose(stream);
    EVP_MD_CTX_free(hash);
    if (piece != NULL) r2i_heap_give(&c->program->heap, piece, PIECE_BYTES);
    return is_good;
}
#else
static bool hash_file(r2i_file_sum *file, computation *c, bool shows_progress) {
    (void)file, (void)c, (void)shows_progress;
    return false;
}
#endif

/* The calling thread is worker 0: it alone writes to the terminal. */
static void hash_files(void *context, int32_t begin, int32_t end, int32_t worker) {
    computation *c = context;
    for (int32_t i = begin; i < end; i++) {
        r2i_file_sum *file = &c->sums->files[i];
        file->has_failed = !hash_file(file, c, worker == 0);
    }
}

r2_status r2i_checksums_compute(r2i_file_sums *sums, r2i_program *program, r2_error *err) {
    r2i_pool *pool = NULL;
    computation c = { .sums = sums, .program = program };
    const int32_t wanted =
        program->options->threads > 0 ? program->options->threads : r2i_cpu_count();
    const int32_t n_files = (int32_t)sums->n_files;
    for (size_t i = 0; i < sums->n_files; i++)
        c.n_all += sums->files[i].n_bytes;
    if (n_files == 0) return R2_OK;
    r2i_signals_hold();
    const r2_status status =
        r2i_pool_create(&pool, wanted < n_files ? wanted : n_files, &program->heap, err);
    r2i_signals_release();
    if (status != R2_OK) return status;
    r2i_pool_run(pool, n_files, 1, hash_files, &c);
    r2i_pool_destroy(pool);
    r2i_terminal_clear_progress(&program->terminal);
    if (r2i_signals_pending() != 0)
        return r2i_fail(err, R2_E_CANCELED, "verification was canceled");
    return R2_OK;
}
