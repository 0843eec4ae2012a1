#include "server/tool_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "server/request_fields.h"

enum { NAME_BYTES = 128, PLACE_BYTES = 64, MAX_TEXT_BYTES = 1 << 26 };

/* "tools[3].function.name" */
static const char *place_of(char out[PLACE_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static const char *place_of(char out[PLACE_BYTES], const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(out, PLACE_BYTES, format, args);
    va_end(args);
    return out;
}

/* Names stand in prompts and grammars without quotes. */
static bool is_good_name(const char *name) {
    static const char known[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:/";
    const size_t n = strlen(name);
    return n > 0 && n <= NAME_BYTES && strspn(name, known) == n;
}

/* ---- tools ---- */

static r2_status check_name(const json_t *tools, size_t i, const json_t *name, r2i_refusal *r) {
    char place[PLACE_BYTES];
    (void)place_of(place, "tools[%zu].function.name", i);
    if (!json_is_string(name)) return r2i_refuse_type(r, place, "a text", name);
    if (!is_good_name(json_string_value(name)))
        return r2i_refuse(r, 400, place, "invalid_value",
                          "%s: expected 1 to %d letters, digits or _ - . : /, found \"%.40s\"",
                          place, NAME_BYTES, json_string_value(name));
    for (size_t k = 0; k < i; k++) {
        const json_t *other =
            json_object_get(json_object_get(json_array_get(tools, k), "function"), "name");
        if (json_equal(name, other))
            return r2i_refuse(r, 400, place, "invalid_value",
                              "%s: expected a name of its own, found \"%.40s\" again", place,
                              json_string_value(name));
    }
    return R2_OK;
}

static r2_status check_function(const json_t *tools, size_t i, r2i_refusal *r) {
    char place[PLACE_BYTES];
    const json_t *f = json_object_get(json_array_get(tools, i), "function"),
                 *words = json_object_get(f, "description"),
                 *schema = json_object_get(f, "parameters"), *strict = json_object_get(f, "strict"),
                 *type = json_object_get(schema, "type");
    if (!json_is_object(f))
        return r2i_refuse_type(r, place_of(place, "tools[%zu].function", i), "an object", f);
    R2I_TRY(check_name(tools, i, json_object_get(f, "name"), r));
    if (r2i_json_is_given(words) && !json_is_string(words))
        return r2i_refuse_type(r, place_of(place, "tools[%zu].function.description", i), "a text",
                               words);
    if (r2i_json_is_given(schema) && !json_is_object(schema))
        return r2i_refuse_type(r, place_of(place, "tools[%zu].function.parameters", i),
                               "a JSON schema: an object", schema);
    if (type != NULL && !r2i_json_is_text(type, "object"))
        return r2i_refuse(r, 400, place_of(place, "tools[%zu].function.parameters", i),
                          "invalid_value", "%s: expected \"type\": \"object\"", place);
    if (r2i_json_is_given(strict) && !json_is_boolean(strict))
        return r2i_refuse_type(r, place_of(place, "tools[%zu].function.strict", i), "true or false",
                               strict);
    return R2_OK;
}

static void warn(r2i_tool_request *q, size_t i, const char *type) {
    if (q->warning[0] != '\0') {
        (void)snprintf(q->warning, sizeof q->warning,
                       "tools: some are no functions and were left out");
        return;
    }
    (void)snprintf(q->warning, sizeof q->warning,
                   "tools[%zu]: type %.40s is not supported and was left out", i, type);
    for (char *c = q->warning; *c != '\0'; c++)
        *c = *c >= ' ' && *c < 0x7f ? *c : '?';
}

static r2_status read_tools(r2i_tool_request *q, const json_t *tools, r2i_refusal *r) {
    char place[PLACE_BYTES];
    if (!r2i_json_is_given(tools)) return R2_OK;
    if (!json_is_array(tools)) return r2i_refuse_type(r, "tools", "an array", tools);
    if (json_array_size(tools) > R2I_MAX_TOOLS)
        return r2i_refuse(r, 400, "tools", "out_of_range", "tools: expected at most %d",
                          (int)R2I_MAX_TOOLS);
    q->tools = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_t *tool = json_array_get(tools, i);
        const json_t *type = json_object_get(tool, "type");
        if (!json_is_object(tool))
            return r2i_refuse_type(r, place_of(place, "tools[%zu]", i), "an object", tool);
        if (!json_is_string(type))
            return r2i_refuse_type(r, place_of(place, "tools[%zu].type", i), "a text", type);
        if (!r2i_json_is_text(type, "function")) {
            warn(q, i, json_string_value(type));
            continue;
        }
        R2I_TRY(check_function(tools, i, r));
        if (json_array_append(q->tools, tool) != 0) return r2i_refuse_memory(r);
    }
    return R2_OK;
}

/* ---- tool_choice ---- */

typedef struct {
    bool is_none, is_required;
    const char *name; /* of the one function that is to be called */
} choice;

static r2_status read_choice(choice *c, const json_t *value, r2i_refusal *r) {
    const json_t *name = json_object_get(json_object_get(value, "function"), "name");
    *c = (choice){ .is_none = r2i_json_is_text(value, "none"),
                   .is_required = r2i_json_is_text(value, "required") };
    if (!r2i_json_is_given(value) || c->is_none || c->is_required ||
        r2i_json_is_text(value, "auto"))
        return R2_OK;
    if (!json_is_string(value) && !json_is_object(value))
        return r2i_refuse_type(r, "tool_choice", "a text or an object", value);
    if (json_is_object(value) && !r2i_json_is_text(json_object_get(value, "type"), "function"))
        return r2i_refuse(r, 400, "tool_choice.type", "invalid_value",
                          "tool_choice.type: expected \"function\"");
    if (json_is_object(value) && !json_is_string(name))
        return r2i_refuse_type(r, "tool_choice.function.name", "a text", name);
    if (!json_is_object(value))
        return r2i_refuse(r, 400, "tool_choice", "invalid_value",
                          "tool_choice: expected none, auto, required or a function, found "
                          "\"%.40s\"",
                          json_string_value(value));
    c->is_required = true;
    c->name = json_string_value(name);
    return R2_OK;
}

static bool has_tool(const json_t *tools, const char *name) {
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *f = json_object_get(json_array_get(tools, i), "function");
        if (r2i_json_is_text(json_object_get(f, "name"), name)) return true;
    }
    return false;
}

static bool has_strict(const json_t *tools) {
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *f = json_object_get(json_array_get(tools, i), "function");
        if (json_is_true(json_object_get(f, "strict"))) return true;
    }
    return false;
}

