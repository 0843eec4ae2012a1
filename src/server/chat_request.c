#include "server/chat_request.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "server/json_text.h"

enum { MAX_CONTENT_BYTES = 1 << 26 };

typedef enum { TEXT, FLAG, COUNT, REAL, OBJECT, ARRAY, SPECIAL, REFUSED, LEFT_ALONE } kind;

/* Where the values of the table's fields go. */
typedef struct {
    int64_t max_tokens, max_completion_tokens, n, top_k, seed, top_logprobs;
    int64_t budget, budget_2;
    double temperature, top_p, min_p, presence_penalty, frequency_penalty, repetition_penalty;
    bool is_stream, wants_logprobs, enables_thinking;
    const char *effort;
} values;

typedef struct {
    const char *name;
    kind kind;
    size_t offset;
    double low, high;
} field;

#define AT(name) offsetof(values, name)
static const field fields[] = {
    { "model", TEXT, SIZE_MAX, 0, 0 },
    { "messages", ARRAY, SIZE_MAX, 0, 0 },
    { "max_tokens", COUNT, AT(max_tokens), 1, 1 << 24 },
    { "max_completion_tokens", COUNT, AT(max_completion_tokens), 1, 1 << 24 },
    { "temperature", REAL, AT(temperature), 0, 2 },
    { "top_p", REAL, AT(top_p), 0, 1 },
    { "top_k", COUNT, AT(top_k), 0, 1 << 24 },
    { "min_p", REAL, AT(min_p), 0, 1 },
    { "presence_penalty", REAL, AT(presence_penalty), -2, 2 },
    { "frequency_penalty", REAL, AT(frequency_penalty), -2, 2 },
    { "repetition_penalty", REAL, AT(repetition_penalty), 0, 10 },
    { "seed", COUNT, AT(seed), -9223372036854775808.0, 9223372036854774784.0 },
    { "n", COUNT, AT(n), 1, 1 },
    { "stop", SPECIAL, 0, 0, 0 },
    { "stream", FLAG, AT(is_stream), 0, 0 },
    { "stream_options", OBJECT, SIZE_MAX, 0, 0 },
    { "logprobs", FLAG, AT(wants_logprobs), 0, 0 },
    { "top_logprobs", COUNT, AT(top_logprobs), 0, 20 },
    { "reasoning_effort", TEXT, AT(effort), 0, 0 },
    { "thinking", OBJECT, SIZE_MAX, 0, 0 },
    { "enable_thinking", FLAG, AT(enables_thinking), 0, 0 },
    { "reasoning_budget_tokens", COUNT, AT(budget), 0, 1 << 24 },
    { "thinking_token_budget", COUNT, AT(budget_2), 0, 1 << 24 },
    { "chat_template_kwargs", OBJECT, SIZE_MAX, 0, 0 },
    { "response_format", SPECIAL, 0, 0, 0 },
    { "tools", REFUSED, 0, 0, 0 },
    { "tool_choice", SPECIAL, 0, 0, 0 },
    { "functions", REFUSED, 0, 0, 0 },
    { "function_call", SPECIAL, 0, 0, 0 },
    { "logit_bias", REFUSED, 0, 0, 0 },
    { "modalities", SPECIAL, 0, 0, 0 },
    { "audio", REFUSED, 0, 0, 0 },
    { "prediction", REFUSED, 0, 0, 0 },
    { "web_search_options", REFUSED, 0, 0, 0 },
    { "grammar", REFUSED, 0, 0, 0 },
    { "json_schema", REFUSED, 0, 0, 0 },
    { "return_progress", REFUSED, 0, 0, 0 },
    { "user", TEXT, SIZE_MAX, 0, 0 },
    { "user_id", TEXT, SIZE_MAX, 0, 0 },
    { "prompt_cache_key", TEXT, SIZE_MAX, 0, 0 },
    { "metadata", OBJECT, SIZE_MAX, 0, 0 },
    { "store", FLAG, SIZE_MAX, 0, 0 },
    { "parallel_tool_calls", FLAG, SIZE_MAX, 0, 0 },
    { "verbosity", LEFT_ALONE, 0, 0, 0 },
    { "service_tier", LEFT_ALONE, 0, 0, 0 },
};

static const char *type_name(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}

static r2_status refuse_type(r2i_refusal *refusal, const char *name, const char *expected,
                             const json_t *found) {
    return r2i_refuse(refusal, 400, name, "invalid_type", "%s: expected %s, found %s", name,
                      expected, found != NULL ? type_name(found) : "nothing");
}

