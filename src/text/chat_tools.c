#include "text/chat_tools.h"

#include <string.h>

#include "base/failure.h"

enum { MAX_WORDS_BYTES = 1 << 26 };

static r2_status no_memory(r2_error *err) {
    return r2i_fail(err, R2_E_NOMEM, "chat template: no memory for tools");
}

static bool role_is(const json_t *message, const char *role) {
    const char *found = json_string_value(json_object_get(message, "role"));
    return found != NULL && strcmp(found, role) == 0;
}

/* ---- tools in words ---- */

static r2_status add_json(r2i_buffer *out, const json_t *value) {
    return json_dump_callback(value, r2i_buffer_append_chunk, out, JSON_ENCODE_ANY) == 0
               ? R2_OK
               : R2_E_NOMEM;
}

static r2_status add_word(r2i_buffer *out, const char *text) {
    return r2i_buffer_append_text(out, text, NULL);
}

static r2_status add_list(r2i_buffer *out, const json_t *tools) {
    for (size_t i = 0; i < json_array_size(tools); i++) {
        R2I_TRY(add_json(out, json_array_get(tools, i)));
        R2I_TRY(add_word(out, "\n"));
    }
    return R2_OK;
}

static r2_status describe_hermes(r2i_buffer *out, const json_t *tools) {
    R2I_TRY(add_word(out, "# Tools\n\nYou may call one or more functions to assist with the user "
                          "query.\n\nYou are provided with function signatures within "
                          "<tools></tools> XML tags:\n<tools>\n"));
    R2I_TRY(add_list(out, tools));
    return add_word(out, "</tools>\n\nFor each function call, return a json object with function "
                         "name and arguments within <tool_call></tool_call> XML "
                         "tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
                         "<args-json-object>}\n</tool_call>");
}

static r2_status describe_llama(r2i_buffer *out, const json_t *tools) {
    R2I_TRY(add_word(out,
                     "You have access to the following functions. To call a function, respond "
                     "with JSON for a function call and nothing else, in the format {\"name\": "
                     "function name, \"parameters\": dictionary of argument name and its "
                     "value}. Do not use variables.\n\n"));
    return add_list(out, tools);
}

static r2_status describe_deepseek(r2i_buffer *out, const r2i_tool_syntax *s, const json_t *tools) {
    const bool is_fenced = s->family == R2I_CALLS_DEEPSEEK_FENCED;
    R2I_TRY(add_word(out, "## Tools\nYou have access to the following tools:\n"));
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *f = json_object_get(json_array_get(tools, i), "function");
        const char *name = json_string_value(json_object_get(f, "name"));
        const char *words = json_string_value(json_object_get(f, "description"));
        const json_t *schema = json_object_get(f, "parameters");
        R2I_TRY(r2i_buffer_append_format(out, NULL, "\n### %s\nDescription: %s\n\nParameters: ",
                                         name != NULL ? name : "", words != NULL ? words : ""));
        R2I_TRY(schema != NULL ? add_json(out, schema) : add_word(out, "{}"));
        R2I_TRY(add_word(out, "\n"));
    }
    R2I_TRY(add_word(out, "\nIMPORTANT: ALWAYS adhere to this exact format for tool use:\n"));
    for (int m = 0; m < R2I_N_MARKS; m++) {
        if (m == R2I_MARK_OPEN && !is_fenced)
            R2I_TRY(r2i_buffer_append_format(out, NULL, "%stool_call_name",
                                             r2i_call_mark_text(s->family, R2I_MARK_OPEN)));
        else if (m == R2I_MARK_SEPARATOR)
            R2I_TRY(r2i_buffer_append_format(out, NULL, "%s%stool_call_arguments%s",
                                             r2i_call_mark_text(s->family, R2I_MARK_SEPARATOR),
                                             is_fenced ? "tool_call_name\n```json\n" : "",
                                             is_fenced ? "\n```" : ""));
        else
            R2I_TRY(r2i_buffer_append_format(out, NULL, "%s%s",
                                             r2i_call_mark_text(s->family, (r2i_call_mark)m),
                                             m == R2I_MARK_OPEN ? "function" : ""));
    }
    return add_word(out, "\n\nWhere tool_call_name is one of the available tools and "
                         "tool_call_arguments is valid JSON that strictly follows its parameters.");
}

