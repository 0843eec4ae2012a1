/* grade_job.h - one answer being judged; a function per kind. */
#ifndef R2I_GRADE_JOB_H
#define R2I_GRADE_JOB_H
#include "base/arena.h"
#include "r2lm/task.h"
#include "task/answer_text.h"

typedef struct {
    r2_grade *grade;
    const r2_grade_options *options;
    r2i_answer_text found;
    r2i_arena *arena; /* for this answer */
    r2_error *err;
} r2i_grade_job;

/* grade_values.c: each fills is_right and is_found.  R2_E_ARGUMENT: `expected` is none of its kind. */
R2_CHECKED r2_status r2i_grade_exact(const r2i_grade_job *job);
R2_CHECKED r2_status r2i_grade_number(const r2i_grade_job *job);
R2_CHECKED r2_status r2i_grade_choice(const r2i_grade_job *job);
R2_CHECKED r2_status r2i_grade_json(const r2i_grade_job *job);
R2_CHECKED r2_status r2i_grade_regex(const r2i_grade_job *job);
/* grade_programs.c: in the sandbox; has_form becomes: the code stood in a block. */
R2_CHECKED r2_status r2i_grade_stdout(const r2i_grade_job *job);
R2_CHECKED r2_status r2i_grade_python(const r2i_grade_job *job);
/* Judged by what a program does. */
static inline bool r2i_grade_runs_programs(r2_grade_kind kind) {
    return kind == R2_GRADE_STDOUT || kind == R2_GRADE_PYTHON;
}
/* A program that does nothing: what would keep it in is there, and Python too.  R2_E_SANDBOX otherwise. */
R2_CHECKED r2_status r2i_grade_try_programs(const r2_host *host, r2_error *err);
/* The same texts but for spaces at the ends, composed forms and kinds of one letter (NFKC). */
bool r2i_is_same_text(r2i_arena *arena, r2i_span a, r2i_span b);
#endif
