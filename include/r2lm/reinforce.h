/* reinforce.h - learning from answers that are judged: rewards of tasks (GRPO), preferences (DPO).
 *
 * r2_grpo runs the whole: questions are drawn, answered by the model as it is now, judged, and what was better
 * than the other answers to the same question is made likelier (docs/reinforcement-learning.md).  For loops of
 * one's own: r2_training_batch.policy with r2_trainer_add. */
#ifndef R2LM_REINFORCE_H
#define R2LM_REINFORCE_H

#include "r2lm/task.h"
#include "r2lm/train.h"
#include "r2lm/verifier.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- one batch ---- */

typedef enum {
    R2_POLICY_READ,     /* the loss is that of a batch without: log-probabilities are told */
    R2_POLICY_TOKEN,    /* a ratio for each token (GRPO, DAPO) */
    R2_POLICY_SEQUENCE, /* of each document the mean over its targets (GSPO, arXiv:2507.18071) */
    R2_POLICY_PAIR      /* documents 2i and 2i + 1: one that is preferred, and another (DPO) */
} r2_policy_form;

/* Loss of a target, with the ratio r = p / p_old of now and when it was drawn, A its advantage:
 *     weight * (-min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) + kl * r (q - 1 - log q)),   q = p_ref / p
 * the last one an unbiased KL divergence from the reference.  Of a pair, whose documents' log-probabilities
 * above the reference's are a and b (arXiv:2305.18290):
 *     weight * -log sigmoid(beta (a - b)),   weight that of the first target */
struct r2_policy_targets {
    r2_policy_form form;
    const float *advantages;   /* [n_tokens] */
    const float *old_logprobs; /* [n_tokens] */
    const float *reference;    /* [n_tokens] log-probabilities; NULL: without, of pairs wanted */
    float clip_low, clip_high; /* 0.2 and 0.28 are usual */
    float kl;
    float beta; /* of pairs; 0.1 is usual */
    /* Told, of targets with a weight: log p as it is now, and what the gradient of -log p was multiplied with. */
    float *logprobs, *factors; /* [n_tokens] */
};

/* Is the target's ratio beyond what counts?  The sequence's where that is the form. */
R2_API bool r2_policy_is_clipped(const r2_policy_targets *policy, double ratio, double advantage);

/* ---- rewards: GRPO ---- */

typedef enum {
    R2_NORM_CONSTANT, /* tokens over (answers * most tokens of one): no length is favoured (Dr.GRPO) */
    R2_NORM_TOKENS, /* the mean over all tokens of a step (DAPO) */
    R2_NORM_ANSWERS /* the mean over answers of the means over their tokens (GRPO as it was) */
} r2_loss_norm;

enum { R2_MAX_RUN_TASKS = 63, R2_MAX_RUN_LANGUAGES = 8 };

typedef struct {
    const char *task, *language, *prompt;
    int32_t level;
    int64_t question; /* number within the run: answers to the same one share it */
    const char *text; /* what the model wrote, n_bytes of it */
    size_t n_bytes;
    int32_t n_tokens;
    bool is_right, has_form, has_end; /* has_end: not cut off by its length */
    double reward, advantage;
    const char *why; /* of a wrong one */
} r2_grpo_sample;

typedef struct {
    const char *task;
    double level; /* where its curriculum stands: 1.5 is half of 1, half of 2 */
    int32_t n_answers, n_right;
} r2_grpo_task_result;

typedef struct {
    r2_train_report run;              /* loss: that of the policy */
    double reward, pass_rate, length; /* means over the answers; length in tokens */
    double cut_share;                 /* of answers that came to no end */
    double mixed_share;               /* of questions whose answers were not all equally good */
    double clipped_share;             /* of tokens */
    double entropy;                   /* mean of -log p of the tokens drawn, nats */
    double kl;                        /* from the reference, nats per token; NAN: not measured */
    double rollout_tokens, update_tokens;
    double rollout_seconds, grade_seconds, update_seconds;
    int32_t n_questions, n_kept, n_answers; /* kept: mixed ones */
    int32_t n_failed;                       /* answers that could not be judged */
    const r2_grpo_task_result *tasks;       /* [n_tasks] over all ranks */
    int32_t n_tasks;
    const r2_grpo_sample *samples; /* [n_samples] of this rank, by question */
    int32_t n_samples;
} r2_grpo_report;

