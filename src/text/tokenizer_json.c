/* tokenizer_json.c - a tokenizer from the files of a Hugging Face folder.
 *
 * Vocabulary and merges are scanned in place; every other value is small and becomes a jansson
 * tree, which also makes the reading strict. */
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "text/hf_pipeline.h"
#include "text/json_scan.h"

#define LABEL "tokenizer.json"

enum { SCRATCH_BLOCK_BYTES = 1 << 20, MAX_FILE_BYTES = 1 << 28, MAX_MERGE_TEXTS = 1 << 23 };

/* An array that grows by doubling inside the scratch arena. */
typedef struct {
    r2i_text_view *texts;
    int32_t *ids; /* of vocabulary entries; NULL for merges */
    size_t n, cap;
} text_rows;

typedef struct {
    r2i_arena scratch;
    r2i_json_scan scan;
    json_t *file, *model; /* without vocabulary and merges */
    bool has_model, has_vocabulary, has_merges;
    text_rows entries, merges;
    bool merges_are_pairs;
    r2i_text_view *tokens; /* [n_tokens] by id; bytes NULL: a hole */
    int32_t *types;        /* [n_tokens] */
    uint8_t *strips;       /* [n_tokens] */
    size_t n_tokens;
} hf_file;

static r2_status fail_memory(r2_error *err) {
    return r2i_fail(err, R2_E_NOMEM, LABEL ": no memory");
}

static r2_status add_row(hf_file *f, text_rows *rows, r2i_text_view text, int32_t id, bool has_id,
                         r2_error *err) {
    if (rows->n == rows->cap) {
        const size_t cap = rows->cap == 0 ? 1024 : 2 * rows->cap;
        r2i_text_view *texts = R2I_ARENA_ARRAY(&f->scratch, r2i_text_view, cap);
        int32_t *ids = has_id ? R2I_ARENA_ARRAY(&f->scratch, int32_t, cap) : NULL;
        if (texts == NULL || (has_id && ids == NULL)) return fail_memory(err);
        if (rows->n > 0) memcpy(texts, rows->texts, rows->n * sizeof *texts);
        if (rows->n > 0 && has_id) memcpy(ids, rows->ids, rows->n * sizeof *ids);
        rows->texts = texts;
        rows->ids = ids;
        rows->cap = cap;
    }
    rows->texts[rows->n] = text;
    if (has_id) rows->ids[rows->n] = id;
    rows->n++;
    return R2_OK;
}

/* ---- scanning ---- */

/* {"text": id, ...} */
static r2_status scan_vocabulary(hf_file *f, r2_error *err) {
    bool is_first = true;
    r2i_text_view text;
    if (!r2i_json_scan_take(&f->scan, '{')) return r2i_json_scan_fail(&f->scan, LABEL, err);
    while (r2i_json_scan_key(&f->scan, &is_first, &text)) {
        int32_t id;
        if (!r2i_json_scan_integer(&f->scan, &id)) break;
        if (id >= R2I_MAX_TOKENS || f->entries.n >= R2I_MAX_TOKENS) {
            return r2i_fail(err, R2_E_LIMIT, LABEL ": vocab: expected ids below %d, found %d",
                            R2I_MAX_TOKENS, (int)id);
        }
        const r2_status status = add_row(f, &f->entries, text, id, true, err);
        if (status != R2_OK) return status;
    }
    return f->scan.problem == NULL ? R2_OK : r2i_json_scan_fail(&f->scan, LABEL, err);
}

/* ["left", "right"], the opening bracket seen. */
static r2_status scan_pair(hf_file *f, r2_error *err) {
    r2i_text_view left, right;
    r2i_json_scan *scan = &f->scan;
    if (!r2i_json_scan_take(scan, '[') || !r2i_json_scan_string(scan, &left) ||
        !r2i_json_scan_take(scan, ',') || !r2i_json_scan_string(scan, &right) ||
        !r2i_json_scan_take(scan, ']')) {
        return r2i_json_scan_fail(scan, LABEL, err);
    }
    const r2_status status = add_row(f, &f->merges, left, 0, false, err);
    return status == R2_OK ? add_row(f, &f->merges, right, 0, false, err) : status;
}