static r2_status describe(const r2i_chat_tools *t, const json_t *tools, r2i_buffer *out) {
    switch (t->syntax->family) {
    case R2I_CALLS_HERMES:
        return describe_hermes(out, tools);
    case R2I_CALLS_LLAMA:
        return describe_llama(out, tools);
    default:
        return describe_deepseek(out, t->syntax, tools);
    }
}

/* In the system message that comes first, made if there is none. */
static r2_status add_description(json_t *messages, r2i_buffer *words) {
    json_t *first = json_array_get(messages, 0);
    const json_t *content = json_object_get(first, "content");
    if (role_is(first, "system") && json_is_string(content)) {
        json_t *all = json_sprintf("%s%s%s", json_string_value(content),
                                   json_string_length(content) > 0 ? "\n\n" : "", words->bytes);
        return json_object_set_new(first, "content", all) == 0 ? R2_OK : R2_E_NOMEM;
    }
    json_t *message =
        json_pack("{s:s, s:s%}", "role", "system", "content", words->bytes, words->n_bytes);
    return json_array_insert_new(messages, 0, message) == 0 ? R2_OK : R2_E_NOMEM;
}

/* ---- calls in words ---- */

static json_t *function_of(const json_t *call) {
    json_t *function = json_object_get(call, "function");
    return function != NULL ? function : (json_t *)(uintptr_t)call;
}

/* The text of arguments that are one, else their JSON. */
static r2_status add_arguments(r2i_buffer *out, const json_t *call) {
    const json_t *a = json_object_get(function_of(call), "arguments");
    if (json_is_string(a) && json_string_length(a) > 0)
        return r2i_buffer_append(out, json_string_value(a), json_string_length(a), NULL);
    return a != NULL && !json_is_string(a) && !json_is_null(a) ? add_json(out, a)
                                                               : add_word(out, "{}");
}

static const char *mark(const r2i_tool_syntax *s, r2i_call_mark m) {
    const char *text = r2i_call_mark_text(s->family, m);
    return text != NULL ? text : "";
}

/* As the grammar of calls has it (grammar_tools.c). */
static r2_status write_call(const r2i_tool_syntax *s, const json_t *call, r2i_buffer *out) {
    const json_t *name = json_object_get(function_of(call), "name");
    const bool is_fenced = s->family == R2I_CALLS_DEEPSEEK_FENCED;
    const bool is_hermes = s->family == R2I_CALLS_HERMES;
    if (!json_is_string(name)) return R2_OK;
    R2I_TRY(add_word(out, mark(s, R2I_MARK_OPEN)));
    if (is_hermes || s->family == R2I_CALLS_LLAMA) {
        R2I_TRY(add_word(out, is_hermes ? "\n{\"name\": " : "{\"name\": "));
        R2I_TRY(add_json(out, name));
        R2I_TRY(add_word(out, is_hermes ? ", \"arguments\": " : ", \"parameters\": "));
        R2I_TRY(add_arguments(out, call));
        R2I_TRY(add_word(out, is_hermes ? "}\n" : "}"));
    } else {
        R2I_TRY(add_word(out, is_fenced ? "function" : json_string_value(name)));
        R2I_TRY(add_word(out, mark(s, R2I_MARK_SEPARATOR)));
        if (is_fenced)
            R2I_TRY(r2i_buffer_append_format(out, NULL, "%s\n```json\n", json_string_value(name)));
        R2I_TRY(add_arguments(out, call));
        if (is_fenced) R2I_TRY(add_word(out, "\n```"));
    }
    return add_word(out, mark(s, R2I_MARK_CLOSE));
}

static r2_status write_calls(const r2i_tool_syntax *s, json_t *message, r2i_buffer *out) {
    const json_t *calls = json_object_get(message, "tool_calls"),
                 *content = json_object_get(message, "content");
    const bool is_deepseek = s->family >= R2I_CALLS_DEEPSEEK;
    r2i_buffer_clear(out);
    if (json_is_string(content)) R2I_TRY(add_word(out, json_string_value(content)));
    if (is_deepseek) R2I_TRY(add_word(out, mark(s, R2I_MARK_BEGIN)));
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const bool is_first = i == 0 && (is_deepseek || out->n_bytes == 0);
        if (!is_first && s->family != R2I_CALLS_DEEPSEEK) R2I_TRY(add_word(out, "\n"));
        R2I_TRY(write_call(s, json_array_get(calls, i), out));
    }
    if (is_deepseek) R2I_TRY(add_word(out, mark(s, R2I_MARK_END)));
    (void)json_object_del(message, "tool_calls");
    json_t *all = json_stringn(out->n_bytes > 0 ? out->bytes : "", out->n_bytes);
    return json_object_set_new(message, "content", all) == 0 ? R2_OK : R2_E_NOMEM;
}