static r2_status refuse_unsupported(r2i_refusal *refusal, const char *name) {
    return r2i_refuse(refusal, 400, name, "unsupported_parameter",
                      "%s: not supported yet by this server", name);
}

/* ---- single fields ---- */

static r2_status read_count(const field *f, const json_t *value, int64_t *out, r2i_refusal *r) {
    if (!json_is_integer(value)) return refuse_type(r, f->name, "a whole number", value);
    const int64_t number = json_integer_value(value);
    if ((double)number < f->low || (double)number > f->high)
        return r2i_refuse(r, 400, f->name, "out_of_range", "%s: expected %.0f to %.0f, found %lld",
                          f->name, f->low, f->high, (long long)number);
    if (out != NULL) *out = number;
    return R2_OK;
}

static r2_status read_real(const field *f, const json_t *value, double *out, r2i_refusal *r) {
    if (!json_is_number(value)) return refuse_type(r, f->name, "a number", value);
    const double number = json_number_value(value);
    if (!isfinite(number) || number < f->low || number > f->high)
        return r2i_refuse(r, 400, f->name, "out_of_range", "%s: expected %g to %g, found %g",
                          f->name, f->low, f->high, number);
    *out = number;
    return R2_OK;
}

/* Nothing but what means "none of it". */
static bool asks_nothing(const json_t *value) {
    return json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static r2_status read_field(const field *f, const json_t *value, values *out, r2i_refusal *r) {
    char *to = f->offset != SIZE_MAX ? (char *)out + f->offset : NULL;
    switch (f->kind) {
    case TEXT:
        if (!json_is_string(value)) return refuse_type(r, f->name, "a text", value);
        if (to != NULL) *(const char **)(void *)to = json_string_value(value);
        return R2_OK;
    case FLAG:
        if (!json_is_boolean(value)) return refuse_type(r, f->name, "true or false", value);
        if (to != NULL) *(bool *)to = json_is_true(value);
        return R2_OK;
    case COUNT:
        return read_count(f, value, (int64_t *)(void *)to, r);
    case REAL:
        return read_real(f, value, (double *)(void *)to, r);
    case OBJECT:
        return json_is_object(value) ? R2_OK : refuse_type(r, f->name, "an object", value);
    case ARRAY:
        return json_is_array(value) ? R2_OK : refuse_type(r, f->name, "an array", value);
    case REFUSED:
        return asks_nothing(value) ? R2_OK : refuse_unsupported(r, f->name);
    case SPECIAL:
    case LEFT_ALONE:
        break;
    }
    return R2_OK;
}

static r2_status read_fields(const json_t *body, values *out, r2i_refusal *r) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_object_get(body, fields[i].name);
        if (value == NULL || json_is_null(value)) continue;
        R2I_TRY(read_field(&fields[i], value, out, r));
    }
    return R2_OK;
}

/* ---- fields of several forms ---- */

static r2_status read_stop(r2i_chat_request *q, r2i_refusal *r) {
    const json_t *stop = json_object_get(q->body, "stop");
    const size_t n = json_array_size(stop);
    if (stop == NULL || json_is_null(stop)) return R2_OK;
    if (!json_is_string(stop) && !json_is_array(stop))
        return refuse_type(r, "stop", "a text or an array of texts", stop);
    if (n > R2I_MAX_STOPS)
        return r2i_refuse(r, 400, "stop", "out_of_range", "stop: expected at most %d texts",
                          R2I_MAX_STOPS);
    for (size_t i = 0; i < (json_is_array(stop) ? n : 1); i++) {
        const json_t *item = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(item)) return refuse_type(r, "stop", "texts in the array", item);
        if (json_string_length(item) == 0 || json_string_length(item) > 1024)
            return r2i_refuse(r, 400, "stop", "out_of_range",
                              "stop: expected texts of 1 to 1024 bytes");
        q->wishes.stops[q->wishes.n_stops++] = json_string_value(item);
    }
    return R2_OK;
}

