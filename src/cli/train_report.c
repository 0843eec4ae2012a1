#include "cli/train_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli/amount_text.h"
#include "cli/run_config.h"
#include "cli/step_lines.h"
#include "cli/text_write.h"

enum { PATH_BYTES = 4096, MAX_CONFIG_BYTES = 1 << 20, LINE_BYTES = 320 };

void r2i_train_progress_init(r2i_train_progress *w, r2i_program *program,
                             const r2_train_options *options, const r2i_train_forecast *forecast) {
    *w = (r2i_train_progress){ .program = program,
                               .run_tokens = options->run_tokens,
                               .is_resuming = options->is_resuming,
                               .token_flops = forecast->plan.active_flops_per_token,
                               .peak_flops =
                                   forecast->peak_flops * r2_ranks_count(options->trainer.ranks),
                               .price = program->options->price,
                               .validation_loss = (double)NAN,
                               .validation_bpb = (double)NAN };
    r2i_buffer_init(&w->config, &program->heap, MAX_CONFIG_BYTES);
}

static bool write_config(const r2i_train_progress *w) {
    char path[PATH_BYTES + 32];
    (void)snprintf(path, sizeof path, "%.4000s/" R2I_RUN_CONFIG_NAME, w->program->options->output);
    return w->config.n_bytes == 0 ||
           r2i_text_write(path, w->config.bytes, w->config.n_bytes, 0644, NULL) == R2_OK;
}

/* An earlier run's files stay until this one has a step to tell of. */
static bool open_metrics(r2i_train_progress *w, const r2_train_report *r) {
    char path[PATH_BYTES + 32];
    if (w->metrics != NULL) return true;
    w->first_step = r->step;
    w->seconds_before = r->seconds_all - r->seconds;
    if (w->is_resuming) r2i_program_note(w->program, "goes on behind step %" PRId64, r->step - 1);
    (void)snprintf(path, sizeof path, "%.4000s/metrics.jsonl", w->program->options->output);
    if (write_config(w)) w->metrics = r2i_step_lines_open(path, w->is_resuming, r->step);
    w->is_write_failed = w->metrics == NULL;
    return !w->is_write_failed;
}

/* ---- what follows from the numbers ---- */

static double tokens_per_second(const r2_train_report *r) {
    return r->seconds > 0 ? (double)r->n_step_tokens / r->seconds : 0;
}

/* Operations of the parameters at work, of what the machine multiplies; 0: not known. */
static double peak_share(const r2i_train_progress *w, const r2_train_report *r) {
    return w->peak_flops > 0 ? tokens_per_second(r) * w->token_flops / w->peak_flops : 0;
}

double r2i_train_progress_left(const r2i_train_progress *w, const r2_train_report *r) {
    const double n_done = (double)(r->step - w->first_step + 1);
    return (r->seconds_all - w->seconds_before) / n_done * (double)(r->n_steps - r->step);
}

double r2i_train_progress_cost(const r2i_train_progress *w) {
    return w->price * w->last.seconds_all / 3600;
}

static void write_metrics(r2i_train_progress *w, const r2_train_report *r, const json_t *others) {
    const struct {
        const char *key;
        double value;
        bool is_known;
    } more[] = { { "teacher_loss", r->soft_loss, r->soft_loss > 0 },
                 { "mtp_loss", r->mtp_loss, r->mtp_loss > 0 },
                 { "expert_load", r->expert_load, r->expert_load > 0 },
                 { "validation_loss", r->validation_loss, isfinite(r->validation_loss) },
                 { "validation_bpb", r->validation_bpb, isfinite(r->validation_bpb) },
                 { "peak_share", peak_share(w, r), w->peak_flops > 0 },
                 { "cost", r2i_train_progress_cost(w), w->price > 0 } };
    json_t *line = json_pack(
        "{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "step", (json_int_t)r->step,
        "tokens", (json_int_t)r->n_tokens, "targets", (json_int_t)r->n_targets, "loss", r->loss,
        "lr", r->lr, "gradient_norm", r->gradient_norm, "tok_s", tokens_per_second(r), "seconds",
        r->seconds, "seconds_all", r->seconds_all, "seconds_left", r2i_train_progress_left(w, r),
        "memory_bytes", (json_int_t)r->memory_bytes);
    bool is_written = line != NULL;
    for (size_t i = 0; is_written && i < sizeof more / sizeof *more; i++)
        is_written = !more[i].is_known ||
                     json_object_set_new(line, more[i].key, json_real(more[i].value)) == 0;
    if (is_written && others != NULL)
        is_written = json_object_update(line, (json_t *)(uintptr_t)others) == 0;
    if (is_written)
        is_written = r2i_step_line_write(w->metrics, line) && fflush(w->metrics) == 0;
    else
        json_decref(line);
    if (!is_written) w->is_write_failed = true;
}

