#include "cli/train_forecast.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/amount_text.h"
#include "cli/read_rate.h"
#include "r2lm/convert.h"

enum { TRIAL_STEPS = 3, WARM_STEPS = 1 };
/* Short steps are tried for so many seconds: the best of a few is at the mercy of what else runs. */
enum { MOST_TRIAL_STEPS = 20 };
static const double peak_s = 0.05, longest_trial_s = 60, usual_trial_s = 5, trial_share = 0.1;
/* Of the peak, where a step is too long to be tried. */
static const double usual_share = 0.5;
/* A forward pass alone, of a step. */
static const double forward_share = 1.0 / 3;

/* ---- memory ---- */

static bool saves_by_recomputing(const r2_train_options *o, const r2_trainer_info *t) {
    return !o->trainer.is_recomputing && t->kept_bytes > t->activations_bytes / 3;
}

static r2_status check_memory(const r2i_train_forecast *f, const r2_train_options *o,
                              r2_error *err) {
    const r2_trainer_info *t = &f->plan.trainer;
    char wanted[R2I_AMOUNT_BYTES], there[R2I_AMOUNT_BYTES], batch[R2I_AMOUNT_BYTES];
    if (f->available_bytes <= 0 || f->plan.memory_bytes <= f->available_bytes) return R2_OK;
    const bool is_muon = o->trainer.optimizer == R2_OPTIMIZER_MUON;
    const bool is_batch = t->activations_bytes > f->plan.memory_bytes / 4;
    return r2i_fail(
        err, R2_E_NOMEM,
        "training would take %s, available are %s: %s take %s of it%s%s (--memory sets the limit)",
        r2i_amount_bytes(wanted, f->plan.memory_bytes), r2i_amount_bytes(there, f->available_bytes),
        is_batch ? "activations" : "masters, gradients and moments",
        r2i_amount_bytes(batch, is_batch
                                    ? t->activations_bytes
                                    : t->masters_bytes + t->gradients_bytes + t->moments_bytes),
        is_batch  ? "; a lower --batch-tokens"
        : is_muon ? "; a smaller model"
                  : "; --optimizer muon",
        is_batch && saves_by_recomputing(o, t) ? " or --recompute helps" : " helps");
}

r2_status r2i_train_foresee(r2i_train_forecast *f, const r2i_options *flags,
                            const r2_train_options *options, r2_error *err) {
    *f = (r2i_train_forecast){ .available_bytes = flags->memory > 0 ? (int64_t)(flags->memory * 1e9)
                                                                    : r2i_available_memory() };
    R2I_TRY(r2_train_plan(&f->plan, options, err));
    R2I_TRY(check_memory(f, options, err));
    return r2_measure_products(&f->peak_flops, "BF16", options->trainer.n_threads, peak_s, err);
}

/* ---- time ---- */

typedef struct {
    bool is_judged;
    double best_s, first_s, all_s;
    int64_t n_steps, n_tokens, memory_bytes;
} trial;

static bool on_trial_step(void *user, const r2_train_report *r) {
    trial *t = user;
    if (r->step > WARM_STEPS && (t->best_s <= 0 || r->seconds < t->best_s)) t->best_s = r->seconds;
    if (r->step == 1) t->first_s = r->seconds;
    t->all_s += r->seconds;
    t->n_steps = r->step;
    t->n_tokens = r->n_tokens;
    t->memory_bytes = r->memory_bytes;
    const bool is_enough =
        r->step >= TRIAL_STEPS && (t->all_s >= usual_trial_s || r->step >= MOST_TRIAL_STEPS);
    const bool is_long = t->is_judged && t->all_s >= longest_trial_s;
    return !is_enough && !is_long && r2i_signals_pending() == 0;
}

/* Of judged runs only steps themselves tell tokens and memory: answers are as long as they are, and the engine
 * that writes them is not the trainer's.  So does their time, which differs from step to step: the mean counts. */
static r2_status take_judged(r2i_train_forecast *f, const trial *t, const r2_train_options *o,
                             r2_error *err) {
    f->step_s = t->n_steps > WARM_STEPS
                    ? (t->all_s - t->first_s) / (double)(t->n_steps - WARM_STEPS)
                    : t->all_s;
    f->plan.step_tokens = t->n_steps > 0 ? t->n_tokens / t->n_steps : f->plan.step_tokens;
    f->plan.memory_bytes = t->memory_bytes + f->plan.trainer.file_bytes;
    f->validation_s = 0;
    return check_memory(f, o, err);
}

