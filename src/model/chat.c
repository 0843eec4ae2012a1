/* chat.c - a conversation to a prompt: the template renders, the tokenizer encodes, and what the
 * messages brought in never becomes a control token. */
#define _POSIX_C_SOURCE 200809L /* clock_gettime */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/failure.h"
#include "files/json_read.h"
#include "model/model.h"
#include "model/model_encode.h"
#include "text/chat_tools.h"

enum { MAX_PROMPT_BYTES = 1 << 28 };

/* Closes a block that the template opened although thinking is off. */
static const char think_end[] = "\n</think>\n\n";

typedef struct {
    r2_prompt shown; /* first: the caller's pointer */
    r2i_heap *heap;
    r2i_buffer text;
    r2_token *tokens;
} owned_prompt;

/* One that the vocabulary lacks stays undefined: templates print nothing for it then. */
static void add_token(json_t *context, const char *name, const r2_model *model, int32_t id) {
    const r2i_text_view text = r2i_tokenizer_text(model->tokenizer, id);
    if (id >= 0) (void)json_object_set_new(context, name, json_stringn(text.bytes, text.n_bytes));
}

static r2_status parse(const char *name, const char *text, json_t **out, r2_error *err) {
    return r2i_json_read(out, name, text, strlen(text), &r2i_json_config_limits, err);
}

static r2_status make_message(const r2_chat_message *m, json_t **out, r2_error *err) {
    json_t *calls = NULL;
    *out = NULL;
    if (m->tool_calls_json != NULL) R2I_TRY(parse("tool calls", m->tool_calls_json, &calls, err));
    *out = json_pack("{s:s, s:s?, s:s*, s:s*, s:s*, s:o*}", "role", m->role, "content", m->content,
                     "reasoning_content", m->reasoning, "tool_call_id", m->tool_call_id, "name",
                     m->name, "tool_calls", calls);
    return *out != NULL ? R2_OK
                        : r2i_fail(err, R2_E_FORMAT, "role, content and names must be UTF-8 text");
}

static r2_status make_messages(const r2_chat_message *messages, int32_t n, json_t **out,
                               r2_error *err) {
    json_t *list = json_array();
    for (int32_t i = 0; i < n; i++) {
        json_t *message;
        const r2_status status = make_message(&messages[i], &message, err);
        if (status != R2_OK) {
            char place[32];
            (void)snprintf(place, sizeof place, "message %d", i);
            json_decref(list);
            return r2i_fail_at(err, status, place);
        }
        json_array_append_new(list, message);
    }
    *out = list;
    return R2_OK;
}

/* Roles decide what a text may do, so they come from a closed set. */
static r2_status check_roles(const json_t *messages, r2_error *err) {
    static const char *const roles[] = { "system", "user",      "assistant",
                                         "tool",   "developer", "function" };
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const char *role = json_string_value(json_object_get(json_array_get(messages, i), "role"));
        bool is_known = false;
        for (size_t r = 0; role != NULL && r < sizeof roles / sizeof *roles; r++)
            is_known |= strcmp(role, roles[r]) == 0;
        if (is_known) continue;
        return r2i_fail(err, R2_E_ARGUMENT,
                        "message %zu: role: expected system, user, assistant, tool, developer or "
                        "function, found \"%.40s\"",
                        i, role != NULL ? role : "nothing");
    }
    return R2_OK;
}

static r2_status add_json(json_t *context, const char *key, const char *text, r2_error *err) {
    json_t *value = NULL;
    if (text == NULL) return R2_OK;
    R2I_TRY(parse(key, text, &value, err));
    return json_object_set_new(context, key, value) == 0
               ? R2_OK
               : r2i_fail(err, R2_E_NOMEM, "no memory for %s", key);
}

static r2_status add_messages(json_t *context, const r2_chat_message *messages, int32_t n,
                              const r2_chat_options *o, r2_error *err) {
    if (o->messages_json != NULL)
        R2I_TRY(add_json(context, "messages", o->messages_json, err));
    else {
        json_t *list = NULL;
        R2I_TRY(make_messages(messages, n, &list, err));
        if (json_object_set_new(context, "messages", list) != 0)
            return r2i_fail(err, R2_E_NOMEM, "no memory for messages");
    }
    return check_roles(json_object_get(context, "messages"), err);
}

static r2_status fill_context(json_t *context, const r2_model *model,
                              const r2_chat_message *messages, int32_t n, const r2_chat_options *o,
                              r2_error *err) {
    json_t *extra = NULL;
    if (o->extra_json != NULL) {
        R2I_TRY(parse("extra variables", o->extra_json, &extra, err));
        (void)json_object_update(context, extra);
        json_decref(extra);
    }
    add_token(context, "bos_token", model, r2i_tokenizer_bos(model->tokenizer));
    add_token(context, "eos_token", model, r2i_tokenizer_eos(model->tokenizer));
    json_object_set_new(context, "add_generation_prompt", json_boolean(!o->has_no_answer_prompt));
    const char *thinking = model->template_traits.thinking_name;
    if (thinking != NULL && o->think == R2_THINK_OFF)
        json_object_set_new(context, thinking, json_false());
    R2I_TRY(add_messages(context, messages, n, o, err));
    return add_json(context, "tools", o->tools_json, err);
}

