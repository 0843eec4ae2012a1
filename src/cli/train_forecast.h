/* train_forecast.h - what a run will take: memory before it begins, time and money. */
#ifndef R2I_TRAIN_FORECAST_H
#define R2I_TRAIN_FORECAST_H
#include "cli/program.h"
#include "cli/train_options.h"

typedef struct {
    r2_train_plan_result plan;
    int64_t available_bytes;
    double
        peak_flops; /* BF16 products per second of this machine's kernels, times two; 0: unknown */
    double step_s, validation_s; /* of one; 0: not known yet */
    bool is_tried;               /* step_s was measured, not worked out of peak_flops */
} r2i_train_forecast;

/* Plans the run and measures the peak.  R2_E_NOMEM: it would take more memory than --memory or than there
 * is, with the flags that help; otherwise as r2_train_plan. */
R2_CHECKED r2_status r2i_train_foresee(r2i_train_forecast *out, const r2i_options *flags,
                                       const r2_train_options *options, r2_error *err);
/* Runs steps of grpo or dpo and reports as r2_train would with these options. */
typedef r2_status (*r2i_judged_runner)(void *user, const r2_train_options *options, r2_error *err);
/* Finds out how long a step takes: by a few steps whose results are thrown away, or, where those would
 * take more than a minute and a tenth of `run_seconds` (0: not known), from the peak.  As r2_train.  With
 * `judged` by steps of its own at any rate, at least one; they tell tokens and memory too, and R2_E_NOMEM
 * is as in r2i_train_foresee. */
R2_CHECKED r2_status r2i_train_try(r2i_train_forecast *forecast, const r2_train_options *options,
                                   double run_seconds, r2i_judged_runner judged, void *user,
                                   r2_error *err);
/* Steps that fit into a time, validation in between included. */
int64_t r2i_train_steps_in(const r2i_train_forecast *forecast, const r2_train_options *options,
                           double seconds);
/* Prints it all, as text or with --json.  Returns the exit code. */
int r2i_train_forecast_print(r2i_program *program, const r2i_train_forecast *forecast,
                             r2i_train_kind kind, const r2i_options *flags,
                             const r2_train_options *options);
#endif
