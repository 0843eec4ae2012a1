/* template_parser.h - what the two halves of the parser share: expressions and statements. */
#ifndef R2I_TEMPLATE_PARSER_H
#define R2I_TEMPLATE_PARSER_H
#include "text/template_lexer.h"
#include "text/template_syntax.h"

typedef struct {
    r2i_trun *run; /* errors, memory */
    const r2i_ttoken *at;
    int32_t n_nested;
    int32_t n_loops;  /* around this statement, within the macro */
    r2i_tnode *macro; /* around this statement, or NULL */
} r2i_tparser;

/* How a list of expressions may end besides tag ends and ')': "in", "recursive" or NULL. */
bool r2i_tparser_tuple(r2i_tparser *p, bool with_condition, const char *extra_end,
                       bool in_parentheses, r2i_tnode **out);
bool r2i_tparser_expression(r2i_tparser *p, r2i_tnode **out);
/* Filters from "| name" on, applied to `node`; `at_start`: the first one has no '|'. */
bool r2i_tparser_filters(r2i_tparser *p, r2i_tnode *node, bool at_start, r2i_tnode **out);

bool r2i_tparser_fail(r2i_tparser *p, const char *expected);
bool r2i_tparser_is_op(const r2i_tparser *p, const char *op);
bool r2i_tparser_is_name(const r2i_tparser *p, const char *name);
/* Steps over the token when it is this one. */
bool r2i_tparser_skip_op(r2i_tparser *p, const char *op);
bool r2i_tparser_skip_name(r2i_tparser *p, const char *name);
/* The same, or an error. */
bool r2i_tparser_expect_op(r2i_tparser *p, const char *op);
bool r2i_tparser_take_name(r2i_tparser *p, const r2i_tstring **name);

r2i_tnode *r2i_tparser_node(r2i_tparser *p, r2i_tnode_kind kind);
bool r2i_tparser_push(r2i_tparser *p, r2i_tnode *list, r2i_tnode *item);
/* Around recursion. */
bool r2i_tparser_enter(r2i_tparser *p);
#endif