/* True when the text ends by opening a block. */
static bool ends_in_think(const r2i_buffer *text) {
    static const char open[] = "<think>";
    size_t n = text->n_bytes;
    while (n > 0 && (text->bytes[n - 1] == '\n' || text->bytes[n - 1] == ' '))
        n--;
    const size_t n_open = sizeof open - 1;
    return n >= n_open && memcmp(text->bytes + n - n_open, open, n_open) == 0;
}

/* Somebody's text, in which control tokens are not recognised. */
static r2_status add_untrusted(owned_prompt *p, const char *text, r2i_text_ranges *untrusted,
                               r2_error *err) {
    const size_t begin = p->text.n_bytes;
    R2I_TRY(r2i_buffer_append_text(&p->text, text, err));
    return r2i_text_ranges_add(untrusted, begin, p->text.n_bytes, err);
}

static r2_status begin_answer(owned_prompt *p, const r2_model *model, const r2_chat_options *o,
                              r2i_text_ranges *untrusted, r2_error *err) {
    const bool is_open = ends_in_think(&p->text), has_thoughts = o->answer_thoughts != NULL;
    if (has_thoughts && model->think_open < 0)
        return r2i_fail(err, R2_E_UNSUPPORTED, "thoughts before an answer: the model has none");
    if (has_thoughts && !is_open) R2I_TRY(r2i_buffer_append_text(&p->text, "<think>\n", err));
    if (has_thoughts) R2I_TRY(add_untrusted(p, o->answer_thoughts, untrusted, err));
    if (has_thoughts || is_open) R2I_TRY(r2i_buffer_append_text(&p->text, think_end, err));
    return add_untrusted(p, o->answer, untrusted, err);
}

static r2_status render(owned_prompt *p, const r2_model *model, json_t *context,
                        const r2_chat_options *o, r2i_text_ranges *untrusted, r2_error *err) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    const r2i_chat_tools tools = { model->chat_template, &model->template_traits,
                                   &model->tool_syntax };
    R2I_TRY(r2i_chat_tools_render(&tools, context, (int64_t)now.tv_sec, &p->text, untrusted, err));
    if (o->answer != NULL) return begin_answer(p, model, o, untrusted, err);
    if (o->think != R2_THINK_OFF || o->has_no_answer_prompt || !ends_in_think(&p->text))
        return R2_OK;
    return r2i_buffer_append_text(&p->text, think_end, err);
}

static r2_status keep_ids(void *user, const int32_t *ids, size_t n_ids, r2_error *err) {
    owned_prompt *p = user;
    if (n_ids > INT32_MAX) return r2i_fail(err, R2_E_LIMIT, "prompt of %zu tokens", n_ids);
    p->tokens = r2i_heap_take(p->heap, n_ids * sizeof *ids);
    if (p->tokens == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for %zu tokens", n_ids);
    if (n_ids > 0) memcpy(p->tokens, ids, n_ids * sizeof *ids);
    p->shown.n_tokens = (int32_t)n_ids;
    return R2_OK;
}

static r2_status make_prompt(owned_prompt *p, const r2_model *model, json_t *context,
                             const r2_chat_options *o, r2_error *err) {
    r2i_text_ranges untrusted;
    r2i_text_ranges_init(&untrusted, p->heap);
    r2_status status = render(p, model, context, o, &untrusted, err);
    if (status == R2_OK) {
        const r2i_encode_text input = { .bytes = p->text.bytes != NULL ? p->text.bytes : "",
                                        .n_bytes = p->text.n_bytes,
                                        .flags = R2I_ENCODE_CONTROL,
                                        .untrusted = untrusted.items,
                                        .n_untrusted = untrusted.n_items };
        status = r2i_model_encode(model, &input, keep_ids, p, err);
    }
    r2i_text_ranges_destroy(&untrusted);
    return status;
}

r2_status r2_chat_render(r2_prompt **out, const r2_model *model, const r2_chat_message *messages,
                         int32_t n_messages, const r2_chat_options *options, r2_error *err) {
    static const r2_chat_options defaults = { 0 };
    *out = NULL;
    if (options == NULL) options = &defaults;
    if (model->chat_template == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "the model has no chat template");
    r2i_heap *heap = &((r2_model *)(uintptr_t)model)->heap;
    owned_prompt *p = r2i_heap_take(heap, sizeof *p);
    json_t *context = json_object();
    if (p == NULL || context == NULL) {
        r2i_heap_give(heap, p, sizeof *p);
        json_decref(context);
        return r2i_fail(err, R2_E_NOMEM, "no memory for a prompt");
    }
    *p = (owned_prompt){ .heap = heap };
    r2i_buffer_init(&p->text, heap, MAX_PROMPT_BYTES);
    r2_status status = fill_context(context, model, messages, n_messages, options, err);
    if (status == R2_OK) status = make_prompt(p, model, context, options, err);
    json_decref(context);
    p->shown.text = p->text.bytes != NULL ? p->text.bytes : "";
    p->shown.n_bytes = p->text.n_bytes;
    p->shown.tokens = p->tokens;
    if (status == R2_OK)
        *out = &p->shown;
    else
        r2_prompt_destroy(&p->shown);
    return status;
}

void r2_prompt_destroy(r2_prompt *prompt) {
    if (prompt == NULL) return;
    owned_prompt *p = (owned_prompt *)(void *)prompt;
    r2i_heap_give(p->heap, p->tokens, (size_t)p->shown.n_tokens * sizeof *p->tokens);
    r2i_buffer_destroy(&p->text);
    r2i_heap_give(p->heap, p, sizeof *p);
}
