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

static json_t *take_logprobs(r2i_choice *choice) {
    if (!choice->wishes->wants_logprobs) return json_null();
    json_t *list = choice->out.logprobs != NULL ? choice->out.logprobs : json_array();
    choice->out.logprobs = NULL;
    return json_pack("{s:o}", "content", list);
}

static json_t *frame(const r2i_reply_head *h, const char *object, json_t *choices) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", h->id, "object", object, "created",
                     (json_int_t)h->created, "model", h->model, "system_fingerprint", fingerprint,
                     "choices", choices);
}

/* To a message or a delta; under no, one or two names. */
static void add_thoughts(const r2i_reply_head *h, const r2i_choice *choice, json_t *to) {
    const r2i_reasoning_field field = h->reasoning_field;
    json_t *thoughts = choice->out.thinking.n_bytes > 0 ? text_of(&choice->out.thinking) : NULL;
    if (thoughts == NULL) return;
    if (field == R2I_REASONING_CONTENT || field == R2I_REASONING_BOTH)
        (void)json_object_set(to, "reasoning_content", thoughts);
    if (field == R2I_REASONING || field == R2I_REASONING_BOTH)
        (void)json_object_set(to, "reasoning", thoughts);
    json_decref(thoughts);
}

static json_t *whole_choice(const r2i_reply_head *h, r2i_choice *choice) {
    const r2i_choice_out *o = &choice->out;
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content", text_of(&o->answer));
    add_thoughts(h, choice, message);
    json_t *whole =
        json_pack("{s:i, s:o, s:o, s:s}", "index", choice->index, "message", message, "logprobs",
                  take_logprobs(choice), "finish_reason", r2i_finish_reason(o->finish));
    if (o->is_think_cut) (void)json_object_set_new(whole, "reasoning_truncated", json_true());
    return whole;
}

r2_status r2i_reply_whole(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    json_t *choices = json_array();
    for (int32_t i = 0; i < job->n_choices; i++)
        (void)json_array_append_new(choices, whole_choice(h, &job->choices[i]));
    json_t *reply = frame(h, "chat.completion", choices);
    (void)json_object_set_new(reply, "usage", usage_of(&job->out));
    return r2i_json_append(out, reply);
}

/* ---- streams ---- */

static r2_status add_event(r2i_buffer *out, json_t *value) {
    R2I_TRY(r2i_buffer_append_text(out, "data: ", NULL));
    R2I_TRY(r2i_json_append(out, value));
    return r2i_buffer_append_text(out, "\n\n", NULL);
}

static r2_status add_chunk(const r2i_reply_head *h, const r2i_choice *choice, json_t *delta,
                           json_t *logprobs, const char *finish, r2i_buffer *out) {
    json_t *choices = json_pack("[{s:i, s:o, s:o, s:s?}]", "index", choice->index, "delta", delta,
                                "logprobs", logprobs, "finish_reason", finish);
    if (finish != NULL && choice->out.is_think_cut)
        (void)json_object_set_new(json_array_get(choices, 0), "reasoning_truncated", json_true());
    json_t *chunk = frame(h, "chat.completion.chunk", choices);
    if (choice->wishes->wants_usage) (void)json_object_set_new(chunk, "usage", json_null());
    return add_event(out, chunk);
}

/* All of them in ascending order: clients make room for one more when they see an index that is new. */
r2_status r2i_reply_first(const r2i_reply_head *h, const r2i_job *job, r2i_buffer *out) {
    for (int32_t i = 0; i < job->n_choices; i++) {
        json_t *delta = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        R2I_TRY(add_chunk(h, &job->choices[i], delta, json_null(), NULL, out));
    }
    return R2_OK;
}

static r2_status add_more(const r2i_reply_head *h, r2i_choice *choice, r2i_buffer *out) {
    r2i_choice_out *o = &choice->out;
    if (o->thinking.n_bytes > 0) {
        json_t *delta = json_object();
        add_thoughts(h, choice, delta);
        if (json_object_size(delta) > 0)
            R2I_TRY(add_chunk(h, choice, delta, json_null(), NULL, out));
        else
            json_decref(delta);
        r2i_buffer_clear(&o->thinking);
    }
    if (o->answer.n_bytes == 0 && o->logprobs == NULL) return R2_OK;
    json_t *delta = json_pack("{s:o}", "content", text_of(&o->answer));
    r2i_buffer_clear(&o->answer);
    return add_chunk(h, choice, delta, take_logprobs(choice), NULL, out);
}

r2_status r2i_reply_more(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    for (int32_t i = 0; i < job->n_choices; i++) {
        r2i_choice *choice = &job->choices[i];
        R2I_TRY(add_more(h, choice, out));
        if (!choice->out.is_done || choice->out.is_end_sent || job->out.refusal.http != 0) continue;
        choice->out.is_end_sent = true;
        R2I_TRY(add_chunk(h, choice, json_object(), json_null(),
                          r2i_finish_reason(choice->out.finish), out));
    }
    return R2_OK;
}

r2_status r2i_reply_end(const r2i_reply_head *h, const r2i_job *job, r2i_buffer *out) {
    if (job->wishes->wants_usage) {
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
