/* command_train.c - `r2lm train`: models with random weights, and all kinds of training. */
#define _POSIX_C_SOURCE 200809L /* mkdir, rmdir */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failure.h"
#include "cli/data_choice.h"
#include "cli/model_find.h"
#include "cli/rank_choice.h"
#include "cli/reinforce_options.h"
#include "cli/reinforce_report.h"
#include "cli/run_config.h"
#include "cli/run_lock.h"
#include "cli/train_export.h"
#include "cli/train_forecast.h"
#include "cli/train_options.h"
#include "cli/train_report.h"
#include "cli/traces_choice.h"

enum { PATH_BYTES = 4096 };

typedef struct {
    r2i_program *program;
    r2i_train_kind kind;
    r2i_data_choice data;
    r2_distill_options distill;
    r2i_options flags; /* with all that was left open resolved */
    r2_train_options options;
    r2i_train_forecast forecast;
    r2i_train_progress progress;
    r2i_reinforce_progress judged; /* of grpo and dpo */
    r2i_run_record record;
    r2_ranks *ranks;          /* NULL: this process alone */
    bool is_new, was_stopped; /* RUN was made for this run */
    int lock;                 /* of RUN; -1: none */
    char model[PATH_BYTES];   /* RUN/model or RUN/adapter; "" unless this is a run */
    char checkpoints[PATH_BYTES];
} train_work;

/* ---- init ---- */

static r2_status init(train_work *w, r2_error *err) {
    r2i_program *p = w->program;
    const r2i_options *o = p->options;
    const bool is_own = o->depth > 0;
    if (p->arguments.n_words != (is_own ? 1 : 2) || o->output == NULL)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "train init: expected either a folder with config.json or --depth, and "
                        "-o OUT");
    const r2_model_init_options options = { .seed = (uint64_t)o->seed,
                                            .is_forced = o->is_forced,
                                            .depth = o->depth };
    return r2_model_init(is_own ? o->tokenizer : p->arguments.words[1], o->output, &options, err);
}

/* ---- pretrain, sft, distill ---- */

static bool is_first(const train_work *w) {
    return r2_ranks_index(w->ranks) == 0;
}

/* Ended while its teacher was still answering (--traces): the same command goes on. */
static bool is_answering(const r2i_options *o) {
    char done[PATH_BYTES + 32], metrics[PATH_BYTES + 32];
    (void)snprintf(done, sizeof done, "%.4000s/traces.jsonl.done", o->output);
    (void)snprintf(metrics, sizeof metrics, "%.4000s/metrics.jsonl", o->output);
    return o->has_traces && access(done, F_OK) == 0 && access(metrics, F_OK) != 0;
}

static r2_status open_run(train_work *w, r2_error *err) {
    const r2i_options *o = w->program->options;
    if (o->is_dry) return R2_OK;
    (void)snprintf(w->model, sizeof w->model, "%.4000s/%s", o->output,
                   o->lora_rank > 0 ? "adapter" : "model");
    (void)snprintf(w->checkpoints, sizeof w->checkpoints, "%.4000s/checkpoints", o->output);
    if (!is_first(w)) return R2_OK;
    if (o->is_resuming && access(o->output, F_OK) != 0)
        return r2i_fail(err, R2_E_NOT_FOUND, "%.150s: no such run to go on with", o->output);
    w->is_new = mkdir(o->output, 0777) == 0;
    if (!w->is_new && errno == EEXIST && is_answering(o))
        return r2i_run_lock(&w->lock, o->output, err);
    if (!w->is_new && !o->is_resuming && (errno != EEXIST || !o->is_forced))
        return r2i_fail(err, errno == EEXIST ? R2_E_ARGUMENT : R2_E_IO, "%.150s: %s", o->output,
                        errno == EEXIST ? "exists already" : strerror(errno));
    return r2i_run_lock(&w->lock, o->output, err);
}

/* A run that was refused before its first step leaves nothing behind. */
static void withdraw_run(const train_work *w) {
    r2i_data_withdraw(&w->data);
    if (w->is_new) (void)rmdir(w->program->options->output);
}

/* Prompts of --traces are files: with folders of data, as a run's config.ini names them, the teacher has
 * answered already. */
static bool has_answers(const train_work *w) {
    const r2i_arguments *a = &w->program->arguments;
    return w->program->options->has_traces && r2i_data_all_prepared(a->words + 1, a->n_words - 1);
}

