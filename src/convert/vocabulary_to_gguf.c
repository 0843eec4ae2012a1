/* vocabulary_to_gguf.c - tokenizer.json and its companions as values of a GGUF file. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "convert/vocabulary.h"
#include "files/json_read.h"
#include "model/model_vocabulary.h"
#include "text/pretokenizer_tables.h"
#include "text/tokenizer_parts.h"

#define KEY(name) "tokenizer.ggml." name

enum { MAX_MERGES = 1 << 23, PAD_TEXT_BYTES = 24 };

typedef struct {
    r2i_conversion *conversion;
    const r2i_tokenizer *tokenizer;
    const r2i_model_folder *folder;
    r2i_gguf_writer *writer;
    r2i_arena *arena;
    r2_error *err;
} vocabulary_output;

static r2_status fail_memory(const vocabulary_output *o) {
    return r2i_fail(o->err, R2_E_NOMEM, "no memory for a vocabulary");
}

static r2_status put_text(const vocabulary_output *o, const char *key, const char *text) {
    return r2i_gguf_writer_add_text(o->writer, key, text, strlen(text), o->err);
}

/* ---- the name of the patterns ---- */

static bool same_passes(const r2i_scheme *a, const r2i_scheme *b) {
    if (a->n_passes != b->n_passes || a->whole_piece != b->whole_piece) return false;
    for (int32_t i = 0; i < a->n_passes; i++) {
        if (a->passes[i] != b->passes[i]) return false;
    }
    return true;
}

/* Normal form C is not part of the name: the readers of such files leave it out anyway. */
static const char *scheme_name(const r2i_scheme *scheme) {
    for (size_t i = 0; i < r2i_n_scheme_rows; i++) {
        const r2i_scheme_row *row = &r2i_scheme_rows[i];
        if (strcmp(row->name, "default") != 0 && same_passes(&row->scheme, scheme))
            return row->name;
    }
    return NULL;
}

static r2_status put_model(const vocabulary_output *o) {
    const r2i_tokenizer *t = o->tokenizer;
    if (!t->is_bytes) {
        R2I_TRY(put_text(o, KEY("model"), "llama"));
        R2I_TRY(put_text(o, KEY("pre"), "default"));
        return r2i_gguf_writer_add_bool(o->writer, KEY("add_space_prefix"),
                                        t->space_prefix != R2I_PREFIX_NONE, o->err);
    }
    const char *name = scheme_name(&t->scheme);
    if (name == NULL) {
        return r2i_fail(o->err, R2_E_UNSUPPORTED,
                        "%s: tokenizer.json: pre_tokenizer: GGUF has no name for these patterns",
                        o->conversion->label);
    }
    R2I_TRY(put_text(o, KEY("model"), "gpt2"));
    return put_text(o, KEY("pre"), name);
}

/* ---- tokens ---- */

/* The embedding often has more rows than there are tokens; GGUF wants a text for each. */
static r2_status fill_tokens(const vocabulary_output *o, r2i_gguf_text *texts, int32_t *types,
                             int32_t n_rows) {
    const int32_t n_tokens = r2i_tokenizer_size(o->tokenizer);
    for (int32_t id = 0; id < n_tokens; id++) {
        const r2i_text_view text = r2i_tokenizer_text(o->tokenizer, id);
        texts[id] = (r2i_gguf_text){ text.bytes, text.n_bytes };
        types[id] = (int32_t)r2i_tokenizer_type(o->tokenizer, id);
    }
    if (n_tokens == n_rows) return R2_OK;
    char *pads = R2I_ARENA_ARRAY(o->arena, char, (size_t)(n_rows - n_tokens) * PAD_TEXT_BYTES);
    if (pads == NULL) return fail_memory(o);
    for (int32_t id = n_tokens; id < n_rows; id++, pads += PAD_TEXT_BYTES) {
        const int n = snprintf(pads, PAD_TEXT_BYTES, "[PAD%d]", id);
        texts[id] = (r2i_gguf_text){ pads, (size_t)n };
        types[id] = R2I_TOKEN_UNUSED;
    }
    return R2_OK;
}

