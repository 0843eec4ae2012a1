/* token_tree.h - the tokens of a vocabulary as trees over their bytes, walked to find which fit.
 *
 * Nodes lie in depth-first order: walking on means the next node, giving up a branch means `skip`.
 * Tokens are in one of R2I_TOKEN_TREES trees by their length, because what a grammar allows in the
 * next few bytes is often known already when what it allows in the next hundred is not.
 *
 * A mark is a token that a grammar asks for by itself, not by its text: the tree has it as two bytes,
 * R2I_MARK_BYTE, which no text contains, and its number. */
#ifndef R2I_TOKEN_TREE_H
#define R2I_TOKEN_TREE_H
#include "base/memory.h"
#include "text/tokenizer.h"

enum {
    R2I_TOKEN_TREES = 3,
    R2I_TOKEN_TREE_BYTES = 512, /* longer tokens are in no tree */
    R2I_MAX_NEWLINES = 2,       /* of blank lines in front of an answer */
    R2I_MAX_NEWLINE_TOKENS = 8,
    R2I_MARK_BYTE = 0xff, /* tokens of broken text that contain it are in no tree either */
    R2I_MAX_TOKEN_MARKS = 8
};

typedef struct {
    int32_t token;  /* that ends here, or -1 */
    int32_t skip;   /* node behind the branch */
    uint16_t depth; /* 1 for a first byte */
    uint8_t byte;
} r2i_token_node;

typedef struct {
    int32_t token, twin;
} r2i_token_twin;

/* A token of nothing but newlines. */
typedef struct {
    int32_t token, n_lines;
} r2i_token_newline;

typedef struct {
    r2i_heap *heap;
    const r2i_tokenizer *tokenizer; /* borrowed */
    int32_t n_tokens;
    r2i_token_node *nodes; /* of all trees */
    int32_t n_nodes, cap_nodes;
    int32_t begins[R2I_TOKEN_TREES + 1]; /* tree t is nodes [begins[t], begins[t + 1]) */
    r2i_token_twin *twins; /* tokens with the bytes of another, which is in the tree */
    int32_t n_twins, cap_twins;
    r2i_token_newline newlines[R2I_MAX_NEWLINE_TOKENS]; /* of at most R2I_MAX_NEWLINES */
    int32_t n_newlines;
    int32_t marks[R2I_MAX_TOKEN_MARKS]; /* ids by number; -1: none */
} r2i_token_forest;

/* Tokens that are treated specially: ids, -1 for none. */
typedef struct {
    const int32_t *hidden; /* left out */
    int32_t n_hidden;
    const int32_t *marks; /* at most R2I_MAX_TOKEN_MARKS; their texts stand for other tokens */
    int32_t n_marks;
} r2i_token_roles;

/* Most bytes of a token in a tree. */
int32_t r2i_token_tree_bytes(int32_t tree);
/* Control tokens that are no marks, ends of generation, unknown and unused ones and hidden ones are left
 * out.  R2_E_NOMEM. */
R2_CHECKED r2_status r2i_token_forest_create(r2i_token_forest **out, const r2i_tokenizer *tokenizer,
                                             const r2i_token_roles *roles, r2i_heap *heap,
                                             r2_error *err);
/* The bytes of a mark; 0 bytes: the token is none. */
int32_t r2i_token_mark_bytes(const r2i_token_forest *forest, int32_t token, char out[2]);
/* NULL is allowed. */
void r2i_token_forest_destroy(r2i_token_forest *forest);
#endif
