/* eval_prompts.h - items as what the model reads. */
#ifndef R2I_EVAL_PROMPTS_H
#define R2I_EVAL_PROMPTS_H
#include "eval/eval_suite.h"

typedef struct {
    const r2_token *tokens; /* [n_tokens] in the arena */
    int32_t n_tokens;
} r2i_eval_prompt;

/* Renders all items with the model's chat template; *longest is in tokens.  R2_E_ARGUMENT: a prompt without
 * {question}; R2_E_UNSUPPORTED: the model has no chat template. */
R2_CHECKED r2_status r2i_eval_prompts_make(r2i_eval_prompt **out, int32_t *longest,
                                           const r2i_eval_suite *suite, const r2i_eval_item *items,
                                           int32_t n_items, const r2_model *model,
                                           const r2_eval_options *options, r2i_arena *arena,
                                           r2_error *err);
#endif
