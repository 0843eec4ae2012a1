/* trainer_parts.h - r2_trainer from the inside; private to trainer.c, trainer_open.c, trainer_save.c. */
#ifndef R2I_TRAINER_PARTS_H
#define R2I_TRAINER_PARTS_H
#include "model/model.h"
#include "r2lm/train.h"
#include "train/backward/backward.h"
#include "train/parameters/muon.h"
#include "train/ranks/expert_ranks.h"
#include "train/ranks/gradient_exchange.h"
#include "train/ranks/lent_values.h"
#include "train/runs/trainer_model.h"

enum { R2I_TRAINER_PATH_BYTES = 4096 };

struct r2_trainer {
    r2_model *model;
    r2i_pool *pool;
    r2i_parameters parameters;
    r2i_muon muon; /* with has_muon; its own AdamW steps what it leaves */
    bool has_muon;
    r2i_adamw adamw; /* otherwise */
    r2i_backward *backward;
    r2i_backward_limits limits;
    r2_ranks *ranks; /* NULL: alone; otherwise with the next three */
    r2i_partition partition;
    r2i_exchange exchange;
    r2i_expert_ranks experts; /* of a partition with own experts */
    r2i_lent_values lent;     /* while the model is written */
    int64_t *counts;          /* [n_ranks, n] rows of experts */
    int32_t *targets;         /* [cap_rows], -1 replaced */
    float *weights;           /* [cap_rows] */
    size_t masters_bytes, gradients_bytes, moments_bytes, activations_bytes;
    char path[R2I_TRAINER_PATH_BYTES];
};
#endif
