/* control.c - POST /v1/chat/completions/control {"id": "chatcmpl-...", "action": "stop_thinking"}: a running
 * answer closes its thoughts with the next token.  Who has not the request's key is told that there is none. */
#include <event2/buffer.h>
#include <string.h>

#include "server/json_text.h"
#include "server/request_fields.h"
#include "server/server_state.h"

enum { MOST_BODY_BYTES = 4096 };

static const char route[] = "/v1/chat/completions/control";

typedef struct {
    json_t *body; /* owned */
    const char *id, *action;
} wanted;

/* "reasoning_end" is what llama.cpp calls it. */
static r2_status read_wanted(wanted *w, r2i_refusal *r) {
    const json_t *id = json_object_get(w->body, "id"), *action = json_object_get(w->body, "action");
    if (!json_is_string(id)) return r2i_refuse_type(r, "id", "the text of a running answer", id);
    if (!json_is_string(action)) return r2i_refuse_type(r, "action", "a text", action);
    if (!r2i_json_is_text(action, "stop_thinking") && !r2i_json_is_text(action, "reasoning_end"))
        return r2i_refuse(r, 400, "action", "invalid_value",
                          "action: expected stop_thinking, found \"%.40s\"",
                          json_string_value(action));
    w->id = json_string_value(id);
    w->action = json_string_value(action);
    return R2_OK;
}

static r2_status read_body(struct evhttp_request *request, wanted *w, r2i_refusal *r) {
    r2_error err = { R2_OK, "" };
    struct evbuffer *input = evhttp_request_get_input_buffer(request);
    const size_t n_bytes = evbuffer_get_length(input);
    if (n_bytes > MOST_BODY_BYTES)
        return r2i_refuse(r, 413, NULL, NULL, "expected a body of at most %d bytes",
                          MOST_BODY_BYTES);
    const char *bytes = n_bytes > 0 ? (const char *)evbuffer_pullup(input, -1) : "";
    if (bytes == NULL) return r2i_refuse_memory(r);
    if (r2i_json_parse(&w->body, bytes, n_bytes, &err) != R2_OK)
        return r2i_refuse(r, 400, NULL, "invalid_json", "%s", err.text);
    return read_wanted(w, r);
}

static r2_status stop_thinking(r2i_server *s, uint64_t key, const char *id, r2i_refusal *r) {
    for (r2i_pending *p = s->pendings; p != NULL; p = p->next) {
        if (strcmp(p->id, id) != 0 || p->job->key != key || p->is_sent) continue;
        r2i_desk_stop_thinking(&s->desk, p->job);
        return R2_OK;
    }
    return r2i_refuse(r, 404, "id", "unknown_id", "id: no answer of this name is running");
}

void r2i_control(r2i_server *s, struct evhttp_request *request, const char *path) {
    wanted w = { .body = NULL };
    r2i_refusal refusal = { .http = 0 };
    const int32_t key = r2i_route_key(s, request);
    (void)path;
    r2_status status =
        key >= 0 ? read_body(request, &w, &refusal)
                 : r2i_refuse(&refusal, 401, NULL, "invalid_api_key", "expected a valid API key");
    if (status == R2_OK) status = stop_thinking(s, (uint64_t)key, w.id, &refusal);
    if (status == R2_OK)
        r2i_reply_json(s, request, route,
                       json_pack("{s:s, s:s, s:b}", "id", w.id, "action", w.action, "success", 1));
    else
        r2i_reply_refuse(s, request, route, &refusal);
    json_decref(w.body);
}
