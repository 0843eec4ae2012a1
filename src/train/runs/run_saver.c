#include "train/runs/run_saver.h"

#include <math.h>
#include <stdio.h>

#include "base/failure.h"
#include "train/ranks/run_ranks.h"

enum { DEFAULT_KEPT = 2 };

r2_status r2i_run_saver_open(r2i_run_saver *out, const r2i_run_identity *identity, r2i_adamw *adamw,
                             r2i_heap *heap, r2_error *err) {
    const r2_train_options *o = identity->options;
    *out = (r2i_run_saver){ .options = o, .totals = { .place = { .source = -1 } } };
    if (o->checkpoints == NULL) return R2_OK;
    out->identity = r2i_run_identity_make(identity);
    if (out->identity == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for checkpoints");
    out->checkpoint = (r2i_checkpoint){ .folder = o->checkpoints,
                                        .adamw = adamw,
                                        .identity = out->identity,
                                        .kept = identity->kept,
                                        .keep_last = o->keep_last > 0 ? o->keep_last : DEFAULT_KEPT,
                                        .ranks = o->trainer.ranks,
                                        .heap = heap };
    if (!o->is_resuming) return R2_OK;
    r2_error skipped;
    R2I_TRY(r2i_checkpoint_resume(&out->checkpoint, &out->totals, &skipped, err));
    if (skipped.code != R2_OK && o->passed_over != NULL && r2_ranks_index(o->trainer.ranks) == 0)
        o->passed_over(o->user, &skipped);
    out->saved_step = out->totals.step;
    if (out->totals.step <= o->n_steps) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT,
                    "%.150s: expected a run of at least the %lld steps that are done, found %d",
                    o->checkpoints, (long long)out->totals.step, o->n_steps);
}

void r2i_run_saver_close(r2i_run_saver *saver) {
    json_decref(saver->identity);
    saver->identity = NULL;
}

r2_status r2i_run_saver_forget_later(const r2i_run_saver *s, int64_t step, r2_error *err) {
    r2_status status = R2_OK;
    if (s->checkpoint.folder == NULL) return R2_OK;
    if (r2_ranks_index(s->checkpoint.ranks) == 0)
        status = r2i_checkpoint_clear(&s->checkpoint, step, err);
    return r2_ranks_agree(s->checkpoint.ranks, status, err);
}

static bool is_due(const r2i_run_saver *s, int64_t step, bool goes_on) {
    const r2_train_options *o = s->options;
    if (s->checkpoint.folder == NULL) return false;
    if (step == o->n_steps) return o->checkpoint_every > 0;
    return !goes_on || (o->checkpoint_every > 0 && step % o->checkpoint_every == 0);
}

static r2i_run_totals totals_behind(const r2i_run_saver *s, const r2_train_report *p) {
    r2i_run_totals out = s->totals;
    out.step = p->step;
    out.n_tokens = p->n_tokens;
    out.n_targets = p->n_targets;
    out.seconds = p->seconds_all;
    if (p->validation_loss < out.best_loss ||
        (out.best_step == 0 && isfinite(p->validation_loss))) {
        out.best_step = p->step;
        out.best_loss = p->validation_loss;
    }
    return out;
}

r2_status r2i_run_saver_step(r2i_run_saver *s, const r2_train_report *report, bool goes_on,
                             r2_error *err) {
    const r2_train_options *o = s->options;
    r2_error own = { R2_OK, "" };
    double n_stopping = 0;
    if (!is_due(s, report->step, goes_on)) return R2_OK;
    const r2i_run_totals totals = totals_behind(s, report);
    const r2_status status = r2i_checkpoint_write(&s->checkpoint, &totals, &own);
    if (status == R2_OK) {
        s->totals = totals;
        s->saved_step = totals.step;
    }
    if (o->checkpointed != NULL && r2_ranks_index(o->trainer.ranks) == 0)
        n_stopping = !o->checkpointed(o->user, report->step, o->checkpoints, &own);
    R2I_TRY(r2i_run_sum(o->trainer.ranks, &n_stopping, 1, err));
    return n_stopping == 0 || status == R2_OK ? R2_OK : r2i_fail(err, status, "%s", own.text);
}

r2_status r2i_run_saver_name_last(const r2i_run_saver *s, r2_status status, r2_error *err) {
    char step[R2I_STATE_STEP_BYTES], text[sizeof err->text];
    if (status != R2_E_RANGE || s->saved_step == 0) return status;
    r2i_state_step_name(step, s->saved_step);
    (void)snprintf(text, sizeof text, "%s", err->text);
    return r2i_fail(err, status, "%.110s; the last checkpoint is %.80s/%s", text,
                    s->options->checkpoints, step);
}
