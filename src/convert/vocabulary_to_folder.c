/* vocabulary_to_folder.c - tokenizer.json, tokenizer_config.json and chat_template.jinja from the
 * values of a GGUF file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failure.h"
#include "convert/vocabulary.h"
#include "model/model_vocabulary.h"
#include "text/pretokenizer_tables.h"
#include "text/tokenizer_parts.h"

typedef struct {
    r2i_conversion *conversion;
    const r2i_tokenizer *tokenizer;
    const char *folder;
    r2_error *err;
} folder_output;

static r2_status fail_memory(const folder_output *o) {
    return r2i_fail(o->err, R2_E_NOMEM, "tokenizer.json: no memory (or text that is no UTF-8)");
}

static json_t *text_of(const folder_output *o, int32_t id) {
    const r2i_text_view text = r2i_tokenizer_text(o->tokenizer, id);
    return id < 0 ? json_null() : json_stringn(text.bytes, text.n_bytes);
}

/* ---- the steps before and after merging ---- */

static json_t *make_split(r2i_pattern pattern) {
    return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex",
                     r2i_pattern_rows[pattern].published, "behavior", "Isolated", "invert", 0);
}

static json_t *make_byte_level(const char *type) {
    return json_pack("{s:s, s:b, s:b, s:b}", "type", type, "add_prefix_space", 0, "trim_offsets", 0,
                     "use_regex", 0);
}

static json_t *make_pre_tokenizer(const r2i_scheme *scheme) {
    json_t *steps = json_array();
    bool has_failed = steps == NULL;
    for (int32_t i = 0; i < scheme->n_passes; i++)
        has_failed |= json_array_append_new(steps, make_split(scheme->passes[i])) != 0;
    has_failed |= json_array_append_new(steps, make_byte_level("ByteLevel")) != 0;
    if (!has_failed) return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
    json_decref(steps);
    return NULL;
}

/* With a token that begins every text: [bos] A. */
static json_t *make_post_processor(const folder_output *o) {
    const r2i_tokenizer *t = o->tokenizer;
    if (!t->add_bos || t->bos_id < 0)
        return t->is_bytes ? make_byte_level("ByteLevel") : json_null();
    const r2i_text_view view = r2i_tokenizer_text(t, t->bos_id);
    json_t *bos = json_stringn(view.bytes, view.n_bytes);
    if (bos == NULL) return NULL;
    const char *text = json_string_value(bos);
    json_t *made = json_pack(
        "{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}, {s:{s:s, "
        "s:i}}, {s:{s:s, s:i}}], s:{s:{s:s, s:[i], s:[s]}}}",
        "type", "TemplateProcessing", "single", "SpecialToken", "id", text, "type_id", 0,
        "Sequence", "id", "A", "type_id", 0, "pair", "SpecialToken", "id", text, "type_id", 0,
        "Sequence", "id", "A", "type_id", 0, "SpecialToken", "id", text, "type_id", 1, "Sequence",
        "id", "B", "type_id", 1, "special_tokens", text, "id", text, "ids", (int)t->bos_id,
        "tokens", text);
    json_decref(bos);
    return made;
}

/* ---- tokens ---- */

static bool is_added(const r2i_tokenizer *t, int32_t id) {
    const r2i_token_type type = r2i_tokenizer_type(t, id);
    return type == R2I_TOKEN_CONTROL || type == R2I_TOKEN_USER || type == R2I_TOKEN_UNKNOWN;
}

/* Rows of the embedding that stand for nothing lie at the end and are left out. */
static int32_t count_real(const r2i_tokenizer *t) {
    int32_t n = r2i_tokenizer_size(t);
    while (n > 0 && r2i_tokenizer_type(t, n - 1) == R2I_TOKEN_UNUSED)
        n--;
    return n;
}

static json_t *make_added(const folder_output *o, int32_t n_tokens) {
    json_t *list = json_array();
    bool has_failed = list == NULL;
    for (int32_t id = 0; id < n_tokens; id++) {
        if (!is_added(o->tokenizer, id)) continue;
        const bool is_special = r2i_tokenizer_type(o->tokenizer, id) != R2I_TOKEN_USER;
        has_failed |=
            json_array_append_new(list, json_pack("{s:i, s:o, s:b, s:b, s:b, s:b, s:b}", "id",
                                                  (int)id, "content", text_of(o, id), "single_word",
                                                  0, "lstrip", 0, "rstrip", 0, "normalized", 0,
                                                  "special", (int)is_special)) != 0;
    }
    if (!has_failed) return list;
    json_decref(list);
    return NULL;
}

/* Added tokens behind the last ordinary one follow it by themselves; one before must be listed here
 * to keep its number. */
static json_t *make_vocabulary(const folder_output *o, int32_t n_tokens) {
    json_t *vocabulary = json_object();
    bool has_failed = vocabulary == NULL;
    while (n_tokens > 0 && is_added(o->tokenizer, n_tokens - 1))
        n_tokens--;
    for (int32_t id = 0; id < n_tokens; id++) {
        const r2i_text_view text = r2i_tokenizer_text(o->tokenizer, id);
        has_failed |=
            json_object_setn_new(vocabulary, text.bytes, text.n_bytes, json_integer(id)) != 0;
    }
    if (!has_failed) return vocabulary;
    json_decref(vocabulary);
    return NULL;
}