static bool is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* Refused unless it asks for what is done anyway. */
static r2_status check_formats(const json_t *body, r2i_refusal *r) {
    const json_t *format = json_object_get(body, "response_format");
    const json_t *choice = json_object_get(body, "tool_choice");
    const json_t *call = json_object_get(body, "function_call");
    const json_t *modalities = json_object_get(body, "modalities");
    if (format != NULL && !json_is_null(format)) {
        if (!json_is_object(format)) return refuse_type(r, "response_format", "an object", format);
        if (!json_is_string(json_object_get(format, "type")))
            return refuse_type(r, "response_format.type", "a text",
                               json_object_get(format, "type"));
        if (!is_text(json_object_get(format, "type"), "text"))
            return refuse_unsupported(r, "response_format");
    }
    if (choice != NULL && !asks_nothing(choice) && !is_text(choice, "none") &&
        !is_text(choice, "auto"))
        return refuse_unsupported(r, "tool_choice");
    if (call != NULL && !asks_nothing(call) && !is_text(call, "none") && !is_text(call, "auto"))
        return refuse_unsupported(r, "function_call");
    for (size_t i = 0; i < json_array_size(modalities); i++) {
        if (!is_text(json_array_get(modalities, i), "text"))
            return refuse_unsupported(r, "modalities");
    }
    if (modalities != NULL && !json_is_null(modalities) && !json_is_array(modalities))
        return refuse_type(r, "modalities", "an array", modalities);
    return R2_OK;
}

static r2_status read_stream_options(r2i_chat_request *q, r2i_refusal *r) {
    const json_t *o = json_object_get(q->body, "stream_options");
    const json_t *usage = json_object_get(o, "include_usage");
    if (usage == NULL || json_is_null(usage)) return R2_OK;
    if (!json_is_boolean(usage))
        return refuse_type(r, "stream_options.include_usage", "true or false", usage);
    q->wishes.wants_usage = json_is_true(usage);
    return R2_OK;
}

/* ---- thinking ---- */

static r2_status read_effort(r2i_chat_request *q, const char *effort, r2i_refusal *r) {
    static const struct {
        const char *name, *told; /* what the template is told */
        int32_t budget;
    } efforts[] = {
        { "none", NULL, 0 },        { "minimal", "low", 1024 }, { "low", "low", 1024 },
        { "medium", "high", 8192 }, { "high", "high", 8192 },   { "xhigh", "high", 8192 },
        { "max", "max", 0 },        { "ultra", "max", 0 },
    };
    if (effort == NULL) return R2_OK;
    for (size_t i = 0; i < sizeof efforts / sizeof *efforts; i++) {
        if (strcmp(effort, efforts[i].name) != 0) continue;
        q->wishes.options.think = efforts[i].told != NULL ? R2_THINK_AUTO : R2_THINK_OFF;
        q->wishes.options.think_budget = efforts[i].budget;
        if (efforts[i].told != NULL)
            (void)json_object_set_new(q->extra, "reasoning_effort", json_string(efforts[i].told));
        return R2_OK;
    }
    return r2i_refuse(r, 400, "reasoning_effort", "invalid_value",
                      "reasoning_effort: expected none, minimal, low, medium, high, xhigh, max or "
                      "ultra, found \"%.40s\"",
                      effort);
}

static r2_status read_thinking(r2i_chat_request *q, int64_t *budget, r2i_refusal *r) {
    static const field budget_field = { "thinking.budget_tokens", COUNT, 0, 0, 1 << 24 };
    const json_t *o = json_object_get(q->body, "thinking");
    const json_t *type = json_object_get(o, "type");
    const json_t *tokens = json_object_get(o, "budget_tokens");
    if (!json_is_object(o)) return R2_OK;
    if (is_text(type, "enabled") || is_text(type, "adaptive"))
        q->wishes.options.think = R2_THINK_AUTO;
    else if (is_text(type, "disabled"))
        q->wishes.options.think = R2_THINK_OFF;
    else
        return r2i_refuse(r, 400, "thinking.type", "invalid_value",
                          "thinking.type: expected enabled, disabled or adaptive");
    if (tokens == NULL || json_is_null(tokens)) return R2_OK;
    return read_count(&budget_field, tokens, budget, r);
}

static r2_status read_template_values(r2i_chat_request *q, r2i_refusal *r) {
    static const char *const ours[] = { "messages", "tools", "add_generation_prompt", "bos_token",
                                        "eos_token" };
    json_t *o = json_object_get(q->body, "chat_template_kwargs");
    const json_t *enable = json_object_get(o, "enable_thinking");
    if (!json_is_object(o)) return R2_OK;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (json_object_get(o, ours[i]) != NULL)
            return r2i_refuse(r, 400, "chat_template_kwargs", "invalid_value",
                              "chat_template_kwargs: %s cannot be given here", ours[i]);
    }
    if (enable != NULL)
        q->wishes.options.think = json_is_false(enable) ? R2_THINK_OFF : R2_THINK_AUTO;
    return json_object_update(q->extra, o) == 0
               ? R2_OK
               : r2i_refuse(r, 503, NULL, NULL, "no memory for the request");
}

