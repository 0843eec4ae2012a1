#include "train/runs/run_loop.h"

#include <math.h>

#include "base/clock.h"
#include "base/failure.h"
#include "train/ranks/run_ranks.h"
#include "train/runs/run_schedule.h"

static double seconds_since(int64_t start_ns) {
    return (double)(r2i_clock_ns() - start_ns) * 1e-9;
}

static r2_status make_step(const r2i_run_loop *l, int64_t step, r2_error *err) {
    r2_train_report *p = l->report;
    const int64_t start = r2i_clock_ns();
    p->step = step;
    p->lr = r2i_run_rate(l->saver->options, step);
    p->validation_loss = p->validation_bpb = (double)NAN;
    R2I_TRY(l->step(l->run));
    p->seconds = seconds_since(start);
    if (isfinite(p->loss)) return R2_OK;
    return r2i_fail(err, R2_E_RANGE, "step %lld: the loss is no finite number", (long long)step);
}

static void begin(const r2i_run_loop *l) {
    r2_train_report *p = l->report;
    r2_trainer_info info;
    r2_trainer_get_info(l->trainer, &info);
    p->n_steps = l->saver->options->n_steps;
    p->n_tokens = l->saver->totals.n_tokens;
    p->n_targets = l->saver->totals.n_targets;
    p->memory_bytes += info.memory_bytes;
}

r2_status r2i_run_steps(r2i_run_loop *l, r2_error *err) {
    const r2_train_options *o = l->saver->options;
    const int64_t start = r2i_clock_ns();
    const r2i_run_totals before = l->saver->totals;
    bool goes_on = true;
    begin(l);
    for (int64_t step = before.step + 1; goes_on && step <= o->n_steps; step++) {
        const r2_status status = make_step(l, step, err);
        if (status != R2_OK) return r2i_run_saver_name_last(l->saver, status, err);
        if (step == before.step + 1) R2I_TRY(r2i_run_saver_forget_later(l->saver, step, err));
        if (l->validate != NULL) R2I_TRY(l->validate(l->run));
        l->report->seconds_all = before.seconds + seconds_since(start);
        double n_stopping = !l->tell(l->run);
        R2I_TRY(r2i_run_sum(o->trainer.ranks, &n_stopping, 1, err));
        goes_on = n_stopping == 0 && l->ending.code == R2_OK;
        R2I_TRY(r2i_run_saver_step(l->saver, l->report, goes_on, err));
        if (l->ending.code != R2_OK) return r2i_fail(err, l->ending.code, "%s", l->ending.text);
    }
    return R2_OK;
}