static json_t *make_merges(const folder_output *o) {
    const r2i_gguf_value *value = NULL;
    const uint8_t *at = NULL;
    r2i_gguf_text text;
    if (r2i_gguf_get_array(o->conversion->gguf, "tokenizer.ggml.merges", R2I_GGUF_TEXT, 0, SIZE_MAX,
                           &value, NULL) != R2_OK)
        return json_array();
    json_t *merges = json_array();
    bool has_failed = merges == NULL;
    while (r2i_gguf_next_text(value, &at, &text))
        has_failed |= json_array_append_new(merges, json_stringn(text.bytes, text.n_bytes)) != 0;
    if (!has_failed) return merges;
    json_decref(merges);
    return NULL;
}

/* ---- SentencePiece: a merge is any two tokens that make a third, the better ones first ---- */

typedef struct {
    float score;
    int32_t id;
} scored_token;

static int compare_scores(const void *a, const void *b) {
    const scored_token *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static bool begins_character(char c) {
    return ((unsigned char)c & 0xc0) != 0x80;
}

static bool add_splits(const folder_output *o, json_t *merges, int32_t id) {
    const r2i_text_view text = r2i_tokenizer_text(o->tokenizer, id);
    bool has_failed = false;
    for (size_t i = 1; i < text.n_bytes; i++) {
        if (!begins_character(text.bytes[i])) continue;
        if (r2i_tokenizer_find(o->tokenizer, text.bytes, i) < 0 ||
            r2i_tokenizer_find(o->tokenizer, text.bytes + i, text.n_bytes - i) < 0)
            continue;
        has_failed |=
            json_array_append_new(merges, json_pack("[s%, s%]", text.bytes, i, text.bytes + i,
                                                    text.n_bytes - i)) != 0;
    }
    return has_failed;
}

static json_t *make_scored_merges(const folder_output *o) {
    const size_t n = (size_t)r2i_tokenizer_size(o->tokenizer);
    const r2i_gguf_value *scores = NULL;
    if (r2i_gguf_get_array(o->conversion->gguf, "tokenizer.ggml.scores", R2I_GGUF_F32, n, n,
                           &scores, NULL) != R2_OK)
        return NULL;
    scored_token *order = R2I_ARENA_ARRAY(&o->conversion->arena, scored_token, n);
    json_t *merges = json_array();
    bool has_failed = order == NULL || merges == NULL;
    size_t n_words = 0;
    for (size_t i = 0; i < n && !has_failed; i++) {
        if (r2i_tokenizer_type(o->tokenizer, (int32_t)i) != R2I_TOKEN_NORMAL) continue;
        order[n_words++] = (scored_token){ (float)r2i_gguf_float_at(scores, i), (int32_t)i };
    }
    if (n_words > 1) qsort(order, n_words, sizeof *order, compare_scores);
    for (size_t i = 0; i < n_words && !has_failed; i++)
        has_failed = add_splits(o, merges, order[i].id);
    if (!has_failed) return merges;
    json_decref(merges);
    return NULL;
}

static json_t *make_marks(const folder_output *o) {
    json_t *replace = json_pack("{s:s, s:{s:s}, s:s}", "type", "Replace", "pattern", "String", " ",
                                "content", R2I_SPACE_MARK);
    if (o->tokenizer->space_prefix == R2I_PREFIX_NONE) return replace;
    return json_pack("{s:s, s:[{s:s, s:s}, o]}", "type", "Sequence", "normalizers", "type",
                     "Prepend", "prepend", R2I_SPACE_MARK, replace);
}

static json_t *make_mark_decoder(const folder_output *o) {
    json_t *steps =
        json_pack("[{s:s, s:{s:s}, s:s}, {s:s}, {s:s}]", "type", "Replace", "pattern", "String",
                  R2I_SPACE_MARK, "content", " ", "type", "ByteFallback", "type", "Fuse");
    if (steps != NULL && o->tokenizer->space_prefix != R2I_PREFIX_NONE)
        (void)json_array_append_new(steps, json_pack("{s:s, s:s, s:i, s:i}", "type", "Strip",
                                                     "content", " ", "start", 1, "stop", 0));
    return json_pack("{s:s, s:o}", "type", "Sequence", "decoders", steps);
}

static json_t *make_model(const folder_output *o, int32_t n_tokens) {
    if (!o->tokenizer->is_bytes) {
        return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE",
                         "dropout", "unk_token", text_of(o, o->tokenizer->unk_id),
                         "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 1,
                         "byte_fallback", 1, "ignore_merges", 0, "vocab",
                         make_vocabulary(o, n_tokens), "merges", make_scored_merges(o));
    }
    return json_pack("{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout",
                     "unk_token", "continuing_subword_prefix", "", "end_of_word_suffix", "",
                     "fuse_unk", 0, "byte_fallback", 0, "ignore_merges",
                     (int)o->tokenizer->scheme.whole_piece, "vocab", make_vocabulary(o, n_tokens),
                     "merges", make_merges(o));
}

