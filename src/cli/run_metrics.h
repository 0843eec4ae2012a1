/* run_metrics.h - what a training run wrote down: the numbers of its metrics.jsonl.
 *
 * Each line is an object of numbers with "step"; what is no number is passed over.  A line that is cut
 * off at the end of the file is one that is being written. */
#ifndef R2I_RUN_METRICS_H
#define R2I_RUN_METRICS_H
#include "base/buffer.h"
#include "cli/program.h"

enum { R2I_METRIC_NAME_BYTES = 48, R2I_RUN_METRICS = 96 };

typedef struct {
    double step, value;
} r2i_metric_point;

typedef struct {
    char name[R2I_METRIC_NAME_BYTES];
    r2i_buffer points; /* r2i_metric_point, steps ascending as they stand in the file */
} r2i_metric;

typedef struct {
    const char *name; /* of the folder or file */
    r2i_metric metrics[R2I_RUN_METRICS];
    int32_t n_metrics;
} r2i_run_metrics;

/* `path`: a run's folder or its metrics file.  R2_E_NOT_FOUND, R2_E_FORMAT with the line.  On failure
 * what was read is freed. */
R2_CHECKED r2_status r2i_run_metrics_read(r2i_run_metrics *out, r2i_program *program,
                                          const char *path, r2_error *err);
void r2i_run_metrics_free(r2i_run_metrics *run);
/* NULL: the run has none of that name. */
const r2i_metric *r2i_run_metrics_find(const r2i_run_metrics *run, const char *name);
const r2i_metric_point *r2i_metric_points(const r2i_metric *metric, size_t *n);
#endif
