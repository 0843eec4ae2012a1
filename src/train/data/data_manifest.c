#include "train/data/data_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/hash.h"
#include "files/json_read.h"
#include "model/model.h"

enum { FORMAT = 1, PATH_BYTES = 4096, HEX_BYTES = 17, MAX_MANIFEST_BYTES = 16 << 20 };

const char *const r2i_split_names[R2I_N_SPLITS] = { "train", "validation" };

/* The counts of a result and their names in the file. */
typedef struct {
    const char *name;
    size_t offset;
} count_field;

#define COUNT(name, field) \
    { name, offsetof(r2_data_result, field) }
static const count_field count_fields[] = {
    COUNT("train_documents", train.n_documents),
    COUNT("train_tokens", train.n_tokens),
    COUNT("train_targets", train.n_targets),
    COUNT("validation_documents", validation.n_documents),
    COUNT("validation_tokens", validation.n_tokens),
    COUNT("validation_targets", validation.n_targets),
    COUNT("documents_read", n_read),
    COUNT("files_read", n_files),
    COUNT("bytes_read", n_bytes),
    COUNT("copies", n_copies),
    COUNT("near_copies", n_near_copies),
    COUNT("held_out", n_held_out),
    COUNT("empty", n_empty),
    COUNT("files_passed_over", n_passed_over),
};
enum { N_COUNTS = sizeof count_fields / sizeof *count_fields };

uint64_t r2i_tokenizer_fingerprint(const r2_model *model) {
    const int32_t n = r2i_tokenizer_size(model->tokenizer);
    uint64_t hash = R2I_HASH_SEED;
    for (int32_t i = 0; i < n; i++) {
        const r2i_text_view text = r2i_tokenizer_text(model->tokenizer, i);
        hash = r2i_hash_bytes(hash, text.bytes, text.n_bytes);
    }
    return hash;
}

static r2_status write_text(const char *folder, const char *name, const r2i_buffer *text,
                            r2i_heap *heap, r2_error *err) {
    char path[PATH_BYTES];
    r2i_atomic_file *file;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    R2I_TRY(r2i_atomic_begin(&file, path, false, heap, err));
    const r2_status status = r2i_atomic_write(file, text->bytes, text->n_bytes, err);
    if (status == R2_OK) return r2i_atomic_commit(file, err);
    r2i_atomic_abandon(file);
    return status;
}

/* ---- manifest.json ---- */

/* JSON numbers hold 63 bits; a hash is a text. */
static json_t *hex_of(uint64_t hash) {
    char text[HEX_BYTES];
    (void)snprintf(text, sizeof text, "%016" PRIx64, hash);
    return json_string(text);
}

static json_t *shards_to_json(const r2i_data_manifest *m) {
    json_t *list = json_array();
    for (int32_t i = 0; i < m->n_shards; i++) {
        const r2i_shard_entry *s = &m->shards[i];
        json_t *o =
            json_pack("{s:s, s:s, s:I, s:I}", "file", s->name, "split", r2i_split_names[s->split],
                      "documents", (json_int_t)s->n_documents, "tokens", (json_int_t)s->n_tokens);
        (void)json_object_set_new(o, "checksum", hex_of(s->checksum));
        (void)json_array_append_new(list, o);
    }
    return list;
}

static json_t *to_json(const r2i_data_manifest *m) {
    json_t *o = json_pack("{s:s, s:i, s:i, s:b}", "format", "r2lm data", "version", FORMAT,
                          "vocabulary", m->n_vocab, "chats", m->has_chats);
    json_t *sources = json_array(), *counts = json_object();
    for (int32_t i = 0; i < m->n_sources; i++)
        (void)json_array_append_new(sources, json_string(m->sources[i]));
    for (size_t i = 0; i < N_COUNTS; i++) {
        int64_t n;
        memcpy(&n, (const char *)&m->counts + count_fields[i].offset, sizeof n);
        (void)json_object_set_new(counts, count_fields[i].name, json_integer(n));
    }
    (void)json_object_set_new(o, "tokenizer", hex_of(m->tokenizer));
    if (m->licence != NULL) (void)json_object_set_new(o, "licence", json_string(m->licence));
    (void)json_object_set_new(o, "sources", sources);
    (void)json_object_set_new(o, "counts", counts);
    (void)json_object_set_new(o, "shards", shards_to_json(m));
    return o;
}

