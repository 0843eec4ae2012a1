/* data_prepare.c - from files of texts and chats to a folder of tokens.
 *
 * Each document is read, left out if it is empty, a copy or part of an evaluation set, and written as
 * tokens to the training or the validation shards by the hash of its words: the same text always goes
 * to the same side. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "files/atomic_folder.h"
#include "model/model.h"
#include "train/data/data_manifest.h"
#include "train/data/document_read.h"
#include "train/data/held_out.h"
#include "train/data/near_copies.h"
#include "train/data/training_tokens.h"
#include "train/data/word_hashes.h"

enum { PATH_BYTES = 4096, ARENA_BLOCK_BYTES = 1 << 16, DOCUMENTS_BETWEEN = 64 };

#define MAX_SHARD_TOKENS ((uint64_t)1 << 28)
#define MAX_DOCUMENT_BYTES ((size_t)1 << 30) /* of tokens and hashes */

typedef struct {
    const r2_model *model;
    const r2_data_options *options;
    r2i_heap heap;
    r2i_arena arena;
    r2i_atomic_folder *folder;
    r2i_shard_writer writers[R2I_N_SPLITS];
    int32_t n_of_split[R2I_N_SPLITS];
    r2i_data_manifest manifest;
    r2i_near_copies copies;
    r2i_held_out held_out;
    r2i_buffer words, tokens;
    int64_t n_bytes_before, n_bytes_all; /* of the inputs done; of all, 0: unknown */
    r2i_split split;                     /* of the present document */
} preparation;

static r2_data_split *counts_of(preparation *p, r2i_split split) {
    return split == R2I_SPLIT_TRAIN ? &p->manifest.counts.train : &p->manifest.counts.validation;
}

/* ---- shards ---- */

static r2_status end_shard(preparation *p, r2i_split split, r2_error *err) {
    r2i_shard_writer *w = &p->writers[split];
    if (w->file == NULL) return R2_OK;
    R2I_TRY(r2i_shard_finish(w, err));
    r2i_shard_entry *e = &p->manifest.shards[p->manifest.n_shards++];
    (void)snprintf(e->name, sizeof e->name, "%s-%05d.tokens", r2i_split_names[split],
                   p->n_of_split[split]++);
    e->split = split;
    e->n_documents = w->n_documents;
    e->n_tokens = w->n_tokens;
    e->checksum = w->checksum;
    return R2_OK;
}

static r2_status begin_shard(preparation *p, r2i_split split, r2_error *err) {
    char path[PATH_BYTES];
    if (p->manifest.n_shards + R2I_N_SPLITS > R2I_MAX_SHARDS)
        return r2i_fail(err, R2_E_LIMIT, "data: expected at most %d shards", R2I_MAX_SHARDS);
    (void)snprintf(path, sizeof path, "%s/%s-%05d.tokens", r2i_atomic_folder_path(p->folder),
                   r2i_split_names[split], p->n_of_split[split]);
    return r2i_shard_begin(&p->writers[split], path, &p->heap, err);
}

static r2_status write_document(void *user, const uint32_t *tokens, size_t n, r2_error *err) {
    preparation *p = user;
    r2i_shard_writer *w = &p->writers[p->split];
    if (n < R2I_LEAST_TOKENS) {
        p->manifest.counts.n_empty++;
        return R2_OK;
    }
    if (w->file != NULL && w->n_tokens + n > MAX_SHARD_TOKENS) R2I_TRY(end_shard(p, p->split, err));
    if (w->file == NULL) R2I_TRY(begin_shard(p, p->split, err));
    R2I_TRY(r2i_shard_add(w, tokens, n, err));
    r2_data_split *counts = counts_of(p, p->split);
    counts->n_documents++;
    counts->n_tokens += (int64_t)n;
    for (size_t i = 1; i < n; i++) /* nothing foretells the first one */
        counts->n_targets += (tokens[i] & R2I_NO_TARGET) == 0;
    return R2_OK;
}

/* ---- documents ---- */

/* Words of every text in a JSON value. */
static r2_status add_json_words(r2i_buffer *words, const json_t *value, r2_error *err) {
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_string(value))
        return r2i_word_hashes_append(words, json_string_value(value), json_string_length(value),
                                      err);
    json_array_foreach(value, i, item) R2I_TRY(add_json_words(words, item, err));
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
        R2I_TRY(add_json_words(words, item, err));
    return R2_OK;
}