/* ["left right", ...] or [["left", "right"], ...] */
static r2_status scan_merges(hf_file *f, r2_error *err) {
    bool is_first = true;
    r2_status status = R2_OK;
    r2i_text_view text;
    if (!r2i_json_scan_take(&f->scan, '[')) return r2i_json_scan_fail(&f->scan, LABEL, err);
    f->merges_are_pairs = r2i_json_scan_sees(&f->scan, '[');
    while (status == R2_OK && r2i_json_scan_next(&f->scan, ']', &is_first)) {
        if (f->merges.n >= MAX_MERGE_TEXTS)
            return r2i_fail(err, R2_E_LIMIT, LABEL ": merges: too many");
        if (f->merges_are_pairs)
            status = scan_pair(f, err);
        else if (!r2i_json_scan_string(&f->scan, &text))
            break;
        else
            status = add_row(f, &f->merges, text, 0, false, err);
    }
    if (status != R2_OK) return status;
    return f->scan.problem == NULL ? R2_OK : r2i_json_scan_fail(&f->scan, LABEL, err);
}

/* Parses the value at hand into tree[key]. */
static r2_status keep_member(hf_file *f, json_t *tree, r2i_text_view key, r2_error *err) {
    char name[64];
    r2i_text_view span;
    json_error_t problem;
    if (key.n_bytes >= sizeof name)
        return r2i_fail(err, R2_E_FORMAT, LABEL ": expected keys of at most 63 bytes");
    memcpy(name, key.bytes, key.n_bytes);
    name[key.n_bytes] = 0;
    if (json_object_get(tree, name) != NULL)
        return r2i_fail(err, R2_E_FORMAT, LABEL ": %s: expected once, found twice", name);
    if (!r2i_json_scan_value(&f->scan, &span)) return r2i_json_scan_fail(&f->scan, LABEL, err);
    json_t *value =
        json_loadb(span.bytes, span.n_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (value == NULL) return r2i_fail(err, R2_E_FORMAT, LABEL ": %s: %.120s", name, problem.text);
    return json_object_set_new(tree, name, value) == 0 ? R2_OK : fail_memory(err);
}

static r2_status scan_model(hf_file *f, r2_error *err) {
    bool is_first = true;
    r2_status status = R2_OK;
    r2i_text_view key;
    if (!r2i_json_scan_take(&f->scan, '{')) return r2i_json_scan_fail(&f->scan, LABEL, err);
    while (status == R2_OK && r2i_json_scan_key(&f->scan, &is_first, &key)) {
        const bool is_vocabulary = r2i_text_view_is(key, "vocab"),
                   is_merges = r2i_text_view_is(key, "merges");
        if ((is_vocabulary && f->has_vocabulary) || (is_merges && f->has_merges)) {
            return r2i_fail(err, R2_E_FORMAT, LABEL ": model: expected vocab and merges once");
        }
        f->has_vocabulary |= is_vocabulary;
        f->has_merges |= is_merges;
        status = is_vocabulary ? scan_vocabulary(f, err)
                 : is_merges   ? scan_merges(f, err)
                               : keep_member(f, f->model, key, err);
    }
    if (status != R2_OK) return status;
    return f->scan.problem == NULL ? R2_OK : r2i_json_scan_fail(&f->scan, LABEL, err);
}

static r2_status scan_file(hf_file *f, r2_error *err) {
    bool is_first = true;
    r2_status status = R2_OK;
    r2i_text_view key;
    if (!r2i_json_scan_take(&f->scan, '{')) return r2i_json_scan_fail(&f->scan, LABEL, err);
    while (status == R2_OK && r2i_json_scan_key(&f->scan, &is_first, &key)) {
        const bool is_model = r2i_text_view_is(key, "model");
        if (is_model && f->has_model)
            return r2i_fail(err, R2_E_FORMAT, LABEL ": model: expected once, found twice");
        f->has_model |= is_model;
        status = is_model ? scan_model(f, err) : keep_member(f, f->file, key, err);
    }
    if (status != R2_OK) return status;
    if (f->scan.problem != NULL) return r2i_json_scan_fail(&f->scan, LABEL, err);
    (void)r2i_json_scan_sees(&f->scan, ' ');
    if (f->scan.at != f->scan.end)
        return r2i_fail(err, R2_E_FORMAT, LABEL ": expected nothing behind the object");
    if (f->has_vocabulary && f->has_merges) return R2_OK;
    return r2i_fail(err, R2_E_FORMAT, LABEL ": model: expected vocab and merges");
}

/* ---- ids ---- */

static r2_status added_fields(const json_t *added, size_t i, int32_t *id, r2i_text_view *text,
                              r2_error *err) {
    const json_t *number = json_object_get(added, "id"),
                 *content = json_object_get(added, "content");
    if (!json_is_integer(number) || json_integer_value(number) < 0 ||
        json_integer_value(number) >= R2I_MAX_TOKENS) {
        return r2i_fail(err, R2_E_FORMAT, LABEL ": added_tokens %zu: expected an id below %d", i,
                        R2I_MAX_TOKENS);
    }
    if (!json_is_string(content) || json_string_length(content) == 0) {
        return r2i_fail(err, R2_E_FORMAT,
                        LABEL ": added_tokens %zu: expected a content that is not empty", i);
    }
    if (json_is_true(json_object_get(added, "single_word"))) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        LABEL ": added_tokens %zu: single_word is not supported", i);
    }
    *id = (int32_t)json_integer_value(number);
    *text = (r2i_text_view){ json_string_value(content), json_string_length(content) };
    return R2_OK;
}

