/* task.h - questions without end, and answers judged: right or not, and in the form asked for or not.
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
    /* of programs; zeros: 4 s of processor time, 60 s, 10 s without any, 256 MiB, 1 MiB of output */
    r2_sandbox_limits limits;
    const char *input; /* R2_GRADE_STDOUT: standard input; may be NULL */
    r2_host host;
    bool is_plain; /* the text is the answer, all of it: nothing is looked for in it */
} r2_grade_options;

enum { R2_GRADE_TEXT_BYTES = 240 };

typedef struct {
    bool
        is_right; /* where it was asked for: behind </think>, in <answer> or \boxed{} if there is one */
    bool is_found; /* right wherever it stands: the last number, the last letter, the last code */
    bool has_form; /* the answer stands in <answer> or \boxed{}, code in a block */
    bool is_finished; /* thoughts that began have ended */
    /* a program of r2lm/verifier.h failed: `why` says how; of the answer nothing is known */
    bool is_unjudged;
    double score; /* 1 if is_right, otherwise 0; what a program of r2lm/verifier.h says: 0 to 1 */
    char why[R2_GRADE_TEXT_BYTES]; /* a right one: ""; otherwise what was found, in a line */
} r2_grade;

/* Judges a model's text: any n bytes, thoughts included.  R2_OK however wrong the answer is.
 * R2_E_ARGUMENT: `expected` is none of its kind; R2_E_SANDBOX: no sandbox here, so no program has
 * run; R2_E_NOMEM, R2_E_IO. */
R2_API R2_CHECKED r2_status r2_grade_answer(r2_grade *grade, const char *text, size_t n_bytes,
                                            const r2_grade_options *options, r2_error *err);

/* ---- tasks: questions without end, with thoughts and answers ---- */

/* What is never taught is never of R2_SPLIT_TRAIN, DEV or TEST, and each of the others goes beyond them in one
 * way alone. */
typedef enum {
    R2_SPLIT_TRAIN, /* 62 of 64 instances, by what they are about: no wording takes one across */
    R2_SPLIT_DEV,
    R2_SPLIT_TEST,
    R2_SPLIT_OOD_LANGUAGE, /* in the one language in which the task is never taught */
    R2_SPLIT_OOD_VALUES,   /* with a number of the bands that no taught instance has */
    R2_SPLIT_OOD_PHRASING, /* worded in ways that are never taught */
    R2_SPLIT_OOD_LENGTH,   /* one level above the highest */
    R2_N_SPLITS
} r2_task_split;

typedef struct {
    const char *task;     /* "sum", "countdown", ...: r2_task_name */
    int32_t level;        /* 1 to r2_task_levels; not read for R2_SPLIT_OOD_LENGTH */
    const char *language; /* en, zh, es, fr or de; NULL for R2_SPLIT_OOD_LANGUAGE: the task's */
    r2_task_split split;
    uint64_t seed;
} r2_task_choice;

typedef struct {
    const char *prompt;   /* the question, which says in what form to answer */
    const char *trace;    /* thoughts that lead to the answer, for <think> */
    const char *answer;   /* the bare answer, or code */
    const char *reply;    /* what stands behind </think>: the answer in <answer>, code in a block */
    const char *expected; /* for r2_task_grade */
    int32_t level;        /* as it was made */
    const char *language;
    uint64_t key; /* of what it is about */
} r2_task_item;

typedef struct r2_task_maker r2_task_maker;

R2_API int32_t r2_task_count(void);
/* The task's number, 0 to r2_task_count() - 1; -1: no task is called so (NULL too). */
R2_API int32_t r2_task_find(const char *name);
/* NULL or 0 outside 0 to r2_task_count() - 1. */
R2_API const char *r2_task_name(int32_t i);
R2_API const char *r2_task_about(int32_t i);
R2_API int32_t r2_task_levels(int32_t i);
/* How its answers are judged.  Those of R2_GRADE_STDOUT and R2_GRADE_PYTHON need a sandbox. */
R2_API r2_grade_kind r2_task_kind(int32_t i);

/* "en", "zh", "es", "fr", "de"; NULL: no more of them. */
R2_API const char *r2_task_language(int32_t i);
/* "train", "dev", "test", "ood-lang", "ood-values", "ood-phrasing", "ood-length"; NULL: no such split. */
R2_API const char *r2_task_split_name(r2_task_split split);
/* False: the task has no numbers that could be withheld, or is taught in all languages. */
R2_API bool r2_task_has_split(int32_t i, r2_task_split split);
/* Whether it is asked in this language there: in all but one, or in that one alone. */
R2_API bool r2_task_has_language(int32_t i, const char *language, r2_task_split split);
/* That one; NULL: none. */
R2_API const char *r2_task_withheld_language(int32_t i);

/* `host` may be NULL.  R2_E_NOMEM. */
R2_API R2_CHECKED r2_status r2_task_maker_create(r2_task_maker **out, const r2_host *host,
                                                 r2_error *err);
/* NULL is allowed. */
R2_API void r2_task_maker_destroy(r2_task_maker *maker);
/* Item `index` of a choice: the same whenever it is asked for.  Its texts are the maker's, until the next
 * one.  R2_E_NOT_FOUND: no such task; R2_E_ARGUMENT: no such level, language or split, or
 * not together. */
R2_API R2_CHECKED r2_status r2_task_make(r2_task_maker *maker, r2_task_item *item,
                                         const r2_task_choice *choice, uint64_t index,
                                         r2_error *err);
/* Judges a model's text on an item of this task.  As r2_grade_answer, but is_right wants the form too: every
 * question says which. */
R2_API R2_CHECKED r2_status r2_task_grade(r2_grade *grade, const char *task, const char *expected,
                                          const char *text, size_t n_bytes, const r2_host *host,
                                          r2_error *err);

/* ---- curriculum: which level comes next ---- */

/* One per task: four whole numbers, which a checkpoint keeps as they are.  What comes next follows from
 * them alone. */
typedef struct {
    int32_t n_levels;
    int32_t place; /* in quarters of a level: 4 is level 1, 6 is half of 1, half of 2 */
    int32_t n_right, n_samples; /* answers since the place changed; halved when they are many */
} r2_curriculum;

/* Begins at a level, 1 to n_levels (what is outside becomes the nearest). */
R2_API void r2_curriculum_begin(r2_curriculum *curriculum, int32_t n_levels, int32_t level);
/* The level of prompt `index`: between two levels, each as often as the place says. */
R2_API int32_t r2_curriculum_level(const r2_curriculum *curriculum, uint64_t seed, uint64_t index);
/* Takes in how answers to its prompts did, in any portions.  Above 80 % right of at least 64 it goes half
 * a level up, below 20 % half a level down, and counts anew.  True: it moved. */
R2_API bool r2_curriculum_note(r2_curriculum *curriculum, int32_t n_right, int32_t n_samples);

/* ---- languages ---- */

/* The share of words (Chinese: of characters) outside code and numbers that are of this language: en, de,
 * fr, es or zh, 0 to 1; 1 for a text without any.  By letters and by the words that are common in one of
 * them alone, so a name counts for nobody.  Used as a reward for reasoning in the language of the question. */
R2_API double r2_language_share(const char *text, size_t n_bytes, const char *language);

#ifdef __cplusplus
}
#endif
#endif
