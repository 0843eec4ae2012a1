/* fuzz_tokenizer.c - hostile vocabularies and texts.
 *
 *   '{' ...  0  text     tokenizer.json, then a text for it
 *   tokens 0 merges 0 types 0 text      otherwise: lists as in a GGUF file, one text per line; the
 *                                       first byte chooses model and pre-tokenizer, and whether the
 *                                       first half of the rest is the packed form of the tokens
 *
 * Whatever a vocabulary that was accepted makes of the text: ids are inside it, untrusted text
 * holds no control token, decoded text is UTF-8. */
#include <stdlib.h>
#include <string.h>

#include "text/detokenizer.h"
#include "text/utf8_scan.h"

enum { MAX_HEAP_BYTES = 256 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void require(bool holds) {
    if (!holds) abort();
}

/* Cuts off what lies before the next 0 byte. */
static r2i_text_view take_part(const char **at, const char *end) {
    const char *stop = memchr(*at, 0, (size_t)(end - *at));
    const r2i_text_view part = { *at, (size_t)((stop == NULL ? end : stop) - *at) };
    *at = stop == NULL ? end : stop + 1;
    return part;
}

static void check_text(const r2i_tokenizer *t, r2i_encoder *e, const r2i_encode_text *text,
                       r2i_heap *heap) {
    const int32_t *ids;
    size_t n;
    r2i_buffer out;
    if (r2i_encoder_run(e, text, &ids, &n, NULL) != R2_OK) return;
    for (size_t i = 0; i < n; i++) {
        require(ids[i] >= 0 && ids[i] < r2i_tokenizer_size(t));
        const bool is_fallback = r2i_tokenizer_text(t, ids[i]).n_bytes > 0 && text->flags == 0;
        if (is_fallback && r2i_tokenizer_is_control(t, ids[i]))
            require(r2i_tokenizer_find(t, "<unk>", 5) >= 0);
    }
    r2i_buffer_init(&out, heap, 64 << 20);
    if (r2i_decode_text(t, ids, n, R2I_DECODE_SHOW_CONTROL, &out, NULL) == R2_OK &&
        out.n_bytes > 0) {
        require(r2i_utf8_valid_prefix(out.bytes, out.n_bytes) == out.n_bytes);
    }
    r2i_buffer_destroy(&out);
}

static void use(r2i_tokenizer *t, r2i_text_view text, r2i_heap *heap) {
    r2i_encoder *e;
    if (r2i_encoder_create(&e, t, heap, NULL) != R2_OK) return;
    const r2i_text_range half = { text.n_bytes / 3, text.n_bytes / 2 };
    check_text(t, e, &(r2i_encode_text){ text.bytes, text.n_bytes, 0, NULL, 0 }, heap);
    check_text(t, e,
               &(r2i_encode_text){ text.bytes, text.n_bytes, R2I_ENCODE_CONTROL | R2I_ENCODE_ENDS,
                                   &half, 1 },
               heap);
    r2i_encoder_destroy(e);
}

static r2_status from_json(r2i_tokenizer **t, const char **at, const char *end, r2i_heap *heap) {
    json_t *config =
        json_pack("{s:s, s:s, s:b}", "bos_token", "<s>", "eos_token", "</s>", "add_bos_token", 1);
    const r2i_tokenizer_files files = { .tokenizer_json = take_part(at, end),
                                        .tokenizer_config = config };
    const r2_status status = r2i_tokenizer_create_from_json(t, &files, heap, NULL);
    json_decref(config);
    return status;
}

static r2i_text_list split_lines(r2i_text_view part, r2i_text_view *views, size_t cap) {
    r2i_text_list list = { 0, views, NULL, 0 };
    for (size_t i = 0; i < part.n_bytes && list.n < cap;) {
        const char *stop = memchr(part.bytes + i, '\n', part.n_bytes - i);
        const size_t n = stop == NULL ? part.n_bytes - i : (size_t)(stop - part.bytes) - i;
        views[list.n++] = (r2i_text_view){ part.bytes + i, n };
        i += n + 1;
    }
    return list;
}

static r2_status from_lists(r2i_tokenizer **t, const char **at, const char *end, r2i_heap *heap) {
    enum { CAP = 512 };
    static const char *const pres[] = { "gpt-2",       "qwen2",  "llama-bpe",
                                        "deepseek-v3", "smollm", "deepseek-coder" };
    static r2i_text_view tokens[CAP], merges[CAP];
    int32_t types[CAP];
    float scores[CAP];
    r2i_vocabulary v;
    r2i_vocabulary_init(&v);
    const uint8_t choice = (uint8_t) * (*at)++;
    const char *pre = pres[choice % 6];
    v.model = choice >= 128 ? (r2i_text_view){ "llama", 5 } : (r2i_text_view){ "gpt2", 4 };
    v.pre = (r2i_text_view){ pre, strlen(pre) };
    const size_t n_half = (size_t)(end - *at) / 2;
    if (choice % 2 == 0) {
        v.tokens = (r2i_text_list){ 3, NULL, *at, n_half };
        *at += n_half;
    } else {
        v.tokens = split_lines(take_part(at, end), tokens, CAP);
    }
    v.merges = split_lines(take_part(at, end), merges, CAP);
    const r2i_text_view type_part = take_part(at, end);
    for (size_t i = 0; i < CAP; i++) {
        const uint8_t c = i < type_part.n_bytes ? (uint8_t)type_part.bytes[i] : 1;
        types[i] = c % 8;
        scores[i] = -(float)(c / 8);
    }
    v.types = types;
    v.scores = scores;
    v.bos_id = 0;
    v.add_bos = true;
    return r2i_tokenizer_create(t, &v, heap, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    r2i_heap heap;
    r2i_tokenizer *t = NULL;
    const char *at = (const char *)data, *end = at + n_bytes;
    if (n_bytes == 0) return 0;
    r2i_heap_init(&heap);
    heap.limit_bytes = MAX_HEAP_BYTES;
    const r2_status status =
        *at == '{' ? from_json(&t, &at, end, &heap) : from_lists(&t, &at, end, &heap);
    if (status == R2_OK)
        use(t, (r2i_text_view){ at, (size_t)(end - at) }, &heap);
    else
        require(t == NULL);
    r2i_tokenizer_destroy(t);
    require(heap.used_bytes == 0);
    return 0;
}