/* An answer that is free or a schema's may be calls instead; other forms leave no room for them. */
static r2_status combine(r2i_tool_request *q, const choice *c, r2i_wishes *w, r2i_refusal *r) {
    const r2i_answer_form *form = &w->form;
    const bool is_schema = form->kind == R2I_FORM_SCHEMA && !json_is_string(form->value);
    if (form->kind != R2I_FORM_FREE && (c->is_required || !is_schema))
        return r2i_refuse(r, 400, form->field, "contradictory_parameters",
                          "%s: expected no such form beside %s", form->field,
                          c->is_required ? "a tool_choice that requires calls" : "tools");
    if (!c->is_required && form->kind == R2I_FORM_FREE && !has_strict(q->tools)) return R2_OK;
    json_t *content = NULL;
    if (form->kind != R2I_FORM_FREE)
        content = form->value != NULL ? json_incref((json_t *)(uintptr_t)form->value)
                                      : json_pack("{s:s}", "type", "object");
    q->enforced =
        json_pack("{s:O, s:b, s:b, s:s*, s:o*}", "tools", q->tools, "is_required", c->is_required,
                  "is_single", q->is_single, "name", c->name, "content", content);
    if (q->enforced == NULL) return r2i_refuse_memory(r);
    w->form =
        (r2i_answer_form){ R2I_FORM_TOOLS, q->enforced, content != NULL ? form->field : "tools" };
    return R2_OK;
}

