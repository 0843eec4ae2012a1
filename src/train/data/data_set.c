#include "train/data/data_set.h"

#include <stdio.h>

#include "base/failure.h"
#include "train/data/training_tokens.h"

enum { PATH_BYTES = 4096, ARENA_BLOCK_BYTES = 1 << 16 };

static r2_status check_tokenizer(const r2i_data_manifest *m, const char *folder,
                                 const r2_model *model, r2_error *err) {
    if (model == NULL || m->tokenizer == r2i_tokenizer_fingerprint(model)) return R2_OK;
    return r2i_fail(
        err, R2_E_MISMATCH,
        "%.150s: expected data made with this model's tokenizer, found one of %d tokens; "
        "make them anew with `r2lm data prep`",
        folder, m->n_vocab);
}

static r2_status open_shard(r2i_data_set *set, const char *folder, r2_error *err) {
    const r2i_shard_entry *e = &set->manifest.shards[set->n_open];
    r2i_shard *s = &set->shards[set->n_open];
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", folder, e->name);
    R2I_TRY(r2i_shard_open(s, path, set->manifest.n_vocab, err));
    set->n_open++;
    if (s->checksum != e->checksum || s->n_documents != e->n_documents ||
        s->n_tokens != e->n_tokens)
        return r2i_fail(err, R2_E_CHECKSUM,
                        "%.150s: it is not the file that " R2I_MANIFEST_NAME " lists", path);
    set->n_documents[e->split] += e->n_documents;
    return R2_OK;
}

r2_status r2i_data_set_open(r2i_data_set *out, const char *folder, const r2_model *model,
                            r2i_arena *arena, r2_error *err) {
    *out = (r2i_data_set){ .n_open = 0 };
    R2I_TRY(r2i_manifest_read(&out->manifest, folder, arena, err));
    R2I_TRY(check_tokenizer(&out->manifest, folder, model, err));
    out->shards = R2I_ARENA_ARRAY(arena, r2i_shard, (size_t)out->manifest.n_shards + 1);
    if (out->shards == NULL) return r2i_fail(err, R2_E_NOMEM, "%.150s: no memory", folder);
    r2_status status = R2_OK;
    while (status == R2_OK && out->n_open < out->manifest.n_shards)
        status = open_shard(out, folder, err);
    if (status != R2_OK) r2i_data_set_close(out);
    return status;
}

void r2i_data_set_close(r2i_data_set *set) {
    for (int32_t i = 0; i < set->n_open; i++)
        r2i_shard_close(&set->shards[i]);
    set->n_open = 0;
}

const uint32_t *r2i_data_set_document(const r2i_data_set *set, r2i_split split, uint64_t i,
                                      size_t *n) {
    for (int32_t s = 0;; s++) {
        if (set->manifest.shards[s].split != split) continue;
        if (i < set->shards[s].n_documents) return r2i_shard_document(&set->shards[s], i, n);
        i -= set->shards[s].n_documents;
    }
}

r2_status r2_data_check(r2_data_result *result, const char *folder, const r2_model *model,
                        r2_error *err) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_data_set set;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *result = (r2_data_result){ 0 };
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, ARENA_BLOCK_BYTES, 0);
    const r2_status status = r2i_data_set_open(&set, folder, model, &arena, err);
    *result = set.manifest.counts;
    r2i_data_set_close(&set);
    r2i_arena_destroy(&arena);
    return status;
}

int64_t r2i_data_set_longer(const r2i_data_set *set, r2i_split split, size_t n_tokens) {
    int64_t n_longer = 0;
    for (uint64_t i = 0; i < set->n_documents[split]; i++) {
        size_t n;
        (void)r2i_data_set_document(set, split, i, &n);
        n_longer += n > n_tokens;
    }
    return n_longer;
}

bool r2i_data_set_teaches(const r2i_data_set *set, r2i_split split, size_t n_tokens) {
    for (uint64_t i = 0; i < set->n_documents[split]; i++) {
        size_t n;
        const uint32_t *tokens = r2i_data_set_document(set, split, i, &n);
        for (size_t t = 1; t < n && t <= n_tokens; t++) {
            if ((tokens[t] & R2I_NO_TARGET) == 0) return true;
        }
    }
    return false;
}
