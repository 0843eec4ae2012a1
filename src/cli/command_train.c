/* command_train.c - `r2lm train`: models with random weights, and training on prepared data. */
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

enum {
    PATH_BYTES = 4096,
    PRETRAIN_STEPS = 100,
    PRETRAIN_RUN_TOKENS = 512,
    SFT_EPOCHS = 2,
    WARMUP_PERCENT = 3
};
#define PRETRAIN_RATE 1e-3
#define SFT_RATE 2e-5

typedef struct {
    r2i_program *program;
    bool is_sft;
    r2i_data_choice data;
    FILE *metrics; /* RUN/metrics.jsonl, from the first step on */
    bool is_new;   /* RUN was made for this run */
    bool is_write_failed, was_stopped;
    r2_train_report last;
    double validation_loss, validation_bpb; /* the last ones measured, or NAN */
    char model[PATH_BYTES];                 /* RUN/model; "" unless this is a run */
} train_work;

/* ---- init ---- */

static r2_status init(train_work *w, r2_error *err) {
    r2i_program *p = w->program;
    const r2i_options *o = p->options;
    if (p->arguments.n_words != 2 || o->output == NULL)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "train init: expected a folder with config.json and -o OUT");
    const r2_model_init_options options = { .seed = (uint64_t)o->seed, .is_forced = o->is_forced };
    return r2_model_init(p->arguments.words[1], o->output, &options, err);
}

/* ---- pretrain, sft ---- */

/* An earlier run's numbers stay until this one has a step to tell of. */
static bool open_metrics(train_work *w) {
    char path[PATH_BYTES + 32];
    if (w->metrics != NULL) return true;
    (void)snprintf(path, sizeof path, "%.4000s/metrics.jsonl", w->program->options->output);
    w->metrics = fopen(path, "w");
    w->is_write_failed = w->metrics == NULL;
    return !w->is_write_failed;
}

/* `n_before`: tokens of the steps before. */
static void write_metrics(train_work *w, const r2_train_report *r, int64_t n_before) {
    const double tok_s = r->seconds > 0 ? (double)(r->n_tokens - n_before) / r->seconds : 0;
    json_t *line =
        json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "step", (json_int_t)r->step,
                  "tokens", (json_int_t)r->n_tokens, "targets", (json_int_t)r->n_targets, "loss",
                  r->loss, "lr", r->lr, "gradient_norm", r->gradient_norm, "tok_s", tok_s,
                  "seconds", r->seconds, "seconds_all", r->seconds_all);
    bool is_written = line != NULL;
    if (is_written && r->mtp_loss > 0)
        is_written = json_object_set_new(line, "mtp_loss", json_real(r->mtp_loss)) == 0;
    if (is_written && r->expert_load > 0)
        is_written = json_object_set_new(line, "expert_load", json_real(r->expert_load)) == 0;
    if (is_written && !isnan(r->validation_loss))
        is_written =
            json_object_set_new(line, "validation_loss", json_real(r->validation_loss)) == 0;
    if (is_written && !isnan(r->validation_bpb))
        is_written = json_object_set_new(line, "validation_bpb", json_real(r->validation_bpb)) == 0;
    is_written = is_written && json_dumpf(line, w->metrics, JSON_COMPACT) == 0 &&
                 fputc('\n', w->metrics) != EOF && fflush(w->metrics) == 0;
    json_decref(line);
    if (!is_written) w->is_write_failed = true;
}