static r2_status choose_teacher(train_work *w, r2_error *err) {
    r2i_program *p = w->program;
    const char *teacher;
    if (has_answers(w)) return R2_OK;
    if (p->options->teacher == NULL || p->options->teacher[0] == '\0')
        return r2i_fail(err, R2_E_ARGUMENT, "train distill: expected --teacher MODEL");
    R2I_TRY(r2i_model_resolve(&teacher, p, p->options->teacher, err));
    r2i_distill_options_read(&w->distill, p->options, teacher);
    return R2_OK;
}

/* The first of several ranks prepares data for all. */
static r2_status choose_data(train_work *w, const char *model, r2_error *err) {
    r2i_program *p = w->program;
    const char *const *words = p->arguments.words + 1;
    int32_t n_words = p->arguments.n_words - 1;
    r2_status status = R2_OK;
    const char *traces;
    w->data = (r2i_data_choice){ .folders = p->arguments.words + 1, .n_folders = n_words };
    if (w->kind == R2I_TRAIN_DPO) w->data.n_folders = 0; /* its words are pairs */
    if (w->kind == R2I_TRAIN_PRETRAIN || r2i_train_is_judged(w->kind) || p->options->is_dry)
        return R2_OK;
    if (w->kind == R2I_TRAIN_DISTILL && p->options->has_traces && !has_answers(w)) {
        if (is_first(w))
            status = r2i_traces_choose(&traces, p, w->distill.teacher, words, n_words, err);
        R2I_TRY(r2_ranks_agree(w->ranks, status, err));
        words = &traces;
        n_words = 1;
    }
    if (is_first(w))
        status = r2i_data_choose(&w->data, p, model, p->options->output, words, n_words, err);
    R2I_TRY(r2_ranks_agree(w->ranks, status, err));
    w->data.is_made = true;
    return is_first(w)
               ? R2_OK
               : r2i_data_choose(&w->data, p, model, p->options->output, words, n_words, err);
}

/* What a run begins with, on every rank. */
static r2_status prepare_run(train_work *w, const char **model, r2_error *err) {
    r2i_program *p = w->program;
    R2I_TRY(r2_ranks_agree(w->ranks, r2i_model_resolve(model, p, p->options->model, err), err));
    if (w->kind == R2I_TRAIN_DISTILL)
        R2I_TRY(r2_ranks_agree(w->ranks, choose_teacher(w, err), err));
    R2I_TRY(r2_ranks_agree(w->ranks, open_run(w, err), err));
    return r2_ranks_agree(w->ranks, choose_data(w, *model, err), err);
}

static void set_options(train_work *w, const char *model) {
    r2_train_options *o = &w->options;
    r2i_train_options_read(o, &w->flags);
    o->model = model;
    o->data = w->data.folders;
    o->n_data = w->data.n_folders;
    o->out = w->model[0] != '\0' ? w->model : NULL;
    if (w->kind == R2I_TRAIN_DISTILL && !w->flags.has_traces) o->distill = &w->distill;
    o->trainer.ranks = w->ranks;
    o->checkpoints = w->checkpoints[0] != '\0' ? w->checkpoints : NULL;
    o->checkpointed = r2i_train_progress_saved;
    o->passed_over = r2i_train_progress_passed_over;
    o->report = r2i_train_progress_step;
    o->user = &w->progress;
}

/* Resolves what flags leave open, by a plan. */
static r2_status plan_run(train_work *w, const char *model, r2_error *err) {
    w->flags = *w->program->options;
    r2i_train_resolve_shape(&w->flags, w->kind);
    set_options(w, model);
    R2I_TRY(r2i_train_foresee(&w->forecast, &w->flags, &w->options, err));
    R2I_TRY(r2i_train_resolve_length(&w->flags, w->kind, &w->forecast.plan, err));
    if (w->kind == R2I_TRAIN_PRETRAIN && w->program->options->lr <= 0 && w->flags.lora_rank == 0 &&
        !w->forecast.plan.trainer.is_initial)
        r2i_program_note(w->program, "the model is trained already: --lr %g", w->flags.lr);
    set_options(w, model);
    if (w->flags.minutes > 0 && r2_ranks_count(w->ranks) > 1)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "--minutes: expected one process, found %d; --tokens or --steps say how "
                        "long",
                        r2_ranks_count(w->ranks));
    return R2_OK;
}

static r2_status run_on_trial(void *user, const r2_train_options *options, r2_error *err) {
    const train_work *w = user;
    return r2i_judged_run(w->program, w->kind, options, true, err);
}

