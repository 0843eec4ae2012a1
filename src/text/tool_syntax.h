/* tool_syntax.h - how families of models write tool calls.
 *
 *     hermes (qwen, smollm)   <tool_call>\n{"name": "f", "arguments": {...}}\n</tool_call>
 *     llama 3                 {"name": "f", "parameters": {...}}, perhaps behind <|python_tag|>
 *     deepseek v3.1           calls_begin call_begin f sep {...} call_end ... calls_end
 *     deepseek v2, v3, r1     ... call_begin function sep f\n```json\n{...}\n``` call_end ...
 *
 * The markers are tokens of the vocabulary where it has them: then only these tokens count, never a text
 * that looks like them.  Small models forget <tool_call>: an answer that is nothing but an object with the
 * name of a known function is taken for a call with both of the first families. */
#ifndef R2I_TOOL_SYNTAX_H
#define R2I_TOOL_SYNTAX_H
#include "text/tokenizer.h"

typedef enum {
    R2I_CALLS_HERMES,
    R2I_CALLS_LLAMA,
    R2I_CALLS_DEEPSEEK,
    R2I_CALLS_DEEPSEEK_FENCED,
    R2I_N_CALL_FAMILIES
} r2i_call_family;

typedef enum {
    R2I_MARK_BEGIN, /* of all calls */
    R2I_MARK_OPEN,  /* of one */
    R2I_MARK_SEPARATOR,
    R2I_MARK_CLOSE,
    R2I_MARK_END,
    R2I_N_MARKS
} r2i_call_mark;

typedef struct {
    r2i_call_family family;
    int32_t ids[R2I_N_MARKS]; /* -1: the vocabulary has no such token, or the family no such mark */
} r2i_tool_syntax;

/* By what the chat template mentions, else by the vocabulary, else hermes.  `tokenizer` may be NULL. */
void r2i_tool_syntax_find(r2i_tool_syntax *out, const char *source, size_t n_bytes,
                          const r2i_tokenizer *tokenizer);
/* "<tool_call>"; NULL: the family has no such mark. */
const char *r2i_call_mark_text(r2i_call_family family, r2i_call_mark mark);
#endif
