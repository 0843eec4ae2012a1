#include "train/runs/run_schedule.h"

#include <math.h>

static const double pi = 3.141592653589793, decay_share = 0.25, cosine_end = 0.1;

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