static json_t *make_normalizer(const folder_output *o) {
    if (!o->tokenizer->is_bytes) return make_marks(o);
    return o->tokenizer->scheme.is_nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
}

static r2_status write_tokenizer(const folder_output *o, int32_t n_tokens) {
    const r2i_tokenizer *t = o->tokenizer;
    json_t *tree = json_pack("{s:s, s:n, s:n, s:o, s:o, s:o, s:o, s:o, s:o}", "version", "1.0",
                             "truncation", "padding", "added_tokens", make_added(o, n_tokens),
                             "normalizer", make_normalizer(o), "pre_tokenizer",
                             t->is_bytes ? make_pre_tokenizer(&t->scheme) : json_null(),
                             "post_processor", make_post_processor(o), "decoder",
                             t->is_bytes ? make_byte_level("ByteLevel") : make_mark_decoder(o),
                             "model", make_model(o, n_tokens));
    if (tree == NULL) return fail_memory(o);
    return r2i_write_json(o->conversion, o->folder, "tokenizer.json", tree, o->err);
}

/* ---- the files beside it ---- */

static int32_t gguf_id(const folder_output *o, const char *key) {
    int32_t id = -1;
    const r2_status status = r2i_gguf_try_i32(o->conversion->gguf, key, 0,
                                              r2i_tokenizer_size(o->tokenizer) - 1, &id, NULL);
    return status == R2_OK ? id : -1;
}

static json_t *make_decoder_list(const folder_output *o, int32_t n_tokens) {
    json_t *list = json_object();
    bool has_failed = list == NULL;
    for (int32_t id = 0; id < n_tokens; id++) {
        char key[16];
        if (!is_added(o->tokenizer, id)) continue;
        const bool is_special = r2i_tokenizer_type(o->tokenizer, id) != R2I_TOKEN_USER;
        (void)snprintf(key, sizeof key, "%d", id);
        has_failed |=
            json_object_set_new(list, key,
                                json_pack("{s:o, s:b, s:b, s:b, s:b, s:b}", "content",
                                          text_of(o, id), "lstrip", 0, "normalized", 0, "rstrip", 0,
                                          "single_word", 0, "special", (int)is_special)) != 0;
    }
    if (!has_failed) return list;
    json_decref(list);
    return NULL;
}

static r2_status write_tokenizer_config(const folder_output *o, int32_t n_tokens) {
    const r2i_tokenizer *t = o->tokenizer;
    json_t *tree = json_pack(
        "{s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:b, s:i, s:s}", "add_bos_token", (int)t->add_bos,
        "add_eos_token", (int)t->add_eos, "added_tokens_decoder", make_decoder_list(o, n_tokens),
        "bos_token", text_of(o, t->bos_id), "eos_token", text_of(o, t->eos_id), "pad_token",
        text_of(o, gguf_id(o, "tokenizer.ggml.padding_token_id")), "unk_token",
        text_of(o, t->unk_id), "clean_up_tokenization_spaces", 0, "model_max_length",
        (int)o->conversion->config.n_context, "tokenizer_class", "PreTrainedTokenizerFast");
    if (tree == NULL) return fail_memory(o);
    return r2i_write_json(o->conversion, o->folder, "tokenizer_config.json", tree, o->err);
}

static r2_status write_template(const folder_output *o) {
    r2i_gguf_text text = { NULL, 0 };
    R2I_TRY(r2i_gguf_try_text(o->conversion->gguf, "tokenizer.chat_template", &text, o->err));
    if (text.n_bytes == 0) return R2_OK;
    return r2i_write_text(o->conversion, o->folder, "chat_template.jinja", text.bytes, text.n_bytes,
                          o->err);
}

static r2_status write_all(const folder_output *o) {
    const r2i_tokenizer *t = o->tokenizer;
    const int32_t n_tokens = count_real(t);
    if (!t->is_bytes && r2i_gguf_find(o->conversion->gguf, "tokenizer.ggml.scores") == NULL) {
        return r2i_fail(o->err, R2_E_UNSUPPORTED,
                        "%s: tokenizer.ggml.scores: expected those of a SentencePiece vocabulary, "
                        "found none",
                        o->conversion->label);
    }
    R2I_TRY(write_tokenizer(o, n_tokens));
    R2I_TRY(write_tokenizer_config(o, n_tokens));
    return write_template(o);
}

r2_status r2i_vocabulary_to_folder(r2i_conversion *conversion, const char *folder, r2_error *err) {
    r2i_tokenizer *tokenizer = NULL;
    r2i_conversion *c = conversion;
    R2I_TRY(r2i_tokenizer_from_gguf(&tokenizer, c->gguf, &c->heap, err));
    if (tokenizer == NULL) {
        r2i_conversion_note(c, "%s: no vocabulary; the folder will have no tokenizer", c->label);
        return R2_OK;
    }
    const folder_output o = { c, tokenizer, folder, err };
    const r2_status status = write_all(&o);
    r2i_tokenizer_destroy(tokenizer);
    return status;
}