static r2_status put_tokens(const vocabulary_output *o) {
    const int32_t n_rows = o->conversion->config.n_vocab,
                  n_tokens = r2i_tokenizer_size(o->tokenizer);
    if (n_tokens > n_rows) {
        return r2i_fail(o->err, R2_E_MISMATCH,
                        "%s: tokenizer.json: expected at most %d tokens, found %d",
                        o->conversion->label, n_rows, n_tokens);
    }
    r2i_gguf_text *texts = R2I_ARENA_ARRAY(o->arena, r2i_gguf_text, (size_t)n_rows);
    int32_t *types = R2I_ARENA_ARRAY(o->arena, int32_t, (size_t)n_rows);
    if (texts == NULL || types == NULL) return fail_memory(o);
    R2I_TRY(fill_tokens(o, texts, types, n_rows));
    R2I_TRY(r2i_gguf_writer_add_texts(o->writer, KEY("tokens"), texts, (size_t)n_rows, o->err));
    return r2i_gguf_writer_add_array(o->writer, KEY("token_type"), R2I_GGUF_I32, types,
                                     (size_t)n_rows, o->err);
}

/* ---- merges ---- */

/* "left right", or a pair of texts. */
static r2_status merge_text(const vocabulary_output *o, const json_t *merge, r2i_gguf_text *out) {
    const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
    if (json_is_string(merge)) {
        *out = (r2i_gguf_text){ json_string_value(merge), json_string_length(merge) };
        return R2_OK;
    }
    if (!json_is_string(left) || !json_is_string(right)) {
        return r2i_fail(o->err, R2_E_FORMAT, "%s: tokenizer.json: merges: expected pairs of texts",
                        o->conversion->label);
    }
    const size_t n = json_string_length(left), n_all = n + 1 + json_string_length(right);
    char *text = R2I_ARENA_ARRAY(o->arena, char, n_all);
    if (text == NULL) return fail_memory(o);
    memcpy(text, json_string_value(left), n);
    text[n] = ' ';
    memcpy(text + n + 1, json_string_value(right), json_string_length(right));
    *out = (r2i_gguf_text){ text, n_all };
    return R2_OK;
}

/* SentencePiece files rank tokens, not merges: a token's score is that of the first merge to it. */
static r2_status put_scores(const vocabulary_output *o, const r2i_gguf_text *merges, size_t n) {
    const size_t n_rows = (size_t)o->conversion->config.n_vocab;
    float *scores = R2I_ARENA_ARRAY(o->arena, float, n_rows);
    char *joined = R2I_ARENA_ARRAY(o->arena, char, 2 * R2I_MAX_TOKEN_BYTES);
    if (scores == NULL || joined == NULL) return fail_memory(o);
    for (size_t i = n; i > 0; i--) {
        const r2i_gguf_text *m = &merges[i - 1];
        const char *space = memchr(m->bytes, ' ', m->n_bytes);
        if (space == NULL || m->n_bytes > 2 * R2I_MAX_TOKEN_BYTES) continue;
        const size_t n_left = (size_t)(space - m->bytes);
        memcpy(joined, m->bytes, n_left);
        memcpy(joined + n_left, space + 1, m->n_bytes - n_left - 1);
        const int32_t id = r2i_tokenizer_find(o->tokenizer, joined, m->n_bytes - 1);
        if (id >= 0) scores[id] = -(float)i;
    }
    return r2i_gguf_writer_add_array(o->writer, KEY("scores"), R2I_GGUF_F32, scores, n_rows,
                                     o->err);
}

static r2_status put_merge_list(const vocabulary_output *o, const json_t *list) {
    const size_t n = json_array_size(list);
    if (n > MAX_MERGES)
        return r2i_fail(o->err, R2_E_LIMIT, "%s: tokenizer.json: merges: too many",
                        o->conversion->label);
    r2i_gguf_text *merges = R2I_ARENA_ARRAY(o->arena, r2i_gguf_text, n);
    if (merges == NULL) return fail_memory(o);
    for (size_t i = 0; i < n; i++)
        R2I_TRY(merge_text(o, json_array_get(list, i), &merges[i]));
    if (!o->tokenizer->is_bytes) return put_scores(o, merges, n);
    return r2i_gguf_writer_add_texts(o->writer, KEY("merges"), merges, n, o->err);
}

