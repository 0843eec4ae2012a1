/* reply_parts.h - what replies of all endpoints are made of, and what kinds of replies there are. */
#ifndef R2I_REPLY_PARTS_H
#define R2I_REPLY_PARTS_H
#include <jansson.h>

#include "server/job.h"
#include "server/server.h"

/* What all chunks of an answer have in common. */
typedef struct {
    const char *id, *model_id;
    int64_t created; /* seconds since 1970 */
    const r2_model *model;
    r2i_reasoning_field reasoning_field;
} r2i_reply_head;

/* How an endpoint's answers look.  All append to `out`; the texts that they take from the job are gone from it. */
typedef struct {
    /* The reply to a request that is done. */
    r2_status (*whole)(const r2i_reply_head *head, r2i_job *job, r2i_buffer *out);
    /* Server-sent events: what comes first; what the choices have written since the last call, with the
     * end of those that are done; the end of a job that is done. */
    r2_status (*first)(const r2i_reply_head *head, r2i_job *job, r2i_buffer *out);
    r2_status (*more)(const r2i_reply_head *head, r2i_job *job, r2i_buffer *out);
    r2_status (*end)(const r2i_reply_head *head, r2i_job *job, r2i_buffer *out);
} r2i_reply_format;

/* {"id", "object", "created", "model", "system_fingerprint", "choices"}; takes `choices`. */
json_t *r2i_reply_frame(const r2i_reply_head *head, const char *object, json_t *choices);
json_t *r2i_reply_usage(const r2i_job_out *out);
/* llama.cpp's `timings`: counts and milliseconds of reading and writing. */
json_t *r2i_reply_timings(const r2i_job_out *out);
/* Is all of the answer sent, but for what r2i_reply_last adds? */
bool r2i_reply_is_over(const r2i_job *job);
/* "stop" or "length". */
const char *r2i_finish_reason(r2_finish finish);
json_t *r2i_json_of_buffer(const r2i_buffer *text);
/* The bytes of one token as a text; with U+FFFD where they are none. */
json_t *r2i_json_of_token(const r2_model *model, r2_token token);
/* The same as numbers. */
json_t *r2i_json_of_token_bytes(const r2_model *model, r2_token token);

/* "data: {...}" and a blank line; takes `value`. */
R2_CHECKED r2_status r2i_reply_event(r2i_buffer *out, json_t *value);
/* How far the prompts are read, if that is to be said now. */
R2_CHECKED r2_status r2i_reply_progress(const r2i_reply_head *head, const char *object,
                                        r2i_job *job, r2i_buffer *out);
/* Usage where asked for, [DONE]. */
R2_CHECKED r2_status r2i_reply_last(const r2i_reply_head *head, const char *object,
                                    const r2i_job *job, r2i_buffer *out);
/* An error in the midst of a stream. */
R2_CHECKED r2_status r2i_reply_error(const r2i_refusal *refusal, r2i_buffer *out);
#endif
