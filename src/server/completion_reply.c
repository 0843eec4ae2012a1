#include "server/completion_reply.h"

#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "base/utf8_valid.h"
#include "server/json_text.h"

enum { TOKEN_BYTES = 256 };

static const char object_name[] = "text_completion";

/* ---- log-probabilities ---- */

/* A token that is no text by itself is named by its bytes, so that no two tokens have one name. */
static void name_token(const r2_model *model, r2_token token, char out[4 * TOKEN_BYTES + 8]) {
    char bytes[TOKEN_BYTES];
    size_t n = r2_token_bytes(model, token, bytes, sizeof bytes);
    if (n > sizeof bytes) n = sizeof bytes;
    if (r2i_utf8_is_valid(bytes, n) && memchr(bytes, '\0', n) == NULL) {
        memcpy(out, bytes, n);
        out[n] = '\0';
        return;
    }
    static const char digits[] = "0123456789abcdef", prefix[] = "bytes:";
    char *at = out + sizeof prefix - 1;
    memcpy(out, prefix, sizeof prefix);
    for (size_t i = 0; i < n; i++, at += 4) {
        const unsigned char byte = (unsigned char)bytes[i];
        const char code[] = { '\\', 'x', digits[byte >> 4], digits[byte & 15], '\0' };
        memcpy(at, code, sizeof code);
    }
}

/* The likeliest and the token itself; null for the first of a prompt. */
static json_t *describe_top(const r2_model *model, const r2i_token_logprob *t, const char *name) {
    char other[4 * TOKEN_BYTES + 8];
    if (isnan(t->logprob)) return json_null();
    json_t *top = json_object();
    for (int32_t i = 0; i < t->n_top; i++) {
        name_token(model, t->top[i].token, other);
        if (json_object_get(top, other) == NULL)
            (void)json_object_set_new(top, other, json_real((double)t->top[i].logprob));
    }
    if (json_object_get(top, name) == NULL)
        (void)json_object_set_new(top, name, json_real((double)t->logprob));
    return top;
}

/* Takes the tokens that begin within the text given so far; those of a stop text are never among them. */
static json_t *take_logprobs(const r2i_reply_head *h, r2i_choice *choice) {
    r2i_choice_out *o = &choice->out;
    const r2i_token_logprob *tokens = (const void *)o->logprobs.bytes;
    const size_t n_all = o->logprobs.n_bytes / sizeof *tokens;
    const bool takes_all = o->is_done && !choice->stop.is_over;
    char name[4 * TOKEN_BYTES + 8];
    size_t n = 0;
    if (!choice->wishes->wants_logprobs) return json_null();
    json_t *names = json_array(), *logprobs = json_array(), *top = json_array(),
           *offsets = json_array();
    for (; n < n_all && (takes_all || tokens[n].offset < o->n_sent_characters); n++) {
        const r2i_token_logprob *t = &tokens[n];
        name_token(h->model, t->token, name);
        (void)json_array_append_new(names, json_string(name));
        (void)json_array_append_new(logprobs, isnan(t->logprob) ? json_null()
                                                                : json_real((double)t->logprob));
        (void)json_array_append_new(top, describe_top(h->model, t, name));
        (void)json_array_append_new(offsets, json_integer(t->offset));
    }
    if (n > 0)
        memmove(o->logprobs.bytes, o->logprobs.bytes + n * sizeof *tokens,
                (n_all - n) * sizeof *tokens);
    o->logprobs.n_bytes -= n * sizeof *tokens;
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", names, "token_logprobs", logprobs,
                     "top_logprobs", top, "text_offset", offsets);
}

/* ---- choices ---- */

static json_t *take_text(r2i_choice_out *o) {
    json_t *text = r2i_json_of_buffer(&o->answer);
    for (size_t i = 0; i < o->answer.n_bytes; i++)
        o->n_sent_characters += ((unsigned char)o->answer.bytes[i] & 0xc0) != 0x80;
    r2i_buffer_clear(&o->answer);
    return text;
}

static json_t *describe(const r2i_reply_head *h, r2i_choice *choice, const char *finish) {
    json_t *text = take_text(&choice->out);
    return json_pack("{s:o, s:i, s:o, s:s?}", "text", text, "index", choice->index, "logprobs",
                     take_logprobs(h, choice), "finish_reason", finish);
}

static r2_status write_whole(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    json_t *choices = json_array();
    for (int32_t i = 0; i < job->n_choices; i++) {
        r2i_choice *choice = &job->choices[i];
        (void)json_array_append_new(choices,
                                    describe(h, choice, r2i_finish_reason(choice->out.finish)));
    }
    json_t *reply = r2i_reply_frame(h, object_name, choices);
    (void)json_object_set_new(reply, "usage", r2i_reply_usage(&job->out));
    (void)json_object_set_new(reply, "timings", r2i_reply_timings(&job->out));
    return r2i_json_append(out, reply);
}

/* ---- streams ---- */

static r2_status add_chunk(const r2i_reply_head *h, r2i_choice *choice, const char *finish,
                           r2i_buffer *out) {
    const r2i_job *job = choice->job;
    json_t *chunk = r2i_reply_frame(h, object_name, json_pack("[o]", describe(h, choice, finish)));
    if (job->wishes->wants_usage)
        (void)json_object_set_new(chunk, "usage", json_null());
    else if (r2i_reply_is_over(job))
        (void)json_object_set_new(chunk, "timings", r2i_reply_timings(&job->out));
    return r2i_reply_event(out, chunk);
}

static r2_status write_first(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    (void)h;
    (void)job;
    (void)out;
    return R2_OK;
}

static r2_status write_more(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    R2I_TRY(r2i_reply_progress(h, object_name, job, out));
    for (int32_t i = 0; i < job->n_choices; i++) {
        r2i_choice *choice = &job->choices[i];
        const r2i_choice_out *o = &choice->out;
        if (o->is_done && !o->is_end_sent && job->out.refusal.http == 0) {
            choice->out.is_end_sent = true;
            R2I_TRY(add_chunk(h, choice, r2i_finish_reason(o->finish), out));
        } else if (o->answer.n_bytes > 0) {
            R2I_TRY(add_chunk(h, choice, NULL, out));
        }
    }
    return R2_OK;
}

static r2_status write_end(const r2i_reply_head *h, r2i_job *job, r2i_buffer *out) {
    return r2i_reply_last(h, object_name, job, out);
}

const r2i_reply_format r2i_completion_format = { write_whole, write_first, write_more, write_end };
