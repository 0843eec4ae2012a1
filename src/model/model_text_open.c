/* model_text_open.c - tokenizer and chat template of a model file. */
#include <limits.h>
#include <string.h>

#include "base/failure.h"
#include "model/model.h"
#include "model/model_vocabulary.h"

enum { MAX_TOKENS = 1 << 22, MAX_EOG_IDS = 64 };

/* ---- from GGUF ---- */

static r2i_text_view view_of(r2i_gguf_text text) {
    return (r2i_text_view){ text.bytes, text.n_bytes };
}

static r2_status get_list(const r2i_gguf *gguf, const char *key, bool must_exist,
                          r2i_text_list *out, r2_error *err) {
    const r2i_gguf_value *value = NULL;
    if (!must_exist && r2i_gguf_find(gguf, key) == NULL) return R2_OK;
    R2I_TRY(
        r2i_gguf_get_array(gguf, key, R2I_GGUF_TEXT, must_exist ? 1 : 0, MAX_TOKENS, &value, err));
    *out = (r2i_text_list){ .n = value->n_elements,
                            .packed = value->bytes,
                            .n_packed_bytes = value->n_bytes };
    return R2_OK;
}

/* An array with one element of a fixed type per token, or NULL when absent. */
static r2_status get_column(const r2i_gguf *gguf, const char *key, r2i_gguf_type element,
                            r2i_gguf_type stored, size_t n_tokens, const void **out,
                            r2_error *err) {
    const r2i_gguf_value *value = NULL;
    if (r2i_gguf_find(gguf, key) == NULL) return R2_OK;
    R2I_TRY(r2i_gguf_get_array(gguf, key, element, n_tokens, n_tokens, &value, err));
    if (value->element_type != stored) {
        return r2i_fail(err, R2_E_FORMAT, "%s: %s: expected elements of type %s, found %s",
                        r2i_gguf_label(gguf), key, r2i_gguf_type_name(stored),
                        r2i_gguf_type_name(value->element_type));
    }
    *out = value->bytes;
    return R2_OK;
}

static r2_status get_ids(const r2i_gguf *gguf, r2i_vocabulary *v, r2_error *err) {
    const int32_t last = (int32_t)v->tokens.n - 1;
    R2I_TRY(r2i_gguf_try_i32(gguf, "tokenizer.ggml.bos_token_id", 0, last, &v->bos_id, err));
    R2I_TRY(r2i_gguf_try_i32(gguf, "tokenizer.ggml.eos_token_id", 0, last, &v->eos_id, err));
    R2I_TRY(r2i_gguf_try_i32(gguf, "tokenizer.ggml.eot_token_id", 0, last, &v->eot_id, err));
    R2I_TRY(
        r2i_gguf_try_i32(gguf, "tokenizer.ggml.fim_pre_token_id", 0, last, &v->fim_ids[0], err));
    R2I_TRY(
        r2i_gguf_try_i32(gguf, "tokenizer.ggml.fim_suf_token_id", 0, last, &v->fim_ids[1], err));
    R2I_TRY(
        r2i_gguf_try_i32(gguf, "tokenizer.ggml.fim_mid_token_id", 0, last, &v->fim_ids[2], err));
    R2I_TRY(r2i_gguf_try_i32(gguf, "tokenizer.ggml.unknown_token_id", 0, last, &v->unk_id, err));
    return r2i_gguf_try_i32(gguf, "tokenizer.ggml.padding_token_id", 0, last, &v->pad_id, err);
}

/* What llama.cpp assumes of files that do not say add_bos_token: true for the vocabularies of Llama. */
static bool has_usual_bos(const r2i_vocabulary *v) {
    static const char *const llama3[] = { "llama-bpe", "llama3", "llama-v3" };
    bool is_llama = r2i_text_view_is(v->model, "llama");
    for (size_t i = 0; i < sizeof llama3 / sizeof *llama3; i++)
        is_llama |= r2i_text_view_is(v->pre, llama3[i]);
    return is_llama;
}