/* One past the highest id of vocabulary and added tokens. */
static r2_status count_tokens(hf_file *f, r2_error *err) {
    const json_t *added = json_object_get(f->file, "added_tokens");
    int32_t top = -1, id;
    r2i_text_view text;
    for (size_t i = 0; i < f->entries.n; i++)
        top = r2i_max_i32(top, f->entries.ids[i]);
    for (size_t i = 0; i < json_array_size(added); i++) {
        const r2_status status = added_fields(json_array_get(added, i), i, &id, &text, err);
        if (status != R2_OK) return status;
        top = r2i_max_i32(top, id);
    }
    f->n_tokens = (size_t)(top + 1);
    if (f->n_tokens > f->entries.n + json_array_size(added)) {
        return r2i_fail(err, R2_E_FORMAT, LABEL ": vocab: highest id %d, but only %zu entries",
                        (int)top, f->entries.n + json_array_size(added));
    }
    return R2_OK;
}

static r2_status place_entries(hf_file *f, bool has_byte_fallback, r2_error *err) {
    for (size_t i = 0; i < f->entries.n; i++) {
        const int32_t id = f->entries.ids[i];
        if (f->tokens[id].bytes != NULL)
            return r2i_fail(err, R2_E_FORMAT, LABEL ": vocab: id %d: expected once, found twice",
                            (int)id);
        f->tokens[id] = f->entries.texts[i];
        const bool is_byte = has_byte_fallback && r2i_byte_token_value(f->entries.texts[i]) >= 0;
        f->types[id] = is_byte ? R2I_TOKEN_BYTE : R2I_TOKEN_NORMAL;
    }
    return R2_OK;
}

static r2_status place_added(hf_file *f, r2_error *err) {
    const json_t *list = json_object_get(f->file, "added_tokens");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *added = json_array_get(list, i);
        int32_t id;
        r2i_text_view text;
        const r2_status status = added_fields(added, i, &id, &text, err);
        if (status != R2_OK) return status;
        const r2i_text_view there = f->tokens[id];
        if (there.bytes != NULL &&
            (there.n_bytes != text.n_bytes || memcmp(there.bytes, text.bytes, text.n_bytes) != 0)) {
            return r2i_fail(err, R2_E_FORMAT,
                            LABEL ": added_tokens %zu: id %d has another text in vocab", i,
                            (int)id);
        }
        f->tokens[id] = text;
        f->types[id] =
            json_is_true(json_object_get(added, "special")) ? R2I_TOKEN_CONTROL : R2I_TOKEN_USER;
        if (json_is_true(json_object_get(added, "lstrip"))) f->strips[id] |= R2I_STRIP_LEFT;
        if (json_is_true(json_object_get(added, "rstrip"))) f->strips[id] |= R2I_STRIP_RIGHT;
    }
    return R2_OK;
}

static r2_status place_tokens(hf_file *f, bool has_byte_fallback, r2_error *err) {
    r2_status status = count_tokens(f, err);
    if (status != R2_OK) return status;
    f->tokens = R2I_ARENA_ARRAY(&f->scratch, r2i_text_view, f->n_tokens);
    f->types = R2I_ARENA_ARRAY(&f->scratch, int32_t, f->n_tokens);
    f->strips = R2I_ARENA_ARRAY(&f->scratch, uint8_t, f->n_tokens);
    if (f->tokens == NULL || f->types == NULL || f->strips == NULL) return fail_memory(err);
    status = place_entries(f, has_byte_fallback, err);
    if (status == R2_OK) status = place_added(f, err);
    for (size_t id = 0; status == R2_OK && id < f->n_tokens; id++) {
        if (f->tokens[id].bytes == NULL)
            status = r2i_fail(err, R2_E_FORMAT, LABEL ": vocab: id %zu is missing", id);
    }
    return status;
}

