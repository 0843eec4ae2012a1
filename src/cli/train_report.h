/* train_report.h - what a training run tells while it runs: a line on standard error, and a line of
 * numbers per step in RUN/metrics.jsonl. */
#ifndef R2I_TRAIN_REPORT_H
#define R2I_TRAIN_REPORT_H
#include <stdio.h>

#include "base/buffer.h"
#include "cli/program.h"
#include "cli/run_record.h"
#include "cli/train_forecast.h"
#include "r2lm/train.h"

typedef struct {
    r2i_program *program; /* whose --output is the run's folder */
    FILE *metrics;        /* RUN/metrics.jsonl, from the first step on */
    int32_t run_tokens;
    bool is_silent;         /* set by the caller: another process tells of this run */
    bool is_resuming;       /* numbers of the steps before the first one told of are kept */
    r2i_run_record *record; /* set by the caller; NULL: none */
    r2i_buffer config;      /* RUN/config.ini, filled by the caller, written with the first step */
    int64_t first_step;     /* of this process */
    double seconds_before;  /* of the processes before */
    double token_flops, peak_flops; /* per token; per second, 0: unknown */
    double price;                   /* of an hour; 0: none */
    int64_t saved_step;             /* of the newest checkpoint; 0: none was written */
    bool is_write_failed;           /* it cannot be written, which ends the run */
    r2_train_report last;
    double validation_loss, validation_bpb; /* the last ones measured, or NAN */
} r2i_train_progress;

void r2i_train_progress_init(r2i_train_progress *progress, r2i_program *program,
                             const r2_train_options *options, const r2i_train_forecast *forecast);
/* As r2_train_options.report, with an r2i_train_progress as `user`: false ends the run, after a signal
 * or when numbers cannot be written. */
bool r2i_train_progress_step(void *user, const r2_train_report *report);
/* What each step of any kind writes down: RUN/metrics.jsonl, with the members of `more` (taken, may be NULL),
 * and the list of runs.  False: the run is to end. */
bool r2i_train_progress_write(r2i_train_progress *progress, const r2_train_report *report,
                              json_t *more);
/* Of the steps of this process that are done. */
double r2i_train_progress_left(const r2i_train_progress *progress, const r2_train_report *report);
/* As r2_train_options.checkpointed: says what went wrong; the run goes on. */
bool r2i_train_progress_saved(void *user, int64_t step, const char *folder, const r2_error *err);
void r2i_train_progress_passed_over(void *user, const r2_error *why);
/* Money so far. */
double r2i_train_progress_cost(const r2i_train_progress *progress);
void r2i_train_progress_close(r2i_train_progress *progress);
#endif
