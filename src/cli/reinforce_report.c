#include "cli/reinforce_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8_valid.h"
#include "cli/amount_text.h"
#include "cli/step_lines.h"

enum { LINE_BYTES = 640, PATH_BYTES = 4096, NAME_BYTES = 64 };

static double per_second(double n, double seconds) {
    return seconds > 0 ? n / seconds : 0;
}

/* ---- numbers ---- */

static json_t *grpo_numbers(const r2_grpo_report *r) {
    const struct {
        const char *key;
        double value;
    } reals[] = { { "reward", r->reward },
                  { "pass_rate", r->pass_rate },
                  { "length", r->length },
                  { "cut_share", r->cut_share },
                  { "mixed_share", r->mixed_share },
                  { "clipped_share", r->clipped_share },
                  { "entropy", r->entropy },
                  { "kl", r->kl },
                  { "rollout_tok_s", per_second(r->rollout_tokens, r->rollout_seconds) },
                  { "update_tok_s", per_second(r->update_tokens, r->update_seconds) },
                  { "rollout_seconds", r->rollout_seconds },
                  { "grade_seconds", r->grade_seconds },
                  { "update_seconds", r->update_seconds } };
    json_t *out = json_pack("{s:i, s:i, s:i}", "questions", r->n_questions, "answers", r->n_answers,
                            "failed_grades", r->n_failed);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        if (isfinite(reals[i].value))
            (void)json_object_set_new(out, reals[i].key, json_real(reals[i].value));
    }
    for (int32_t i = 0; i < r->n_tasks; i++) {
        char name[NAME_BYTES];
        const r2_grpo_task_result *t = &r->tasks[i];
        if (t->n_answers == 0) continue;
        (void)snprintf(name, sizeof name, "pass_%.40s", t->task);
        r2i_utf8_make_line(name); /* a verifier's may be cut there */
        (void)json_object_set_new(out, name, json_real((double)t->n_right / t->n_answers));
        (void)snprintf(name, sizeof name, "level_%.40s", t->task);
        r2i_utf8_make_line(name);
        (void)json_object_set_new(out, name, json_real(t->level));
    }
    return out;
}

/* ---- answers ---- */

/* A text of any bytes: what is no UTF-8 becomes U+FFFD in the library; a 0 byte stays. */
static json_t *sample_of(const r2_grpo_report *r, const r2_grpo_sample *s) {
    json_t *text = json_stringn(s->text, s->n_bytes);
    if (text == NULL) text = json_string("(no UTF-8)");
    return json_pack("{s:I, s:s, s:i, s:s, s:I, s:s, s:o, s:i, s:b, s:b, s:b, s:f, s:f, s:s}",
                     "step", (json_int_t)r->run.step, "task", s->task, "level", s->level,
                     "language", s->language, "question", (json_int_t)s->question, "prompt",
                     s->prompt, "text", text, "tokens", s->n_tokens, "right", (int)s->is_right,
                     "form", (int)s->has_form, "end", (int)s->has_end, "reward", s->reward,
                     "advantage", s->advantage, "why", s->why);
}

static bool write_samples(r2i_reinforce_progress *w, const r2_grpo_report *r) {
    char path[PATH_BYTES + 32];
    const r2i_train_progress *p = w->progress;
    if (p->is_silent) return true;
    if (w->samples == NULL) {
        (void)snprintf(path, sizeof path, "%.4000s/samples.jsonl", p->program->options->output);
        w->samples = r2i_step_lines_open(path, p->is_resuming, r->run.step);
    }
    bool is_written = w->samples != NULL;
    for (int32_t i = 0; is_written && i < r->n_samples; i++)
        is_written = r2i_step_line_write(w->samples, sample_of(r, &r->samples[i]));
    return is_written && fflush(w->samples) == 0;
}

/* ---- lines ---- */

static void append_tasks(char line[LINE_BYTES], const r2_grpo_report *r) {
    const char *before = " (";
    for (int32_t i = 0; i < r->n_tasks; i++) {
        const r2_grpo_task_result *t = &r->tasks[i];
        const size_t used = strlen(line);
        if (t->n_answers == 0) continue;
        (void)snprintf(line + used, LINE_BYTES - used, "%s%.24s %g: %.0f %%", before, t->task,
                       t->level, 100.0 * t->n_right / t->n_answers);
        before = ", ";
    }
    const size_t used = strlen(line);
    if (before[0] == ',') (void)snprintf(line + used, LINE_BYTES - used, ")");
}

