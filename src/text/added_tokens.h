/* added_tokens.h - finds control and user tokens in raw text: leftmost, then longest.
 *
 * A trie over their bytes; most places in a text are dismissed by their first byte. */
#ifndef R2I_ADDED_TOKENS_H
#define R2I_ADDED_TOKENS_H
#include "base/arena.h"
#include "text/token_store.h"

/* Blanks beside an added token that belong to it (AddedToken's lstrip and rstrip). */
enum { R2I_STRIP_LEFT = 1, R2I_STRIP_RIGHT = 2 };

typedef struct {
    int32_t id;      /* token ending here, or -1 */
    int32_t child;   /* first child, 0: none */
    int32_t sibling; /* next child of the same parent, 0: none */
    uint8_t byte;
} r2i_added_node;

typedef struct {
    bool can_start[256];
    bool is_any;
    const r2i_added_node *nodes; /* [n_nodes]; nodes[0] is the root */
    size_t n_nodes;
    const uint8_t *strips; /* [n_tokens] R2I_STRIP_* or NULL */
} r2i_added_tokens;

typedef struct {
    size_t begin, end; /* in the text, stripped blanks included */
    int32_t id;        /* -1: none found; begin and end are the text's end then */
} r2i_added_match;

/* Collects the tokens of type control and user.  strips may be NULL and is borrowed: it must live
 * as long as the result.  R2_E_LIMIT: a text longer than R2I_MAX_ADDED_TOKEN_BYTES. */
R2_CHECKED r2_status r2i_added_tokens_init(r2i_added_tokens *added, const r2i_token_store *store,
                                           const uint8_t *strips, r2i_arena *arena, r2_error *err);
/* Next match at or after `start`.  Control tokens count only with R2I_ENCODE_CONTROL and where none
 * of their bytes is untrusted; so do user tokens written "<...>" when that flag is given. */
r2i_added_match r2i_added_tokens_next(const r2i_added_tokens *added, const r2i_token_store *store,
                                      const r2i_encode_text *text, size_t start);
#endif
