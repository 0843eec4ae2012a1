/* tiny_run.h - training runs of a few milliseconds, in a folder of their own. */
#ifndef R2LM_TESTS_TINY_RUN_H
#define R2LM_TESTS_TINY_RUN_H
#include <stdint.h>

#include "r2lm/train.h"

enum { TINY_PATH = 512, TINY_SETS = 2, TINY_STEPS = 64 };

typedef struct {
    char folder[64]; /* beneath /tmp */
    char model[TINY_PATH], data[TINY_SETS][TINY_PATH];
    const char *sets[TINY_SETS];
    char even[TINY_PATH]; /* data whose documents are a run each, with few and with many targets */
} tiny_place;

/* What a run told. */
typedef struct {
    double losses[TINY_STEPS + 1]; /* [step]; 0: it was not made */
    double validation[TINY_STEPS + 1];
    int64_t stops_behind; /* the step behind which it is ended; 0: none */
    int64_t saved_step;   /* of the last checkpoint that was written */
    int32_t n_failed;     /* checkpoints that were not */
    r2_status failure;    /* of the last one of those */
} tiny_log;

/* A model of random weights as the golden case's configuration describes it, and two sets of data, the
 * first one with validation. */
void tiny_place_make(tiny_place *place, const char *golden_case);
void tiny_place_remove(const tiny_place *place);
/* Removes a file or a folder with all that is in it, if it is there. */
void tiny_remove(const char *path);
/* Options of a run RUN of eight steps with a checkpoint behind each second one; `paths` holds texts. */
void tiny_run_options(r2_train_options *out, const tiny_place *place, const char *run,
                      char paths[2][TINY_PATH], tiny_log *log);
/* Hash of the weights in RUN/model, or of an adapter's; 0: there are none. */
uint64_t tiny_model_hash(const tiny_place *place, const char *run);
#endif
