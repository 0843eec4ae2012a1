/* chat_messages.c - the conversation in a chat request: roles, texts, thoughts. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "server/chat_request.h"
#include "server/reasoning.h"
#include "server/request_fields.h"

enum { MAX_CONTENT_BYTES = 1 << 26 };

static r2_status refuse_message(r2i_refusal *r, size_t i, const char *key, const char *what) {
    char name[64];
    (void)snprintf(name, sizeof name, "messages[%zu]%s%s", i, key != NULL ? "." : "",
                   key != NULL ? key : "");
    return r2i_refuse(r, 400, name, "invalid_value", "%s: %s", name, what);
}

static r2_status add_part(const json_t *part, size_t i, r2i_buffer *all, r2i_refusal *r) {
    const json_t *text = json_object_get(part, "text");
    if (!r2i_json_is_text(json_object_get(part, "type"), "text") || !json_is_string(text))
        return refuse_message(r, i, "content",
                              "expected parts of the form {\"type\": \"text\", \"text\": ...}; "
                              "images, audio and files are not supported");
    return r2i_buffer_append_text(all, json_string_value(text), NULL) == R2_OK
               ? R2_OK
               : r2i_refuse_memory(r);
}

/* A text, or the texts of its parts one behind the other. */
static r2_status read_content(const json_t *content, size_t i, json_t **out, r2i_refusal *r) {
    if (json_is_string(content)) {
        *out = json_string(json_string_value(content));
        return *out != NULL ? R2_OK : r2i_refuse_memory(r);
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
    return *out != NULL ? R2_OK : r2i_refuse_memory(r);
}

/* "" for a role that no conversation has; a developer is the system's voice. */
static const char *role_of(const json_t *role) {
    if (r2i_json_is_text(role, "system") || r2i_json_is_text(role, "developer")) return "system";
    if (r2i_json_is_text(role, "user")) return "user";
    if (r2i_json_is_text(role, "tool")) return "tool";
    return r2i_json_is_text(role, "assistant") ? "assistant" : "";
}

/* Servers differ in the name they give them. */
static const json_t *find_thoughts(const json_t *message) {
    const json_t *thoughts = json_object_get(message, "reasoning_content");
    return r2i_json_is_given(thoughts) ? thoughts : json_object_get(message, "reasoning");
}

static r2_status read_message(r2i_chat_request *q, size_t i, r2i_refusal *r) {
    const json_t *m = json_array_get(json_object_get(q->body, "messages"), i);
    const json_t *thoughts = find_thoughts(m);
    json_t *content = NULL;
    if (!json_is_object(m)) return refuse_message(r, i, NULL, "expected an object");
    const char *role = role_of(json_object_get(m, "role"));
    if (role[0] == '\0')
        return refuse_message(r, i, "role", "expected system, developer, user, assistant or tool");
    if (r2i_json_is_given(thoughts) && !json_is_string(thoughts))
        return refuse_message(r, i, "reasoning_content", "expected a text");
    const bool needs_none = r2i_tool_message_has_calls(m) && role[0] == 'a';
    if (r2i_json_is_given(json_object_get(m, "content")) || !needs_none)
        R2I_TRY(read_content(json_object_get(m, "content"), i, &content, r));
    json_t *message = json_pack("{s:s, s:o?, s:O*}", "role", role, "content", content,
                                "reasoning_content", json_is_string(thoughts) ? thoughts : NULL);
    if (json_array_append_new(q->messages, message) != 0) return r2i_refuse_memory(r);
    return r2i_tool_message_read(m, i, message, r);
}

r2_status r2i_chat_messages_read(r2i_chat_request *q, r2i_refusal *r) {
    const json_t *messages = json_object_get(q->body, "messages");
    if (!json_is_array(messages)) return r2i_refuse_type(r, "messages", "an array", messages);
    if (json_array_size(messages) == 0)
        return r2i_refuse(r, 400, "messages", "invalid_value",
                          "messages: expected at least one, found none");
    for (size_t i = 0; i < json_array_size(messages); i++)
        R2I_TRY(read_message(q, i, r));
    R2I_TRY(r2i_chat_prefix_take(q, r));
    r2i_reasoning_forget(q->messages);
    return R2_OK;
}
