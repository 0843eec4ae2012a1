/* answer_end.h - whether an answer in tags has been given, so that nothing behind it need be written. */
#ifndef R2I_ANSWER_END_H
#define R2I_ANSWER_END_H
#include "base/buffer.h"
#include "r2lm/text.h"

/* Have these tokens [n_tokens] just closed an answer in <answer> tags, outside of <think> as text?
 * Asked after each token that is none of the engine's thoughts; `room` is scratch.  Without memory for it:
 * false, the answer is read on. */
bool r2i_answer_has_end(const r2_model *model, const r2_token *tokens, int32_t n_tokens,
                        r2i_buffer *room);
#endif