/* "2:05", "1:02:05". */
static void print_time(char *out, size_t cap, double seconds) {
    const int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        (void)snprintf(out, cap, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60),
                       (int)(s % 60));
    else
        (void)snprintf(out, cap, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

static void print_line(const r2_train_report *r) {
    char left[32], validation[64] = "";
    const double per_step = r->seconds_all / (double)r->step;
    print_time(left, sizeof left, per_step * (double)(r->n_steps - r->step));
    if (!isnan(r->validation_loss))
        (void)snprintf(validation, sizeof validation, ", validation %.4f", r->validation_loss);
    if (!isnan(r->validation_bpb))
        (void)snprintf(validation, sizeof validation, ", validation %.4f (%.4f bits per byte)",
                       r->validation_loss, r->validation_bpb);
    fprintf(stderr,
            "step %" PRId64 "/%" PRId64 "  loss %.4f%s  lr %.2e  gradient %.3g  %.0f tok/s  "
            "%.0f MB  %s left\n",
            r->step, r->n_steps, r->loss, validation, r->lr, r->gradient_norm,
            (double)r->n_tokens / r->seconds_all, (double)r->memory_bytes / 1e6, left);
}

static int32_t run_tokens_of(const train_work *w) {
    const r2i_options *o = w->program->options;
    if (o->run_tokens > 0) return o->run_tokens;
    return w->is_sft ? o->batch_tokens : PRETRAIN_RUN_TOKENS;
}

/* A line per step on a terminal, which overwrites the last one; elsewhere about twenty in all, and
 * those with a validation. */
static bool on_step(void *user, const r2_train_report *r) {
    train_work *w = user;
    const int64_t every = r->n_steps / 20 > 0 ? r->n_steps / 20 : 1;
    const bool is_tty = w->program->terminal.is_err_tty;
    const int64_t n_before = w->last.n_tokens;
    w->last = *r;
    if (!open_metrics(w)) return false;
    if (r->step == 1 && r->n_cut > 0)
        r2i_program_note(w->program,
                         "%" PRId64 " chats are longer than %d tokens (--run-tokens) and are read "
                         "up to there",
                         r->n_cut, run_tokens_of(w));
    if (!isnan(r->validation_loss)) {
        w->validation_loss = r->validation_loss;
        w->validation_bpb = r->validation_bpb;
    }
    write_metrics(w, r, n_before);
    if (!w->program->options->is_quiet &&
        (is_tty || r->step % every == 0 || r->step == 1 || !isnan(r->validation_loss))) {
        if (is_tty && r->step > 1) fputs("\033[A\033[2K", stderr);
        print_line(r);
    }
    return r2i_signals_pending() == 0 && !w->is_write_failed;
}

static r2_status open_run(train_work *w, r2_error *err) {
    const r2i_options *o = w->program->options;
    w->is_new = mkdir(o->output, 0777) == 0;
    if (!w->is_new && (errno != EEXIST || !o->is_forced))
        return r2i_fail(err, errno == EEXIST ? R2_E_ARGUMENT : R2_E_IO, "%.150s: %s", o->output,
                        errno == EEXIST ? "exists already" : strerror(errno));
    (void)snprintf(w->model, sizeof w->model, "%.4000s/model", o->output);
    return R2_OK;
}

/* A run that was refused before its first step leaves nothing behind. */
static void withdraw_run(const train_work *w) {
    if (w->last.step > 0) return;
    r2i_data_withdraw(&w->data);
    if (w->is_new) (void)rmdir(w->program->options->output);
}

static r2_schedule schedule_of(const train_work *w) {
    const char *name = w->program->options->schedule;
    const bool is_auto = strcmp(name, "auto") == 0;
    if (strcmp(name, "cosine") == 0 || (is_auto && w->is_sft)) return R2_SCHEDULE_COSINE;
    return strcmp(name, "constant") == 0 ? R2_SCHEDULE_CONSTANT : R2_SCHEDULE_WSD;
}

static int32_t steps_of(const train_work *w) {
    const r2i_options *o = w->program->options;
    if (o->steps > 0) return o->steps;
    if (!w->is_sft) return PRETRAIN_STEPS;
    const int64_t per_step = (int64_t)o->batch_tokens * o->accumulate,
                  n = (SFT_EPOCHS * w->data.train.n_tokens + per_step - 1) / per_step;
    return n < 1 ? 1 : n > INT32_MAX ? INT32_MAX : (int32_t)n;
}

static int32_t warmup_of(const r2i_options *o, int32_t n_steps) {
    return o->warmup >= 0 ? o->warmup : (int32_t)((int64_t)n_steps * WARMUP_PERCENT / 100);
}

/* The flags that are left to themselves suit random weights (pretrain) or a trained model (sft). */
static double rate_of(const train_work *w) {
    const double lr = w->program->options->lr;
    if (lr > 0) return lr;
    return w->is_sft ? SFT_RATE : PRETRAIN_RATE;
}

static r2_status train_run(train_work *w, r2_error *err) {
    r2i_program *p = w->program;
    const r2i_options *o = p->options;
    const char *model;
    if (p->arguments.n_words < 2 || o->output == NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "train %s: expected %s and -o RUN",
                        p->arguments.words[0],
                        w->is_sft ? "chats (JSONL) or folders of `r2lm data prep`"
                                  : "folders of `r2lm data prep`");
    R2I_TRY(r2i_model_resolve(&model, p, o->model, err));
    R2I_TRY(open_run(w, err));
    w->data = (r2i_data_choice){ .folders = p->arguments.words + 1,
                                 .n_folders = p->arguments.n_words - 1 };
    if (w->is_sft)
        R2I_TRY(r2i_data_choose(&w->data, p, model, o->output, p->arguments.words + 1,
                                p->arguments.n_words - 1, err));
    const int32_t n_steps = steps_of(w);
    const r2_train_options options = {
        .model = model,
        .data = w->data.folders,
        .n_data = w->data.n_folders,
        .out = w->model,
        .n_steps = n_steps,
        .step_batches = o->accumulate,
        .run_tokens = run_tokens_of(w),
        .trainer = { .n_threads = o->threads,
                     .batch_tokens = o->batch_tokens,
                     .arithmetic =
                         strcmp(o->arithmetic, "f32") == 0 ? R2_ARITHMETIC_F32 : R2_ARITHMETIC_FAST,
                     .is_recomputing = o->recomputes,
                     .optimizer =
                         strcmp(o->optimizer, "muon") == 0 ? R2_OPTIMIZER_MUON : R2_OPTIMIZER_ADAMW,
                     .cpu = o->cpu },
        .step = { .lr = rate_of(w),
                  .weight_decay = o->weight_decay,
                  .clip = o->clip,
                  .balance_rate = o->balance_rate },
        .schedule = schedule_of(w),
        .warmup_steps = warmup_of(o, n_steps),
        .mtp_weight = o->mtp_weight,
        .balance_weight = o->balance,
        .validate_every = o->validate_every,
        .validate_batches = o->validate_batches,
        .seed = (uint64_t)o->seed,
        .is_forced = o->is_forced,
        .saves_f32 = strcmp(o->type, "f32") == 0,
        .report = on_step,
        .user = w
    };
    r2i_signals_catch();
    const r2_status status = r2_train(&options, err);
    w->was_stopped = r2i_signals_pending() != 0;
    r2i_signals_clear();
    if (status == R2_OK && w->is_write_failed)
        return r2i_fail(err, R2_E_IO, "%.150s/metrics.jsonl cannot be written; the model was saved",
                        o->output);
    return status;
}

static int print_result(const train_work *w) {
    const r2_train_report *r = &w->last;
    if (w->model[0] == '\0') {
        r2i_program_note(w->program, "%s", w->program->options->output);
        return R2I_EXIT_OK;
    }
    if (w->was_stopped)
        r2i_program_note(w->program, "stopped after step %" PRId64 " of %" PRId64 " and saved",
                         r->step, r->n_steps);
    if (!w->program->options->wants_json) {
        printf("%s\n", w->model);
        return R2I_EXIT_OK;
    }
    return r2i_program_print_json(
        w->program,
        json_pack(
            "{s:s, s:I, s:I, s:f, s:o, s:o, s:f}", "model", w->model, "steps", (json_int_t)r->step,
            "tokens", (json_int_t)r->n_tokens, "loss", r->loss, "validation_loss",
            isnan(w->validation_loss) ? json_null() : json_real(w->validation_loss),
            "validation_bpb", isnan(w->validation_bpb) ? json_null() : json_real(w->validation_bpb),
            "seconds", r->seconds_all));
}

int r2i_train_command(r2i_program *p) {
    train_work w = { .program = p, .validation_loss = (double)NAN, .validation_bpb = (double)NAN };
    r2_error err = { R2_OK, "" };
    const char *what = p->arguments.n_words > 0 ? p->arguments.words[0] : "nothing";
    r2_status status;
    w.is_sft = strcmp(what, "sft") == 0;
    if (strcmp(what, "init") == 0)
        status = init(&w, &err);
    else if (strcmp(what, "pretrain") == 0 || w.is_sft)
        status = train_run(&w, &err);
    else
        status = r2i_fail(&err, R2_E_ARGUMENT, "train: expected init, pretrain or sft, found %.60s",
                          what);
    int code = status != R2_OK ? r2i_program_fail(p, status, &err) : print_result(&w);
    if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    if (status == R2_E_RANGE) {
        code = R2I_EXIT_NUMBERS;
        r2i_program_hint(p,
                         "      a lower --lr or more --warmup may help; `r2lm plot %s` shows "
                         "how it went",
                         p->options->output);
    }
    if (w.metrics != NULL) (void)fclose(w.metrics);
    if (status != R2_OK) withdraw_run(&w);
    return code;
}
