#define _XOPEN_SOURCE 700 /* nftw, mkdtemp */
#include "tiny_run.h"

#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/random.h"
#include "files/mapping.h"
#include "train/data/data_manifest.h"
#include "train/data/training_tokens.h"

enum { N_VOCAB = 120, N_DOCUMENTS = 16, BATCH = 24, RUN = 12 };

static void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *ftw) {
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void tiny_remove(const char *path) {
    (void)nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Document d of a set.  The last set's fill a run each, and of every second one most is not learnt. */
static uint32_t make_document(uint32_t set, uint32_t split, uint32_t d, uint32_t tokens[40]) {
    const bool is_even = set == TINY_SETS;
    const uint32_t n = is_even ? RUN + 1 : 3 + d * 7 % 37;
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = (uint32_t)(r2i_random_u64(set * 2 + split, d, i) % 7 + i * 3) % N_VOCAB;
        if (is_even && d % 2 == 1 && i > 3) tokens[i] |= R2I_NO_TARGET;
    }
    return n;
}

static void add_shard(r2i_data_manifest *m, const char *folder, r2i_split split, uint32_t set,
                      r2i_heap *heap) {
    r2_error err;
    char path[TINY_PATH + 64];
    r2i_shard_writer w;
    r2i_shard_entry *e = &m->shards[m->n_shards++];
    *e = (r2i_shard_entry){ .split = split };
    snprintf(e->name, sizeof e->name, "%s-0.tokens", r2i_split_names[split]);
    snprintf(path, sizeof path, "%s/%s", folder, e->name);
    must(r2i_shard_begin(&w, path, heap, &err), &err);
    for (uint32_t d = 0; d < N_DOCUMENTS; d++) {
        uint32_t tokens[40];
        const uint32_t n = make_document(set, (uint32_t)split, d, tokens);
        must(r2i_shard_add(&w, tokens, n, &err), &err);
    }
    must(r2i_shard_finish(&w, &err), &err);
    e->n_documents = w.n_documents;
    e->n_tokens = w.n_tokens;
    e->checksum = w.checksum;
}

static void make_set(const char *folder, uint32_t set) {
    r2_error err;
    r2i_heap heap;
    r2i_shard_entry entries[2];
    r2i_data_manifest m = { .n_vocab = N_VOCAB, .shards = entries };
    r2i_heap_init(&heap);
    assert_int_equal(mkdir(folder, 0777), 0);
    add_shard(&m, folder, R2I_SPLIT_TRAIN, set, &heap);
    if (set == 0) add_shard(&m, folder, R2I_SPLIT_VALIDATION, set, &heap);
    must(r2i_manifest_write(&m, folder, &heap, &err), &err);
}

void tiny_place_make(tiny_place *place, const char *golden_case) {
    char from[TINY_PATH];
    r2_error err;
    const char *golden = getenv("R2LM_GOLDEN_DIR");
    const r2_model_init_options options = { .seed = 3 };
    strcpy(place->folder, "/tmp/r2lm_fault_XXXXXX");
    assert_non_null(mkdtemp(place->folder));
    snprintf(place->model, TINY_PATH, "%s/model", place->folder);
    snprintf(from, sizeof from, "%.400s/%s",
             golden != NULL && golden[0] != '\0' ? golden : R2LM_DEFAULT_GOLDEN_DIR, golden_case);
    must(r2_model_init(from, place->model, &options, &err), &err);
    snprintf(place->even, TINY_PATH, "%s/even", place->folder);
    make_set(place->even, TINY_SETS);
    for (uint32_t i = 0; i < TINY_SETS; i++) {
        snprintf(place->data[i], TINY_PATH, "%s/data%u", place->folder, i);
        make_set(place->data[i], i);
        place->sets[i] = place->data[i];
    }
}

void tiny_place_remove(const tiny_place *place) {
    tiny_remove(place->folder);
}

static bool on_step(void *user, const r2_train_report *report) {
    tiny_log *log = user;
    log->losses[report->step] = report->loss;
    if (!isnan(report->validation_loss)) log->validation[report->step] = report->validation_loss;
    return report->step != log->stops_behind;
}

static bool on_checkpoint(void *user, int64_t step, const char *folder, const r2_error *err) {
    tiny_log *log = user;
    (void)folder;
    if (err->code == R2_OK) {
        log->saved_step = step;
        return true;
    }
    log->n_failed++;
    log->failure = err->code;
    return true;
}

void tiny_run_options(r2_train_options *out, const tiny_place *place, const char *run,
                      char paths[2][TINY_PATH], tiny_log *log) {
    static const double shares[TINY_SETS] = { 1, 2 };
    snprintf(paths[0], TINY_PATH, "%s/%s/model", place->folder, run);
    snprintf(paths[1], TINY_PATH, "%s/%s/checkpoints", place->folder, run);
    *out = (r2_train_options){
        .model = place->model,
        .data = place->sets,
        .shares = shares,
        .n_data = TINY_SETS,
        .out = paths[0],
        .n_steps = 8,
        .run_tokens = RUN,
        .trainer = { .n_threads = 1, .batch_tokens = BATCH, .arithmetic = R2_ARITHMETIC_F32 },
        .step = { .lr = 0.01, .weight_decay = 0.1, .clip = 1, .balance_rate = 0.001 },
        .warmup_steps = 2,
        .mtp_weight = 0.3,
        .balance_weight = 1e-4,
        .validate_every = 4,
        .validate_batches = 2,
        .seed = 5,
        .saves_f32 = true,
        .checkpoints = paths[1],
        .checkpoint_every = 2,
        .checkpointed = on_checkpoint,
        .report = on_step,
        .user = log
    };
    char folder[TINY_PATH];
    snprintf(folder, sizeof folder, "%s/%s", place->folder, run);
    (void)mkdir(folder, 0777);
    *log = (tiny_log){ .saved_step = 0 };
}

uint64_t tiny_model_hash(const tiny_place *place, const char *run) {
    char path[TINY_PATH];
    r2i_mapping file;
    snprintf(path, sizeof path, "%s/%s/model/model.safetensors", place->folder, run);
    r2_status status = r2i_mapping_open(&file, path, NULL);
    if (status != R2_OK) {
        snprintf(path, sizeof path, "%s/%s/model/adapter_model.safetensors", place->folder, run);
        status = r2i_mapping_open(&file, path, NULL);
    }
    if (status != R2_OK) return 0;
    const uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, file.bytes, file.n_bytes);
    r2i_mapping_close(&file);
    return hash;
}
