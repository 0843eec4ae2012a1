/* grpo_reward.h - what answers are worth, and how much more than the others to the same question. */
#ifndef R2I_GRPO_REWARD_H
#define R2I_GRPO_REWARD_H
#include "base/pool.h"
#include "train/reinforce/grpo_batch.h"

/* Who judges: the tasks themselves, on the pool's threads, and a verifier of each thread's own. */
typedef struct {
    const r2_grpo_options *options;
    const r2_host *host;
    r2i_pool *pool;
    r2_verifier **verifiers; /* [n]; 0: there are none */
    int32_t n;
} r2i_grpo_judges;

/* As r2_verifier_open; R2_E_ARGUMENT: it asks no questions, or has no such level; R2_E_SANDBOX. */
R2_CHECKED r2_status r2i_grpo_judges_open(r2i_grpo_judges *judges, const r2_grpo_options *options,
                                          r2i_pool *pool, const r2_host *host, r2i_arena *arena,
                                          r2_error *err);
/* Safe on a zeroed one. */
void r2i_grpo_judges_close(r2i_grpo_judges *judges);
/* Judges the answers to the questions from `first` on and sets rewards, advantages and is_mixed:
 *     reward = 1 if right and in the form asked for (of a verifier what it says),
 *              + language_weight * share of the language for right ones,
 *              - how far the length is into its last `overlong` share
 *     advantage = reward - mean of the question's (over their standard deviation, if asked for)
 * What cannot be judged is worth 0 and counted.  R2_E_SANDBOX: a sandbox is needed and there is none. */
R2_CHECKED r2_status r2i_grpo_judge(const r2i_grpo_judges *judges, r2i_grpo_batch *batch,
                                    int32_t first, r2_error *err);
#endif
