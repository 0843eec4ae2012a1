/* tokenizer_train.c - from files of texts and chats to a folder with tokenizer.json.
 *
 * Documents are cut into pieces as the tokenizer will cut them, each different piece is counted once,
 * and the counts are all that learning looks at. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "files/atomic_folder.h"
#include "files/atomic_write.h"
#include "r2lm/train.h"
#include "text/tokenizer_write.h"
#include "train/data/document_read.h"

enum {
    PATH_BYTES = 4096,
    N_BYTES = 256,
    CAP_ADDED = 1024,
    CAP_NAME_BYTES = 64,
    CAP_TOKEN_BYTES = 256,
    FILE_BYTES = 1 << 28,
    DOCUMENTS_BETWEEN = 64
};

#define TOKENIZER_NAME "tokenizer.json"

/* The first one ends a text.  Those in bars are control tokens; the others mark parts of an answer. */
static const char *const usual_names[] = {
    "<|end|>",        "<|system|>",      "<|user|>",         "<|assistant|>",  "<|tool|>",
    "<think>",        "</think>",        "<answer>",         "</answer>",      "<tool_call>",
    "</tool_call>",   "<tool_response>", "</tool_response>", "<|fim_prefix|>", "<|fim_suffix|>",
    "<|fim_middle|>", "<|en|>",          "<|de|>",           "<|fr|>",         "<|es|>",
    "<|zh|>",
};
enum { N_USUAL = sizeof usual_names / sizeof *usual_names };

/* <|system|>...<|user|>...<|assistant|><think>...</think>...<|end|> */
static const char usual_template[] =
    "{%- for m in messages -%}{%- if m.role == 'assistant' -%}{{- '<|assistant|>' -}}"
    "{%- if m.reasoning_content -%}{{- '<think>' + m.reasoning_content + '</think>' -}}"
    "{%- endif -%}{{- m.content + '<|end|>' -}}{%- else -%}"
    "{{- '<|' + m.role + '|>' + m.content -}}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}";

typedef struct {
    const r2_tokenizer_options *options;
    r2i_heap heap;
    r2i_pretokenizer *pretokenizer;
    r2i_pretokenizer_state *state;
    r2i_text_index pieces;
    int64_t *counts; /* [pieces.n_texts] */
    size_t cap_counts;
    r2i_bpe bpe;
    r2i_buffer file;
    char (*reserved)[CAP_NAME_BYTES]; /* [CAP_ADDED] */
    const char *added[CAP_ADDED];
    int32_t n_added;
    bool is_start[256]; /* a name begins with this byte */
    r2_tokenizer_result result;
    int64_t n_bytes_before, n_bytes_all; /* of the inputs done; of all, 0: unknown */
} training;

/* ---- counting ---- */

static r2_status count_piece(void *context, const char *piece, size_t n_bytes, r2_error *err) {
    training *t = context;
    int32_t number;
    R2I_TRY(r2i_text_index_add(&t->pieces, piece, n_bytes, &number, err));
    const size_t n_known = t->cap_counts;
    if (!r2i_array_reserve(&t->heap, (void **)&t->counts, &t->cap_counts, (size_t)number + 1,
                           sizeof *t->counts))
        return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory to count the pieces");
    if (t->cap_counts > n_known)
        memset(t->counts + n_known, 0, (t->cap_counts - n_known) * sizeof *t->counts);
    t->counts[number]++;
    t->result.n_pieces++;
    return R2_OK;
}

static r2_status count_plain(training *t, const char *text, size_t n_bytes, r2_error *err) {
    if (n_bytes == 0) return R2_OK;
    return r2i_pretokenizer_cut(t->pretokenizer, t->state, text, n_bytes, count_piece, t, err);
}

/* Bytes of the added token that begins here; 0: none. */
static size_t added_here(const training *t, const char *text, size_t n_bytes) {
    size_t longest = 0;
    for (int32_t i = 0; i < t->n_added; i++) {
        if (n_bytes < 2 || t->added[i][1] != text[1]) continue;
        const size_t n = strlen(t->added[i]);
        if (n > longest && n <= n_bytes && memcmp(text, t->added[i], n) == 0) longest = n;
    }
    return longest;
}

/* Added tokens written in the text are tokens already: nothing is learned of them. */
static r2_status count_text(training *t, const char *text, size_t n_bytes, r2_error *err) {
    size_t begin = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (!t->is_start[(uint8_t)text[i]]) continue;
        const size_t n = added_here(t, text + i, n_bytes - i);
        if (n == 0) continue;
        R2I_TRY(count_plain(t, text + begin, i - begin, err));
        begin = i + n;
        i = begin - 1;
    }
    return count_plain(t, text + begin, n_bytes - begin, err);
}

