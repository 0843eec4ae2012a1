/* fuzz_sequence.c - any bytes as a saved sequence: refused with a message, or a sequence that can go on.
 *
 * The first input byte says what is repaired before loading, because a checksum and a fingerprint
 * would otherwise keep everything behind them out of reach: 1 the fields that name model and format,
 * 2 the checksum. */
#define _GNU_SOURCE /* memfd_create */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/hash.h"
#include "engine/engine_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { HEADER_BYTES = 72, CONTEXT = 512, MAX_BYTES = 1 << 20 };

/* Made once: opening a model for every input would be all that is tested. */
static r2_engine *the_engine(void) {
    static r2_engine *engine;
    r2_error err;
    r2_model *model;
    const r2_model_options options = { .cpu = "portable" };
    const r2_engine_options small = { .n_threads = 1, .n_context = CONTEXT, .n_sequences = 2 };
    if (engine != NULL) return engine;
    if (r2_model_open(&model, R2LM_DEFAULT_GOLDEN_DIR "/deepseek_v3", &options, &err) != R2_OK ||
        r2_engine_create(&engine, model, &small, &err) != R2_OK) {
        fprintf(stderr, "fuzz_sequence: %s\n", err.text);
        exit(1);
    }
    return engine;
}

/* Offsets are those of sequence_file.c; check_offsets would notice others. */
static void repair_names(uint8_t *file, const r2_engine *e) {
    const uint64_t page_bytes = e->cache.page_bytes, boundary = e->cache.boundary_bytes;
    const uint32_t rows = (uint32_t)e->cache.rows;
    memcpy(file + 12, &rows, 4);
    memcpy(file + 16, &e->model->fingerprint, 8);
    memcpy(file + 24, &page_bytes, 8);
    memcpy(file + 32, &boundary, 8);
}

static void repair_checksum(uint8_t *file, size_t n_bytes, const r2_engine *e) {
    int32_t n_tokens;
    memcpy(&n_tokens, file + 40, 4);
    size_t at = HEADER_BYTES, left = n_bytes - HEADER_BYTES - 8;
    uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, file, HEADER_BYTES);
    if (n_tokens < 0 || (size_t)n_tokens * 5 > left) return;
    const size_t parts[2] = { (size_t)n_tokens * 4, (size_t)n_tokens };
    for (int i = 0; i < 2; i++) {
        hash = r2i_hash_bytes(hash, file + at, parts[i]);
        at += parts[i];
        left -= parts[i];
    }
    for (; left >= e->cache.page_bytes; left -= e->cache.page_bytes) {
        hash = r2i_hash_bytes(hash, file + at, e->cache.page_bytes);
        at += e->cache.page_bytes;
    }
    memcpy(file + n_bytes - 8, &hash, 8);
}

static bool load(const char *path, r2_engine *engine) {
    r2_sequence *s = NULL;
    r2_error err = { 0 };
    int32_t n_active;
    const r2_sequence_options options = { .max_new_tokens = 2 };
    const r2_status status = r2_sequence_load(&s, engine, path, &options, &err);
    if ((status == R2_OK) != (s != NULL) || (s == NULL && err.text[0] == '\0')) abort();
    for (int i = 0; s != NULL && i < 4; i++) {
        if (r2_engine_step(engine, &n_active, &err) != R2_OK) abort();
    }
    r2_sequence_destroy(s);
    return status == R2_OK;
}

static bool load_bytes(uint8_t *file, size_t n_bytes, int repairs, r2_engine *engine) {
    char path[64];
    if ((repairs & 1) != 0 && n_bytes >= HEADER_BYTES + 8) repair_names(file, engine);
    if ((repairs & 2) != 0 && n_bytes >= HEADER_BYTES + 8) repair_checksum(file, n_bytes, engine);
    const int fd = memfd_create("sequence", 0);
    if (fd < 0 || write(fd, file, n_bytes) != (ssize_t)n_bytes) exit(1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const bool is_loaded = load(path, engine);
    close(fd);
    return is_loaded;
}

/* A sequence without tokens, all that is repaired left out, must load: otherwise nothing is tested. */
static void check_offsets(r2_engine *engine) {
    uint8_t file[HEADER_BYTES + 8] = "r2lmSEQ";
    const uint32_t version = 2;
    memcpy(file + 8, &version, 4);
    if (load_bytes(file, sizeof file, 2, engine) || !load_bytes(file, sizeof file, 3, engine))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    static uint8_t file[MAX_BYTES];
    static bool is_checked;
    r2_engine *engine = the_engine();
    if (!is_checked) check_offsets(engine);
    is_checked = true;
    if (n_bytes < 1 || n_bytes > MAX_BYTES) return 0;
    memcpy(file, bytes + 1, n_bytes - 1);
    (void)load_bytes(file, n_bytes - 1, bytes[0], engine);
    return 0;
}
