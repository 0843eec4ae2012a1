#include "cli/grammar_choice.h"

#include <string.h>

#include "base/failure.h"
#include "cli/text_input.h"

typedef r2_status (*grammar_maker)(r2_grammar **out, const r2_model *model, const char *text,
                                   size_t n_bytes, r2_error *err);

static r2_status make_from_file(r2i_grammar_choice *out, r2i_session *s, const char *path,
                                grammar_maker make, r2_error *err) {
    r2i_buffer text;
    r2i_prompt_buffer_init(&text, s->program);
    r2_status status = r2i_file_append(&text, path, err);
    if (status == R2_OK)
        status =
            make(&out->grammar, s->model, text.bytes != NULL ? text.bytes : "", text.n_bytes, err);
    r2i_buffer_destroy(&text);
    return status;
}

r2_status r2i_grammar_choose(r2i_grammar_choice *out, r2i_session *s, r2_error *err) {
    const r2i_options *o = s->program->options;
    *out = (r2i_grammar_choice){ 0 };
    if (o->grammar_file == NULL) return R2_OK;
    R2I_TRY(make_from_file(out, s, o->grammar_file, r2_grammar_from_gbnf, err));
    return r2_grammar_matcher_create(&out->matcher, out->grammar, err);
}

void r2i_grammar_use(const r2i_grammar_choice *choice, r2_sequence_options *options) {
    if (choice->matcher == NULL) return;
    options->mask = r2_grammar_mask;
    options->user = choice->matcher;
}

void r2i_grammar_drop(r2i_grammar_choice *choice) {
    r2_grammar_matcher_destroy(choice->matcher);
    r2_grammar_destroy(choice->grammar);
    *choice = (r2i_grammar_choice){ 0 };
}
