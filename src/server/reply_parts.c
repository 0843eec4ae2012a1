#include "server/reply_parts.h"

#include <string.h>

#include "base/clock.h"
#include "base/failure.h"
#include "server/json_text.h"

enum { TOKEN_BYTES = 256 };

static const char fingerprint[] = "r2lm-" R2LM_VERSION;

json_t *r2i_reply_frame(const r2i_reply_head *h, const char *object, json_t *choices) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", h->id, "object", object, "created",
                     (json_int_t)h->created, "model", h->model_id, "system_fingerprint",
                     fingerprint, "choices", choices);
}

const char *r2i_finish_reason(r2_finish finish) {
    return finish == R2_FINISH_END ? "stop" : "length";
}

bool r2i_reply_is_over(const r2i_job *job) {
    for (int32_t i = 0; i < job->n_choices; i++) {
        if (!job->choices[i].out.is_end_sent) return false;
    }
    return job->out.is_done;
}

json_t *r2i_reply_usage(const r2i_job_out *o) {
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

/* n, milliseconds, per token and per second, as the fields named after `what`. */
static void add_rate(json_t *timings, const char *what, int32_t n, int64_t begin_ns,
                     int64_t end_ns) {
    static const char *const fields[][4] = {
        { "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second" },
        { "predicted_n", "predicted_ms", "predicted_per_token_ms", "predicted_per_second" },
    };
    const char *const *names = fields[strcmp(what, "prompt") == 0 ? 0 : 1];
    const double ms = begin_ns > 0 && end_ns > begin_ns ? (double)(end_ns - begin_ns) * 1e-6 : 0;
    (void)json_object_set_new(timings, names[0], json_integer(n));
    (void)json_object_set_new(timings, names[1], json_real(ms));
    (void)json_object_set_new(timings, names[2], json_real(n > 0 ? ms / n : 0));
    (void)json_object_set_new(timings, names[3], json_real(ms > 0 ? n * 1e3 / ms : 0));
}

json_t *r2i_reply_timings(const r2i_job_out *o) {
    json_t *timings = json_pack("{s:i}", "cache_n", o->n_cached);
    const int64_t read_ns = o->first_ns > 0 ? o->first_ns : o->end_ns;
    add_rate(timings, "prompt", o->n_prompt - o->n_cached, o->begin_ns, read_ns);
    add_rate(timings, "predicted", o->n_generated, o->first_ns, o->end_ns);
    if (o->n_drafted > 0) {
        (void)json_object_set_new(timings, "draft_n", json_integer(o->n_drafted));
        (void)json_object_set_new(timings, "draft_n_accepted", json_integer(o->n_accepted));
    }
    return timings;
}

/* ---- texts ---- */

json_t *r2i_json_of_buffer(const r2i_buffer *b) {
    return json_stringn(b->n_bytes > 0 ? b->bytes : "", b->n_bytes);
}

static size_t bytes_of(const r2_model *model, r2_token token, char out[TOKEN_BYTES]) {
    const size_t n = r2_token_bytes(model, token, out, TOKEN_BYTES);
    return n < TOKEN_BYTES ? n : TOKEN_BYTES;
}

json_t *r2i_json_of_token(const r2_model *model, r2_token token) {
    char text[TOKEN_BYTES];
    json_t *shown = json_stringn(text, bytes_of(model, token, text));
    return shown != NULL ? shown : json_string("\xef\xbf\xbd");
}

json_t *r2i_json_of_token_bytes(const r2_model *model, r2_token token) {
    char text[TOKEN_BYTES];
    const size_t n = bytes_of(model, token, text);
    json_t *bytes = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(bytes, json_integer((unsigned char)text[i]));
    return bytes;
}

/* ---- streams ---- */

r2_status r2i_reply_event(r2i_buffer *out, json_t *value) {
    r2_status status = r2i_buffer_append_text(out, "data: ", NULL);
    if (status != R2_OK) {
        json_decref(value);
        return status;
    }
    R2I_TRY(r2i_json_append(out, value));
    return r2i_buffer_append_text(out, "\n\n", NULL);
}

r2_status r2i_reply_progress(const r2i_reply_head *h, const char *object, r2i_job *job,
                             r2i_buffer *out) {
    r2i_job_out *o = &job->out;
    if (!o->has_progress) return R2_OK;
    o->has_progress = false;
    json_t *chunk = r2i_reply_frame(h, object, json_array());
    const int64_t ms = (r2i_clock_ns() - o->begin_ns) / 1000000;
    json_t *progress = json_pack("{s:i, s:i, s:i, s:I}", "total", o->n_prompt, "cache", o->n_cached,
                                 "processed", o->n_computed, "time_ms", (json_int_t)ms);
    (void)json_object_set_new(chunk, "prompt_progress", progress);
    if (job->wishes->wants_usage) (void)json_object_set_new(chunk, "usage", json_null());
    return r2i_reply_event(out, chunk);
}

r2_status r2i_reply_last(const r2i_reply_head *h, const char *object, const r2i_job *job,
                         r2i_buffer *out) {
    if (job->wishes->wants_usage) {
        json_t *chunk = r2i_reply_frame(h, object, json_array());
        (void)json_object_set_new(chunk, "usage", r2i_reply_usage(&job->out));
        (void)json_object_set_new(chunk, "timings", r2i_reply_timings(&job->out));
        R2I_TRY(r2i_reply_event(out, chunk));
    }
    return r2i_buffer_append_text(out, "data: [DONE]\n\n", NULL);
}

r2_status r2i_reply_error(const r2i_refusal *refusal, r2i_buffer *out) {
    R2I_TRY(r2i_buffer_append_text(out, "data: ", NULL));
    R2I_TRY(r2i_refusal_write(refusal, out));
    return r2i_buffer_append_text(out, "\n\n", NULL);
}
