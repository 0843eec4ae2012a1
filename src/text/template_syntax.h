/* template_syntax.h - the syntax tree of a template. */
#ifndef R2I_TEMPLATE_SYNTAX_H
#define R2I_TEMPLATE_SYNTAX_H
#include "text/template_value.h"

typedef enum {
    /* expressions */
    R2I_TN_CONST, /* value */
    R2I_TN_NAME,  /* name */
    R2I_TN_LIST,  /* items; also TUPLE */
    R2I_TN_TUPLE,
    R2I_TN_DICT,      /* items: key, value, key, value */
    R2I_TN_ATTRIBUTE, /* a.name */
    R2I_TN_ITEM,      /* a[b] */
    R2I_TN_SLICE,     /* a[items[0]:items[1]:items[2]], each may be NULL */
    R2I_TN_CALL,      /* a(items) */
    R2I_TN_FILTER,    /* a|name(items); a is NULL at the start of a block's filter */
    R2I_TN_TEST,      /* a is name(items) */
    R2I_TN_KEYWORD,   /* name=a among arguments */
    R2I_TN_SPREAD,    /* *a among arguments; op 1: **a */
    R2I_TN_NOT,       /* not a */
    R2I_TN_SIGN,      /* op '-' or '+' on a */
    R2I_TN_CHAIN,     /* items: operand, then OPERAND nodes from left to right */
    R2I_TN_COMPARE,   /* the same for comparisons */
    R2I_TN_OPERAND,   /* op on the value so far and a */
    R2I_TN_AND,       /* items; also OR and CONCAT */
    R2I_TN_OR,
    R2I_TN_CONCAT,
    R2I_TN_CONDITION, /* a if b else c (c may be NULL) */
    /* statements */
    R2I_TN_BODY,       /* items */
    R2I_TN_TEXT,       /* value */
    R2I_TN_OUTPUT,     /* items */
    R2I_TN_IF,         /* items: condition, body, condition, body ...; a: else body or NULL */
    R2I_TN_FOR,        /* target a, over b, if c (or NULL); body items[0], else items[1] or NULL */
    R2I_TN_SET,        /* a = b */
    R2I_TN_SET_BLOCK,  /* a = body b, through filter c or NULL */
    R2I_TN_NS_NAME,    /* target: name of a namespace, attribute in value */
    R2I_TN_MACRO,      /* name, parameters items (KEYWORD nodes, a may be NULL), body a */
    R2I_TN_CALL_BLOCK, /* call a; caller b (a MACRO node) */
    R2I_TN_FILTER_BLOCK, /* filter a on body b */
    R2I_TN_SCOPE,        /* body a */
    R2I_TN_WITH,         /* items: target, value ...; body a */
    R2I_TN_BREAK,
    R2I_TN_CONTINUE
} r2i_tnode_kind;

/* Operators of OPERAND nodes with two characters; the others are their character. */
enum {
    R2I_OP_FLOOR = 256,
    R2I_OP_POWER,
    R2I_OP_EQ,
    R2I_OP_NE,
    R2I_OP_GE,
    R2I_OP_LE,
    R2I_OP_IN,
    R2I_OP_NOT_IN
};
/* Names a macro's body mentions: op bits of a MACRO node. */
enum { R2I_MACRO_CALLER = 1, R2I_MACRO_VARARGS = 2, R2I_MACRO_KWARGS = 4 };

typedef struct r2i_tnode r2i_tnode;
struct r2i_tnode {
    r2i_tnode_kind kind;
    int32_t line;
    int32_t op;
    r2i_tvalue value;
    const r2i_tstring *name;
    r2i_tnode *a, *b, *c;
    r2i_tnode **items; /* [n_items] */
    size_t n_items, cap_items;
};

/* Builds the tree of a whole template in the run's arena. */
bool r2i_template_parse(r2i_trun *run, const char *source, size_t n_bytes, r2i_tnode **out);
#endif