static r2_status find_words(r2i_buffer *words, const r2i_document *d, r2_error *err) {
    r2i_buffer_clear(words);
    if (d->text != NULL) return r2i_word_hashes_append(words, d->text, d->n_bytes, err);
    return add_json_words(words, d->messages, err);
}

/* Is the document to be kept?  Counts it if not. */
static r2_status judge(preparation *p, bool *is_kept, r2_error *err) {
    r2_data_result *counts = &p->manifest.counts;
    r2i_copy_kind copy = R2I_COPY_NONE;
    size_t n;
    const uint64_t *words = r2i_word_hashes_of(&p->words, &n);
    *is_kept = false;
    if (n == 0) {
        counts->n_empty++;
        return R2_OK;
    }
    if (r2i_held_out_taints(&p->held_out, words, n)) {
        counts->n_held_out++;
        return R2_OK;
    }
    if (!p->options->keeps_copies) R2I_TRY(r2i_near_copies_add(&p->copies, words, n, &copy, err));
    counts->n_copies += copy == R2I_COPY_EXACT;
    counts->n_near_copies += copy == R2I_COPY_NEAR;
    *is_kept = copy == R2I_COPY_NONE;
    const double place = (double)(r2i_word_hashes_join(words, n) >> 11) * 0x1p-53;
    p->split =
        place < (double)p->options->validation_share ? R2I_SPLIT_VALIDATION : R2I_SPLIT_TRAIN;
    return R2_OK;
}

static r2_status take_document(preparation *p, const r2i_document *d, r2_error *err) {
    bool is_kept;
    p->manifest.counts.n_read++;
    R2I_TRY(find_words(&p->words, d, err));
    R2I_TRY(judge(p, &is_kept, err));
    if (!is_kept) return R2_OK;
    if (d->text != NULL)
        return r2i_text_to_tokens(p->model, d->text, d->n_bytes, &p->tokens, write_document, p,
                                  err);
    p->manifest.has_chats = true;
    const r2_status status = r2i_chat_to_tokens(p->model, d->messages, p->options->learns_all,
                                                &p->tokens, write_document, p, err);
    const bool is_its_own = status == R2_E_FORMAT || status == R2_E_ARGUMENT ||
                            status == R2_E_UNSUPPORTED || status == R2_E_RANGE;
    return is_its_own ? r2i_fail_at(err, status, d->place) : status;
}

static bool goes_on(preparation *p, const r2i_document_reader *r) {
    const r2_data_options *o = p->options;
    const int64_t n_done = p->n_bytes_before + r2i_document_counted(r).n_bytes;
    return o->progress == NULL || o->progress(o->host.user, n_done, p->n_bytes_all);
}

static r2_status read_all(preparation *p, r2i_document_reader *r, r2_error *err) {
    for (int64_t i = 0;; i++) {
        r2i_document d;
        bool has;
        if (i % DOCUMENTS_BETWEEN == 0 && !goes_on(p, r))
            return r2i_fail(err, R2_E_CANCELED, "stopped");
        R2I_TRY(r2i_document_next(r, &d, &has, err));
        if (!has) return R2_OK;
        R2I_TRY(take_document(p, &d, err));
    }
}

static r2_status read_input(preparation *p, const char *path, r2_error *err) {
    r2i_document_reader *r;
    r2_data_result *counts = &p->manifest.counts;
    R2I_TRY(r2i_document_reader_open(&r, path, p->options->mark, &p->heap, err));
    const r2_status status = read_all(p, r, err);
    const r2i_document_counts read = r2i_document_counted(r);
    counts->n_files += read.n_files;
    counts->n_bytes += read.n_bytes;
    counts->n_passed_over += read.n_passed_over;
    p->n_bytes_before += read.n_bytes;
    r2i_document_reader_close(r);
    return status;
}

static r2_status read_held_out(preparation *p, const char *path, r2_error *err) {
    r2i_document_reader *r;
    r2i_document d;
    R2I_TRY(r2i_document_reader_open(&r, path, p->options->mark, &p->heap, err));
    r2i_document_allow_questions(r); /* answers of evaluation sets have names of many kinds */
    r2_status status = R2_OK;
    for (bool has = true; status == R2_OK && has;) {
        size_t n;
        status = r2i_document_next(r, &d, &has, err);
        if (status == R2_OK && has) status = find_words(&p->words, &d, err);
        const uint64_t *words = r2i_word_hashes_of(&p->words, &n);
        if (status == R2_OK && has) status = r2i_held_out_add(&p->held_out, words, n, err);
    }
    r2i_document_reader_close(r);
    return status;
}

