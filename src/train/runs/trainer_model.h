/* trainer_model.h - what runs need of a trainer besides its public functions. */
#ifndef R2I_TRAINER_MODEL_H
#define R2I_TRAINER_MODEL_H
#include "base/pool.h"
#include "r2lm/train.h"
#include "train/parameters/adamw.h"
#include "train/parameters/parameters.h"

/* r2_trainer_open; as a plan it takes address space alone and must not compute. */
R2_CHECKED r2_status r2i_trainer_open(r2_trainer **out, const char *path,
                                      const r2_trainer_options *options, bool is_plan,
                                      r2_error *err);
/* The model that it trains; its own. */
r2_model *r2i_trainer_model(r2_trainer *trainer);
typedef struct {
    int32_t batch_tokens, document_tokens, batch_documents; /* at most */
    bool takes_continuations;
    r2i_pool *pool;
} r2i_trainer_limits;
r2i_trainer_limits r2i_trainer_get_limits(const r2_trainer *trainer);
/* The next batch that is added is the last one of its step on this rank: gradients may leave for their
 * owners as the layers finish.  Without ranks nothing happens; not called, they leave in the step. */
void r2i_trainer_finish_early(r2_trainer *trainer);
/* A step that will not be taken: what the others send is taken, so that all can go on. */
void r2i_trainer_abandon_step(r2_trainer *trainer);
/* Of names and sizes of all parameters; of their values. */
uint64_t r2i_trainer_hash_layout(const r2_trainer *trainer);
uint64_t r2i_trainer_hash_values(const r2_trainer *trainer);
/* NULL: it trains the model's own numbers. */
const r2i_lora_parameters *r2i_trainer_lora(const r2_trainer *trainer);
/* With divided experts all ranks make passes together: who has no batch left makes an empty one.  It
 * changes nothing. */
bool r2i_trainer_divides_experts(const r2_trainer *trainer);
R2_CHECKED r2_status r2i_trainer_pass_nothing(r2_trainer *trainer, float mtp_weight,
                                              bool is_training, r2_error *err);
/* r2_trainer_evaluate of the model alone, for batch->policy and batch->routes; is_base: without the adapter that
 * is trained. */
R2_CHECKED r2_status r2i_trainer_read(r2_trainer *trainer, const r2_training_batch *batch,
                                      bool is_base, r2_error *err);
/* Most documents of a batch. */
int32_t r2i_trainer_documents(const r2_trainer *trainer);
/* Its parameters and moments, whichever optimizer. */
r2i_adamw *r2i_trainer_adamw(r2_trainer *trainer);
#endif
