/* chat_prefix.c - a last message of the assistant with "prefix": true: the answer begins with its text, and goes
 * on from there. */
#include <stdio.h>

#include "base/failure.h"
#include "server/chat_request.h"
#include "server/request_fields.h"

static r2_status refuse(r2i_refusal *r, size_t i, const char *key, const char *what) {
    char name[64];
    (void)snprintf(name, sizeof name, "messages[%zu].%s", i, key);
    return r2i_refuse(r, 400, name, "invalid_value", "%s: %s", name, what);
}

static r2_status check_last(const json_t *message, size_t i, r2i_refusal *r) {
    const json_t *calls = json_object_get(message, "tool_calls");
    if (!r2i_json_is_text(json_object_get(message, "role"), "assistant"))
        return refuse(r, i, "prefix", "expected in a message of the assistant");
    if (i == 0) return refuse(r, i, "prefix", "expected a message before it");
    if (calls != NULL && !r2i_json_asks_nothing(calls))
        return refuse(r, i, "prefix", "tool calls cannot be gone on from");
    return R2_OK;
}

static r2_status check_all(const json_t *messages, bool *has_prefix, r2i_refusal *r) {
    const size_t n = json_array_size(messages);
    *has_prefix = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *prefix = json_object_get(json_array_get(messages, i), "prefix");
        if (!r2i_json_is_given(prefix) || json_is_false(prefix)) continue;
        if (!json_is_true(prefix)) return refuse(r, i, "prefix", "expected true or false");
        if (i + 1 < n) return refuse(r, i, "prefix", "expected in the last message");
        *has_prefix = true;
        R2I_TRY(check_last(json_array_get(messages, i), i, r));
    }
    return R2_OK;
}

r2_status r2i_chat_prefix_take(r2i_chat_request *q, r2i_refusal *r) {
    bool has_prefix;
    R2I_TRY(check_all(json_object_get(q->body, "messages"), &has_prefix, r));
    const size_t n = json_array_size(q->messages);
    if (!has_prefix || n == 0) return R2_OK;
    q->prefix = json_incref(json_array_get(q->messages, n - 1));
    (void)json_array_remove(q->messages, n - 1);
    const json_t *content = json_object_get(q->prefix, "content"),
                 *thoughts = json_object_get(q->prefix, "reasoning_content");
    if (!json_is_string(content)) return refuse(r, n - 1, "content", "expected a text");
    if (json_string_length(content) == 0 && json_string_length(thoughts) > 0)
        return refuse(r, n - 1, "content",
                      "expected text: thoughts cannot be gone on from, only answers behind them");
    q->wishes.continues_text = true;
    return R2_OK;
}
