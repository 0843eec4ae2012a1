#include "text/hf_pipeline.h"

#include <string.h>

#include "base/failure.h"
#include "text/pretokenizer_tables.h"

enum { MAX_NESTING = 8 };

/* What the components said so far. */
typedef struct {
    r2i_hf_pipeline *out;
    bool replaces_spaces, prepends_mark, has_metaspace;
} reading;

typedef r2_status (*read_component)(reading *r, const json_t *component, r2_error *err);
typedef struct {
    const char *type;
    read_component read; /* NULL: nothing to know about it */
} component_row;

/* ---- small readers ---- */

static bool is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool flag(const json_t *object, const char *key, bool missing) {
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : missing;
}

static r2_status fail_component(r2_error *err, const char *kind, const char *what) {
    return r2i_fail(err, R2_E_UNSUPPORTED, "tokenizer.json: %s: '%.100s' is not supported", kind,
                    what);
}

/* Calls the reader of a component, or of each component of a Sequence in order. */
static r2_status read_tree(reading *r, const json_t *component, const char *kind,
                           const char *list_key, const component_row *rows, int depth,
                           r2_error *err) {
    if (component == NULL || json_is_null(component)) return R2_OK;
    const json_t *type = json_object_get(component, "type");
    if (!json_is_string(type))
        return r2i_fail(err, R2_E_FORMAT, "tokenizer.json: %s: expected an object with a type",
                        kind);
    if (is_text(type, "Sequence") && depth < MAX_NESTING) {
        const json_t *list = json_object_get(component, list_key);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const r2_status status =
                read_tree(r, json_array_get(list, i), kind, list_key, rows, depth + 1, err);
            if (status != R2_OK) return status;
        }
        return R2_OK;
    }
    for (; rows->type != NULL; rows++) {
        if (is_text(type, rows->type))
            return rows->read == NULL ? R2_OK : rows->read(r, component, err);
    }
    return fail_component(err, kind, json_string_value(type));
}

/* ---- normalizers ---- */

static r2_status read_nfc(reading *r, const json_t *component, r2_error *err) {
    (void)component, (void)err;
    r->out->options.scheme.is_nfc = true;
    return R2_OK;
}

static r2_status read_prepend(reading *r, const json_t *component, r2_error *err) {
    if (!is_text(json_object_get(component, "prepend"), R2I_SPACE_MARK))
        return fail_component(err, "normalizer", "Prepend");
    r->prepends_mark = true;
    return R2_OK;
}

static r2_status read_replace(reading *r, const json_t *component, r2_error *err) {
    const json_t *pattern = json_object_get(json_object_get(component, "pattern"), "String");
    if (!is_text(pattern, " ") || !is_text(json_object_get(component, "content"), R2I_SPACE_MARK)) {
        return fail_component(err, "normalizer", "Replace");
    }
    r->replaces_spaces = true;
    return R2_OK;
}

static const component_row NORMALIZERS[] = {
    { "NFC", read_nfc },
    { "Prepend", read_prepend },
    { "Replace", read_replace },
    { NULL, NULL },
};

/* ---- pre-tokenizers ---- */

static r2_status add_pass(reading *r, r2i_pattern pattern, r2_error *err) {
    r2i_scheme *scheme = &r->out->options.scheme;
    if (scheme->n_passes == R2I_MAX_PASSES) {
        return r2i_fail(err, R2_E_LIMIT,
                        "tokenizer.json: pre_tokenizer: expected at most %d patterns",
                        R2I_MAX_PASSES);
    }
    scheme->passes[scheme->n_passes++] = pattern;
    return R2_OK;
}

static r2_status read_split(reading *r, const json_t *component, r2_error *err) {
    const json_t *regex = json_object_get(json_object_get(component, "pattern"), "Regex");
    const json_t *behavior = json_object_get(component, "behavior");
    if (!json_is_string(regex)) return fail_component(err, "pre_tokenizer", "Split by a string");
    const r2i_text_view text = { json_string_value(regex), json_string_length(regex) };
    const int pattern = r2i_pattern_find(text);
    if (pattern < 0) return fail_component(err, "pre_tokenizer: pattern", text.bytes);
    const bool is_inverted = flag(component, "invert", false);
    /* A pattern that covers every text leaves nothing between its matches to be removed. */
    const bool keeps_matches =
        is_text(behavior, "Removed") && is_inverted && r2i_pattern_rows[pattern].covers_all;
    if (!keeps_matches && (!is_text(behavior, "Isolated") || is_inverted)) {
        return fail_component(err, "pre_tokenizer", "Split with this behavior");
    }
    return add_pass(r, (r2i_pattern)pattern, err);
}

static r2_status read_digits(reading *r, const json_t *component, r2_error *err) {
    return add_pass(
        r, flag(component, "individual_digits", false) ? R2I_PATTERN_DIGIT : R2I_PATTERN_DIGITS,
        err);
}

static r2_status read_byte_level(reading *r, const json_t *component, r2_error *err) {
    if (flag(component, "add_prefix_space", true)) {
        return fail_component(err, "pre_tokenizer", "ByteLevel with add_prefix_space");
    }
    r->out->is_bytes = true;
    return flag(component, "use_regex", true) ? add_pass(r, R2I_PATTERN_GPT2, err) : R2_OK;
}

