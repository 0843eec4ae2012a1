/* task.h - answers judged: was the model right, and did it answer in the form asked for.
 *
 * All functions may be called from any thread, several at a time. */
#ifndef R2LM_TASK_H
#define R2LM_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "r2lm/sandbox.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one answer ---- */

typedef enum {
    R2_GRADE_EXACT, /* the same text, but for spaces at the ends, composed forms and kinds of one letter (NFKC) */
    R2_GRADE_NUMBER, /* the same value: 1,234.50, 3/4, \frac{3}{4}, 50 %, with or without a unit */
    R2_GRADE_CHOICE, /* the same letter: B, (B), B., "The answer is B" */
    R2_GRADE_JSON, /* the same JSON value; expected: one, or a list of acceptable ones under "any_of" */
    R2_GRADE_REGEX,  /* matched from beginning to end; expected: the expression */
    R2_GRADE_STDOUT, /* a Python program that prints this */
    R2_GRADE_PYTHON /* Python code under which these tests run without an exception; expected: the tests */
} r2_grade_kind;

typedef struct {
    r2_grade_kind kind;
    const char *expected;
    r2_sandbox_limits limits; /* of programs; zeros: 10 s, 256 MiB, 1 MiB of output */
    const char *input;        /* R2_GRADE_STDOUT: standard input; may be NULL */
    r2_host host;
} r2_grade_options;

enum { R2_GRADE_TEXT_BYTES = 240 };

typedef struct {
    bool
        is_right; /* where it was asked for: behind </think>, in <answer> or \boxed{} if there is one */
    bool is_found; /* right wherever it stands: the last number, the last letter, the last code */
    bool has_form; /* the answer stands in <answer> or \boxed{}, code in a block */
    bool is_finished;              /* thoughts that began have ended */
    char why[R2_GRADE_TEXT_BYTES]; /* a right one: ""; otherwise what was found, in a line */
} r2_grade;

/* Judges a model's text: any n bytes, thoughts included.  R2_OK however wrong the answer is.
 * R2_E_ARGUMENT: `expected` is none of its kind; R2_E_UNSUPPORTED: no sandbox here, so no program has
 * run; R2_E_NOMEM, R2_E_IO. */
R2_API R2_CHECKED r2_status r2_grade_answer(r2_grade *grade, const char *text, size_t n_bytes,
                                            const r2_grade_options *options, r2_error *err);

/* The share of words (Chinese: of characters) outside code and numbers that are of this language: en, de,
 * fr, es or zh, 0 to 1; 1 for a text without any.  By letters and by the words that are common in one of
 * them alone, so a name counts for nobody.  Used as a reward for reasoning in the language of the question. */
R2_API double r2_language_share(const char *text, size_t n_bytes, const char *language);

#ifdef __cplusplus
}
#endif
#endif