static r2_status apply_choice(r2i_tool_request *q, const choice *c, r2i_wishes *w, r2i_refusal *r) {
    if (c->is_required && json_array_size(q->tools) == 0)
        return r2i_refuse(r, 400, "tool_choice", "invalid_value",
                          "tool_choice: expected functions in tools to choose from, found none");
    if (c->name != NULL && !has_tool(q->tools, c->name))
        return r2i_refuse(r, 400, "tool_choice", "invalid_value",
                          "tool_choice.function.name: no function \"%.60s\" among tools", c->name);
    if (c->is_none || json_array_size(q->tools) == 0) {
        json_decref(q->tools);
        q->tools = NULL;
        return R2_OK;
    }
    if (c->name != NULL) q->is_single = true;
    if (json_dump_callback(q->tools, r2i_buffer_append_chunk, &q->text, JSON_COMPACT) != 0)
        return r2i_refuse_memory(r);
    w->tools_json = q->text.bytes;
    w->is_single_call = q->is_single;
    w->is_calls_alone = c->is_required;
    return combine(q, c, w, r);
}

r2_status r2i_tool_request_read(r2i_tool_request *q, const json_t *body, r2i_wishes *w,
                                r2i_refusal *r) {
    const json_t *parallel = json_object_get(body, "parallel_tool_calls");
    choice c;
    *q = (r2i_tool_request){ .is_single = json_is_false(parallel) };
    r2i_heap_init(&q->heap);
    r2i_buffer_init(&q->text, &q->heap, MAX_TEXT_BYTES);
    if (r2i_json_is_given(parallel) && !json_is_boolean(parallel))
        return r2i_refuse_type(r, "parallel_tool_calls", "true or false", parallel);
    R2I_TRY(read_tools(q, json_object_get(body, "tools"), r));
    R2I_TRY(read_choice(&c, json_object_get(body, "tool_choice"), r));
    return apply_choice(q, &c, w, r);
}

void r2i_tool_request_destroy(r2i_tool_request *q) {
    json_decref(q->tools);
    json_decref(q->enforced);
    if (q->text.heap != NULL) r2i_buffer_destroy(&q->text);
    q->tools = q->enforced = NULL;
}

/* ---- grammar ---- */

static r2_status make_grammar(r2_grammar **out, const r2_model *model, const json_t *wanted,
                              r2i_buffer *texts, r2_error *err) {
    const json_t *content = json_object_get(wanted, "content");
    if (json_dump_callback(json_object_get(wanted, "tools"), r2i_buffer_append_chunk, &texts[0],
                           0) != 0 ||
        (content != NULL &&
         json_dump_callback(content, r2i_buffer_append_chunk, &texts[1], 0) != 0))
        return r2i_fail(err, R2_E_NOMEM, "tools: no memory");
    const bool is_required = json_is_true(json_object_get(wanted, "is_required"));
    const r2_tool_options options = { .tools_json = texts[0].bytes,
                                      .choice = is_required ? R2_TOOLS_REQUIRED : R2_TOOLS_AUTO,
                                      .name = json_string_value(json_object_get(wanted, "name")),
                                      .is_single =
                                          json_is_true(json_object_get(wanted, "is_single")),
                                      .content_schema_json =
                                          content != NULL ? texts[1].bytes : NULL };
    return r2_grammar_from_tools(out, model, &options, err);
}

r2_status r2i_tool_grammar_make(r2_grammar **out, const r2_model *model, const char *text,
                                size_t n_bytes, r2_error *err) {
    r2i_heap heap;
    r2i_buffer texts[2];
    json_t *wanted = json_loadb(text, n_bytes, 0, NULL);
    *out = NULL;
    if (wanted == NULL) return r2i_fail(err, R2_E_NOMEM, "tools: no memory");
    r2i_heap_init(&heap);
    r2i_buffer_init(&texts[0], &heap, MAX_TEXT_BYTES);
    r2i_buffer_init(&texts[1], &heap, MAX_TEXT_BYTES);
    const r2_status status = make_grammar(out, model, wanted, texts, err);
    r2i_buffer_destroy(&texts[0]);
    r2i_buffer_destroy(&texts[1]);
    json_decref(wanted);
    return status;
}

/* ---- messages ---- */

bool r2i_tool_message_has_calls(const json_t *message) {
    return json_array_size(json_object_get(message, "tool_calls")) > 0;
}

