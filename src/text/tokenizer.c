#include "text/tokenizer.h"

#include <string.h>

#include "base/failure.h"
#include "text/tokenizer_parts.h"
#include "text/utf8_scan.h"

enum { ARENA_BLOCK_BYTES = 64 << 10 };

/* Ends of generation that chat models use beside eos_token_id. */
static const char *const END_TEXTS[] = {
    "<|im_end|>",      "<|endoftext|>",
    "<|eot_id|>",      "<|eom_id|>",
    "<|end_of_text|>", "<|end|>",
    "<end_of_turn>",   "<\xef\xbd\x9c\x65nd\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "<|eot|>",         "</s>",
    "<|fim_pad|>",     "<|file_sep|>", /* a filled gap ends so */
    "<|repo_name|>",
};

void r2i_vocabulary_init(r2i_vocabulary *vocabulary) {
    *vocabulary = (r2i_vocabulary){ .bos_id = -1,
                                    .eos_id = -1,
                                    .eot_id = -1,
                                    .unk_id = -1,
                                    .pad_id = -1,
                                    .fim_ids = { -1, -1, -1 },
                                    .space_prefix = R2I_PREFIX_EVERY };
}

/* ---- building ---- */

int32_t r2i_byte_token_value(r2i_text_view text) {
    int32_t value = 0;
    if (text.n_bytes != 6 || memcmp(text.bytes, "<0x", 3) != 0 || text.bytes[5] != '>') return -1;
    for (int i = 3; i < 5; i++) {
        const char c = text.bytes[i];
        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + (c - 'A' + 10);
        else
            return -1;
    }
    return value;
}

static void find_letter_bytes(r2i_tokenizer *t) {
    for (int32_t byte = 0; byte < 256; byte++) {
        const int32_t id =
            r2i_token_store_find(&t->store, t->letters.letter[byte], t->letters.n_bytes[byte]);
        if (id >= 0 && t->store.types[id] != R2I_TOKEN_CONTROL) t->byte_ids[byte] = id;
    }
}

static r2_status find_byte_tokens(r2i_tokenizer *t, r2_error *err) {
    for (int32_t id = 0; id < t->store.n_tokens; id++) {
        if (t->store.types[id] != R2I_TOKEN_BYTE) continue;
        const r2i_text_view text = r2i_token_store_text(&t->store, id);
        const int32_t value = r2i_byte_token_value(text);
        if (value < 0) {
            return r2i_fail(err, R2_E_FORMAT,
                            "tokenizer: byte token %d: expected <0xHH>, found '%.*s'", (int)id,
                            (int)(text.n_bytes < 32 ? text.n_bytes : 32), text.bytes);
        }
        if (t->byte_ids[value] < 0) t->byte_ids[value] = id;
    }
    return R2_OK;
}

static void find_characters(r2i_tokenizer *t) {
    for (int i = 0; i < 128; i++) {
        const char c = (char)i;
        const int32_t id = r2i_token_store_find(&t->store, &c, 1);
        t->ascii_ids[i] = id >= 0 && t->store.types[id] == R2I_TOKEN_NORMAL ? id : -1;
    }
}

/* Words can be merged one by one when no token reaches from one word into the next. */
static bool words_are_apart(const r2i_token_store *store) {
    for (int32_t id = 0; id < store->n_tokens; id++) {
        if (store->types[id] != R2I_TOKEN_NORMAL) continue;
        const r2i_text_view text = r2i_token_store_text(store, id);
        size_t i = 0;
        while (text.n_bytes - i >= R2I_SPACE_MARK_BYTES &&
               memcmp(text.bytes + i, R2I_SPACE_MARK, R2I_SPACE_MARK_BYTES) == 0) {
            i += R2I_SPACE_MARK_BYTES;
        }
        for (; i + R2I_SPACE_MARK_BYTES <= text.n_bytes; i++) {
            if (memcmp(text.bytes + i, R2I_SPACE_MARK, R2I_SPACE_MARK_BYTES) == 0) return false;
        }
    }
    return true;
}

static r2_status check_id(int32_t id, const char *what, size_t n_tokens, r2_error *err) {
    if (id >= -1 && (int64_t)id < (int64_t)n_tokens) return R2_OK;
    return r2i_fail(err, R2_E_FORMAT, "tokenizer: %s: expected an id below %zu, found %d", what,
                    n_tokens, (int)id);
}

static r2_status check_ids(const r2i_vocabulary *v, r2_error *err) {
    const struct {
        int32_t id;
        const char *what;
    } rows[] = { { v->bos_id, "bos_token_id" },         { v->eos_id, "eos_token_id" },
                 { v->eot_id, "eot_token_id" },         { v->unk_id, "unknown_token_id" },
                 { v->pad_id, "padding_token_id" },     { v->fim_ids[0], "fim_pre_token_id" },
                 { v->fim_ids[1], "fim_suf_token_id" }, { v->fim_ids[2], "fim_mid_token_id" } };
    r2_status status = R2_OK;
    for (size_t i = 0; status == R2_OK && i < sizeof rows / sizeof *rows; i++) {
        status = check_id(rows[i].id, rows[i].what, v->tokens.n, err);
    }
    for (size_t i = 0; status == R2_OK && i < v->n_eog_ids; i++) {
        status = check_id(v->eog_ids[i], "eos_token_id", v->tokens.n, err);
    }
    return status;
}

