/* grammar_tools.h - answers with tool calls as a grammar: the family's syntax around the tools' schemas.
 *
 * Marks that are tokens stand in it as such (token_tree.h), the others as text. */
#ifndef R2I_GRAMMAR_TOOLS_H
#define R2I_GRAMMAR_TOOLS_H
#include <jansson.h>

#include "text/grammar_expression.h"
#include "text/tool_syntax.h"

typedef struct {
    const r2i_tool_syntax *syntax;
    const json_t *tools; /* OpenAI's array */
    const char *name;    /* only this one; NULL: any */
    bool is_required;    /* nothing but calls; otherwise any text without the marks, then calls */
    bool is_single; /* otherwise up to 16 calls */
    const json_t *content; /* schema of answers without calls, or NULL: any text */
} r2i_tools_wanted;

/* Can answers be held to this at all, and is there anything to hold them to? */
bool r2i_tools_need_grammar(const r2i_tools_wanted *wanted);
/* Fills the draft with its root.  R2_E_FORMAT: no array of functions with names; R2_E_NOT_FOUND: none of
 * that name; R2_E_UNSUPPORTED, R2_E_FORMAT, R2_E_LIMIT: the schema of a strict function. */
R2_CHECKED r2_status r2i_tools_read(r2i_grammar_draft *draft, const r2i_tools_wanted *wanted,
                                    r2_error *err);
#endif
