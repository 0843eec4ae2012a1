#include "cli/reinforce_options.h"

#include <string.h>

#include "base/failure.h"
#include "cli/session.h"

/* "a,b" as names of the arena's. */
static r2_status split_names(const char **names, int32_t cap, int32_t *n, r2i_program *p,
                             const char *list, const char *flag, r2_error *err) {
    *n = 0;
    for (const char *at = list != NULL ? list : ""; *at != '\0'; at += *at == ',') {
        const size_t width = strcspn(at, ",");
        if (*n == cap)
            return r2i_fail(err, R2_E_ARGUMENT, "%s: expected at most %d names", flag, cap);
        if (width > 0) {
            names[*n] = r2i_arena_copy_text(&p->arena, at, width);
            if (names[(*n)++] == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for names");
        }
        at += width;
    }
    if (*n > 0) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "train grpo: expected %s", flag);
}

/* All but `run`; names are kept in the program's arena.  R2_E_ARGUMENT: no tasks, or too many. */
static r2_status read_grpo_options(r2_grpo_options *out, r2i_program *p, r2_error *err) {
    const r2i_options *o = p->options;
    const bool is_off = o->think == R2I_EFFORT_OFF;
    *out = (r2_grpo_options){ .level = o->level,
                              .n_questions = o->questions,
                              .n_samples = o->answers,
                              .new_tokens = o->predict,
                              .n_parallel = o->parallel,
                              .temperature = (float)o->own_temp,
                              .think = is_off ? R2_THINK_OFF : R2_THINK_AUTO,
                              .think_budget =
                                  is_off ? 0 : r2i_think_budget((r2i_effort)o->think, o->budget),
                              .n_rounds = o->rounds,
                              .n_minibatches = o->parts,
                              .has_free_routes = !o->replays_experts,
                              .clip_low = (float)o->clip_low,
                              .clip_high = (float)o->clip_high,
                              .has_sequence_ratio = strcmp(o->ratio, "sequence") == 0,
                              .divides_by_deviation = o->divides_by_deviation,
                              .norm = strcmp(o->loss_norm, "tokens") == 0    ? R2_NORM_TOKENS
                                      : strcmp(o->loss_norm, "answers") == 0 ? R2_NORM_ANSWERS
                                                                             : R2_NORM_CONSTANT,
                              .kl = (float)o->kl,
                              .kl_limit = (float)o->kl_limit,
                              .overlong = (float)o->overlong,
                              .language_weight = (float)o->language_weight,
                              .sft_share = (float)o->sft_share,
                              .patience = o->patience };
    if (o->verifier != NULL && o->verifier[0] != '\0') {
        out->verifier = o->verifier;
        out->verifier_seconds = o->verifier_s;
        if (o->tasks == NULL || o->tasks[0] == '\0')
            return split_names(out->languages, R2_MAX_RUN_LANGUAGES, &out->n_languages, p,
                               o->languages, "--languages", err);
    }
    /* A run's folder names no program to run: who goes on says it. */
    R2I_TRY(split_names(out->tasks, R2_MAX_RUN_TASKS, &out->n_tasks, p, o->tasks,
                        o->is_resuming
                            ? "--tasks, or --verifier COMMAND once more (no run keeps a command)"
                            : "--tasks or --verifier",
                        err));
    return split_names(out->languages, R2_MAX_RUN_LANGUAGES, &out->n_languages, p, o->languages,
                       "--languages", err);
}

/* ---- runs ---- */

typedef struct {
    const r2_train_options *run;
} judged_trial;

static bool on_grpo_trial(void *user, const r2_grpo_report *r) {
    const judged_trial *t = user;
    return t->run->report(t->run->user, &r->run);
}

static bool on_dpo_trial(void *user, const r2_dpo_report *r) {
    const judged_trial *t = user;
    return t->run->report(t->run->user, &r->run);
}

static r2_status run_dpo(const r2i_program *p, const r2_train_options *run, judged_trial *trial,
                         r2_error *err) {
    r2_dpo_options options = { .run = *run,
                               .pairs = p->arguments.words + 1,
                               .n_files = p->arguments.n_words - 1,
                               .step_pairs = p->options->step_pairs,
                               .beta = p->options->beta < 0 ? 0 : (float)p->options->beta,
                               .report = trial != NULL ? on_dpo_trial : r2i_reinforce_dpo_step };
    if (trial != NULL) options.run.user = trial;
    return r2_dpo(&options, err);
}

r2_status r2i_judged_run(r2i_program *p, r2i_train_kind kind, const r2_train_options *run,
                         bool is_trial, r2_error *err) {
    judged_trial trial = { run };
    r2_grpo_options options;
    if (kind == R2I_TRAIN_DPO) return run_dpo(p, run, is_trial ? &trial : NULL, err);
    R2I_TRY(read_grpo_options(&options, p, err));
    options.run = *run;
    options.report = is_trial ? on_grpo_trial : r2i_reinforce_grpo_step;
    if (is_trial) {
        options.run.user = &trial;
        options.patience = INT32_MAX;
        options.kl_limit = 0;
    }
    return r2_grpo(&options, err);
}
