/* spoken_text.h - where thoughts begin and end in what a model said, as text: <think> and </think> stand there
 * whoever opened them, the model or the prompt, and whether or not the family's own marks have a text. */
#ifndef R2I_SPOKEN_TEXT_H
#define R2I_SPOKEN_TEXT_H
#include <stdbool.h>

#include "base/buffer.h"
#include "model/model.h"
#include "r2lm/engine.h"

typedef struct {
    const r2_model *model;
    r2_detokenizer *detokenizer; /* the caller's; its rest is written before a mark */
    bool is_thinking;            /* behind the last token */
} r2i_spoken_text;

/* Appends what the token changes; *has_text: the text of its own comes next, which the caller appends. */
R2_CHECKED r2_status r2i_spoken_text_mark(r2i_spoken_text *spoken, r2i_buffer *out, r2_token token,
                                          bool is_thinking, bool *has_text, r2_error *err);
#endif
