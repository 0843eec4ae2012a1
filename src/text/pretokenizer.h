/* pretokenizer.h - cuts text into the pieces inside which tokens merge.
 *
 * A scheme is a list of passes; a pass is one of the built-in patterns.  Each pass cuts the pieces
 * of the pass before: matches become pieces, and so does what lies between them.  Patterns never
 * come from a file: a file's pattern text is only looked up here. */
#ifndef R2I_PRETOKENIZER_H
#define R2I_PRETOKENIZER_H
#include <stdbool.h>
#include "text/tokenizer.h"

enum { R2I_MAX_PASSES = 8 };

/* Index into the table of patterns. */
typedef enum {
    R2I_PATTERN_GPT2,
    R2I_PATTERN_QWEN2,
    R2I_PATTERN_LLAMA3,
    R2I_PATTERN_DIGIT,    /* every digit alone */
    R2I_PATTERN_DIGITS,   /* runs of digits */
    R2I_PATTERN_DIGITS_3, /* runs of at most three */
    R2I_PATTERN_CJK,      /* runs of ideographs and kana */
    R2I_PATTERN_DEEPSEEK3,
    R2I_PATTERN_LINE_END, /* deepseek-coder's passes */
    R2I_PATTERN_SPACE_LETTERS,
    R2I_PATTERN_SPACE_MARKS,
    R2I_PATTERN_EAST_ASIAN,
    R2I_N_PATTERNS
} r2i_pattern;

typedef struct {
    r2i_pattern passes[R2I_MAX_PASSES];
    int32_t n_passes;
    bool is_nfc;      /* text is normalised to NFC first */
    bool whole_piece; /* a piece that is a token is taken whole, whatever the merges say */
} r2i_scheme;

/* Scheme of a tokenizer.ggml.pre name; false: unknown. */
bool r2i_scheme_find(r2i_scheme *scheme, r2i_text_view pre);
/* Pattern with exactly this published text, or -1. */
int r2i_pattern_find(r2i_text_view published);

typedef struct r2i_pretokenizer r2i_pretokenizer;
typedef struct r2i_pretokenizer_state
    r2i_pretokenizer_state; /* what matching writes: one per thread */

/* R2_E_NOMEM when the pattern library has none. */
R2_CHECKED r2_status r2i_pretokenizer_create(r2i_pretokenizer **out, const r2i_scheme *scheme,
                                             r2i_heap *heap, r2_error *err);
void r2i_pretokenizer_destroy(r2i_pretokenizer *pretokenizer);
R2_CHECKED r2_status r2i_pretokenizer_state_create(r2i_pretokenizer_state **out, r2i_heap *heap,
                                                   r2_error *err);
void r2i_pretokenizer_state_destroy(r2i_pretokenizer_state *state);

/* Called with each piece in order; a status other than R2_OK ends the cutting. */
typedef r2_status (*r2i_piece_sink)(void *context, const char *piece, size_t n_bytes,
                                    r2_error *err);

/* Cuts text, which must be valid UTF-8.  R2_E_LIMIT: a pattern ran into its match limit. */
R2_CHECKED r2_status r2i_pretokenizer_cut(const r2i_pretokenizer *pretokenizer,
                                          r2i_pretokenizer_state *state, const char *text,
                                          size_t n_bytes, r2i_piece_sink sink, void *context,
                                          r2_error *err);
#endif
