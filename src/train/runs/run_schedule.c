#include "train/runs/run_schedule.h"

#include <math.h>

#include "base/failure.h"

static const double pi = 3.141592653589793, decay_share = 0.25, cosine_end = 0.1;

r2_status r2i_run_schedule_check(const r2_train_options *o, r2_error *err) {
    if (o->n_steps < 1)
        return r2i_fail(err, R2_E_ARGUMENT, "training: expected at least one step, found %d",
                        o->n_steps);
    if (o->warmup_steps < 0 || o->warmup_steps >= o->n_steps)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "training: expected fewer steps of warm-up (%d) than steps (%d)",
                        o->warmup_steps, o->n_steps);
    if (o->step.lr > 0 && isfinite(o->step.lr)) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "training: expected a learning rate above 0, found %g",
                    o->step.lr);
}

double r2i_run_rate(const r2_train_options *o, int64_t step) {
    const double done = (double)step / o->n_steps;
    if (step <= o->warmup_steps) return o->step.lr * (double)step / o->warmup_steps;
    switch (o->schedule) {
    case R2_SCHEDULE_COSINE: {
        const double at = (double)(step - o->warmup_steps) / (o->n_steps - o->warmup_steps);
        return o->step.lr * (cosine_end + (1 - cosine_end) * (1 + cos(pi * at)) / 2);
    }
    case R2_SCHEDULE_CONSTANT:
        return o->step.lr;
    default:
        return o->step.lr * fmin(1, (1 - done + 1.0 / o->n_steps) / decay_share);
    }
}
