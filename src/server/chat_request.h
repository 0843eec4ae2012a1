/* chat_request.h - the body of a chat request as checked values: its own fields (a table, request_fields.h) and those
 * that all endpoints share (wishes.h).  What this version knows of but cannot do is refused, never ignored. */
#ifndef R2I_CHAT_REQUEST_H
#define R2I_CHAT_REQUEST_H
#include <jansson.h>
#include <stdbool.h>

#include "server/refusal.h"
#include "server/tool_request.h"
#include "server/wishes.h"

typedef struct {
    json_t *body;     /* owned; texts below are borrowed from it */
    json_t *messages; /* owned: [{role, content, reasoning_content?}], contents as one text each */
    json_t *prefix;   /* owned: what the answer begins with, a message like these, or NULL */
    json_t *extra;    /* owned: variables of the template, or NULL */
    r2i_wishes wishes;
    r2i_tool_request tools;
} r2i_chat_request;

/* Values that are not in the body come from `defaults`; seed: the request's own when it has none.  On failure
 * R2_E_ARGUMENT with *refusal filled; destroy `out` in any case. */
R2_CHECKED r2_status r2i_chat_request_read(r2i_chat_request *out, const char *text, size_t n_bytes,
                                           const r2_sequence_options *defaults,
                                           r2i_refusal *refusal);
void r2i_chat_request_destroy(r2i_chat_request *request);
/* Is it one of the tables' fields? */
bool r2i_chat_has_field(const char *name);

/* Parts of it, for read_body only.  The latter moves a message that is to be continued from `messages` to
 * `prefix`. */
R2_CHECKED r2_status r2i_chat_messages_read(r2i_chat_request *request, r2i_refusal *refusal);
R2_CHECKED r2_status r2i_chat_prefix_take(r2i_chat_request *request, r2i_refusal *refusal);
#endif