r2_status r2i_train_try(r2i_train_forecast *f, const r2_train_options *options, double run_seconds,
                        r2i_judged_runner judged, void *user, r2_error *err) {
    const double longest_s = fmax(longest_trial_s, trial_share * run_seconds);
    trial t = { .is_judged = judged != NULL };
    r2_train_options o = *options;
    f->step_s = f->peak_flops > 0 ? f->plan.flops_per_token * (double)f->plan.step_tokens /
                                        (usual_share * f->peak_flops)
                                  : 0;
    /* Ranks try together or not at all, though each has measured a peak of its own. */
    const r2_status is_short =
        t.is_judged || TRIAL_STEPS * f->step_s <= longest_s ? R2_OK : R2_E_UNSUPPORTED;
    if (r2_ranks_agree(options->trainer.ranks, is_short, NULL) == R2_OK) {
        o.out = o.checkpoints = NULL;
        o.is_resuming = false;
        o.checkpoint_every = 0;
        o.mtp_from = 0; /* the dearer steps */
        o.n_steps =
            MOST_TRIAL_STEPS + 1; /* it never comes to its end, where it would be validated */
        o.warmup_steps = 0;
        o.validate_every = 0;
        o.step.lr = 1e-9;
        o.report = on_trial_step;
        o.user = &t;
        R2I_TRY(judged != NULL ? judged(user, &o, err) : r2_train(&o, err));
        if (r2i_signals_pending() != 0) return r2i_fail(err, R2_E_CANCELED, "stopped on trial");
        f->step_s = t.best_s;
        f->is_tried = true;
    }
    if (t.is_judged) return take_judged(f, &t, options, err);
    const int32_t most = options->validate_batches;
    const double read = (double)f->plan.n_validation_tokens,
                 cap = most > 0 ? (double)most * options->trainer.batch_tokens : read;
    f->validation_s =
        forward_share * f->step_s / (double)f->plan.step_tokens * (read < cap ? read : cap);
    return R2_OK;
}

int64_t r2i_train_steps_in(const r2i_train_forecast *f, const r2_train_options *o, double seconds) {
    const double each =
        f->step_s + (o->validate_every > 0 ? f->validation_s / o->validate_every : 0);
    const double n = each > 0 ? floor((seconds - f->validation_s) / each) : 1;
    return n < 1 ? 1 : n < INT32_MAX ? (int64_t)n : INT32_MAX;
}

static double run_seconds(const r2i_train_forecast *f, const r2_train_options *o) {
    const int32_t between = o->validate_every > 0 ? (o->n_steps - 1) / o->validate_every : 0;
    return f->step_s * o->n_steps + f->validation_s * (between + 1);
}

/* ---- telling ---- */

static double peak_share(const r2i_train_forecast *f) {
    return f->peak_flops > 0 && f->step_s > 0
               ? f->plan.active_flops_per_token * (double)f->plan.step_tokens / f->step_s /
                     f->peak_flops
               : 0;
}

static int print_json(r2i_program *p, const r2i_train_forecast *f, r2i_train_kind kind,
                      const r2i_options *flags, const r2_train_options *o) {
    const r2_train_plan_result *plan = &f->plan;
    const r2_trainer_info *t = &plan->trainer;
    const double tokens = (double)plan->step_tokens * o->n_steps, seconds = run_seconds(f, o);
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {
        { "parameters", plan->n_parameters },
        { "active_parameters", t->n_active_parameters },
        { "trained_parameters", t->n_parameters },
        { "steps", o->n_steps },
        { "step_tokens", plan->step_tokens },
        { "tokens", plan->step_tokens * o->n_steps },
        { "data_tokens", plan->n_train_tokens },
        { "validation_tokens", plan->n_validation_tokens },
        { "memory_bytes", plan->memory_bytes },
        { "masters_bytes", t->masters_bytes },
        { "gradients_bytes", t->gradients_bytes },
        { "moments_bytes", t->moments_bytes },
        { "activations_bytes", t->activations_bytes },
        { "kept_bytes", t->kept_bytes },
        { "teacher_bytes", plan->teacher_bytes },
        { "file_bytes", t->file_bytes },
        { "available_bytes", f->available_bytes },
    };
    const struct {
        const char *key;
        double value;
    } reals[] = {
        { "lr", flags->lr },
        { "flops_per_token", plan->flops_per_token },
        { "flops", plan->flops_per_token * tokens },
        { "peak_flops", f->peak_flops },
        { "peak_share", peak_share(f) },
        { "step_seconds", f->step_s },
        { "seconds", seconds },
    };
    json_t *out =
        json_pack("{s:s, s:b}", "kind", r2i_train_kind_name(kind), "is_tried", f->is_tried ? 1 : 0);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        (void)json_object_set_new(out, counts[i].key, json_integer(counts[i].value));
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        (void)json_object_set_new(out, reals[i].key, json_real(reals[i].value));
    if (flags->price > 0) {
        (void)json_object_set_new(out, "cost", json_real(seconds / 3600 * flags->price));
        (void)json_object_set_new(out, "currency", json_string(flags->currency));
    }
    return r2i_program_print_json(p, out);
}

