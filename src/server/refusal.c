#include "server/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/json_text.h"

r2_status r2i_refuse(r2i_refusal *r, int http, const char *param, const char *code,
                     const char *format, ...) {
    va_list args;
    *r = (r2i_refusal){ .http = http, .code = code };
    va_start(args, format);
    (void)vsnprintf(r->text, sizeof r->text, format, args);
    va_end(args);
    if (param != NULL) (void)snprintf(r->param, sizeof r->param, "%s", param);
    for (char *c = r->text; *c != '\0'; c++)
        *c = *c >= ' ' && *c < 0x7f ? *c : '?';
    return R2_E_ARGUMENT;
}

static const struct {
    int http;
    const char *reason, *type;
} statuses[] = {
    { 400, "Bad Request", "invalid_request_error" },
    { 401, "Unauthorized", "authentication_error" },
    { 403, "Forbidden", "permission_error" },
    { 404, "Not Found", "not_found_error" },
    { 405, "Method Not Allowed", "invalid_request_error" },
    { 408, "Request Timeout", "timeout_error" },
    { 413, "Content Too Large", "invalid_request_error" },
    { 414, "URI Too Long", "invalid_request_error" },
    { 415, "Unsupported Media Type", "invalid_request_error" },
    { 417, "Expectation Failed", "invalid_request_error" },
    { 429, "Too Many Requests", "rate_limit_error" },
    { 431, "Request Header Fields Too Large", "invalid_request_error" },
    { 500, "Internal Server Error", "server_error" },
    { 503, "Service Unavailable", "unavailable_error" },
    { 504, "Gateway Timeout", "timeout_error" },
    { 505, "HTTP Version Not Supported", "invalid_request_error" },
};

const char *r2i_http_reason(int http) {
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        if (statuses[i].http == http) return statuses[i].reason;
    }
    return "OK";
}

static const char *type_of(int http) {
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        if (statuses[i].http == http) return statuses[i].type;
    }
    return "server_error";
}

r2_status r2i_refusal_write(const r2i_refusal *r, r2i_buffer *out) {
    json_t *error =
        json_pack("{s:s, s:s, s:s?, s:s?}", "message", r->text, "type", type_of(r->http), "param",
                  r->param[0] != '\0' ? r->param : NULL, "code", r->code);
    if (error != NULL && r->n_context > 0) {
        (void)json_object_set_new(error, "n_prompt_tokens", json_integer(r->n_prompt));
        (void)json_object_set_new(error, "n_ctx", json_integer(r->n_context));
    }
    return r2i_json_append(out, json_pack("{s:o}", "error", error));
}
