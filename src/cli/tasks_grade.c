/* tasks_grade.c - `r2lm tasks grade`: answers in lines of JSON judged, one sum per task. */
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/failure.h"
#include "base/utf8_valid.h"
#include "cli/task_lines.h"
#include "cli/text_input.h"

enum { MAX_TASKS = 64, NAME_BYTES = 64 };

typedef struct {
    char task[NAME_BYTES];
    int32_t n, n_right, n_found, n_form, n_finished;
    double score;
} sum;

typedef struct {
    r2i_program *program;
    r2_verifier *verifier;
    const char *name; /* of the file */
    sum sums[MAX_TASKS];
    int32_t n_sums, n_no_text, n_judged; /* no_text: lines that are no UTF-8 */
} grading;

static sum *sum_of(grading *g, const char *task) {
    for (int32_t i = 0; i < g->n_sums; i++) {
        if (strncmp(g->sums[i].task, task, NAME_BYTES - 1) == 0) return &g->sums[i];
    }
    if (g->n_sums == MAX_TASKS) return NULL;
    sum *s = &g->sums[g->n_sums++];
    (void)snprintf(s->task, NAME_BYTES, "%s", task);
    return s;
}

/* Content of the last message of a role; NULL: none. */
static const json_t *said_by(const json_t *line, const char *role) {
    const json_t *messages = json_object_get(line, "messages"), *found = NULL;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        const char *by = json_string_value(json_object_get(m, "role"));
        if (by != NULL && strcmp(by, role) == 0) found = json_object_get(m, "content");
    }
    return found;
}

static r2_status judge_own(const grading *g, r2_grade *grade, const char *task,
                           const char *expected, const json_t *text, int32_t number,
                           r2_error *err) {
    char place[128];
    const r2_status status = r2_task_grade(grade, task, expected, json_string_value(text),
                                           json_string_length(text), NULL, err);
    (void)snprintf(place, sizeof place, "%.100s:%d", g->name, (int)number);
    return status == R2_OK ? R2_OK : r2i_fail_at(err, status, place);
}

static void note_wrong(const grading *g, const r2_grade *grade, const char *expected,
                       int32_t number) {
    char wanted[80];
    (void)snprintf(wanted, sizeof wanted, "%s", expected);
    r2i_utf8_make_line(wanted);
    r2i_program_note(g->program, "line %d: %s; expected %s", (int)number, grade->why, wanted);
}

static r2_status judge(grading *g, const json_t *line, int32_t number, r2_error *err) {
    const char *task = json_string_value(json_object_get(line, "task")),
               *expected = json_string_value(json_object_get(line, "expected"));
    const json_t *text = json_object_get(line, "text"), *prompt = json_object_get(line, "prompt");
    r2_grade grade;
    if (text == NULL) text = said_by(line, "assistant");
    if (prompt == NULL) prompt = said_by(line, "user");
    if (task == NULL && g->verifier != NULL) task = r2_verifier_name(g->verifier);
    if (task == NULL || expected == NULL || !json_is_string(text))
        return r2i_fail(err, R2_E_FORMAT, "%.100s:%d: expected a text as %s, found none", g->name,
                        (int)number,
                        task == NULL       ? "\"task\""
                        : expected == NULL ? "\"expected\""
                                           : "\"text\", or an answer in \"messages\"");
    const char *bytes = json_string_value(text),
               *asked = prompt != NULL ? json_string_value(prompt) : NULL;
    const size_t n = json_string_length(text);
    if (g->verifier != NULL)
        R2I_TRY(r2_verifier_grade(g->verifier, &grade, asked != NULL ? asked : "", expected, bytes,
                                  n, err));
    else
        R2I_TRY(judge_own(g, &grade, task, expected, text, number, err));
    sum *s = sum_of(g, task);
    if (s == NULL) return r2i_fail(err, R2_E_LIMIT, "more than %d tasks in a file", MAX_TASKS);
    s->n++;
    g->n_judged += !grade.is_unjudged;
    s->n_right += grade.is_right;
    s->n_found += grade.is_found;
    s->n_form += grade.has_form;
    s->n_finished += grade.is_finished;
    s->score += grade.score;
    if (!grade.is_right && g->program->options->is_verbose) note_wrong(g, &grade, expected, number);
    return R2_OK;
}