r2_status r2i_manifest_write(const r2i_data_manifest *m, const char *folder, r2i_heap *heap,
                             r2_error *err) {
    r2i_buffer text;
    r2i_buffer_init(&text, heap, MAX_MANIFEST_BYTES);
    json_t *o = to_json(m);
    r2_status status = R2_OK;
    if (json_dump_callback(o, r2i_buffer_append_chunk, &text, JSON_INDENT(1)) != 0 ||
        r2i_buffer_append_text(&text, "\n", NULL) != R2_OK)
        status = r2i_fail(err, R2_E_NOMEM, "no memory for " R2I_MANIFEST_NAME);
    json_decref(o);
    if (status == R2_OK) status = write_text(folder, R2I_MANIFEST_NAME, &text, heap, err);
    r2i_buffer_destroy(&text);
    return status;
}

/* ---- and back ---- */

static r2_status read_shard_entry(r2i_shard_entry *s, const json_t *o, const char *label,
                                  r2_error *err) {
    const char *name, *split;
    int64_t n_documents, n_tokens;
    R2I_TRY(r2i_json_get_text(o, label, "file", &name, err));
    R2I_TRY(r2i_json_get_text(o, label, "split", &split, err));
    R2I_TRY(r2i_json_get_i64(o, label, "documents", 0, INT64_MAX / 16, &n_documents, err));
    R2I_TRY(r2i_json_get_i64(o, label, "tokens", 0, INT64_MAX / 16, &n_tokens, err));
    R2I_TRY(r2i_json_get_hash(o, label, "checksum", &s->checksum, err));
    if (strchr(name, '/') != NULL || strlen(name) >= sizeof s->name || name[0] == '.')
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: file: expected a name in the folder, found \"%.40s\"", label, name);
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    for (s->split = 0; s->split < R2I_N_SPLITS; s->split++) {
        if (strcmp(split, r2i_split_names[s->split]) == 0) break;
    }
    if (s->split == R2I_N_SPLITS)
        return r2i_fail(err, R2_E_FORMAT,
                        "%s: split: expected train or validation, found \"%.40s\"", label, split);
    s->n_documents = (uint64_t)n_documents;
    s->n_tokens = (uint64_t)n_tokens;
    return R2_OK;
}

static r2_status read_shards(r2i_data_manifest *m, const json_t *o, const char *label,
                             r2i_arena *arena, r2_error *err) {
    const json_t *list;
    R2I_TRY(r2i_json_get_tree(o, label, "shards", JSON_ARRAY, &list, err));
    const size_t n = json_array_size(list);
    if (n > R2I_MAX_SHARDS)
        return r2i_fail(err, R2_E_LIMIT, "%s: shards: expected at most %d, found %zu", label,
                        R2I_MAX_SHARDS, n);
    m->shards = R2I_ARENA_ARRAY(arena, r2i_shard_entry, n + 1);
    if (m->shards == NULL) return r2i_fail(err, R2_E_NOMEM, "%s: no memory", label);
    for (; m->n_shards < (int32_t)n; m->n_shards++)
        R2I_TRY(read_shard_entry(&m->shards[m->n_shards], json_array_get(list, (size_t)m->n_shards),
                                 label, err));
    return R2_OK;
}

static r2_status read_texts(r2i_data_manifest *m, const json_t *o, const char *label,
                            r2i_arena *arena, r2_error *err) {
    const char *licence = NULL;
    const json_t *list;
    R2I_TRY(r2i_json_try_text(o, label, "licence", &licence, err));
    R2I_TRY(r2i_json_get_tree(o, label, "sources", JSON_ARRAY, &list, err));
    const size_t n = json_array_size(list);
    const char **sources = R2I_ARENA_ARRAY(arena, const char *, n + 1);
    for (size_t i = 0; sources != NULL && i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text == NULL) text = "";
        sources[i] = r2i_arena_copy_text(arena, text, strlen(text));
        if (sources[i] == NULL) sources = NULL;
    }
    if (licence != NULL) m->licence = r2i_arena_copy_text(arena, licence, strlen(licence));
    if (sources == NULL || (licence != NULL && m->licence == NULL))
        return r2i_fail(err, R2_E_NOMEM, "%s: no memory", label);
    m->sources = sources;
    m->n_sources = (int32_t)n;
    return R2_OK;
}

