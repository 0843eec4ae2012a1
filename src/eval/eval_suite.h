/* eval_suite.h - what a suite is: items made of its data, and a judge of answers. */
#ifndef R2I_EVAL_SUITE_H
#define R2I_EVAL_SUITE_H
#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "r2lm/eval.h"
#include "r2lm/task.h"

/* All texts are the arena's; those that a suite does not use are NULL. */
typedef struct {
    const char *id, *group; /* results are told by group too; NULL: none */
    const char *question;
    const char *prompt;     /* instead of the suite's */
    const char *expected;   /* what the judge compares with; shown */
    const char *entry;      /* programs: the function that is called; tasks: the task */
    const char *tools_json; /* what the model may call */
    void *own;              /* what the judge needs besides; the load function's */
} r2i_eval_item;

typedef struct {
    const r2_eval_options *options;
    const r2_model *model;
    r2i_arena *arena;
    r2i_buffer items;   /* r2i_eval_item */
    void *own;          /* for `close` */
    bool runs_programs; /* some of these items do, although not all of the suite's */
} r2i_eval_load;

/* What a model wrote: thoughts as <think>...</think>, then the rest; and its calls, of items with tools. */
typedef struct {
    const char *text; /* [n_bytes], then a 0 */
    size_t n_bytes;
    const char *
        calls; /* for each one R2I_CALL_MARK, name, R2I_ARGUMENTS_MARK, arguments as written; then a 0 */
} r2i_eval_text;
enum { R2I_CALL_MARK = 0x1e, R2I_ARGUMENTS_MARK = 0x1f };

typedef struct {
    r2_eval_suite about;
    /* Adds items until options->limit of each group are there. */
    r2_status (*load)(r2i_eval_load *load, r2_error *err);
    /* Called from several threads.  R2_OK however wrong the answer is. */
    r2_status (*judge)(r2_grade *grade, const r2i_eval_item *item, const r2i_eval_text *answer,
                       const r2_host *host, r2_error *err);
    bool
        has_answers; /* `expected` is what an answer says: always saying the most frequent one is a baseline */
    void (*close)(r2i_eval_load *load); /* may be NULL; also after a failed load */
    /* No text behind this one changes the judgement.  NULL: nothing is certain before the end. */
    bool (*is_certain)(const r2i_eval_item *item, const char *text, size_t n_bytes);
} r2i_eval_suite;

extern const r2i_eval_suite *const r2i_eval_suites[];
extern const int32_t r2i_n_eval_suites;
const r2i_eval_suite *r2i_eval_suite_find(const char *name);

extern const r2i_eval_suite r2i_suite_humaneval, r2i_suite_gsm8k, r2i_suite_mgsm, r2i_suite_tasks,
    r2i_suite_external, r2i_suite_needle, r2i_suite_bfcl;
#endif
