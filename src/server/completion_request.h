/* completion_request.h - the body of a /v1/completions request as checked values: plain text is continued, without a
 * template and without thoughts apart from the rest. */
#ifndef R2I_COMPLETION_REQUEST_H
#define R2I_COMPLETION_REQUEST_H
#include <jansson.h>

#include "server/refusal.h"
#include "server/wishes.h"

enum { R2I_MAX_PROMPTS = 256, R2I_MAX_ANSWERS = 256 };

typedef struct {
    json_t *body;         /* owned; what follows is borrowed from it */
    const json_t *prompt; /* a text, [text], [token] or [[token]]; not empty */
    const char *suffix;   /* text behind the gap that is to be filled, or NULL */
    int32_t n_prompts;
    r2i_wishes wishes;
} r2i_completion_request;

/* As r2i_chat_request_read. */
R2_CHECKED r2_status r2i_completion_request_read(r2i_completion_request *out, const char *text,
                                                 size_t n_bytes,
                                                 const r2_sequence_options *defaults,
                                                 r2i_refusal *refusal);
void r2i_completion_request_destroy(r2i_completion_request *request);
/* The i-th prompt: a text or an array of whole numbers. */
const json_t *r2i_completion_prompt(const r2i_completion_request *request, int32_t i);
/* Is it a field of such a request? */
bool r2i_completion_has_field(const char *name);
#endif
