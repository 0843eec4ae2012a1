#include "text/tokenizer_write.h"

#include <string.h>

#include "base/failure.h"
#include "text/byte_letters.h"

typedef struct {
    r2i_buffer *out;
    r2i_byte_letters letters;
    const r2i_vocabulary_text *v;
} writing;

r2i_scheme r2i_written_scheme(void) {
    return (r2i_scheme){ { R2I_PATTERN_DIGIT, R2I_PATTERN_GPT2 }, 2, false, false };
}

static r2_status put(const writing *w, const char *text, r2_error *err) {
    return r2i_buffer_append_text(w->out, text, err);
}

/* A token's letters inside a JSON string: all are printable, two need a backslash. */
static r2_status put_letters(const writing *w, int32_t token, r2_error *err) {
    const r2i_text_view text = r2i_text_index_get(&w->v->bpe->tokens, token);
    for (size_t i = 0; i < text.n_bytes; i++) {
        const uint8_t byte = (uint8_t)text.bytes[i];
        if (byte == '"' || byte == '\\') R2I_TRY(put(w, "\\", err));
        R2I_TRY(r2i_buffer_append(w->out, w->letters.letter[byte], w->letters.n_bytes[byte], err));
    }
    return R2_OK;
}

static r2_status put_added(const writing *w, r2_error *err) {
    const r2i_vocabulary_text *v = w->v;
    R2I_TRY(put(w, "  \"added_tokens\": [", err));
    for (int32_t i = 0; i < v->n_added; i++) {
        R2I_TRY(r2i_buffer_append_format(
            w->out, err,
            "%s\n    {\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, "
            "\"rstrip\": false, \"normalized\": false, \"special\": %s}",
            i > 0 ? "," : "", i, v->added[i],
            strncmp(v->added[i], "<|", 2) == 0 ? "true" : "false"));
    }
    return put(w, "\n  ],\n", err);
}

static r2_status put_vocabulary(const writing *w, r2_error *err) {
    const r2i_vocabulary_text *v = w->v;
    R2I_TRY(put(w, "    \"vocab\": {", err));
    for (int32_t i = 0; i < v->n_added; i++)
        R2I_TRY(r2i_buffer_append_format(w->out, err, "%s\n      \"%s\": %d", i > 0 ? "," : "",
                                         v->added[i], i));
    for (int32_t t = 0; t < v->bpe->tokens.n_texts; t++) {
        R2I_TRY(put(w, v->n_added + t > 0 ? ",\n      \"" : "\n      \"", err));
        R2I_TRY(put_letters(w, t, err));
        R2I_TRY(r2i_buffer_append_format(w->out, err, "\": %d", v->n_added + t));
    }
    return put(w, "\n    },\n", err);
}

/* "left right", which every version of the reader knows: letters hold no blank. */
static r2_status put_merges(const writing *w, r2_error *err) {
    R2I_TRY(put(w, "    \"merges\": [", err));
    for (size_t m = 0; m < w->v->bpe->n_merges; m++) {
        R2I_TRY(put(w, m > 0 ? ",\n      \"" : "\n      \"", err));
        R2I_TRY(put_letters(w, w->v->bpe->merges[m].left, err));
        R2I_TRY(put(w, " ", err));
        R2I_TRY(put_letters(w, w->v->bpe->merges[m].right, err));
        R2I_TRY(put(w, "\"", err));
    }
    return put(w, "\n    ]\n", err);
}

r2_status r2i_tokenizer_json_append(r2i_buffer *out, const r2i_vocabulary_text *v, r2_error *err) {
    writing w = { .out = out, .v = v };
    r2i_byte_letters_init(&w.letters);
    R2I_TRY(put(&w, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n",
                err));
    R2I_TRY(put_added(&w, err));
    R2I_TRY(
        put(&w,
            "  \"normalizer\": null,\n"
            "  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n"
            "    {\"type\": \"Digits\", \"individual_digits\": true},\n"
            "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
            "\"use_regex\": true}\n  ]},\n"
            "  \"post_processor\": null,\n"
            "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
            "\"trim_offsets\": true, \"use_regex\": true},\n"
            "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n"
            "    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n"
            "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
            "    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n",
            err));
    R2I_TRY(put_vocabulary(&w, err));
    R2I_TRY(put_merges(&w, err));
    return put(&w, "  }\n}\n", err);
}
