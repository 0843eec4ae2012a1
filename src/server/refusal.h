/* refusal.h - why a request is not answered: HTTP status and the fields of OpenAI's error object. */
#ifndef R2I_REFUSAL_H
#define R2I_REFUSAL_H
#include <stdint.h>

#include "base/buffer.h"

typedef struct {
    int http;         /* 0: it is not refused */
    const char *code; /* static text or NULL */
    char param[64];   /* the field it is about, or "" */
    char text[320];
    int32_t n_prompt, n_context; /* of context_length_exceeded, else 0 */
} r2i_refusal;

/* Fills in the refusal and returns R2_E_ARGUMENT.  `param` and `code` may be NULL.  Text that a client sent
 * may be among the arguments: what is no printable ASCII becomes '?'. */
r2_status r2i_refuse(r2i_refusal *refusal, int http, const char *param, const char *code,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));
/* {"error": {...}} appended to `out`; `type` follows from the status. */
R2_CHECKED r2_status r2i_refusal_write(const r2i_refusal *refusal, r2i_buffer *out);
/* "Bad Request" */
const char *r2i_http_reason(int http);
#endif