/* What only a few steps on trial can tell.  The ranks make them together. */
static r2_status try_run(train_work *w, const char *model, r2_error *err) {
    const bool has_time = w->flags.minutes > 0;
    if (!has_time && !w->flags.is_dry) return R2_OK;
    R2I_TRY(r2i_train_try(&w->forecast, &w->options, 60 * w->flags.minutes,
                          r2i_train_is_judged(w->kind) ? run_on_trial : NULL, w, err));
    if (has_time)
        r2i_train_set_steps(&w->flags,
                            r2i_train_steps_in(&w->forecast, &w->options, 60 * w->flags.minutes));
    w->flags.minutes = 0;
    set_options(w, model);
    return R2_OK;
}

/* Data that a file of --config named count where the command line names none. */
static void take_data(r2i_program *p) {
    r2i_arguments *a = &p->arguments;
    const r2i_text_list *data = &a->values.data;
    const bool has_own = a->n_words > 1 || data->n > a->n_file_data;
    for (int32_t i = has_own ? a->n_file_data : 0; i < data->n && a->n_words < R2I_MAX_WORDS; i++)
        a->words[a->n_words++] = data->texts[i];
}

static r2_status check_words(const train_work *w, r2_error *err) {
    const r2i_program *p = w->program;
    if (w->kind == R2I_TRAIN_GRPO && (p->options->output != NULL || p->options->is_dry))
        return R2_OK;
    if (p->arguments.n_words > 1 && (p->options->output != NULL || p->options->is_dry))
        return R2_OK;
    if (p->options->is_resuming && p->options->output != NULL)
        return r2i_fail(err, R2_E_NOT_FOUND,
                        "%.150s: no run of train %s to go on with: %s/config.ini has none",
                        p->options->output, p->arguments.words[0], p->options->output);
    return r2i_fail(err, R2_E_ARGUMENT, "train %s: expected %s and -o RUN", p->arguments.words[0],
                    w->kind == R2I_TRAIN_DPO        ? "pairs (JSONL)"
                    : w->kind == R2I_TRAIN_GRPO     ? "--tasks LIST"
                    : w->kind != R2I_TRAIN_PRETRAIN ? "chats (JSONL) or folders of `r2lm data prep`"
                                                    : "folders of `r2lm data prep`");
}

static r2_status run_judged(train_work *w, r2_error *err) {
    w->judged = (r2i_reinforce_progress){ .progress = &w->progress };
    w->options.user = &w->judged;
    w->options.checkpointed = r2i_reinforce_saved;
    w->options.passed_over = r2i_reinforce_passed_over;
    return r2i_judged_run(w->program, w->kind, &w->options, false, err);
}

static r2_status train_run(train_work *w, r2_error *err) {
    r2i_program *p = w->program;
    const char *model;
    take_data(p);
    R2I_TRY(check_words(w, err));
    R2I_TRY(r2i_ranks_choose(&w->ranks, p, err));
    r2i_train_note_ignored(p, w->kind, r2_ranks_count(w->ranks));
    R2I_TRY(prepare_run(w, &model, err));
    r2i_signals_catch();
    R2I_TRY(r2_ranks_agree(w->ranks, plan_run(w, model, err), err));
    R2I_TRY(r2_ranks_agree(w->ranks, try_run(w, model, err), err));
    if (p->options->is_dry) return R2_OK;
    r2i_train_progress_init(&w->progress, p, &w->options, &w->forecast);
    r2_status status =
        r2i_run_config_write(&w->progress.config, w->kind, &w->flags, &w->options, err);
    R2I_TRY(r2_ranks_agree(w->ranks, status, err));
    w->progress.is_silent = !is_first(w);
    w->progress.record = &w->record;
    if (is_first(w)) r2i_run_record_begin(&w->record, p, w->kind, &w->options, &w->progress.config);
    status = r2i_train_is_judged(w->kind) ? run_judged(w, err) : r2_train(&w->options, err);
    w->was_stopped = r2i_signals_pending() != 0;
    r2i_signals_clear();
    if (status == R2_OK && w->progress.is_write_failed)
        return r2i_fail(err, R2_E_IO, "%.150s/metrics.jsonl cannot be written; the model was saved",
                        p->options->output);
    return status;
}

