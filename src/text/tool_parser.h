/* tool_parser.h - tells the calls in an answer from its text, while it is written.
 *
 * Fed with tokens, or with text and marks; gives pieces: content, the name of a call that begins, more
 * of its arguments (raw JSON, as produced).  A call is announced once its name is known; until then what
 * was written is held, and given out as content if it turns out to be none.  Behind that point a call
 * ends with what there was.  Nothing that a model writes makes it fail. */
#ifndef R2I_TOOL_PARSER_H
#define R2I_TOOL_PARSER_H
#include <jansson.h>

#include "base/buffer.h"
#include "text/call_value.h"
#include "text/detokenizer.h"
#include "text/tool_syntax.h"

enum { R2I_CALL_HELD_BYTES = 1 << 20, R2I_CALL_NAME_BYTES = 256, R2I_CALL_KEY_BYTES = 16 };

typedef enum { R2I_PIECE_CONTENT, R2I_PIECE_CALL, R2I_PIECE_ARGUMENTS } r2i_call_piece_kind;

typedef struct {
    r2i_call_piece_kind kind;
    int32_t call;          /* 0, 1, ...; of content -1 */
    size_t begin, n_bytes; /* in the parser's text */
} r2i_call_piece;

typedef enum {
    R2I_CALL_AT_START, /* nothing but blanks yet; where a bare object may be a call */
    R2I_CALL_CONTENT,
    R2I_CALL_BETWEEN,  /* behind a call, or behind the mark that begins them all */
    R2I_CALL_HEAD,     /* deepseek: between open and separator */
    R2I_CALL_NAME,     /* deepseek: behind the separator, up to the arguments */
    R2I_CALL_ENVELOPE, /* in an object of name and arguments */
    R2I_CALL_BARE,     /* in arguments without an object around them */
    R2I_CALL_TAIL      /* behind what was expected, before the closing mark */
} r2i_call_state;

typedef enum {
    R2I_ENVELOPE_OPEN,
    R2I_ENVELOPE_KEY,
    R2I_ENVELOPE_IN_KEY,
    R2I_ENVELOPE_COLON,
    R2I_ENVELOPE_VALUE
} r2i_envelope_spot;

typedef struct {
    r2i_heap *heap;
    r2i_tool_syntax syntax;
    const json_t *tools; /* borrowed; a bare object is a call only by one of these names */
    r2i_detokenizer stream;
    r2i_buffer decoded; /* text of one token */
    r2i_buffer marked;  /* the beginning of a mark that is written as text, perhaps */
    r2i_buffer held;    /* blanks, or what may yet become a call or content */
    r2i_buffer text, pieces;
    r2_status status; /* of giving out, in this feed */
    r2i_call_state state;
    int32_t n_calls;
    bool has_content; /* something but blanks */
    bool is_listed;   /* the envelope is one of a list */
    bool is_bare;     /* nothing but its name tells a call from other objects */
    /* the call being read */
    bool is_begun;      /* announced */
    bool has_arguments; /* some were given out */
    bool is_streamed;   /* the value is given out as it comes */
    r2i_envelope_spot spot;
    r2i_call_value value;
    char key[R2I_CALL_KEY_BYTES];
    size_t n_key;
    size_t head_begin, head_end, value_begin, arguments_begin, arguments_end; /* in held */
    bool is_escaped;
} r2i_tool_parser;

/* tools: OpenAI's array, or NULL; borrowed like the tokenizer (NULL: no tokens will be fed). */
void r2i_tool_parser_init(r2i_tool_parser *p, const r2i_tool_syntax *syntax, const json_t *tools,
                          const r2i_tokenizer *tokenizer, r2i_heap *heap);
void r2i_tool_parser_destroy(r2i_tool_parser *p);

/* Each forgets the pieces of the call before it.  R2_E_NOMEM, R2_E_LIMIT of a buffer: pieces are lost. */
R2_CHECKED r2_status r2i_tool_parser_feed(r2i_tool_parser *p, int32_t token, r2_error *err);
R2_CHECKED r2_status r2i_tool_parser_feed_text(r2i_tool_parser *p, const char *bytes,
                                               size_t n_bytes, r2_error *err);
R2_CHECKED r2_status r2i_tool_parser_feed_mark(r2i_tool_parser *p, r2i_call_mark mark,
                                               r2_error *err);
/* The end of the answer: gives out what was held. */
R2_CHECKED r2_status r2i_tool_parser_finish(r2i_tool_parser *p, r2_error *err);

static inline const r2i_call_piece *r2i_tool_parser_pieces(const r2i_tool_parser *p, size_t *n) {
    *n = p->pieces.n_bytes / sizeof(r2i_call_piece);
    return (const r2i_call_piece *)(const void *)p->pieces.bytes;
}
/* Calls that are complete. */
int32_t r2i_tool_parser_n_complete(const r2i_tool_parser *p);
/* Is what comes now part of a call, as far as one can tell? */
bool r2i_tool_parser_is_in_call(const r2i_tool_parser *p);
#endif
