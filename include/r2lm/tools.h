/* tools.h - functions that a model may ask its caller to call.
 *
 *     r2_chat_render (tools_json) -> r2_grammar_from_tools, if calls are not left to the model
 *     -> r2_tool_parser_feed with each token -> the caller calls -> r2_chat_render with the results
 *
 * The syntax of calls is that of the model's chat template: <tool_call> (qwen, smollm), a bare object
 * (llama 3), DeepSeek's markers (V2, V3, R1, V3.1).  Tools are OpenAI's: [{"type": "function",
 * "function": {"name", "description", "parameters": a JSON schema, "strict"}}]. */
#ifndef R2LM_TOOLS_H
#define R2LM_TOOLS_H

#include "r2lm/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- calls in an answer ----------------------------------------------------------------------- */

typedef enum {
    R2_PIECE_CONTENT,  /* text of the answer that is no call */
    R2_PIECE_CALL,     /* a call begins; the text is the function's name, whole */
    R2_PIECE_ARGUMENTS /* more of its arguments: raw JSON as the model writes it, not checked */
} r2_piece_kind;

typedef struct {
    r2_piece_kind kind;
    int32_t call;     /* number of the call, from 0; -1 with content */
    const char *text; /* UTF-8, not terminated */
    size_t n_bytes;
} r2_answer_piece;

/* Tells calls from content while an answer is written.  Where the vocabulary has the markers they are
 * recognised by token, never by text.  What looks like a call and is none becomes content. */
typedef struct r2_tool_parser r2_tool_parser;

/* tools_json: what the model was told of, an array (R2_E_FORMAT otherwise).  The model must outlive the
 * parser. */
R2_API R2_CHECKED r2_status r2_tool_parser_create(r2_tool_parser **out, const r2_model *model,
                                                  const char *tools_json, r2_error *err);
/* NULL is allowed. */
R2_API void r2_tool_parser_destroy(r2_tool_parser *parser);
/* Takes one token of the answer (thoughts are not for it) and points *pieces at what became certain, in
 * order; valid until the next call.  R2_E_NOMEM, R2_E_LIMIT (64 MiB in one call): the pieces are lost. */
R2_API R2_CHECKED r2_status r2_tool_parser_feed(r2_tool_parser *parser, r2_token token,
                                                const r2_answer_piece **pieces, int32_t *n_pieces,
                                                r2_error *err);
/* The answer is over: what was held back.  Feed nothing after it. */
R2_API R2_CHECKED r2_status r2_tool_parser_finish(r2_tool_parser *parser,
                                                  const r2_answer_piece **pieces, int32_t *n_pieces,
                                                  r2_error *err);
/* Calls that are complete. */
R2_API int32_t r2_tool_parser_n_calls(const r2_tool_parser *parser);
/* Was the last token part of a call, or may it have been? */
R2_API bool r2_tool_parser_is_in_call(const r2_tool_parser *parser);

/* ---- calls that are enforced ------------------------------------------------------------------ */

typedef enum {
    R2_TOOLS_AUTO, /* the model decides; arguments of functions with "strict": true fit their schema */
    R2_TOOLS_REQUIRED /* at least one call, nothing else, all arguments fit their schemas */
} r2_tool_choice;

typedef struct {
    const char *tools_json;
    r2_tool_choice choice;
    const char *name; /* only this function; NULL: any */
    bool is_single;   /* at most one call; otherwise 16 */
    const char
        *content_schema_json; /* with AUTO: an answer is calls, or JSON of this schema; or NULL */
} r2_tool_options;

/* A grammar of answers with calls in the model's syntax, for r2_grammar_mask.  *out stays NULL with R2_OK
 * where there is nothing to enforce: AUTO without strict functions, or where no token marks a call.
 * Schemas are understood as by r2_grammar_from_json_schema; of a function that is not strict, one that is
 * not understood stands for any object.  R2_E_FORMAT: the tools; R2_E_NOT_FOUND: no function of that name;
 * R2_E_UNSUPPORTED, R2_E_LIMIT: a strict schema, the text names the function and the keyword; R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_grammar_from_tools(r2_grammar **out, const r2_model *model,
                                                  const r2_tool_options *options, r2_error *err);

#ifdef __cplusplus
}
#endif
#endif
