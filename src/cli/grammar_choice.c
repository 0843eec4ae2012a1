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

/* A schema given as text begins with a brace; anything else is a file's name. */
static r2_status make_from_schema(r2i_grammar_choice *out, r2i_session *s, const char *schema,
                                  r2_error *err) {
    if (schema[strspn(schema, " \t\n")] == '{')
        return r2_grammar_from_json_schema(&out->grammar, s->model, schema, strlen(schema), err);
    return make_from_file(out, s, schema, r2_grammar_from_json_schema, err);
}

r2_status r2i_grammar_choose(r2i_grammar_choice *out, r2i_session *s, r2_error *err) {
    const r2i_options *o = s->program->options;
    const int n_asked = (o->grammar_file != NULL) + (o->json_schema != NULL) + (o->regex != NULL);
    *out = (r2i_grammar_choice){ 0 };
    if (n_asked == 0) return R2_OK;
    if (n_asked > 1)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "expected one of --grammar-file, --json-schema, --regex, found %d",
                        n_asked);
    if (o->grammar_file != NULL)
        R2I_TRY(make_from_file(out, s, o->grammar_file, r2_grammar_from_gbnf, err));
    else if (o->json_schema != NULL)
        R2I_TRY(make_from_schema(out, s, o->json_schema, err));
    else
        R2I_TRY(r2_grammar_from_regex(&out->grammar, s->model, o->regex, strlen(o->regex), err));
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
