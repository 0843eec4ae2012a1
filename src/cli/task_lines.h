/* task_lines.h - items of tasks as lines of JSON: made to learn from, and answers in them judged. */
#ifndef R2I_TASK_LINES_H
#define R2I_TASK_LINES_H
#include "cli/program.h"
#include "r2lm/verifier.h"

/* The program that --verifier names; *out NULL without the flag. */
R2_CHECKED r2_status r2i_verifier_choose(r2_verifier **out, r2i_program *program, r2_error *err);
/* A line about what went wrong with it, if anything did. */
void r2i_verifier_note(const r2i_program *program, const r2_verifier *verifier);
/* `tasks make`: chats to the file of -o, or to standard output. */
R2_CHECKED r2_status r2i_tasks_make(r2i_program *program, r2_error *err);
/* `tasks grade`: reads such lines, and prints how their answers did. */
R2_CHECKED r2_status r2i_tasks_grade(r2i_program *program, r2_error *err);
#endif
