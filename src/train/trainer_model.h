/* trainer_model.h - what runs need of a trainer besides its public functions. */
#ifndef R2I_TRAINER_MODEL_H
#define R2I_TRAINER_MODEL_H
#include "r2lm/train.h"

/* The model that it trains; its own. */
r2_model *r2i_trainer_model(r2_trainer *trainer);
/* Most documents of a batch. */
int32_t r2i_trainer_documents(const r2_trainer *trainer);
#endif
