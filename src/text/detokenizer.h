/* detokenizer.h - a stream of token ids to text that can be shown at any moment.
 *
 * Tokens of a byte-level vocabulary cut characters apart.  The detokenizer keeps the bytes of an
 * unfinished character back and never emits invalid UTF-8: bytes that cannot become a character
 * turn into U+FFFD, an unfinished one at the end as well. */
#ifndef R2I_DETOKENIZER_H
#define R2I_DETOKENIZER_H
#include "base/buffer.h"
#include "text/tokenizer.h"

enum {
    R2I_DECODE_SHOW_CONTROL =
        1,                    /* control tokens appear as their text; otherwise they are skipped */
    R2I_DECODE_KEEP_SPACE = 2 /* "llama": do not drop the space the encoder puts in front */
};

/* In the caller's memory; borrows the tokenizer. */
typedef struct {
    const r2i_tokenizer *tokenizer;
    unsigned flags;
    int32_t n_pending; /* 0..3 bytes of an unfinished character */
    bool is_started;   /* something was decoded: a leading space is content now */
    unsigned char pending[4];
} r2i_detokenizer;

void r2i_detokenizer_init(r2i_detokenizer *detokenizer, const r2i_tokenizer *tokenizer,
                          unsigned flags);
/* Appends what token `id` completes.  Ids outside the vocabulary add nothing.  On R2_E_LIMIT or
 * R2_E_NOMEM (of the buffer) part of the token may have been appended. */
R2_CHECKED r2_status r2i_detokenizer_push(r2i_detokenizer *detokenizer, int32_t id, r2i_buffer *out,
                                          r2_error *err);
/* Appends U+FFFD for an unfinished character and starts anew. */
R2_CHECKED r2_status r2i_detokenizer_finish(r2i_detokenizer *detokenizer, r2i_buffer *out,
                                            r2_error *err);
/* Whole list at once: init, push all, finish. */
R2_CHECKED r2_status r2i_decode_text(const r2i_tokenizer *tokenizer, const int32_t *ids,
                                     size_t n_ids, unsigned flags, r2i_buffer *out, r2_error *err);
#endif
