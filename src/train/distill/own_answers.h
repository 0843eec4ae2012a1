/* own_answers.h - a batch of data turned into one of the student's own answers.
 *
 * What stands before the first token that is learnt is the prompt (a chat's up to the assistant's
 * first turn; of a text its first tokens); the student, with its weights as they are, writes what follows.
 * What it wrote is what is learnt.  All is a function of the batch's place in its stream and the seed. */
#ifndef R2I_OWN_ANSWERS_H
#define R2I_OWN_ANSWERS_H
#include "train/data/data_stream.h"
#include "train/reinforce/rollout.h"

typedef struct {
    int32_t n_samples;     /* of each prompt; 0: 1 */
    int32_t prompt_tokens; /* of a text; 0: 16 */
    int32_t new_tokens;    /* most of an answer; 0: up to run_tokens */
    int32_t run_tokens;    /* most of prompt and answer */
    int32_t n_parallel;    /* answers written at once; 0: 32 */
    int32_t n_threads;
    float temperature;
    uint64_t seed;
} r2i_own_rules;

/* A batch's place in its stream as a number: random ones are keyed by it. */
static inline uint64_t r2i_own_place(const r2i_batch_data *data) {
    return (uint64_t)data->after.n_drawn ^ (uint64_t)data->after.offset << 32;
}

typedef struct r2i_own_answers r2i_own_answers;

/* R2_E_NOMEM, R2_E_RANGE as r2_engine_create. */
R2_CHECKED r2_status r2i_own_answers_open(r2i_own_answers **out, r2_trainer *trainer,
                                          const r2i_own_rules *rules, r2_error *err);
/* NULL is allowed. */
void r2i_own_answers_close(r2i_own_answers *own);
/* The answers to the batch's prompts, sample by sample; valid until the next call.  Fewer tokens than
 * rows of the batch or more: the caller cuts it.  n_targets is 0 when no run has a prompt.  R2_E_RANGE:
 * the student's numbers are none. */
R2_CHECKED r2_status r2i_own_answers_write(r2i_own_answers *own, const r2i_batch_data *prompts,
                                           const r2i_batch_data **out, r2_error *err);
#endif