/* What is said in a chat, thoughts included. */
static r2_status count_chat(training *t, const json_t *messages, r2_error *err) {
    static const char *const keys[] = { "reasoning_content", "content", "value" };
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            const json_t *text = json_object_get(message, keys[k]);
            if (!json_is_string(text)) continue;
            R2I_TRY(count_text(t, json_string_value(text), json_string_length(text), err));
        }
    }
    return R2_OK;
}

/* ---- reading ---- */

static bool goes_on(const training *t, const r2i_document_reader *r) {
    const r2_tokenizer_options *o = t->options;
    const int64_t n_done = t->n_bytes_before + r2i_document_counted(r).n_bytes;
    return o->progress == NULL || o->progress(o->host.user, false, n_done, t->n_bytes_all);
}

static r2_status read_documents(training *t, r2i_document_reader *r, r2_error *err) {
    for (int64_t i = 0;; i++) {
        r2i_document d;
        bool has;
        if (i % DOCUMENTS_BETWEEN == 0 && !goes_on(t, r))
            return r2i_fail(err, R2_E_CANCELED, "stopped");
        R2I_TRY(r2i_document_next(r, &d, &has, err));
        if (!has) return R2_OK;
        t->result.n_documents++;
        const r2_status status =
            d.text != NULL ? count_text(t, d.text, d.n_bytes, err) : count_chat(t, d.messages, err);
        if (status != R2_OK) return r2i_fail_at(err, status, d.place);
    }
}

static r2_status read_input(training *t, const char *path, r2_error *err) {
    r2i_document_reader *r;
    R2I_TRY(r2i_document_reader_open(&r, path, t->options->mark, &t->heap, err));
    const r2_status status = read_documents(t, r, err);
    const r2i_document_counts read = r2i_document_counted(r);
    t->result.n_files += read.n_files - read.n_passed_over;
    t->result.n_bytes += read.n_bytes;
    t->n_bytes_before += read.n_bytes;
    r2i_document_reader_close(r);
    return status;
}

static r2_status read_all(training *t, r2_error *err) {
    t->n_bytes_all = r2i_documents_bytes(t->options->inputs, t->options->n_inputs);
    for (int32_t i = 0; i < t->options->n_inputs; i++)
        R2I_TRY(read_input(t, t->options->inputs[i], err));
    if (t->pieces.n_texts > 0) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "tokenizer: expected text to learn from, found none");
}

/* ---- names of added tokens ---- */

static r2_status add_name(training *t, const char *name, r2_error *err) {
    const size_t n = strlen(name);
    bool is_good = n >= 2 && n < CAP_NAME_BYTES;
    for (size_t i = 0; i < n; i++)
        is_good &= name[i] > ' ' && name[i] < 0x7f && name[i] != '"' && name[i] != '\\';
    if (!is_good)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "special token: expected 2 to %d ASCII characters without blanks and "
                        "quotes, found \"%.80s\"",
                        CAP_NAME_BYTES - 1, name);
    for (int32_t i = 0; i < t->n_added; i++) {
        if (strcmp(t->added[i], name) == 0)
            return r2i_fail(err, R2_E_ARGUMENT, "special token %s: expected once, found twice",
                            name);
    }
    t->added[t->n_added++] = name;
    t->is_start[(uint8_t)name[0]] = true;
    return R2_OK;
}

static r2_status name_added(training *t, r2_error *err) {
    const r2_tokenizer_options *o = t->options;
    const char *const *names = o->n_names > 0 ? o->names : usual_names;
    const int32_t n_names = o->n_names > 0 ? o->n_names : N_USUAL;
    const int32_t n_all = o->n_reserved > n_names ? o->n_reserved : n_names;
    if (n_all > CAP_ADDED)
        return r2i_fail(err, R2_E_RANGE, "special tokens: expected at most %d, found %d", CAP_ADDED,
                        n_all);
    for (int32_t i = 0; i < n_names; i++)
        R2I_TRY(add_name(t, names[i], err));
    t->reserved = r2i_heap_take(&t->heap, CAP_ADDED * sizeof *t->reserved);
    if (t->reserved == NULL) return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory");
    for (int32_t i = 0; t->n_added < n_all; i++) {
        (void)snprintf(t->reserved[i], CAP_NAME_BYTES, "<|reserved_%d|>", i);
        R2I_TRY(add_name(t, t->reserved[i], err));
    }
    if (o->n_vocab >= t->n_added + N_BYTES && o->n_vocab <= R2I_MAX_TOKENS) return R2_OK;
    return r2i_fail(err, R2_E_RANGE,
                    "vocabulary: expected %d tokens (%d bytes and %d special ones) to %d, found %d",
                    t->n_added + N_BYTES, N_BYTES, t->n_added, R2I_MAX_TOKENS, o->n_vocab);
}

/* ---- learning and writing ---- */

static bool on_learning(void *user, int64_t n_done, int64_t n_all) {
    const r2_tokenizer_options *o = user;
    return o->progress == NULL || o->progress(o->host.user, true, n_done, n_all);
}

