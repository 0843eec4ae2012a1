#define _POSIX_C_SOURCE 200809L /* getline */
#include "cli/run_samples.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/failure.h"

enum { PATH_BYTES = 4200 };

typedef struct {
    r2i_program *program;
    const char *path;
    int64_t first_step, last_step;
    json_t *list; /* NULL: text is printed */
    int64_t n_samples, n_matching, n_shown, n_garbage;
    int64_t step, question; /* of what stands above; -1: nothing */
} samples_view;

/* A line of the file; texts are the object's. */
typedef struct {
    int64_t step, question;
    int level, n_tokens, is_right, has_form, has_end;
    double reward, advantage;
    const char *task, *language, *why;
    const json_t *prompt, *text;
} sample;

/* ---- what is looked for ---- */

/* "40", "40-60", "40-", "-60". */
static r2_status read_steps(samples_view *v, const char *text, r2_error *err) {
    v->first_step = 0;
    v->last_step = INT64_MAX;
    if (text == NULL || text[0] == '\0') return R2_OK;
    const char *at = text;
    char *end = NULL;
    errno = 0;
    if (*at >= '0' && *at <= '9') {
        v->first_step = strtoll(at, &end, 10);
        at = end;
        if (*at == '\0') v->last_step = v->first_step;
    }
    if (*at == '-' && at[1] >= '0' && at[1] <= '9') {
        v->last_step = strtoll(at + 1, &end, 10);
        at = end;
    } else if (*at == '-' && at > text) {
        at++;
    }
    if (*at == '\0' && errno == 0 && v->first_step <= v->last_step) return R2_OK;
    return r2i_fail(err, R2_E_ARGUMENT, "--step: expected a step or A-B, found \"%.60s\"", text);
}

static bool is_wanted(const samples_view *v, const sample *s) {
    const r2i_options *o = v->program->options;
    return s->step >= v->first_step && s->step <= v->last_step &&
           (o->task == NULL || o->task[0] == '\0' || strcmp(o->task, s->task) == 0) &&
           (!o->shows_right || s->is_right) && (!o->shows_wrong || !s->is_right);
}

static bool read_sample(sample *s, json_t *line) {
    json_int_t step, question;
    json_t *prompt, *text;
    if (json_unpack(line, "{s:I, s:s, s:i, s:s, s:I, s:o, s:o, s:i, s:b, s:b, s:b, s:F, s:F, s:s}",
                    "step", &step, "task", &s->task, "level", &s->level, "language", &s->language,
                    "question", &question, "prompt", &prompt, "text", &text, "tokens", &s->n_tokens,
                    "right", &s->is_right, "form", &s->has_form, "end", &s->has_end, "reward",
                    &s->reward, "advantage", &s->advantage, "why", &s->why) != 0)
        return false;
    s->step = step;
    s->question = question;
    s->prompt = prompt;
    s->text = text;
    return json_is_string(prompt) && json_is_string(text);
}

/* ---- printing ---- */

/* Indented, so that what a model wrote is told from what is said of it; a 0 byte shows as a blank. */
static r2_status print_text(const samples_view *v, const json_t *text, r2_error *err) {
    const char *at = json_string_value(text), *end = at + json_string_length(text);
    r2i_buffer out;
    r2i_buffer_init(&out, &v->program->heap, SIZE_MAX / 2);
    r2_status status = R2_OK;
    while (at < end && end[-1] == '\n')
        end--;
    while (status == R2_OK && at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *last = newline != NULL ? newline : end;
        status = r2i_buffer_append_text(&out, "    ", err);
        if (status == R2_OK) status = r2i_buffer_append(&out, at, (size_t)(last - at), err);
        if (status == R2_OK) status = r2i_buffer_append_text(&out, "\n", err);
        at = last + 1;
    }
    for (size_t i = 0; i < out.n_bytes; i++)
        if (out.bytes[i] == '\0') out.bytes[i] = ' ';
    if (status == R2_OK && out.n_bytes > 0)
        r2i_terminal_write(&v->program->terminal, false, out.bytes);
    r2i_buffer_destroy(&out);
    return status;
}

