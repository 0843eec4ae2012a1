/* grpo_update.h - gradients of judged answers, a batch of whole answers at a time. */
#ifndef R2I_GRPO_UPDATE_H
#define R2I_GRPO_UPDATE_H
#include "r2lm/distill.h"
#include "train/reinforce/grpo_batch.h"

typedef struct r2i_grpo_update r2i_grpo_update;

/* Sums over the tokens that were learnt. */
typedef struct {
    double loss; /* weighted as the gradients are */
    double n_tokens, n_clipped;
    double n_rows;          /* computed, questions included */
    double kl, n_kl_tokens; /* of those where it was measured */
} r2i_grpo_sums;

typedef struct {
    int32_t index;      /* of options->n_minibatches */
    int32_t first, end; /* questions; those that are not mixed are passed over */
    double scale;       /* of a token's loss, or of an answer's with R2_NORM_ANSWERS; above 0 */
    bool is_first;      /* before the first optimizer step: both forward passes must agree */
    bool measures_kl;   /* of the first batch at least */
} r2i_grpo_part;

/* The model as it was is the trainer's without its adapter, or with a weight on the divergence a second one
 * that is opened from options->run.model.  As r2_teacher_open; R2_E_NOMEM. */
R2_CHECKED r2_status r2i_grpo_update_open(r2i_grpo_update **out, r2_trainer *trainer,
                                          const r2_grpo_options *options, r2_error *err);
/* NULL is allowed. */
void r2i_grpo_update_close(r2i_grpo_update *update);
/* Whether answers are learnt with the experts that they were drawn with: the model has some, a batch makes several
 * optimizer steps, and nothing else was asked for. */
bool r2i_grpo_replays(const r2_trainer *trainer, const r2_grpo_options *options);
/* A part's questions. */
r2i_grpo_part r2i_grpo_part_of(const r2i_grpo_batch *batch, const r2_grpo_options *options,
                               int32_t index);
/* Tokens of a part that will be learnt. */
int64_t r2i_grpo_count(const r2i_grpo_batch *batch, const r2_grpo_options *options,
                       const r2i_grpo_part *part);
/* Before the first optimizer step, if r2i_grpo_replays: keeps the experts of the answers from part `first` on, which
 * r2i_grpo_add takes again.  R2_E_STATE as there. */
R2_CHECKED r2_status r2i_grpo_keep_routes(r2i_grpo_update *update, const r2i_grpo_batch *batch,
                                          int32_t first, r2_error *err);
/* Adds a part's gradients to the trainer's.  R2_E_STATE: is_first, and log-probabilities differ from the
 * rollout's. */
R2_CHECKED r2_status r2i_grpo_add(r2i_grpo_update *update, const r2i_grpo_batch *batch,
                                  const r2i_grpo_part *part, r2i_grpo_sums *sums, r2_error *err);
#endif
