/* tokenizer_write.h - a learned byte-level vocabulary as the files of a Hugging Face folder.
 *
 * Added tokens have the first ids.  Digits stand alone, words are cut as GPT-2 cuts them (the scheme that
 * GGUF calls smollm), bytes are kept as they are: no normalizer. */
#ifndef R2I_TOKENIZER_WRITE_H
#define R2I_TOKENIZER_WRITE_H
#include "base/buffer.h"
#include "text/bpe_learn.h"
#include "text/pretokenizer.h"

typedef struct {
    const char *const
        *added; /* [n_added], each one printable ASCII without blanks and quotes; those
                                 that begin with "<|" are control tokens, the others are text */
    int32_t n_added;
    const r2i_bpe *bpe;
} r2i_vocabulary_text;

/* How the texts are to be cut for a vocabulary that is written so. */
r2i_scheme r2i_written_scheme(void);
/* Appends the content of tokenizer.json.  R2_E_NOMEM, R2_E_LIMIT (of the buffer). */
R2_CHECKED r2_status r2i_tokenizer_json_append(r2i_buffer *out, const r2i_vocabulary_text *v,
                                               r2_error *err);
#endif
