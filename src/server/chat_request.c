#include "server/chat_request.h"

#include "base/failure.h"
#include "server/json_text.h"
#include "server/reasoning.h"
#include "server/request_fields.h"

/* Where the values of the table's fields go; the others are wishes.c's. */
typedef struct {
    int64_t max_tokens, max_completion_tokens, top_logprobs;
    bool wants_logprobs;
} values;

#define AT(name) (int)offsetof(values, name)
static const r2i_field fields[] = {
    { "messages", R2I_FIELD_ARRAY, R2I_FIELD_NOWHERE, 0, 0 },
    { "max_tokens", R2I_FIELD_COUNT, AT(max_tokens), 1, 1 << 24 },
    { "max_completion_tokens", R2I_FIELD_COUNT, AT(max_completion_tokens), 1, 1 << 24 },
    { "logprobs", R2I_FIELD_FLAG, AT(wants_logprobs), 0, 0 },
    { "top_logprobs", R2I_FIELD_COUNT, AT(top_logprobs), 0, 20 },
    { "tools", R2I_FIELD_ELSEWHERE, 0, 0, 0 }, /* these three: tool_request.c */
    { "tool_choice", R2I_FIELD_ELSEWHERE, 0, 0, 0 },
    { "functions", R2I_FIELD_REFUSED, 0, 0, 0 },
    { "function_call", R2I_FIELD_ELSEWHERE, 0, 0, 0 },
    { "modalities", R2I_FIELD_ELSEWHERE, 0, 0, 0 },
    { "audio", R2I_FIELD_REFUSED, 0, 0, 0 },
    { "prediction", R2I_FIELD_REFUSED, 0, 0, 0 },
    { "web_search_options", R2I_FIELD_REFUSED, 0, 0, 0 },
    { "parallel_tool_calls", R2I_FIELD_ELSEWHERE, 0, 0, 0 },
    { "verbosity", R2I_FIELD_IGNORED, 0, 0, 0 },
};
static const r2i_field_table table = { fields, sizeof fields / sizeof *fields };

bool r2i_chat_has_field(const char *name) {
    return r2i_fields_have(&table, name) || r2i_wishes_have_field(name);
}

/* Refused unless it asks for what is done anyway. */
static r2_status check_others(const json_t *body, r2i_refusal *r) {
    const json_t *call = json_object_get(body, "function_call");
    const json_t *modalities = json_object_get(body, "modalities");
    if (call != NULL && !r2i_json_asks_nothing(call) && !r2i_json_is_text(call, "none") &&
        !r2i_json_is_text(call, "auto"))
        return r2i_refuse_unsupported(r, "function_call");
    for (size_t i = 0; i < json_array_size(modalities); i++) {
        if (!r2i_json_is_text(json_array_get(modalities, i), "text"))
            return r2i_refuse_unsupported(r, "modalities");
    }
    if (r2i_json_is_given(modalities) && !json_is_array(modalities))
        return r2i_refuse_type(r, "modalities", "an array", modalities);
    return R2_OK;
}

static r2_status take_values(r2i_wishes *w, const values *v, r2i_refusal *r) {
    w->wants_logprobs = v->wants_logprobs;
    w->n_top = (int32_t)v->top_logprobs;
    if (w->n_top > 0 && !w->wants_logprobs)
        return r2i_refuse(r, 400, "top_logprobs", "invalid_value",
                          "top_logprobs: expected logprobs: true beside it");
    if (w->wants_logprobs) w->options.sampling.n_top_logprobs = w->n_top > 0 ? w->n_top : 1;
    if (v->max_tokens > 0) w->options.max_new_tokens = (int32_t)v->max_tokens;
    if (v->max_completion_tokens > 0) w->options.max_new_tokens = (int32_t)v->max_completion_tokens;
    return R2_OK;
}

static r2_status read_body(r2i_chat_request *q, r2i_refusal *r) {
    values v = { .wants_logprobs = false };
    R2I_TRY(r2i_wishes_read(&q->wishes, q->body, r));
    R2I_TRY(r2i_fields_read(&table, q->body, &v, r));
    R2I_TRY(check_others(q->body, r));
    R2I_TRY(take_values(&q->wishes, &v, r));
    R2I_TRY(r2i_tool_request_read(&q->tools, q->body, &q->wishes, r));
    R2I_TRY(r2i_reasoning_read(q->body, &q->wishes, q->extra, r));
    return r2i_chat_messages_read(q, r);
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
    if (q->messages == NULL || q->extra == NULL) return r2i_refuse_memory(r);
    return read_body(q, r);
}

void r2i_chat_request_destroy(r2i_chat_request *q) {
    json_decref(q->body);
    json_decref(q->messages);
    json_decref(q->prefix);
    json_decref(q->extra);
    r2i_tool_request_destroy(&q->tools);
    q->body = q->messages = q->prefix = q->extra = NULL;
}
