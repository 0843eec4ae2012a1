/* sequence_file.c - a sequence on disk.
 *
 *     header (below) | tokens i32 [n_tokens] | thought u8 [n_tokens] | pages [n_pages, page_bytes] | u64 checksum
 *
 * Little-endian, as all machines we run on.  The checksum covers everything before it, taken in the
 * portions header, tokens, thought, each page.  The fingerprint ties the file to the model and its
 * row format, the adapter's to what computed the rows: cached rows of another model would be silent
 * nonsense. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/hash.h"
#include "engine/engine_state.h"
#include "files/atomic_write.h"
#include "files/mapping.h"

enum { VERSION = 2 };
static const char magic[8] = "r2lmSEQ";

typedef struct {
    char magic[8];
    uint32_t version, rows;
    uint64_t fingerprint, page_bytes, boundary_bytes;
    int32_t n_tokens, n_computed, n_pages, is_thinking;
    uint64_t adapter; /* its fingerprint; 0: none */
    float adapter_scale;
    uint32_t unused; /* 0 */
} file_header;

static uint64_t adapter_of(const r2_sequence_options *options) {
    return options->adapter != NULL ? options->adapter->content.fingerprint : 0;
}

static file_header header_of(const r2_sequence *s) {
    file_header h = { .version = VERSION,
                      .rows = (uint32_t)s->engine->cache.rows,
                      .fingerprint = s->engine->model->fingerprint,
                      .page_bytes = s->engine->cache.page_bytes,
                      .boundary_bytes = s->engine->cache.boundary_bytes,
                      .n_tokens = s->n_tokens,
                      .n_computed = s->n_computed,
                      .n_pages = r2i_div_up_i32(s->n_computed, R2I_PAGE_TOKENS),
                      .is_thinking = s->is_thinking,
                      .adapter = adapter_of(&s->options),
                      .adapter_scale = s->options.adapter_scale };
    memcpy(h.magic, magic, sizeof magic);
    return h;
}

typedef struct {
    r2i_atomic_file *file;
    uint64_t hash;
} hashed_file;

static r2_status write_part(hashed_file *f, const void *bytes, size_t n_bytes, r2_error *err) {
    f->hash = r2i_hash_bytes(f->hash, bytes, n_bytes);
    return r2i_atomic_write(f->file, bytes, n_bytes, err);
}

static r2_status write_all_parts(hashed_file *f, const r2_sequence *s, r2_error *err) {
    const file_header header = header_of(s);
    R2I_TRY(write_part(f, &header, sizeof header, err));
    R2I_TRY(write_part(f, s->tokens, (size_t)s->n_tokens * sizeof *s->tokens, err));
    R2I_TRY(write_part(f, s->is_thought, (size_t)s->n_tokens, err));
    for (int32_t i = 0; i < header.n_pages; i++) {
        R2I_TRY(write_part(f, s->page_memory[i], s->engine->cache.page_bytes, err));
    }
    return r2i_atomic_write(f->file, &f->hash, sizeof f->hash, err);
}

r2_status r2_sequence_save(const r2_sequence *s, const char *path, r2_error *err) {
    hashed_file f = { NULL, R2I_HASH_SEED };
    R2I_TRY(r2i_atomic_begin(&f.file, path, true, &s->engine->model->heap, err));
    const r2_status status = write_all_parts(&f, s, err);
    if (status == R2_OK) return r2i_atomic_commit(f.file, err);
    r2i_atomic_abandon(f.file);
    return status;
}

/* ---- reading ---- */

typedef struct {
    const char *label;
    file_header header;
    const uint8_t *tokens, *thought, *pages;
    uint64_t checksum;
} file_parts;

/* Sizes must add up to the file's before anything is taken by its numbers. */
static r2_status find_parts(file_parts *p, const r2i_mapping *m, const r2_engine *engine,
                            r2_error *err) {
    if (m->n_bytes < sizeof p->header + sizeof p->checksum) {
        return r2i_fail(err, R2_E_FORMAT, "%s: too short for a saved sequence", p->label);
    }
    memcpy(&p->header, m->bytes, sizeof p->header);
    const file_header *h = &p->header;
    if (memcmp(h->magic, magic, sizeof magic) != 0 || h->version != VERSION) {
        return r2i_fail(err, R2_E_FORMAT, "%s: not a saved sequence of version %d", p->label,
                        VERSION);
    }
    if (h->fingerprint != engine->model->fingerprint || h->rows != (uint32_t)engine->cache.rows ||
        h->page_bytes != engine->cache.page_bytes ||
        h->boundary_bytes != engine->cache.boundary_bytes) {
        return r2i_fail(err, R2_E_MISMATCH, "%s: saved with another model or other cache rows",
                        p->label);
    }
    if (h->n_tokens < 0 || h->n_tokens > engine->n_context) {
        return r2i_fail(err, R2_E_FULL, "%s: %d tokens do not fit into a context of %d", p->label,
                        h->n_tokens, engine->n_context);
    }
    const bool is_sound = h->n_computed >= 0 && h->n_computed <= h->n_tokens &&
                          h->is_thinking >= 0 && h->is_thinking <= 1 &&
                          h->n_pages == r2i_div_up_i32(h->n_computed, R2I_PAGE_TOKENS);
    const size_t n = (size_t)h->n_tokens,
                 n_pages_bytes = is_sound ? (size_t)h->n_pages * engine->cache.page_bytes : 0;
    if (!is_sound || m->n_bytes != sizeof *h + n * 5 + n_pages_bytes + sizeof p->checksum) {
        return r2i_fail(err, R2_E_FORMAT, "%s: its length does not fit its %d tokens", p->label,
                        h->n_tokens);
    }
    p->tokens = m->bytes + sizeof *h;
    p->thought = p->tokens + n * 4;
    p->pages = p->thought + n;
    memcpy(&p->checksum, p->pages + n_pages_bytes, sizeof p->checksum);
    return R2_OK;
}

