/* tool_request.h - tools, tool_choice and parallel_tool_calls of a chat request.
 *
 * Functions alone are known; tools of other types are dropped, and a header of the reply says so.  With
 * tool_choice "none" the model hears of no tools; a function that is named is called once. */
#ifndef R2I_TOOL_REQUEST_H
#define R2I_TOOL_REQUEST_H
#include <jansson.h>
#include <stdbool.h>

#include "r2lm/tools.h"
#include "server/wishes.h"

enum { R2I_MAX_TOOLS = 512, R2I_TOOL_WARNING_BYTES = 160 };

typedef struct {
    json_t *tools; /* owned: the functions the model is told of; NULL: none */
    r2i_heap heap;
    r2i_buffer text;                      /* of tools */
    json_t *enforced;                     /* owned: what a grammar is to be made of, or NULL */
    bool is_single;                       /* the answer ends with its first call */
    char warning[R2I_TOOL_WARNING_BYTES]; /* printable ASCII, or "" */
} r2i_tool_request;

/* Also what *wishes says of the answer's form, which was read before.  R2_E_ARGUMENT with *refusal filled;
 * destroy in any case. */
R2_CHECKED r2_status r2i_tool_request_read(r2i_tool_request *out, const json_t *body,
                                           r2i_wishes *wishes, r2i_refusal *refusal);
void r2i_tool_request_destroy(r2i_tool_request *request);
/* The grammar of an R2I_FORM_TOOLS from its text; NULL with R2_OK: nothing to enforce with this model. */
R2_CHECKED r2_status r2i_tool_grammar_make(r2_grammar **out, const r2_model *model,
                                           const char *text, size_t n_bytes, r2_error *err);

/* What messages carry of calls, from `message` to `out`; `i`: number of the message.  For an assistant's
 * message *has_calls says whether it has some. */
R2_CHECKED r2_status r2i_tool_message_read(const json_t *message, size_t i, json_t *out,
                                           r2i_refusal *refusal);
/* Is there anything in tool_calls? */
bool r2i_tool_message_has_calls(const json_t *message);
#endif
