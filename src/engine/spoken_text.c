#include "engine/spoken_text.h"

#include "base/failure.h"
#include "r2lm/text.h"

static r2_status append_mark(r2i_spoken_text *s, r2i_buffer *out, const char *mark, r2_error *err) {
    R2I_TRY(r2i_buffer_append_text(out, r2_detokenizer_finish(s->detokenizer), err));
    return r2i_buffer_append_text(out, mark, err);
}

r2_status r2i_spoken_text_mark(r2i_spoken_text *s, r2i_buffer *out, r2_token token,
                               bool is_thinking, bool *has_text, r2_error *err) {
    const r2_model *m = s->model;
    const bool is_close = is_thinking && token == m->think_close,
               is_marker = is_close || (is_thinking && token == m->think_open);
    *has_text = !is_marker && !r2_token_is_end(m, token);
    if (is_thinking && !s->is_thinking) R2I_TRY(append_mark(s, out, "<think>", err));
    s->is_thinking = is_thinking && !is_close;
    return is_close ? append_mark(s, out, "</think>", err) : R2_OK;
}
