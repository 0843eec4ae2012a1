/* chat_template.h - turns messages into the text a model was trained on, by the template that its
 * author published (Jinja, as Hugging Face transformers sets it up).
 *
 * Templates come from model files and are not trusted: an interpreter of our own without I/O, with
 * limits on nesting, steps, memory and output (template_value.h), every failure a value naming the
 * template's line.  Messages are not trusted either: the result says which of its bytes came from
 * them, so that a tokenizer does not take "<|im_end|>" in a user's text for the end of the turn. */
#ifndef R2I_CHAT_TEMPLATE_H
#define R2I_CHAT_TEMPLATE_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/buffer.h"
#include "text/text_range.h"

typedef struct r2i_chat_template r2i_chat_template;

/* Grows in its heap; n_items ranges, ascending. */
typedef struct {
    r2i_heap *heap;
    r2i_text_range *items;
    size_t n_items, cap_items;
} r2i_text_ranges;

void r2i_text_ranges_init(r2i_text_ranges *ranges, r2i_heap *heap);
void r2i_text_ranges_destroy(r2i_text_ranges *ranges);
/* Bytes [begin, end) behind all others; nothing if there are none.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_text_ranges_add(r2i_text_ranges *ranges, size_t begin, size_t end,
                                         r2_error *err);

/* Parses a template; `source` is not kept.  R2_E_FORMAT: not a template; R2_E_LIMIT: too long or
 * nested too deeply; R2_E_NOMEM.  On failure *out is NULL. */
R2_CHECKED r2_status r2i_chat_template_create(r2i_chat_template **out, const char *source,
                                              size_t n_bytes, r2i_heap *heap, r2_error *err);
/* NULL is allowed. */
void r2i_chat_template_destroy(r2i_chat_template *tmpl);

/* Renders with the variables of `context`, a JSON object: messages, tools, add_generation_prompt,
 * bos_token, eos_token and whatever else the template knows (only read).  `now_seconds` (Unix
 * time, shown as UTC) is what strftime_now() sees.  Replaces the content of *text and of
 * *untrusted (may be NULL): ranges of bytes that came from the context, except from roles with a
 * usual name and from variables called *_token.  R2_E_ARGUMENT: the template refused by
 * raise_exception; R2_E_FORMAT, R2_E_UNSUPPORTED, R2_E_RANGE: it failed; R2_E_LIMIT, R2_E_NOMEM.
 * On failure both results are empty.  One template may render in several threads at once. */
R2_CHECKED r2_status r2i_chat_template_render(const r2i_chat_template *tmpl, json_t *context,
                                              int64_t now_seconds, r2i_buffer *text,
                                              r2i_text_ranges *untrusted, r2_error *err);

typedef struct {
    json_t *context;
    int64_t now_seconds;
    /* Arguments of calls in `messages` that are the text of a JSON object become that object; tojson gives
     * the text back. */
    bool opens_arguments;
} r2i_template_input;

/* The same with more to choose. */
R2_CHECKED r2_status r2i_chat_template_run(const r2i_chat_template *tmpl,
                                           const r2i_template_input *input, r2i_buffer *text,
                                           r2i_text_ranges *untrusted, r2_error *err);

/* What a template's source mentions. */
typedef struct {
    bool tools; /* "tools" */
    bool tool_calls;
    bool text_arguments; /* of calls, not objects */
    bool null_content;   /* tells absent content from "" */
    bool
        thinking_switch; /* a variable "enable_thinking" or "thinking" that turns reasoning on or off */
    const char *thinking_name; /* "enable_thinking", "thinking", or NULL */
    bool think_markers;        /* "<think>" */
    bool reasoning_content;    /* messages may carry "reasoning_content" */
} r2i_chat_template_traits;

r2i_chat_template_traits r2i_chat_template_get_traits(const char *source, size_t n_bytes);
#endif
