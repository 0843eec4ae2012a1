#define _POSIX_C_SOURCE 200809L /* getline, fileno, ftruncate */
#include "cli/train_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

void r2i_train_progress_init(r2i_train_progress *w, r2i_program *program,
                             const r2_train_options *options) {
    *w = (r2i_train_progress){ .program = program,
                               .run_tokens = options->run_tokens,
                               .is_resuming = options->is_resuming,
                               .validation_loss = (double)NAN,
                               .validation_bpb = (double)NAN };
}

/* The file's bytes before the line of the first step from `step` on, or before one that is cut off. */
static long lines_before(FILE *file, int64_t step) {
    char *line = NULL;
    size_t cap = 0;
    long end = 0;
    for (ssize_t n = getline(&line, &cap, file); n > 0 && line[n - 1] == '\n';
         n = getline(&line, &cap, file)) {
        json_t *o = json_loadb(line, (size_t)n, 0, NULL);
        const json_t *number = json_object_get(o, "step");
        const bool is_before = json_is_integer(number) && json_integer_value(number) < step;
        json_decref(o);
        if (!is_before) break;
        end += (long)n;
    }
    free(line);
    return end;
}

/* What the interrupted run told of steps that its checkpoint knows nothing of is told again. */
static FILE *continue_metrics(const char *path, int64_t step) {
    FILE *file = fopen(path, "r+");
    if (file == NULL) return fopen(path, "w");
    const long end = lines_before(file, step);
    if (ftruncate(fileno(file), end) == 0 && fseek(file, 0, SEEK_END) == 0) return file;
    (void)fclose(file);
    return NULL;
}

/* An earlier run's numbers stay until this one has a step to tell of. */
static bool open_metrics(r2i_train_progress *w, int64_t step) {
    char path[PATH_BYTES + 32];
    if (w->metrics != NULL) return true;
    (void)snprintf(path, sizeof path, "%.4000s/metrics.jsonl", w->program->options->output);
    w->metrics = w->is_resuming ? continue_metrics(path, step) : fopen(path, "w");
    w->is_write_failed = w->metrics == NULL;
    return !w->is_write_failed;
}

static void write_metrics(r2i_train_progress *w, const r2_train_report *r) {
    const double tok_s = r->seconds > 0 ? (double)r->n_step_tokens / r->seconds : 0;
    json_t *line =
        json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "step", (json_int_t)r->step,
                  "tokens", (json_int_t)r->n_tokens, "targets", (json_int_t)r->n_targets, "loss",
                  r->loss, "lr", r->lr, "gradient_norm", r->gradient_norm, "tok_s", tok_s,
                  "seconds", r->seconds, "seconds_all", r->seconds_all);
    bool is_written = line != NULL;
    if (is_written && r->soft_loss > 0)
        is_written = json_object_set_new(line, "teacher_loss", json_real(r->soft_loss)) == 0;
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

/* A line per step on a terminal, which overwrites the last one; elsewhere about twenty in all, and
 * those with a validation. */
bool r2i_train_progress_step(void *user, const r2_train_report *r) {
    r2i_train_progress *w = user;
    const int64_t every = r->n_steps / 20 > 0 ? r->n_steps / 20 : 1;
    const bool is_tty = w->program->terminal.is_err_tty;
    w->last = *r;
    if (w->is_silent) return r2i_signals_pending() == 0;
    if (!open_metrics(w, r->step)) return false;
    if (r->step == 1 && r->n_cut > 0)
        r2i_program_note(w->program,
                         "%" PRId64 " chats are longer than %d tokens (--run-tokens) and are read "
                         "up to there",
                         r->n_cut, w->run_tokens);
    if (!isnan(r->validation_loss)) {
        w->validation_loss = r->validation_loss;
        w->validation_bpb = r->validation_bpb;
    }
    write_metrics(w, r);
    if (!w->program->options->is_quiet &&
        (is_tty || r->step % every == 0 || r->step == 1 || !isnan(r->validation_loss))) {
        if (is_tty && r->step > 1) fputs("\033[A\033[2K", stderr);
        print_line(r);
    }
    return r2i_signals_pending() == 0 && !w->is_write_failed;
}

bool r2i_train_progress_saved(void *user, int64_t step, const char *folder, const r2_error *err) {
    r2i_train_progress *w = user;
    if (err->code == R2_OK)
        w->saved_step = step;
    else
        r2i_program_note(w->program,
                         "%s: no checkpoint of step %" PRId64
                         ": %s; those before are as they were, the run goes on",
                         folder, step, err->text);
    return true;
}

void r2i_train_progress_close(r2i_train_progress *w) {
    if (w->metrics != NULL) (void)fclose(w->metrics);
    w->metrics = NULL;
}