/* The latter is the stronger: effort, the template's variables, on and off, budgets. */
static r2_status read_reasoning(r2i_chat_request *q, const values *v, r2i_refusal *r) {
    int64_t budget = v->budget >= 0 ? v->budget : v->budget_2;
    R2I_TRY(read_effort(q, v->effort, r));
    R2I_TRY(read_template_values(q, r));
    const json_t *enable = json_object_get(q->body, "enable_thinking");
    if (json_is_boolean(enable))
        q->wishes.options.think = v->enables_thinking ? R2_THINK_AUTO : R2_THINK_OFF;
    R2I_TRY(read_thinking(q, &budget, r));
    if (budget >= 0) q->wishes.options.think_budget = budget == 0 ? -1 : (int32_t)budget;
    return R2_OK;
}

/* ---- messages ---- */

static r2_status refuse_message(r2i_refusal *r, size_t i, const char *key, const char *what) {
    char name[64];
    (void)snprintf(name, sizeof name, "messages[%zu]%s%s", i, key != NULL ? "." : "",
                   key != NULL ? key : "");
    return r2i_refuse(r, 400, name, "invalid_value", "%s: %s", name, what);
}

static r2_status add_part(const json_t *part, size_t i, r2i_buffer *all, r2i_refusal *r) {
    const json_t *text = json_object_get(part, "text");
    if (!is_text(json_object_get(part, "type"), "text") || !json_is_string(text))
        return refuse_message(r, i, "content",
                              "expected parts of the form {\"type\": \"text\", \"text\": ...}; "
                              "images, audio and files are not supported");
    return r2i_buffer_append_text(all, json_string_value(text), NULL) == R2_OK
               ? R2_OK
               : r2i_refuse(r, 503, NULL, NULL, "no memory for the messages");
}

/* A text, or the texts of its parts one behind the other. */
static r2_status read_content(const json_t *content, size_t i, json_t **out, r2i_refusal *r) {
    if (json_is_string(content)) {
        *out = json_string(json_string_value(content));
        return *out != NULL ? R2_OK : r2i_refuse(r, 503, NULL, NULL, "no memory");
    }
    if (!json_is_array(content))
        return refuse_message(r, i, "content", "expected a text or an array of parts");
    r2i_heap heap;
    r2i_buffer all;
    r2i_heap_init(&heap);
    r2i_buffer_init(&all, &heap, MAX_CONTENT_BYTES);
    r2_status status = R2_OK;
    for (size_t p = 0; status == R2_OK && p < json_array_size(content); p++)
        status = add_part(json_array_get(content, p), i, &all, r);
    if (status == R2_OK) *out = json_stringn(all.n_bytes > 0 ? all.bytes : "", all.n_bytes);
    r2i_buffer_destroy(&all);
    if (status != R2_OK) return status;
    return *out != NULL ? R2_OK : r2i_refuse(r, 503, NULL, NULL, "no memory for the messages");
}

/* "" for a role that no conversation has; a developer is the system's voice. */
static const char *role_of(const json_t *role) {
    if (is_text(role, "system") || is_text(role, "developer")) return "system";
    if (is_text(role, "user")) return "user";
    return is_text(role, "assistant") ? "assistant" : "";
}

static r2_status read_message(r2i_chat_request *q, size_t i, r2i_refusal *r) {
    const json_t *m = json_array_get(json_object_get(q->body, "messages"), i);
    const json_t *calls = json_object_get(m, "tool_calls");
    const json_t *thoughts = json_object_get(m, "reasoning_content");
    json_t *content = NULL;
    if (!json_is_object(m)) return refuse_message(r, i, NULL, "expected an object");
    const char *role = role_of(json_object_get(m, "role"));
    if (is_text(json_object_get(m, "role"), "tool") || (calls != NULL && !asks_nothing(calls)))
        return refuse_message(r, i, calls != NULL ? "tool_calls" : "role",
                              "tool calls are not supported yet by this server");
    if (role[0] == '\0')
        return refuse_message(r, i, "role", "expected system, developer, user or assistant");
    if (json_is_true(json_object_get(m, "prefix")))
        return refuse_message(r, i, "prefix", "not supported yet by this server");
    if (thoughts != NULL && !json_is_null(thoughts) && !json_is_string(thoughts))
        return refuse_message(r, i, "reasoning_content", "expected a text");
    R2I_TRY(read_content(json_object_get(m, "content"), i, &content, r));
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content", content);
    if (message != NULL && json_is_string(thoughts))
        (void)json_object_set_new(message, "reasoning_content",
                                  json_string(json_string_value(thoughts)));
    return json_array_append_new(q->messages, message) == 0
               ? R2_OK
               : r2i_refuse(r, 503, NULL, NULL, "no memory for the messages");
}

