/* tool_parser_parts.h - what reading marks (tool_parser.c) needs of reading what stands between them
 * (tool_call_bytes.c); for these two only. */
#ifndef R2I_TOOL_PARSER_PARTS_H
#define R2I_TOOL_PARSER_PARTS_H
#include "text/tool_parser.h"

/* The next byte, whatever the state. */
void r2i_tool_parser_take_byte(r2i_tool_parser *p, char c);
/* Keeps the first failure of this feed. */
void r2i_tool_parser_note(r2i_tool_parser *p, r2_status status);

/* The text of a mark that means nothing here. */
void r2i_tool_parser_give_content_text(r2i_tool_parser *p, const char *text);
/* What was held is content. */
void r2i_tool_parser_give_held(r2i_tool_parser *p);
/* Content ends here: what templates put in front of a call is not part of it. */
void r2i_tool_parser_end_content(r2i_tool_parser *p);

void r2i_tool_parser_begin_call(r2i_tool_parser *p, r2i_call_state state);
/* deepseek: gives out the name that was held.  False: there is none. */
bool r2i_tool_parser_announce_bare(r2i_tool_parser *p);
/* What was held is no call: content after all.  Or the call was announced: it ends with what there was. */
void r2i_tool_parser_give_up(r2i_tool_parser *p);
#endif
