/* template_lexer.h - a template's source as a list of tokens, white space control already applied
 * (trim_blocks and lstrip_blocks are on, as for every published chat template). */
#ifndef R2I_TEMPLATE_LEXER_H
#define R2I_TEMPLATE_LEXER_H
#include "text/template_text.h"

typedef enum {
    R2I_TT_END,
    R2I_TT_DATA,
    R2I_TT_VARIABLE_BEGIN,
    R2I_TT_VARIABLE_END,
    R2I_TT_BLOCK_BEGIN,
    R2I_TT_BLOCK_END,
    R2I_TT_NAME,
    R2I_TT_STRING,
    R2I_TT_INT,
    R2I_TT_FLOAT,
    R2I_TT_OPERATOR
} r2i_ttoken_kind;

typedef struct {
    r2i_ttoken_kind kind;
    int32_t line;
    char operator[3]; /* of OPERATOR: "+", "**", "==" */
    r2i_tvalue value; /* string of DATA, NAME and STRING; number of INT and FLOAT */
} r2i_ttoken;

/* Tokens up to and including one of kind END; errors are recorded in the run, whose arena then
 * owns everything.  The source must be valid UTF-8. */
bool r2i_template_tokenize(r2i_trun *run, const char *source, size_t n_bytes, r2i_ttoken **tokens);
#endif