static r2_status check_call(const json_t *call, size_t i, size_t k, r2i_refusal *r) {
    char place[PLACE_BYTES];
    const json_t *f = json_object_get(call, "function"), *name = json_object_get(f, "name"),
                 *arguments = json_object_get(f, "arguments"), *id = json_object_get(call, "id"),
                 *type = json_object_get(call, "type");
    if (!json_is_object(call))
        return r2i_refuse_type(r, place_of(place, "messages[%zu].tool_calls[%zu]", i, k),
                               "an object", call);
    if (r2i_json_is_given(id) && !json_is_string(id))
        return r2i_refuse_type(r, place_of(place, "messages[%zu].tool_calls[%zu].id", i, k),
                               "a text", id);
    if (r2i_json_is_given(type) && !r2i_json_is_text(type, "function"))
        return r2i_refuse(r, 400, place_of(place, "messages[%zu].tool_calls[%zu].type", i, k),
                          "invalid_value", "%s: expected \"function\"", place);
    if (!json_is_object(f))
        return r2i_refuse_type(r, place_of(place, "messages[%zu].tool_calls[%zu].function", i, k),
                               "an object", f);
    (void)place_of(place, "messages[%zu].tool_calls[%zu].function.name", i, k);
    if (!json_is_string(name)) return r2i_refuse_type(r, place, "a text", name);
    if (json_string_length(name) == 0 || json_string_length(name) > 2 * NAME_BYTES)
        return r2i_refuse(r, 400, place, "out_of_range", "%s: expected 1 to %d bytes", place,
                          2 * NAME_BYTES);
    if (r2i_json_is_given(arguments) && !json_is_string(arguments) && !json_is_object(arguments))
        return r2i_refuse_type(
            r, place_of(place, "messages[%zu].tool_calls[%zu].function.arguments", i, k),
            "JSON as a text", arguments);
    return R2_OK;
}

static json_t *copy_call(const json_t *call) {
    const json_t *f = json_object_get(call, "function");
    return json_pack("{s:O*, s:s, s:{s:O, s:O*}}", "id", json_object_get(call, "id"), "type",
                     "function", "function", "name", json_object_get(f, "name"), "arguments",
                     json_object_get(f, "arguments"));
}

static r2_status read_calls(const json_t *calls, size_t i, json_t *out, r2i_refusal *r) {
    char place[PLACE_BYTES];
    if (!r2i_json_is_given(calls)) return R2_OK;
    if (!json_is_array(calls))
        return r2i_refuse_type(r, place_of(place, "messages[%zu].tool_calls", i), "an array",
                               calls);
    if (json_array_size(calls) == 0) return R2_OK;
    json_t *list = json_array();
    r2_status status =
        json_object_set_new(out, "tool_calls", list) == 0 ? R2_OK : r2i_refuse_memory(r);
    for (size_t k = 0; status == R2_OK && k < json_array_size(calls); k++) {
        const json_t *call = json_array_get(calls, k);
        status = check_call(call, i, k, r);
        if (status == R2_OK && json_array_append_new(list, copy_call(call)) != 0)
            status = r2i_refuse_memory(r);
    }
    return status;
}

r2_status r2i_tool_message_read(const json_t *m, size_t i, json_t *out, r2i_refusal *r) {
    char place[PLACE_BYTES];
    const json_t *id = json_object_get(m, "tool_call_id"), *name = json_object_get(m, "name");
    const bool is_result = r2i_json_is_text(json_object_get(m, "role"), "tool");
    if (r2i_json_is_text(json_object_get(m, "role"), "assistant"))
        R2I_TRY(read_calls(json_object_get(m, "tool_calls"), i, out, r));
    if (is_result && !json_is_string(id))
        return r2i_refuse_type(r, place_of(place, "messages[%zu].tool_call_id", i), "a text", id);
    if (r2i_json_is_given(name) && !json_is_string(name))
        return r2i_refuse_type(r, place_of(place, "messages[%zu].name", i), "a text", name);
    if (is_result) (void)json_object_set(out, "tool_call_id", (json_t *)(uintptr_t)id);
    if (json_is_string(name)) (void)json_object_set(out, "name", (json_t *)(uintptr_t)name);
    return R2_OK;
}