static r2_status learn(training *t, r2_error *err) {
    const r2_tokenizer_options *o = t->options;
    const r2i_bpe_options options = { .n_tokens = o->n_vocab - t->n_added,
                                      .min_count = o->min_count > 0 ? o->min_count : 2,
                                      .cap_token_bytes = CAP_TOKEN_BYTES,
                                      .progress = on_learning,
                                      .user = (void *)(uintptr_t)o };
    R2I_TRY(r2i_bpe_init(&t->bpe, &t->heap, err));
    R2I_TRY(r2i_bpe_learn(&t->bpe, &t->pieces, t->counts, &options, err));
    t->result.n_vocab = t->n_added + t->bpe.tokens.n_texts;
    t->result.n_merges = (int32_t)t->bpe.n_merges;
    t->result.n_different = t->pieces.n_texts;
    t->result.n_tokens = t->bpe.n_symbols;
    return R2_OK;
}

static r2_status write_file(training *t, const char *folder, const char *name, r2_error *err) {
    char path[PATH_BYTES];
    r2i_atomic_file *file;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    R2I_TRY(r2i_atomic_begin(&file, path, false, &t->heap, err));
    const r2_status status = r2i_atomic_write(file, t->file.bytes, t->file.n_bytes, err);
    r2i_buffer_clear(&t->file);
    if (status == R2_OK) return r2i_atomic_commit(file, err);
    r2i_atomic_abandon(file);
    return status;
}

/* What transformers wants beside tokenizer.json: the end of a text, and how chats are written. */
static r2_status append_config(training *t, r2_error *err) {
    R2I_TRY(r2i_buffer_append_format(
        &t->file, err,
        "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"eos_token\": \"%s\",\n"
        "  \"pad_token\": \"%s\",\n  \"clean_up_tokenization_spaces\": false",
        t->added[0], t->added[0]));
    if (t->options->n_names == 0)
        R2I_TRY(r2i_buffer_append_format(&t->file, err, ",\n  \"chat_template\": \"%s\"",
                                         usual_template));
    return r2i_buffer_append_text(&t->file, "\n}\n", err);
}

static r2_status write_all(training *t, const char *folder, r2_error *err) {
    const r2i_vocabulary_text text = { t->added, t->n_added, &t->bpe };
    R2I_TRY(r2i_tokenizer_json_append(&t->file, &text, err));
    R2I_TRY(write_file(t, folder, TOKENIZER_NAME, err));
    R2I_TRY(append_config(t, err));
    return write_file(t, folder, "tokenizer_config.json", err);
}

/* ---- all of it ---- */

static void set_up(training *t, const r2_tokenizer_options *o) {
    *t = (training){ .options = o };
    r2i_heap_init_host(&t->heap, &o->host);
    t->bpe.tokens.heap = &t->heap;
    r2i_text_index_init(&t->pieces, &t->heap);
    r2i_buffer_init(&t->file, &t->heap, FILE_BYTES);
}

static void take_down(training *t) {
    r2i_buffer_destroy(&t->file);
    r2i_bpe_destroy(&t->bpe);
    r2i_text_index_destroy(&t->pieces);
    r2i_heap_give(&t->heap, t->counts, t->cap_counts * sizeof *t->counts);
    r2i_heap_give(&t->heap, t->reserved, t->reserved != NULL ? CAP_ADDED * sizeof *t->reserved : 0);
    r2i_pretokenizer_state_destroy(t->state);
    r2i_pretokenizer_destroy(t->pretokenizer);
}

static r2_status run(training *t, const char *folder, r2_error *err) {
    const r2i_scheme scheme = r2i_written_scheme();
    R2I_TRY(r2i_pretokenizer_create(&t->pretokenizer, &scheme, &t->heap, err));
    R2I_TRY(r2i_pretokenizer_state_create(&t->state, &t->heap, err));
    R2I_TRY(read_all(t, err));
    R2I_TRY(learn(t, err));
    return write_all(t, folder, err);
}

r2_status r2_tokenizer_train(r2_tokenizer_result *result, const char *out,
                             const r2_tokenizer_options *options, r2_error *err) {
    training t;
    r2i_atomic_folder *folder = NULL;
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    *result = (r2_tokenizer_result){ 0 };
    if (options == NULL || options->n_inputs < 1)
        return r2i_fail(err, R2_E_ARGUMENT, "tokenizer: expected something to read, found nothing");
    set_up(&t, options);
    r2_status status = name_added(&t, err);
    if (status == R2_OK)
        status =
            r2i_atomic_folder_begin(&folder, out, options->is_forced, TOKENIZER_NAME, &t.heap, err);
    if (status == R2_OK) status = run(&t, r2i_atomic_folder_path(folder), err);
    *result = t.result;
    if (status == R2_OK)
        status = r2i_atomic_folder_commit(folder, err);
    else
        r2i_atomic_folder_abandon(folder);
    take_down(&t);
    return status;
}
