/* list_steps.h - small programs over lists of whole numbers: filter, map, order, result.
 *
 * Tasks ask to carry one out, to write it, to repair it, to print what it gives. */
#ifndef R2I_LIST_STEPS_H
#define R2I_LIST_STEPS_H
#include "task/task_draft.h"

enum { R2I_LIST_NUMBERS = 24, R2I_LIST_STEPS = 4 };

typedef struct {
    int32_t kind;   /* 0: nothing to be done */
    int32_t number; /* k of "above k" */
} r2i_list_step;

typedef struct {
    r2i_list_step steps[R2I_LIST_STEPS]; /* filter, map, order, result */
} r2i_list_program;

typedef struct {
    int32_t n;
    bool is_number; /* n == 1: the result is this number, no list */
    int64_t numbers[R2I_LIST_NUMBERS];
} r2i_list;

/* A program as hard as the draft's level says; its data go into the key. */
void r2i_list_program_draw(r2i_task_draft *d, r2i_list_program *out);
void r2i_list_draw(r2i_task_draft *d, r2i_list *out, int32_t n, int32_t low, int32_t high);
/* Step i alone. */
void r2i_list_step_run(const r2i_list_program *p, int i, r2i_list *list);
void r2i_list_program_run(const r2i_list_program *p, r2i_list *list);
/* As Python and JSON write it. */
void r2i_list_say(r2i_task_draft *d, r2i_buffer *to, const r2i_list *list);
/* Step i in words of the draft's language; all of them. */
void r2i_list_step_tell(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p, int i);
void r2i_list_program_tell(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p);
/* Line of Python of step i, which makes `ys` of `ys`; of the result: an expression. */
void r2i_list_step_code(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p, int i);
/* A function f(xs). */
void r2i_list_program_code(r2i_task_draft *d, r2i_buffer *to, const r2i_list_program *p);
/* Numbers of a list that the question shows. */
void r2i_list_note(r2i_task_draft *d, const r2i_list *list);
/* May doubt step i, told or in Python, taking it for another of its kind. */
void r2i_list_step_doubt(r2i_task_draft *d, const r2i_list_program *p, int i, bool is_code);
/* Something else at one of its steps, which is returned, so that some lists give another result. */
int r2i_list_program_change(r2i_task_draft *d, r2i_list_program *p);
#endif