static void print_line(r2i_train_progress *w, const r2_train_report *r) {
    char line[LINE_BYTES], left[R2I_AMOUNT_BYTES], memory[R2I_AMOUNT_BYTES],
        money[R2I_AMOUNT_BYTES];
    char validation[64] = "", share[32] = "";
    if (!isnan(r->validation_loss))
        (void)snprintf(validation, sizeof validation, ", validation %.4f", r->validation_loss);
    if (!isnan(r->validation_bpb))
        (void)snprintf(validation, sizeof validation, ", validation %.4f (%.4f bits per byte)",
                       r->validation_loss, r->validation_bpb);
    if (w->peak_flops > 0)
        (void)snprintf(share, sizeof share, "  %.0f %% of peak", 100 * peak_share(w, r));
    const bool has_price = w->price > 0;
    (void)snprintf(line, sizeof line,
                   "step %" PRId64 "/%" PRId64 "  loss %.4f%s  lr %.2e  gradient %.3g  %.0f tok/s%s"
                   "  %s left  %s%s%s",
                   r->step, r->n_steps, r->loss, validation, r->lr, r->gradient_norm,
                   tokens_per_second(r), share,
                   r2i_amount_time(left, r2i_train_progress_left(w, r)),
                   r2i_amount_bytes(memory, r->memory_bytes), has_price ? "  " : "",
                   has_price ? r2i_amount_money(money, r2i_train_progress_cost(w),
                                                w->program->options->currency)
                             : "");
    r2i_terminal_line(&w->program->terminal, line);
}

bool r2i_train_progress_write(r2i_train_progress *w, const r2_train_report *r, json_t *more) {
    w->last = *r;
    const bool writes = !w->is_silent && open_metrics(w, r);
    if (writes) write_metrics(w, r, more);
    json_decref(more);
    if (writes && w->record != NULL) r2i_run_record_step(w->record, r, r2i_train_progress_cost(w));
    return r2i_signals_pending() == 0 && !w->is_write_failed;
}

/* A line per step on a terminal, which overwrites the last one; elsewhere about twenty in all, and
 * those with a validation. */
bool r2i_train_progress_step(void *user, const r2_train_report *r) {
    r2i_train_progress *w = user;
    const int64_t every = r->n_steps / 20 > 0 ? r->n_steps / 20 : 1;
    const bool is_tty = w->program->terminal.is_err_tty;
    const bool goes_on = r2i_train_progress_write(w, r, NULL);
    if (w->is_silent || w->is_write_failed) return goes_on;
    if (r->step == 1 && r->n_cut > 0)
        r2i_program_note(w->program,
                         "%" PRId64 " chats are longer than %d tokens (--run-tokens) and are read "
                         "up to there",
                         r->n_cut, w->run_tokens);
    if (!isnan(r->validation_loss)) {
        w->validation_loss = r->validation_loss;
        w->validation_bpb = r->validation_bpb;
    }
    if (is_tty || r->step % every == 0 || r->step == 1 || !isnan(r->validation_loss))
        print_line(w, r);
    return goes_on;
}

bool r2i_train_progress_saved(void *user, int64_t step, const char *folder, const r2_error *err) {
    r2i_train_progress *w = user;
    if (err->code == R2_OK) {
        w->saved_step = step;
        return true;
    }
    r2i_terminal_keep_line(&w->program->terminal);
    r2i_program_note(w->program,
                     "%s: no checkpoint of step %" PRId64
                     ": %s; those before are as they were, the run goes on",
                     folder, step, err->text);
    return true;
}

void r2i_train_progress_passed_over(void *user, const r2_error *why) {
    const r2i_train_progress *w = user;
    r2i_program_note(w->program,
                     "a checkpoint that is damaged is passed over for the one before: %s",
                     why->text);
}

void r2i_train_progress_close(r2i_train_progress *w) {
    if (w->metrics != NULL) (void)fclose(w->metrics);
    w->metrics = NULL;
    if (w->program == NULL) return; /* it never began */
    r2i_terminal_keep_line(&w->program->terminal);
    r2i_buffer_destroy(&w->config);
}