/* ---- all of it ---- */

static r2_status check_options(const r2_model *model, const r2_data_options *o, r2_error *err) {
    if (o == NULL || o->n_inputs < 1)
        return r2i_fail(err, R2_E_ARGUMENT, "data: expected something to read, found nothing");
    if (!(o->validation_share >= 0 && o->validation_share <= 0.5f))
        return r2i_fail(err, R2_E_RANGE, "validation share: expected 0 to 0.5, found %g",
                        (double)o->validation_share);
    if (model->tokenizer == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "data: the model has no tokenizer");
    return R2_OK;
}

static r2_status start(preparation *p, r2_error *err) {
    const r2_data_options *o = p->options;
    p->manifest.tokenizer = r2i_tokenizer_fingerprint(p->model);
    p->manifest.n_vocab = r2i_tokenizer_size(p->model->tokenizer);
    p->manifest.licence = o->licence;
    p->manifest.sources = o->inputs;
    p->manifest.n_sources = o->n_inputs;
    p->manifest.shards = R2I_ARENA_ARRAY(&p->arena, r2i_shard_entry, R2I_MAX_SHARDS);
    if (p->manifest.shards == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for shards");
    p->n_bytes_all = r2i_documents_bytes(o->inputs, o->n_inputs);
    for (int32_t i = 0; i < o->n_held_out; i++)
        R2I_TRY(read_held_out(p, o->held_out[i], err));
    return R2_OK;
}

static r2_status run(preparation *p, r2_error *err) {
    const char *folder = r2i_atomic_folder_path(p->folder);
    const r2_data_options *o = p->options;
    const r2_data_result *c = &p->manifest.counts;
    R2I_TRY(start(p, err));
    for (int32_t i = 0; i < o->n_inputs; i++)
        R2I_TRY(read_input(p, o->inputs[i], err));
    for (r2i_split s = 0; s < R2I_N_SPLITS; s++)
        R2I_TRY(end_shard(p, s, err));
    if (c->train.n_targets == 0)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "data: expected something to train on, found none in %lld documents "
                        "(%lld copies, %lld near copies, %lld of evaluation sets, %lld empty)",
                        (long long)c->n_read, (long long)c->n_copies, (long long)c->n_near_copies,
                        (long long)c->n_held_out, (long long)c->n_empty);
    R2I_TRY(r2i_data_card_write(&p->manifest, folder, &p->heap, err));
    return r2i_manifest_write(&p->manifest, folder, &p->heap, err);
}

static void set_up(preparation *p, const r2_model *model, const r2_data_options *o) {
    *p = (preparation){ .model = model, .options = o };
    r2i_heap_init_host(&p->heap, &o->host);
    r2i_arena_init(&p->arena, &p->heap, ARENA_BLOCK_BYTES, 0);
    r2i_near_copies_init(&p->copies, &p->heap);
    r2i_held_out_init(&p->held_out, &p->heap);
    r2i_buffer_init(&p->words, &p->heap, MAX_DOCUMENT_BYTES);
    r2i_buffer_init(&p->tokens, &p->heap, MAX_DOCUMENT_BYTES);
}

static void take_down(preparation *p) {
    for (r2i_split s = 0; s < R2I_N_SPLITS; s++)
        r2i_shard_abandon(&p->writers[s]);
    r2i_buffer_destroy(&p->words);
    r2i_buffer_destroy(&p->tokens);
    r2i_held_out_destroy(&p->held_out);
    r2i_near_copies_destroy(&p->copies);
    r2i_arena_destroy(&p->arena);
}

r2_status r2_data_prepare(r2_data_result *result, const r2_model *model, const char *out,
                          const r2_data_options *options, r2_error *err) {
    preparation p;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *result = (r2_data_result){ 0 };
    R2I_TRY(check_options(model, options, err));
    set_up(&p, model, options);
    r2_status status = r2i_atomic_folder_begin(&p.folder, out, options->is_forced,
                                               R2I_MANIFEST_NAME, &p.heap, err);
    if (status == R2_OK) status = run(&p, err);
    *result = p.manifest.counts;
    take_down(&p);
    if (status == R2_OK) return r2i_atomic_folder_commit(p.folder, err);
    r2i_atomic_folder_abandon(p.folder);
    return status;
}
