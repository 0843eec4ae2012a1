/* run_loop.h - what all kinds of run do from step to step: time, report, checkpoints, an end before the last
 * step, and what is written behind it. */
#ifndef R2I_RUN_LOOP_H
#define R2I_RUN_LOOP_H
#include "train/runs/run_saver.h"

typedef struct {
    r2i_run_saver *saver; /* its options are the run's */
    r2_trainer *trainer;
    /* What goes to the user.  n_cut and memory_bytes beside the trainer's are set before; the loop sets the step,
     * its rate and times, `step` all else. */
    r2_train_report *report;
    void *run; /* of the functions below, which say in the err of the loop what failed */
    r2_status (*step)(void *run);
    r2_status (*validate)(void *run); /* NULL: never; otherwise it says itself when */
    bool (*tell)(void *run);          /* false: the user has seen enough */
    /* Set by `step` when there is no use in going on: the step is told and saved, then the run ends with it. */
    r2_error ending;
} r2i_run_loop;

/* Steps from where the saver's checkpoint stands to the last one.  R2_E_RANGE: the loss is no finite number;
 * otherwise what the functions return. */
R2_CHECKED r2_status r2i_run_steps(r2i_run_loop *loop, r2_error *err);
#endif