/* ---- special ids ---- */

static int32_t find_id(const hf_file *f, const char *text) {
    for (size_t id = f->n_tokens; text != NULL && id > 0; id--) {
        if (r2i_text_view_is(f->tokens[id - 1], text)) return (int32_t)id - 1;
    }
    return -1;
}

/* "bos_token" is a text or an object with a content; the first file that has it decides. */
static int32_t named_id(const hf_file *f, const r2i_tokenizer_files *files, const char *key) {
    const json_t *value = json_object_get(files->tokenizer_config, key);
    if (value == NULL || json_is_null(value))
        value = json_object_get(files->special_tokens_map, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    return find_id(f, json_string_value(value));
}

static bool adds_end(const r2i_tokenizer_files *files, const char *key, const hf_file *f,
                     const char *special, int32_t id) {
    const json_t *value = json_object_get(files->tokenizer_config, key);
    if (json_is_boolean(value)) return json_is_true(value);
    return special != NULL && id >= 0 && find_id(f, special) == id;
}

static void fill_vocabulary(r2i_vocabulary *v, const hf_file *f, const r2i_hf_pipeline *p,
                            const r2i_tokenizer_files *files) {
    r2i_vocabulary_init(v);
    v->model = p->is_bytes ? (r2i_text_view){ "gpt2", 4 } : (r2i_text_view){ "llama", 5 };
    v->tokens = (r2i_text_list){ .n = f->n_tokens, .views = f->tokens };
    v->merges = (r2i_text_list){ .n = f->merges.n, .views = f->merges.texts };
    v->merges_are_pairs = f->merges_are_pairs;
    v->types = f->types;
    v->space_prefix = p->space_prefix;
    v->bos_id = named_id(f, files, "bos_token");
    v->eos_id = named_id(f, files, "eos_token");
    v->unk_id = find_id(f, json_string_value(json_object_get(f->model, "unk_token")));
    v->pad_id = named_id(f, files, "pad_token");
    if (v->bos_id < 0) v->bos_id = find_id(f, p->first_special);
    v->eog_ids = files->eog_ids;
    v->n_eog_ids = files->n_eog_ids;
    v->add_bos = adds_end(files, "add_bos_token", f, p->first_special, v->bos_id);
    v->add_eos = adds_end(files, "add_eos_token", f, p->last_special, v->eos_id);
}

/* ---- the whole ---- */

static r2_status build(r2i_tokenizer **out, hf_file *f, const r2i_tokenizer_files *files,
                       r2i_heap *heap, r2_error *err) {
    r2i_hf_pipeline pipeline;
    r2i_vocabulary vocabulary;
    r2_status status = scan_file(f, err);
    if (status == R2_OK) status = r2i_hf_pipeline_read(&pipeline, f->file, f->model, err);
    if (status == R2_OK) status = place_tokens(f, pipeline.has_byte_fallback, err);
    if (status != R2_OK) return status;
    fill_vocabulary(&vocabulary, f, &pipeline, files);
    if (!pipeline.is_bytes && f->merges.n == 0)
        return r2i_fail(err, R2_E_FORMAT, LABEL ": merges: expected some");
    pipeline.options.strips = f->strips;
    status = r2i_tokenizer_build(out, &vocabulary, &pipeline.options, heap, err);
    if (status != R2_OK || (*out)->store.n_duplicates == 0) return status;
    r2i_tokenizer_destroy(*out);
    *out = NULL;
    return r2i_fail(err, R2_E_FORMAT, LABEL ": vocab: a token is there twice");
}

r2_status r2i_tokenizer_create_from_json(r2i_tokenizer **out, const r2i_tokenizer_files *files,
                                         r2i_heap *heap, r2_error *err) {
    *out = NULL;
    if (files->tokenizer_json.n_bytes > MAX_FILE_BYTES) {
        return r2i_fail(err, R2_E_LIMIT, LABEL ": expected at most %d bytes, found %zu",
                        MAX_FILE_BYTES, files->tokenizer_json.n_bytes);
    }
    hf_file f = { .file = json_object(), .model = json_object() };
    r2i_arena_init(&f.scratch, heap, SCRATCH_BLOCK_BYTES, 0);
    r2i_json_scan_init(&f.scan, files->tokenizer_json, &f.scratch);
    const r2_status status =
        f.file == NULL || f.model == NULL ? fail_memory(err) : build(out, &f, files, heap, err);
    json_decref(f.file);
    json_decref(f.model);
    r2i_arena_destroy(&f.scratch);
    return status;
}
