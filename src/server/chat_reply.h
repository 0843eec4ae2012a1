/* chat_reply.h - what is sent back: completions, chunks of a stream, lists of models. */
#ifndef R2I_CHAT_REPLY_H
#define R2I_CHAT_REPLY_H
#include "server/job.h"
#include "server/server.h"

/* What all chunks of an answer have in common. */
typedef struct {
    const char *id, *model;
    int64_t created; /* seconds since 1970 */
    r2i_reasoning_field reasoning_field;
} r2i_reply_head;

/* "stop" or "length". */
const char *r2i_finish_reason(r2_finish finish);
/* A whole chat.completion from all that the job has written. */
R2_CHECKED r2_status r2i_reply_whole(const r2i_reply_head *head, r2i_job *job, r2i_buffer *out);
/* Server-sent events, appended: the first chunks with the roles; what the choices have written since the last
 * call, with the finish_reason of those that are done; the end of a job: usage where asked for, [DONE]. */
R2_CHECKED r2_status r2i_reply_first(const r2i_reply_head *head, const r2i_job *job,
                                     r2i_buffer *out);
R2_CHECKED r2_status r2i_reply_more(const r2i_reply_head *head, r2i_job *job, r2i_buffer *out);
R2_CHECKED r2_status r2i_reply_end(const r2i_reply_head *head, const r2i_job *job, r2i_buffer *out);
/* An error in the midst of a stream. */
R2_CHECKED r2_status r2i_reply_error(const r2i_refusal *refusal, r2i_buffer *out);
#endif
