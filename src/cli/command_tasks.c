/* command_tasks.c - `r2lm tasks`: questions without end, written down and judged. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/task_lines.h"

r2_status r2i_verifier_choose(r2_verifier **out, r2i_program *p, r2_error *err) {
    const r2_verifier_options options = { .command = p->options->verifier,
                                          .reply_seconds = p->options->verifier_s };
    *out = NULL;
    return options.command != NULL ? r2_verifier_open(out, &options, err) : R2_OK;
}

void r2i_verifier_note(const r2i_program *p, const r2_verifier *v) {
    if (v == NULL) return;
    const r2_verifier_counts c = r2_verifier_get_counts(v);
    if (c.n_timeouts + c.n_crashes + c.n_garbage + c.n_too_long == 0) return;
    r2i_program_note(p,
                     "%s: of %" PRId64 " requests %" PRId64 " without a reply in time, %" PRId64
                     " at which it ended, %" PRId64 " with a reply that is none; %" PRId64
                     " answers above 1 MiB; started %" PRId64 " times",
                     r2_verifier_name(v), c.n_requests, c.n_timeouts, c.n_crashes, c.n_garbage,
                     c.n_too_long, c.n_starts);
}

static const char *judge_name(r2_grade_kind kind) {
    static const char *const names[] = {
        [R2_GRADE_EXACT] = "text",   [R2_GRADE_NUMBER] = "number", [R2_GRADE_CHOICE] = "choice",
        [R2_GRADE_JSON] = "json",    [R2_GRADE_REGEX] = "regex",   [R2_GRADE_STDOUT] = "stdout",
        [R2_GRADE_PYTHON] = "python"
    };
    return names[kind];
}

static json_t *languages_json(void) {
    json_t *out = json_array();
    for (int32_t i = 0; r2_task_language(i) != NULL; i++)
        (void)json_array_append_new(out, json_string(r2_task_language(i)));
    return out;
}

static int print_list(r2i_program *p) {
    json_t *list = json_array();
    for (int32_t i = 0; i < r2_task_count(); i++) {
        const char *judge = judge_name(r2_task_kind(i));
        if (!p->options->wants_json)
            printf("%-11s %-7s %d levels  %s\n", r2_task_name(i), judge, (int)r2_task_levels(i),
                   r2_task_about(i));
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:i, s:s, s:s?, s:b}", "name", r2_task_name(i), "judge",
                            judge, "levels", (int)r2_task_levels(i), "about", r2_task_about(i),
                            "not_taught_in", r2_task_withheld_language(i), "values",
                            (int)r2_task_has_split(i, R2_SPLIT_OOD_VALUES)));
    }
    if (p->options->wants_json)
        return r2i_program_print_json(
            p, json_pack("{s:o, s:o}", "tasks", list, "languages", languages_json()));
    json_decref(list);
    printf("each in en, zh, es, fr and de; most are not taught in one of them (--json says which): "
           "that is --split ood-lang\n");
    return R2I_EXIT_OK;
}

int r2i_tasks_command(r2i_program *p) {
    const char *what = p->arguments.n_words > 0 ? p->arguments.words[0] : "list";
    r2_error err = { R2_OK, "" };
    r2_status status;
    if (strcmp(what, "list") == 0) return print_list(p);
    if (strcmp(what, "make") == 0)
        status = r2i_tasks_make(p, &err);
    else if (strcmp(what, "grade") == 0)
        status = r2i_tasks_grade(p, &err);
    else
        status =
            r2i_fail(&err, R2_E_ARGUMENT, "tasks: expected list, make or grade, found %.60s", what);
    return status == R2_OK ? R2I_EXIT_OK : r2i_program_fail(p, status, &err);
}