static r2_status read_metaspace(reading *r, const json_t *component, r2_error *err) {
    const json_t *scheme = json_object_get(component, "prepend_scheme");
    if (!is_text(json_object_get(component, "replacement"), R2I_SPACE_MARK)) {
        return fail_component(err, "pre_tokenizer", "Metaspace with another mark");
    }
    r->has_metaspace = true;
    r->out->options.keep_single_space = true;
    r->out->space_prefix = R2I_PREFIX_EVERY;
    if (is_text(scheme, "first")) r->out->space_prefix = R2I_PREFIX_FIRST;
    if (is_text(scheme, "never") || !flag(component, "add_prefix_space", true))
        r->out->space_prefix = R2I_PREFIX_NONE;
    return R2_OK;
}

static const component_row PRE_TOKENIZERS[] = {
    { "Split", read_split },
    { "Digits", read_digits },
    { "ByteLevel", read_byte_level },
    { "Metaspace", read_metaspace },
    { NULL, NULL },
};

/* ---- decoders and post-processors ---- */

static const component_row DECODERS[] = {
    { "ByteLevel", NULL }, { "Metaspace", NULL }, { "Replace", NULL }, { "ByteFallback", NULL },
    { "Fuse", NULL },      { "Strip", NULL },     { NULL, NULL },
};

/* single: [ {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, ... ] */
static r2_status read_template(reading *r, const json_t *component, r2_error *err) {
    (void)err;
    const json_t *single = json_object_get(component, "single");
    const size_t n = json_array_size(single);
    if (n == 0) return R2_OK;
    const json_t *first = json_object_get(json_array_get(single, 0), "SpecialToken");
    const json_t *last = json_object_get(json_array_get(single, n - 1), "SpecialToken");
    r->out->first_special = json_string_value(json_object_get(first, "id"));
    r->out->last_special = json_string_value(json_object_get(last, "id"));
    return R2_OK;
}

static const component_row POST_PROCESSORS[] = {
    { "ByteLevel", NULL },
    { "TemplateProcessing", read_template },
    { NULL, NULL },
};

/* ---- the model and the whole ---- */

static bool is_empty_text(const json_t *value) {
    return value == NULL || json_is_null(value) || is_text(value, "");
}

static r2_status read_model(r2i_hf_pipeline *out, const json_t *model, r2_error *err) {
    const json_t *type = json_object_get(model, "type"),
                 *dropout = json_object_get(model, "dropout");
    if (type != NULL && !is_text(type, "BPE")) {
        return fail_component(err, "model",
                              json_is_string(type) ? json_string_value(type) : "type");
    }
    if (dropout != NULL && !json_is_null(dropout) && json_number_value(dropout) != 0.0)
        return fail_component(err, "model", "dropout");
    if (!is_empty_text(json_object_get(model, "continuing_subword_prefix"))) {
        return fail_component(err, "model", "continuing_subword_prefix");
    }
    if (!is_empty_text(json_object_get(model, "end_of_word_suffix")))
        return fail_component(err, "model", "end_of_word_suffix");
    out->has_byte_fallback = flag(model, "byte_fallback", false);
    out->options.split_unknown = !flag(model, "fuse_unk", false);
    out->options.scheme.whole_piece = flag(model, "ignore_merges", false);
    return R2_OK;
}

static r2_status settle_spaces(const reading *r, r2_error *err) {
    r2i_hf_pipeline *out = r->out;
    if (out->is_bytes) {
        if (!r->replaces_spaces && !r->prepends_mark && !r->has_metaspace) return R2_OK;
        return fail_component(err, "pre_tokenizer", "ByteLevel together with space marks");
    }
    if (!r->replaces_spaces && !r->has_metaspace) {
        return r2i_fail(
            err, R2_E_UNSUPPORTED,
            "tokenizer.json: pre_tokenizer: expected ByteLevel or space marks, found neither");
    }
    if (out->options.scheme.is_nfc || out->options.scheme.n_passes > 0) {
        return fail_component(err, "normalizer", "space marks together with NFC or patterns");
    }
    if (!r->has_metaspace)
        out->space_prefix = r->prepends_mark ? R2I_PREFIX_EVERY : R2I_PREFIX_NONE;
    return R2_OK;
}

r2_status r2i_hf_pipeline_read(r2i_hf_pipeline *out, const json_t *file, const json_t *model,
                               r2_error *err) {
    *out = (r2i_hf_pipeline){ .options = { .has_scheme = true }, .space_prefix = R2I_PREFIX_NONE };
    reading r = { .out = out };
    const struct {
        const char *key, *list_key;
        const component_row *rows;
    } parts[] = { { "normalizer", "normalizers", NORMALIZERS },
                  { "pre_tokenizer", "pretokenizers", PRE_TOKENIZERS },
                  { "decoder", "decoders", DECODERS },
                  { "post_processor", "processors", POST_PROCESSORS } };
    r2_status status = read_model(out, model, err);
    for (size_t i = 0; status == R2_OK && i < sizeof parts / sizeof *parts; i++) {
        status = read_tree(&r, json_object_get(file, parts[i].key), parts[i].key, parts[i].list_key,
                           parts[i].rows, 0, err);
    }
    return status == R2_OK ? settle_spaces(&r, err) : status;
}
