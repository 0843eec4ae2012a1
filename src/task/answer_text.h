/* answer_text.h - where in a model's text the answer stands. */
#ifndef R2I_ANSWER_TEXT_H
#define R2I_ANSWER_TEXT_H
#include <stdbool.h>
#include <stddef.h>

/* Bytes of a text; borrowed. */
typedef struct {
    const char *text;
    size_t n;
} r2i_span;

typedef struct {
    r2i_span
        visible; /* behind the thoughts; all of it without thoughts; empty if they have no end */
    r2i_span
        answer; /* inside the last <answer>, \boxed{} or behind the last ####, if has_form; else visible */
    /* The last block that is not empty, if has_code; one that has an end, or else a word at its fence, counts
     * more than later ones without: output is shown in blocks too.  Otherwise answer. */
    r2i_span code;
    bool is_finished, has_form, has_code;
} r2i_answer_text;

void r2i_answer_find(r2i_answer_text *out, const char *text, size_t n);
/* A block of code between lines of ```. */
typedef struct {
    r2i_span code;
    bool is_named;  /* its fence has a word behind it: ```python */
    bool is_closed; /* otherwise it goes to the end of the text */
} r2i_code_block;

/* The next one; rest is what follows.  A fence with a word behind it begins a block wherever it stands:
 * models wrap ```markdown around ```python.  As a text grows, closed blocks stay what they are. */
bool r2i_next_block(r2i_span *rest, r2i_code_block *out);
/* Without white space at both ends. */
r2i_span r2i_span_trim(r2i_span span);
/* The first or last place of a word at or behind text.text; NULL: none. */
const char *r2i_span_first(r2i_span span, const char *word);
const char *r2i_span_last(r2i_span span, const char *word);
#endif