static void print_memory(const r2i_train_forecast *f) {
    const r2_trainer_info *t = &f->plan.trainer;
    const struct {
        const char *name;
        int64_t n_bytes;
    } parts[] = {
        { "masters", t->masters_bytes },          { "gradients", t->gradients_bytes },
        { "moments", t->moments_bytes },          { "activations", t->activations_bytes },
        { "the teacher", f->plan.teacher_bytes }, { "weights as the file has them", t->file_bytes }
    };
    char a[R2I_AMOUNT_BYTES], b[R2I_AMOUNT_BYTES];
    printf("%-12s %s of %s available:", "memory", r2i_amount_bytes(a, f->plan.memory_bytes),
           r2i_amount_bytes(b, f->available_bytes));
    const char *between = " ";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i].n_bytes == 0) continue;
        printf("%s%s %s", between, parts[i].name, r2i_amount_bytes(a, parts[i].n_bytes));
        between = ", ";
    }
    printf("\n");
}

static void print_time(const r2i_train_forecast *f, const r2i_options *flags,
                       const r2_train_options *o) {
    char a[R2I_AMOUNT_BYTES], b[R2I_AMOUNT_BYTES];
    const double seconds = run_seconds(f, o);
    printf("%-12s %s: %.3g s per step, %s; %.0f %% of the %.0f GFLOPS that this machine multiplies "
           "at (6 per parameter at work and token, 4 of those that stay)\n",
           "time", r2i_amount_time(a, seconds), f->step_s,
           f->is_tried ? "by trial" : "at half of the machine's peak", 100 * peak_share(f),
           f->peak_flops * 1e-9);
    if (flags->price > 0)
        printf("%-12s %s at %s per hour\n", "cost",
               r2i_amount_money(a, seconds / 3600 * flags->price, flags->currency),
               r2i_amount_money(b, flags->price, flags->currency));
}

int r2i_train_forecast_print(r2i_program *p, const r2i_train_forecast *f, r2i_train_kind kind,
                             const r2i_options *flags, const r2_train_options *o) {
    const r2_train_plan_result *plan = &f->plan;
    char a[R2I_AMOUNT_BYTES], b[R2I_AMOUNT_BYTES], c[R2I_AMOUNT_BYTES];
    const double tokens = (double)plan->step_tokens * o->n_steps;
    if (p->options->wants_json) return print_json(p, f, kind, flags, o);
    printf("%-12s %s, %s at work per token, %s trained\n", "parameters",
           r2i_amount_count(a, plan->n_parameters),
           r2i_amount_count(b, plan->trainer.n_active_parameters),
           r2i_amount_count(c, plan->trainer.n_parameters));
    printf("%-12s %d of %" PRId64 " tokens; learning rate %g, %s, %s\n", "steps", o->n_steps,
           plan->step_tokens, flags->lr, flags->schedule, flags->optimizer);
    if (!r2i_train_is_judged(kind)) {
        printf("%-12s %s tokens, of which the run reads %s: %.2f times\n", "data",
               r2i_amount_count(a, plan->n_train_tokens), r2i_amount_count(b, (int64_t)tokens),
               plan->n_train_tokens > 0 ? tokens / (double)plan->n_train_tokens : 0.0);
        printf("%-12s %s per token, %.3g in all\n", "operations",
               r2i_amount_count(a, (int64_t)plan->flops_per_token), plan->flops_per_token * tokens);
    }
    print_memory(f);
    print_time(f, flags, o);
    return R2I_EXIT_OK;
}