typedef struct {
    /* Model, output, steps, trainer, rates, checkpoints, seed.  data: what sft_share learns from, may be none.
     * run_tokens: most of question and answer.  Its `report` is not called. */
    r2_train_options run;
    const char *tasks[R2_MAX_RUN_TASKS]; /* names of r2_task_name */
    int32_t n_tasks;
    /* A program that asks and judges (verifier.h), one more task; one for each thread is started.  NULL: none. */
    const char *verifier;
    double verifier_seconds;                     /* it has for a reply; 0: 10 */
    const char *languages[R2_MAX_RUN_LANGUAGES]; /* none: en */
    int32_t n_languages;
    int32_t level;       /* of all tasks; 0: each task's follows how often it is solved */
    int32_t n_questions; /* of a step, over all ranks; 0: 8 */
    int32_t n_samples;   /* answers to each; 0: 8 */
    int32_t new_tokens;  /* most of an answer; 0: 256 */
    int32_t n_parallel;  /* answers written at once; 0: 64 */
    float temperature;   /* 0: 1 */
    r2_think_mode think;
    int32_t think_budget; /* as of r2_sequence_options */
    int32_t n_rounds; /* further questions are drawn in place of those not mixed, so many times */
    int32_t n_minibatches; /* optimizer steps of a batch; 0: 1 */
    /* From the second one on routers choose anew.  Otherwise answers go to the experts that they were drawn with
     * (routing replay). */
    bool has_free_routes;
    float clip_low, clip_high; /* 0: 0.2 and 0.28 */
    bool has_sequence_ratio;   /* GSPO */
    bool
        divides_by_deviation; /* advantages over the standard deviation of their question's rewards */
    r2_loss_norm norm;
    float kl;       /* weight of the divergence from the model as it was; 0: without */
    float kl_limit; /* the run ends above it (nats per token); 0: any */
    float
        overlong; /* share of new_tokens at their end, over which up to 1 is taken off the reward */
    float
        language_weight; /* times the share of the language asked for, added to right answers' rewards */
    float sft_share;  /* weight of the loss on a batch of `data`, with each step */
    int32_t patience; /* steps without anything to learn from, after which the run ends; 0: 10 */
    bool (*report)(void *user, const r2_grpo_report *report); /* as r2_train_options.report */
} r2_grpo_options;

/* As r2_train.  Before the first optimizer step of each batch the log-probabilities of the rollout and of the
 * update are compared; R2_E_STATE: they are not equal to the bit, or nothing was to be learnt for `patience`
 * steps (the text says why and what may help).  R2_E_UNSUPPORTED: no chat template; R2_E_SANDBOX: a task needs
 * one and there is none.  R2_E_ARGUMENT: also no such task; R2_E_NOT_FOUND: no such verifier. */
R2_API R2_CHECKED r2_status r2_grpo(const r2_grpo_options *options, r2_error *err);

/* ---- preferences: DPO ---- */

typedef struct {
    r2_train_report run;
    double
        accuracy; /* of pairs: the preferred one is above the other, both measured from the reference */
    double margin; /* mean of beta (a - b) */
} r2_dpo_report;

typedef struct {
    r2_train_options run; /* its data, distill and `report` are not looked at; step_batches: 0 */
    /* JSONL files: "prompt" (a text or messages), "chosen" and "rejected" (texts, or messages whose last one
     * is meant). */
    const char *const *pairs;
    int32_t n_files;
    int32_t step_pairs; /* 0: 8 */
    float beta;         /* 0: 0.1 */
    bool (*report)(void *user, const r2_dpo_report *report);
} r2_dpo_options;

/* Reference log-probabilities are computed once, before the first step, with the model as it was opened. */
R2_API R2_CHECKED r2_status r2_dpo(const r2_dpo_options *options, r2_error *err);

#ifdef __cplusplus
}
#endif
#endif
