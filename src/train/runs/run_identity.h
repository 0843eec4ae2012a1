/* run_identity.h - what a run must have in common with the checkpoint that it goes on from: the shape
 * of the model, the optimizer, the data and how they are cut.  The learning rate, the number of steps,
 * threads and the like may change. */
#ifndef R2I_RUN_IDENTITY_H
#define R2I_RUN_IDENTITY_H
#include <jansson.h>

#include "train/data/data_set.h"
#include "train/runs/trainer_model.h"

typedef struct {
    const r2_train_options *options;
    r2_trainer *trainer;
    const r2i_data_set *sets; /* [options->n_data] */
    uint64_t teacher;         /* r2i_distill_identity; 0: none */
    json_t *more;             /* an object: what else must be the same; NULL: nothing */
    json_t *kept; /* an object: what else checkpoints keep, and give back to it; NULL: nothing */
} r2i_run_identity;

/* Which base an adapter belongs to, and what its pairs count for; 0: all of the model is trained. */
uint64_t r2i_run_identity_hash_adapter(const r2i_parameters *parameters);
/* Of `more`; 0: there is none. */
uint64_t r2i_run_identity_hash_more(const r2i_run_identity *identity);
/* An object of texts and numbers, the caller's; NULL: no memory. */
json_t *r2i_run_identity_make(const r2i_run_identity *identity);
/* R2_E_MISMATCH: the first thing that differs. */
R2_CHECKED r2_status r2i_run_identity_compare(const json_t *of_checkpoint, const json_t *of_run,
                                              r2_error *err);
/* R2_E_MISMATCH: the checkpoint's moments are another optimizer's, or its adapters belong to another base
 * than the trainer's, or count for another scale. */
R2_CHECKED r2_status r2i_run_identity_check_trainer(const json_t *of_checkpoint,
                                                    const r2i_adamw *adamw, r2_error *err);
#endif
