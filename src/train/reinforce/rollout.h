/* rollout.h - many prompts, answered in one engine as fast as it can take them: by a model that is only
 * run, or by the one a trainer holds, as its weights are now.
 *
 * Each answer's tokens are a function of model, prompt, options and its own seed, whatever is computed
 * beside it.  Log-probabilities of a live model's answers are to the bit those of the trainer's own
 * forward pass over the same tokens (tests/unit/test_rollout.c). */
#ifndef R2I_ROLLOUT_H
#define R2I_ROLLOUT_H
#include "r2lm/train.h"

typedef struct r2i_rollout r2i_rollout;

/* An engine on a model, which must outlive it; options->n_sequences answers are written at once (1 or
 * more).  As r2_engine_create. */
R2_CHECKED r2_status r2i_rollout_open(r2i_rollout **out, r2_model *model,
                                      const r2_engine_options *options, r2_error *err);
/* On a trainer's model with whatever it trains (adapters included).  While answers are written, panels of
 * the weights are kept (those of a frozen base until it is closed, which the trainer's passes use too); between
 * two runs the weights may change. */
R2_CHECKED r2_status r2i_rollout_open_live(r2i_rollout **out, r2_trainer *trainer,
                                           const r2_engine_options *options, r2_error *err);
/* NULL is allowed. */
void r2i_rollout_close(r2i_rollout *rollout);

typedef struct {
    const r2_token *prompt; /* [n_prompt] borrowed until the answer has come */
    int32_t n_prompt;
    uint64_t seed;
    int64_t id; /* the caller's */
    /* So many jobs behind this one have the same prompt: it is read once for all of them. */
    int32_t n_alike;
} r2i_rollout_job;

typedef struct {
    r2i_rollout_job job;
    const r2_token *tokens; /* [n_tokens] the prompt and what was written */
    int32_t n_tokens;
    const float *logprobs;     /* [n_tokens - n_prompt] before temperature */
    const bool *is_thinking;   /* [n_tokens - n_prompt] */
    r2_sequence_status status; /* finish: END, LENGTH, MEMORY or ERROR */
} r2i_rollout_answer;

typedef struct {
    r2_sequence_options how; /* the seed is each job's own */
    /* The next prompt; *has is false when there are no more. */
    r2_status (*next)(void *user, r2i_rollout_job *job, bool *has, r2_error *err);
    /* Called as answers come, in no certain order; what it is given is valid until it returns. */
    r2_status (*answered)(void *user, const r2i_rollout_answer *answer, r2_error *err);
    void *user;
} r2i_rollout_work;

/* Place in an answer's tokens where a thinking budget put </think>: the model did not choose it.  -1: nowhere.  One
 * that the model writes behind it ends no thoughts. */
int32_t r2i_rollout_find_forced(const r2i_rollout_answer *answer, r2_token think_close);
/* Until all prompts are answered.  R2_E_FULL: a prompt is longer than the engine's context; what
 * the callbacks return ends it as well. */
R2_CHECKED r2_status r2i_rollout_run(r2i_rollout *rollout, const r2i_rollout_work *work,
                                     r2_error *err);
#endif
