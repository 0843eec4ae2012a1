/* reply_head.h - the headers of replies that do not depend on the route: who may read them, when to come back. */
#ifndef R2I_REPLY_HEAD_H
#define R2I_REPLY_HEAD_H
#include "server/server_state.h"

typedef void (*r2i_header_put)(void *to, const char *name, const char *value);

/* "req_" and 24 digits that were not used before. */
void r2i_request_id_make(r2i_server *server, char out[R2I_REQUEST_ID_BYTES]);
/* Every reply's: X-Request-Id, what keeps pages from misusing it, and for the page of an added origin the
 * permission to read it. */
void r2i_reply_head_put(const r2i_server *server, const char *id, r2i_span origin,
                        r2i_header_put put, void *to);
/* Of an error: may the client try again, and when? */
void r2i_retry_head_put(const r2i_server *server, int http, r2i_header_put put, void *to);
/* X-R2-Cache: how much of the prompt was known, and why not more; nothing before that was looked up. */
void r2i_cache_head_put(const r2i_job_out *out, r2i_header_put put, void *to);
/* To a request that begins: a new identity and the headers of every reply. */
void r2i_reply_head_begin(r2i_server *server, struct evhttp_request *request);
/* The identity that it got; "-" without one. */
const char *r2i_request_id_of(struct evhttp_request *request);
/* The answer to a page of an added origin that asks whether it may ask. */
void r2i_preflight_send(r2i_server *server, struct evhttp_request *request);
/* For r2i_header_put: `to` is a struct evhttp_request. */
void r2i_header_add(void *request, const char *name, const char *value);
#endif
