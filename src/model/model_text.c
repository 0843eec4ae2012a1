/* model_text.c - the public text functions: tokens and text. */
#include <string.h>

#include "base/failure.h"
#include "model/model.h"
#include "model/model_encode.h"
#include "text/detokenizer.h"

enum { MAX_PIECE_BYTES = 1 << 24 };

static r2_status need_tokenizer(const r2_model *model, r2_error *err) {
    if (model->tokenizer != NULL) return R2_OK;
    return r2i_fail(err, R2_E_UNSUPPORTED, "the model has no tokenizer");
}

/* The model is read-only to its users; its one encoder with its word cache is guarded by a lock. */
r2_status r2i_model_encode(const r2_model *model, const r2i_encode_text *text, r2i_take_ids take,
                           void *user, r2_error *err) {
    R2I_TRY(need_tokenizer(model, err));
    r2_model *owner = (r2_model *)(uintptr_t)model;
    const int32_t *ids = NULL;
    size_t n_ids = 0;
    r2_status status = R2_OK;
    pthread_mutex_lock(&owner->encoder_lock);
    if (owner->encoder == NULL)
        status = r2i_encoder_create(&owner->encoder, model->tokenizer, &owner->heap, err);
    if (status == R2_OK) status = r2i_encoder_run(owner->encoder, text, &ids, &n_ids, err);
    if (status == R2_OK) status = take(user, ids, n_ids, err);
    pthread_mutex_unlock(&owner->encoder_lock);
    return status;
}

typedef struct {
    r2_token *tokens;
    int32_t cap, n;
} token_sink;

static r2_status copy_ids(void *user, const int32_t *ids, size_t n_ids, r2_error *err) {
    token_sink *sink = user;
    if (n_ids > INT32_MAX) return r2i_fail(err, R2_E_LIMIT, "text of %zu tokens", n_ids);
    sink->n = (int32_t)n_ids;
    if (sink->cap == 0) return R2_OK;
    if (sink->cap < 0 || n_ids > (size_t)sink->cap) {
        return r2i_fail(err, R2_E_FULL, "text of %zu tokens, room for %d", n_ids, sink->cap);
    }
    if (n_ids > 0) memcpy(sink->tokens, ids, n_ids * sizeof *ids);
    return R2_OK;
}

r2_status r2_tokenize(const r2_model *model, const char *text, size_t n_bytes, int flags,
                      r2_token *tokens, int32_t cap, int32_t *n_tokens, r2_error *err) {
    token_sink sink = { tokens, cap, 0 };
    const unsigned encode_flags = ((flags & R2_TOKENIZE_SPECIAL) != 0 ? R2I_ENCODE_CONTROL : 0u) |
                                  ((flags & R2_TOKENIZE_START) != 0 ? R2I_ENCODE_ENDS : 0u);
    const r2i_encode_text input = { .bytes = text, .n_bytes = n_bytes, .flags = encode_flags };
    const r2_status status = r2i_model_encode(model, &input, copy_ids, &sink, err);
    *n_tokens = sink.n;
    return status;
}

size_t r2_token_bytes(const r2_model *model, r2_token token, char *out, size_t cap) {
    return model->tokenizer != NULL ? r2i_tokenizer_token_bytes(model->tokenizer, token, out, cap)
                                    : 0;
}

bool r2_token_is_control(const r2_model *model, r2_token token) {
    return model->tokenizer != NULL && r2i_tokenizer_is_control(model->tokenizer, token);
}

bool r2_token_is_end(const r2_model *model, r2_token token) {
    return model->tokenizer != NULL && r2i_tokenizer_is_eog(model->tokenizer, token);
}

bool r2_fim_find(const r2_model *model, r2_token out[3]) {
    const int32_t *ids = model->tokenizer != NULL ? r2i_tokenizer_fim(model->tokenizer) : NULL;
    for (int i = 0; i < 3; i++)
        out[i] = ids != NULL ? ids[i] : -1;
    return ids != NULL;
}

r2_token r2_token_find(const r2_model *model, const char *text) {
    return model->tokenizer != NULL ? r2i_tokenizer_find(model->tokenizer, text, strlen(text)) : -1;
}

/* ---- streaming ---- */

struct r2_detokenizer {
    r2i_heap *heap;
    r2i_detokenizer stream;
    r2i_buffer text;
    unsigned flags;
};

r2_status r2_detokenizer_create(r2_detokenizer **out, const r2_model *model, bool shows_control,
                                r2_error *err) {
    *out = NULL;
    R2I_TRY(need_tokenizer(model, err));
    r2i_heap *heap = &((r2_model *)(uintptr_t)model)->heap;
    r2_detokenizer *d = r2i_heap_take(heap, sizeof *d);
    if (d == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a detokenizer");
    d->heap = heap;
    d->flags = (shows_control ? R2I_DECODE_SHOW_CONTROL : 0u) | R2I_DECODE_KEEP_SPACE;
    r2i_buffer_init(&d->text, heap, MAX_PIECE_BYTES);
    r2i_detokenizer_init(&d->stream, model->tokenizer, d->flags);
    /* Some room now, so that feeding tokens does not allocate. */
    r2_status status = r2i_buffer_append_format(&d->text, err, "%*s", 4095, "");
    if (status != R2_OK) {
        r2_detokenizer_destroy(d);
        return status;
    }
    r2i_buffer_clear(&d->text);
    *out = d;
    return R2_OK;
}

void r2_detokenizer_destroy(r2_detokenizer *d) {
    if (d == NULL) return;
    r2i_buffer_destroy(&d->text);
    r2i_heap_give(d->heap, d, sizeof *d);
}

const char *r2_detokenizer_feed(r2_detokenizer *d, r2_token token) {
    r2i_buffer_clear(&d->text);
    /* Out of memory loses the text of one token; there is nobody to tell. */
    if (r2i_detokenizer_push(&d->stream, token, &d->text, NULL) != R2_OK) return "";
    return d->text.bytes;
}

const char *r2_detokenizer_finish(r2_detokenizer *d) {
    r2i_buffer_clear(&d->text);
    if (r2i_detokenizer_finish(&d->stream, &d->text, NULL) != R2_OK) return "";
    return d->text.bytes;
}
