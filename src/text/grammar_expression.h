/* grammar_expression.h - a grammar as a tree, before it becomes an automaton.
 *
 * GBNF, regular expressions and JSON schemas are three ways to draft the same thing: named rules made
 * of texts, character classes, sequences, choices, repetitions and other rules.  An expression has
 * one parent.  Making one never fails loudly: out of memory or room sets draft->status, the result is
 * NULL, and NULL as a part gives NULL; whoever made the draft looks at the status once. */
#ifndef R2I_GRAMMAR_EXPRESSION_H
#define R2I_GRAMMAR_EXPRESSION_H
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

enum {
    R2I_GRAMMAR_MAX_TEXT_BYTES = 1 << 20,   /* of a grammar, schema or pattern */
    R2I_GRAMMAR_MAX_DRAFT_BYTES = 32 << 20, /* memory while one is read */
    R2I_GRAMMAR_MAX_RULES = 1 << 14,
    R2I_GRAMMAR_MAX_NESTING = 64,
    R2I_GRAMMAR_MAX_REPEAT = 100000,
    R2I_LAST_CODE_POINT = 0x10ffff
};

typedef enum {
    R2I_EXPRESSION_TEXT,
    R2I_EXPRESSION_CLASS,
    R2I_EXPRESSION_SEQUENCE, /* without parts: the empty text */
    R2I_EXPRESSION_CHOICE,   /* without parts: nothing at all */
    R2I_EXPRESSION_REPEAT,
    R2I_EXPRESSION_RULE
} r2i_expression_kind;

/* Code points first..last. */
typedef struct {
    int32_t first, last;
} r2i_char_range;

typedef struct r2i_expression {
    r2i_expression_kind kind;
    struct r2i_expression *parts, *last_part, *next; /* SEQUENCE, CHOICE, REPEAT: one */
    const char *bytes;                               /* TEXT */
    size_t n_bytes;
    const r2i_char_range *ranges; /* CLASS: ascending, apart from each other, no surrogates */
    size_t n_ranges;
    int32_t n_min, n_max; /* REPEAT; n_max < 0: no limit */
    int32_t rule;         /* RULE */
} r2i_expression;

typedef struct {
    const char *name;           /* "" without */
    const r2i_expression *body; /* NULL: not defined yet */
} r2i_grammar_rule;

typedef struct {
    r2i_arena *arena;
    r2i_grammar_rule *rules; /* [R2I_GRAMMAR_MAX_RULES] */
    int32_t *slots;          /* by hash of name: rule + 1 */
    int32_t n_rules, root;
    r2_status status; /* the first thing that went wrong while making expressions */
} r2i_grammar_draft;

/* Everything lives in `arena`. */
R2_CHECKED r2_status r2i_draft_init(r2i_grammar_draft *draft, r2i_arena *arena, r2_error *err);
/* draft->status as an error of the caller. */
R2_CHECKED r2_status r2i_draft_check(const r2i_grammar_draft *draft, r2_error *err);

/* The rule of this name, made if there is none; names are copied.  -1: no room. */
int32_t r2i_draft_rule(r2i_grammar_draft *draft, const char *name, size_t n_bytes);
/* A rule without a name. */
int32_t r2i_draft_new_rule(r2i_grammar_draft *draft);
/* Does nothing for rule -1. */
void r2i_draft_define(r2i_grammar_draft *draft, int32_t rule, const r2i_expression *body);

/* Copies the bytes. */
r2i_expression *r2i_expression_text(r2i_grammar_draft *draft, const char *bytes, size_t n_bytes);
r2i_expression *r2i_expression_word(r2i_grammar_draft *draft, const char *text);
/* Sorts and joins the ranges in place, drops surrogates, copies; is_negated: all other characters. */
r2i_expression *r2i_expression_class(r2i_grammar_draft *draft, r2i_char_range *ranges,
                                     size_t n_ranges, bool is_negated);
r2i_expression *r2i_expression_sequence(r2i_grammar_draft *draft);
r2i_expression *r2i_expression_choice(r2i_grammar_draft *draft);
/* Adds a part at the end of a sequence or choice; returns the whole. */
r2i_expression *r2i_expression_add(r2i_grammar_draft *draft, r2i_expression *whole,
                                   r2i_expression *part);
r2i_expression *r2i_expression_repeat(r2i_grammar_draft *draft, r2i_expression *part, int32_t n_min,
                                      int32_t n_max);
r2i_expression *r2i_expression_rule(r2i_grammar_draft *draft, int32_t rule);

/* Reads a whole text into draft->rules, draft->root.  R2_E_FORMAT: malformed, says where;
 * R2_E_UNSUPPORTED: names the keyword or construct and where; R2_E_LIMIT, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_gbnf_read(r2i_grammar_draft *draft, const char *text, size_t n_bytes,
                                   r2_error *err);
#endif
