/* chat_tools.h - renders conversations with tools as the model's template wants them.
 *
 * Clients give arguments as text; most templates want an object and write it with tojson, which then
 * repeats the very text, so that what a model wrote comes back byte for byte.  A template that knows
 * nothing of tools is given them in words, in the first system message, and calls and results as content,
 * in the model's syntax (tool_syntax.h). */
#ifndef R2I_CHAT_TOOLS_H
#define R2I_CHAT_TOOLS_H
#include "text/chat_template.h"
#include "text/tool_syntax.h"

typedef struct {
    const r2i_chat_template *tmpl;
    const r2i_chat_template_traits *traits;
    const r2i_tool_syntax *syntax;
} r2i_chat_tools;

/* As r2i_chat_template_render; messages and tools within `context` may be changed.  When a template fails with
 * one form of arguments or of absent content it gets the other; the first failure is reported. */
R2_CHECKED r2_status r2i_chat_tools_render(const r2i_chat_tools *tools, json_t *context,
                                           int64_t now_seconds, r2i_buffer *text,
                                           r2i_text_ranges *untrusted, r2_error *err);
#endif
