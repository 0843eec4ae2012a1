/* grade.c - r2_grade_answer: the answer looked for, its kind's judge, and a word about what was wrong. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/utf8_valid.h"
#include "task/grade_job.h"

enum { ARENA_BYTES = 1 << 14, SHOWN = 120 };

typedef r2_status (*judge)(const r2i_grade_job *job);
static const judge judges[] = {
    [R2_GRADE_EXACT] = r2i_grade_exact,   [R2_GRADE_NUMBER] = r2i_grade_number,
    [R2_GRADE_CHOICE] = r2i_grade_choice, [R2_GRADE_JSON] = r2i_grade_json,
    [R2_GRADE_REGEX] = r2i_grade_regex,   [R2_GRADE_STDOUT] = r2i_grade_stdout,
    [R2_GRADE_PYTHON] = r2i_grade_python
};

/* Whole UTF-8 characters at the cut, and one line. */
static void say_found(r2i_grade_job *j) {
    const r2i_span a = j->found.answer;
    size_t n = a.n < SHOWN ? a.n : SHOWN;
    if (j->grade->why[0] != '\0') return;
    while (n > 0 && n < a.n && ((unsigned char)a.text[n] & 0xc0) == 0x80)
        n--;
    if (!j->grade->is_finished)
        (void)snprintf(j->grade->why, sizeof j->grade->why, "the thoughts have no end");
    else
        (void)snprintf(j->grade->why, sizeof j->grade->why, "found \"%.*s\"", (int)n, a.text);
}

r2_status r2_grade_answer(r2_grade *grade, const char *text, size_t n_bytes,
                          const r2_grade_options *options, r2_error *err) {
    r2_error own;
    r2i_heap heap;
    r2i_arena arena;
    r2i_grade_job job = {
        .grade = grade, .options = options, .arena = &arena, .err = err != NULL ? err : &own
    };
    *job.err = (r2_error){ R2_OK, "" };
    *grade = (r2_grade){ 0 };
    if ((size_t)options->kind >= sizeof judges / sizeof *judges || options->expected == NULL)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "grade: expected a kind of answer, and what to compare with");
    r2i_heap_init_host(&heap, &options->host);
    r2i_arena_init(&arena, &heap, ARENA_BYTES, 0);
    const r2i_span all = { text, n_bytes };
    if (options->is_plain)
        job.found =
            (r2i_answer_text){ .visible = all, .answer = all, .code = all, .is_finished = true };
    else
        r2i_answer_find(&job.found, text, n_bytes);
    grade->has_form = job.found.has_form;
    grade->is_finished = job.found.is_finished;
    const r2_status status = judges[options->kind](&job);
    r2i_arena_destroy(&arena);
    if (status != R2_OK) {
        *grade = (r2_grade){ 0 };
        return status;
    }
    grade->score = grade->is_right ? 1 : 0;
    if (!grade->is_right) say_found(&job);
    r2i_utf8_make_line(grade->why); /* programs print what they like */
    return R2_OK;
}
