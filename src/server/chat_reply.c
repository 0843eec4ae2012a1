#include "server/chat_reply.h"

#include "base/failure.h"
#include "server/json_text.h"

static const char fingerprint[] = "r2lm-" R2LM_VERSION;

const char *r2i_finish_reason(r2_finish finish) {
    return finish == R2_FINISH_END ? "stop" : "length";
}

static json_t *usage_of(const r2i_job_out *o) {
    json_t *usage = json_pack("{s:i, s:i, s:i}", "prompt_tokens", o->n_prompt, "completion_tokens",
                              o->n_generated, "total_tokens", o->n_prompt + o->n_generated);
    json_t *cache = json_pack("{s:i}", "cached_tokens", o->n_cached);
    json_t *thoughts = json_pack("{s:i}", "reasoning_tokens", o->n_thinking);
    (void)json_object_set_new(usage, "prompt_tokens_details", cache);
    (void)json_object_set_new(usage, "completion_tokens_details", thoughts);
    (void)json_object_set_new(usage, "prompt_cache_hit_tokens", json_integer(o->n_cached));
    (void)json_object_set_new(usage, "prompt_cache_miss_tokens",
                              json_integer(o->n_prompt - o->n_cached));
    return usage;
}

static json_t *text_of(const r2i_buffer *b) {
    return json_stringn(b->n_bytes > 0 ? b->bytes : "", b->n_bytes);
}

static json_t *take_logprobs(r2i_job *job) {
    if (!job->chat.wants_logprobs) return json_null();
    json_t *list = job->out.logprobs != NULL ? job->out.logprobs : json_array();
    job->out.logprobs = NULL;
    return json_pack("{s:o}", "content", list);
}

static json_t *frame(const r2i_reply_head *h, const char *object, json_t *choices) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", h->id, "object", object, "created",
                     (json_int_t)h->created, "model", h->model, "system_fingerprint", fingerprint,
                     "choices", choices);
}

r2_status r2i_reply_whole(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    const r2i_job_out *o = &job->out;
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content", text_of(&o->answer));
    if (o->thinking.n_bytes > 0)
        (void)json_object_set_new(message, "reasoning_content", text_of(&o->thinking));
    if (o->is_think_cut) (void)json_object_set_new(message, "reasoning_truncated", json_true());
    json_t *choices =
        json_pack("[{s:i, s:o, s:o, s:s}]", "index", 0, "message", message, "logprobs",
                  take_logprobs(job), "finish_reason", r2i_finish_reason(o->finish));
    json_t *reply = frame(h, "chat.completion", choices);
    (void)json_object_set_new(reply, "usage", usage_of(o));
    return r2i_json_append(out, reply);
}

/* ---- streams ---- */

static r2_status add_event(r2i_buffer *out, json_t *value) {
    R2I_TRY(r2i_buffer_append_text(out, "data: ", NULL));
    R2I_TRY(r2i_json_append(out, value));
    return r2i_buffer_append_text(out, "\n\n", NULL);
}

static r2_status add_chunk(const r2i_reply_head *h, const r2i_job *job, json_t *delta,
                           json_t *logprobs, const char *finish, r2i_buffer *out) {
    json_t *choices = json_pack("[{s:i, s:o, s:o, s:s?}]", "index", 0, "delta", delta, "logprobs",
                                logprobs, "finish_reason", finish);
    json_t *chunk = frame(h, "chat.completion.chunk", choices);
    if (job->chat.wants_usage) (void)json_object_set_new(chunk, "usage", json_null());
    return add_event(out, chunk);
}

r2_status r2i_reply_first(const r2i_reply_head *h, const r2i_job *job, r2i_buffer *out) {
    return add_chunk(h, job, json_pack("{s:s, s:s}", "role", "assistant", "content", ""),
                     json_null(), NULL, out);
}

r2_status r2i_reply_more(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    r2i_job_out *o = &job->out;
    if (o->thinking.n_bytes > 0) {
        json_t *delta = json_pack("{s:o}", "reasoning_content", text_of(&o->thinking));
        R2I_TRY(add_chunk(h, job, delta, json_null(), NULL, out));
        r2i_buffer_clear(&o->thinking);
    }
    if (o->answer.n_bytes == 0 && o->logprobs == NULL) return R2_OK;
    json_t *delta = json_pack("{s:o}", "content", text_of(&o->answer));
    r2i_buffer_clear(&o->answer);
    return add_chunk(h, job, delta, take_logprobs(job), NULL, out);
}

r2_status r2i_reply_end(const r2i_reply_head *h, const r2i_job *job, r2i_buffer *out) {
    R2I_TRY(add_chunk(h, job, json_object(), json_null(), r2i_finish_reason(job->out.finish), out));
    if (job->chat.wants_usage) {
        json_t *chunk = frame(h, "chat.completion.chunk", json_array());
        (void)json_object_set_new(chunk, "usage", usage_of(&job->out));
        R2I_TRY(add_event(out, chunk));
    }
    return r2i_buffer_append_text(out, "data: [DONE]\n\n", NULL);
}

r2_status r2i_reply_error(const r2i_refusal *refusal, r2i_buffer *out) {
    R2I_TRY(r2i_buffer_append_text(out, "data: ", NULL));
    R2I_TRY(r2i_refusal_write(refusal, out));
    return r2i_buffer_append_text(out, "\n\n", NULL);
}
