/* answer_form.h - the form that a request asks its answer to have: JSON, a schema, a regular expression, a
 * grammar, one of several texts; in the spellings of several servers.
 *
 * response_format {type: text | json_object | json_schema}; json_schema, guided_json, structured_outputs.json:
 * a schema; regex, guided_regex, structured_outputs.regex; grammar, ebnf, guided_grammar,
 * structured_outputs.grammar: GBNF; guided_choice, structured_outputs.choice.  One of them at a time. */
#ifndef R2I_ANSWER_FORM_H
#define R2I_ANSWER_FORM_H
#include <jansson.h>

#include "base/buffer.h"
#include "server/refusal.h"

typedef enum {
    R2I_FORM_FREE,
    R2I_FORM_SCHEMA,
    R2I_FORM_REGEX,
    R2I_FORM_GBNF,
    R2I_FORM_CHOICE,
    R2I_FORM_TOOLS /* calls, and content if the request leaves the choice (tool_request.h) */
} r2i_form_kind;

typedef struct {
    r2i_form_kind kind;
    const json_t
        *value;        /* in the body: a text, a schema, an array of texts; NULL: any JSON object */
    const char *field; /* that asked for it, as a client would name it */
} r2i_answer_form;

/* R2_E_ARGUMENT with *refusal filled: fields of wrong types, or more than one. */
R2_CHECKED r2_status r2i_answer_form_read(r2i_answer_form *form, const json_t *body,
                                          r2i_refusal *refusal);
/* Appends the notation that a grammar is made from: a schema, a regular expression, or GBNF also for texts
 * to choose from.  R2_E_NOMEM, R2_E_LIMIT. */
R2_CHECKED r2_status r2i_answer_form_write(const r2i_answer_form *form, r2i_buffer *out);
#endif