/* All of them end with a line feed. */
static r2_status judge_lines(grading *g, const r2i_buffer *lines, r2_error *err) {
    char *at = lines->bytes;
    const char *end = at + lines->n_bytes;
    for (int32_t number = 1; at < end; number++) {
        const size_t n = (size_t)((char *)memchr(at, '\n', (size_t)(end - at)) - at);
        json_error_t why;
        if (!r2i_utf8_is_valid(
                at, n)) { /* an answer like any other: what is readable of it is judged */
            at[n] = '\0';
            r2i_utf8_make_line(at);
            g->n_no_text++;
        }
        json_t *line = n > 0 ? json_loadb(at, n, JSON_ALLOW_NUL, &why) : NULL;
        if (n > 0 && line == NULL)
            return r2i_fail(err, R2_E_FORMAT, "%.100s:%d: no JSON: %.100s", g->name, (int)number,
                            why.text);
        const r2_status status = n > 0 ? judge(g, line, number, err) : R2_OK;
        json_decref(line);
        if (status != R2_OK) return status;
        at += n + 1;
    }
    return R2_OK;
}

static r2_status print_sums(grading *g, r2_error *err) {
    json_t *list = json_array();
    for (int32_t i = 0; i < g->n_sums; i++) {
        const sum *s = &g->sums[i];
        if (!g->program->options->wants_json)
            printf("%-12s %6d answers  %6.2f %% right  %6.2f %% right anywhere  %6.2f %% in form  "
                   "%6.2f %% finished  score %.4f\n",
                   s->task, (int)s->n, 100.0 * s->n_right / s->n, 100.0 * s->n_found / s->n,
                   100.0 * s->n_form / s->n, 100.0 * s->n_finished / s->n, s->score / s->n);
        (void)json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:f}", "task",
                                                    s->task, "answers", (int)s->n, "right",
                                                    (int)s->n_right, "found", (int)s->n_found,
                                                    "in_form", (int)s->n_form, "finished",
                                                    (int)s->n_finished, "score", s->score / s->n));
    }
    if (!g->program->options->wants_json) {
        json_decref(list);
        return R2_OK;
    }
    const r2_verifier_counts c =
        g->verifier != NULL ? r2_verifier_get_counts(g->verifier) : (r2_verifier_counts){ 0 };
    json_t *out = json_pack("{s:o, s:I, s:I, s:I, s:I}", "tasks", list, "timeouts",
                            (json_int_t)c.n_timeouts, "crashes", (json_int_t)c.n_crashes, "garbage",
                            (json_int_t)c.n_garbage, "too_long", (json_int_t)c.n_too_long);
    if (r2i_program_print_json(g->program, out) == R2I_EXIT_OK) return R2_OK;
    return r2i_fail(err, R2_E_IO, "tasks grade: standard output cannot be written");
}

r2_status r2i_tasks_grade(r2i_program *p, r2_error *err) {
    grading g = { .program = p, .name = p->arguments.n_words > 1 ? p->arguments.words[1] : "" };
    r2i_buffer lines;
    if (p->arguments.n_words != 2)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "tasks grade: expected one file, or - for standard input");
    if (p->options->output != NULL)
        return r2i_fail(err, R2_E_ARGUMENT, "tasks grade: expected no -o: it writes no file");
    r2i_prompt_buffer_init(&lines, p);
    r2_status status = r2i_file_append(&lines, p->arguments.words[1], err);
    if (status == R2_OK) status = r2i_buffer_append_text(&lines, "\n", err);
    if (status == R2_OK) status = r2i_verifier_choose(&g.verifier, p, err);
    if (status == R2_OK) status = judge_lines(&g, &lines, err);
    if (status == R2_OK && g.n_sums == 0)
        status = r2i_fail(err, R2_E_FORMAT, "%.100s: no answers in it", p->arguments.words[1]);
    if (status == R2_OK) status = print_sums(&g, err);
    if (status == R2_OK && g.n_judged == 0)
        status = r2i_fail(err, R2_E_STATE, "%.100s: the verifier could judge none of the answers",
                          p->arguments.words[1]);
    if (g.n_no_text > 0)
        r2i_program_note(p, "%d %s no UTF-8: judged with ? for what is none", (int)g.n_no_text,
                         g.n_no_text == 1 ? "line is" : "lines are");
    r2i_verifier_note(p, g.verifier);
    r2_verifier_close(g.verifier);
    r2i_buffer_destroy(&lines);
    return status;
}
