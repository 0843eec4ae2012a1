/* word_hashes.h - a text as hashes of its words, spelled alike: what copies are told by.
 *
 * A word is a run of letters, marks and digits in lower case; an ideograph or kana is a word by itself,
 * since those scripts put no spaces.  Punctuation, case and white space make no difference. */
#ifndef R2I_WORD_HASHES_H
#define R2I_WORD_HASHES_H
#include <stdint.h>

#include "base/buffer.h"

/* Appends one uint64_t for each word of the text (UTF-8; bad bytes end a word). */
R2_CHECKED r2_status r2i_word_hashes_append(r2i_buffer *out, const char *text, size_t n_bytes,
                                            r2_error *err);
/* The words in the buffer. */
const uint64_t *r2i_word_hashes_of(const r2i_buffer *words, size_t *n);
/* Hash of n words in their order. */
uint64_t r2i_word_hashes_join(const uint64_t *words, size_t n);
#endif