static r2_status read_messages(r2i_chat_request *q, r2i_refusal *r) {
    const json_t *messages = json_object_get(q->body, "messages");
    if (!json_is_array(messages)) return refuse_type(r, "messages", "an array", messages);
    if (json_array_size(messages) == 0)
        return r2i_refuse(r, 400, "messages", "invalid_value",
                          "messages: expected at least one, found none");
    for (size_t i = 0; i < json_array_size(messages); i++)
        R2I_TRY(read_message(q, i, r));
    return R2_OK;
}

/* ---- all of it ---- */

static r2_status take_values(r2i_chat_request *q, const values *v, r2i_refusal *r) {
    r2_sampling *s = &q->wishes.options.sampling;
    s->temperature = (float)v->temperature;
    s->top_p = (float)v->top_p;
    s->top_k = (int32_t)v->top_k;
    s->min_p = (float)v->min_p;
    s->presence_penalty = (float)v->presence_penalty;
    s->frequency_penalty = (float)v->frequency_penalty;
    s->repetition_penalty = (float)v->repetition_penalty;
    s->seed = (uint64_t)v->seed;
    q->wishes.is_stream = v->is_stream;
    q->wishes.wants_logprobs = v->wants_logprobs;
    q->wishes.n_top = (int32_t)v->top_logprobs;
    if (q->wishes.n_top > 0 && !q->wishes.wants_logprobs)
        return r2i_refuse(r, 400, "top_logprobs", "invalid_value",
                          "top_logprobs: expected logprobs: true beside it");
    if (q->wishes.wants_logprobs) s->n_top_logprobs = q->wishes.n_top > 0 ? q->wishes.n_top : 1;
    if (v->max_tokens > 0) q->wishes.options.max_new_tokens = (int32_t)v->max_tokens;
    if (v->max_completion_tokens > 0)
        q->wishes.options.max_new_tokens = (int32_t)v->max_completion_tokens;
    return R2_OK;
}

static r2_status read_body(r2i_chat_request *q, r2i_refusal *r) {
    const r2_sampling *s = &q->wishes.options.sampling;
    values v = { .temperature = s->temperature,
                 .top_p = s->top_p,
                 .top_k = s->top_k,
                 .min_p = s->min_p,
                 .presence_penalty = s->presence_penalty,
                 .frequency_penalty = s->frequency_penalty,
                 .repetition_penalty = s->repetition_penalty,
                 .seed = (int64_t)s->seed,
                 .budget = -1,
                 .budget_2 = -1 };
    R2I_TRY(read_fields(q->body, &v, r));
    R2I_TRY(check_formats(q->body, r));
    R2I_TRY(read_stop(q, r));
    R2I_TRY(read_stream_options(q, r));
    R2I_TRY(take_values(q, &v, r));
    R2I_TRY(read_reasoning(q, &v, r));
    return read_messages(q, r);
}

r2_status r2i_chat_request_read(r2i_chat_request *q, const char *text, size_t n_bytes,
                                const r2_sequence_options *defaults, r2i_refusal *r) {
    r2_error err = { R2_OK, "" };
    *q = (r2i_chat_request){ .wishes = { .options = *defaults } };
    *r = (r2i_refusal){ .http = 0 };
    if (r2i_json_parse(&q->body, text, n_bytes, &err) != R2_OK)
        return r2i_refuse(r, 400, NULL, "invalid_json", "%s", err.text);
    q->messages = json_array();
    q->extra = json_object();
    if (q->messages == NULL || q->extra == NULL)
        return r2i_refuse(r, 503, NULL, NULL, "no memory for the request");
    return read_body(q, r);
}

void r2i_chat_request_destroy(r2i_chat_request *q) {
    json_decref(q->body);
    json_decref(q->messages);
    json_decref(q->extra);
    q->body = q->messages = q->extra = NULL;
}