static r2_status put_merges(const vocabulary_output *o) {
    json_t *tree = NULL;
    const r2i_mapping *file = &o->folder->tokenizer;
    R2I_TRY(r2i_json_read(&tree, "tokenizer.json", file->bytes, file->n_bytes,
                          &r2i_json_tokenizer_limits, o->err));
    const json_t *model = json_object_get(tree, "model");
    const r2_status status = put_merge_list(o, json_object_get(model, "merges"));
    json_decref(tree);
    return status;
}

/* ---- special tokens ---- */

static r2_status put_id(const vocabulary_output *o, const char *key, int32_t id) {
    return id < 0 ? R2_OK : r2i_gguf_writer_add_integer(o->writer, key, R2I_GGUF_U32, id, o->err);
}

/* "pad_token" is a text or an object with a content; the first file that has it decides. */
static int32_t named_id(const vocabulary_output *o, const char *key) {
    const json_t *value = json_object_get(o->folder->tokenizer_config, key);
    if (value == NULL || json_is_null(value))
        value = json_object_get(o->folder->special_tokens_map, key);
    if (json_is_object(value)) value = json_object_get(value, "content");
    if (!json_is_string(value)) return -1;
    return r2i_tokenizer_find(o->tokenizer, json_string_value(value), json_string_length(value));
}

/* generation_config.json may name a second end beside the tokenizer's. */
static int32_t other_end(const vocabulary_output *o) {
    const json_t *ids = json_object_get(o->folder->generation_config, "eos_token_id");
    const int32_t n_tokens = r2i_tokenizer_size(o->tokenizer);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const json_int_t id = json_integer_value(json_array_get(ids, i));
        if (json_is_integer(json_array_get(ids, i)) && id >= 0 && id < n_tokens &&
            id != o->tokenizer->eos_id)
            return (int32_t)id;
    }
    return -1;
}

static r2_status put_special(const vocabulary_output *o) {
    const r2i_tokenizer *t = o->tokenizer;
    R2I_TRY(put_id(o, KEY("bos_token_id"), t->bos_id));
    R2I_TRY(put_id(o, KEY("eos_token_id"), t->eos_id));
    R2I_TRY(put_id(o, KEY("eot_token_id"), other_end(o)));
    R2I_TRY(
        put_id(o, KEY("unknown_token_id"), t->unk_id >= 0 ? t->unk_id : named_id(o, "unk_token")));
    R2I_TRY(put_id(o, KEY("padding_token_id"), named_id(o, "pad_token")));
    R2I_TRY(r2i_gguf_writer_add_bool(o->writer, KEY("add_bos_token"), t->add_bos, o->err));
    if (t->add_eos) {
        R2I_TRY(r2i_gguf_writer_add_bool(o->writer, KEY("add_eos_token"), true, o->err));
    }
    const r2i_text_view template = r2i_folder_template(o->folder);
    if (template.bytes == NULL || template.n_bytes == 0) return R2_OK;
    return r2i_gguf_writer_add_text(o->writer, "tokenizer.chat_template", template.bytes,
                                    template.n_bytes, o->err);
}

static r2_status put_all(const vocabulary_output *o) {
    R2I_TRY(put_model(o));
    R2I_TRY(put_tokens(o));
    R2I_TRY(put_merges(o));
    return put_special(o);
}

r2_status r2i_vocabulary_to_gguf(r2i_conversion *conversion, r2i_gguf_writer *writer,
                                 r2_error *err) {
    r2i_conversion *c = conversion;
    r2i_tokenizer *tokenizer = NULL;
    R2I_TRY(r2i_tokenizer_from_folder(&tokenizer, &c->folder, &c->heap, err));
    if (tokenizer == NULL) {
        r2i_conversion_note(c, "%s: no tokenizer.json; the file will have no vocabulary", c->label);
        return r2i_gguf_writer_add_text(writer, KEY("model"), "no_vocab", 8, err);
    }
    const vocabulary_output o = { c, tokenizer, &c->folder, writer, &c->arena, err };
    const r2_status status = put_all(&o);
    r2i_tokenizer_destroy(tokenizer);
    return status;
}
