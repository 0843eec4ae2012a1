/* train_rig.h - for tests: an open model with masters, gradients and a backward pass in F32. */
#ifndef R2LM_TESTS_TRAIN_RIG_H
#define R2LM_TESTS_TRAIN_RIG_H
#include <jansson.h>

#include "golden_cases.h"
#include "model/model.h"
#include "train/backward/backward.h"
#include "train/lora/lora_parameters.h"
#include "train/parameters/muon.h"

enum { TRAIN_CAP_ROWS = 256, TRAIN_CAP_DOCUMENTS = 8 };

typedef struct {
    r2_model *model;
    r2i_pool *pool;
    r2i_parameters parameters;
    r2i_backward *backward;
} train_rig;

typedef struct {
    const char *cpu; /* NULL: the machine's */
    int32_t n_threads;
    bool is_bf16, is_recomputing;
    const r2i_lora_rules *lora; /* NULL: all numbers are trained */
} train_rig_options;

void train_set_up(train_rig *t, const char *path, const train_rig_options *options);
void train_tear_down(train_rig *t);

/* The parameter of that name; without one the test fails. */
const r2i_parameter *train_find(const train_rig *t, const char *name);
/* A step by the gradients, as r2_trainer_step makes it; returns their norm. */
double train_step_adamw(train_rig *t, r2i_adamw *adamw, const r2i_adamw_options *options);
double train_step_muon(train_rig *t, r2i_muon *muon, const r2i_muon_options *options);

/* A batch and the memory behind it. */
typedef struct {
    int32_t tokens[TRAIN_CAP_ROWS], targets[TRAIN_CAP_ROWS], lengths[TRAIN_CAP_DOCUMENTS];
    float weights[TRAIN_CAP_ROWS];
    int32_t n_targets;
    r2i_train_batch batch;
} train_documents;

/* Each row of input_ids is a document; a row predicts the label of the next one (labels NULL: the
 * next token), -100 is not counted; the loss is a mean. */
void train_read_documents(train_documents *d, const json_t *input_ids, const json_t *labels);
/* L2 norm of a parameter's values or gradients. */
double train_norm(const float *values, const r2i_parameter *p);
#endif