static r2_status write_result(json_t *message, r2i_buffer *out) {
    const char *content = json_string_value(json_object_get(message, "content"));
    r2i_buffer_clear(out);
    R2I_TRY(r2i_buffer_append_format(out, NULL, "<tool_response>\n%s\n</tool_response>",
                                     content != NULL ? content : ""));
    (void)json_object_set_new(message, "role", json_string("user"));
    return json_object_set_new(message, "content", json_stringn(out->bytes, out->n_bytes)) == 0
               ? R2_OK
               : R2_E_NOMEM;
}

static r2_status put_in_words(const r2i_chat_tools *t, json_t *context, r2i_buffer *out) {
    json_t *messages = json_object_get(context, "messages");
    const json_t *tools = json_object_get(context, "tools");
    for (size_t i = 0; !t->traits->tool_calls && i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        if (json_array_size(json_object_get(message, "tool_calls")) > 0)
            R2I_TRY(write_calls(t->syntax, message, out));
        else if (role_is(message, "tool"))
            R2I_TRY(write_result(message, out));
    }
    if (t->traits->tools || json_array_size(tools) == 0) return R2_OK;
    r2i_buffer_clear(out);
    R2I_TRY(describe(t, tools, out));
    return add_description(messages, out);
}

/* ---- forms ---- */

/* Are there calls?  Those without arguments get empty ones. */
static bool prepare_calls(json_t *messages) {
    bool has_calls = false;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        json_t *calls = json_object_get(message, "tool_calls");
        for (size_t k = 0; k < json_array_size(calls); k++) {
            json_t *function = function_of(json_array_get(calls, k));
            const json_t *a = json_object_get(function, "arguments");
            has_calls = true;
            if (a == NULL || json_is_null(a) || (json_is_string(a) && json_string_length(a) == 0))
                (void)json_object_set_new(function, "arguments", json_string("{}"));
        }
    }
    return has_calls;
}

/* Content that a message with calls does not have becomes null or "". */
static void set_absent_content(json_t *messages, bool is_null) {
    for (size_t i = 0; i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        const json_t *content = json_object_get(message, "content");
        if (json_array_size(json_object_get(message, "tool_calls")) == 0) continue;
        if (json_is_string(content) && json_string_length(content) > 0) continue;
        if (content != NULL && !json_is_string(content) && !json_is_null(content)) continue;
        (void)json_object_set_new(message, "content", is_null ? json_null() : json_string(""));
    }
}

static r2_status try_forms(const r2i_chat_tools *t, json_t *context, int64_t now_seconds,
                           r2i_buffer *text, r2i_text_ranges *untrusted, r2_error *err) {
    r2_status first = R2_OK;
    for (int form = 0; form < 4; form++) {
        const bool is_null = t->traits->null_content != (form % 2 == 1);
        const r2i_template_input input = { .context = context,
                                           .now_seconds = now_seconds,
                                           .opens_arguments =
                                               t->traits->text_arguments == (form >= 2) };
        r2_error why = { R2_OK, "" };
        set_absent_content(json_object_get(context, "messages"), is_null);
        const r2_status status = r2i_chat_template_run(t->tmpl, &input, text, untrusted, &why);
        if (status == R2_OK || status == R2_E_NOMEM || status == R2_E_LIMIT || first == R2_OK) {
            first = status;
            if (err != NULL) *err = why;
        }
        if (status == R2_OK || status == R2_E_NOMEM || status == R2_E_LIMIT) return status;
    }
    return first;
}

r2_status r2i_chat_tools_render(const r2i_chat_tools *t, json_t *context, int64_t now_seconds,
                                r2i_buffer *text, r2i_text_ranges *untrusted, r2_error *err) {
    r2i_buffer words;
    r2i_buffer_init(&words, text->heap, MAX_WORDS_BYTES);
    const r2_status status = put_in_words(t, context, &words);
    r2i_buffer_destroy(&words);
    if (status != R2_OK) return no_memory(err);
    if (!prepare_calls(json_object_get(context, "messages")))
        return r2i_chat_template_render(t->tmpl, context, now_seconds, text, untrusted, err);
    return try_forms(t, context, now_seconds, text, untrusted, err);
}
