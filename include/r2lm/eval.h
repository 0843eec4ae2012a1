/* eval.h - what a model can do, measured: public benchmarks and tasks of our own.
 *
 *     r2_eval_suite_find -> read its data -> r2_eval_run -> r2_eval_result_free
 *
 * A number is a function of model, suite, data and settings alone: how many answers are written at once,
 * on how many threads, and whether a run was interrupted in between, changes nothing. */
#ifndef R2LM_EVAL_H
#define R2LM_EVAL_H

#include "r2lm/engine.h"
#include "r2lm/task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- suites ---- */

typedef struct {
    const char *name, *about; /* "humaneval"; what it asks */
    /* Files of its data, parted by spaces, as they are called in a folder; "a|b": one of these.  "": it
     * needs none. */
    const char *files;
    const char *origin; /* where they come from */
    const char *system; /* message; NULL: none */
    const char *prompt; /* the user's, with {question} in it; NULL: each item has its own */
    int32_t max_new_tokens;
    bool runs_programs; /* needs the sandbox */
    bool has_lenient;   /* answers are also looked for where they were not asked for */
} r2_eval_suite;

R2_API int32_t r2_eval_suite_count(void);
/* NULL: none. */
R2_API const r2_eval_suite *r2_eval_suite_at(int32_t i);
R2_API const r2_eval_suite *r2_eval_suite_find(const char *name);

/* ---- statistics ---- */

typedef struct {
    double value, low, high; /* a share and its 95 % interval */
} r2_eval_share;

/* Wilson's score interval of n trials with this many successes (a mean of shares makes it no whole number);
 * n 0: 0 to 1. */
R2_API r2_eval_share r2_eval_wilson(double n_right, int64_t n);
/* The probability that of k samples at least one is right, estimated without bias from n samples of which
 * c were right (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", eq. 1).  k <= n. */
R2_API double r2_eval_pass_at_k(int32_t n, int32_t c, int32_t k);
/* McNemar's exact test, two-sided: the probability of a split at least as uneven as n_first against n_second
 * among the pairs that differ, if neither were better. */
R2_API double r2_eval_mcnemar(int64_t n_first, int64_t n_second);

/* ---- a run ---- */

/* The content of a file; its name tells parts of a suite apart (mgsm_de.tsv). */
typedef struct {
    const char *name;
    const void *bytes;
    size_t n_bytes;
} r2_eval_data;

typedef struct {
    int32_t n_items, n_answers; /* answers wanted in all */
    int32_t n_done, n_before;   /* judged so far; of these, by an earlier run */
    int32_t n_right, n_found;   /* where it was asked for; anywhere */
    int32_t n_form, n_cut;      /* in the form asked for; ended by the limit of tokens */
    /* Of n_done: the program that judges failed.  They count as wrong and are not kept, so that the same run
     * judges them again. */
    int32_t n_unjudged;
    char why_unjudged[R2_GRADE_TEXT_BYTES];        /* the last */
    int64_t n_prompt_tokens, n_tokens, n_thinking; /* of this run */
    double seconds, answer_seconds,
        cpu_seconds;              /* the same; without waiting for the last judgements; with
                                                      programs that ran */
    r2_eval_share score, lenient; /* mean over items of the share of right answers */
    char *summary_json;           /* all numbers; NULL until the end */
} r2_eval_result;

typedef struct {
    const char *suite;
    const r2_eval_data *data; /* [n_data] borrowed */
    int32_t n_data;
    /* Folder for answers (samples.jsonl, a line each as they come, sorted at the end) and numbers
     * (summary.json); made if need be.  A run that was interrupted goes on.  NULL: nothing is written. */
    const char *output;
    bool is_forced;       /* what other settings left there is replaced */
    int32_t limit; /* the first so many items of each file or group; 0: all (tasks, external: 100, needle: 4) */
    int32_t n_samples;    /* answers to each item; 0: 1 */
    r2_sampling sampling; /* the seed is each answer's own, made of this one */
    int32_t max_new_tokens; /* 0: the suite's */
    r2_think_mode think;
    int32_t think_budget;
    const char *system, *prompt; /* NULL: the suite's; system "": none */
    bool is_raw;                 /* without the chat template */
    /* Of the suite "tasks": "sum,sort" (NULL: all), "en,de" (NULL: English; also of "needle"), at which
     * level (0: each; also of "external"). */
    const char *tasks, *languages;
    int32_t level;
    const char *split;       /* of "tasks": r2_task_split_name; NULL: "test" */
    const char *verifier;    /* of "external": the command (r2lm/verifier.h) */
    double verifier_seconds; /* it has for a reply; 0: 10 */
    /* Answers are written to their end, also where the judgement is certain before. */
    bool reads_on;
    int32_t n_judges; /* programs that run at once; 0: 2 */
    const r2_adapter *adapter;
    float adapter_scale;
    const char *model_path, *adapter_path; /* for the summary; may be NULL */
    r2_engine_options
        engine; /* n_sequences answers at once, 0: 64; n_context 0: as long as needed */
    /* After each judgement; false ends the run (R2_E_CANCELED).  May be NULL. */
    bool (*progress)(void *user, const r2_eval_result *so_far);
    void *user;
} r2_eval_options;

/* R2_E_NOT_FOUND: no such suite; R2_E_FORMAT: its data, with file and line; R2_E_SANDBOX: the suite runs
 * programs and there is no sandbox (nothing was computed); R2_E_MISMATCH: the folder holds answers of other
 * settings; R2_E_STATE: another run writes to it; R2_E_CANCELED, R2_E_NOMEM, R2_E_IO, R2_E_FULL. */
R2_API R2_CHECKED r2_status r2_eval_run(r2_eval_result *result, r2_model *model,
                                        const r2_eval_options *options, r2_error *err);
R2_API void r2_eval_result_free(r2_eval_result *result);

/* ---- two runs ---- */

typedef struct {
    char group[96];  /* "": all */
    int64_t n_pairs; /* items that both have; their first answers count */
    int64_t n_both, n_first, n_second, n_neither; /* right in both, in one alone, in none */
    double p;                                     /* r2_eval_mcnemar(n_first, n_second) */
} r2_eval_pairs;

typedef struct {
    char suite[48];
    char models[2][192]; /* "model", "model + adapter" */
    r2_eval_pairs all;
    int64_t n_items[2];    /* of each run, with those that the other has not */
    r2_eval_pairs *groups; /* [n_groups] of suites that have them, in the first run's order */
    int32_t n_groups;
} r2_eval_comparison;

/* Compares what two runs wrote: folders, or their samples.jsonl.  lenient: answers found anywhere.
 * R2_E_MISMATCH: other suites, or no item in common; R2_E_NOT_FOUND, R2_E_FORMAT, R2_E_IO, R2_E_NOMEM.
 * Freed with the same host; there is nothing to free after a failure. */
R2_API R2_CHECKED r2_status r2_eval_compare(r2_eval_comparison *out, const char *first,
                                            const char *second, bool lenient, const r2_host *host,
                                            r2_error *err);
R2_API void r2_eval_comparison_free(r2_eval_comparison *comparison, const r2_host *host);

#ifdef __cplusplus
}
#endif
#endif
