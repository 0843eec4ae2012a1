#include "text/detokenizer.h"

#include <string.h>

#include "text/tokenizer_parts.h"
#include "text/utf8_scan.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

enum { CHUNK_BYTES = 1024 };

void r2i_detokenizer_init(r2i_detokenizer *d, const r2i_tokenizer *tokenizer, unsigned flags) {
    *d = (r2i_detokenizer){ .tokenizer = tokenizer, .flags = flags };
}

/* Appends whole characters of text[0, n), U+FFFD for bad sequences; keeps an unfinished one. */
static r2_status append_valid(r2i_detokenizer *d, const char *text, size_t n, r2i_buffer *out,
                              r2_error *err) {
    r2_status status = R2_OK;
    for (size_t i = 0; status == R2_OK && i < n;) {
        const size_t n_valid = r2i_utf8_valid_prefix(text + i, n - i);
        if (n_valid > 0) status = r2i_buffer_append(out, text + i, n_valid, err);
        i += n_valid;
        if (i == n || status != R2_OK) break;
        const r2i_utf8_step step = r2i_utf8_next(text + i, n - i);
        if (step.kind == R2I_UTF8_PARTIAL) {
            d->n_pending = step.n_bytes;
            memcpy(d->pending, text + i, (size_t)step.n_bytes);
            break;
        }
        status = r2i_buffer_append_text(out, REPLACEMENT, err);
        i += (size_t)step.n_bytes;
    }
    return status;
}

/* Pending bytes and a token's bytes as one text. */
static r2_status append_bytes(r2i_detokenizer *d, const char *bytes, size_t n, r2i_buffer *out,
                              r2_error *err) {
    char joined[4 + CHUNK_BYTES];
    r2_status status = R2_OK;
    for (size_t i = 0; status == R2_OK && i < n;) {
        const size_t n_pending = (size_t)d->n_pending,
                     n_part = n - i < CHUNK_BYTES ? n - i : CHUNK_BYTES;
        memcpy(joined, d->pending, n_pending);
        memcpy(joined + n_pending, bytes + i, n_part);
        d->n_pending = 0;
        status = append_valid(d, joined, n_pending + n_part, out, err);
        i += n_part;
    }
    return status;
}

static bool is_shown(const r2i_detokenizer *d, r2i_token_type type) {
    if (type == R2I_TOKEN_UNUSED) return false;
    return (type != R2I_TOKEN_CONTROL && type != R2I_TOKEN_UNKNOWN) ||
           (d->flags & R2I_DECODE_SHOW_CONTROL) != 0;
}

r2_status r2i_detokenizer_push(r2i_detokenizer *d, int32_t id, r2i_buffer *out, r2_error *err) {
    const r2i_tokenizer *t = d->tokenizer;
    char bytes[R2I_MAX_TOKEN_BYTES];
    if (!is_shown(d, r2i_tokenizer_type(t, id))) return R2_OK;
    size_t n = r2i_tokenizer_token_bytes(t, id, bytes, sizeof bytes), skip = 0;
    const bool drops_space = !t->is_bytes && t->space_prefix != R2I_PREFIX_NONE &&
                             (d->flags & R2I_DECODE_KEEP_SPACE) == 0;
    if (!d->is_started && drops_space && n > 0 && bytes[0] == ' ') skip = 1;
    if (n > 0) d->is_started = true;
    return append_bytes(d, bytes + skip, n - skip, out, err);
}

r2_status r2i_detokenizer_finish(r2i_detokenizer *d, r2i_buffer *out, r2_error *err) {
    const bool is_cut = d->n_pending > 0;
    d->n_pending = 0;
    d->is_started = false;
    return is_cut ? r2i_buffer_append_text(out, REPLACEMENT, err) : R2_OK;
}

r2_status r2i_decode_text(const r2i_tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                          unsigned flags, r2i_buffer *out, r2_error *err) {
    r2i_detokenizer d;
    r2_status status = R2_OK;
    r2i_detokenizer_init(&d, tokenizer, flags);
    for (size_t i = 0; status == R2_OK && i < n_ids; i++)
        status = r2i_detokenizer_push(&d, ids[i], out, err);
    return status == R2_OK ? r2i_detokenizer_finish(&d, out, err) : status;
}
