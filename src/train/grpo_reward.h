/* grpo_reward.h - what answers are worth, and how much more than the others to the same question. */
#ifndef R2I_GRPO_REWARD_H
#define R2I_GRPO_REWARD_H
#include "base/pool.h"
#include "train/grpo_batch.h"

/* Judges the answers to the questions from `first` on, on the pool's threads, and sets rewards, advantages and
 * is_mixed:
 *     reward = 1 if right and in the form asked for, + language_weight * share of the language then,
 *              - how far the length is into its last `overlong` share
 *     advantage = reward - mean of the question's (over their standard deviation, if asked for)
 * What cannot be judged is worth 0 and marked.  R2_E_UNSUPPORTED: a sandbox is needed and there is none. */
R2_CHECKED r2_status r2i_grpo_judge(r2i_grpo_batch *batch, const r2_grpo_options *options,
                                    int32_t first, r2i_pool *pool, const r2_host *host,
                                    r2_error *err);
#endif