/* Of runs too short for --patience to end them. */
static void note_unlearnt(const train_work *w) {
    if (w->kind == R2I_TRAIN_GRPO && w->progress.last.step > 0 && !w->judged.has_learnt)
        r2i_program_note(w->program,
                         "no question had answers of different worth: nothing was learnt; "
                         "`r2lm runs samples %s` shows the answers",
                         w->program->options->output);
}

static int print_result(const train_work *w) {
    const r2_train_report *r = &w->progress.last;
    if (!is_first(w)) return R2I_EXIT_OK;
    if (w->program->options->is_dry)
        return r2i_train_forecast_print(w->program, &w->forecast, w->kind, &w->flags, &w->options);
    if (w->model[0] == '\0') {
        r2i_program_note(w->program, "%s", w->program->options->output);
        return R2I_EXIT_OK;
    }
    if (r->step == 0)
        r2i_program_note(w->program,
                         "all %d steps were done before: nothing to train; more of them by --steps",
                         w->options.n_steps);
    else if (w->was_stopped)
        r2i_program_note(w->program,
                         "stopped after step %" PRId64 " of %" PRId64
                         " and saved; `r2lm train %s --resume -o %s` goes on",
                         r->step, r->n_steps, w->program->arguments.words[0],
                         w->program->options->output);
    note_unlearnt(w);
    if (!w->program->options->wants_json) {
        printf("%s\n", w->model);
        return R2I_EXIT_OK;
    }
    return r2i_program_print_json(
        w->program,
        json_pack("{s:s, s:I, s:I, s:o, s:o, s:o, s:f}",
                  w->program->options->lora_rank > 0 ? "adapter" : "model", w->model, "steps",
                  (json_int_t)r->step, "tokens", (json_int_t)r->n_tokens, "loss",
                  r->step > 0 ? json_real(r->loss) : json_null(), "validation_loss",
                  isfinite(w->progress.validation_loss) ? json_real(w->progress.validation_loss)
                                                        : json_null(),
                  "validation_bpb",
                  isfinite(w->progress.validation_bpb) ? json_real(w->progress.validation_bpb)
                                                       : json_null(),
                  "seconds", r->seconds_all));
}

/* Of several processes one tells, and any that has lost the others. */
static int fail(train_work *w, r2_status status, const r2_error *err) {
    r2i_program *p = w->program;
    if (r2i_ranks_is_silent() && !r2_ranks_is_lost(w->ranks))
        return status == R2_E_RANGE ? R2I_EXIT_NUMBERS : r2i_exit_code(status);
    const int code = r2i_program_fail(p, status, err);
    if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    if (status == R2_E_STATE && w->progress.saved_step > 0)
        r2i_program_hint(p,
                         "      `r2lm train export %s -o OUT` makes %s of its last checkpoint, "
                         "--step N of an earlier one",
                         p->options->output, p->options->lora_rank > 0 ? "an adapter" : "a model");
    if (status != R2_E_RANGE) return code;
    r2i_program_hint(p,
                     "      a lower --lr or more --warmup may help%s; `r2lm plot %s` shows "
                     "how it went",
                     w->progress.saved_step > 0 || p->options->is_resuming
                         ? ", with --resume from that checkpoint on"
                         : "",
                     p->options->output);
    return R2I_EXIT_NUMBERS;
}

int r2i_train_command(r2i_program *p) {
    train_work w = { .program = p, .lock = -1 };
    r2_error err = { R2_OK, "" };
    const char *what = p->arguments.n_words > 0 ? p->arguments.words[0] : "nothing";
    r2_status status;
    w.kind = r2i_train_kind_find(what);
    if (strcmp(what, "init") == 0)
        status = init(&w, &err);
    else if (strcmp(what, "export") == 0)
        status = r2i_train_export(p, &err);
    else if (w.kind != R2I_TRAIN_KINDS)
        status = train_run(&w, &err);
    else
        status = r2i_fail(
            &err, R2_E_ARGUMENT,
            "train: expected init, pretrain, sft, distill, grpo, dpo or export, found %.60s", what);
    const int code = status != R2_OK ? fail(&w, status, &err) : print_result(&w);
    r2i_reinforce_close(&w.judged);
    r2i_train_progress_close(&w.progress);
    r2i_run_record_end(&w.record, status, w.was_stopped, err.text);
    if (status != R2_OK && w.progress.last.step == 0)
        withdraw_run(&w);
    else
        r2i_data_settle(&w.data);
    if (w.lock >= 0) (void)close(w.lock);
    r2i_ranks_leave(w.ranks, code);
    return code;
}