static r2_status fill_vocabulary(const r2i_gguf *gguf, r2i_vocabulary *v, r2_error *err) {
    r2i_gguf_text model, pre = { "", 0 };
    bool has_space_prefix = true;
    r2i_vocabulary_init(v);
    R2I_TRY(r2i_gguf_get_text(gguf, "tokenizer.ggml.model", &model, err));
    R2I_TRY(r2i_gguf_try_text(gguf, "tokenizer.ggml.pre", &pre, err));
    v->model = view_of(model);
    v->pre = view_of(pre);
    R2I_TRY(get_list(gguf, "tokenizer.ggml.tokens", true, &v->tokens, err));
    R2I_TRY(get_list(gguf, "tokenizer.ggml.merges", false, &v->merges, err));
    R2I_TRY(get_column(gguf, "tokenizer.ggml.token_type", R2I_GGUF_I64, R2I_GGUF_I32, v->tokens.n,
                       &v->types, err));
    R2I_TRY(get_column(gguf, "tokenizer.ggml.scores", R2I_GGUF_F32, R2I_GGUF_F32, v->tokens.n,
                       &v->scores, err));
    R2I_TRY(get_ids(gguf, v, err));
    v->add_bos = has_usual_bos(v);
    R2I_TRY(r2i_gguf_try_bool(gguf, "tokenizer.ggml.add_bos_token", &v->add_bos, err));
    R2I_TRY(r2i_gguf_try_bool(gguf, "tokenizer.ggml.add_eos_token", &v->add_eos, err));
    R2I_TRY(r2i_gguf_try_bool(gguf, "tokenizer.ggml.add_space_prefix", &has_space_prefix, err));
    if (!has_space_prefix) v->space_prefix = R2I_PREFIX_NONE;
    return R2_OK;
}

r2_status r2i_tokenizer_from_gguf(r2i_tokenizer **out, const r2i_gguf *gguf, r2i_heap *heap,
                                  r2_error *err) {
    r2i_vocabulary vocabulary;
    *out = NULL;
    if (r2i_gguf_find(gguf, "tokenizer.ggml.tokens") == NULL) return R2_OK;
    R2I_TRY(fill_vocabulary(gguf, &vocabulary, err));
    const r2_status status = r2i_tokenizer_create(out, &vocabulary, heap, err);
    return status == R2_OK ? R2_OK : r2i_fail_at(err, status, r2i_gguf_label(gguf));
}

/* ---- from a Hugging Face folder ---- */

/* generation_config.json gives one id or a list. */
static size_t read_eog_ids(const json_t *config, int32_t ids[MAX_EOG_IDS]) {
    const json_t *value = json_object_get(config, "eos_token_id");
    size_t n = 0;
    if (json_is_integer(value)) ids[n++] = (int32_t)json_integer_value(value);
    for (size_t i = 0; i < json_array_size(value) && n < MAX_EOG_IDS; i++) {
        const json_t *item = json_array_get(value, i);
        if (json_is_integer(item)) ids[n++] = (int32_t)json_integer_value(item);
    }
    size_t n_valid = 0;
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= 0 && ids[i] < MAX_TOKENS) ids[n_valid++] = ids[i];
    }
    return n_valid;
}

static r2i_text_view view_of_text(const char *text) {
    return (r2i_text_view){ text, text != NULL ? strlen(text) : 0 };
}

r2_status r2i_tokenizer_from_folder(r2i_tokenizer **out, const r2i_model_folder *folder,
                                    r2i_heap *heap, r2_error *err) {
    int32_t eog_ids[MAX_EOG_IDS];
    *out = NULL;
    if (folder->tokenizer.bytes == NULL) return R2_OK;
    const json_t *generation =
        folder->generation_config != NULL ? folder->generation_config : folder->config;
    const r2i_tokenizer_files files = {
        .tokenizer_json = { (const char *)folder->tokenizer.bytes, folder->tokenizer.n_bytes },
        .tokenizer_config = folder->tokenizer_config,
        .special_tokens_map = folder->special_tokens_map,
        .eog_ids = eog_ids,
        .n_eog_ids = read_eog_ids(generation, eog_ids),
    };
    return r2i_tokenizer_create_from_json(out, &files, heap, err);
}