static r2_status from_json(r2i_data_manifest *m, const json_t *o, const char *label,
                           r2i_arena *arena, r2_error *err) {
    const json_t *counts;
    R2I_TRY(r2i_json_check_format(o, label, "r2lm data", FORMAT, err));
    R2I_TRY(r2i_json_get_i32(o, label, "vocabulary", 1, R2I_MAX_TOKENS, &m->n_vocab, err));
    R2I_TRY(r2i_json_get_bool(o, label, "chats", &m->has_chats, err));
    R2I_TRY(r2i_json_get_hash(o, label, "tokenizer", &m->tokenizer, err));
    R2I_TRY(r2i_json_get_tree(o, label, "counts", JSON_OBJECT, &counts, err));
    for (size_t i = 0; i < N_COUNTS; i++) {
        int64_t n;
        R2I_TRY(r2i_json_get_i64(counts, label, count_fields[i].name, 0, INT64_MAX, &n, err));
        memcpy((char *)&m->counts + count_fields[i].offset, &n, sizeof n);
    }
    R2I_TRY(read_texts(m, o, label, arena, err));
    return read_shards(m, o, label, arena, err);
}

r2_status r2i_manifest_read(r2i_data_manifest *out, const char *folder, r2i_arena *arena,
                            r2_error *err) {
    char path[PATH_BYTES];
    r2i_mapping file;
    json_t *o = NULL;
    *out = (r2i_data_manifest){ .n_shards = 0 };
    (void)snprintf(path, sizeof path, "%s/" R2I_MANIFEST_NAME, folder);
    r2_status status = r2i_mapping_open(&file, path, err);
    if (status == R2_E_NOT_FOUND)
        return r2i_fail(
            err, status,
            "%.150s: expected a folder of `r2lm data prep`, found no " R2I_MANIFEST_NAME, folder);
    if (status != R2_OK) return status;
    status = r2i_json_read(&o, path, file.bytes, file.n_bytes, &r2i_json_config_limits, err);
    r2i_mapping_close(&file);
    if (status == R2_OK) status = from_json(out, o, path, arena, err);
    json_decref(o);
    return status;
}

/* ---- the card ---- */

static r2_status write_card(const r2i_data_manifest *m, r2i_buffer *text, r2_error *err) {
    const r2_data_result *c = &m->counts;
    R2I_TRY(r2i_buffer_append_text(text, "# Data card\n\nSources:\n\n", err));
    for (int32_t i = 0; i < m->n_sources; i++)
        R2I_TRY(r2i_buffer_append_format(text, err, "- `%s`\n", m->sources[i]));
    R2I_TRY(r2i_buffer_append_format(
        text, err,
        "\nLicence: %s\n\n%" PRId64 " files, %" PRId64 " bytes, %" PRId64
        " documents were read.\n\n| left out | documents |\n|---|---|\n"
        "| the same as an earlier one | %" PRId64
        " |\n| nearly so (four fifths of the runs of five "
        "words) | %" PRId64 " |\n| 13 words in a row of an evaluation set | %" PRId64
        " |\n| empty | %" PRId64 " |\n\n| kept | documents | tokens | of these learnt |\n"
        "|---|---|---|---|\n",
        m->licence != NULL ? m->licence : "not stated", c->n_files, c->n_bytes, c->n_read,
        c->n_copies, c->n_near_copies, c->n_held_out, c->n_empty));
    const r2_data_split *splits[] = { &c->train, &c->validation };
    for (int i = 0; i < R2I_N_SPLITS; i++)
        R2I_TRY(r2i_buffer_append_format(
            text, err, "| %s | %" PRId64 " | %" PRId64 " | %" PRId64 " |\n", r2i_split_names[i],
            splits[i]->n_documents, splits[i]->n_tokens, splits[i]->n_targets));
    return R2_OK;
}

r2_status r2i_data_card_write(const r2i_data_manifest *m, const char *folder, r2i_heap *heap,
                              r2_error *err) {
    r2i_buffer text;
    r2i_buffer_init(&text, heap, MAX_MANIFEST_BYTES);
    r2_status status = write_card(m, &text, err);
    if (status == R2_OK) status = write_text(folder, R2I_DATA_CARD_NAME, &text, heap, err);
    r2i_buffer_destroy(&text);
    return status;
}