static void add_eog(r2i_tokenizer *t, int32_t id) {
    if (id < 0 || t->n_eog == R2I_MAX_EOG || r2i_tokenizer_is_eog(t, id)) return;
    t->eog_ids[t->n_eog++] = id;
}

static void collect_eog(r2i_tokenizer *t, const r2i_vocabulary *v) {
    add_eog(t, v->eos_id);
    add_eog(t, v->eot_id);
    for (size_t i = 0; i < v->n_eog_ids; i++)
        add_eog(t, v->eog_ids[i]);
    for (size_t i = 0; i < sizeof END_TEXTS / sizeof *END_TEXTS; i++) {
        add_eog(t, r2i_tokenizer_find_added(t, END_TEXTS[i]));
    }
}

/* Printable part of a text that goes into an error. */
static int shown_bytes(r2i_text_view view) {
    return (int)(view.n_bytes < 64 ? view.n_bytes : 64);
}

static r2_status choose_family(r2i_tokenizer *t, const r2i_vocabulary *v,
                               const r2i_tokenizer_options *options, r2_error *err) {
    t->is_bytes = r2i_text_view_is(v->model, "gpt2");
    if (!t->is_bytes && !r2i_text_view_is(v->model, "llama")) {
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "tokenizer: model: expected gpt2 or llama, found '%.*s'",
                        shown_bytes(v->model), v->model.n_bytes == 0 ? "" : v->model.bytes);
    }
    if (options->has_scheme) {
        t->scheme = options->scheme;
        return R2_OK;
    }
    const r2i_text_view pre = v->pre.n_bytes == 0 ? (r2i_text_view){ "default", 7 } : v->pre;
    if (!t->is_bytes || r2i_scheme_find(&t->scheme, pre)) return R2_OK;
    return r2i_fail(err, R2_E_UNSUPPORTED, "tokenizer: pre-tokenizer '%.*s' is not known",
                    shown_bytes(pre), pre.bytes);
}

static r2_status build_bytes(r2i_tokenizer *t, const r2i_vocabulary *v, r2_error *err) {
    find_letter_bytes(t);
    const r2_status status = r2i_merge_table_init(&t->merges, v, &t->store, t->heap, err);
    if (status != R2_OK) return status;
    return r2i_pretokenizer_create(&t->pretokenizer, &t->scheme, t->heap, err);
}

static r2_status build_characters(r2i_tokenizer *t, const r2i_vocabulary *v, r2_error *err) {
    const r2_status status = find_byte_tokens(t, err);
    if (status != R2_OK) return status;
    find_characters(t);
    t->can_split_words = words_are_apart(&t->store);
    if (v->scores != NULL) { /* some files have both: SentencePiece itself goes by scores */
        return r2i_merge_table_init_scores(&t->merges, v->scores, &t->store, t->heap, err);
    }
    if (v->merges.n != 0) return r2i_merge_table_init(&t->merges, v, &t->store, t->heap, err);
    return r2i_fail(err, R2_E_FORMAT,
                    "tokenizer: model llama: expected scores or merges, found neither");
}

static r2_status fill(r2i_tokenizer *t, const r2i_vocabulary *v,
                      const r2i_tokenizer_options *options, r2_error *err) {
    uint8_t *strips = NULL;
    r2_status status = choose_family(t, v, options, err);
    if (status == R2_OK) status = check_ids(v, err);
    if (status == R2_OK) status = r2i_token_store_init(&t->store, v, &t->arena, err);
    if (status != R2_OK) return status;
    if (options->strips != NULL) {
        strips = R2I_ARENA_ARRAY(&t->arena, uint8_t, v->tokens.n);
        if (strips == NULL)
            return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory for added tokens");
        memcpy(strips, options->strips, v->tokens.n);
    }
    status = r2i_added_tokens_init(&t->added, &t->store, strips, &t->arena, err);
    if (status == R2_OK)
        status = t->is_bytes ? build_bytes(t, v, err) : build_characters(t, v, err);
    if (status == R2_OK) {
        collect_eog(t, v);
        r2i_fim_collect(t, v->fim_ids);
    }
    return status;
}

r2_status r2i_tokenizer_build(r2i_tokenizer **out, const r2i_vocabulary *vocabulary,
                              const r2i_tokenizer_options *options, r2i_heap *heap, r2_error *err) {
    static const r2i_tokenizer_options no_options = { 0 };
    const r2i_vocabulary *v = vocabulary;
    const r2i_tokenizer_options *o = options != NULL ? options : &no_options;
    *out = NULL;
    r2i_tokenizer *t = r2i_heap_take(heap, sizeof *t);
    if (t == NULL) return r2i_fail(err, R2_E_NOMEM, "tokenizer: no memory");
    *t = (r2i_tokenizer){ .heap = heap,
                          .space_prefix = v->space_prefix,
                          .bos_id = v->bos_id,
                          .eos_id = v->eos_id,
                          .unk_id = v->unk_id,
                          .add_bos = v->add_bos,
                          .add_eos = v->add_eos,
                          .keep_single_space = o->keep_single_space,
                          .split_unknown = o->split_unknown };
    t->store.heap = heap;
    t->merges.heap = heap;
    r2i_arena_init(&t->arena, heap, ARENA_BLOCK_BYTES, 0);
    r2i_byte_letters_init(&t->letters);
    for (int i = 0; i < 256; i++)
        t->byte_ids[i] = -1;
    const r2_status status = fill(t, v, o, err);
    if (status != R2_OK) {
        r2i_tokenizer_destroy(t);
        return status;
    }
    *out = t;
    return R2_OK;
}