/* ---- chat template ---- */

/* A text, or a list of { name, template } of which "default" counts. */
static const char *template_in_config(const json_t *config) {
    const json_t *value = json_object_get(config, "chat_template");
    if (json_is_string(value)) return json_string_value(value);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(item, "template"));
    }
    return NULL;
}

r2i_text_view r2i_folder_template(const r2i_model_folder *folder) {
    const r2i_mapping *file = &folder->chat_template;
    if (file->bytes != NULL) return (r2i_text_view){ (const char *)file->bytes, file->n_bytes };
    return view_of_text(template_in_config(folder->tokenizer_config));
}

static r2_status find_template(const r2_model *model, r2i_text_view *out, r2_error *err) {
    *out = (r2i_text_view){ NULL, 0 };
    if (model->gguf != NULL) {
        r2i_gguf_text text = { NULL, 0 };
        R2I_TRY(r2i_gguf_try_text(model->gguf, "tokenizer.chat_template", &text, err));
        *out = view_of(text);
    } else {
        *out = r2i_folder_template(&model->folder);
    }
    return R2_OK;
}

/* A template that we cannot read does not keep anyone from using the model without it. */
static r2_status open_template(r2_model *model, r2_error *err) {
    r2i_text_view source;
    r2_error why;
    R2I_TRY(find_template(model, &source, err));
    r2i_tool_syntax_find(&model->tool_syntax, source.bytes, source.n_bytes, model->tokenizer);
    if (source.bytes == NULL || source.n_bytes == 0) return R2_OK;
    const r2_status status = r2i_chat_template_create(&model->chat_template, source.bytes,
                                                      source.n_bytes, &model->heap, &why);
    if (status == R2_E_NOMEM) return r2i_fail(err, status, "%s", why.text);
    if (status != R2_OK)
        r2i_model_log(model, "the model's chat template cannot be used: %s", why.text);
    model->template_traits = r2i_chat_template_get_traits(source.bytes, source.n_bytes);
    return R2_OK;
}

r2_status r2i_model_open_text(r2_model *model, r2_error *err) {
    model->think_open = model->think_close = -1;
    R2I_TRY(model->gguf != NULL
                ? r2i_tokenizer_from_gguf(&model->tokenizer, model->gguf, &model->heap, err)
                : r2i_tokenizer_from_folder(&model->tokenizer, &model->folder, &model->heap, err));
    if (model->tokenizer == NULL) return R2_OK;
    const int32_t n_tokens = r2i_tokenizer_size(model->tokenizer);
    if (model->is_text_only) model->config.n_vocab = n_tokens;
    const int32_t n_rows = model->config.n_vocab;
    if (n_tokens > n_rows || (model->gguf != NULL && n_tokens != n_rows)) {
        return r2i_fail(err, R2_E_MISMATCH,
                        "tokenizer: expected %d tokens as the embedding has rows, found %d", n_rows,
                        n_tokens);
    }
    model->think_open = r2i_tokenizer_find_added(model->tokenizer, "<think>");
    model->think_close = r2i_tokenizer_find_added(model->tokenizer, "</think>");
    if (model->think_open < 0 || model->think_close < 0)
        model->think_open = model->think_close = -1;
    return open_template(model, err);
}

void r2i_model_close_text(r2_model *model) {
    r2i_encoder_destroy(model->encoder);
    r2i_token_forest_destroy(model->forest);
    r2i_chat_template_destroy(model->chat_template);
    r2i_tokenizer_destroy(model->tokenizer);
}
