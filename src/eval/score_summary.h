/* score_summary.h - from judged answers to numbers. */
#ifndef R2I_SCORE_SUMMARY_H
#define R2I_SCORE_SUMMARY_H
#include <jansson.h>

#include "eval/eval_answer.h"

/* What is kept of an answer; its text is in the file. */
typedef struct {
    bool is_done, is_right, is_found, has_form;
    r2i_eval_stop stop;
    int32_t n_prompt, n_tokens, n_thinking;
} r2i_eval_record;

typedef struct {
    const r2i_eval_suite *suite;
    const r2i_eval_item *items;     /* [n_items] */
    const r2i_eval_record *records; /* [n_items, n_samples] */
    int32_t n_items, n_samples;
} r2i_eval_scores;

/* The mean over items of the share of right (found) answers.  Samples of one item are no independent
 * trials: the interval counts items. */
r2_eval_share r2i_score_of(const r2i_eval_scores *scores, const char *group, bool is_lenient);
/* {"n_items", "n_samples", "pass@1": {"value", "low", "high"}, ..., "groups": {...}}; NULL: no memory. */
json_t *r2i_score_json(const r2i_eval_scores *scores);
#endif
