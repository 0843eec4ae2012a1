#include "train/data/data_shard.h"

#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "train/data/training_tokens.h"

static const char magic[8] = { 'r', '2', 'l', 'm', 't', 'o', 'k', '1' };

enum { HEAD_BYTES = 8, FOOTER_BYTES = 32 };

#define MAX_ENDS_BYTES ((size_t)1 << 34)

/* ---- writing ---- */

r2_status r2i_shard_begin(r2i_shard_writer *out, const char *path, r2i_heap *heap, r2_error *err) {
    *out = (r2i_shard_writer){ .checksum = R2I_HASH_SEED };
    r2i_buffer_init(&out->ends, heap, MAX_ENDS_BYTES);
    R2I_TRY(r2i_atomic_begin(&out->file, path, false, heap, err));
    return r2i_atomic_write(out->file, magic, sizeof magic, err);
}

r2_status r2i_shard_add(r2i_shard_writer *w, const uint32_t *tokens, size_t n, r2_error *err) {
    R2I_TRY(r2i_atomic_write(w->file, tokens, n * sizeof *tokens, err));
    w->checksum = r2i_hash_bytes(w->checksum, tokens, n * sizeof *tokens);
    w->n_tokens += n;
    w->n_documents++;
    return r2i_buffer_append(&w->ends, &w->n_tokens, sizeof w->n_tokens, err);
}

r2_status r2i_shard_finish(r2i_shard_writer *w, r2_error *err) {
    w->checksum = r2i_hash_bytes(w->checksum, w->ends.bytes, w->ends.n_bytes);
    const uint64_t footer[3] = { w->n_documents, w->n_tokens, w->checksum };
    R2I_TRY(r2i_atomic_write_zeros(w->file, 4 * (w->n_tokens & 1), err));
    R2I_TRY(r2i_atomic_write(w->file, w->ends.bytes, w->ends.n_bytes, err));
    R2I_TRY(r2i_atomic_write(w->file, footer, sizeof footer, err));
    R2I_TRY(r2i_atomic_write(w->file, magic, sizeof magic, err));
    r2i_atomic_file *file = w->file;
    w->file = NULL;
    r2i_buffer_destroy(&w->ends);
    return r2i_atomic_commit(file, err);
}

void r2i_shard_abandon(r2i_shard_writer *w) {
    if (w->ends.heap == NULL) return; /* never begun */
    r2i_atomic_abandon(w->file);
    w->file = NULL;
    r2i_buffer_destroy(&w->ends);
}

/* ---- reading ---- */

static r2_status fail_form(const char *path, const char *what, r2_error *err) {
    return r2i_fail(err, R2_E_FORMAT, "%.150s: expected a file of tokens, found %s", path, what);
}

static r2_status read_form(r2i_shard *s, const char *path, r2_error *err) {
    uint64_t footer[3];
    const uint8_t *bytes = s->file.bytes;
    const size_t n = s->file.n_bytes;
    if (n < HEAD_BYTES + FOOTER_BYTES || n % 8 != 0 || memcmp(bytes, magic, sizeof magic) != 0)
        return fail_form(path, "another one", err);
    if (memcmp(bytes + n - sizeof magic, magic, sizeof magic) != 0)
        return fail_form(path, "one that was cut off", err);
    memcpy(footer, bytes + n - FOOTER_BYTES, sizeof footer);
    s->n_documents = footer[0];
    s->n_tokens = footer[1];
    s->checksum = footer[2];
    const uint64_t n_words = (n - HEAD_BYTES - FOOTER_BYTES) / 8;
    if (s->n_documents > n_words || s->n_tokens > 2 * n_words ||
        (s->n_tokens + 1) / 2 + s->n_documents != n_words)
        return fail_form(path, "one whose counts do not fit its size", err);
    s->tokens = (const uint32_t *)(const void *)(bytes + HEAD_BYTES);
    if ((s->n_tokens & 1) != 0 && s->tokens[s->n_tokens] != 0)
        return fail_form(path, "something behind the tokens", err);
    s->ends = (const uint64_t *)(const void *)(bytes + HEAD_BYTES + 8 * ((s->n_tokens + 1) / 2));
    return R2_OK;
}

static r2_status check_ends(const r2i_shard *s, const char *path, r2_error *err) {
    uint64_t before = 0;
    for (uint64_t i = 0; i < s->n_documents; i++) {
        if (s->ends[i] > s->n_tokens || s->ends[i] < before + R2I_LEAST_TOKENS)
            return fail_form(path, "documents out of order or too short", err);
        before = s->ends[i];
    }
    return before == s->n_tokens ? R2_OK : fail_form(path, "tokens of no document", err);
}

static r2_status check_tokens(const r2i_shard *s, const char *path, int32_t n_vocab,
                              r2_error *err) {
    uint64_t checksum = R2I_HASH_SEED;
    for (uint64_t i = 0; i < s->n_documents; i++) {
        size_t n;
        const uint32_t *tokens = r2i_shard_document(s, i, &n);
        checksum = r2i_hash_bytes(checksum, tokens, n * sizeof *tokens);
    }
    if (r2i_hash_bytes(checksum, s->ends, s->n_documents * sizeof *s->ends) != s->checksum)
        return r2i_fail(err, R2_E_CHECKSUM, "%.150s: its checksum differs: the file has changed",
                        path);
    for (uint64_t i = 0; n_vocab > 0 && i < s->n_tokens; i++) {
        const uint32_t token = s->tokens[i] & ~R2I_NO_TARGET;
        if (token >= (uint32_t)n_vocab)
            return r2i_fail(err, R2_E_RANGE, "%.150s: token %llu: expected 0 to %d, found %u", path,
                            (unsigned long long)i, n_vocab - 1, token);
    }
    return R2_OK;
}

r2_status r2i_shard_open(r2i_shard *out, const char *path, int32_t n_vocab, r2_error *err) {
    *out = (r2i_shard){ .n_documents = 0 };
    R2I_TRY(r2i_mapping_open(&out->file, path, err));
    r2i_mapping_sequential(&out->file);
    r2_status status = read_form(out, path, err);
    if (status == R2_OK) status = check_ends(out, path, err);
    if (status == R2_OK) status = check_tokens(out, path, n_vocab, err);
    if (status != R2_OK) r2i_shard_close(out);
    return status;
}

void r2i_shard_close(r2i_shard *shard) {
    r2i_mapping_close(&shard->file);
    *shard = (r2i_shard){ .n_documents = 0 };
}

const uint32_t *r2i_shard_document(const r2i_shard *s, uint64_t i, size_t *n) {
    const uint64_t begin = i > 0 ? s->ends[i - 1] : 0;
    *n = s->ends[i] - begin;
    return s->tokens + begin;
}
