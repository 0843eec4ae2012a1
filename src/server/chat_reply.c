#include "server/chat_reply.h"

#include "base/failure.h"
#include "server/json_text.h"

static const char object_name[] = "chat.completion.chunk";

static json_t *describe_token(const r2_model *model, r2_token token, float logprob) {
    return json_pack("{s:o, s:f, s:o}", "token", r2i_json_of_token(model, token), "logprob",
                     (double)logprob, "bytes", r2i_json_of_token_bytes(model, token));
}

static json_t *take_logprobs(const r2i_reply_head *h, r2i_choice *choice) {
    r2i_buffer *b = &choice->out.logprobs;
    if (!choice->wishes->wants_logprobs) return json_null();
    json_t *content = json_array();
    const r2i_token_logprob *tokens = (const void *)b->bytes;
    for (size_t i = 0; i < b->n_bytes / sizeof *tokens; i++) {
        const r2i_token_logprob *t = &tokens[i];
        json_t *token = describe_token(h->model, t->token, t->logprob), *top = json_array();
        for (int32_t k = 0; k < t->n_top; k++)
            (void)json_array_append_new(
                top, describe_token(h->model, t->top[k].token, t->top[k].logprob));
        (void)json_object_set_new(token, "top_logprobs", top);
        (void)json_array_append_new(content, token);
    }
    r2i_buffer_clear(b);
    return json_pack("{s:o}", "content", content);
}

/* To a message or a delta; under no, one or two names. */
static void add_thoughts(const r2i_reply_head *h, const r2i_choice *choice, json_t *to) {
    const r2i_reasoning_field field = h->reasoning_field;
    json_t *thoughts =
        choice->out.thinking.n_bytes > 0 ? r2i_json_of_buffer(&choice->out.thinking) : NULL;
    if (thoughts == NULL) return;
    if (field == R2I_REASONING_CONTENT || field == R2I_REASONING_BOTH)
        (void)json_object_set(to, "reasoning_content", thoughts);
    if (field == R2I_REASONING || field == R2I_REASONING_BOTH)
        (void)json_object_set(to, "reasoning", thoughts);
    json_decref(thoughts);
}

static const char *finish_of(const r2i_choice *choice) {
    const r2i_choice_out *o = &choice->out;
    return r2i_call_list_count(&o->calls) > 0 && o->finish == R2_FINISH_END
               ? "tool_calls"
               : r2i_finish_reason(o->finish);
}

static json_t *whole_choice(const r2i_reply_head *h, r2i_choice *choice) {
    const r2i_choice_out *o = &choice->out;
    const bool has_calls = r2i_call_list_count(&o->calls) > 0;
    json_t *content =
        has_calls && o->answer.n_bytes == 0 ? json_null() : r2i_json_of_buffer(&o->answer);
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content", content);
    add_thoughts(h, choice, message);
    if (has_calls)
        (void)json_object_set_new(message, "tool_calls",
                                  r2i_call_list_whole(&o->calls, h->id, choice->index));
    json_t *whole =
        json_pack("{s:i, s:o, s:o, s:s}", "index", choice->index, "message", message, "logprobs",
                  take_logprobs(h, choice), "finish_reason", finish_of(choice));
    if (o->is_think_cut) (void)json_object_set_new(whole, "reasoning_truncated", json_true());
    return whole;
}

static r2_status write_whole(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    json_t *choices = json_array();
    for (int32_t i = 0; i < job->n_choices; i++)
        (void)json_array_append_new(choices, whole_choice(h, &job->choices[i]));
    json_t *reply = r2i_reply_frame(h, "chat.completion", choices);
    (void)json_object_set_new(reply, "usage", r2i_reply_usage(&job->out));
    (void)json_object_set_new(reply, "timings", r2i_reply_timings(&job->out));
    return r2i_json_append(out, reply);
}

/* ---- streams ---- */

static r2_status add_chunk(const r2i_reply_head *h, const r2i_choice *choice, json_t *delta,
                           json_t *logprobs, const char *finish, r2i_buffer *out) {
    json_t *choices = json_pack("[{s:i, s:o, s:o, s:s?}]", "index", choice->index, "delta", delta,
                                "logprobs", logprobs, "finish_reason", finish);
    if (finish != NULL && choice->out.is_think_cut)
        (void)json_object_set_new(json_array_get(choices, 0), "reasoning_truncated", json_true());
    json_t *chunk = r2i_reply_frame(h, object_name, choices);
    if (choice->wishes->wants_usage)
        (void)json_object_set_new(chunk, "usage", json_null());
    else if (r2i_reply_is_over(choice->job))
        (void)json_object_set_new(chunk, "timings", r2i_reply_timings(&choice->job->out));
    return r2i_reply_event(out, chunk);
}

/* All of them in ascending order: clients make room for one more when they see an index that is new. */
static r2_status write_first(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    for (int32_t i = 0; i < job->n_choices; i++) {
        json_t *delta = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        R2I_TRY(add_chunk(h, &job->choices[i], delta, json_null(), NULL, out));
    }
    return R2_OK;
}

/* One chunk each: clients keep the first list that they see as it is. */
static r2_status add_calls(const r2i_reply_head *h, r2i_choice *choice, r2i_buffer *out) {
    json_t *deltas = r2i_call_list_take(&choice->out.calls, h->id, choice->index);
    r2_status status = R2_OK;
    for (size_t i = 0; status == R2_OK && i < json_array_size(deltas); i++) {
        json_t *delta = json_pack("{s:[O]}", "tool_calls", json_array_get(deltas, i));
        status = add_chunk(h, choice, delta, json_null(), NULL, out);
    }
    json_decref(deltas);
    return status;
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
    if (o->answer.n_bytes > 0 || o->logprobs.n_bytes > 0) {
        json_t *delta = json_pack("{s:o}", "content", r2i_json_of_buffer(&o->answer));
        r2i_buffer_clear(&o->answer);
        R2I_TRY(add_chunk(h, choice, delta, take_logprobs(h, choice), NULL, out));
    }
    return add_calls(h, choice, out);
}

static r2_status write_more(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    R2I_TRY(r2i_reply_progress(h, object_name, job, out));
    for (int32_t i = 0; i < job->n_choices; i++) {
        r2i_choice *choice = &job->choices[i];
        R2I_TRY(add_more(h, choice, out));
        if (!choice->out.is_done || choice->out.is_end_sent || job->out.refusal.http != 0) continue;
        choice->out.is_end_sent = true;
        R2I_TRY(add_chunk(h, choice, json_object(), json_null(), finish_of(choice), out));
    }
    return R2_OK;
}

static r2_status write_end(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    return r2i_reply_last(h, object_name, job, out);
}

const r2i_reply_format r2i_chat_format = { write_whole, write_first, write_more, write_end };
