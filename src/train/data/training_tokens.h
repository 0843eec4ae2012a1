/* training_tokens.h - a document as the tokens a model trains on, and which of them it is to learn.
 *
 * Of a text: all, the end of text behind them.  Of a chat: what the assistant said and the end of each
 * of its turns, in the form of the model's own chat template; the rest is read, not learnt. */
#ifndef R2I_TRAINING_TOKENS_H
#define R2I_TRAINING_TOKENS_H
#include <jansson.h>

#include "base/buffer.h"
#include "r2lm/text.h"

/* Bit 31 of a stored token: it is no target. */
#define R2I_NO_TARGET 0x80000000u

/* Receives the tokens of one document. */
typedef r2_status (*r2i_token_sink)(void *user, const uint32_t *tokens, size_t n, r2_error *err);

/* Tokens of a text, end of text included.  `room` is scratch. */
R2_CHECKED r2_status r2i_text_to_tokens(const r2_model *model, const char *text, size_t n_bytes,
                                        r2i_buffer *room, r2i_token_sink sink, void *user,
                                        r2_error *err);
/* Tokens of a chat, whose messages may be changed in place: one document, or, where the template shows a
 * turn otherwise once others follow (thoughts of earlier turns are dropped), one for every turn of the
 * assistant.  R2_E_UNSUPPORTED: the model has no chat template; R2_E_FORMAT: none of the assistant's
 * messages; what the template says otherwise. */
R2_CHECKED r2_status r2i_chat_to_tokens(const r2_model *model, json_t *messages, bool learns_all,
                                        r2i_buffer *room, r2i_token_sink sink, void *user,
                                        r2_error *err);
#endif