static void append_end(char line[LINE_BYTES], const r2i_train_progress *w,
                       const r2_train_report *r) {
    char left[R2I_AMOUNT_BYTES], memory[R2I_AMOUNT_BYTES], money[R2I_AMOUNT_BYTES] = "";
    const size_t used = strlen(line);
    if (w->price > 0)
        (void)r2i_amount_money(money, r2i_train_progress_cost(w), w->program->options->currency);
    (void)snprintf(line + used, LINE_BYTES - used, "  %s left  %s%s%s",
                   r2i_amount_time(left, r2i_train_progress_left(w, r)),
                   r2i_amount_bytes(memory, r->memory_bytes), w->price > 0 ? "  " : "", money);
}

static void print_grpo(const r2i_train_progress *w, const r2_grpo_report *r) {
    char line[LINE_BYTES];
    (void)snprintf(line, sizeof line, "step %" PRId64 "/%" PRId64 "  reward %.3f", r->run.step,
                   r->run.n_steps, r->reward);
    append_tasks(line, r);
    size_t used = strlen(line);
    (void)snprintf(line + used, sizeof line - used,
                   "  length %.0f  mixed %d/%d  cut %.0f %%  clipped %.2g %%  entropy %.3f",
                   r->length, r->n_kept, r->n_questions, 100 * r->cut_share, 100 * r->clipped_share,
                   r->entropy);
    used = strlen(line);
    if (isfinite(r->kl)) (void)snprintf(line + used, sizeof line - used, "  KL %.4f", r->kl);
    used = strlen(line);
    if (r->n_failed > 0)
        (void)snprintf(line + used, sizeof line - used, "  %d not judged", r->n_failed);
    used = strlen(line);
    (void)snprintf(line + used, sizeof line - used, "  %.0f and %.0f tok/s",
                   per_second(r->rollout_tokens, r->rollout_seconds),
                   per_second(r->update_tokens, r->update_seconds));
    append_end(line, w, &r->run);
    r2i_terminal_line(&w->program->terminal, line);
}

bool r2i_reinforce_grpo_step(void *user, const r2_grpo_report *r) {
    r2i_reinforce_progress *w = user;
    const bool goes_on = r2i_train_progress_write(w->progress, &r->run, grpo_numbers(r));
    w->has_learnt |= r->update_tokens > 0;
    if (!write_samples(w, r)) w->progress->is_write_failed = true;
    if (!w->progress->is_silent) print_grpo(w->progress, r);
    return goes_on && !w->progress->is_write_failed;
}

bool r2i_reinforce_dpo_step(void *user, const r2_dpo_report *r) {
    r2i_reinforce_progress *w = user;
    char line[LINE_BYTES];
    const bool goes_on = r2i_train_progress_write(
        w->progress, &r->run,
        json_pack("{s:f, s:f}", "accuracy", r->accuracy, "margin", r->margin));
    if (w->progress->is_silent) return goes_on;
    if (r->run.step == 1 && r->run.n_cut > 0)
        r2i_program_note(w->progress->program,
                         "%" PRId64
                         " pairs are left out: an answer, with its question, is longer than "
                         "--run-tokens or half of --batch-tokens",
                         r->run.n_cut);
    (void)snprintf(line, sizeof line,
                   "step %" PRId64 "/%" PRId64
                   "  loss %.4f  accuracy %.0f %%  margin %.3f  lr %.2e  %.0f tok/s",
                   r->run.step, r->run.n_steps, r->run.loss, 100 * r->accuracy, r->margin,
                   r->run.lr, per_second((double)r->run.n_step_tokens, r->run.seconds));
    append_end(line, w->progress, &r->run);
    r2i_terminal_line(&w->progress->program->terminal, line);
    return goes_on;
}

bool r2i_reinforce_saved(void *user, int64_t step, const char *folder, const r2_error *err) {
    const r2i_reinforce_progress *w = user;
    return r2i_train_progress_saved(w->progress, step, folder, err);
}

void r2i_reinforce_passed_over(void *user, const r2_error *why) {
    const r2i_reinforce_progress *w = user;
    r2i_train_progress_passed_over(w->progress, why);
}

void r2i_reinforce_close(r2i_reinforce_progress *w) {
    if (w->samples != NULL) (void)fclose(w->samples);
    w->samples = NULL;
}
