/* distill.h - learning from another model: a teacher that judges each token of a trainer's batches.
 *
 *     r2_trainer_open (takes_soft_targets) -> r2_teacher_open -> for each batch r2_teacher_score,
 *     r2_trainer_add with what it gave, r2_trainer_step
 *
 * Whole runs do the same with r2_train_options.distill (docs/distillation.md). */
#ifndef R2LM_DISTILL_H
#define R2LM_DISTILL_H

#include "r2lm/train.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct r2_teacher r2_teacher;

typedef struct {
    int32_t n_tokens;  /* likeliest tokens of each position; 0: 32 */
    float temperature; /* of both models; 0: 1 */
    float beta, share; /* as in r2_soft_targets; without options: 0 and 1 */
    r2_arithmetic arithmetic;
    const char *cpu;
} r2_teacher_options;

/* Opens a model, a GGUF file or a folder, that teaches the trainer's.  Its weights stay as the file has them.
 * It computes with the trainer's threads and must be closed before it.  R2_E_MISMATCH: its tokens are
 * not the student's, which is looked at one by one up to the smaller vocabulary's end; R2_E_ARGUMENT:
 * options; otherwise as r2_model_open. */
R2_API R2_CHECKED r2_status r2_teacher_open(r2_teacher **out, const char *path, r2_trainer *trainer,
                                            const r2_teacher_options *options, r2_error *err);
/* NULL is allowed. */
R2_API void r2_teacher_close(r2_teacher *teacher);
/* Reads a batch and gives its soft targets, to be put into the same batch for r2_trainer_add; valid
 * until the next call.  R2_E_ARGUMENT: no batch of the trainer's. */
R2_API R2_CHECKED r2_status r2_teacher_score(r2_teacher *teacher, const r2_training_batch *batch,
                                             const r2_soft_targets **out, r2_error *err);

/* How a run learns from a teacher: r2_train_options.distill. */
struct r2_distill_options {
    const char *teacher; /* GGUF file or folder */
    r2_teacher_options how;
    /* The share of batches, 0 to 1, of which the data give the prompts alone: the model answers with its weights
     * as they are, and the teacher judges these answers token by token (on-policy distillation,
     * arXiv:2306.13649).  Which batches is a function of seed and place in the data. */
    float own_share;
    float own_beta;        /* beta of these; 1: divergence of the model from the teacher */
    float own_temperature; /* of sampling; 0: the likeliest tokens */
    int32_t own_samples;   /* of each prompt; 0: 1 */
    int32_t own_tokens;    /* most of an answer; 0: as run_tokens lets them */
    int32_t prompt_tokens; /* of a text, whose beginning is the prompt; 0: 16 */
};

#ifdef __cplusplus
}
#endif
#endif
