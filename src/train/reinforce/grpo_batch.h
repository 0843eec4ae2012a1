/* grpo_batch.h - the questions of a step, the model's answers to them, and what they are worth.
 *
 *     draw (task, language, level, place) -> chat template -> rollout, all at once -> judges -> rewards
 *
 * Which questions a step asks, and how each answer is drawn, follows from seed, step and the levels alone. */
#ifndef R2I_GRPO_BATCH_H
#define R2I_GRPO_BATCH_H
#include "base/arena.h"
#include "r2lm/reinforce.h"

typedef struct {
    const char *task, *language, *text, *expected;
    bool is_verified; /* by the verifier */
    int32_t level, task_index;
    int64_t number; /* within the run */
    int32_t first;  /* of its answers; n_samples follow */
    bool is_mixed;  /* not all are worth the same */
} r2i_grpo_question;

typedef struct {
    int32_t question;
    const r2_token *tokens; /* [n_tokens] question and answer */
    int32_t n_tokens, n_prompt;
    const float *logprobs; /* [n_tokens - n_prompt] */
    int32_t n_forced;      /* position of the token that a budget put there; -1: none */
    bool has_end;
    const char *text;
    size_t n_bytes;
    r2_grade grade;
    r2_status judged; /* not R2_OK: nobody knows whether it is right */
    bool is_right;    /* in the form asked for */
    double reward, advantage;
} r2i_grpo_answer;

typedef struct {
    r2i_grpo_question *questions;
    r2i_grpo_answer *answers; /* [n_questions * n_samples] */
    int32_t n_questions, n_answers;
    int64_t n_new_tokens;
    int64_t n_failed; /* answers that nobody could judge */
    double rollout_seconds, grade_seconds;
} r2i_grpo_batch;

typedef struct r2i_grpo_maker r2i_grpo_maker;

/* `options` without zeros that stand for something else; kept.  R2_E_ARGUMENT: also no such task;
 * R2_E_UNSUPPORTED (no chat template), R2_E_NOMEM. */
R2_CHECKED r2_status r2i_grpo_maker_open(r2i_grpo_maker **out, r2_trainer *trainer,
                                         const r2_grpo_options *options, r2_error *err);
/* NULL is allowed. */
void r2i_grpo_maker_close(r2i_grpo_maker *maker);
/* Tasks, the verifier last; of each its name and the highest level. */
int32_t r2i_grpo_tasks(const r2i_grpo_maker *maker);
const char *r2i_grpo_task(const r2i_grpo_maker *maker, int32_t i, int32_t *n_levels);
/* The questions of a step that are this rank's, answered and judged; valid until the next call.  `lessons`
 * [r2i_grpo_tasks] say how hard they are.  R2_E_SANDBOX: none here; R2_E_RANGE: the model's numbers are none. */
R2_CHECKED r2_status r2i_grpo_make(r2i_grpo_maker *maker, int64_t step,
                                   const r2_curriculum *lessons, r2i_grpo_batch *batch,
                                   r2_error *err);
#endif