static r2_status check_parts(const file_parts *p, const r2_engine *engine, r2_error *err) {
    const size_t n = (size_t)p->header.n_tokens, page_bytes = engine->cache.page_bytes;
    uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, &p->header, sizeof p->header);
    hash = r2i_hash_bytes(hash, p->tokens, n * 4);
    hash = r2i_hash_bytes(hash, p->thought, n);
    for (int32_t i = 0; i < p->header.n_pages; i++) {
        hash = r2i_hash_bytes(hash, p->pages + (size_t)i * page_bytes, page_bytes);
    }
    return hash == p->checksum ? R2_OK
                               : r2i_fail(err, R2_E_CHECKSUM,
                                          "%s: checksum differs, the file is damaged", p->label);
}

static r2_status check_adapter(const r2_sequence *s, const file_header *h, const char *label,
                               r2_error *err) {
    const uint64_t found = adapter_of(&s->options);
    const bool is_same_scale = found == 0 || s->options.adapter_scale == h->adapter_scale;
    if (found == h->adapter && is_same_scale) return R2_OK;
    if (h->adapter == 0)
        return r2i_fail(err, R2_E_MISMATCH, "%s: saved without an adapter, opened with %s", label,
                        s->options.adapter->name);
    return r2i_fail(err, R2_E_MISMATCH,
                    "%s: saved with adapter %016llx at scale %g, opened with "
                    "%016llx at scale %g",
                    label, (unsigned long long)h->adapter, (double)h->adapter_scale,
                    (unsigned long long)found, (double)s->options.adapter_scale);
}

static r2_status fill(r2_sequence *s, const file_parts *p, r2_error *err) {
    const size_t n = (size_t)p->header.n_tokens, page_bytes = s->engine->cache.page_bytes;
    memcpy(s->tokens, p->tokens, n * sizeof *s->tokens);
    for (size_t i = 0; i < n; i++) {
        if (s->tokens[i] >= 0 && s->tokens[i] < s->engine->model->config.n_vocab) continue;
        return r2i_fail(err, R2_E_FORMAT, "%s: token %zu is not in the vocabulary", p->label, i);
    }
    for (size_t i = 0; i < n; i++)
        s->is_thought[i] = p->thought[i] != 0;
    if (r2i_sequence_make_room(s, p->header.n_computed) < p->header.n_computed) {
        return r2i_fail(err, R2_E_FULL, "%s: no cache pages left for %d tokens", p->label,
                        p->header.n_computed);
    }
    for (int32_t i = 0; i < p->header.n_pages; i++) {
        memcpy(s->page_memory[i], p->pages + (size_t)i * page_bytes, page_bytes);
    }
    s->n_tokens = p->header.n_tokens;
    s->n_read = s->n_tokens;
    s->generation_start = s->n_tokens;
    r2i_sequence_read_markers(s);
    s->is_thinking = p->header.is_thinking != 0;
    /* Not made known: a forged file must not stand in for what the model would compute. */
    s->is_foreign = true;
    s->n_computed = p->header.n_computed;
    s->state = s->n_tokens > 0 ? R2_STATE_READING : R2_STATE_IDLE;
    /* Draw the next token as after a fork: the last row is computed again. */
    if (s->n_computed == s->n_tokens && s->n_tokens > 0) s->n_computed--;
    s->n_cached = s->n_computed;
    return R2_OK;
}

r2_status r2_sequence_load(r2_sequence **out, r2_engine *engine, const char *path,
                           const r2_sequence_options *options, r2_error *err) {
    r2i_mapping mapping;
    file_parts parts = { .label = path };
    *out = NULL;
    R2I_TRY(r2i_mapping_open(&mapping, path, err));
    r2_sequence *s = NULL;
    r2_status status = find_parts(&parts, &mapping, engine, err);
    if (status == R2_OK) status = check_parts(&parts, engine, err);
    if (status == R2_OK) status = r2_sequence_create(&s, engine, options, err);
    if (status == R2_OK) status = check_adapter(s, &parts.header, parts.label, err);
    if (status == R2_OK) status = fill(s, &parts, err);
    r2i_mapping_close(&mapping);
    if (status == R2_OK)
        *out = s;
    else
        r2_sequence_destroy(s);
    return status;
}