r2_status r2i_tokenizer_create(r2i_tokenizer **out, const r2i_vocabulary *vocabulary,
                               r2i_heap *heap, r2_error *err) {
    return r2i_tokenizer_build(out, vocabulary, NULL, heap, err);
}

void r2i_tokenizer_destroy(r2i_tokenizer *t) {
    if (t == NULL) return;
    r2i_pretokenizer_destroy(t->pretokenizer);
    r2i_merge_table_destroy(&t->merges);
    r2i_token_store_destroy(&t->store);
    r2i_arena_destroy(&t->arena);
    r2i_heap_give(t->heap, t, sizeof *t);
}

/* ---- lookups ---- */

static bool is_inside(const r2i_tokenizer *t, int32_t id) {
    return id >= 0 && id < t->store.n_tokens;
}

int32_t r2i_tokenizer_size(const r2i_tokenizer *t) {
    return t->store.n_tokens;
}
int32_t r2i_tokenizer_bos(const r2i_tokenizer *t) {
    return t->bos_id;
}
int32_t r2i_tokenizer_eos(const r2i_tokenizer *t) {
    return t->eos_id;
}
bool r2i_tokenizer_adds_bos(const r2i_tokenizer *t) {
    return t->add_bos && t->bos_id >= 0;
}

r2i_text_view r2i_tokenizer_text(const r2i_tokenizer *t, int32_t id) {
    return is_inside(t, id) ? r2i_token_store_text(&t->store, id) : (r2i_text_view){ "", 0 };
}

int32_t r2i_tokenizer_find(const r2i_tokenizer *t, const char *text, size_t n_bytes) {
    return r2i_token_store_find(&t->store, text, n_bytes);
}

int32_t r2i_tokenizer_find_added(const r2i_tokenizer *t, const char *text) {
    const int32_t id = r2i_token_store_find(&t->store, text, strlen(text));
    const r2i_token_type type = r2i_tokenizer_type(t, id);
    return type == R2I_TOKEN_CONTROL || type == R2I_TOKEN_USER ? id : -1;
}

r2i_token_type r2i_tokenizer_type(const r2i_tokenizer *t, int32_t id) {
    return is_inside(t, id) ? (r2i_token_type)t->store.types[id] : R2I_TOKEN_UNUSED;
}

bool r2i_tokenizer_is_control(const r2i_tokenizer *t, int32_t id) {
    return r2i_tokenizer_type(t, id) == R2I_TOKEN_CONTROL;
}

bool r2i_tokenizer_is_eog(const r2i_tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->n_eog; i++) {
        if (t->eog_ids[i] == id) return true;
    }
    return false;
}

const int32_t *r2i_tokenizer_eog(const r2i_tokenizer *t, size_t *n) {
    *n = t->n_eog;
    return t->eog_ids;
}

/* Space marks become spaces. */
static size_t decode_marks(r2i_text_view text, char *out, size_t cap_bytes) {
    size_t n = 0;
    for (size_t i = 0; i < text.n_bytes; n++) {
        const bool is_mark = text.n_bytes - i >= R2I_SPACE_MARK_BYTES &&
                             memcmp(text.bytes + i, R2I_SPACE_MARK, R2I_SPACE_MARK_BYTES) == 0;
        if (n < cap_bytes) out[n] = is_mark ? ' ' : text.bytes[i];
        i += is_mark ? R2I_SPACE_MARK_BYTES : 1;
    }
    return n;
}

size_t r2i_tokenizer_token_bytes(const r2i_tokenizer *t, int32_t id, char *out, size_t cap_bytes) {
    const r2i_text_view text = r2i_tokenizer_text(t, id);
    const r2i_token_type type = r2i_tokenizer_type(t, id);
    if (type == R2I_TOKEN_BYTE && !t->is_bytes) {
        if (cap_bytes > 0) out[0] = (char)r2i_byte_token_value(text);
        return 1;
    }
    if (type == R2I_TOKEN_CONTROL || (type == R2I_TOKEN_USER && t->is_bytes)) {
        const size_t n = text.n_bytes < cap_bytes ? text.n_bytes : cap_bytes;
        if (n > 0) memcpy(out, text.bytes, n);
        return text.n_bytes;
    }
    if (t->is_bytes)
        return r2i_byte_letters_decode(&t->letters, text.bytes, text.n_bytes, out, cap_bytes);
    return decode_marks(text, out, cap_bytes);
}