static r2_status print_sample(samples_view *v, const sample *s, r2_error *err) {
    const r2i_terminal *terminal = &v->program->terminal;
    if (s->step != v->step || s->question != v->question) {
        printf("%sstep %" PRId64 ", question %" PRId64 ": ", v->n_shown > 0 ? "\n" : "", s->step,
               s->question);
        r2i_terminal_write(terminal, false, s->task);
        printf(", level %d, ", s->level);
        r2i_terminal_write(terminal, false, s->language);
        printf("\n");
        R2I_TRY(print_text(v, s->prompt, err));
    }
    v->step = s->step;
    v->question = s->question;
    printf("  %s, reward %.3g, advantage %+.3g, %d tokens%s%s", s->is_right ? "right" : "wrong",
           s->reward, s->advantage, s->n_tokens, s->has_end ? "" : ", cut off",
           s->has_form ? "" : ", not in the form asked for");
    printf(s->why[0] != '\0' ? ": " : "");
    r2i_terminal_write(terminal, false, s->why);
    printf("\n");
    return print_text(v, s->text, err);
}

/* ---- reading ---- */

static r2_status use_line(samples_view *v, json_t *line, r2_error *err) {
    const int32_t limit = v->program->options->limit;
    sample s;
    if (!read_sample(&s, line)) {
        v->n_garbage++;
        return R2_OK;
    }
    v->n_samples++;
    if (!is_wanted(v, &s)) return R2_OK;
    v->n_matching++;
    if (limit > 0 && v->n_shown >= limit) return R2_OK;
    if (v->list == NULL)
        R2I_TRY(print_sample(v, &s, err));
    else if (json_array_append(v->list, line) != 0)
        return r2i_fail(err, R2_E_NOMEM, "no memory for samples");
    v->n_shown++;
    return R2_OK;
}

/* A line without its end is one that the run is writing. */
static r2_status use_file(samples_view *v, FILE *file, r2_error *err) {
    char *bytes = NULL;
    size_t cap = 0;
    r2_status status = R2_OK;
    for (ssize_t n = getline(&bytes, &cap, file); status == R2_OK && n > 0 && bytes[n - 1] == '\n';
         n = getline(&bytes, &cap, file)) {
        json_t *line = json_loadb(bytes, (size_t)n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        status = use_line(v, line, err);
        json_decref(line);
    }
    free(bytes);
    if (status == R2_OK && ferror(file))
        status = r2i_fail(err, R2_E_IO, "%.150s: %s", v->path, strerror(errno));
    if (status == R2_OK && v->n_samples == 0 && v->n_garbage > 0)
        status = r2i_fail(err, R2_E_FORMAT, "%.150s: expected answers of `train grpo`, found none",
                          v->path);
    return status;
}

static r2_status tell_rest(const samples_view *v, r2_error *err) {
    if (v->list != NULL) {
        json_t *all = json_pack("{s:O, s:I, s:I, s:I}", "samples", v->list, "matching",
                                (json_int_t)v->n_matching, "all", (json_int_t)v->n_samples,
                                "not_samples", (json_int_t)v->n_garbage);
        if (r2i_program_print_json(v->program, all) == R2I_EXIT_OK) return R2_OK;
        return r2i_fail(err, R2_E_IO, "samples cannot be printed");
    }
    if (v->n_shown < v->n_matching || v->n_matching == 0)
        r2i_program_note(v->program,
                         "%" PRId64 " of %" PRId64 " answers shown, %" PRId64 " in all%s",
                         v->n_shown, v->n_matching, v->n_samples,
                         v->n_matching > 0 ? "; --limit 0 shows the rest" : "");
    if (v->n_garbage > 0)
        r2i_program_note(v->program, "%" PRId64 " lines are no answers and were left out",
                         v->n_garbage);
    return R2_OK;
}

r2_status r2i_run_samples_print(r2i_program *p, const char *folder, r2_error *err) {
    const r2i_options *o = p->options;
    char path[PATH_BYTES];
    samples_view v = { .program = p, .path = path, .step = -1, .question = -1 };
    R2I_TRY(read_steps(&v, o->shown_steps, err));
    if (o->shows_right && o->shows_wrong)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "runs samples: expected --right or --wrong, found both");
    (void)snprintf(path, sizeof path, "%.4000s/samples.jsonl", folder);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return r2i_fail(err, errno == ENOENT || errno == ENOTDIR ? R2_E_NOT_FOUND : R2_E_IO,
                        "%.150s: %s; `train grpo` keeps answers", path, strerror(errno));
    v.list = o->wants_json ? json_array() : NULL;
    r2_status status = use_file(&v, file, err);
    (void)fclose(file);
    if (status == R2_OK) status = tell_rest(&v, err);
    json_decref(v.list);
    return status;
}
